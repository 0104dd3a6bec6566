//! Readers on other threads, while the state changes.

use super::harness::*;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::{Error, KeyRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

fn filled(keys: usize) -> Store {
    let mut store = Store::default();
    let names: Vec<String> = (0..keys).map(|n| format!("k{n:06}")).collect();
    for batch in names.chunks(1000) {
        store.apply_all(batch.iter().map(|name| Command::Put(put(name, "v"))).collect());
    }
    store
}

#[test]
fn a_huge_deletion_is_seen_whole_or_not_at_all_and_stops_nobody() {
    let mut store = filled(50_000);
    let reader = store.reader();
    let before = reader.revision();
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicI64::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done, reads) = (reader.clone(), done.clone(), reads.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let pin = reader.pin();
                    let expected = if pin.revision() == before { 50_000 } else { 0 };
                    assert_eq!(reader.count(&KeyRange::all(), pin.revision()), Ok(expected));
                    let request = RangeRequest { limit: 10, ..RangeRequest::new(KeyRange::all()) };
                    let page = reader.range(request, pin.revision()).unwrap();
                    assert_eq!((page.found.len() as i64, page.count), (expected.min(11), expected));
                    reads.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    while reads.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    store.delete(KeyRange::all());
    let during = reads.load(Ordering::Acquire);
    done.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(during > 1, "readers went on");
    assert_eq!(reader.revision(), before + 1);
}

#[test]
fn readers_meet_whole_txns_while_writing_compacting_and_pruning() {
    let mut store = Store::default();
    let reader = store.reader();
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done) = (reader.clone(), done.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let pin = reader.pin();
                    let at = pin.revision();
                    let versions = ["a", "b"].map(|name| reader.get(name.as_bytes(), at).map(|v| v.version));
                    assert_eq!(versions[0], versions[1], "at {at}");
                    let count = reader.count(&KeyRange::all(), at).unwrap();
                    assert_eq!(count, if at == 1 { 0 } else { 2 });
                }
            })
        })
        .collect();
    for round in 0..3000 {
        store.txn(always(vec![write("a", "x"), write("b", "y")])).unwrap();
        if round % 3 == 0 {
            store.compact(store.revision()).unwrap();
            store.prune(1);
        }
    }
    done.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_read_only_txn_answers_on_the_read_path_as_apply_does() {
    let mut store = Store::default();
    store.grant(7, 60).unwrap();
    store.put_leased("a", 7).unwrap();
    store.put("b", "1");
    let compare = |range, target| Compare { range, result: CompareResult::Equal, target };
    let at = |revision| TxnOp::Range(RangeRequest { revision, ..RangeRequest::new(KeyRange::all()) });
    let request = TxnRequest {
        compare: vec![
            compare(key("a"), CompareTarget::Lease(coffer_core::LeaseId(7))),
            compare(key("b"), CompareTarget::Value("1".into())),
        ],
        success: vec![at(0), TxnOp::Txn(always(vec![at(2)]))],
        failure: vec![],
    };
    let pin = store.reader().pin();
    let (before, budget) = store.read_txn(&request, pin.revision()).unwrap();
    assert_eq!(Ok(before.clone()), store.apply(Command::Txn(request.clone())));
    let found = |outcome| {
        let mut ranges = Vec::new();
        store.find_all(outcome, &mut ranges);
        ranges
    };
    let ranges = found(before.clone());
    assert_eq!(ranges.iter().map(|range| range.count).collect::<Vec<_>>(), [2, 1]);
    // The same pin later: neither the values nor the leases of then have changed.
    store.put("a", "2");
    store.put("b", "2");
    assert_eq!(store.read_txn(&request, pin.revision()), Ok((before.clone(), budget)));
    let mut again = Vec::new();
    store.find_all(before, &mut again);
    assert_eq!(again, ranges);
    store.compact(3).unwrap();
    let refused = Err(Error::Compacted { compact_revision: 3 });
    assert_eq!(store.read_txn(&request, pin.revision()).map(drop), refused);
    let future = store.read_txn(&always(vec![at(4)]), pin.revision());
    assert_eq!(future.map(drop), Err(Error::FutureRevision));
}
