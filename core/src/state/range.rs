//! Walking the index in short steps: pages and counts.
//!
//! # Invariants
//! - One step looks at no more than [`STEP_KEYS`] keys (a count: and the rest of a leaf), visible or not, and skips
//!   whole subtrees beside them, so that nobody waits long for the index, at whatever revision one reads.
//! - Keys are copied out under the lock, into one buffer a page, where no record will be read that has them;
//!   everything else happens after it.

#[cfg(test)]
mod tests;

use super::IndexEntry;
use super::key_index::{At, KeyIndex, Version};
use crate::key_range::KeyRange;
use bytes::{Bytes, BytesMut};
use std::ops::{Bound, ControlFlow};

/// Keys that one step looks at, and index steps that a writer makes in one lock hold.
pub(super) const STEP_KEYS: usize = 512;

/// The index and how far it got. Written by the apply thread only, apart from pruning.
#[derive(Debug)]
pub(super) struct Indexed {
    pub(super) keys: KeyIndex,
    /// Main revision of the newest step. Above the published revision while a command is in progress.
    newest: i64,
}

impl Indexed {
    pub(super) fn new(keys: KeyIndex, revision: i64) -> Self {
        Self { keys, newest: revision }
    }

    /// Notes that the index was changed at main revision `main`.
    pub(super) fn step(&mut self, main: i64) {
        self.newest = main;
    }

    /// The version of `key` visible at `at`.
    pub(super) fn version(&self, key: &[u8], at: i64) -> Option<Version> {
        if at >= self.newest { self.keys.latest(key) } else { self.keys.get(key, at) }
    }

    fn moment(&self, at: i64) -> At {
        if at >= self.newest { At::Newest } else { At::Revision(at) }
    }
}

/// Lends the index for one step at a time, under whatever lock protects it.
pub(super) trait Lookup {
    fn step<R>(&mut self, look: impl FnOnce(&Indexed) -> R) -> R;
}

/// What to walk over.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) range: &'a KeyRange,
    pub(super) at: i64,
    /// Whether the keys are wanted, or only what is known of them.
    pub(super) keys: bool,
}

/// Appends up to `max` keys to `out`, in one step: fewer, even none, where it meets many that are not visible.
/// Returns the key to go on from if the step ended before the range did.
pub(super) fn page(
    lookup: &mut impl Lookup,
    walk: &Walk<'_>,
    max: usize,
    out: &mut Vec<IndexEntry>,
) -> Option<Bytes> {
    if max == 0 {
        return None;
    }
    if walk.range.is_single() {
        let key = walk.range.start();
        let version = lookup.step(|index| index.version(key, walk.at));
        out.extend(version.map(|version| entry(key.clone(), version)));
        return None;
    }
    let start = out.len();
    let (mut keys, mut lengths) = (BytesMut::new(), Vec::new());
    let next = lookup.step(|index| {
        index.keys.walk_some(walk.range, index.moment(walk.at), STEP_KEYS, &mut |key, version| {
            if walk.keys {
                keys.extend_from_slice(key);
                lengths.push(key.len());
            }
            out.push(entry(Bytes::new(), version));
            if out.len() - start < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    });
    let mut keys = keys.freeze();
    for (entry, length) in out[start..].iter_mut().zip(lengths) {
        entry.key = keys.split_to(length);
    }
    next
}

/// Counts the keys of a range: in one step where little was created or deleted since, else in some more.
pub(super) fn count(lookup: &mut impl Lookup, range: &KeyRange, at: i64) -> u64 {
    let (mut count, mut next) = count_some(lookup, range, at);
    while let Some(start) = next {
        let (more, then) = count_some(lookup, &starting_at(range, start), at);
        count += more;
        next = then;
    }
    count
}

/// Counts keys of a range in one step. Returns the key to go on from if the step ended before the range did.
pub(super) fn count_some(lookup: &mut impl Lookup, range: &KeyRange, at: i64) -> (u64, Option<Bytes>) {
    if range.is_single() {
        return (lookup.step(|index| index.version(range.start(), at)).is_some().into(), None);
    }
    lookup.step(|index| index.keys.count_some(range, index.moment(at), STEP_KEYS))
}

/// The part of a range of several keys from `start` on.
pub(super) fn starting_at(range: &KeyRange, start: Bytes) -> KeyRange {
    match range.end_bound() {
        Bound::Unbounded => KeyRange::from(start),
        Bound::Excluded(end) => KeyRange::between(start, Bytes::copy_from_slice(end)),
        Bound::Included(_) => KeyRange::between(start.clone(), start),
    }
}

fn entry(key: Bytes, version: Version) -> IndexEntry {
    IndexEntry {
        key,
        revision: version.revision,
        create_revision: version.create_revision,
        version: version.version,
    }
}
