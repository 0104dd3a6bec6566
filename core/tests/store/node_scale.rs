//! Large commands and large numbers do not stop anyone: through a whole node over the in-memory backend.

use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest};
use coffer_core::storage::MemoryDisk;
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange, LeaseId};
use coffer_runtime::block_on;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn open() -> Node {
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).expect("a node opens")
}

/// All outcomes of `requests`, some thousand at a time under way; what is refused for its number is asked again.
fn all<I, T, F>(requests: impl IntoIterator<Item = I>, ask: impl Fn(&I) -> F) -> Vec<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let ask = &ask;
    let asked = stream::iter(requests).map(|request| async move {
        loop {
            match ask(&request).await {
                Err(Error::TooManyRequests) => coffer_runtime::yield_now().await,
                done => break done,
            }
        }
    });
    block_on(asked.buffered(5_000).try_collect()).expect("requests succeed")
}

fn fill(node: &Node, keys: u64) {
    all(0..keys, |number| {
        let key = format!("big/{number:08}");
        node.put(PutRequest { key: key.into(), value: "value".into(), ..PutRequest::default() })
    });
}

fn count(node: &Node) -> i64 {
    let request = RangeRequest { limit: 1, ..RangeRequest::new(KeyRange::prefix("big/")) };
    block_on(node.range(request)).expect("a read succeeds").count
}

#[test]
fn a_huge_delete_is_atomic_and_does_not_stop_readers() {
    let keys = match std::env::var("COFFER_SCALE_KEYS") {
        Ok(keys) => keys.parse().expect("COFFER_SCALE_KEYS is a number"),
        Err(_) => 300_000,
    };
    let node = open();
    fill(&node, keys);
    let keys = keys as i64;
    let (running, reads) = (AtomicBool::new(true), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Acquire) {
                let count = count(&node);
                assert!(count == 0 || count == keys, "half of a delete is visible: {count}");
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
        assert_eq!(response.expect("a delete succeeds").deleted, keys);
        println!("{during} counts and pages were read while {keys} keys were deleted");
        assert!(during >= 1, "no read finished while the delete ran");
    });
    assert_eq!(count(&node), 0);
}

/// The criterion counts, because a clock would measure the machine. One expiry is on its way at a time, and what is left
/// changes at nothing else: so puts that were acknowledged at so many different numbers of leases left had their turn
/// between at least half as many expiries.
#[test]
fn a_hundred_thousand_leases_end_at_once_while_writes_go_on() {
    const LEASES: u64 = 100_000;
    const TTL_S: i64 = 6;
    let node = open();
    let mut leases = Vec::new();
    for chunk in 0..10 {
        let granted =
            all(0..LEASES / 10, |_| node.lease_grant(LeaseGrantRequest { ttl_s: TTL_S, id: LeaseId::NONE }));
        leases.extend(granted.into_iter().map(|lease| lease.id));
        all(&leases[leases.len() - LEASES as usize / 10..], |&&lease| {
            let key = format!("leased/{chunk}/{lease}");
            node.put(PutRequest { key: key.into(), lease, ..PutRequest::default() })
        });
        // So all of them end at the same time, however long their grants took.
        let renewed = all(&leases, |&&lease| node.lease_keep_alive(lease));
        assert!(renewed.iter().all(|lease| lease.ttl_s == TTL_S), "a lease ended while others were granted");
    }
    let leased = RangeRequest { count_only: true, ..RangeRequest::new(KeyRange::prefix("leased/")) };
    assert_eq!(block_on(node.range(leased.clone())).expect("a count").count, LEASES as i64);

    let deadline = Instant::now() + Duration::from_secs(120);
    let mut seen = BTreeSet::new();
    loop {
        block_on(node.put(PutRequest { key: "other".into(), ..PutRequest::default() }))
            .expect("a put succeeds");
        let left = block_on(node.status()).expect("a status").leases;
        if left == 0 {
            break;
        }
        if left < LEASES {
            seen.insert(left);
        }
        assert!(Instant::now() < deadline, "{left} leases do not end");
    }
    println!("puts were acknowledged at {} different numbers of leases left", seen.len());
    assert!(seen.len() >= 80, "only {} puts had their turn while {LEASES} leases ended", seen.len());
    assert!(block_on(node.lease_list()).expect("a list").leases.is_empty());
    assert_eq!(block_on(node.range(leased)).expect("a count").count, 0);
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
