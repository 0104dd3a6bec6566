//! What is refused before it is proposed: requests that can never succeed, whatever the state.
//!
//! These are the checks of etcd's API layer, with its errors and in its order. Checks that need the state (does the
//! key exist, is the revision compacted) are made by apply, or by whoever reads.
//!
//! # Invariants
//! - Pure functions of the request; the cost is O(n log n) in its size.
//! - What passes can be encoded, and decoded again by every member.

mod duplicates;

use super::Command;
use super::command::{TXN_DEPTH_MAX, encoded_bytes};
use crate::error::Error;
use crate::request::{
    DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, SortOrder, SortTarget, TxnOp, TxnRequest,
};

/// Most compares and operations that a txn may have, all those of its nested txns among them; more where a list of its
/// own may have a third of it.
pub const TXN_TOTAL_MAX: usize = 10_000;

/// The longest TTL that can be asked for, in seconds.
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// Bounds of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest command, as encoded for the log.
    pub request_bytes_max: usize,
    /// Most compares, and most operations in one list of a txn. Nested txns share what their parents left of it.
    pub txn_ops_max: usize,
    /// Longest key that can be put.
    pub key_bytes_max: usize,
}

impl Limits {
    /// Most compares and operations of a txn and of all that are nested in it: whatever a txn without nested ones may
    /// have fits.
    pub fn txn_total_max(&self) -> usize {
        TXN_TOTAL_MAX.max(self.txn_ops_max.saturating_mul(3))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes_max: 1536 * 1024, txn_ops_max: 128, key_bytes_max: 32 * 1024 }
    }
}

/// The sort order that has this number on the wire.
///
/// # Errors
/// [`Error::InvalidSortOption`].
pub fn sort_order(number: i32) -> Result<SortOrder, Error> {
    match number {
        0 => Ok(SortOrder::None),
        1 => Ok(SortOrder::Ascend),
        2 => Ok(SortOrder::Descend),
        _ => Err(Error::InvalidSortOption),
    }
}

/// The sort target that has this number on the wire.
///
/// # Errors
/// [`Error::InvalidSortOption`].
pub fn sort_target(number: i32) -> Result<SortTarget, Error> {
    match number {
        0 => Ok(SortTarget::Key),
        1 => Ok(SortTarget::Version),
        2 => Ok(SortTarget::Create),
        3 => Ok(SortTarget::Mod),
        4 => Ok(SortTarget::Value),
        _ => Err(Error::InvalidSortOption),
    }
}

/// Checks a range.
///
/// # Errors
/// [`Error::EmptyKey`].
pub fn range(request: &RangeRequest) -> Result<(), Error> {
    key_is_given(request.range.start())
}

/// Checks a put.
///
/// # Errors
/// [`Error::EmptyKey`], [`Error::ValueProvided`], [`Error::LeaseProvided`], [`Error::KeyTooLarge`].
pub fn put(request: &PutRequest, limits: &Limits) -> Result<(), Error> {
    key_is_given(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && !request.lease.is_none() {
        return Err(Error::LeaseProvided);
    }
    if request.key.len() > limits.key_bytes_max {
        return Err(Error::KeyTooLarge);
    }
    Ok(())
}

/// Checks a deletion.
///
/// # Errors
/// [`Error::EmptyKey`].
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    key_is_given(request.range.start())
}

/// Checks a txn and everything inside it.
///
/// # Errors
/// [`Error::TooManyOps`], [`Error::DuplicateKey`], and what the checks of its operations find.
pub fn txn(request: &TxnRequest, limits: &Limits) -> Result<(), Error> {
    lists(request, limits, limits.txn_ops_max, 1)?;
    // After the lists, so that what etcd finds in them is told first.
    if total(request) > limits.txn_total_max() {
        return Err(Error::TooManyOps);
    }
    // After the lists, so that its cost is bounded by the limit on operations.
    duplicates::check(&request.success)?;
    duplicates::check(&request.failure)
}

/// Checks the granting of a lease.
///
/// # Errors
/// [`Error::LeaseTtlTooLarge`].
pub fn lease_grant(request: &LeaseGrantRequest) -> Result<(), Error> {
    if request.ttl_s > LEASE_TTL_MAX_S { Err(Error::LeaseTtlTooLarge) } else { Ok(()) }
}

/// Checks the size of a command.
///
/// # Errors
/// [`Error::RequestTooLarge`].
pub fn size(command: &Command, limits: &Limits) -> Result<(), Error> {
    if encoded_bytes(command) > limits.request_bytes_max { Err(Error::RequestTooLarge) } else { Ok(()) }
}

/// Checks a command whole: its kind's own check, then its size.
///
/// # Errors
/// Those of the functions above.
pub fn command(command: &Command, limits: &Limits) -> Result<(), Error> {
    match command {
        Command::Put(request) => put(request, limits)?,
        Command::DeleteRange(request) => delete_range(request)?,
        Command::Txn(request) => txn(request, limits)?,
        Command::LeaseGrant { id, ttl_s } => lease_grant(&LeaseGrantRequest { ttl_s: *ttl_s, id: *id })?,
        Command::Compact { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseExpire { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm { .. }
        | Command::Quota { .. }
        | Command::Differs { .. } => {}
    }
    size(command, limits)
}

fn key_is_given(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

/// The number of compares and operations, nested ones too.
fn total(request: &TxnRequest) -> usize {
    let nested = request.ops().map(|op| if let TxnOp::Txn(nested) = op { total(nested) } else { 0 });
    request.compare.len() + request.success.len() + request.failure.len() + nested.sum::<usize>()
}

/// Checks the lists of a txn at `depth` that may use `ops_left` operations.
fn lists(request: &TxnRequest, limits: &Limits, ops_left: usize, depth: usize) -> Result<(), Error> {
    let used = request.compare.len().max(request.success.len()).max(request.failure.len());
    if used > ops_left || depth > TXN_DEPTH_MAX {
        return Err(Error::TooManyOps);
    }
    for compare in &request.compare {
        key_is_given(compare.range.start())?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match op {
            TxnOp::Range(request) => range(request)?,
            TxnOp::Put(request) => put(request, limits)?,
            TxnOp::DeleteRange(request) => delete_range(request)?,
            TxnOp::Txn(request) => lists(request, limits, ops_left - used, depth + 1)?,
        }
    }
    Ok(())
}

impl TxnRequest {
    /// Whether neither branch can change anything, at any depth. Such a txn is answered on the read path.
    pub fn is_read_only(&self) -> bool {
        self.ops().all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Txn(nested) => nested.is_read_only(),
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => false,
        })
    }

    /// Whether every read in it is content with local, perhaps old, state. Nothing says so of conditions alone: a txn
    /// without operations is linearizable. (etcd answers it from local state.)
    pub fn is_serializable(&self) -> bool {
        self.ops().next().is_some()
            && self.ops().all(|op| match op {
                TxnOp::Range(range) => range.serializable,
                TxnOp::Txn(nested) => nested.is_serializable(),
                TxnOp::Put(_) | TxnOp::DeleteRange(_) => true,
            })
    }

    fn ops(&self) -> impl Iterator<Item = &TxnOp> {
        self.success.iter().chain(&self.failure)
    }
}
