//! Whole nodes over a network in memory: every request at any member, isolation, snapshots, restarts.

use super::net::Net;
use super::{MEMBER_PATIENCE, eventually};
use bytes::Bytes;
use coffer_core::consensus::{Founding, MemberChange};
use coffer_core::node::{Node, NodeConfig, SnapshotView};
use coffer_core::request::*;
use coffer_core::storage::conformance::Fault;
use coffer_core::storage::{Log, LogOp, MemoryDisk};
use coffer_core::watch::{WatchKind, WatchRequest, WatchStream};
use coffer_core::{Error, KeyRange, LeaseId, MemberInfo, Revision};
use coffer_runtime::{block_on, timeout};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const ELECTION: Duration = Duration::from_millis(1000);
const PATIENCE: Duration = Duration::from_secs(60);

struct Member {
    disk: MemoryDisk,
    boot: u64,
    node: Option<Node>,
}

/// A cluster of nodes 1, 2, … .
struct Nodes {
    net: Arc<Net>,
    members: BTreeMap<u64, Member>,
}

impl Nodes {
    /// Founded by all of `1..=count` together.
    fn found(count: u64) -> Self {
        let mut nodes = Self { net: Arc::default(), members: BTreeMap::new() };
        let founders = Founding::With((1..=count).map(|id| (id, described(id))).collect());
        (1..=count).for_each(|id| nodes.start(id, founders.clone()));
        nodes
    }

    fn start(&mut self, id: u64, founding: Founding) {
        let new = || Member { disk: MemoryDisk::simulated(), boot: 0, node: None };
        let member = self.members.entry(id).or_insert_with(new);
        member.boot += 1;
        let config = NodeConfig {
            cluster_id: 7,
            member_id: id,
            boot: member.boot,
            heartbeat_interval: ELECTION / 8,
            election_timeout: ELECTION,
            patience: MEMBER_PATIENCE,
            founding,
            compare_interval: Duration::from_millis(50),
            ..NodeConfig::default()
        };
        let (log, records) = member.disk.open().unwrap();
        let node = Node::open_among(config, Box::new(log), Arc::new(records), self.net.of(id)).unwrap();
        self.net.join(id, node.consensus());
        member.node = Some(node);
    }

    fn stop(&mut self, id: u64) {
        let member = self.members.get_mut(&id).unwrap();
        member.node.take().unwrap().shutdown();
        // Another member may be hearing an answer of it at this moment.
        eventually("its store is free", || member.disk.open().is_ok());
    }

    fn at(&self, id: u64) -> &Node {
        self.members[&id].node.as_ref().unwrap()
    }

    fn running(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.members.iter().filter_map(|(id, member)| Some((*id, member.node.as_ref()?)))
    }

    /// Waits until one of the running members in `among` leads.
    fn leader_among(&self, among: &[u64]) -> u64 {
        let leads =
            || self.running().find(|(id, node)| among.contains(id) && node.consensus().status().is_leader);
        eventually("there is a leader", || leads().is_some());
        leads().unwrap().0
    }

    fn leader(&self) -> u64 {
        self.leader_among(&self.running().map(|(id, _)| id).collect::<Vec<_>>())
    }

    fn others(&self, than: u64) -> Vec<u64> {
        self.members.keys().copied().filter(|id| *id != than).collect()
    }

    /// Waits until all members have applied the same, and checks that they hold the same.
    fn settle(&self) {
        let applied = |node: &Node| node.consensus().status().applied;
        let newest = self.running().map(|(_, node)| applied(node)).max().unwrap();
        eventually("all have applied the same", || self.running().all(|(_, node)| applied(node) >= newest));
        // A status may be a little behind the answer that somebody got.
        let revision = self.running().map(|(_, node)| node.header().revision).max().unwrap();
        eventually("all show the same", || {
            self.running().all(|(_, node)| node.header().revision >= revision)
        });
        let hashes: Vec<_> = self
            .running()
            .map(|(id, node)| (id, block_on(node.hash_kv(revision)).unwrap()))
            .map(|(id, hashed)| (id, hashed.hash, hashed.compact_revision))
            .collect();
        let first = hashes[0];
        assert!(hashes.iter().all(|it| (it.1, it.2) == (first.1, first.2)), "{hashes:?} at {revision}");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // So that nobody waits for one that is gone already.
        for member in self.members.values() {
            member.node.iter().for_each(Node::shutdown);
        }
    }
}

fn described(id: u64) -> Bytes {
    let peer_urls = vec![format!("coffer://m{id}:7421")];
    MemberInfo { name: format!("m{id}"), peer_urls, ..MemberInfo::default() }.encode()
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

fn put(node: &Node, key: &str, value: &str) -> i64 {
    block_on(node.put(put_request(key, value))).unwrap().header.revision
}

fn range(node: &Node, serializable: bool) -> Result<RangeResponse, Error> {
    block_on(node.range(RangeRequest { serializable, ..RangeRequest::new(KeyRange::all()) }))
}

fn get(node: &Node, key: &str) -> Option<String> {
    let found = block_on(node.range(RangeRequest::new(KeyRange::single(key.to_owned())))).unwrap();
    found.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

/// Compacts at the newest revision, and returns once the log is let go.
fn compact(node: &Node) -> i64 {
    let revision = node.header().revision;
    block_on(node.compact(CompactRequest { revision, physical: true })).unwrap();
    revision
}

/// The revisions of the next events of a stream, or why it was cancelled.
fn next_events(stream: &mut WatchStream) -> Result<Vec<i64>, Error> {
    loop {
        let responses =
            block_on(timeout(PATIENCE, stream.next())).expect("in time").expect("the stream lives");
        let mut seen = Vec::new();
        for response in responses {
            match response.kind {
                WatchKind::Events { events, .. } => {
                    seen.extend(events.iter().map(|it| it.event.record.revision.main));
                }
                WatchKind::Canceled { reason, .. } => return Err(reason),
                WatchKind::Created | WatchKind::Progress => {}
            }
        }
        if !seen.is_empty() {
            return Ok(seen);
        }
    }
}

fn watch(node: &Node, start_revision: i64) -> WatchStream {
    let mut stream = node.watch();
    stream.create(WatchRequest { start_revision, ..WatchRequest::new(KeyRange::all()) }).unwrap();
    stream
}

#[test]
fn every_request_is_served_by_any_member() {
    let nodes = Nodes::found(3);
    nodes.leader();
    let mut streams: Vec<WatchStream> = (1..=3).map(|id| watch(nodes.at(id), 2)).collect();
    let mut revisions = Vec::new();
    for id in 1..=3 {
        let node = nodes.at(id);
        let key = format!("k{id}");
        revisions.push(put(node, &key, "1"));
        let txn = TxnRequest {
            compare: vec![Compare {
                range: KeyRange::single(key.clone()),
                result: CompareResult::Equal,
                target: CompareTarget::Value("1".into()),
            }],
            success: vec![TxnOp::Put(PutRequest { prev_kv: true, ..put_request(&key, "2") })],
            failure: Vec::new(),
        };
        let answer = block_on(node.txn(txn)).unwrap();
        assert!(answer.succeeded);
        let [TxnOpResponse::Put(put)] = &answer.responses[..] else { panic!("{answer:?}") };
        assert_eq!(put.prev_kv.as_ref().map(|kv| &kv.value[..]), Some(&b"1"[..]));
        revisions.push(answer.header.revision);
        for other in 1..=3 {
            assert_eq!(get(nodes.at(other), &key).as_deref(), Some("2"), "{other} reads what {id} wrote");
        }
    }
    let deleted = DeleteRangeRequest { range: KeyRange::single("k1"), prev_kv: true };
    let deleted = block_on(nodes.at(2).delete_range(deleted)).unwrap();
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (1, 1));
    revisions.push(deleted.header.revision);
    for stream in &mut streams {
        let mut seen = Vec::new();
        while seen.len() < revisions.len() {
            seen.extend(next_events(stream).unwrap());
        }
        assert_eq!(seen, revisions, "each event once, in order");
    }
    compact(nodes.at(3));
    nodes.settle();
}

#[test]
fn a_read_at_a_follower_sees_every_acknowledged_write() {
    let nodes = Nodes::found(3);
    let leader = nodes.leader();
    let followers = nodes.others(leader);
    for number in 0..150 {
        put(nodes.at(leader), "k", &number.to_string());
        assert_eq!(get(nodes.at(followers[number % 2]), "k"), Some(number.to_string()));
    }
}

#[test]
fn an_isolated_member_answers_no_linearizable_request() {
    let nodes = Nodes::found(3);
    let leader = nodes.leader();
    put(nodes.at(leader), "k", "before");
    nodes.settle();
    for isolated in [leader, nodes.others(leader)[0]] {
        nodes.net.isolate(isolated);
        let rest = nodes.leader_among(&nodes.others(isolated));
        put(nodes.at(rest), "k", "meanwhile");
        let began = Instant::now();
        let node = nodes.at(isolated);
        assert_eq!(range(node, false), Err(Error::NoLeader));
        let refused = block_on(node.put(put_request("never", "acknowledged")));
        assert!(
            matches!(refused, Err(Error::NoLeader | Error::NotLeader | Error::OutcomeUnknown)),
            "{refused:?}"
        );
        assert!(began.elapsed() < MEMBER_PATIENCE * 6, "within the deadline");
        assert_eq!(range(node, true).unwrap().kvs[0].value, "before", "a serializable read shows the past");
        nodes.net.heal();
        eventually("it reads again", || range(node, false).is_ok());
        assert_eq!(get(node, "k").as_deref(), Some("meanwhile"));
        put(node, "k", "before");
        nodes.settle();
    }
}

/// Fills the store so that a member that is away needs a snapshot afterwards. Returns the compact revision.
fn go_on_without(nodes: &Nodes, away: u64) -> i64 {
    let others = nodes.others(away);
    let leader = nodes.leader_among(&others);
    for number in 0..60 {
        put(nodes.at(leader), &format!("k/{:02}", number % 20), &number.to_string());
    }
    block_on(
        nodes.at(leader).delete_range(DeleteRangeRequest { range: KeyRange::single("k/03"), prev_kv: false }),
    )
    .unwrap();
    let granted = block_on(nodes.at(leader).lease_grant(LeaseGrantRequest { id: LeaseId(77), ttl_s: 1000 }));
    assert!(matches!(granted, Ok(_) | Err(Error::LeaseExists)), "{granted:?}");
    block_on(nodes.at(leader).put(PutRequest { lease: LeaseId(77), ..put_request("leased", "x") })).unwrap();
    let compacted = compact(nodes.at(leader));
    let purged = |id: u64| nodes.at(id).consensus().status().purged;
    let reached = nodes.at(leader).consensus().status().applied.unwrap();
    // Each flush lets go of what the one before stored.
    for round in 0.. {
        put(nodes.at(leader), "round", &round.to_string());
        compact(nodes.at(leader));
        let gone = || others.iter().all(|id| purged(*id) >= Some(reached));
        if gone() {
            return compacted;
        }
        assert!(
            round < 5000,
            "the log is let go: {:?}",
            others.iter().map(|id| purged(*id)).collect::<Vec<_>>()
        );
    }
    unreachable!("the loop ends")
}

#[test]
fn a_member_that_was_away_for_too_long_takes_over_a_snapshot() {
    let mut nodes = Nodes::found(3);
    let leader = nodes.leader();
    for number in 0..30 {
        put(nodes.at(leader), &format!("k/{number:02}"), "old");
    }
    nodes.settle();
    let away = nodes.others(leader)[0];
    nodes.stop(away);
    go_on_without(&nodes, away);
    nodes.start(away, Founding::Join);
    // A write whose entry comes with the snapshot has an outcome that nobody can tell any more.
    eventually("it writes", || match block_on(nodes.at(away).put(put_request("after", "x"))) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, Error::OutcomeUnknown);
            false
        }
    });
    nodes.settle();
    eventually("a snapshot was sent", || nodes.net.snapshots.load(Ordering::SeqCst) > 0);
    assert_eq!(get(nodes.at(away), "k/03"), None);
    let lease = LeaseTimeToLiveRequest { id: LeaseId(77), keys: true };
    let leader = nodes.leader();
    let lease = block_on(nodes.at(leader).lease_time_to_live(lease)).unwrap();
    assert_eq!(lease.keys, ["leased"]);
    // What was installed is a base like any other.
    nodes.stop(away);
    nodes.start(away, Founding::Join);
    put(nodes.at(away), "at last", "x");
    nodes.settle();
}

/// A member that lives while it is cut off has readers and watchers when the snapshot comes.
#[test]
fn readers_and_watchers_outlive_a_snapshot_or_are_told() {
    let nodes = Nodes::found(3);
    let leader = nodes.leader();
    for number in 0..30 {
        put(nodes.at(leader), &format!("k/{number:02}"), "old");
    }
    nodes.settle();
    let away = nodes.others(leader)[0];
    let node = nodes.at(away);
    let before = node.header().revision;
    let mut behind = watch(node, before + 1);
    let view: SnapshotView = block_on(node.snapshot_view()).unwrap();
    nodes.net.isolate(away);
    let compacted = go_on_without(&nodes, away);
    assert_eq!(node.header().revision, before);
    nodes.net.heal();
    eventually("the snapshot came", || node.header().revision > compacted);
    eventually("a snapshot was sent", || nodes.net.snapshots.load(Ordering::SeqCst) > 0);
    assert!(
        matches!(next_events(&mut behind), Err(Error::Compacted { compact_revision }) if compact_revision >= compacted)
    );
    assert!(
        matches!(view.page(Revision::first(0), 1 << 20), Err(Error::Compacted { .. })),
        "the view is gone"
    );
    let old = RangeRequest { revision: before, serializable: true, ..RangeRequest::new(KeyRange::all()) };
    assert!(matches!(block_on(node.range(old)), Err(Error::Compacted { .. })));
    assert!(node.failed().is_none());
    nodes.settle();
    // A watcher that begins now goes on as ever.
    let mut fresh = watch(node, 0);
    let revision = put(nodes.at(leader), "new", "x");
    assert_eq!(next_events(&mut fresh), Ok(vec![revision]));
}

/// The power goes at each of the first operations of taking over a snapshot: while it is staged, when it is installed, and
/// before and after the log is let go.
#[test]
fn a_member_that_loses_its_power_while_it_takes_over_a_snapshot_comes_back() {
    let mut nodes = Nodes::found(3);
    let leader = nodes.leader();
    put(nodes.at(leader), "k/00", "old");
    nodes.settle();
    let away = nodes.others(leader)[0];
    for at in 1..=9 {
        nodes.net.isolate(away);
        let compacted = go_on_without(&nodes, away);
        let disk = nodes.members[&away].disk.clone();
        disk.arm(at, Fault::Crash);
        nodes.net.heal();
        eventually("the power goes, or all is there", || {
            disk.fired() || nodes.at(away).header().revision > compacted
        });
        nodes.stop(away);
        disk.crash(at);
        nodes.start(away, Founding::Join);
        eventually("it writes", || block_on(nodes.at(away).put(put_request("back", "x"))).is_ok());
        nodes.settle();
    }
    eventually("a snapshot was sent", || nodes.net.snapshots.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_cluster_restarts_with_everything() {
    let mut nodes = Nodes::found(3);
    for round in 0..3 {
        for id in 1..=3 {
            put(nodes.at(id), &format!("k/{round}/{id}"), "x");
        }
        nodes.settle();
        (1..=3).for_each(|id| nodes.stop(id));
        (1..=3).for_each(|id| nodes.start(id, Founding::Join));
        for id in 1..=3 {
            assert_eq!(range(nodes.at(id), false).unwrap().count, 3 * (round + 1));
        }
    }
}

#[test]
fn a_store_that_was_alone_grows_to_three_and_shrinks() {
    let mut nodes = Nodes::found(1);
    put(nodes.at(1), "first", "x");
    compact(nodes.at(1));
    for id in 2..=3 {
        nodes.start(id, Founding::Join);
        let change = MemberChange::AddLearner { member: id, description: described(id) };
        block_on(nodes.at(1).change_members(change)).unwrap();
        eventually("the learner has the log", || nodes.at(id).header().revision >= 2);
        block_on(nodes.at(1).change_members(MemberChange::Promote { member: id })).unwrap();
    }
    put(nodes.at(3), "second", "x");
    nodes.settle();
    nodes.stop(1);
    let leader = nodes.leader_among(&[2, 3]);
    put(nodes.at(leader), "third", "x");
    block_on(nodes.at(leader).change_members(MemberChange::Remove { member: 1 })).unwrap();
    assert_eq!(nodes.at(leader).membership().members.len(), 2);
    // Through a follower, which shows it at once.
    let follower = 5 - leader;
    for learner in 10..20 {
        let change = MemberChange::AddLearner { member: learner, description: described(learner) };
        block_on(nodes.at(follower).change_members(change)).unwrap();
        assert!(nodes.at(follower).members().unwrap().iter().any(|(member, _)| member.id == learner));
        block_on(nodes.at(follower).change_members(MemberChange::Remove { member: learner })).unwrap();
        assert_eq!(nodes.at(follower).members().unwrap().len(), 2);
    }
    put(nodes.at(2), "fourth", "x");
    nodes.settle();
}

#[test]
fn a_leader_that_is_removed_leaves_the_others_another() {
    let mut nodes = Nodes::found(3);
    let leader = nodes.leader();
    put(nodes.at(leader), "before", "x");
    block_on(nodes.at(leader).change_members(MemberChange::Remove { member: leader })).unwrap();
    let rest = nodes.others(leader);
    nodes.leader_among(&rest);
    for (number, id) in rest.iter().enumerate() {
        put(nodes.at(*id), &format!("after/{number}"), "x");
        assert_eq!(nodes.at(*id).members().unwrap().len(), 2);
    }
    // Who was removed decides nothing any more, and acknowledges nothing.
    let refused = block_on(nodes.at(leader).put(put_request("never", "acknowledged")));
    assert!(refused.is_err(), "{refused:?}");
    nodes.stop(leader);
    nodes.settle();
    assert_eq!(get(nodes.at(rest[0]), "never"), None);
}

fn grant(node: &Node, id: i64, ttl_s: i64) {
    let granted = block_on(node.lease_grant(LeaseGrantRequest { id: LeaseId(id), ttl_s })).unwrap();
    assert_eq!((granted.id, granted.ttl_s), (LeaseId(id), ttl_s));
}

fn keep_alive(node: &Node, id: i64) -> Result<i64, Error> {
    block_on(node.lease_keep_alive(LeaseId(id))).map(|answer| answer.ttl_s)
}

fn time_to_live(node: &Node, id: i64) -> LeaseTimeToLiveResponse {
    block_on(node.lease_time_to_live(LeaseTimeToLiveRequest { id: LeaseId(id), keys: true })).unwrap()
}

#[test]
fn leases_live_at_every_member() {
    let nodes = Nodes::found(3);
    let leader = nodes.leader();
    for id in 1..=3 {
        grant(nodes.at(id), 10 + id as i64, 100);
        let leased = PutRequest { lease: LeaseId(10 + id as i64), ..put_request(&format!("k{id}"), "x") };
        block_on(nodes.at(id % 3 + 1).put(leased)).unwrap();
        for other in 1..=3 {
            assert_eq!(keep_alive(nodes.at(other), 10 + id as i64), Ok(100));
            let lease = time_to_live(nodes.at(other), 10 + id as i64);
            assert!((90..=100).contains(&lease.ttl_s), "{lease:?}");
            assert_eq!((lease.granted_ttl_s, lease.keys), (100, vec![Bytes::from(format!("k{id}"))]));
        }
    }
    assert_eq!(keep_alive(nodes.at(2), 99), Ok(0), "an unknown lease");
    assert_eq!(time_to_live(nodes.at(3), 99).ttl_s, -1);
    for id in 1..=3 {
        block_on(nodes.at(id).lease_revoke(LeaseId(11 + id as i64 % 3))).unwrap();
    }
    assert_eq!(range(nodes.at(1), false).unwrap().count, 0);
    grant(nodes.at(1), 20, 100);
    nodes.net.isolate(leader);
    let rest = nodes.others(leader);
    nodes.leader_among(&rest);
    assert_eq!(keep_alive(nodes.at(leader), 20), Err(Error::NoLeader), "an isolated clock renews nothing");
    rest.iter().for_each(|id| assert_eq!(keep_alive(nodes.at(*id), 20), Ok(100)));
    nodes.net.heal();
    assert_eq!(keep_alive(nodes.at(leader), 20), Ok(100));
}

/// The clock of the next leader counts anew from its own start: never too early.
#[test]
fn a_lease_outlives_its_leader_by_no_less_than_its_time() {
    let mut nodes = Nodes::found(3);
    let leader = nodes.leader();
    let rest = nodes.others(leader);
    const TTL_S: u64 = 2;
    grant(nodes.at(rest[0]), 5, TTL_S as i64);
    block_on(nodes.at(rest[1]).put(PutRequest { lease: LeaseId(5), ..put_request("leased", "x") })).unwrap();
    let renewed = Instant::now();
    assert_eq!(keep_alive(nodes.at(rest[0]), 5), Ok(TTL_S as i64));
    nodes.stop(leader);
    eventually("the lease ends", || range(nodes.at(rest[0]), true).unwrap().count == 0);
    assert!(renewed.elapsed() >= Duration::from_secs(TTL_S), "after {:?}", renewed.elapsed());
    assert_eq!(keep_alive(nodes.at(rest[1]), 5), Ok(0));
    nodes.settle();
}

/// The log of a member in which one value is another, and nothing else of its store: what a bug, or a bit that flips in
/// memory, makes of a state.
fn falsified(disk: &MemoryDisk) -> MemoryDisk {
    let (log, _) = disk.open().unwrap();
    let (state, mut entries, mut changed) = (log.state(), Vec::new(), 0);
    let mut take = |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    };
    log.reader().read(0..u64::MAX, u64::MAX, &mut take).unwrap();
    for entry in &mut entries {
        if let Some(at) = entry.payload.windows(5).position(|bytes| bytes == b"truth") {
            let mut payload = entry.payload.to_vec();
            payload[at] = b'T';
            entry.payload = payload.into();
            changed += 1;
        }
    }
    assert_eq!((entries[0].id.index, changed), (0, 1), "all of the log is there");
    let falsified = MemoryDisk::simulated();
    let (mut log, _) = falsified.open().unwrap();
    log.write(&[LogOp::Append(entries), LogOp::SaveHardState(state.hard_state)], None).unwrap();
    drop(log);
    falsified
}

/// Has one follower's state differ from the others', where `k` is `truth`. Returns the leader and that follower.
fn differing(nodes: &mut Nodes) -> (u64, u64) {
    let leader = nodes.leader();
    put(nodes.at(leader), "k", "truth");
    nodes.settle();
    let odd = nodes.others(leader)[0];
    nodes.stop(odd);
    let member = nodes.members.get_mut(&odd).unwrap();
    member.disk = falsified(&member.disk);
    nodes.start(odd, Founding::Join);
    (leader, odd)
}

fn alarms(node: &Node) -> Vec<Alarm> {
    block_on(node.alarm(AlarmRequest { action: AlarmAction::Get, member: 0, kind: None })).unwrap().alarms
}

#[test]
fn a_member_whose_state_differs_is_found_and_serves_nobody() {
    let mut nodes = Nodes::found(3);
    let (leader, odd) = differing(&mut nodes);
    let mut watched = watch(nodes.at(odd), 0);
    put(nodes.at(leader), "more", "x");
    let raised = [Alarm { member: odd, kind: AlarmKind::Corrupt }];
    for id in 1..=3 {
        eventually("every member shows the alarm", || nodes.at(id).alarms() == raised);
        assert_eq!(alarms(nodes.at(id)), raised);
    }
    for restarted in [false, true] {
        if restarted {
            nodes.stop(odd);
            nodes.start(odd, Founding::Join);
            watched = watch(nodes.at(odd), 0);
        }
        let node = nodes.at(odd);
        eventually("it serves nobody", || matches!(range(node, true), Err(Error::Corrupt(_))));
        assert!(matches!(range(node, false), Err(Error::Corrupt(_))));
        assert!(matches!(block_on(node.put(put_request("k", "2"))), Err(Error::Corrupt(_))));
        assert!(matches!(keep_alive(node, 7), Err(Error::Corrupt(_))));
        assert!(matches!(next_events(&mut watched), Err(Error::Corrupt(_))), "watchers are told");
        let others = nodes.others(odd);
        for id in &others {
            assert_eq!(get(nodes.at(*id), "k").as_deref(), Some("truth"));
            put(nodes.at(*id), "others", "go on");
        }
        // It may be given the lead, and hands it on.
        let leader = nodes.leader_among(&others);
        if block_on(nodes.at(leader).move_leader(odd)).is_ok() {
            nodes.leader_among(&others);
        }
    }
    // Rebuilt under a new id.
    let others = nodes.others(odd);
    let asked = others[0];
    block_on(nodes.at(asked).change_members(MemberChange::Remove { member: odd })).unwrap();
    nodes.stop(odd);
    nodes.members.remove(&odd);
    let clear = AlarmRequest { action: AlarmAction::Deactivate, member: odd, kind: Some(AlarmKind::Corrupt) };
    block_on(nodes.at(asked).alarm(clear)).unwrap();
    nodes.start(4, Founding::Join);
    let change = MemberChange::AddLearner { member: 4, description: described(4) };
    block_on(nodes.at(asked).change_members(change)).unwrap();
    block_on(nodes.at(asked).change_members(MemberChange::Promote { member: 4 })).unwrap();
    assert_eq!(get(nodes.at(4), "k").as_deref(), Some("truth"));
    nodes.settle();
    assert_eq!(alarms(nodes.at(4)), []);
}

#[test]
fn where_nobody_knows_whose_state_is_right_nothing_is_changed() {
    let mut nodes = Nodes::found(2);
    differing(&mut nodes);
    let raised = [Alarm { member: 0, kind: AlarmKind::Corrupt }];
    for id in 1..=2 {
        eventually("the alarm is raised", || nodes.at(id).alarms() == raised);
        assert!(matches!(block_on(nodes.at(id).put(put_request("k", "2"))), Err(Error::Corrupt(_))));
        assert_eq!(range(nodes.at(id), true).unwrap().count, 1, "what is there can be looked at");
    }
}

#[test]
fn a_leader_that_ends_hands_over() {
    let nodes = Nodes::found(3);
    let first = nodes.leader_among(&[1, 2, 3]);
    block_on(nodes.at(first).hand_over());
    let next = nodes.at(first).leader().expect("it waited for the next one");
    assert_ne!(next, first);
    put(nodes.at(next), "k", "v");
    // Nobody else has anything to hand over, and whoever is alone nobody to take it.
    block_on(nodes.at(first).hand_over());
    assert_eq!(nodes.leader_among(&[1, 2, 3]), next);
    let alone = Nodes::found(1);
    alone.leader_among(&[1]);
    block_on(alone.at(1).hand_over());
    put(alone.at(1), "k", "v");
}
