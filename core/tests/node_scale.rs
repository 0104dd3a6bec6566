//! Large commands and large numbers do not stop anyone: through a whole node over the in-memory backend.

use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest};
use coffer_core::storage::MemoryDisk;
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{KeyRange, LeaseId};
use coffer_runtime::block_on;
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn open() -> Node {
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).expect("a node opens")
}

fn fill(node: &Node, keys: u64) {
    for chunk in (0..keys).collect::<Vec<_>>().chunks(5_000) {
        let puts = chunk.iter().map(|number| {
            let key = format!("big/{number:08}");
            node.put(PutRequest { key: key.into(), value: "value".into(), ..PutRequest::default() })
        });
        block_on(try_join_all(puts)).expect("puts succeed");
    }
}

fn count(node: &Node) -> i64 {
    let request = RangeRequest { limit: 1, ..RangeRequest::new(KeyRange::prefix("big/")) };
    block_on(node.range(request)).expect("a read succeeds").count
}

#[test]
fn a_huge_delete_is_atomic_and_does_not_stop_readers() {
    const KEYS: u64 = 300_000;
    let node = open();
    fill(&node, KEYS);
    let (running, reads) = (AtomicBool::new(true), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Acquire) {
                let count = count(&node);
                assert!(count == 0 || count == KEYS as i64, "half of a delete is visible: {count}");
                let request = RangeRequest { limit: 10, ..RangeRequest::new(KeyRange::prefix("big/")) };
                let page = block_on(node.range(request)).expect("a read succeeds");
                assert!(page.kvs.is_empty() || page.kvs.len() == 10, "half of a delete is visible");
                reads.fetch_add(1, Ordering::AcqRel);
            }
        });
        while reads.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        let before = reads.load(Ordering::Acquire);
        let request = DeleteRangeRequest { range: KeyRange::prefix("big/"), prev_kv: false };
        let response = block_on(node.delete_range(request));
        let during = reads.load(Ordering::Acquire) - before;
        running.store(false, Ordering::Release);
        assert_eq!(response.expect("a delete succeeds").deleted, KEYS as i64);
        assert!(during >= 1, "no read finished while the delete ran");
    });
    assert_eq!(count(&node), 0);
}

#[test]
fn many_leases_end_while_writes_go_on() {
    const LEASES: u64 = 20_000;
    let node = open();
    let grants = (0..LEASES).map(|_| node.lease_grant(LeaseGrantRequest { ttl_s: 2, id: LeaseId::NONE }));
    let leases = block_on(try_join_all(grants)).expect("grants succeed");
    let puts = leases.iter().enumerate().map(|(number, lease)| {
        let key = format!("leased/{number}");
        node.put(PutRequest { key: key.into(), lease: lease.id, ..PutRequest::default() })
    });
    block_on(try_join_all(puts)).expect("puts succeed");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut puts_while_ending = 0;
    loop {
        let left = block_on(node.lease_list()).expect("a list").leases.len() as u64;
        block_on(node.put(PutRequest { key: "other".into(), ..PutRequest::default() }))
            .expect("a put succeeds");
        puts_while_ending += u64::from(0 < left && left < LEASES);
        if left == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{left} leases do not end");
    }
    // Leases end in commands of a few hundred, and puts get their turn between them.
    assert!(puts_while_ending >= 5, "only {puts_while_ending} puts while {LEASES} leases ended");
    let request = RangeRequest { count_only: true, ..RangeRequest::new(KeyRange::prefix("leased/")) };
    assert_eq!(block_on(node.range(request)).expect("a count").count, 0);
}

#[test]
fn a_watcher_that_does_not_read_delays_nobody_and_catches_up() {
    const KEYS: u64 = 50_000;
    let node = open();
    let mut lazy = node.watch();
    lazy.create(WatchRequest::new(KeyRange::prefix("big/"))).expect("a watcher");
    fill(&node, KEYS);
    let mut seen = 0;
    let mut last = 0;
    while seen < KEYS {
        for response in block_on(lazy.next()).expect("the node runs") {
            if let WatchKind::Events { events, .. } = response.kind {
                for event in events.iter() {
                    assert!(event.event.record.revision.main > last, "an event came twice or out of order");
                    last = event.event.record.revision.main;
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, KEYS);
}
