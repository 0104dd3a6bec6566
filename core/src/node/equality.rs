//! Whether this member's state is that of the others.
//!
//! Once in a while a member asks the others for the [hash](Chain) of what they had applied up to an entry that it has
//! applied too, and compares. One that differs from what a majority of the voters holds is *apart*: its alarm is raised,
//! which everybody sees, it hands over the lead, and serves nobody until it is rebuilt. Where no majority agrees, nobody
//! knows who is right: then the alarm of member 0 is raised, and nothing is changed any more.
//!
//! # Invariants
//! - States are compared at the same entry only, and only if their hashes begin at the same one.
//! - A member that does not answer says nothing: it neither differs nor agrees.
//! - A member that has found itself apart serves nobody, also before its alarm is raised, and after a restart.

use super::leader_calls::{Question, decode_answer};
use super::proposals::Proposals;
use crate::consensus::{Consensus, Membership};
use crate::error::Error;
use crate::planted::{Bug, planted};
use crate::state::{Chain, Command, StateReader};
use crate::watch::WatchHub;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// So many comparisons in a row come to no end before nobody is believed: whoever is away may be back soon, and settle it.
const TORN_MAX: u32 = 5;
/// Hashes that are kept: of so many of the newest entries.
const MARKS_MAX: usize = 16 * 1024;

/// The hash behind each of the newest entries.
#[derive(Default)]
struct Marks {
    start: u64,
    /// Index of the entry that the first hash belongs to.
    first: u64,
    hashes: VecDeque<u32>,
}

impl Marks {
    fn take(&mut self, index: u64, chain: Chain) {
        if chain.start != self.start || index != self.first + self.hashes.len() as u64 {
            *self = Self { start: chain.start, first: index, hashes: VecDeque::new() };
        }
        if self.hashes.len() == MARKS_MAX {
            self.hashes.pop_front();
            self.first += 1;
        }
        self.hashes.push_back(chain.hash);
    }

    /// The newest entry with a hash, and where the chain begins.
    fn newest(&self) -> Option<Mark> {
        let index = (self.first + self.hashes.len() as u64).checked_sub(1)?;
        (!self.hashes.is_empty()).then_some(Mark { start: self.start, index })
    }

    fn at(&self, mark: Mark) -> Option<u32> {
        let position = usize::try_from(mark.index.checked_sub(self.first)?).ok()?;
        self.hashes.get(position).copied().filter(|_| mark.start == self.start)
    }
}

/// An entry at which states can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where the chain begins.
    pub(super) start: u64,
    /// Index of the entry.
    pub(super) index: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// These members hold something else than a majority.
    Apart(Vec<u64>),
    /// Members differ, and no majority agrees.
    Torn,
}

/// Judges what members hold at one entry.
fn judge(held: &BTreeMap<u64, u32>, membership: &Membership) -> Verdict {
    let Some(any) = held.values().next() else { return Verdict::Equal };
    if held.values().all(|hash| hash == any) {
        return Verdict::Equal;
    }
    // While a change is under way a majority of each set of voters.
    let is_majority = |hash: u32| {
        membership.voters.iter().all(|voters| {
            let agree = voters.iter().filter(|voter| held.get(voter) == Some(&hash)).count();
            agree > voters.len() / 2
        })
    };
    match held.values().find(|hash| is_majority(**hash)) {
        Some(right) => Verdict::Apart(held.iter().filter(|it| it.1 != right).map(|it| *it.0).collect()),
        None => Verdict::Torn,
    }
}

/// The comparison of this member with the others.
pub(super) struct Equality {
    member: u64,
    reader: StateReader,
    hub: Arc<WatchHub>,
    proposals: Arc<Proposals>,
    interval: Duration,
    marks: Mutex<Marks>,
    /// It has found itself apart; until its alarm says so.
    found: AtomicBool,
    /// How often it ceased to serve and served again: it serves nobody while this is odd.
    turns: AtomicU64,
    /// Held while that changes and the watchers are told.
    turning: Mutex<()>,
}

impl Equality {
    pub(super) fn new(
        member: u64,
        reader: StateReader,
        hub: Arc<WatchHub>,
        proposals: Arc<Proposals>,
        interval: Duration,
    ) -> Arc<Self> {
        let equality = Self {
            member,
            reader,
            hub,
            proposals,
            interval,
            marks: Mutex::default(),
            found: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            turning: Mutex::default(),
        };
        equality.look_at_alarms();
        Arc::new(equality)
    }

    /// Told by the apply thread of each entry.
    pub(super) fn applied(&self, index: u64, chain: Chain) {
        self.marks.lock().take(index, chain);
    }

    /// Told by the apply thread that alarms may have changed, or everything.
    pub(super) fn look_at_alarms(&self) {
        if self.reader.differs(self.member) {
            self.found.store(false, Ordering::Release);
        }
        self.turn();
    }

    /// Told by the apply thread that everything was replaced by what another member holds.
    pub(super) fn replaced(&self) {
        self.found.store(false, Ordering::Release);
        self.look_at_alarms();
    }

    /// Refuses what a member that is apart must not serve.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_apart() { Err(self.refusal()) } else { Ok(()) }
    }

    /// How often this member ceased to serve and served again.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Refuses also to go on with what was begun after so many `turns`, when there were more since.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn check_since(&self, turns: u64) -> Result<(), Error> {
        if self.turns() == turns { self.check() } else { Err(self.refusal()) }
    }

    fn is_apart(&self) -> bool {
        !self.turns().is_multiple_of(2)
    }

    fn refusal(&self) -> Error {
        let member = self.member;
        Error::Corrupt(format!(
            "the state of member {member:x} is not that of the others: replace the member"
        ))
    }

    /// Looks whether this member is apart, and tells the watchers if that has changed.
    fn turn(&self) {
        let _turning = self.turning.lock();
        let apart = self.found.load(Ordering::Acquire) || self.reader.differs(self.member);
        if apart == self.is_apart() {
            return;
        }
        self.turns.fetch_add(1, Ordering::AcqRel);
        self.hub.refuse(apart.then(|| self.refusal()));
        match apart {
            true => tracing::error!(
                member = format_args!("{:x}", self.member),
                "the state of this member is not that of the others: it serves nobody until it is replaced"
            ),
            false => tracing::info!("this member serves again"),
        }
    }

    /// This member's hash at an entry; -1 if it has none.
    pub(super) fn hash_at(&self, mark: Mark) -> i64 {
        self.marks.lock().at(mark).map_or(-1, i64::from)
    }

    /// Compares as long as the node lives.
    pub(super) async fn run(self: Arc<Self>, consensus: Weak<Consensus>) {
        let (mut before, mut compared, mut torn) = (None, None, 0);
        loop {
            coffer_runtime::sleep(self.interval).await;
            let Some(consensus) = consensus.upgrade() else { return };
            if self.is_apart() {
                // A member that is apart does not lead.
                if let Err(error) = consensus.hand_over().await {
                    tracing::debug!(%error, "the lead could not be handed over");
                }
            }
            // What was the newest a while ago, the others have by now.
            let mark = std::mem::replace(&mut before, self.marks.lock().newest());
            let membership = consensus.membership();
            let Some(mark) = mark.filter(|mark| membership.members.len() > 1 && compared != Some(*mark))
            else {
                continue;
            };
            if planted(Bug::HashNotCompared) {
                continue;
            }
            let held = self.ask_all(&consensus, &membership, mark).await;
            let verdict = judge(&held, &membership);
            torn = if verdict == Verdict::Torn { torn + 1 } else { 0 };
            let all_say = held.len() == membership.members.len();
            // One that differs is looked at again: its alarm may have been cleared.
            compared = (all_say && verdict == Verdict::Equal).then_some(mark);
            if verdict != Verdict::Equal && (torn == 0 || torn > TORN_MAX || all_say) {
                self.act(&consensus, mark, &held, verdict).await;
            }
        }
    }

    /// What the members hold at an entry, as far as they say.
    async fn ask_all(
        &self,
        consensus: &Consensus,
        membership: &Membership,
        mark: Mark,
    ) -> BTreeMap<u64, u32> {
        let others = membership.members.keys().copied().filter(|member| *member != self.member);
        let asked = others.map(async |member| {
            let answer = consensus.ask_member(member, Question::HashAt(mark).encode()).await?;
            let hash = decode_answer(answer).ok()?.ok()?;
            Some((member, u32::try_from(hash).ok()?))
        });
        let mut held: BTreeMap<u64, u32> = join_all(asked).await.into_iter().flatten().collect();
        // Last: it may have been forgotten meanwhile, and then there is nothing to compare.
        match self.marks.lock().at(mark) {
            Some(own) => held.insert(self.member, own),
            None => return BTreeMap::new(),
        };
        held
    }

    async fn act(&self, consensus: &Consensus, mark: Mark, held: &BTreeMap<u64, u32>, verdict: Verdict) {
        let leads = consensus.leader() == Some(self.member);
        let raise = match verdict {
            Verdict::Equal => return,
            Verdict::Apart(apart) => {
                if apart.contains(&self.member) {
                    self.found.store(true, Ordering::Release);
                    self.turn();
                }
                apart.into_iter().filter(|member| leads || *member == self.member).collect()
            }
            Verdict::Torn if leads => vec![0],
            Verdict::Torn => Vec::new(),
        };
        for member in raise.into_iter().filter(|member| !self.reader.differs(*member)) {
            tracing::error!(
                member = format_args!("{member:x}"),
                index = mark.index,
                ?held,
                "the states of members differ: CORRUPT is raised"
            );
            if let Err(error) = self.proposals.propose(Command::Differs { member }).await {
                tracing::warn!(%error, "CORRUPT could not be raised yet");
            }
        }
    }
}

impl std::fmt::Debug for Equality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Equality").field("apart", &self.is_apart()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_minority_is_apart() {
        let of = |sets: &[&[u64]]| Membership {
            voters: sets.iter().map(|voters| voters.iter().copied().collect::<BTreeSet<_>>()).collect(),
            members: BTreeMap::new(),
        };
        let three = of(&[&[1, 2, 3]]);
        let held = |held: &[(u64, u32)]| held.iter().copied().collect::<BTreeMap<_, _>>();
        assert_eq!(judge(&held(&[]), &three), Verdict::Equal);
        assert_eq!(judge(&held(&[(1, 7), (2, 7)]), &three), Verdict::Equal);
        assert_eq!(judge(&held(&[(1, 7), (2, 7), (3, 8)]), &three), Verdict::Apart(vec![3]));
        assert_eq!(judge(&held(&[(1, 8), (2, 7), (3, 7)]), &three), Verdict::Apart(vec![1]));
        assert_eq!(judge(&held(&[(1, 7), (3, 8)]), &three), Verdict::Torn, "member 2 says nothing");
        assert_eq!(judge(&held(&[(1, 7), (2, 8), (3, 9)]), &three), Verdict::Torn);
        // A learner has no say, and may be apart.
        assert_eq!(judge(&held(&[(1, 7), (2, 7), (9, 8)]), &three), Verdict::Apart(vec![9]));
        let joint = of(&[&[1, 2, 3], &[3, 4, 5]]);
        assert_eq!(judge(&held(&[(1, 7), (2, 7), (3, 8), (4, 8), (5, 8)]), &joint), Verdict::Torn);
        assert_eq!(judge(&held(&[(1, 8), (2, 7), (3, 7), (4, 7)]), &joint), Verdict::Apart(vec![1]));
    }

    #[test]
    fn marks_are_bounded_and_of_one_chain() {
        let mut marks = Marks::default();
        assert_eq!(marks.newest(), None);
        for index in 5..5 + 2 * MARKS_MAX as u64 {
            marks.take(index, Chain { start: 0, hash: index as u32 });
        }
        assert_eq!(marks.hashes.len(), MARKS_MAX);
        let newest = marks.newest().expect("a mark");
        assert_eq!(newest, Mark { start: 0, index: 4 + 2 * MARKS_MAX as u64 });
        assert_eq!(marks.at(newest), Some(newest.index as u32));
        assert_eq!(marks.at(Mark { index: newest.index + 1, ..newest }), None);
        assert_eq!(marks.at(Mark { index: 5, ..newest }), None);
        assert_eq!(marks.at(Mark { start: 1, ..newest }), None);
        // After a snapshot the next is another entry.
        marks.take(newest.index + 100, Chain { start: 0, hash: 1 });
        assert_eq!(marks.hashes.len(), 1);
        marks.take(newest.index + 101, Chain { start: 9, hash: 2 });
        assert_eq!(marks.newest(), Some(Mark { start: 9, index: newest.index + 101 }));
    }
}
