//! The quota of a whole node over the in-memory backend.

use crate::node::tests::{all, open_with};
use crate::node::{Node, NodeConfig};
use crate::request::*;
use crate::storage::MemoryDisk;
use crate::{Error, KeyRange, LeaseId};
use coffer_runtime::block_on;
use futures_util::future::join_all;
use std::time::{Duration, Instant};

const QUOTA: u64 = 256 << 10;

fn config(boot: u64) -> NodeConfig {
    NodeConfig { boot, quota_bytes: QUOTA, flush_bytes: 16 << 10, ..NodeConfig::default() }
}

fn put(node: &Node, number: usize) -> Result<i64, Error> {
    let request = PutRequest {
        key: format!("q/{number:06}").into(),
        value: vec![b'v'; 2000].into(),
        ..PutRequest::default()
    };
    block_on(node.put(request)).map(|response| response.header.revision)
}

/// Puts until it is refused. Returns how many were taken.
fn fill(node: &Node) -> usize {
    let taken = (0..10_000).take_while(|&number| put(node, number).is_ok()).count();
    assert_eq!(put(node, 0), Err(Error::NoSpace));
    taken
}

fn alarms(node: &Node) -> Vec<Alarm> {
    block_on(node.alarm(AlarmRequest::default())).expect("alarms are listed").alarms
}

fn full() -> Alarm {
    Alarm { member: 1, kind: AlarmKind::NoSpace }
}

fn delete_and_compact(node: &Node) {
    let request = DeleteRangeRequest { range: KeyRange::all(), prev_kv: false };
    let revision = block_on(node.delete_range(request)).expect("a deletion is taken").header.revision;
    block_on(node.compact(CompactRequest { revision, physical: true })).expect("a compaction is taken");
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_store_takes_no_more_until_a_compaction_has_made_room() {
    let node = open_with(&MemoryDisk::default(), config(1));
    let taken = fill(&node);
    assert!((60..140).contains(&taken), "{taken} puts of 2 KB fit in {QUOTA} bytes");
    assert_eq!(alarms(&node), [full()]);
    let status = block_on(node.status()).expect("a status");
    assert_eq!((status.quota_bytes, &status.alarms[..]), (QUOTA, &[full()][..]));
    assert_eq!(status.errors, ["alarm NOSPACE of member 1"]);
    let grant = LeaseGrantRequest { ttl_s: 60, id: LeaseId::NONE };
    assert_eq!(block_on(node.lease_grant(grant)), Err(Error::NoSpace));
    assert_eq!(all(&node).count as usize, taken, "reads go on");
    delete_and_compact(&node);
    wait_until("the alarm is cleared", || alarms(&node).is_empty());
    put(&node, 0).expect("there is room again");
}

#[test]
fn what_an_operator_raised_no_compaction_clears() {
    let node = open_with(&MemoryDisk::default(), config(1));
    let set = |action| {
        let request = AlarmRequest { action, member: 1, kind: Some(AlarmKind::NoSpace) };
        block_on(node.alarm(request)).expect("it is taken").alarms
    };
    fill(&node);
    assert_eq!(set(AlarmAction::Activate), [full()], "raised by both");
    delete_and_compact(&node);
    // Every flush and every compaction has a look; this is as much room as there will ever be.
    for _ in 0..3 {
        let revision = block_on(node.status()).expect("a status").header.revision;
        let compacted = block_on(node.compact(CompactRequest { revision, physical: true }));
        assert!(matches!(compacted, Ok(_) | Err(Error::Compacted { .. })), "{compacted:?}");
        assert_eq!(put(&node, 0), Err(Error::NoSpace));
    }
    assert_eq!(set(AlarmAction::Deactivate), [full()]);
    put(&node, 0).expect("there is room again");
}

#[test]
fn deletions_alone_make_no_room() {
    let node = open_with(&MemoryDisk::default(), config(1));
    fill(&node);
    let request = DeleteRangeRequest { range: KeyRange::all(), prev_kv: false };
    block_on(node.delete_range(request)).expect("a deletion is taken");
    assert_eq!(put(&node, 0), Err(Error::NoSpace));
    assert_eq!(alarms(&node), [full()]);
}

#[test]
fn an_alarm_outlives_the_process() {
    let disk = MemoryDisk::default();
    let node = open_with(&disk, config(1));
    fill(&node);
    drop(node);
    for boot in 2..4 {
        let node = open_with(&disk, config(boot));
        assert_eq!(alarms(&node), [full()]);
        assert_eq!(put(&node, 0), Err(Error::NoSpace));
    }
    let node = open_with(&disk, NodeConfig { quota_bytes: QUOTA * 2, ..config(4) });
    wait_until("the alarm is cleared, as the quota is larger now", || alarms(&node).is_empty());
    put(&node, 0).expect("there is room again");
}

#[test]
fn without_a_quota_the_alarm_that_an_earlier_one_raised_ends() {
    let disk = MemoryDisk::default();
    let node = open_with(&disk, config(1));
    fill(&node);
    drop(node);
    let node = open_with(&disk, NodeConfig { quota_bytes: 0, ..config(2) });
    wait_until("the alarm is cleared", || alarms(&node).is_empty());
    put(&node, 0).expect("there is room again");
}

#[test]
fn what_an_operator_raised_outlives_the_process_and_any_quota() {
    let disk = MemoryDisk::default();
    let node = open_with(&disk, config(1));
    let set = |node: &Node, action| {
        let request = AlarmRequest { action, member: 1, kind: Some(AlarmKind::NoSpace) };
        block_on(node.alarm(request)).expect("it is taken").alarms
    };
    assert_eq!(set(&node, AlarmAction::Activate), [full()]);
    drop(node);
    let node = open_with(&disk, NodeConfig { quota_bytes: 0, ..config(2) });
    // Each flush has a look whether the alarm may be cleared.
    for _ in 0..3 {
        assert_eq!(put(&node, 0), Err(Error::NoSpace));
        let request = DeleteRangeRequest { range: KeyRange::all(), prev_kv: false };
        let revision = block_on(node.delete_range(request)).expect("a deletion is taken").header.revision;
        let compacted = block_on(node.compact(CompactRequest { revision, physical: true }));
        assert!(matches!(compacted, Ok(_) | Err(Error::Compacted { .. })), "{compacted:?}");
        assert_eq!(alarms(&node), [full()]);
    }
    assert_eq!(set(&node, AlarmAction::Deactivate), [full()]);
    put(&node, 0).expect("it is cleared");
}

#[test]
fn a_crowd_raises_the_alarm_and_the_quota_holds() {
    let node = open_with(&MemoryDisk::default(), config(1));
    let index = block_on(node.status()).expect("a status").raft_index;
    let puts = (0..1000).map(|number| {
        let request = PutRequest {
            key: format!("c/{number}").into(),
            value: vec![b'v'; 2000].into(),
            ..PutRequest::default()
        };
        node.put(request)
    });
    let results = block_on(join_all(puts));
    for number in 0..1000 {
        if put(&node, number).is_err() {
            break;
        }
    }
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::NoSpace))));
    assert_eq!(alarms(&node), [full()]);
    let entries = block_on(node.status()).expect("a status").raft_index - index;
    assert!(entries < 500, "refused puts leave nothing in the log: {entries} entries");
}

#[test]
fn a_node_without_a_quota_obeys_alarms_too() {
    let node = open_with(&MemoryDisk::default(), NodeConfig::default());
    let set = |action, kind| {
        block_on(node.alarm(AlarmRequest { action, member: 77, kind })).expect("it is taken").alarms
    };
    let raised = [Alarm { member: 77, kind: AlarmKind::Corrupt }];
    assert_eq!(set(AlarmAction::Activate, None), []);
    assert_eq!(set(AlarmAction::Activate, Some(AlarmKind::Corrupt)), raised);
    assert!(matches!(put(&node, 0), Err(Error::Corrupt(_))));
    assert_eq!(all(&node).count, 0, "reads go on");
    assert_eq!(node.failed(), None, "an alarm is no fault of this node");
    assert_eq!(set(AlarmAction::Get, Some(AlarmKind::NoSpace)), []);
    assert_eq!(set(AlarmAction::Deactivate, Some(AlarmKind::Corrupt)), raised);
    assert_eq!(set(AlarmAction::Deactivate, Some(AlarmKind::Corrupt)), []);
    put(&node, 0).expect("it is cleared");
}

#[test]
fn leases_that_end_under_an_alarm_end_after_it() {
    let timing = NodeConfig {
        heartbeat_interval: Duration::from_millis(50),
        election_timeout: Duration::from_millis(250),
        ..NodeConfig::default()
    };
    let node = open_with(&MemoryDisk::default(), timing);
    let grant = LeaseGrantRequest { ttl_s: 1, id: LeaseId(5) };
    block_on(node.lease_grant(grant)).expect("a lease");
    let granted = Instant::now();
    let request = PutRequest { key: "k".into(), lease: LeaseId(5), ..PutRequest::default() };
    block_on(node.put(request)).expect("a put");
    let set = |action| AlarmRequest { action, member: 1, kind: Some(AlarmKind::Corrupt) };
    block_on(node.alarm(set(AlarmAction::Activate))).expect("the alarm is raised");
    let index = || block_on(node.status()).expect("a status").raft_index;
    let before = index();
    wait_until("the expiry is proposed", || granted.elapsed() > Duration::from_secs(1) && index() > before);
    assert_eq!(all(&node).count, 1);
    block_on(node.alarm(set(AlarmAction::Deactivate))).expect("the alarm is cleared");
    wait_until("the lease has ended", || all(&node).count == 0);
}
