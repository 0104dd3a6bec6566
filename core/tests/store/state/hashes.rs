//! HashKV against values that etcd 3.4.23 gave for the same history.

use super::harness::*;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::{KeyRange, LeaseId};

/// Hash at a revision, over whatever records are still there.
fn hash(store: &Store, revision: i64) -> u32 {
    let reader = store.reader();
    let mut hasher = KvHasher::new(reader.compact_revision(), revision);
    for record in store.values.0.lock().unwrap().values() {
        hasher.write(record, || {
            reader.get(&record.key, revision).is_some_and(|version| version.revision == record.revision)
        });
    }
    hasher.finish()
}

/// The history, with a visit at every moment of which etcd's values are known.
fn tell(store: &mut Store, mut visit: impl FnMut(&Store, &[(i64, u32)])) {
    visit(store, &[(1, 1084519789)]);
    store.put("a", "1");
    store.put("b", "2");
    store.put("a", "3");
    visit(store, &[(4, 2069675932), (3, 1827592406)]);
    store.delete(key("a"));
    store.grant(77, 3600).unwrap();
    store.put_leased("leased", 77).unwrap();
    store.grant(-5, 3600).unwrap();
    store.put_leased("negative", -5).unwrap();
    store.put("empty", "");
    let erase = TxnOp::DeleteRange(DeleteRangeRequest { range: key("b"), prev_kv: false });
    store.txn(always(vec![write("t1", &"x".repeat(300)), write("t2", "y"), erase])).unwrap();
    store.delete(between("t", "u"));
    store.put("a", "again");
    visit(store, &[(11, 4061535288), (5, 1346927904), (9, 2499352342), (10, 3857453690)]);
    // Of `a` a tombstone lies exactly at the compact revision.
    store.compact(5).unwrap();
    visit(store, &[(11, 1693227074), (6, 2561872431), (9, 258446116)]);
    store.put("b", "new");
    store.compact(10).unwrap();
    visit(store, &[(12, 3764395286), (11, 775818747)]);
    store.apply(Command::LeaseRevoke { id: LeaseId(77) }).unwrap();
    store.compact(13).unwrap();
    visit(store, &[(13, 3138403586)]);
    store.delete(KeyRange::all());
    store.compact(14).unwrap();
    visit(store, &[(14, 1084519789)]);
}

#[test]
fn equals_etcd_for_the_same_history() {
    tell(&mut Store::default(), |store, known| {
        for (revision, value) in known {
            assert_eq!(hash(store, *revision), *value, "at {revision} of {}", store.revision());
        }
    });
}

#[test]
fn does_not_depend_on_what_was_pruned() {
    tell(&mut Store::default(), |store, known| {
        let dead = store.prune(3);
        store.values.0.lock().unwrap().retain(|revision, _| !dead.contains(revision));
        for (revision, value) in known {
            assert_eq!(hash(store, *revision), *value, "at {revision} of {}", store.revision());
        }
    });
}
