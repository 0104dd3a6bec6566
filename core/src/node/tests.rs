//! A whole node over the in-memory backend: the paths that cross modules.

use super::*;
use crate::key_range::KeyRange;
use crate::state::LeaseChange;
use crate::storage::MemoryDisk;
use crate::watch::{WatchKind, WatchRequest};
use bytes::Bytes;
use coffer_runtime::block_on;
use std::time::{Duration, Instant};

pub(super) fn open(disk: &MemoryDisk, boot: u64) -> Node {
    open_with(disk, NodeConfig { boot, ..NodeConfig::default() })
}

pub(super) fn open_with(disk: &MemoryDisk, config: NodeConfig) -> Node {
    let (log, records) = disk.open().expect("an intact disk opens");
    Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens")
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

pub(super) fn put(node: &Node, key: &str, value: &str) -> i64 {
    block_on(node.put(put_request(key, value))).expect("a put succeeds").header.revision
}

fn get(node: &Node, key: &str) -> Option<String> {
    let request = RangeRequest::new(KeyRange::single(key.to_owned()));
    let response = block_on(node.range(request)).expect("a read succeeds");
    response
        .kvs
        .into_iter()
        .next()
        .map(|kv| String::from_utf8(kv.value.to_vec()).expect("the test wrote text"))
}

pub(super) fn all(node: &Node) -> RangeResponse {
    block_on(node.range(RangeRequest::new(KeyRange::all()))).expect("a read succeeds")
}

#[test]
fn a_fresh_store_is_at_revision_one() {
    let node = open(&MemoryDisk::default(), 1);
    let response = all(&node);
    assert_eq!((response.header.revision, response.count, response.kvs.len()), (1, 0, 0));
    assert_eq!(put(&node, "a", "1"), 2);
    assert_eq!(get(&node, "a").as_deref(), Some("1"));
}

/// A future is copied into whatever waits for it, for every call, whether it needs all of its states or not.
#[test]
fn what_waits_for_a_write_is_small() {
    let node = open(&MemoryDisk::default(), 1);
    let put = size_of_val(&node.put(PutRequest::default()));
    let txn = size_of_val(&node.txn(TxnRequest::default()));
    let delete =
        size_of_val(&node.delete_range(DeleteRangeRequest { range: KeyRange::all(), prev_kv: false }));
    assert!(
        put <= 1024 && delete <= 1024 && txn <= 2048,
        "bytes: put {put}, txn {txn}, delete range {delete}"
    );
}

#[test]
fn content_survives_a_restart_whether_flushed_or_only_logged() {
    let disk = MemoryDisk::default();
    for boot in 1..=5 {
        let node = open(&disk, boot);
        for round in 1..boot {
            assert_eq!(get(&node, &format!("key-{round}")).as_deref(), Some(&format!("value-{round}")[..]));
        }
        put(&node, &format!("key-{boot}"), &format!("value-{boot}"));
        if boot % 2 == 0 {
            node.shutdown();
        }
    }
}

#[test]
fn reads_at_old_revisions_and_after_compaction() {
    let node = open(&MemoryDisk::default(), 1);
    let first = put(&node, "k", "one");
    let second = put(&node, "k", "two");
    put(&node, "other", "x");
    let at = |revision| {
        let request = RangeRequest { revision, ..RangeRequest::new(KeyRange::single("k")) };
        block_on(node.range(request)).map(|response| response.kvs.first().map(|kv| kv.value.clone()))
    };
    assert_eq!(at(first), Ok(Some(Bytes::from("one"))));
    assert_eq!(at(first - 1), Ok(None));
    assert_eq!(at(100), Err(Error::FutureRevision));
    block_on(node.compact(CompactRequest { revision: second, physical: true }))
        .expect("a compaction succeeds");
    assert_eq!(at(first), Err(Error::Compacted { compact_revision: second }));
    assert_eq!(at(second), Ok(Some(Bytes::from("two"))));
    let again = block_on(node.compact(CompactRequest { revision: second, physical: false }));
    assert_eq!(again.map(drop), Err(Error::Compacted { compact_revision: second }));
}

#[test]
fn pages_carry_the_exact_count() {
    let node = open(&MemoryDisk::default(), 1);
    for number in 0..1000 {
        put(&node, &format!("page/{number:04}"), "v");
    }
    put(&node, "zzz", "v");
    let request = RangeRequest { limit: 300, ..RangeRequest::new(KeyRange::prefix("page/")) };
    let page = block_on(node.range(request.clone())).expect("a page");
    assert_eq!((page.kvs.len(), page.count, page.more), (300, 1000, true));
    let old = RangeRequest { revision: 501, ..request };
    let page = block_on(node.range(old)).expect("an old page");
    assert_eq!((page.kvs.len(), page.count, page.more), (300, 500, true));
    let descending = RangeRequest {
        sort_order: SortOrder::Descend,
        limit: 2,
        ..RangeRequest::new(KeyRange::prefix("page/"))
    };
    let page = block_on(node.range(descending)).expect("a page from the end");
    assert_eq!(page.kvs[0].key, "page/0999");
    assert_eq!((page.kvs.len(), page.count, page.more), (2, 1000, true));
}

#[test]
fn a_txn_of_ranges_takes_the_path_of_reads() {
    let node = open(&MemoryDisk::default(), 1);
    put(&node, "a", "1");
    let index = block_on(node.status()).expect("a status").raft_index;
    let request = TxnRequest {
        compare: vec![Compare {
            range: KeyRange::single("a"),
            result: CompareResult::Equal,
            target: CompareTarget::Value("1".into()),
        }],
        success: vec![TxnOp::Range(RangeRequest::new(KeyRange::single("a")))],
        failure: vec![],
    };
    let response = block_on(node.txn(request)).expect("a txn succeeds");
    assert!(response.succeeded);
    assert!(matches!(&response.responses[..], [TxnOpResponse::Range(range)] if range.count == 1));
    assert_eq!(block_on(node.status()).expect("a status").raft_index, index, "nothing was proposed");
}

#[test]
fn a_lease_expires_with_its_keys_not_early_and_not_late() {
    let election_timeout = Duration::from_millis(250);
    let config = NodeConfig {
        heartbeat_interval: Duration::from_millis(50),
        election_timeout,
        ..NodeConfig::default()
    };
    let node = open_with(&MemoryDisk::default(), config);
    let lease =
        block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 1, id: LeaseId::NONE })).expect("a lease");
    let granted = Instant::now();
    assert_eq!(lease.ttl_s, 1);
    block_on(node.put(PutRequest { lease: lease.id, ..put_request("k", "v") })).expect("a put with a lease");
    while get(&node, "k").is_some() {
        assert!(granted.elapsed() < Duration::from_secs(60), "the lease does not end");
        std::thread::yield_now();
    }
    assert!(granted.elapsed() >= Duration::from_millis(990), "ended early, after {:?}", granted.elapsed());
    let keep_alive = block_on(node.lease_keep_alive(lease.id)).expect("a keepalive is answered");
    assert_eq!(keep_alive.ttl_s, 0);
}

#[test]
fn watchers_see_past_and_present() {
    let node = open(&MemoryDisk::default(), 1);
    put(&node, "w/1", "a");
    put(&node, "w/2", "b");
    let mut stream = node.watch();
    let request = WatchRequest { start_revision: 2, ..WatchRequest::new(KeyRange::prefix("w/")) };
    stream.create(request).expect("a watcher");
    put(&node, "x", "not watched");
    put(&node, "w/3", "c");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        for response in block_on(stream.next()).expect("the node runs") {
            if let WatchKind::Events { events, .. } = response.kind {
                seen.extend(events.iter().map(|event| event.event.record.key.clone()));
            }
        }
    }
    assert_eq!(seen, ["w/1", "w/2", "w/3"]);
}

#[test]
fn hash_depends_on_content_only() {
    let disks = [MemoryDisk::default(), MemoryDisk::default()];
    let hashes = disks.map(|disk| {
        let node = open(&disk, 1);
        for number in 0..100 {
            put(&node, &format!("h/{}", number % 10), &number.to_string());
        }
        block_on(node.compact(CompactRequest { revision: 50, physical: true })).expect("a compaction");
        block_on(node.hash_kv(0))
            .map(|response| (response.hash, response.compact_revision, response.hash_revision))
    });
    assert_eq!(hashes[0], hashes[1]);
    assert!(matches!(hashes[0], Ok((_, 50, 101))));
}

#[test]
fn content_is_equal_after_compaction_crash_and_replay() {
    let disk = MemoryDisk::default();
    let node = open_with(&disk, NodeConfig { flush_bytes: 4096, ..NodeConfig::default() });
    for number in 0..500 {
        put(&node, &format!("c/{}", number % 20), &number.to_string());
        if number % 50 == 49 {
            let revision = node.header().revision - 5;
            block_on(node.compact(CompactRequest { revision, physical: number % 100 == 99 }))
                .expect("a compaction");
        }
    }
    let before = (all(&node).kvs, block_on(node.hash_kv(0)).expect("a hash").hash);
    drop(node);
    let node = open(&disk, 2);
    assert_eq!(all(&node).kvs, before.0);
    assert_eq!(block_on(node.hash_kv(0)).expect("a hash").hash, before.1);
}

#[test]
fn a_shutdown_waits_for_the_outcome_of_what_was_accepted() {
    let disk = MemoryDisk::default();
    let node = open(&disk, 1);
    let writer = node.clone();
    let writes = std::thread::spawn(move || {
        let mut results = Vec::new();
        for round in 0.. {
            let puts = (0..50).map(|number| writer.put(put_request(&format!("{round}/{number}"), "v")));
            let round_results = block_on(futures_util::future::join_all(puts));
            let ended = round_results.iter().any(Result::is_err);
            results.extend(round_results.into_iter().map(|result| result.map(drop)));
            if ended {
                break;
            }
        }
        results
    });
    while node.header().revision < 200 {
        std::thread::yield_now();
    }
    node.shutdown();
    let results = writes.join().expect("the writer ends");
    let acknowledged = results.iter().filter(|result| result.is_ok()).count();
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Stopped))), "{results:?}");
    drop(node);
    let node = open(&disk, 2);
    assert_eq!(all(&node).count as usize, acknowledged);
}

#[test]
fn after_a_shutdown_everything_is_refused() {
    let disk = MemoryDisk::default();
    let node = open(&disk, 1);
    put(&node, "a", "1");
    node.shutdown();
    node.shutdown();
    assert_eq!(block_on(node.put(put_request("a", "2"))).map(drop), Err(Error::Stopped));
    assert_eq!(block_on(node.range(RangeRequest::new(KeyRange::all()))).map(drop), Err(Error::Stopped));
}

#[test]
fn a_boot_number_that_was_used_is_refused() {
    let disk = MemoryDisk::default();
    let reopen = |boot| {
        let (log, records) = disk.open().expect("an intact disk opens");
        Node::open(NodeConfig { boot, ..NodeConfig::default() }, Box::new(log), Arc::new(records))
    };
    // Some lives are flushed by their shutdown, others are in the log only; some leave nothing but a blank entry.
    for (boot, writes, flushes) in [(5, true, false), (6, false, false), (7, true, true), (8, true, true)] {
        let node = reopen(boot).expect("a greater number is fine");
        if writes {
            put(&node, "k", "v");
        }
        if flushes {
            let revision = node.header().revision;
            block_on(node.compact(CompactRequest { revision, physical: true })).expect("a flush");
        }
        drop(node);
        let newest = if writes { boot } else { boot - 1 };
        for refused in [1, newest - 1, newest] {
            let error = reopen(refused).map(drop).expect_err("a number that was used");
            assert!(
                matches!(&error, Error::Open(text) if text.contains(&format!("above {newest}"))),
                "{error}"
            );
        }
    }
}

#[test]
fn a_keepalive_under_a_term_that_is_over_is_refused_and_proposes_little() {
    let node = open(&MemoryDisk::default(), 1);
    let id =
        block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 600, id: LeaseId::NONE })).expect("a lease").id;
    // As if this node had not heard yet that its term is over: what it proposes has no effect.
    node.inner.leases.leadership(Some(99));
    node.inner.leases.changed(&[LeaseChange::Checkpointed { id, remaining_s: 300 }]);
    let index = || block_on(node.status()).expect("a status").raft_index;
    let before = index();
    assert_eq!(block_on(node.inner.leases.renew(id)), Err(Error::NotLeader));
    let proposed = index() - before;
    assert!((1..=3).contains(&proposed), "{proposed} proposals");
    // And once it has heard: the clear takes effect and the lease is renewed.
    node.inner.leases.leadership(Some(node.header().raft_term));
    node.inner.leases.changed(&[LeaseChange::Checkpointed { id, remaining_s: 300 }]);
    let before = index();
    assert_eq!(block_on(node.lease_keep_alive(id)).map(|answer| answer.ttl_s), Ok(600));
    assert_eq!(index() - before, 1);
}
