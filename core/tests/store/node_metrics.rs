//! What a node counts is what happened.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::*;
use coffer_core::storage::MemoryDisk;
use coffer_core::{Error, KeyRange, LeaseId};
use coffer_runtime::block_on;
use std::sync::Arc;

fn put(key: &str, lease: LeaseId) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: "12345".into(), lease, ..PutRequest::default() }
}

#[test]
fn operations_leases_and_the_disk_are_counted() {
    let (log, records) = MemoryDisk::default().open().unwrap();
    let node = Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).unwrap();
    block_on(async {
        let lease = node.lease_grant(LeaseGrantRequest { ttl_s: 60, id: LeaseId::NONE }).await.unwrap().id;
        node.put(put("a", LeaseId::NONE)).await.unwrap();
        node.put(put("bb", lease)).await.unwrap();
        assert_eq!(node.put(put("c", LeaseId(77))).await.unwrap_err(), Error::LeaseNotFound);
        let txn = TxnRequest {
            success: vec![
                TxnOp::Put(put("d", LeaseId::NONE)),
                TxnOp::Range(RangeRequest::new(KeyRange::single("a"))),
                TxnOp::DeleteRange(DeleteRangeRequest { range: KeyRange::single("a"), prev_kv: false }),
            ],
            ..TxnRequest::default()
        };
        node.txn(txn).await.unwrap();
        let reads = vec![TxnOp::Range(RangeRequest::new(KeyRange::all())); 2];
        node.txn(TxnRequest { success: reads, ..TxnRequest::default() }).await.unwrap();
        node.range(RangeRequest::new(KeyRange::all())).await.unwrap();
        node.lease_keep_alive(lease).await.unwrap();
        node.lease_keep_alive(LeaseId(77)).await.unwrap();
        node.lease_revoke(lease).await.unwrap();
        let revision = node.header().revision;
        node.compact(CompactRequest { revision, physical: true }).await.unwrap();
    });
    let metrics = node.metrics();
    assert_eq!((metrics.puts, metrics.put_bytes, metrics.deletes), (3, 6 + 7 + 6, 1));
    assert_eq!((metrics.ranges, metrics.txns), (1 + 2 + 1, 2));
    assert_eq!((metrics.leases_granted, metrics.leases_revoked, metrics.leases_expired), (1, 1, 0));
    assert_eq!((metrics.leases_renewed, metrics.leases), (1, 0));
    assert_eq!((metrics.keys, metrics.revision, metrics.compact_revision), (1, 5, 5));
    assert!(metrics.has_leader && metrics.is_leader && !metrics.is_learner);
    assert_eq!((metrics.leader_changes, metrics.proposals_pending, metrics.proposals_failed), (1, 0, 0));
    assert_eq!(metrics.committed_index, metrics.applied_index);
    assert!(metrics.log_sync.counts.iter().sum::<u64>() > 0 && metrics.apply.counts.iter().sum::<u64>() > 0);
    assert!(metrics.flush.counts.iter().sum::<u64>() > 0, "a physical compaction flushes");
    assert_eq!(metrics.compaction.counts.iter().sum::<u64>(), 1);
    assert!(metrics.records_compacted > 0 && metrics.last_compaction_s > 0);
    node.shutdown();
}
