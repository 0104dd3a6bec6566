//! A view of a node has all of it, and a store made from a view is the same store: over the in-memory backend.

use bytes::Bytes;
use coffer_core::node::restore::{Audit, Restored, audit, restore};
use coffer_core::node::{Node, NodeConfig, SnapshotView};
use coffer_core::request::*;
use coffer_core::revision::Revision;
use coffer_core::storage::{DirectoryEntry, Log, MemoryDisk, Records, SnapshotSource, StorageError};
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange, LeaseId, Member, MemberInfo, Record};
use coffer_runtime::block_on;
use std::sync::Arc;

fn open(disk: &MemoryDisk, boot: u64) -> Node {
    let (log, records) = disk.open().expect("an intact disk opens");
    let config = NodeConfig { boot, member_id: 7, ..NodeConfig::default() };
    Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens")
}

fn put(node: &Node, key: &str, value: &str, lease: i64) {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        lease: LeaseId(lease),
        ..PutRequest::default()
    };
    block_on(node.put(request)).expect("a put succeeds");
}

fn delete(node: &Node, range: KeyRange) {
    block_on(node.delete_range(DeleteRangeRequest { range, prev_kv: false })).expect("a delete succeeds");
}

fn compact(node: &Node, revision: i64) {
    block_on(node.compact(CompactRequest { revision, physical: true })).expect("a compaction succeeds");
}

fn hash(node: &Node, revision: i64) -> HashKvResponse {
    block_on(node.hash_kv(revision)).expect("a hash")
}

/// A store with everything that a snapshot must carry.
fn filled(disk: &MemoryDisk) -> Node {
    let node = open(disk, 1);
    block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 600, id: LeaseId(5) })).expect("a lease");
    block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 700, id: LeaseId(-9) })).expect("a lease");
    for round in 0..30 {
        put(
            &node,
            &format!("key-{}", round % 7),
            &"x".repeat(round * 11),
            if round % 3 == 0 { 5 } else { 0 },
        );
    }
    delete(&node, KeyRange::prefix("key-2"));
    compact(&node, 25);
    put(&node, "key-2", "again", 0);
    let both = ["t1", "t2"]
        .map(|key| TxnOp::Put(PutRequest { key: key.into(), value: "both".into(), ..PutRequest::default() }));
    block_on(node.txn(TxnRequest { success: both.into(), ..TxnRequest::default() })).expect("a txn");
    delete(&node, KeyRange::prefix("key-3"));
    node
}

/// All records of a view, taken in pages of about this many bytes.
fn records(view: &SnapshotView, page_bytes: usize) -> Vec<Record> {
    let (mut all, mut next) = (Vec::new(), Revision::default());
    loop {
        let page = view.page(next, page_bytes).expect("a page");
        let Some(last) = page.last() else { return all };
        next = Revision { sub: last.revision.sub + 1, ..last.revision };
        all.extend(page);
    }
}

fn size(key: &[u8], entry: &DirectoryEntry) -> u32 {
    key.len() as u32 * 1000 + entry.value_bytes + u32::from(entry.tombstone)
}

struct Source(std::vec::IntoIter<Record>);

impl SnapshotSource for Source {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        Ok(self.0.next())
    }
}

fn restored(disk: &MemoryDisk, content: &Restored, records: Vec<Record>) -> Result<Audit, Error> {
    {
        let (mut log, stored) = disk.open().expect("an empty disk opens");
        restore(7, &[], &mut log, &stored, content, &mut Source(records.into_iter()))?;
    }
    let (_log, stored) = disk.open().expect("a restored disk opens");
    audit(Arc::new(stored))
}

fn content(view: &SnapshotView) -> Restored {
    Restored {
        revision: view.revision(),
        compact_revision: view.compact_revision(),
        leases: view.leases().to_vec(),
    }
}

#[test]
fn a_view_is_measured_and_read_alike_whatever_happens_meanwhile() {
    let disk = MemoryDisk::new();
    let node = filled(&disk);
    let view = block_on(node.snapshot_view()).expect("a view");
    let before = records(&view, 1);
    // More history, and a compaction that would take what the view shows.
    put(&node, "key-1", "later", 0);
    block_on(node.compact(CompactRequest { revision: view.revision(), physical: false })).expect("compacts");
    let measured = view.measure(&mut size).expect("measured");
    let after = records(&view, 500);
    assert_eq!(before, after);
    let expected: Vec<(Revision, u32)> = after
        .iter()
        .map(|record| {
            let value = record.value.len() as u32;
            (record.revision, record.key.len() as u32 * 1000 + value + u32::from(record.tombstone))
        })
        .collect();
    assert_eq!(measured, expected);
    assert!(
        after.iter().any(|record| record.tombstone) && after.iter().any(|record| record.revision.sub == 1)
    );
    assert_eq!(view.leases().iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [-9, 5]);
    drop(view);
    node.shutdown();
}

#[test]
fn a_view_fails_once_the_node_has_stopped() {
    let node = filled(&MemoryDisk::new());
    let view = block_on(node.snapshot_view()).expect("a view");
    node.shutdown();
    assert_eq!(view.page(Revision::default(), 1), Err(Error::Stopped));
    assert_eq!(block_on(node.snapshot_view()).map(|_| ()), Err(Error::Stopped));
}

#[test]
fn a_store_made_from_a_view_is_the_same_store() {
    let node = filled(&MemoryDisk::new());
    let view = block_on(node.snapshot_view()).expect("a view");
    let copy = MemoryDisk::new();
    let audit = restored(&copy, &content(&view), records(&view, 4096)).expect("a restored store");
    let original = hash(&node, 0);
    assert_eq!(
        (audit.hash, audit.revision, audit.compact_revision, audit.leases),
        (original.hash, original.hash_revision, original.compact_revision, 2)
    );

    let all = |node: &Node| block_on(node.range(RangeRequest::new(KeyRange::all()))).expect("a range");
    for boot in 2..4 {
        let copied = open(&copy, boot);
        assert_eq!(all(&copied).kvs, all(&node).kvs);
        assert_eq!(hash(&copied, 0).hash, original.hash);
        let lease = LeaseTimeToLiveRequest { id: LeaseId(5), keys: true };
        let keys = |node: &Node| block_on(node.lease_time_to_live(lease)).expect("a lease");
        let (found, expected) = (keys(&copied), keys(&node));
        assert_eq!((found.granted_ttl_s, found.keys), (600, expected.keys));
        assert!((1..=600).contains(&found.ttl_s));
        let compacted = RangeRequest { revision: 3, ..RangeRequest::new(KeyRange::all()) };
        assert_eq!(
            block_on(copied.range(compacted)).map(|_| ()),
            Err(Error::Compacted { compact_revision: 25 })
        );
        copied.shutdown();
    }
    let copied = open(&copy, 4);
    put(&copied, "new", "write", 0);
    assert_eq!(copied.header().revision, view.revision() + 1);
}

/// A watch may begin at the compact revision, in the copy too.
#[test]
fn what_happened_at_the_compact_revision_is_carried_along() {
    let node = open(&MemoryDisk::new(), 1);
    ["stays", "goes", "first", "second"].iter().for_each(|key| put(&node, key, "1", 0));
    // Revision 6: a deletion and a put at once.
    let deletion = |key: &str| {
        TxnOp::DeleteRange(DeleteRangeRequest { range: KeyRange::single(key.to_owned()), prev_kv: false })
    };
    let put_again =
        TxnOp::Put(PutRequest { key: "stays".into(), value: "2".into(), ..PutRequest::default() });
    let success = vec![deletion("goes"), put_again];
    block_on(node.txn(TxnRequest { success, ..TxnRequest::default() })).expect("a txn");
    put(&node, "later", "1", 0);
    compact(&node, 6);
    let view = block_on(node.snapshot_view()).expect("a view");
    let copy = MemoryDisk::new();
    let audit = restored(&copy, &content(&view), records(&view, 4096)).expect("a restored store");
    assert_eq!(audit.hash, hash(&node, 0).hash);
    let told = |node: &Node| {
        let mut stream = node.watch();
        stream
            .create(WatchRequest { start_revision: 6, ..WatchRequest::new(KeyRange::all()) })
            .expect("a watch");
        let mut told = Vec::new();
        while told.len() < 3 {
            for response in block_on(stream.next()).expect("it goes on") {
                if let WatchKind::Events { events, .. } = response.kind {
                    told.extend(
                        events.iter().map(|it| (it.event.record.key.clone(), it.event.record.tombstone)),
                    );
                }
            }
        }
        told
    };
    let expected =
        [("goes", true), ("stays", false), ("later", false)].map(|(key, gone)| (Bytes::from(key), gone));
    assert_eq!(told(&node), expected);
    for boot in 2..4 {
        let copied = open(&copy, boot);
        assert_eq!(told(&copied), expected);
        copied.shutdown();
    }
}

fn members(ids: &[u64]) -> Vec<Member> {
    let urls = |id| vec![format!("http://m{id}:7421")];
    ids.iter()
        .map(|id| Member {
            id: *id,
            info: MemberInfo { name: format!("m{id}"), peer_urls: urls(id), ..MemberInfo::default() },
        })
        .collect()
}

/// Member `member` of `cluster`, restored from a single record.
fn founded(disk: &MemoryDisk, member: u64, cluster: &[u64]) -> Result<(), Error> {
    let (mut log, stored) = disk.open().expect("an empty disk opens");
    let content = Restored { revision: 9, ..Restored::default() };
    let record = Record {
        revision: Revision::first(3),
        key: "a".into(),
        value: "1".into(),
        create_revision: 3,
        version: 1,
        lease: LeaseId::NONE,
        tombstone: false,
    };
    restore(member, &members(cluster), &mut log, &stored, &content, &mut Source(vec![record].into_iter()))
}

#[test]
fn a_restored_member_knows_its_name_and_urls() {
    let disk = MemoryDisk::new();
    founded(&disk, 7, &[7]).expect("restored");
    for boot in 1..3 {
        let node = open(&disk, boot);
        let known = node.members().expect("members");
        assert_eq!(known, [(members(&[7]).remove(0), true)]);
        put(&node, "b", "2", 0);
        node.shutdown();
    }
    let node = open(&MemoryDisk::new(), 1);
    let nothing = Member { id: 7, info: MemberInfo::default() };
    assert_eq!(
        node.members(),
        Ok(vec![(nothing, true)]),
        "who founds a cluster alone says nothing of itself"
    );
}

/// Until there is a way to the others, it can not be served, and must not pretend to be alone.
#[test]
fn members_of_one_cluster_begin_with_the_same_state() {
    let states = [3, 7, 9].map(|member| {
        let disk = MemoryDisk::new();
        founded(&disk, member, &[3, 7, 9]).expect("restored");
        let (log, records) = disk.open().expect("opens");
        let state = (records.checkpoint(), log.state());
        let config = NodeConfig { boot: 1, member_id: member, ..NodeConfig::default() };
        let refused = Node::open(config, Box::new(log), Arc::new(records)).map(|_| ());
        let others =
            [(3, "m3 (3)"), (7, "m7 (7)"), (9, "m9 (9)")].into_iter().filter(|(id, _)| *id != member);
        let others: Vec<&str> = others.map(|(_, name)| name).collect();
        let expected = format!("3 members of a cluster, beside {}", others.join(", "));
        assert!(matches!(&refused, Err(Error::Open(reason)) if reason.contains(&expected)), "{refused:?}");
        state
    });
    assert!(states[0].0.is_some());
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    for (member, cluster, reason) in [
        (7, &[3, 9][..], "7 is not among"),
        (7, &[7, 3], "do not ascend"),
        (7, &[7, 7], "do not ascend"),
        (7, &[0, 7], "above 0"),
    ] {
        let refused = founded(&MemoryDisk::new(), member, cluster);
        assert!(
            matches!(&refused, Err(Error::InvalidArgument(found)) if found.contains(reason)),
            "{refused:?}"
        );
    }
}

#[test]
fn what_no_store_would_hold_is_refused_by_name() {
    let record = |main: i64, key: &'static str| Record {
        revision: Revision::first(main),
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(b"v"),
        create_revision: main,
        version: 1,
        lease: LeaseId::NONE,
        tombstone: false,
    };
    let at = |revision, compact_revision| Restored { revision, compact_revision, leases: Vec::new() };
    for (content, records, reason) in [
        (at(0, 0), vec![], "revision 0"),
        (at(5, 6), vec![], "compacted at 6"),
        (at(5, 0), vec![record(3, "a"), record(3, "b")], "do not ascend at 3.0"),
        (at(5, 0), vec![record(6, "a")], "not within 1 and 5"),
        (at(5, 0), vec![record(2, "")], "is empty"),
        (at(5, 0), vec![Record { version: 0, ..record(2, "a") }], "version 0"),
        (at(5, 0), vec![Record { tombstone: true, ..record(2, "a") }], "version 1"),
        (
            at(5, 0),
            vec![Record { lease: LeaseId(4), ..record(2, "a") }],
            "not there, such as 0000000000000004",
        ),
    ] {
        match restored(&MemoryDisk::new(), &content, records) {
            Err(Error::InvalidArgument(found)) => assert!(found.contains(reason), "{found}"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    let leased = vec![
        Record { lease: LeaseId(4), ..record(2, "a") },
        Record { create_revision: 2, version: 2, ..record(3, "a") },
    ];
    restored(&MemoryDisk::new(), &at(5, 0), leased).expect("only the newest version counts");

    let used = MemoryDisk::new();
    open(&used, 1).shutdown();
    let refused = restored(&used, &at(5, 0), vec![]);
    assert!(matches!(&refused, Err(Error::Open(reason)) if reason.contains("not new")), "{refused:?}");
}

/// The values are those of etcd 3.4.23 for the same history.
#[test]
fn the_hash_of_a_store_without_keys_is_that_of_etcd() {
    let node = open(&MemoryDisk::new(), 1);
    put(&node, "a", "1", 0);
    put(&node, "a", "2", 0);
    put(&node, "b", "1", 0);
    compact(&node, 3);
    assert_eq!(hash(&node, 0).hash, 1514356665);
    delete(&node, KeyRange::single("a"));
    assert_eq!(hash(&node, 0).hash, 1010904130);
    delete(&node, KeyRange::single("b"));
    assert_eq!(hash(&node, 0).hash, 1680444898);
    compact(&node, 5);
    assert_eq!(hash(&node, 0).hash, 3541573756);
}
