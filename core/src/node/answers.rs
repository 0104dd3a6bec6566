//! Turns outcomes, which carry revisions, into responses, which carry values: on the caller's own thread.

use super::range;
use super::values::ValueStore;
use crate::error::Error;
use crate::record::{KeyValue, Record};
use crate::request::{DeleteRangeResponse, Header, PutResponse, TxnOpResponse, TxnResponse};
use crate::revision::Revision;
use crate::state::Outcome;

/// The answer to a put.
///
/// # Errors
/// A local fault.
pub(super) fn put(values: &ValueStore, outcome: Outcome, header: Header) -> Result<PutResponse, Error> {
    match outcome {
        Outcome::Put { prev } => {
            let prev_kv = load(values, prev.into_iter().collect())?.pop();
            Ok(PutResponse { header, prev_kv })
        }
        other => Err(unexpected(&other)),
    }
}

/// The answer to a delete.
///
/// # Errors
/// A local fault.
pub(super) fn delete_range(
    values: &ValueStore,
    outcome: Outcome,
    header: Header,
) -> Result<DeleteRangeResponse, Error> {
    match outcome {
        Outcome::DeleteRange { deleted, prev } => {
            Ok(DeleteRangeResponse { header, deleted, prev_kvs: load(values, prev)? })
        }
        other => Err(unexpected(&other)),
    }
}

/// The answer to a txn. What its operations say of the revision is what they saw: the one before the txn until one of
/// them changed something, the txn's own from then on; a nested txn says nothing. So does etcd.
///
/// # Errors
/// A local fault.
pub(super) fn txn(values: &ValueStore, outcome: Outcome, header: Header) -> Result<TxnResponse, Error> {
    let Outcome::Txn { succeeded, responses } = outcome else { return Err(unexpected(&outcome)) };
    let before = header.revision - i64::from(responses.iter().any(changes));
    let mut seen = Seen { now: before, after: header.revision };
    Ok(TxnResponse { header, succeeded, responses: txn_ops(values, responses, &mut seen)? })
}

/// The revision as the operations of a txn see it, in their order.
struct Seen {
    now: i64,
    after: i64,
}

fn changes(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Put { .. } => true,
        Outcome::DeleteRange { deleted, .. } => *deleted > 0,
        Outcome::Txn { responses, .. } => responses.iter().any(changes),
        _ => false,
    }
}

fn txn_ops(
    values: &ValueStore,
    outcomes: Vec<Outcome>,
    seen: &mut Seen,
) -> Result<Vec<TxnOpResponse>, Error> {
    outcomes.into_iter().map(|outcome| txn_op(values, outcome, seen)).collect()
}

fn txn_op(values: &ValueStore, outcome: Outcome, seen: &mut Seen) -> Result<TxnOpResponse, Error> {
    if let Outcome::Txn { succeeded, responses } = outcome {
        let responses = txn_ops(values, responses, seen)?;
        return Ok(TxnOpResponse::Txn(TxnResponse { header: Header::default(), succeeded, responses }));
    }
    if changes(&outcome) {
        seen.now = seen.after;
    }
    let header = Header { revision: seen.now, ..Header::default() };
    Ok(match outcome {
        Outcome::Range(found) => TxnOpResponse::Range(range::finish(values, found, usize::MAX, header)?),
        Outcome::Put { .. } => TxnOpResponse::Put(put(values, outcome, header)?),
        Outcome::DeleteRange { .. } => TxnOpResponse::DeleteRange(delete_range(values, outcome, header)?),
        other => return Err(unexpected(&other)),
    })
}

fn load(values: &ValueStore, revisions: Vec<Revision>) -> Result<Vec<KeyValue>, Error> {
    let mut kvs = Vec::with_capacity(revisions.len());
    values.read_many(revisions.into_iter(), |record: &Record| kvs.push(record.key_value()))?;
    Ok(kvs)
}

/// The fault of an outcome that does not belong to its command.
pub(super) fn unexpected(outcome: &Outcome) -> Error {
    let kind = match outcome {
        Outcome::Range(_) => "range",
        Outcome::Put { .. } => "put",
        Outcome::DeleteRange { .. } => "delete",
        Outcome::Txn { .. } => "txn",
        Outcome::Compact => "compact",
        Outcome::LeaseGrant { .. } => "lease grant",
        Outcome::LeaseRevoke => "lease revoke",
        Outcome::LeaseExpire => "lease expire",
        Outcome::LeaseCheckpoint => "lease checkpoint",
        Outcome::Alarm { .. } => "alarm",
    };
    Error::Fatal(format!("the state machine answered with the outcome of another command: {kind}"))
}
