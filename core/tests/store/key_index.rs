//! The key index at its real node size and some hundred thousand keys, against a map. The unit tests beside the code
//! check every detail on small trees.

use coffer_core::state::key_index::{At, KeyIndex};
use coffer_core::{KeyRange, LeaseId, Revision};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const KEYS: u32 = 150_000;

fn name(i: u32) -> Vec<u8> {
    format!("/registry/pods/ns-{:03}/pod-{i:015}", i % 97).into_bytes()
}

/// Live keys and where their newest put lies.
type Model = BTreeMap<Vec<u8>, Revision>;

fn compare(index: &KeyIndex, model: &Model, range: &KeyRange, at: At) {
    let expected = model.iter().filter(|(key, _)| range.contains(key));
    let mut expected = expected.peekable();
    let mut count = 0;
    index.walk(range, at, &mut |key, version| {
        count += 1;
        assert_eq!(expected.next(), Some((&key.to_vec(), &version.revision)));
        ControlFlow::Continue(())
    });
    assert_eq!(expected.next(), None);
    assert_eq!(index.count(range, at), count);
}

#[test]
fn a_large_index_equals_a_map_now_and_in_the_past() {
    let mut rng = StdRng::seed_from_u64(7);
    let (mut index, mut model, mut main) = (KeyIndex::new(), Model::new(), 1);
    let mut past = Vec::new();
    for step in 1..=4 * KEYS {
        main += 1;
        let key = name(rng.random_range(0..KEYS));
        // Deletions prevail in the second half, so that the tree grows and shrinks.
        if rng.random_ratio(if step < 2 * KEYS { 1 } else { 9 }, 10) {
            assert_eq!(
                index.delete(&key, Revision::first(main)).map(|version| version.revision),
                model.remove(&key)
            );
        } else {
            index.put(&key, Revision::first(main), LeaseId::NONE);
            model.insert(key, Revision::first(main));
        }
        if step % KEYS == 0 {
            past.push((main, model.clone()));
        }
    }
    let ranges =
        [KeyRange::all(), KeyRange::prefix(name(13)[..22].to_vec()), KeyRange::between(name(5), name(40))];
    for compacted in 0..past.len() {
        for range in &ranges {
            for (main, model) in &past[compacted..] {
                compare(&index, model, range, At::Revision(*main));
            }
            compare(&index, &model, range, At::Newest);
        }
        prune_all(&mut index, past[compacted].0);
    }
    let bytes_before = index.memory_bytes();
    for (sub, key) in (0..).zip(model.keys()) {
        index.delete(key, Revision { main: main + 1, sub });
    }
    prune_all(&mut index, main + 2);
    assert_eq!(index.keys_live(), 0);
    assert!(index.memory_bytes() < bytes_before / 1000, "{} bytes are left", index.memory_bytes());
}

fn prune_all(index: &mut KeyIndex, compact_revision: i64) {
    let (mut dead, mut from) = (Vec::new(), Some(bytes::Bytes::new()));
    while let Some(key) = from {
        from = index.prune(&key, 1000, compact_revision, &mut dead);
    }
    assert!(dead.iter().all(|revision| revision.main < compact_revision));
}
