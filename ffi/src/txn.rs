//! Transactions: conditions, then one of two lists of operations, atomically.

use crate::answer::{Answer, Target};
use crate::bytes::{coffer_bytes, coffer_key_range};
use crate::calls::{Call, Effect, ok};
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::handles::{Guarded, Kind, Poison, Table};
use crate::input::{optional, out};
use crate::kv::{coffer_put_options, coffer_read_options, delete_request, put_request, read_request};
use crate::queue::coffer_call;
use crate::result::coffer_result;
use crate::status::{COFFER_BUSY, COFFER_OK, COFFER_TOO_MANY_OPS, coffer_status};
use crate::store::coffer_store;
use bytes::Bytes;
use coffer::LeaseId;
use coffer::request::{Compare, CompareResult, CompareTarget, TxnOp, TxnRequest};
use parking_lot::Mutex;
use std::sync::Arc;

/// A transaction that is being put together. Zero is none. Serves one call at a time; belongs to no store, and can be
/// committed more than once. Closed by coffer_txn_close(), which wipes it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_txn {
    /// Opaque.
    pub id: u64,
}

/// How often a key was written since it was created; 0 if it does not exist. Compared with `number`.
pub const COFFER_COMPARE_VERSION: u32 = 0;
/// The revision at which a key was created; 0 if it does not exist. Compared with `number`.
pub const COFFER_COMPARE_CREATE: u32 = 1;
/// The revision at which a key was last written; 0 if it does not exist. Compared with `number`.
pub const COFFER_COMPARE_MOD: u32 = 2;
/// The value of a key, which must exist. Compared with `value`.
pub const COFFER_COMPARE_VALUE: u32 = 3;
/// The lease of a key; 0 if it has none or does not exist. Compared with `number`.
pub const COFFER_COMPARE_LEASE: u32 = 4;

/// It is equal.
pub const COFFER_IS_EQUAL: u32 = 0;
/// It is greater.
pub const COFFER_IS_GREATER: u32 = 1;
/// It is less.
pub const COFFER_IS_LESS: u32 = 2;
/// It is not equal.
pub const COFFER_IS_NOT_EQUAL: u32 = 3;

/// The operations that run if all conditions hold.
pub const COFFER_THEN: u32 = 0;
/// The operations that run if a condition does not hold.
pub const COFFER_ELSE: u32 = 1;

/// A transaction that is being put together, behind its handle. Its keys and values are wiped with the last copy of them.
#[derive(Debug, Default)]
struct Txn {
    request: TxnRequest,
    /// How deep transactions are nested in it.
    depth: usize,
}

/// More than any store takes.
const OPS_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;

static TXNS: Table<Arc<Guarded<Mutex<Txn>>>> = Table::new(Kind::Txn);

impl coffer_txn {
    /// Works on the transaction behind a handle.
    fn enter<R>(self, work: impl FnOnce(&mut Txn) -> Result<R, Failure>) -> Result<R, Failure> {
        TXNS.get(self.id)?.enter(|txn| work(&mut *txn.try_lock().ok_or_else(busy)?))
    }

    /// Adds an operation.
    fn add(self, branch: u32, operation: TxnOp) -> Result<coffer_status, Failure> {
        self.enter(|txn| {
            let operations = match branch {
                COFFER_THEN => &mut txn.request.success,
                COFFER_ELSE => &mut txn.request.failure,
                _ => return Err(Failure::argument("a branch is neither COFFER_THEN nor COFFER_ELSE")),
            };
            push(operations, operation)
        })
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<coffer_status, Failure> {
    if list.len() >= OPS_MAX {
        return Err(Failure::plain(COFFER_TOO_MANY_OPS, "no store takes as many"));
    }
    list.push(item);
    Ok(COFFER_OK)
}

fn busy() -> Failure {
    Failure::plain(COFFER_BUSY, "another call works on the transaction")
}

/// What is compared with what.
fn compare_target(target: u32, number: i64, value: Bytes) -> Result<CompareTarget, Failure> {
    if number != 0 && target == COFFER_COMPARE_VALUE {
        return Err(Failure::argument("a value is compared with a value: `number` must be 0"));
    }
    if !value.is_empty() && target != COFFER_COMPARE_VALUE {
        return Err(Failure::argument("a number is compared with a number: `value` must be empty"));
    }
    Ok(match target {
        COFFER_COMPARE_VERSION => CompareTarget::Version(number),
        COFFER_COMPARE_CREATE => CompareTarget::Create(number),
        COFFER_COMPARE_MOD => CompareTarget::Mod(number),
        COFFER_COMPARE_VALUE => CompareTarget::Value(value),
        COFFER_COMPARE_LEASE => CompareTarget::Lease(LeaseId(number)),
        _ => return Err(Failure::argument("nothing of a key is compared by that `target`")),
    })
}

fn compare_result(relation: u32) -> Result<CompareResult, Failure> {
    Ok(match relation {
        COFFER_IS_EQUAL => CompareResult::Equal,
        COFFER_IS_GREATER => CompareResult::Greater,
        COFFER_IS_LESS => CompareResult::Less,
        COFFER_IS_NOT_EQUAL => CompareResult::NotEqual,
        _ => return Err(Failure::argument("there is no such `relation`")),
    })
}

/// Begins a transaction without conditions and operations.
///
/// Ownership: the caller's, to be closed by coffer_txn_close(), or given to another one by coffer_txn_nest().
/// NULL: `txn` must not be. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_new(txn: *mut coffer_txn, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_new", error, || {
            let txn = out(txn)?;
            let id = TXNS.insert(Arc::new(Guarded::new(Mutex::default(), Poison::default())))?;
            txn.write_unaligned(coffer_txn { id });
            Ok(COFFER_OK)
        })
    }
}

/// Adds a condition: `target` (COFFER_COMPARE_*) of every key in `range` is (COFFER_IS_*) `number`, or `value`. The one that
/// the target does not use must be 0, or empty.
///
/// Ownership: `range` and `value` are borrowed for the call. NULL: none. Threads: one call at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_compare(
    txn: coffer_txn,
    range: *const coffer_key_range,
    target: u32,
    relation: u32,
    number: i64,
    value: coffer_bytes,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_compare", error, || {
            txn.enter(|txn| {
                let range = coffer_key_range::copy(range)?;
                let target = compare_target(target, number, value.copy()?)?;
                push(&mut txn.request.compare, Compare { range, result: compare_result(relation)?, target })
            })
        })
    }
}

/// Adds an operation to `branch` (COFFER_THEN, COFFER_ELSE): writes a key, as coffer_put().
///
/// Ownership: `key` and `value` are borrowed for the call. NULL: `options`. Threads: one call at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_put(
    txn: coffer_txn,
    branch: u32,
    key: coffer_bytes,
    value: coffer_bytes,
    options: *const coffer_put_options,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_put", error, || {
            let operation = put_request(key, value, options)?;
            txn.add(branch, TxnOp::Put(operation))
        })
    }
}

/// Adds an operation: reads a range, as coffer_range(). It sees what operations before it did.
///
/// Ownership: `range` is borrowed for the call. NULL: `options`. Threads: one call at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_range(
    txn: coffer_txn,
    branch: u32,
    range: *const coffer_key_range,
    options: *const coffer_read_options,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_range", error, || {
            let operation = read_request(coffer_key_range::copy(range)?, optional(options)?)?;
            txn.add(branch, TxnOp::Range(operation))
        })
    }
}

/// Adds an operation: deletes a range, as coffer_delete().
///
/// Ownership: `range` is borrowed for the call. NULL: none. Threads: one call at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_delete(
    txn: coffer_txn,
    branch: u32,
    range: *const coffer_key_range,
    flags: u32,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_delete", error, || {
            let operation = delete_request(range, flags)?;
            txn.add(branch, TxnOp::DeleteRange(operation))
        })
    }
}

/// Adds an operation: runs `inner`, whose conditions look at the store as it was before the outermost transaction.
///
/// Ownership: `inner` is taken if the call succeeds; its handle is then closed. Threads: one call at a time on both.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_nest(
    txn: coffer_txn,
    branch: u32,
    inner: coffer_txn,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_nest", error, || {
            if txn.id == inner.id {
                return Err(Failure::argument("a transaction can not be in itself"));
            }
            let (request, depth) = inner.enter(|inner| Ok((inner.request.clone(), inner.depth + 1)))?;
            txn.enter(|txn| {
                if depth > DEPTH_MAX {
                    return Err(Failure::plain(COFFER_TOO_MANY_OPS, "no store takes them nested so deeply"));
                }
                txn.depth = txn.depth.max(depth);
                Ok(())
            })?;
            txn.add(branch, TxnOp::Txn(request))?;
            drop(TXNS.remove(inner.id)?);
            Ok(COFFER_OK)
        })
    }
}

/// Runs a transaction. All of its changes are one revision; if it fails none was made, unless
/// coffer_is_maybe_committed(). That conditions did not hold is no failure.
///
/// Result: COFFER_RESULT_SUCCEEDED in `flags` if all conditions held; in `parts` an answer to each operation that ran, with
/// the fields that coffer_put(), coffer_range(), coffer_delete() and this call set.
/// Ownership: the transaction stays the caller's and may be changed or closed as soon as the call has returned, also with a
/// queue. NULL: `call`, `result`. Threads: one call at a time on the transaction.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_commit(
    store: coffer_store,
    txn: coffer_txn,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_commit", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let request = txn.enter(|txn| Ok(txn.request.clone()))?;
                let effect = if request.is_read_only() { Effect::Reads } else { Effect::Changes };
                let client = core.client.clone();
                core.perform(c"coffer_txn_commit", call, effect, target, async move {
                    ok(Answer::txn(client.txn_request(request).await?))
                })
            })
        })
    }
}

/// Closes a transaction and wipes what it holds.
///
/// Threads: any. A second time gives COFFER_BAD_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_txn_close(txn: coffer_txn, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_txn_close", error, || {
            drop(TXNS.remove(txn.id)?);
            Ok(COFFER_OK)
        })
    }
}
