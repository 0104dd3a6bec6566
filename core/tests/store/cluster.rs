//! Consensus of several members over a network in memory: what async-raft 0.6.1 gets wrong (an acknowledged write lost,
//! a stale read, a forked state, no leader), and what a cluster is for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod net;
mod nodes;

use bytes::Bytes;
use coffer_core::Error;
use coffer_core::consensus::messages::{AppendRequest, AppendResponse, Vote, VoteRequest};
use coffer_core::consensus::snapshots::{Snapshot, SnapshotReader, SnapshotWriter, Staged, Staging};
use coffer_core::consensus::{
    Consensus, ConsensusConfig, Founding, Machine, MemberChange, MemberError, ProposeError,
};
use coffer_core::storage::MemoryDisk;
use coffer_core::storage::{EntryKind, HardState, Log, LogEntry, LogId, LogOp, StorageError};
use coffer_runtime::block_on;
use futures_util::{StreamExt, stream};
use net::Net;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Long enough for any machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long members look for a leader before they give up.
const MEMBER_PATIENCE: Duration = Duration::from_secs(6);

/// What a machine holds: the payloads it applied, each once, as the node above does by request ids.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    applied: Option<LogId>,
    membership: Option<(LogId, Bytes)>,
    payloads: Vec<Bytes>,
}

/// A machine whose content survives a restart, as flushed records do.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Held>>);

impl Machine for Journal {
    fn applied(&self) -> Option<LogId> {
        self.0.lock().applied
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        self.0.lock().membership.clone()
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        let mut held = self.0.lock();
        for entry in entries {
            assert_eq!(entry.id.index, held.applied.map_or(0, |last| last.index + 1), "without a gap");
            held.applied = Some(entry.id);
            match entry.kind {
                EntryKind::Blank => {}
                EntryKind::Normal if held.payloads.contains(&entry.payload) => {}
                EntryKind::Normal => held.payloads.push(entry.payload.clone()),
                EntryKind::Membership => held.membership = Some((entry.id, entry.payload.clone())),
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let held = self.0.lock().clone();
        let (Some(last), Some(membership)) = (held.applied, held.membership.clone()) else { return Ok(None) };
        Ok(Some(Snapshot { last, membership, content: Box::new(Reading(held, 0)) }))
    }

    fn staging(&self) -> Arc<dyn Staging> {
        Arc::new(Stage)
    }

    fn install(&mut self, staged: Staged) -> Result<(), StorageError> {
        *self.0.lock() = *staged.downcast::<Held>().expect("what this staging made");
        Ok(())
    }
}

/// One payload a chunk, and at last where it ends.
struct Reading(Held, usize);

impl SnapshotReader for Reading {
    fn next(&mut self, _bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        self.1 += 1;
        let Held { applied, membership, payloads } = &self.0;
        if let Some(payload) = payloads.get(self.1 - 1) {
            return Ok(Some([b"p", &payload[..]].concat().into()));
        }
        let end = || {
            let (last, (at, membership)) = (applied.unwrap(), membership.clone().unwrap());
            let mut end = vec![b'e'];
            for number in [last.term, last.index, at.term, at.index] {
                end.extend(number.to_le_bytes());
            }
            end.extend(&membership[..]);
            Bytes::from(end)
        };
        Ok((self.1 == payloads.len() + 1).then(end))
    }
}

struct Stage;

impl Staging for Stage {
    fn begin(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(Writing(Held::default())))
    }
}

struct Writing(Held);

impl SnapshotWriter for Writing {
    fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        if chunk[0] == b'p' {
            self.0.payloads.push(chunk.slice(1..));
            return Ok(());
        }
        let number = |n: usize| u64::from_le_bytes(chunk[1 + 8 * n..9 + 8 * n].try_into().unwrap());
        self.0.applied = Some(LogId { term: number(0), index: number(1) });
        self.0.membership = Some((LogId { term: number(2), index: number(3) }, chunk.slice(33..)));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Staged, StorageError> {
        assert!(self.0.applied.is_some(), "the end has come");
        Ok(Box::new(self.0))
    }
}

const ELECTION_TIMEOUT: Duration = Duration::from_millis(1000);
/// Nobody waits so long for a heartbeat, however busy the machine is.
const NO_ELECTION: Duration = Duration::from_secs(60);

/// One member, running or not.
struct Member {
    disk: MemoryDisk,
    journal: Journal,
    running: Option<Arc<Consensus>>,
}

/// A cluster of members 1, 2, … .
struct Cluster {
    net: Arc<Net>,
    election_timeout: Duration,
    members: BTreeMap<u64, Member>,
}

impl Cluster {
    /// Founded by all of `1..=count` together.
    fn found(count: u64) -> Self {
        Self::found_with(count, ELECTION_TIMEOUT)
    }

    fn found_with(count: u64, election_timeout: Duration) -> Self {
        let mut cluster = Self { net: Arc::default(), election_timeout, members: BTreeMap::new() };
        let founders: BTreeMap<u64, Bytes> = (1..=count).map(|id| (id, description(id))).collect();
        for id in 1..=count {
            cluster.start(id, Founding::With(founders.clone()));
        }
        cluster
    }

    fn start(&mut self, id: u64, founding: Founding) {
        let member = self.members.entry(id).or_insert_with(|| Member {
            disk: MemoryDisk::new(),
            journal: Journal::default(),
            running: None,
        });
        let (log, _) = member.disk.open().unwrap();
        let consensus = start(id, Box::new(log), &member.journal, &self.net, founding, self.election_timeout);
        self.net.join(id, &consensus);
        member.running = Some(consensus);
    }

    fn stop(&mut self, id: u64) {
        self.members.get_mut(&id).unwrap().running.take().unwrap().shutdown();
    }

    /// A process that dies: what its log did not have on the medium is gone.
    fn crash(&mut self, id: u64) {
        self.stop(id);
    }

    fn at(&self, id: u64) -> &Arc<Consensus> {
        self.members[&id].running.as_ref().unwrap()
    }

    fn running(&self) -> impl Iterator<Item = (u64, &Arc<Consensus>)> {
        self.members.iter().filter_map(|(id, member)| Some((*id, member.running.as_ref()?)))
    }

    /// Waits until one of the running members in `among` leads.
    fn leader_among(&self, among: &[u64]) -> u64 {
        let leads = || self.running().find(|(id, it)| among.contains(id) && it.status().is_leader);
        eventually("there is a leader", || leads().is_some());
        leads().unwrap().0
    }

    fn leader(&self) -> u64 {
        self.leader_among(&self.members.keys().copied().collect::<Vec<_>>())
    }

    fn payloads(&self, id: u64) -> Vec<Bytes> {
        self.members[&id].journal.0.lock().payloads.clone()
    }

    /// Waits until every running member holds the same as `id`, and everything of it.
    fn settles_like(&self, id: u64) {
        let held = |id: u64| self.members[&id].journal.0.lock().clone();
        let ids: Vec<u64> = self.running().map(|(id, _)| id).collect();
        eventually("all hold the same", || ids.iter().all(|other| held(*other) == held(id)));
    }

    fn voters(&self, id: u64) -> Vec<BTreeSet<u64>> {
        self.at(id).membership().voters
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // So that nobody waits for one that is gone already.
        for member in self.members.values() {
            member.running.iter().for_each(|consensus| consensus.shutdown());
        }
    }
}

fn description(id: u64) -> Bytes {
    Bytes::from(format!("member {id}"))
}

fn start(
    id: u64,
    log: Box<dyn Log>,
    journal: &Journal,
    net: &Arc<Net>,
    founding: Founding,
    election_timeout: Duration,
) -> Arc<Consensus> {
    let config = ConsensusConfig {
        node_id: id,
        heartbeat_interval: Duration::from_millis(50),
        election_timeout,
        patience: MEMBER_PATIENCE,
        founding,
        ..ConsensusConfig::default()
    };
    Arc::new(Consensus::start_among(config, log, Box::new(journal.clone()), net.of(id)).unwrap())
}

/// Proposes; the outcome comes later.
fn begin(consensus: &Consensus, payload: impl Into<Bytes>) -> mpsc::Receiver<Result<(), ProposeError>> {
    let (sender, outcome) = mpsc::channel();
    consensus.propose(payload.into(), Box::new(move |result| drop(sender.send(result))));
    outcome
}

fn propose(consensus: &Consensus, payload: impl Into<Bytes>) -> Result<(), ProposeError> {
    begin(consensus, payload).recv_timeout(PATIENCE).unwrap()
}

/// Waits until `condition`.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn three_members_agree_whoever_is_asked() {
    let cluster = Cluster::found(3);
    let mut expected = Vec::new();
    for n in 0..30 {
        let payload = Bytes::from(format!("{n}"));
        propose(cluster.at(n % 3 + 1), payload.clone()).unwrap();
        assert!(cluster.payloads(n % 3 + 1).contains(&payload), "applied where it was asked");
        expected.push(payload);
    }
    for id in 1..=3 {
        block_on(cluster.at(id).read_barrier()).unwrap();
        assert_eq!(cluster.payloads(id), expected, "a read at member {id} sees what was acknowledged");
    }
}

#[test]
fn a_read_at_a_follower_sees_every_acknowledged_write() {
    let cluster = Cluster::found(3);
    let leader = cluster.leader();
    let followers: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for n in 0..200 {
        let payload = Bytes::from(format!("{n}"));
        propose(cluster.at(leader), payload.clone()).unwrap();
        let follower = followers[n % 2];
        block_on(cluster.at(follower).read_barrier()).unwrap();
        assert_eq!(cluster.payloads(follower).last(), Some(&payload));
    }
}

/// Reproduction A of async-raft: grown from one member, its leader committed alone while it was cut off.
#[test]
fn an_isolated_leader_of_a_grown_cluster_acknowledges_nothing() {
    let mut cluster = Cluster::found(1);
    propose(cluster.at(1), "first").unwrap();
    for id in 2..=3 {
        cluster.start(id, Founding::Join);
        let change = MemberChange::AddLearner { member: id, description: description(id) };
        block_on(cluster.at(1).change(change)).unwrap();
        block_on(cluster.at(1).change(MemberChange::Promote { member: id })).unwrap();
    }
    assert_eq!(cluster.voters(1), [BTreeSet::from([1, 2, 3])]);
    assert!(cluster.at(1).status().is_leader);
    cluster.net.isolate(1);
    let refused = propose(cluster.at(1), "never acknowledged").unwrap_err();
    assert_eq!(refused, ProposeError::Unknown);
    let leader = cluster.leader_among(&[2, 3]);
    propose(cluster.at(leader), "new").unwrap();
    cluster.net.heal();
    cluster.settles_like(leader);
    let held = cluster.payloads(1);
    assert_eq!(held[..2], [Bytes::from("first"), Bytes::from("new")]);
}

/// Reproduction B of async-raft: the isolated former leader served what it had.
#[test]
fn an_isolated_leader_serves_no_linearizable_read() {
    let cluster = Cluster::found(3);
    let old = cluster.leader();
    propose(cluster.at(old), "v1").unwrap();
    cluster.net.isolate(old);
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others);
    propose(cluster.at(new), "v2").unwrap();
    let began = Instant::now();
    assert_eq!(block_on(cluster.at(old).read_barrier()), Err(Error::NoLeader));
    assert!(began.elapsed() < MEMBER_PATIENCE * 4, "within the deadline");
    assert_eq!(cluster.payloads(old), ["v1"], "what it would have shown");
    block_on(cluster.at(new).read_barrier()).unwrap();
    cluster.net.heal();
    eventually("it reads again", || block_on(cluster.at(old).read_barrier()).is_ok());
    assert_eq!(cluster.payloads(old), ["v1", "v2"]);
}

/// openraft takes an answer for a sign of life as of the last request that it made by then, also of one that the follower had not
/// seen when it answered.
#[test]
fn an_answer_from_before_an_election_confirms_no_read() {
    let cluster = Cluster::found(3);
    let old = cluster.leader();
    propose(cluster.at(old), "v1").unwrap();
    cluster.settles_like(old);
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let first = cluster.at(old).status().last;
    others.iter().for_each(|id| cluster.net.hold(*id, old));
    let second = begin(cluster.at(old), "v2");
    eventually("both have it", || others.iter().all(|id| cluster.at(*id).status().last > first));
    cluster.net.isolate(old);
    let new = cluster.leader_among(&others);
    propose(cluster.at(new), "v3").unwrap();

    let reader = cluster.at(old).clone();
    let read = std::thread::spawn(move || block_on(reader.read_barrier()));
    // Raft has the read by then, and below has made news of the commit. Neither can be seen; too short a time asks less of it.
    std::thread::sleep(Duration::from_millis(200));
    // One answer tells the former leader that the entry is committed, which it is, and which it would tell the other one.
    cluster.net.release(others[0], old);
    assert_eq!(second.recv_timeout(PATIENCE).unwrap(), Ok(()));
    std::thread::sleep(Duration::from_millis(200));
    cluster.net.release(others[1], old);
    assert_eq!(read.join().unwrap(), Err(Error::NoLeader));
    assert_eq!(cluster.payloads(old), ["v1", "v2"], "what it would have shown");
    block_on(cluster.at(new).read_barrier()).unwrap();
    assert_eq!(cluster.payloads(new), ["v1", "v2", "v3"]);
}

/// As a member does that a client asked for a leader: there is none where no quorum is.
#[test]
fn who_leads_is_known_as_long_as_the_leader_is_heard() {
    let cluster = Cluster::found(3);
    let named = || cluster.running().map(|(_, member)| member.leader()).collect::<BTreeSet<_>>();
    // On a busy machine it may change meanwhile.
    let all_name_one = || eventually("all name the same", || named().len() == 1 && !named().contains(&None));
    all_name_one();
    // Heartbeats alone keep it known, at its followers and at itself.
    std::thread::sleep(ELECTION_TIMEOUT * 2);
    all_name_one();
    (1..=3).for_each(|id| cluster.net.isolate(id));
    eventually("nobody names any", || named() == BTreeSet::from([None]));
    assert!(cluster.running().all(|(_, it)| it.status().leader.is_none()));
    cluster.net.heal();
    all_name_one();
}

/// What a member knows that stood for election in term 2.
const VOTED: HardState = HardState { term: 2, voted_for: Some(1), vote_committed: false };

/// A log that holds `ids` after the entry that founds the cluster of members 1, 2 and 3.
fn log_with(disk: &MemoryDisk, state: HardState, ids: &[LogId]) -> Box<dyn Log> {
    let (mut log, _) = disk.open().unwrap();
    let mut founding = vec![1, 1, 3];
    founding.extend([1, 2, 3, 3]);
    for id in 1..=3u8 {
        founding.extend([id, 0]);
    }
    let founding = LogEntry {
        id: LogId { term: 0, index: 0 },
        kind: EntryKind::Membership,
        payload: Bytes::from(founding),
    };
    let rest = ids.iter().map(|id| LogEntry {
        id: *id,
        kind: EntryKind::Normal,
        payload: Bytes::from(format!("{} of term {}", id.index, id.term)),
    });
    let entries = [founding].into_iter().chain(rest).collect();
    log.write(&[LogOp::Append(entries), LogOp::SaveHardState(state)], None).unwrap();
    drop(log);
    Box::new(disk.open().unwrap().0)
}

/// Reproduction C of async-raft: a heartbeat was answered with success without a look at the entry before it, and the
/// former leader applied an entry that never was committed.
#[test]
fn a_heartbeat_of_another_history_commits_nothing() {
    let (disk, journal, net) = (MemoryDisk::new(), Journal::default(), Arc::<Net>::default());
    let entries = [LogId { term: 1, index: 1 }, LogId { term: 2, index: 2 }];
    let follower =
        start(1, log_with(&disk, VOTED, &entries), &journal, &net, Founding::Join, ELECTION_TIMEOUT);
    let heartbeat = AppendRequest {
        vote: Vote { term: 3, candidate: 2, committed: true },
        prev: Some(LogId { term: 3, index: 2 }),
        entries: Vec::new(),
        committed: Some(LogId { term: 3, index: 2 }),
        is_awaited: false,
    };
    let answers: Vec<_> = block_on(follower.append(stream::iter([heartbeat])).collect());
    assert_eq!(answers, [Ok(AppendResponse::Conflict(LogId { term: 3, index: 2 }))]);
    // The leader's entry replaces the other, and only then anything is applied.
    let entry = LogEntry {
        id: LogId { term: 3, index: 2 },
        kind: EntryKind::Normal,
        payload: Bytes::from("the committed one"),
    };
    let append = AppendRequest {
        vote: Vote { term: 3, candidate: 2, committed: true },
        prev: Some(entries[0]),
        entries: vec![entry],
        committed: Some(LogId { term: 3, index: 2 }),
        is_awaited: false,
    };
    let answers: Vec<_> = block_on(follower.append(stream::iter([append])).collect());
    assert_eq!(answers, [Ok(AppendResponse::Matched(Some(LogId { term: 3, index: 2 })))]);
    eventually("both are applied", || journal.0.lock().payloads.len() == 2);
    assert_eq!(journal.0.lock().payloads, ["1 of term 1", "the committed one"]);
    follower.shutdown();
}

/// Reproduction D of async-raft: a candidate with a newer last term, but a shorter log, got no vote.
#[test]
fn a_vote_goes_to_the_log_with_the_newer_term() {
    let (disk, journal, net) = (MemoryDisk::new(), Journal::default(), Arc::<Net>::default());
    let entries: Vec<LogId> = (1..=5).map(|index| LogId { term: 1, index }).collect();
    let voter = start(1, log_with(&disk, VOTED, &entries), &journal, &net, Founding::Join, ELECTION_TIMEOUT);
    let ask = |term, last| {
        let vote = Vote { term, candidate: 3, committed: false };
        block_on(voter.vote(VoteRequest { vote, last: Some(last), pre_vote: false, transfer: false }))
            .unwrap()
    };
    assert!(!ask(8, LogId { term: 1, index: 4 }).granted, "a shorter log of the same term");
    assert!(ask(9, LogId { term: 2, index: 3 }).granted, "a newer term, though shorter");
    voter.shutdown();
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back() {
    let mut cluster = Cluster::found(3);
    let mut expected = BTreeSet::new();
    for round in 0..3 {
        let leader = cluster.leader();
        for n in 0..5 {
            let payload = format!("{round}.{n}");
            propose(cluster.at(leader), payload.clone()).unwrap();
            expected.insert(Bytes::from(payload));
        }
        cluster.crash(leader);
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        // At a follower, right away: it finds the next leader by itself.
        let payload = format!("{round} after the kill");
        propose(cluster.at(others[0]), payload.clone()).unwrap();
        expected.insert(Bytes::from(payload));
        cluster.start(leader, Founding::Join);
        let leader = cluster.leader();
        cluster.settles_like(leader);
    }
    for id in 1..=3 {
        assert_eq!(cluster.payloads(id).into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

/// A sole voter proposes without a detour. What it is told just as it is deposed goes on all the same.
#[test]
fn a_sole_voter_that_is_deposed_loses_no_proposal() {
    let cluster = Cluster::found_with(1, Duration::from_millis(200));
    let consensus = cluster.at(1).clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let proposers: Vec<_> = (0..3)
        .map(|proposer| {
            let (stop, consensus) = (stop.clone(), consensus.clone());
            std::thread::spawn(move || {
                let mut proposed = 0;
                while !stop.load(Ordering::SeqCst) {
                    let payload = |n| format!("{proposer}.{n}");
                    let outcomes: Vec<_> =
                        (proposed..proposed + 8).map(|n| begin(&consensus, payload(n))).collect();
                    outcomes.iter().for_each(|it| assert_eq!(it.recv_timeout(PATIENCE), Ok(Ok(()))));
                    proposed += 8;
                }
                proposed
            })
        })
        .collect();
    for _ in 0..8 {
        eventually("it leads", || consensus.status().is_leader);
        let term = consensus.status().term;
        let vote = Vote { term: term + 1, candidate: 9, committed: false };
        let last = Some(LogId { term, index: u64::MAX / 2 });
        // As if the lead had been handed over, so that it listens to somebody else.
        let asked = VoteRequest { vote, last, pre_vote: false, transfer: true };
        assert!(block_on(consensus.vote(asked)).unwrap().granted);
        eventually("it leads anew", || consensus.status().term > term + 1);
    }
    stop.store(true, Ordering::SeqCst);
    let proposed: usize = proposers.into_iter().map(|it| it.join().unwrap()).sum();
    assert_eq!(cluster.payloads(1).len(), proposed);
}

#[test]
fn without_a_quorum_everything_ends_in_time_and_comes_back_by_itself() {
    let mut cluster = Cluster::found(3);
    let leader = cluster.leader();
    propose(cluster.at(leader), "before").unwrap();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    others.iter().for_each(|id| cluster.stop(*id));
    let began = Instant::now();
    assert_eq!(propose(cluster.at(leader), "meanwhile"), Err(ProposeError::Unknown));
    assert_eq!(block_on(cluster.at(leader).read_barrier()), Err(Error::NoLeader));
    assert!(began.elapsed() < MEMBER_PATIENCE * 6);
    others.iter().for_each(|id| cluster.start(*id, Founding::Join));
    eventually("it writes again", || propose(cluster.at(leader), "after").is_ok());
    let leader = cluster.leader();
    cluster.settles_like(leader);
    assert!(cluster.payloads(leader).contains(&Bytes::from("before")));
}

#[test]
fn a_member_whose_log_begins_too_late_gets_a_snapshot() {
    let mut cluster = Cluster::found(3);
    let leader = cluster.leader();
    let away = (1..=3).find(|id| *id != leader).unwrap();
    propose(cluster.at(leader), "before").unwrap();
    cluster.settles_like(leader);
    cluster.stop(away);
    for n in 0..50 {
        propose(cluster.at(leader), format!("{n}")).unwrap();
    }
    for (_, consensus) in cluster.running() {
        let status = consensus.status();
        consensus.purge(status.applied.unwrap());
        eventually("the log is purged", || consensus.status().purged.is_some());
    }
    cluster.start(away, Founding::Join);
    propose(cluster.at(away), "after").unwrap();
    cluster.settles_like(cluster.leader());
    assert_eq!(cluster.payloads(away).len(), 52);
    eventually("a snapshot was sent", || cluster.net.snapshots.load(Ordering::SeqCst) > 0);
    // What was installed is a base like any other: the member restarts from it.
    cluster.stop(away);
    cluster.start(away, Founding::Join);
    propose(cluster.at(away), "at last").unwrap();
    cluster.settles_like(cluster.leader());
}

#[test]
fn a_cluster_grows_and_shrinks_under_load() {
    // Without a leader a write may fail; that a change needs no election is what is looked at.
    let mut cluster = Cluster::found_with(1, NO_ELECTION);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = {
        let (stop, consensus) = (stop.clone(), cluster.at(1).clone());
        std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let payload = Bytes::from(format!("{}", acknowledged.len()));
                propose(&consensus, payload.clone()).expect("no write fails while members come and go");
                acknowledged.push(payload);
            }
            acknowledged
        })
    };
    for id in 2..=5 {
        cluster.start(id, Founding::Join);
        let change = MemberChange::AddLearner { member: id, description: description(id) };
        block_on(cluster.at(id - 1).change(change.clone())).unwrap();
        assert_eq!(block_on(cluster.at(1).change(change)), Err(MemberError::Exists));
        block_on(cluster.at(1).change(MemberChange::Promote { member: id })).unwrap();
    }
    assert_eq!(cluster.voters(1), [BTreeSet::from([1, 2, 3, 4, 5])]);
    for id in [5, 4, 3, 2] {
        block_on(cluster.at(1).change(MemberChange::Remove { member: id })).unwrap();
        cluster.stop(id);
    }
    assert_eq!(
        block_on(cluster.at(1).change(MemberChange::Remove { member: 1 })),
        Err(MemberError::LastVoter)
    );
    assert_eq!(
        block_on(cluster.at(1).change(MemberChange::Remove { member: 9 })),
        Err(MemberError::NotFound)
    );
    assert_eq!(cluster.voters(1), [BTreeSet::from([1])]);
    propose(cluster.at(1), "alone again").unwrap();
    stop.store(true, Ordering::SeqCst);
    let acknowledged = load.join().unwrap();
    let held: BTreeSet<Bytes> = cluster.payloads(1).into_iter().collect();
    assert!(acknowledged.iter().all(|payload| held.contains(payload)), "nothing acknowledged is lost");
}

#[test]
fn a_change_that_would_lose_the_quorum_is_refused() {
    // No election comes between, however busy the machine is.
    const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
    let mut cluster = Cluster::found_with(3, ELECTION_TIMEOUT);
    let leader = cluster.leader();
    eventually("it writes", || propose(cluster.at(leader), "before").is_ok());
    let (dead, alive) = match leader {
        1 => (2, 3),
        2 => (1, 3),
        _ => (1, 2),
    };
    cluster.stop(dead);
    let stopped = Instant::now();
    eventually("it counts as dead", || stopped.elapsed() > ELECTION_TIMEOUT * 2);
    let change = |change| block_on(cluster.at(leader).change(change));
    assert_eq!(change(MemberChange::Remove { member: alive }), Err(MemberError::Unhealthy));
    // One that does not run would be a voter that nobody hears.
    change(MemberChange::AddLearner { member: 4, description: description(4) }).unwrap();
    assert_eq!(change(MemberChange::Promote { member: 4 }), Err(MemberError::NotInSync));
    assert_eq!(
        block_on(cluster.at(alive).change(MemberChange::Promote { member: 4 })),
        Err(MemberError::NotInSync)
    );
    propose(cluster.at(alive), "it goes on").unwrap();
    change(MemberChange::Remove { member: dead }).unwrap();
    change(MemberChange::Remove { member: alive }).unwrap();
    propose(cluster.at(leader), "alone").unwrap();
}

#[test]
fn the_lead_is_handed_over() {
    let cluster = Cluster::found(3);
    let leader = cluster.leader();
    propose(cluster.at(leader), "before").unwrap();
    cluster.settles_like(leader);
    let next = (1..=3).find(|id| *id != leader).unwrap();
    block_on(cluster.at(leader).transfer_leader(next)).unwrap();
    eventually("the other leads", || cluster.at(next).status().is_leader);
    propose(cluster.at(leader), "after").unwrap();
    assert_eq!(cluster.payloads(leader), ["before", "after"]);
}
