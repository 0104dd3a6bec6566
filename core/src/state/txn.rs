//! Txns: which branch runs, whether it may, and running it.
//!
//! # Invariants
//! - Compares, nested ones too, see the state before the txn.
//! - Everything that can fail is checked before the first write; running cannot fail but by a local fault.
//! - Reads inside see the writes before them.

use super::key_index::Version;
use super::range::{self, Lookup, Walk};
use super::reader::Shared;
use super::writer::Writer;
use super::{Outcome, RangeOutcome, Values};
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::request::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, TxnOp, TxnRequest,
};
use crate::revision::LeaseId;
use crate::storage::StorageError;
use std::cmp::Ordering;

/// The state as a txn meets it.
struct Before<'a> {
    shared: &'a Shared,
    values: &'a dyn Values,
    at: i64,
}

/// For a txn and the nested txns in its chosen branches, in the order in which they are met: whether its compares
/// held. Kept as a list because the writes of the first branch must not influence later choices.
type Path = Vec<bool>;

/// Carries out a txn on the apply thread.
pub(super) fn write(
    shared: &Shared,
    writer: &mut Writer<'_>,
    request: TxnRequest,
    values: &dyn Values,
) -> Result<Result<Outcome, Error>, StorageError> {
    let before = Before { shared, values, at: writer.now() };
    let mut path = Path::new();
    before.choose(&request, &mut path)?;
    if let Err(error) = before.check(&request, &mut path.iter().copied()) {
        return Ok(Err(error));
    }
    run(writer, request, &mut path.into_iter(), values).map(Ok)
}

/// Carries out a txn without writes, at a pinned revision, on any thread.
pub(super) fn read(
    shared: &Shared,
    request: TxnRequest,
    at: i64,
    values: &dyn Values,
) -> Result<Result<Outcome, Error>, StorageError> {
    let before = Before { shared, values, at };
    let mut path = Path::new();
    before.choose(&request, &mut path)?;
    let check = || before.check(&request, &mut path.iter().copied());
    if let Err(error) = check() {
        return Ok(Err(error));
    }
    let outcome = before.answer(&request, &mut path.iter().copied());
    // Again: a compaction may have come in between.
    Ok(check().map(|()| outcome))
}

impl Before<'_> {
    fn choose(&self, request: &TxnRequest, path: &mut Path) -> Result<(), StorageError> {
        let mut holds = true;
        for compare in &request.compare {
            holds = self.holds(compare)?;
            if !holds {
                break;
            }
        }
        path.push(holds);
        for op in branch(request, holds) {
            if let TxnOp::Txn(nested) = op {
                self.choose(nested, path)?;
            }
        }
        Ok(())
    }

    /// Whether a compare holds for every key of its range. Of an absent key version, revisions and lease are 0, and
    /// a compare of its value never holds.
    fn holds(&self, compare: &Compare) -> Result<bool, StorageError> {
        if compare.range.is_single() {
            let key = compare.range.start();
            let version = self.shared.index.read().version(key, self.at);
            return match version {
                Some(version) => self.matches(compare, key, version),
                None => Ok(absent_matches(compare)),
            };
        }
        let mut found = Vec::new();
        let mut is_absent = true;
        let mut rest: KeyRange = compare.range.clone();
        loop {
            let walk = Walk { range: &rest, at: self.at, keys: true };
            let next = range::page(&mut &*self.shared, &walk, range::STEP_KEYS, &mut found);
            is_absent &= found.is_empty();
            for entry in found.drain(..) {
                let version = Version {
                    revision: entry.revision,
                    create_revision: entry.create_revision,
                    version: entry.version,
                    lease: LeaseId::NONE,
                };
                if !self.matches(compare, &entry.key, version)? {
                    return Ok(false);
                }
            }
            match next {
                Some(next) => rest = range::starting_at(&rest, next),
                None => return Ok(!is_absent || absent_matches(compare)),
            }
        }
    }

    fn matches(&self, compare: &Compare, key: &[u8], version: Version) -> Result<bool, StorageError> {
        let stored_to_given = match &compare.target {
            CompareTarget::Version(given) => version.version.cmp(given),
            CompareTarget::Create(given) => version.create_revision.cmp(given),
            CompareTarget::Mod(given) => version.revision.main.cmp(given),
            CompareTarget::Value(given) => self.values.load(version.revision)?.value.cmp(given),
            CompareTarget::Lease(given) => self.lease(key, version)?.cmp(given),
        };
        Ok(relates(stored_to_given, compare.result))
    }

    /// The index knows the lease of a key's newest version; an older one's is in its record.
    fn lease(&self, key: &[u8], version: Version) -> Result<LeaseId, StorageError> {
        let latest = self.shared.index.read().keys.latest(key);
        match latest.filter(|latest| latest.revision == version.revision) {
            Some(latest) => Ok(latest.lease),
            None => Ok(self.values.load(version.revision)?.lease),
        }
    }

    fn check(&self, request: &TxnRequest, path: &mut impl Iterator<Item = bool>) -> Result<(), Error> {
        for op in branch(request, next(path)) {
            match op {
                TxnOp::Range(range) => self.check_range(range)?,
                TxnOp::Put(put) => self.check_put(put)?,
                TxnOp::DeleteRange(_) => {}
                TxnOp::Txn(nested) => self.check(nested, path)?,
            }
        }
        Ok(())
    }

    /// Below zero is no "newest" here: etcd's clients are told that it is compacted, -1 as soon as anything was.
    fn check_range(&self, request: &RangeRequest) -> Result<(), Error> {
        let compact_revision = self.shared.compacted();
        if request.revision < -1 || request.revision == -1 && compact_revision > 0 {
            return Err(Error::Compacted { compact_revision });
        }
        if request.revision > self.at {
            Err(Error::FutureRevision)
        } else if request.revision > 0 && request.revision < compact_revision {
            Err(Error::Compacted { compact_revision })
        } else {
            Ok(())
        }
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), Error> {
        lease_exists(self.shared, request.lease)?;
        if request.ignore_value || request.ignore_lease {
            let version = self.shared.index.read().version(&request.key, self.at);
            version.ok_or(Error::KeyNotFound)?;
        }
        Ok(())
    }

    /// The answer of a txn that only reads.
    fn answer(&self, request: &TxnRequest, path: &mut impl Iterator<Item = bool>) -> Outcome {
        let succeeded = next(path);
        let responses = branch(request, succeeded).iter().filter_map(|op| match op {
            TxnOp::Range(range) => Some(Outcome::Range(find(&mut &*self.shared, range.clone(), self.at))),
            TxnOp::Txn(nested) => Some(self.answer(nested, path)),
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => None,
        });
        Outcome::Txn { succeeded, responses: responses.collect() }
    }
}

fn run(
    writer: &mut Writer<'_>,
    request: TxnRequest,
    path: &mut impl Iterator<Item = bool>,
    values: &dyn Values,
) -> Result<Outcome, StorageError> {
    let succeeded = next(path);
    let ops = if succeeded { request.success } else { request.failure };
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        responses.push(match op {
            TxnOp::Range(request) => {
                let now = writer.now();
                Outcome::Range(find(writer, request, now))
            }
            TxnOp::Put(request) => put(writer, request, values)?,
            TxnOp::DeleteRange(request) => delete_range(writer, &request),
            TxnOp::Txn(nested) => run(writer, nested, path, values)?,
        });
    }
    Ok(Outcome::Txn { succeeded, responses })
}

/// Carries out a put whose conditions were checked.
pub(super) fn put(
    writer: &mut Writer<'_>,
    request: PutRequest,
    values: &dyn Values,
) -> Result<Outcome, StorageError> {
    let PutRequest { key, mut value, mut lease, prev_kv, ignore_value, ignore_lease } = request;
    if ignore_value || ignore_lease {
        // The key is there: it was checked, and a txn that deletes it before is refused before it is proposed.
        let current = writer.latest(&key);
        if ignore_lease {
            lease = current.map_or(LeaseId::NONE, |current| current.lease);
        }
        if let Some(current) = current.filter(|_| ignore_value) {
            writer.release();
            value = values.load(current.revision)?.value.clone();
        }
    }
    let before = writer.put(key, value, lease);
    Ok(Outcome::Put { prev: before.filter(|_| prev_kv).map(|before| before.revision) })
}

/// Carries out a deletion.
pub(super) fn delete_range(writer: &mut Writer<'_>, request: &DeleteRangeRequest) -> Outcome {
    let mut prev = Vec::new();
    let deleted = writer.delete_range(&request.range, |revision| {
        if request.prev_kv {
            prev.push(revision);
        }
    });
    Outcome::DeleteRange { deleted: deleted as i64, prev }
}

/// Whether a put can name this lease.
pub(super) fn lease_exists(shared: &Shared, id: LeaseId) -> Result<(), Error> {
    if id.is_none() || shared.lessor.read().get(id).is_some() { Ok(()) } else { Err(Error::LeaseNotFound) }
}

fn find(lookup: &mut impl Lookup, request: RangeRequest, now: i64) -> RangeOutcome {
    let at = if request.revision > 0 { request.revision } else { now };
    range::find(lookup, request, at)
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[TxnOp] {
    if succeeded { &request.success } else { &request.failure }
}

fn next(path: &mut impl Iterator<Item = bool>) -> bool {
    path.next().expect("the path has a step for every txn that was chosen")
}

fn absent_matches(compare: &Compare) -> bool {
    let given = match &compare.target {
        CompareTarget::Version(given) | CompareTarget::Create(given) | CompareTarget::Mod(given) => *given,
        CompareTarget::Lease(given) => given.0,
        CompareTarget::Value(_) => return false,
    };
    relates(0.cmp(&given), compare.result)
}

fn relates(stored_to_given: Ordering, result: CompareResult) -> bool {
    match result {
        CompareResult::Equal => stored_to_given == Ordering::Equal,
        CompareResult::Greater => stored_to_given == Ordering::Greater,
        CompareResult::Less => stored_to_given == Ordering::Less,
        CompareResult::NotEqual => stored_to_given != Ordering::Equal,
    }
}
