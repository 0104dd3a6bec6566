//! The index against a naive model: every revision of every key in one map.

use super::{At, KeyIndex, Loader, Version};
use crate::key_range::KeyRange;
use crate::revision::{LeaseId, Revision};
use crate::storage::DirectoryEntry;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

/// What the model knows: the directory of all revisions that are not dead.
#[derive(Clone, Debug, Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, Vec<DirectoryEntry>>,
}

impl Model {
    fn get(&self, key: &[u8], at: i64) -> Option<Version> {
        let entries = self.keys.get(key)?;
        let entry = entries.iter().rfind(|entry| entry.revision.main <= at)?;
        let is_newest = entries.last() == Some(entry);
        (!entry.tombstone).then_some(Version {
            revision: entry.revision,
            create_revision: entry.create_revision,
            version: entry.version,
            lease: if is_newest { entry.lease } else { LeaseId::NONE },
        })
    }

    fn put(&mut self, key: &[u8], revision: Revision, lease: LeaseId) -> Version {
        let before = self.get(key, i64::MAX);
        let entry = DirectoryEntry {
            revision,
            create_revision: before.map_or(revision.main, |before| before.create_revision),
            version: before.map_or(0, |before| before.version) + 1,
            lease,
            tombstone: false,
            value_bytes: 0,
        };
        let (create_revision, version) = (entry.create_revision, entry.version);
        self.keys.entry(key.to_vec()).or_default().push(entry);
        Version { revision, create_revision, version, lease }
    }

    fn delete(&mut self, key: &[u8], revision: Revision) -> Option<Version> {
        let before = self.get(key, i64::MAX)?;
        self.keys.entry(key.to_vec()).or_default().push(tombstone(revision));
        Some(before)
    }

    fn list(&self, range: &KeyRange, at: i64) -> Vec<(Vec<u8>, Version)> {
        let keys = self.keys.keys().filter(|key| range.contains(key));
        keys.filter_map(|key| Some((key.clone(), self.get(key, at)?))).collect()
    }

    /// Removes and returns what is dead at `compact_revision`.
    fn prune(&mut self, compact_revision: i64) -> BTreeSet<Revision> {
        let mut dead = BTreeSet::new();
        for entries in self.keys.values_mut() {
            let visible = entries.iter().rfind(|entry| entry.revision.main <= compact_revision).cloned();
            entries.retain(|entry| {
                let is_visible_put = !entry.tombstone && Some(entry) == visible.as_ref();
                let stays = entry.revision.main >= compact_revision || is_visible_put;
                if !stays {
                    dead.insert(entry.revision);
                }
                stays
            });
        }
        self.keys.retain(|_, entries| !entries.is_empty());
        dead
    }
}

fn tombstone(revision: Revision) -> DirectoryEntry {
    let lease = LeaseId::NONE;
    DirectoryEntry { revision, create_revision: 0, version: 0, lease, tombstone: true, value_bytes: 0 }
}

fn put_entry(main: i64, create_revision: i64, version: i64) -> DirectoryEntry {
    let revision = Revision::first(main);
    DirectoryEntry {
        revision,
        create_revision,
        version,
        lease: LeaseId::NONE,
        tombstone: false,
        value_bytes: 0,
    }
}

/// What a walk meets that looks at no more than `looks_max` keys at a time.
fn list(index: &KeyIndex, range: &KeyRange, at: At, looks_max: usize) -> Vec<(Vec<u8>, Version)> {
    let (mut found, mut rest) = (Vec::new(), Some(range.clone()));
    while let Some(range) = rest {
        let before = found.len();
        let next = index.walk_some(&range, at, looks_max, &mut |key, version| {
            found.push((key.to_vec(), version));
            ControlFlow::Continue(())
        });
        assert!(found.len() - before <= looks_max);
        assert!(next.as_ref().is_none_or(|next| next > range.start() && range.contains(next)));
        rest = next.map(|next| from_key(&range, next));
    }
    found
}

/// The part of a range from `start` on.
fn from_key(range: &KeyRange, start: Bytes) -> KeyRange {
    match range.end_bound() {
        Bound::Excluded(end) => KeyRange::between(start, Bytes::copy_from_slice(end)),
        _ => KeyRange::from(start),
    }
}

/// Prunes all keys in chunks.
fn prune(index: &mut KeyIndex, keys_max: usize, compact_revision: i64) -> Vec<Revision> {
    let (mut dead, mut from) = (Vec::new(), Some(bytes::Bytes::new()));
    while let Some(key) = from {
        from = index.prune(&key, keys_max, compact_revision, &mut dead);
        assert!(from.as_ref().is_none_or(|next| *next > key || key.is_empty()), "pruning does not advance");
        index.check();
    }
    dead
}

#[derive(Clone, Debug)]
enum Step {
    Put { key: u16, lease: i64, same_revision: bool },
    Delete { key: u16, same_revision: bool },
    PutRun { key: u16, count: u16 },
    DeleteRun { key: u16, count: u16 },
    Prune { back: u8, keys_max: usize },
    Reload { back: u8 },
    Read { from: u16, to: u16, back: u8 },
}

const KEYS: u16 = 400;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let step = prop_oneof![
        20 => (key(), 0..3i64, any::<bool>())
            .prop_map(|(key, lease, same_revision)| Step::Put { key, lease, same_revision }),
        10 => (key(), any::<bool>()).prop_map(|(key, same_revision)| Step::Delete { key, same_revision }),
        3 => (key(), 1..150u16).prop_map(|(key, count)| Step::PutRun { key, count }),
        3 => (key(), 1..150u16).prop_map(|(key, count)| Step::DeleteRun { key, count }),
        3 => (0..20u8, 1..200usize).prop_map(|(back, keys_max)| Step::Prune { back, keys_max }),
        1 => (0..20u8).prop_map(|back| Step::Reload { back }),
        10 => (key(), key(), 0..30u8).prop_map(|(from, to, back)| Step::Read { from, to, back }),
    ];
    vec(step, 1..120)
}

/// Keys of very different lengths that share prefixes; some are prefixes of others.
fn key_name(key: u16) -> Vec<u8> {
    let mut name = format!("{:02}/{}", key % 23, key).into_bytes();
    if key.is_multiple_of(17) {
        name.resize(40 + key as usize / 4, b'x');
    }
    name
}

/// The index and the model side by side.
#[derive(Default)]
struct Pair {
    index: KeyIndex,
    model: Model,
    revision: Revision,
    compact_revision: i64,
}

impl Pair {
    fn next_revision(&mut self, same: bool) -> Revision {
        self.revision = match self.revision {
            Revision { main: 0, .. } => Revision::first(2),
            Revision { main, sub } if same => Revision { main, sub: sub + 1 },
            Revision { main, .. } => Revision::first(main + 1),
        };
        self.revision
    }

    fn put(&mut self, key: u16, lease: LeaseId, same_revision: bool) {
        let (key, revision) = (key_name(key), self.next_revision(same_revision));
        assert_eq!(self.index.put(&key, revision, lease), self.model.put(&key, revision, lease));
    }

    fn delete(&mut self, key: u16, same_revision: bool) {
        let (key, revision) = (key_name(key), self.next_revision(same_revision));
        assert_eq!(self.index.delete(&key, revision), self.model.delete(&key, revision));
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Put { key, lease, same_revision } => self.put(key, LeaseId(lease), same_revision),
            Step::Delete { key, same_revision } => self.delete(key, same_revision),
            Step::PutRun { key, count } => {
                (key..KEYS.min(key + count)).for_each(|k| self.put(k, LeaseId::NONE, k > key));
            }
            Step::DeleteRun { key, count } => {
                (key..KEYS.min(key + count)).for_each(|k| self.delete(k, k > key));
            }
            Step::Prune { back, keys_max } => {
                self.compact(back);
                let dead = prune(&mut self.index, keys_max, self.compact_revision);
                self.compare_dead(dead);
            }
            Step::Reload { back } => {
                self.compact(back);
                let mut loader = Loader::new(self.compact_revision);
                for (key, entries) in &self.model.keys {
                    entries.iter().for_each(|entry| loader.push(key, entry).unwrap());
                }
                let (index, dead) = loader.finish();
                self.index = index;
                self.compare_dead(dead);
            }
            Step::Read { from, to, back } => {
                let at = self.compact_revision.max(self.revision.main - i64::from(back));
                self.compare(&KeyRange::between(key_name(from), key_name(to)), At::Revision(at));
                self.compare(&KeyRange::from(key_name(from)), At::Revision(at));
                self.compare(&KeyRange::single(key_name(from)), At::Revision(at));
                self.compare(&KeyRange::between(key_name(from), key_name(to)), At::Newest);
                self.compare(&KeyRange::prefix(key_name(from)[..2].to_vec()), At::Newest);
            }
        }
    }

    fn compact(&mut self, back: u8) {
        self.compact_revision = self.compact_revision.max(self.revision.main - i64::from(back));
    }

    /// The count, a few keys at a time.
    fn count_in_steps(&self, range: &KeyRange, at: At) -> u64 {
        let (mut count, mut next) = self.index.count_some(range, at, 3);
        while let Some(start) = next {
            let (more, then) = self.index.count_some(&from_key(range, start), at, 3);
            count += more;
            next = then;
        }
        count
    }

    fn compare_dead(&mut self, dead: Vec<Revision>) {
        let count = dead.len();
        let dead = BTreeSet::from_iter(dead);
        assert_eq!(dead.len(), count, "a revision died twice");
        assert_eq!(dead, self.model.prune(self.compact_revision));
    }

    fn compare(&self, range: &KeyRange, at: At) {
        let expected = self.model.list(range, at.main());
        for looks_max in [usize::MAX, 1, 11] {
            assert_eq!(list(&self.index, range, at, looks_max), expected);
        }
        assert_eq!(self.index.count(range, at), expected.len() as u64);
        assert_eq!(self.count_in_steps(range, at), expected.len() as u64);
        for (key, version) in &expected {
            assert_eq!(self.index.get(key, at.main()), Some(*version));
        }
    }

    fn compare_all(&self) {
        self.index.check();
        for at in self.compact_revision..=self.revision.main + 1 {
            self.compare(&KeyRange::all(), At::Revision(at));
        }
        self.compare(&KeyRange::all(), At::Newest);
        assert_eq!(self.index.keys_live(), self.index.count_live(&KeyRange::all()));
        for key in self.model.keys.keys() {
            assert_eq!(self.index.latest(key), self.model.get(key, i64::MAX));
        }
    }
}

proptest! {
    #[test]
    fn equals_the_model(steps in steps()) {
        let mut pair = Pair::default();
        for step in &steps {
            pair.run(step);
            pair.index.check();
        }
        pair.compare_all();
    }
}

/// put(1), put(2), tombstone(3), put(4), tombstone(5): the example in etcd's documentation of its key index.
fn example() -> KeyIndex {
    let mut index = KeyIndex::new();
    index.put(b"foo", Revision::first(1), LeaseId::NONE);
    index.put(b"foo", Revision::first(2), LeaseId::NONE);
    index.delete(b"foo", Revision::first(3));
    index.put(b"foo", Revision::first(4), LeaseId::NONE);
    index.delete(b"foo", Revision::first(5));
    index
}

fn mains(revisions: &[Revision]) -> Vec<i64> {
    revisions.iter().map(|revision| revision.main).collect()
}

#[test]
fn generations_are_pruned_as_in_etcd() {
    for (compact_revision, expected) in
        [(1, &[][..]), (2, &[1]), (3, &[1, 2]), (4, &[1, 2, 3]), (5, &[1, 2, 3, 4]), (6, &[1, 2, 3, 4, 5])]
    {
        let mut index = example();
        assert_eq!(mains(&prune(&mut index, 1, compact_revision)), expected);
        let at_4 = index.get(b"foo", 4).map(|found| (found.create_revision, found.version));
        assert_eq!(at_4, (compact_revision <= 4).then_some((4, 1)));
        assert_eq!(index.get(b"foo", 5), None);
    }
}

#[test]
fn versions_restart_with_each_generation() {
    let index = example();
    let shown = |at| index.get(b"foo", at).map(|v| (v.revision.main, v.create_revision, v.version));
    let expected = [None, Some((1, 1, 1)), Some((2, 1, 2)), None, Some((4, 4, 1)), None];
    assert_eq!((0..6).map(shown).collect::<Vec<_>>(), expected);
}

#[test]
fn a_read_sees_whole_main_revisions() {
    let mut index = KeyIndex::new();
    index.put(b"a", Revision::first(2), LeaseId(7));
    index.delete(b"a", Revision { main: 3, sub: 0 });
    index.put(b"a", Revision { main: 3, sub: 1 }, LeaseId(8));
    index.put(b"a", Revision { main: 3, sub: 2 }, LeaseId(9));
    index.put(b"a", Revision { main: 4, sub: 0 }, LeaseId::NONE);
    let at_3 = index.get(b"a", 3).unwrap();
    assert_eq!(at_3.revision, Revision { main: 3, sub: 2 });
    assert_eq!((at_3.create_revision, at_3.version), (3, 2));

    let dead = prune(&mut index, 10, 3);
    assert_eq!(mains(&dead), [2], "everything that happened at the compact revision stays for watches");
    assert_eq!(index.get(b"a", 3), Some(at_3));
}

#[test]
fn deleting_what_is_not_live_changes_nothing() {
    let mut index = example();
    assert_eq!(index.delete(b"foo", Revision::first(6)), None);
    assert_eq!(index.delete(b"bar", Revision::first(6)), None);
    index.put(b"foo", Revision::first(6), LeaseId::NONE);
    assert_eq!(index.keys_live(), 1);
}

#[test]
#[should_panic(expected = "must ascend")]
fn an_older_revision_is_refused() {
    example().put(b"foo", Revision::first(5), LeaseId::NONE);
}

#[test]
fn a_visitor_can_stop() {
    let mut index = KeyIndex::new();
    (0..500).for_each(|i| {
        index.put(&key_name(i), Revision::first(i64::from(i) + 2), LeaseId::NONE);
    });
    let mut seen = 0;
    index.walk(&KeyRange::all(), At::Newest, &mut |_, _| {
        seen += 1;
        if seen == 33 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(seen, 33);
}

#[test]
fn a_walk_in_the_past_looks_at_no_more_keys_than_it_may() {
    let mut index = KeyIndex::new();
    let names = BTreeSet::from_iter((0..500).map(key_name));
    for (main, name) in (2..).zip(&names) {
        index.put(name, Revision::first(main), LeaseId::NONE);
    }
    // At revision 1 nothing is visible, and no subtree can be skipped: each has keys that came later.
    let mut rest = KeyRange::all();
    for chunk in names.iter().collect::<Vec<_>>().chunks(20).skip(1) {
        let next = index.walk_some(&rest, At::Revision(1), 20, &mut |_, _| panic!("a visible key"));
        assert_eq!(next.as_deref(), Some(&chunk[0][..]));
        rest = from_key(&rest, next.unwrap());
    }
    assert_eq!(index.walk_some(&rest, At::Revision(1), 20, &mut |_, _| panic!("a visible key")), None);
}

#[test]
fn a_walk_goes_on_behind_the_key_that_its_visitor_broke_at() {
    let mut index = KeyIndex::new();
    (0..300).for_each(|i| {
        index.put(&key_name(i), Revision::first(i64::from(i) + 2), LeaseId::NONE);
    });
    let (mut found, mut rest) = (Vec::new(), Some(KeyRange::all()));
    while let Some(range) = rest {
        let next = index.walk_some(&range, At::Newest, 5, &mut |key, version| {
            found.push((key.to_vec(), version));
            if found.len() % 3 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        rest = next.map(|next| from_key(&range, next));
    }
    assert_eq!(found, list(&index, &KeyRange::all(), At::Newest, usize::MAX));
}

#[test]
fn pruning_gives_the_memory_back() {
    let mut index = KeyIndex::new();
    let keys = (0..20_000).map(|i| format!("/registry/pods/{i:06}"));
    for (i, key) in keys.clone().enumerate() {
        index.put(key.as_bytes(), Revision::first(i as i64 + 2), LeaseId::NONE);
    }
    let (full, depth) = (index.memory_bytes(), index.check());
    for (i, key) in keys.enumerate().filter(|(i, _)| i % 100 > 0) {
        index.delete(key.as_bytes(), Revision { main: 20_002, sub: i as u32 });
    }
    assert_eq!(prune(&mut index, 1000, 20_003).len(), 2 * 19_800);
    assert_eq!(index.keys_live(), 200);
    assert!(index.check() < depth);
    assert!(index.memory_bytes() < full / 20, "{} of {full}", index.memory_bytes());
    index.walk(&KeyRange::all(), At::Newest, &mut |key, _| {
        assert!(key.ends_with(b"00"));
        ControlFlow::Continue(())
    });

    for i in (0..20_000).step_by(100) {
        index.delete(format!("/registry/pods/{i:06}").as_bytes(), Revision { main: 20_004, sub: i });
    }
    prune(&mut index, 7, 20_005);
    assert_eq!(index.check(), 1);
    assert!(index.memory_bytes() < 1000, "an empty leaf keeps a little room");
}

#[test]
fn loading_takes_a_gap_for_a_sign_of_compaction() {
    let load = |compact_revision, entries: &[DirectoryEntry]| {
        let mut loader = Loader::new(compact_revision);
        entries.iter().for_each(|entry| loader.push(b"a", entry).unwrap());
        let (index, dead) = loader.finish();
        index.check();
        (index, mains(&dead))
    };
    let (index, dead) = load(4, &[put_entry(2, 2, 1), put_entry(4, 2, 3), put_entry(5, 2, 4)]);
    assert_eq!(dead, [2]);
    assert_eq!(index.get(b"a", 4).map(|found| found.version), Some(3));

    let (index, dead) = load(5, &[put_entry(2, 2, 1), put_entry(3, 2, 2), put_entry(9, 9, 1)]);
    assert_eq!(dead, [2, 3], "the tombstone between was dropped");
    assert_eq!(index.get(b"a", 8), None);

    let (index, dead) = load(3, &[tombstone(Revision::first(3)), put_entry(9, 9, 1)]);
    assert_eq!(dead, []);
    assert_eq!(index.get(b"a", 8), None);
    assert_eq!(index.get(b"a", 9).map(|found| found.create_revision), Some(9));
}

#[test]
fn loading_refuses_a_gap_that_no_compaction_makes() {
    let refused = |compact_revision, entries: &[DirectoryEntry]| {
        let mut loader = Loader::new(compact_revision);
        entries.iter().any(|entry| loader.push(b"a", entry).is_err())
    };
    let deletion = |main| tombstone(Revision::first(main));
    // The second of three puts is dropped once the third is visible at the compact revision.
    let puts = [put_entry(2, 2, 1), put_entry(6, 2, 3)];
    assert!(refused(0, &puts) && refused(5, &puts) && !refused(6, &puts));
    // A deletion between two lives, once it is not above the compact revision.
    let lives = [put_entry(2, 2, 1), put_entry(6, 6, 1)];
    assert!(refused(0, &lives) && refused(2, &lives) && !refused(3, &lives));
    // What was before the first that is there.
    assert!(refused(3, &[put_entry(4, 2, 2)]) && !refused(4, &[put_entry(4, 2, 2)]));
    assert!(refused(3, &[deletion(4)]) && !refused(4, &[deletion(4)]));
    assert!(refused(5, &[deletion(4), deletion(6)]) && !refused(6, &[deletion(4), deletion(6)]));
    assert!(!refused(0, &[put_entry(4, 4, 1), deletion(5), put_entry(7, 7, 1)]));
}

#[test]
fn loading_refuses_a_damaged_directory() {
    let refused = |entries: &[(&[u8], DirectoryEntry)]| {
        let mut loader = Loader::new(0);
        entries.iter().any(|(key, entry)| loader.push(key, entry).is_err())
    };
    assert!(!refused(&[(b"", put_entry(3, 3, 1)), (b"a", put_entry(2, 2, 1))]));
    assert!(refused(&[(b"b", put_entry(3, 3, 1)), (b"a", put_entry(4, 4, 1))]));
    assert!(refused(&[(b"a", put_entry(3, 3, 1)), (b"a", put_entry(3, 3, 2))]));
    assert!(refused(&[(b"a", put_entry(3, 4, 1))]));
    assert!(refused(&[(b"a", put_entry(3, 3, 0))]));
    assert!(refused(&[(b"a", put_entry(0, 0, 1))]));
}
