//! The rule that one path through a txn puts a key at most once and does not put what it deletes.
//!
//! As in etcd: the two branches of one nested txn exclude each other and may put the same key; whatever a nested txn
//! may do counts for its siblings; a nested put is held against the deletions of its parent's list and of the nested
//! txns before it, a put of the list itself against all of them. Unlike etcd, which takes the open end of a deletion
//! for an empty range here and lets a put inside pass, an open end counts.

use crate::error::Error;
use crate::key_range::KeyRange;
use crate::request::TxnOp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Checks one list of operations with everything nested in it.
///
/// # Errors
/// [`Error::DuplicateKey`].
pub(super) fn check(ops: &[TxnOp]) -> Result<(), Error> {
    effects(ops).map(drop)
}

/// What a list of operations may change.
#[derive(Default)]
struct Effects<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

fn effects(ops: &[TxnOp]) -> Result<Effects<'_>, Error> {
    let mut sum = Effects::default();
    for op in ops {
        if let TxnOp::DeleteRange(request) = op {
            sum.deletes.insert(&request.range);
        }
    }
    for op in ops {
        if let TxnOp::Txn(nested) = op {
            sum.add_either(effects(&nested.success)?, effects(&nested.failure)?)?;
        }
    }
    for op in ops {
        if let TxnOp::Put(request) = op {
            sum.add_put(&request.key)?;
        }
    }
    Ok(sum)
}

impl<'a> Effects<'a> {
    fn add_put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes.contains(key) || !self.puts.insert(key) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }

    /// Adds two branches of which only one will run.
    fn add_either(&mut self, success: Effects<'a>, failure: Effects<'a>) -> Result<(), Error> {
        for key in &success.puts {
            self.add_put(key)?;
        }
        for key in failure.puts {
            if !success.puts.contains(key) {
                self.add_put(key)?;
            }
        }
        self.deletes.add(success.deletes);
        self.deletes.add(failure.deletes);
        Ok(())
    }
}

/// A union of key ranges. None contains another, so ends ascend with starts.
#[derive(Default)]
struct Intervals<'a>(BTreeMap<&'a [u8], End<'a>>);

/// The end of an interval that has begun below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End<'a> {
    /// A key, and whether it is the last one inside (`true`) or the first one outside.
    Key(&'a [u8], bool),
    Open,
}

impl<'a> Intervals<'a> {
    fn insert(&mut self, range: &'a KeyRange) {
        if !range.is_empty() {
            self.insert_interval(
                range.start(),
                match range.end_bound() {
                    Bound::Included(end) => End::Key(end, true),
                    Bound::Excluded(end) => End::Key(end, false),
                    Bound::Unbounded => End::Open,
                },
            );
        }
    }

    fn insert_interval(&mut self, start: &'a [u8], end: End<'a>) {
        if self.last_from(start).is_some_and(|known| known >= end) {
            return;
        }
        while let Some((&inner, _)) = self.0.range(start..).next().filter(|(_, known)| **known <= end) {
            self.0.remove(inner);
        }
        self.0.insert(start, end);
    }

    fn add(&mut self, other: Intervals<'a>) {
        for (start, end) in other.0 {
            self.insert_interval(start, end);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.last_from(key).is_some_and(|end| end >= End::Key(key, true))
    }

    /// The end of the last interval that starts at or before `key`.
    fn last_from(&self, key: &[u8]) -> Option<End<'a>> {
        self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back().map(|(_, end)| *end)
    }
}
