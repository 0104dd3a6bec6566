//! Txns: which branch runs, whether it may, and running it.
//!
//! # Invariants
//! - Compares, nested ones too, see the state before the txn.
//! - Everything that can fail is checked before the first write; running cannot fail but by a local fault.
//! - Reads inside see the writes before them.
//! - No range is walked here: an outcome tells what the range sees, and whoever waits for the answer walks it. What that
//!   will cost is counted all the same, so that a txn whose answer nobody could wait for changes nothing.

mod budget;
mod choosing;

pub use budget::{Budget, TXN_LOOKS_MAX};
pub(super) use choosing::{Before, Choosing};

use super::reader::Shared;
use super::writer::Writer;
use super::{Outcome, RangeView, Values};
use crate::error::Error;
use crate::request::{DeleteRangeRequest, PutRequest, RangeRequest, TxnOp, TxnRequest};
use crate::revision::LeaseId;
use crate::storage::StorageError;
use budget::value_looks;

/// For a txn and the nested txns in its chosen branches, in the order in which they are met: whether its compares
/// held. Kept as a list because the writes of the first branch must not influence later choices.
pub(super) type Path = Vec<bool>;

/// Why a txn is not carried out.
pub(super) enum Stop {
    Refused(Error),
    Fault(StorageError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Fault(error)
    }
}

/// A fault outside, a refusal inside.
pub(super) fn settle<T>(result: Result<T, Stop>) -> Result<Result<T, Error>, StorageError> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Refused(error)) => Ok(Err(error)),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

/// Carries out a txn on the apply thread.
pub(super) fn write(
    shared: &Shared,
    writer: &mut Writer<'_>,
    request: TxnRequest,
    values: &dyn Values,
) -> Result<Result<Outcome, Error>, StorageError> {
    let before = Before { shared, values, at: writer.now() };
    let (path, writes) = match settle(before.admit(&request))? {
        Ok(admitted) => admitted,
        Err(error) => return Ok(Err(error)),
    };
    let mut running = Running { writer, values, writes_left: writes };
    running.txn(request, &mut path.into_iter()).map(Ok)
}

impl Before<'_> {
    /// Whether a txn that writes can be carried out; with the branches that run, and how many writes there are in them.
    fn admit(&self, request: &TxnRequest) -> Result<(Path, usize), Stop> {
        let mut choosing = Choosing::new(request);
        while !choosing.step(self)? {}
        let (path, budget) = choosing.finish();
        self.check(request, &mut path.iter().copied())?;
        let writes = writes(request, &mut path.iter().copied());
        let mut cost = Cost { budget, written: 0, writes_left: writes };
        self.weigh(request, &mut path.iter().copied(), &mut cost)?;
        Ok((path, writes))
    }

    /// What etcd checks, in its order.
    pub(super) fn check(
        &self,
        request: &TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<(), Error> {
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

    /// Counts what the operations will look at. What a txn writes before one of its ranges is counted as if all of it
    /// lay in that range.
    fn weigh(
        &self,
        request: &TxnRequest,
        path: &mut impl Iterator<Item = bool>,
        cost: &mut Cost,
    ) -> Result<(), Stop> {
        for op in branch(request, next(path)) {
            match op {
                TxnOp::Range(range) => {
                    let looks = self.range_looks(range, cost);
                    cost.budget.spend(looks)?;
                }
                TxnOp::Put(put) => {
                    cost.budget.spend(self.put_looks(put)?)?;
                    cost.wrote(1);
                }
                TxnOp::DeleteRange(delete) => {
                    let count = self.count(&delete.range);
                    cost.budget.spend(count.max(1))?;
                    cost.wrote(count);
                }
                TxnOp::Txn(nested) => self.weigh(nested, path, cost)?,
            }
        }
        Ok(())
    }

    fn range_looks(&self, request: &RangeRequest, cost: &Cost) -> u64 {
        if request.revision > 0 {
            return 1; // Counted when it is walked: what it finds depends on no txn.
        }
        let is_between_writes = cost.written > 0 && cost.writes_left > 0;
        let found = || self.count(&request.range).saturating_add(cost.written);
        match request.limit {
            _ if is_between_writes => found(),
            _ if request.count_only => 1,
            limit if limit > 0 && request.limit_comes_first() => found().min(limit as u64),
            _ => found(),
        }
        .max(1)
    }

    /// A put that keeps the value stores it again.
    fn put_looks(&self, request: &PutRequest) -> Result<u64, Stop> {
        if !request.ignore_value {
            return Ok(1);
        }
        let version = self.shared.index.read().version(&request.key, self.at);
        Ok(match version {
            Some(version) => 1 + value_looks(self.values.load(version.revision)?.value.len()),
            None => 1,
        })
    }
}

/// What a txn has cost so far.
struct Cost {
    budget: Budget,
    /// Keys that it has written.
    written: u64,
    /// Operations that write and are still to come.
    writes_left: usize,
}

impl Cost {
    fn wrote(&mut self, keys: u64) {
        self.written = self.written.saturating_add(keys);
        self.writes_left -= 1;
    }
}

/// How many operations of the chosen branches write.
fn writes(request: &TxnRequest, path: &mut impl Iterator<Item = bool>) -> usize {
    let ops = branch(request, next(path)).iter().map(|op| match op {
        TxnOp::Range(_) => 0,
        TxnOp::Put(_) | TxnOp::DeleteRange(_) => 1,
        TxnOp::Txn(nested) => writes(nested, path),
    });
    ops.sum()
}

/// The outcome of a txn that only reads, at a revision that was checked.
pub(super) fn views(request: &TxnRequest, path: &mut impl Iterator<Item = bool>, at: i64) -> Outcome {
    let succeeded = next(path);
    let responses = branch(request, succeeded).iter().filter_map(|op| match op {
        TxnOp::Range(range) => Some(Outcome::Range(RangeView::settled(range.clone(), at))),
        TxnOp::Txn(nested) => Some(views(nested, path, at)),
        TxnOp::Put(_) | TxnOp::DeleteRange(_) => None,
    });
    Outcome::Txn { succeeded, responses: responses.collect() }
}

/// A txn that is being carried out.
struct Running<'a, 'w> {
    writer: &'a mut Writer<'w>,
    values: &'a dyn Values,
    /// Operations that write and are still to come.
    writes_left: usize,
}

impl Running<'_, '_> {
    fn txn(
        &mut self,
        request: TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<Outcome, StorageError> {
        let succeeded = next(path);
        let ops = if succeeded { request.success } else { request.failure };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                TxnOp::Range(request) => Outcome::Range(self.view(request)),
                TxnOp::Put(request) => {
                    self.writes_left -= 1;
                    put(self.writer, request, self.values)?
                }
                TxnOp::DeleteRange(request) => {
                    self.writes_left -= 1;
                    delete_range(self.writer, &request)
                }
                TxnOp::Txn(nested) => self.txn(nested, path)?,
            });
        }
        Ok(Outcome::Txn { succeeded, responses })
    }

    /// What a range sees that is met now.
    fn view(&self, request: RangeRequest) -> RangeView {
        let own_steps = self.writer.steps();
        if request.revision > 0 || own_steps == 0 || self.writes_left == 0 {
            return RangeView::settled(request, self.writer.now());
        }
        RangeView { request, at: self.writer.begin(), own_steps }
    }
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

fn branch(request: &TxnRequest, succeeded: bool) -> &[TxnOp] {
    if succeeded { &request.success } else { &request.failure }
}

fn next(path: &mut impl Iterator<Item = bool>) -> bool {
    path.next().expect("the path has a step for every txn that was chosen")
}
