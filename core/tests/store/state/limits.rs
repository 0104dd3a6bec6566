//! How much one txn may look at: what counts for how much, to the key.

use super::harness::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::{Error, KeyRange};

const KEYS: u64 = 1000;

/// A store of [`KEYS`] keys, at revision 1001.
fn filled() -> Store {
    let mut store = Store::default();
    store.apply_all((0..KEYS).map(|number| Command::Put(put(&format!("k/{number:04}"), "v"))).collect());
    store
}

fn all() -> RangeRequest {
    RangeRequest::new(KeyRange::prefix("k/"))
}

/// Ranges that look at so many keys.
fn looking_at(keys: u64) -> Vec<TxnOp> {
    let mut ops = vec![TxnOp::Range(all()); (keys / KEYS) as usize];
    let rest = (keys % KEYS) as i64;
    ops.extend((rest > 0).then(|| TxnOp::Range(RangeRequest { limit: rest, ..all() })));
    ops
}

/// Checks that `txn` counts for `cost` keys, if it does so beside other operations.
fn costs(name: &str, cost: u64, txn: TxnRequest) {
    for (beside, fits) in [(TXN_LOOKS_MAX - cost, true), (TXN_LOOKS_MAX - cost + 1, false)] {
        let mut store = filled();
        let before = store.revision();
        let mut success = looking_at(beside);
        success.extend(txn.success.clone());
        let outcome = store.txn(TxnRequest { success, ..txn.clone() });
        if fits {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        } else {
            assert_eq!(outcome, Err(Error::TxnTooLarge), "{name}");
            assert_eq!((store.revision(), store.applied.events.len()), (before, 0), "{name}");
        }
    }
}

#[test]
fn each_operation_counts_the_keys_that_it_looks_at() {
    let range = |request| always(vec![TxnOp::Range(request)]);
    costs("nothing", 0, TxnRequest::default());
    costs("one key", 1, range(RangeRequest::new(key("k/0001"))));
    costs("no key", 1, range(RangeRequest::new(KeyRange::prefix("none"))));
    costs("a count", 1, range(RangeRequest { count_only: true, ..all() }));
    costs("a limit", 10, range(RangeRequest { limit: 10, ..all() }));
    costs("a limit beyond the end", KEYS, range(RangeRequest { limit: 5000, ..all() }));
    let sorted = RangeRequest { limit: 10, sort_target: SortTarget::Create, ..all() };
    costs("sorted", KEYS, range(RangeRequest { sort_order: SortOrder::Ascend, ..sorted.clone() }));
    costs("a limit before a target without an order", 10, range(sorted));
    costs("descending", KEYS, range(RangeRequest { limit: 10, sort_order: SortOrder::Descend, ..all() }));
    costs("filtered", KEYS, range(RangeRequest { limit: 10, min_mod_revision: 5, ..all() }));
    costs("an old revision", 1, range(RangeRequest { revision: 2, ..all() }));
    costs("a put", 1, always(vec![write("x", "v")]));
    let kept = PutRequest { ignore_value: true, ..put("k/0001", "") };
    costs(
        "a put that keeps its value",
        17,
        always(vec![TxnOp::Put(PutRequest { value: Bytes::new(), ..kept })]),
    );
    costs("a deletion", KEYS, always(vec![erase(KeyRange::prefix("k/"))]));
    costs(
        "a nested txn",
        11,
        always(vec![TxnOp::Txn(always(vec![
            write("x", "v"),
            TxnOp::Range(RangeRequest { limit: 10, ..all() }),
        ]))]),
    );
}

#[test]
fn compares_count_the_keys_of_their_range() {
    let compare = |range, target| TxnRequest {
        compare: vec![Compare { range, result: CompareResult::NotEqual, target }],
        ..TxnRequest::default()
    };
    costs("one key", 1, compare(key("k/0001"), CompareTarget::Version(7)));
    costs("a range", KEYS, compare(KeyRange::prefix("k/"), CompareTarget::Version(7)));
    costs("a value", 17, compare(key("k/0001"), CompareTarget::Value("other".into())));
    costs("values", KEYS + 16 * KEYS, compare(KeyRange::prefix("k/"), CompareTarget::Value("other".into())));
    let mut two = compare(KeyRange::prefix("k/"), CompareTarget::Version(7));
    two.compare.insert(
        0,
        Compare { range: key("k/0001"), result: CompareResult::NotEqual, target: CompareTarget::Version(1) },
    );
    two.failure = looking_at(TXN_LOOKS_MAX - 1);
    assert!(filled().txn(two.clone()).is_ok(), "behind one that fails, none is looked at");
    two.failure = looking_at(TXN_LOOKS_MAX);
    assert_eq!(filled().txn(two), Err(Error::TxnTooLarge));
}

#[test]
fn a_range_behind_writes_counts_what_they_wrote() {
    let limited = |limit| TxnOp::Range(RangeRequest { limit, ..all() });
    costs("behind all writes", 1 + 10, always(vec![write("x", "v"), limited(10)]));
    // Between writes a range looks at all of its keys, and at those that were written before.
    costs("between writes", 1 + KEYS + 1 + 1, always(vec![write("x", "v"), limited(10), write("y", "v")]));
    costs("before all writes", 10 + 1, always(vec![limited(10), write("x", "v")]));
}

#[test]
fn what_etcd_finds_is_told_first() {
    let mut too_much = looking_at(TXN_LOOKS_MAX);
    too_much.push(TxnOp::Range(RangeRequest { revision: 5000, ..all() }));
    assert_eq!(filled().txn(always(too_much)), Err(Error::FutureRevision));
    let mut too_much = looking_at(TXN_LOOKS_MAX);
    too_much.push(TxnOp::Put(PutRequest { ignore_lease: true, ..put("none", "") }));
    assert_eq!(filled().txn(always(too_much)), Err(Error::KeyNotFound));
}

#[test]
fn long_values_count_for_more() {
    let mut store = filled();
    store.put("large", &"v".repeat(1 << 20));
    let keep = |key: &str| TxnOp::Put(PutRequest { ignore_value: true, ..put(key, "") });
    let compare = Compare {
        range: key("large"),
        result: CompareResult::Equal,
        target: CompareTarget::Value("v".into()),
    };
    let txn = |times| TxnRequest {
        compare: vec![Compare { result: CompareResult::NotEqual, ..compare.clone() }; times],
        success: vec![keep("large")],
        failure: vec![],
    };
    let cost = 1 + 16 + 4096;
    let times = (TXN_LOOKS_MAX / cost) as usize - 1;
    assert!(store.txn(txn(times)).is_ok());
    assert_eq!(store.txn(txn(times + 1)), Err(Error::TxnTooLarge));
}
