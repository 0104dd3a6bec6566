//! Every call answers over the network as the node does.

use crate::support::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::{Error, KeyRange, LeaseId};

#[test]
fn put_range_and_delete_answer_as_the_node_does() {
    let world = World::new();
    let first = put(&world.client, "a", "1");
    assert_eq!((first.header.revision, first.header.member_id, first.prev_kv), (2, 1, None));
    let again = wait(world.client.put(PutRequest { prev_kv: true, ..put_request("a", "2") })).unwrap();
    assert_eq!(again.prev_kv.unwrap().value, "1");
    put(&world.client, "b", Bytes::new());
    put(&world.client, "c", vec![7u8; 300_000]);

    for request in [
        RangeRequest::new(KeyRange::all()),
        RangeRequest::new(KeyRange::single("a")),
        RangeRequest::new(KeyRange::single("nothing")),
        RangeRequest { limit: 2, serializable: true, ..RangeRequest::new(KeyRange::from("a")) },
        RangeRequest { keys_only: true, ..RangeRequest::new(KeyRange::between("a", "c")) },
        RangeRequest { count_only: true, ..RangeRequest::new(KeyRange::prefix("")) },
        RangeRequest { revision: 2, ..RangeRequest::new(KeyRange::all()) },
        RangeRequest {
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Value,
            ..RangeRequest::new(KeyRange::all())
        },
        RangeRequest { min_mod_revision: 4, max_create_revision: 4, ..RangeRequest::new(KeyRange::all()) },
    ] {
        let remote = wait(world.client.range(request.clone())).unwrap();
        assert_eq!(remote, wait(world.node.range(request.clone())).unwrap(), "{request:?}");
    }
    let deleted =
        wait(world.client.delete_range(DeleteRangeRequest { range: KeyRange::all(), prev_kv: true }))
            .unwrap();
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (3, 3));
    assert_eq!(deleted.prev_kvs[2].value.len(), 300_000);
    assert_eq!(get(&world.client, "a"), None);
}

#[test]
fn transactions_of_every_kind() {
    let world = World::new();
    put(&world.client, "k", "v");
    let compare = |result, target| Compare { range: KeyRange::single("k"), result, target };
    let inner = TxnRequest { success: vec![TxnOp::Put(put_request("inner", "1"))], ..TxnRequest::default() };
    let request = TxnRequest {
        compare: vec![
            compare(CompareResult::Equal, CompareTarget::Version(1)),
            compare(CompareResult::Less, CompareTarget::Create(100)),
            compare(CompareResult::Greater, CompareTarget::Mod(1)),
            compare(CompareResult::NotEqual, CompareTarget::Value("x".into())),
            compare(CompareResult::Equal, CompareTarget::Lease(LeaseId::NONE)),
        ],
        success: vec![
            TxnOp::Range(RangeRequest::new(KeyRange::all())),
            TxnOp::Put(PutRequest { prev_kv: true, ..put_request("k", "w") }),
            TxnOp::DeleteRange(DeleteRangeRequest { range: KeyRange::single("none"), prev_kv: true }),
            TxnOp::Txn(inner),
        ],
        failure: vec![],
    };
    let response = wait(world.client.txn(request)).unwrap();
    assert!(response.succeeded);
    let [
        TxnOpResponse::Range(range),
        TxnOpResponse::Put(put),
        TxnOpResponse::DeleteRange(delete),
        TxnOpResponse::Txn(txn),
    ] = &response.responses[..]
    else {
        panic!("{:?}", response.responses)
    };
    assert_eq!((range.count, delete.deleted, txn.succeeded), (1, 0, true));
    assert_eq!(put.prev_kv.as_ref().unwrap().value, "v");

    let duplicate = TxnRequest {
        success: vec![TxnOp::Put(put_request("d", "1")), TxnOp::Put(put_request("d", "2"))],
        ..TxnRequest::default()
    };
    assert_eq!(wait(world.client.txn(duplicate)), Err(Error::DuplicateKey));
    let many = TxnRequest {
        success: (0..129).map(|i| TxnOp::Put(put_request(format!("{i}"), ""))).collect(),
        ..TxnRequest::default()
    };
    assert_eq!(wait(world.client.txn(many)), Err(Error::TooManyOps));
}

#[test]
fn leases_from_grant_to_revoke() {
    let world = World::new();
    let granted = wait(world.client.lease_grant(LeaseGrantRequest { ttl_s: 100, id: LeaseId(42) })).unwrap();
    assert_eq!((granted.id, granted.ttl_s), (LeaseId(42), 100));
    assert_eq!(
        wait(world.client.lease_grant(LeaseGrantRequest { ttl_s: 100, id: LeaseId(42) })),
        Err(Error::LeaseExists)
    );
    let attached = PutRequest { lease: LeaseId(42), ..put_request("leased", "v") };
    wait(world.client.put(attached)).unwrap();
    let rest = wait(world.client.lease_time_to_live(LeaseTimeToLiveRequest { id: LeaseId(42), keys: true }))
        .unwrap();
    assert_eq!((rest.granted_ttl_s, rest.keys), (100, vec![Bytes::from("leased")]));
    assert_eq!(wait(world.client.lease_list()).unwrap().leases, [LeaseId(42)]);
    assert_eq!(wait(world.client.lease_keep_alive(LeaseId(42))).unwrap().ttl_s, 100);
    let many = wait(world.client.lease_keep_alive_many(vec![LeaseId(42), LeaseId(7)])).unwrap();
    assert_eq!(many[0].as_ref().unwrap().ttl_s, 100);
    assert_eq!(
        many[1],
        wait(world.node.lease_keep_alive(LeaseId(7)))
            .map(|r| LeaseKeepAliveResponse { header: many[0].as_ref().unwrap().header, ..r })
    );
    wait(world.client.lease_revoke(LeaseId(42))).unwrap();
    assert_eq!(get(&world.client, "leased"), None);
    assert_eq!(wait(world.client.lease_revoke(LeaseId(42))), Err(Error::LeaseNotFound));
}

#[test]
fn a_kept_lease_lives_and_its_end_is_told() {
    let world = World::new();
    let ttl_s = wait(world.client.lease_grant(LeaseGrantRequest { ttl_s: 1, id: LeaseId(5) })).unwrap().ttl_s;
    let kept = world.client.keep_alive(LeaseId(5));
    let outlives = std::time::Instant::now() + std::time::Duration::from_secs(ttl_s.unsigned_abs() + 1);
    until("the TTL passing", || std::time::Instant::now() > outlives);
    assert_eq!(wait(world.client.lease_list()).unwrap().leases, [LeaseId(5)]);
    wait(world.client.lease_revoke(LeaseId(5))).unwrap();
    assert_eq!(wait(kept.lost()), Error::LeaseNotFound);
}

#[test]
fn compaction_status_and_hash() {
    let world = World::new();
    for value in ["1", "2", "3"] {
        put(&world.client, "k", value);
    }
    let physical = CompactRequest { revision: 3, physical: true };
    assert_eq!(wait(world.client.compact(physical)).unwrap().header.revision, 4);
    assert_eq!(wait(world.client.compact(physical)), Err(Error::Compacted { compact_revision: 3 }));
    let old = RangeRequest { revision: 2, ..RangeRequest::new(KeyRange::all()) };
    assert_eq!(wait(world.client.range(old)), Err(Error::Compacted { compact_revision: 3 }));
    let future = RangeRequest { revision: 99, ..RangeRequest::new(KeyRange::all()) };
    assert_eq!(wait(world.client.range(future)), Err(Error::FutureRevision));
    assert_eq!(wait(world.client.hash_kv(0)).unwrap(), wait(world.node.hash_kv(0)).unwrap());
    let status = wait(world.client.status()).unwrap();
    assert_eq!((status.keys, &status.backend[..], status.compact_revision), (1, "memory", 3));
}

#[test]
fn a_range_larger_than_a_message_comes_in_pieces() {
    let world = World::new();
    let keys: Vec<String> = (0..3000).map(|i| format!("key-{i:05}")).collect();
    let puts = keys.iter().map(|key| world.client.put(put_request(key.clone(), vec![3u8; 8000])));
    for done in wait(futures_util::future::join_all(puts)) {
        done.unwrap();
    }
    let whole = wait(world.client.range(RangeRequest::new(KeyRange::all()))).unwrap();
    assert_eq!((whole.count, whole.more, whole.kvs.len()), (3000, false, 3000));
    assert!(whole.kvs.iter().map(|kv| &kv.key[..]).eq(keys.iter().map(|key| key.as_bytes())));
    let request = RangeRequest { limit: 2500, ..RangeRequest::new(KeyRange::prefix("key-")) };
    let cut = wait(world.client.range(request)).unwrap();
    assert_eq!((cut.count, cut.more, cut.kvs.len()), (3000, true, 2500));
    let sorted = RangeRequest { sort_order: SortOrder::Descend, ..RangeRequest::new(KeyRange::all()) };
    let sorted = wait(world.client.range(sorted)).unwrap();
    assert!(sorted.kvs.iter().rev().map(|kv| &kv.key[..]).eq(keys.iter().map(|key| key.as_bytes())));

    // At one revision, whatever happens meanwhile.
    let mut stream = world.client.range_stream(RangeRequest::new(KeyRange::all()));
    let mut seen = wait(stream.next()).unwrap().unwrap().len();
    wait(world.client.delete_range(DeleteRangeRequest { range: KeyRange::all(), prev_kv: false })).unwrap();
    while let Some(pairs) = wait(stream.next()).unwrap() {
        seen += pairs.len();
    }
    assert_eq!((seen, stream.end().unwrap().count), (3000, 3000));
}

#[test]
fn errors_keep_their_kind() {
    let world = World::new();
    let empty = put_request("", "v");
    assert_eq!(wait(world.client.put(empty)), Err(Error::EmptyKey));
    let lease = PutRequest { lease: LeaseId(9), ..put_request("k", "v") };
    assert_eq!(wait(world.client.put(lease)), Err(Error::LeaseNotFound));
    let ignore = PutRequest { ignore_value: true, ..put_request("k", "") };
    assert_eq!(wait(world.client.put(ignore)), Err(Error::KeyNotFound));
    let large = put_request("k", vec![0u8; 2_000_000]);
    assert_eq!(wait(world.client.put(large)), Err(Error::RequestTooLarge));
    // Larger than any frame that the server would read: refused before it is sent.
    let huge = put_request("k", vec![0u8; 40_000_000]);
    assert_eq!(wait(world.client.put(huge)), Err(Error::RequestTooLarge));
    assert_eq!(get(&world.client, "k"), None);
}
