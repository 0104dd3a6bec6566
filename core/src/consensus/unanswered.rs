//! Requests of a lane of entries that have no answer yet, and answers that must wait for later ones.
//!
//! openraft counts an answer for every request that it has made up to the answer's entry: also for *news*, requests without
//! entries that say how far is committed, which it made after the follower had answered. It takes the time at which it made
//! the last of them for the follower's sign of life, and confirms with that the reads that began before. A leader that stood
//! still while another one was elected would so confirm a read by an answer from before that election.
//!
//! # Invariants
//! - Answers are handed over in the order of the requests, each once.
//! - An answer counts only for requests between which and its own no read began; otherwise it waits for the answer to the last
//!   of them. So what confirms a read was answered by a follower that got a request made after the read began, and that
//!   had elected nobody else by then. No clock is asked: that of a machine that is suspended may stand still, too.
//! - A request that an answer waits for is not held back on its way.

use super::messages::{AppendRequest, AppendResponse};
use super::peers::PeerError;
#[cfg(coffer_planted)]
use crate::planted::{Bug, planted};
use crate::storage::LogId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Heard = Result<AppendResponse, PeerError>;

/// How many reads this member has begun to confirm as a leader.
#[derive(Clone, Default)]
pub(super) struct Reads(Arc<AtomicU64>);

impl Reads {
    /// Called before openraft hears of a read.
    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn begun(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a lane of entries owes openraft.
pub(super) struct Unanswered {
    reads: Reads,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Sent>,
    /// Answers that wait.
    held: Vec<Heard>,
    no_more: bool,
    failed: bool,
    #[cfg(coffer_planted)]
    last: Option<LogId>,
}

struct Sent {
    prev: Option<LogId>,
    is_news: bool,
    /// How many reads had begun.
    reads: u64,
}

impl Sent {
    /// Whether openraft counts for this what matched up to `matched`.
    fn is_answered_by(&self, matched: Option<LogId>) -> bool {
        if self.is_news { matched >= self.prev } else { matched > self.prev }
    }
}

impl Unanswered {
    pub(super) fn new(reads: Reads) -> Self {
        Self { reads, state: Mutex::default() }
    }

    /// openraft has made a request.
    pub(super) fn begins(&self, mut request: AppendRequest) -> AppendRequest {
        let (is_news, reads) = (request.entries.is_empty(), self.reads.begun());
        let mut state = self.state.lock();
        // Reads only begin: the oldest request knows of the fewest.
        request.is_awaited = is_news && state.requests.front().is_some_and(|oldest| oldest.reads < reads);
        state.requests.push_back(Sent { prev: request.prev, is_news, reads });
        #[cfg(coffer_planted)]
        {
            state.last = request.entries.last().map(|entry| entry.id).or(request.prev);
        }
        request
    }

    /// There are no more requests.
    pub(super) fn no_more(&self) {
        self.state.lock().no_more = true;
    }

    /// What openraft is told now that this has come. What is not a match is the last answer, whatever else was sent; answers that
    /// wait are dropped then: what they would count for is not answered any more.
    pub(super) fn answered(&self, answer: Heard) -> Vec<Heard> {
        let mut state = self.state.lock();
        #[cfg(coffer_planted)]
        let answer = match state.last {
            Some(last) if planted(Bug::AckBeforeQuorum) && answer.is_err() => {
                Ok(AppendResponse::Matched(Some(last)))
            }
            _ => answer,
        };
        let Ok(AppendResponse::Matched(matched)) = answer else {
            state.failed = true;
            state.held.clear();
            return vec![answer];
        };
        state.held.push(answer);
        let Some(own) = state.requests.pop_front() else { return take(&mut state.held) };
        let counted = state.requests.iter().take_while(|request| request.is_answered_by(matched));
        if counted.last().is_some_and(|last| last.reads > own.reads) {
            return Vec::new();
        }
        take(&mut state.held)
    }

    /// Whether the answers may end here.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state.lock();
        state.failed || (state.no_more && state.requests.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Vote;
    use super::*;
    use crate::storage::{EntryKind, LogEntry};

    fn id(index: u64) -> LogId {
        LogId { term: 1, index }
    }

    /// That the log is committed up to `index`, its end.
    fn news(index: u64) -> AppendRequest {
        let at = Some(id(index));
        AppendRequest {
            vote: Vote::default(),
            prev: at,
            entries: Vec::new(),
            committed: at,
            is_awaited: false,
        }
    }

    /// The entry after `index`.
    fn entry_after(index: u64) -> AppendRequest {
        let entry = LogEntry { id: id(index + 1), kind: EntryKind::Normal, payload: Default::default() };
        AppendRequest { entries: vec![entry], ..news(index) }
    }

    fn matched(index: u64) -> Heard {
        Ok(AppendResponse::Matched(Some(id(index))))
    }

    /// A lane, and what counts its leader's reads.
    fn lane() -> (Unanswered, Reads) {
        let reads = Reads::default();
        (Unanswered::new(reads.clone()), reads)
    }

    #[test]
    fn an_answer_waits_for_that_to_the_news_made_since_a_read_began() {
        let (lane, reads) = lane();
        assert!(!lane.begins(entry_after(1)).is_awaited);
        reads.begin();
        assert!(lane.begins(news(2)).is_awaited);
        assert_eq!(lane.answered(matched(2)), [], "the follower may follow another one by now");
        assert_eq!(lane.answered(matched(2)), [matched(2), matched(2)]);
    }

    #[test]
    fn answers_wait_for_the_last_of_several_news() {
        let (lane, reads) = lane();
        lane.begins(entry_after(1));
        assert!(!lane.begins(news(2)).is_awaited);
        reads.begin();
        assert!(lane.begins(news(2)).is_awaited);
        assert_eq!(lane.answered(matched(2)), []);
        assert_eq!(lane.answered(matched(2)), []);
        assert_eq!(lane.answered(matched(2)), [matched(2), matched(2), matched(2)]);
    }

    #[test]
    fn an_answer_waits_for_nothing_that_it_does_not_count_for() {
        let (lane, reads) = lane();
        lane.begins(entry_after(1));
        reads.begin();
        assert!(!lane.begins(entry_after(2)).is_awaited);
        reads.begin();
        lane.begins(news(3));
        assert_eq!(lane.answered(matched(2)), [matched(2)]);
        assert_eq!(lane.answered(matched(3)), []);
        assert_eq!(lane.answered(matched(3)), [matched(3), matched(3)]);
        // A read that began before both asks nothing of the second.
        lane.begins(entry_after(3));
        lane.begins(news(4));
        assert_eq!(lane.answered(matched(4)), [matched(4)]);
        assert_eq!(lane.answered(matched(4)), [matched(4)]);
    }

    #[test]
    fn an_answer_that_waits_is_dropped_when_no_other_comes() {
        let (lane, reads) = lane();
        lane.begins(entry_after(1));
        reads.begin();
        lane.begins(news(2));
        assert_eq!(lane.answered(matched(2)), []);
        let higher = Ok(AppendResponse::HigherVote(Vote::default()));
        assert_eq!(lane.answered(higher.clone()), [higher]);
        assert!(lane.is_done());
    }

    #[test]
    fn all_is_done_once_every_request_has_its_answer() {
        let (lane, _) = lane();
        lane.begins(entry_after(1));
        lane.begins(entry_after(2));
        lane.answered(matched(2));
        lane.no_more();
        assert!(!lane.is_done());
        lane.answered(matched(3));
        assert!(lane.is_done());
    }
}
