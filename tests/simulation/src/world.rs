//! The members, their lives, and what the world knows of them.
//!
//! # Invariants
//! - A member has one life at a time. The next begins on a copy of the disk: what a dead life still writes is seen by nobody.
//! - A life that ends although nobody ended it is a failure, unless a fault excused it.

use crate::life::{Birth, Life, described};
use crate::machine::{self, Random};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::wire::Wire;
use coffer_backends::io::SimDisk;
use coffer_core::consensus::{Founding, MemberChange, MemberError};
use coffer_runtime::{Handle, timeout};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a cluster without faults may take to be whole.
pub const RECOVERY: Duration = Duration::from_secs(60);
/// Pause before another look.
const AGAIN: Duration = Duration::from_millis(40);

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process is killed: what was written is there.
    Process,
    /// The power fails: what was not synced is there in part.
    Power,
}

struct Member {
    birth: Birth,
    life: Option<Arc<Life>>,
    /// Whether its next life is about to begin.
    starting: bool,
}

/// Everything there is.
pub struct World {
    /// The network.
    pub wire: Arc<Wire>,
    /// What clients write down.
    pub recorder: Recorder,
    /// What the seed decided beforehand.
    pub plan: Plan,
    executor: Handle,
    state: Mutex<State>,
}

struct State {
    members: BTreeMap<u64, Member>,
    /// Members whose end is no failure.
    excused: BTreeSet<u64>,
    next_member: u64,
    next_group: u32,
    random: Random,
    failures: Vec<String>,
    starts: u64,
}

impl World {
    /// A world without members.
    pub fn new(plan: Plan, executor: Handle, mut random: Random) -> Arc<Self> {
        let wire = Wire::new(executor.clone(), random.fork());
        let state = State {
            members: BTreeMap::new(),
            excused: BTreeSet::new(),
            next_member: 1,
            next_group: 1,
            random,
            failures: Vec::new(),
            starts: 0,
        };
        Arc::new(Self { wire, recorder: Recorder::default(), plan, executor, state: Mutex::new(state) })
    }

    /// Runs work of the world.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.executor.spawn(work));
    }

    /// A stream of random numbers for somebody.
    pub fn random(&self) -> Random {
        self.state.lock().random.fork()
    }

    /// Founds the cluster.
    pub async fn found(self: &Arc<Self>) {
        let members: Vec<u64> = (0..self.plan.members).map(|_| self.add_disk()).collect();
        let founding = Founding::With(members.iter().map(|id| (*id, described(*id))).collect());
        for member in members {
            self.state.lock().members.get_mut(&member).expect("just added").birth.founding = founding.clone();
            self.start(member).await;
        }
    }

    /// A member with an empty disk that is to join.
    pub fn add_disk(&self) -> u64 {
        let state = &mut *self.state.lock();
        let member = state.next_member;
        state.next_member += 1;
        let disk = SimDisk::new(state.random.next());
        disk.set_sync_time(Duration::from_micros(self.plan.sync_us));
        let (config, store) = (self.plan.config.clone(), self.plan.store);
        let birth = Birth { member, disk, founding: Founding::Join, config, store };
        state.members.insert(member, Member { birth, life: None, starting: false });
        member
    }

    /// Begins a life of a member that has none. Ends when it runs, or has failed to; at once if somebody else is at it.
    pub async fn start(self: &Arc<Self>, member: u64) {
        let (birth, group) = {
            let state = &mut *self.state.lock();
            let Some(found) = state.members.get_mut(&member) else { return };
            if found.life.is_some() || std::mem::replace(&mut found.starting, true) {
                return;
            }
            let birth = found.birth.clone();
            let group = state.next_group;
            state.next_group += 1;
            state.starts += 1;
            (birth, group)
        };
        let begun = timeout(RECOVERY, Life::begin(birth, group, &self.wire)).await;
        if let Some(found) = self.state.lock().members.get_mut(&member) {
            found.starting = false;
        }
        let life = match begun {
            Ok(Ok(life)) => life,
            Ok(Err(error)) => return self.fail("NotStarted", format!("member {member}: {error}")),
            Err(_) => return self.fail("NotStarted", format!("member {member}, in time")),
        };
        {
            let state = &mut *self.state.lock();
            let Some(found) = state.members.get_mut(&member) else { return life.kill() };
            found.life = Some(life.clone());
            state.excused.remove(&member);
        }
        self.wire.connect(&life);
        let world = self.clone();
        self.spawn(async move {
            let Some(reason) = life.call(|node| async move { node.stopped().await }).await else { return };
            if !world.state.lock().excused.contains(&member) {
                world.fail("Stopped", format!("member {member}: {reason}"));
            }
        });
    }

    /// Ends the life of a member, if it has one.
    pub fn kill(&self, member: u64, end: End) {
        let state = &mut *self.state.lock();
        let seed = state.random.next();
        let Some(found) = state.members.get_mut(&member) else { return };
        let Some(life) = found.life.take() else { return };
        life.clone().kill();
        self.wire.disconnect(member);
        let disk = match end {
            End::Process => life.disk.copy(seed),
            End::Power => {
                let disk = life.disk.fork();
                disk.crash(seed);
                disk
            }
        };
        disk.disarm();
        disk.set_capacity(None);
        disk.set_sync_time(Duration::from_micros(self.plan.sync_us));
        found.birth.disk = disk;
    }

    /// A member goes for good.
    pub fn forget(&self, member: u64) {
        self.kill(member, End::Process);
        self.state.lock().members.remove(&member);
    }

    /// The end of this member's life is no failure from now on.
    pub fn excuse(&self, member: u64) {
        self.state.lock().excused.insert(member);
    }

    /// Whether the end of this member's life is no failure: it goes for good.
    pub fn is_excused(&self, member: u64) -> bool {
        let state = self.state.lock();
        state.excused.contains(&member) || !state.members.contains_key(&member)
    }

    /// Something that must not happen.
    pub fn fail(&self, what: &str, text: String) {
        self.state.lock().failures.push(format!("{what}: at {:?}: {text}", machine::now()));
    }

    /// Everything that must not have happened.
    pub fn failures(&self) -> Vec<String> {
        self.state.lock().failures.clone()
    }

    /// How many lives began.
    pub fn starts(&self) -> u64 {
        self.state.lock().starts
    }

    /// All members, running or not.
    pub fn members(&self) -> Vec<u64> {
        self.state.lock().members.keys().copied().collect()
    }

    /// The life of a member.
    pub fn life(&self, member: u64) -> Option<Arc<Life>> {
        self.state.lock().members.get(&member)?.life.clone()
    }

    /// The disk that the next life of a member begins with.
    pub fn birth(&self, member: u64) -> Option<Birth> {
        self.state.lock().members.get(&member).map(|member| member.birth.clone())
    }

    /// All lives.
    pub fn lives(&self) -> Vec<Arc<Life>> {
        self.state.lock().members.values().filter_map(|member| member.life.clone()).collect()
    }

    /// A member that runs; any if `chosen` is none.
    pub fn any(&self, random: &mut Random, chosen: Option<u64>) -> Option<Arc<Life>> {
        let lives = self.lives();
        if let Some(chosen) = chosen {
            let members = self.members();
            let member = *members.get(chosen as usize % members.len().max(1))?;
            return lives.into_iter().find(|life| life.member == member);
        }
        (!lives.is_empty()).then(|| random.choose(&lives).clone())
    }

    /// Who leads, as one of the members that know it says.
    pub async fn leader(&self) -> Option<u64> {
        let mut newest = None;
        for life in self.lives() {
            let look = life.call(|node| async move { (node.consensus().term(), node.leader()) });
            if let Ok(Some((term, Some(leader)))) = timeout(Duration::from_millis(200), look).await {
                newest = newest.max(Some((term, leader)));
            }
        }
        newest.map(|(_, leader)| leader)
    }

    /// Starts who is down and waits until every member has what was acknowledged, and knows the same members.
    pub async fn wait_whole(self: &Arc<Self>) -> bool {
        let deadline = Instant::now() + RECOVERY;
        let mut says = String::from("nothing");
        while Instant::now() < deadline {
            for member in self.members() {
                if self.life(member).is_none() {
                    self.start(member).await;
                }
            }
            match self.is_whole().await {
                Ok(()) => return true,
                Err(reason) => says = reason,
            }
            if !self.failures().is_empty() {
                return false;
            }
            coffer_runtime::sleep(AGAIN).await;
        }
        self.fail("NotWhole", format!("the cluster is not whole after {RECOVERY:?}: {says}"));
        false
    }

    async fn is_whole(&self) -> Result<(), String> {
        let members = self.members();
        let mut seen = BTreeSet::new();
        for member in members.iter() {
            let life = self.life(*member).ok_or_else(|| format!("{member} is down"))?;
            let look = life.call(|node| async move {
                node.barrier().await.map(|()| {
                    let membership = node.membership();
                    let voters: Vec<Vec<u64>> =
                        membership.voters.iter().map(|voters| voters.iter().copied().collect()).collect();
                    (voters, membership.members.keys().copied().collect::<Vec<u64>>())
                })
            });
            match timeout(Duration::from_secs(8), look).await {
                Ok(Some(Ok(known))) => _ = seen.insert(known),
                Ok(Some(Err(error))) => return Err(format!("{member}: {error}")),
                Ok(None) => return Err(format!("{member} ended")),
                Err(_) => return Err(format!("{member} does not answer")),
            }
        }
        match seen.first() {
            Some((_, known)) if seen.len() == 1 && *known == members => Ok(()),
            _ => Err(format!("members {members:?} know {seen:?}")),
        }
    }

    /// Changes the membership, again and again until `is_done` says that it is so.
    pub async fn change(self: &Arc<Self>, change: &MemberChange, is_done: impl Fn(&Known) -> bool) -> bool {
        let deadline = Instant::now() + RECOVERY;
        let mut random = self.random();
        let mut last = String::from("nobody answers");
        while Instant::now() < deadline && self.failures().is_empty() {
            coffer_runtime::sleep(AGAIN).await;
            let Some(life) = self.any(&mut random, None) else { continue };
            let wanted = change.clone();
            let asked = life.call(move |node| async move { node.change_members(wanted).await });
            match timeout(Duration::from_secs(8), asked).await {
                Ok(Some(Ok(()))) => return true,
                Ok(Some(Err(MemberError::Exists | MemberError::NotFound))) if self.knows(&is_done).await => {
                    return true;
                }
                Ok(Some(Err(error))) => last = error.to_string(),
                Ok(None) | Err(_) => last = "no answer".into(),
            }
            // It may have happened.
            if self.knows(&is_done).await {
                return true;
            }
        }
        if !self.failures().is_empty() {
            return false;
        }
        self.fail("NotChanged", format!("{change:?} is not done after {RECOVERY:?}: {last}"));
        false
    }

    /// Whether a member that has what was acknowledged says so.
    async fn knows(&self, is_done: &impl Fn(&Known) -> bool) -> bool {
        for life in self.lives() {
            let look = life.call(|node| async move {
                node.barrier().await.ok()?;
                let membership = node.membership();
                let members = membership.members.keys().map(|id| (*id, membership.is_voter(*id)));
                Some(Known(members.collect()))
            });
            if let Ok(Some(Some(known))) = timeout(Duration::from_secs(2), look).await
                && is_done(&known)
            {
                return true;
            }
        }
        false
    }
}

/// Who belongs to the cluster, and whether with a vote.
pub struct Known(pub BTreeMap<u64, bool>);
