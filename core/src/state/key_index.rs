//! The key index: which keys exist, and which revisions each of them has. No values.
//!
//! Apply changes it through [`KeyIndex::put`] and [`KeyIndex::delete`]; every read begins here and then fetches the
//! records that it names. It lives in memory only and is rebuilt at start from the key directory by a [`Loader`].
//!
//! A B+tree ordered by key bytes. Beside each child an inner node keeps a summary of it: how
//! many keys are live, how many have anything to prune, and when a key last came or went. So counting a range, finding
//! a page behind a million tombstones, and pruning a store that hardly changed all skip whole subtrees.
//! For each key a slot holds the newest version in line and, only where there are any, older revisions as
//! etcd's generations (a generation begins with a put of an absent key and ends with a tombstone).
//!
//! # Invariants
//! - Keys ascend strictly; all leaves have the same depth; a summary equals what lies below it.
//! - The revisions of a key ascend; inside a generation versions count up by one without a gap, so a version is
//!   known from its position.
//! - Pruning removes from the old end of a key's history only. What is visible at the prune revision or later stays.
//! - Equal calls build equal trees: no clock, no randomness, no addresses.
//!
//! # Crash behaviour
//! None of its own: it is a function of the records and the log.
//!
//! # Left out
//! Locking (see [`crate::state`]), values, the leases of older versions.

mod keys;
mod load;
mod node;
mod prune;
mod slot;
mod summary;
mod walk;

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;

use crate::key_range::KeyRange;
use crate::revision::{LeaseId, Revision};
use bytes::Bytes;
pub use load::Loader;
pub(crate) use load::is_one_missing;
use node::Node;
pub(crate) use slot::follows;
use std::fmt;
use std::ops::ControlFlow;
use summary::Summary;

/// A put that is or was the current state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Where its record lies.
    pub revision: Revision,
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Number of puts since the key was created, this one included.
    pub version: i64,
    /// The attached lease. Known of a key's newest version only; none for an older one (its record knows).
    pub lease: LeaseId,
}

/// The moment that a walk shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After everything that was applied.
    Newest,
    /// After the whole of this main revision and before the next.
    Revision(i64),
}

impl At {
    /// The last main revision that is visible.
    fn main(self) -> i64 {
        match self {
            At::Newest => i64::MAX,
            At::Revision(main) => main,
        }
    }
}

/// The ordered index of all keys and their revisions. See the [module](self) for its structure.
#[derive(Default)]
pub struct KeyIndex {
    root: Node,
    summary: Summary,
}

impl KeyIndex {
    /// An index without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a put of `key` at `revision` and returns the version that it made.
    ///
    /// # Panics
    /// If the key has a revision that is not below `revision`.
    pub fn put(&mut self, key: &[u8], revision: Revision, lease: LeaseId) -> Version {
        self.replace(key, revision, lease).1
    }

    /// As [`put`](Self::put), and returns the version that was live before, if one was, beside the new one.
    ///
    /// # Panics
    /// As [`put`](Self::put).
    pub fn replace(&mut self, key: &[u8], revision: Revision, lease: LeaseId) -> (Option<Version>, Version) {
        let done = self.root.put(key, revision, lease);
        self.summary.replace(done.before, done.after);
        if let Some(split) = done.split {
            self.root.grow(split);
        }
        (done.live, done.version)
    }

    /// Records a deletion of `key` at `revision` and returns the version that was live.
    /// `None` if none was: then nothing changed.
    ///
    /// # Panics
    /// If the key is live at a revision that is not below `revision`.
    pub fn delete(&mut self, key: &[u8], revision: Revision) -> Option<Version> {
        let done = self.root.delete(key, revision)?;
        self.summary.replace(done.before, done.after);
        Some(done.version)
    }

    /// The newest version of `key`, if it is live.
    pub fn latest(&self, key: &[u8]) -> Option<Version> {
        self.root.find(key)?.latest()
    }

    /// The version of `key` that is visible after the whole of main revision `at`.
    ///
    /// The answer is only right for an `at` that is not below the revision pruned to.
    pub fn get(&self, key: &[u8], at: i64) -> Option<Version> {
        self.root.find(key)?.get(at)
    }

    /// Number of keys in `range` that are live now. O(log n).
    pub fn count_live(&self, range: &KeyRange) -> u64 {
        self.count(range, At::Newest)
    }

    /// Number of keys in `range` that are live at a moment. O(log n), and on top of it one look at each key of those
    /// leaves in which keys came or went after the moment: nearly as cheap for a recent revision as for the newest.
    pub fn count(&self, range: &KeyRange, at: At) -> u64 {
        self.count_some(range, at, usize::MAX).0
    }

    /// As [`count`](Self::count), but looks at little more than `looks_max` keys. Returns the count so far and the key
    /// that it goes on from, if there is one.
    pub fn count_some(&self, range: &KeyRange, at: At, looks_max: usize) -> (u64, Option<Bytes>) {
        let mut counting = walk::Counting::new(at.main(), looks_max);
        self.root.count(walk::Span::of(range), &mut counting);
        (counting.count, counting.next)
    }

    /// Visits the keys of `range` that are live at a moment, ascending, until the visitor breaks.
    ///
    /// Subtrees without a live key are skipped if none was live at the moment either. The visitor's key is lent.
    pub fn walk<'v>(
        &self,
        range: &KeyRange,
        at: At,
        visit: &'v mut (dyn FnMut(&[u8], Version) -> ControlFlow<()> + 'v),
    ) {
        self.walk_some(range, at, usize::MAX, visit);
    }

    /// As [`walk`](Self::walk), but looks at no more than `looks_max` keys (at least one), visible or not. Returns the
    /// key to go on from if it ended before the range did, because of that or because the visitor broke.
    pub fn walk_some<'v>(
        &self,
        range: &KeyRange,
        at: At,
        looks_max: usize,
        visit: &'v mut (dyn FnMut(&[u8], Version) -> ControlFlow<()> + 'v),
    ) -> Option<Bytes> {
        let mut walking = walk::Walking::new(at.main(), looks_max, visit);
        let _done_or_stopped = self.root.walk(walk::Span::of(range), &mut walking);
        walking.next
    }

    /// Drops what nobody can read at `compact_revision` or later, looking from key `from` on at no more than
    /// `keys_max` (at least one) of the keys that have any history. Appends the dropped revisions to `dead`, those of
    /// a key in ascending order. Returns the key to go on from, or `None` if the end was reached.
    ///
    /// Of each key these are dropped: every revision below `compact_revision` that a later one at or below it
    /// supersedes, and a tombstone below it with nothing before. Whatever happened exactly at `compact_revision` stays,
    /// tombstones too, because a watch may begin there. Keys without a revision are forgotten and their memory is
    /// given back.
    pub fn prune(
        &mut self,
        from: &[u8],
        keys_max: usize,
        compact_revision: i64,
        dead: &mut Vec<Revision>,
    ) -> Option<Bytes> {
        let mut pruning = prune::Pruning::new(keys_max, compact_revision, dead);
        if self.summary.stale > 0 {
            self.root.prune(from, &mut pruning);
            self.root.shrink();
            self.summary = self.root.summarize();
        }
        pruning.next
    }

    /// Number of live keys.
    pub fn keys_live(&self) -> u64 {
        self.summary.live
    }

    /// Bytes that the index holds on the heap, without the allocator's own overhead.
    /// Visits every leaf, and the keys of those that have history: for statistics, not for each request.
    pub fn memory_bytes(&self) -> usize {
        self.root.heap_bytes(self.summary)
    }
}

// Keys never reach logs: `Debug` shows sizes only.
impl fmt::Debug for KeyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyIndex")
            .field("keys_live", &self.summary.live)
            .field("keys_stale", &self.summary.stale)
            .field("keys_turned", &self.summary.turned)
            .finish()
    }
}
