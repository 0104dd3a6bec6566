//! Single requests: put, get, delete, range.

use crate::answer::{Answer, Target};
use crate::bytes::{coffer_bytes, coffer_key_range};
use crate::calls::{Call, Core, Effect, ok};
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::input::{self, Sized32, optional};
use crate::queue::coffer_call;
use crate::result::coffer_result;
use crate::status::{COFFER_INVALID_SORT, COFFER_NOT_FOUND, COFFER_OK, coffer_status};
use crate::store::coffer_store;
use coffer::request::{DeleteRangeRequest, PutRequest, RangeRequest, SortOrder, SortTarget};
use coffer::{KeyRange, LeaseId};

/// Answer with the pair, or the pairs, before the change.
pub const COFFER_PUT_PREVIOUS: u32 = 1;
/// Keep the value that the key has; the given one must be empty.
pub const COFFER_PUT_KEEP_VALUE: u32 = 2;
/// Keep the lease that the key has; the given one must be 0.
pub const COFFER_PUT_KEEP_LEASE: u32 = 4;

/// How a key is written.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_put_options {
    /// sizeof(coffer_put_options).
    pub size: u32,
    /// COFFER_PUT_* or-ed.
    pub flags: u32,
    /// The lease that the key ends with; 0 for none.
    pub lease: i64,
}

/// Let one member answer from what it has, which may be old.
pub const COFFER_READ_SERIALIZABLE: u32 = 1;
/// Leave values and leases out.
pub const COFFER_READ_KEYS_ONLY: u32 = 2;
/// Only count.
pub const COFFER_READ_COUNT_ONLY: u32 = 4;

/// By key. The default.
pub const COFFER_SORT_KEY: u32 = 0;
/// By version.
pub const COFFER_SORT_VERSION: u32 = 1;
/// By the revision of creation.
pub const COFFER_SORT_CREATE: u32 = 2;
/// By the revision of the last write.
pub const COFFER_SORT_MOD: u32 = 3;
/// By value.
pub const COFFER_SORT_VALUE: u32 = 4;

/// As the store has them: in ascending order of keys. The default.
pub const COFFER_ORDER_NONE: u32 = 0;
/// Ascending.
pub const COFFER_ORDER_ASCEND: u32 = 1;
/// Descending.
pub const COFFER_ORDER_DESCEND: u32 = 2;

/// How keys are read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_read_options {
    /// sizeof(coffer_read_options).
    pub size: u32,
    /// COFFER_READ_* or-ed.
    pub flags: u32,
    /// Read as of this revision; 0 for the newest.
    pub revision: i64,
    /// At most so many keys; 0 for all.
    pub limit: i64,
    /// One of COFFER_SORT_*.
    pub sort: u32,
    /// One of COFFER_ORDER_*.
    pub order: u32,
    /// Only keys last written at or after this revision; 0 for no bound. So the other three.
    pub min_mod_revision: i64,
    /// Only keys last written at or before this revision.
    pub max_mod_revision: i64,
    /// Only keys created at or after this revision.
    pub min_create_revision: i64,
    /// Only keys created at or before this revision.
    pub max_create_revision: i64,
}

/// Answer with the pairs that were deleted.
pub const COFFER_DELETE_PREVIOUS: u32 = 1;

// SAFETY: repr(C), begins with a u32, holds integers only.
unsafe impl Sized32 for coffer_put_options {}
// SAFETY: repr(C), begins with a u32, holds integers only.
unsafe impl Sized32 for coffer_read_options {}

/// Writes a key. Durable on a quorum when it is answered.
///
/// Result: the pair before in `kvs` if it was asked for and there was one.
/// Ownership: `key` and `value` are borrowed for the call, also with a queue; their copies are wiped.
/// NULL: `options`, `call`, `result`. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_put(
    store: coffer_store,
    key: coffer_bytes,
    value: coffer_bytes,
    options: *const coffer_put_options,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_put", error, || {
            store.enter(|core| {
                let request = put_request(key, value, options)?;
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_put", call, Effect::Changes, target, async move {
                    ok(Answer::put(client.put_request(request).await?))
                })
            })
        })
    }
}

/// Reads one key. COFFER_NOT_FOUND if it does not exist.
///
/// Result: the pair in `kvs[0]`; with COFFER_READ_COUNT_ONLY only `count`. Of the options `limit`, `sort` and `order` are of
/// no use.
/// Ownership: `key` is borrowed for the call. NULL: `options`, `call`; `result` with a queue. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_get(
    store: coffer_store,
    key: coffer_bytes,
    options: *const coffer_read_options,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_get", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let request = match optional(options)? {
                    Some(options) if !options.is_plain() => Some(options),
                    _ => None,
                };
                if let (None, None) = (&request, &call.queue)
                    && let Some(status) = get_at_once(core, key.borrow()?, target)?
                {
                    return Ok(status);
                }
                let request = read_request(KeyRange::single(key.copy()?), request)?;
                let client = core.client.clone();
                core.perform(c"coffer_get", call, Effect::Reads, target, async move {
                    let response = client.range_request(request).await?;
                    let status = if response.count > 0 { COFFER_OK } else { COFFER_NOT_FOUND };
                    Ok((status, Answer::range(response)))
                })
            })
        })
    }
}

/// Reads a range of keys in one answer. For large ranges see coffer_iter_open().
///
/// Result: the pairs in `kvs`, how many keys there are in `count`, COFFER_RESULT_MORE in `flags` if the limit left some out.
/// Ownership: `range` is borrowed for the call. NULL: `options`, `call`; `result` with a queue. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_range(
    store: coffer_store,
    range: *const coffer_key_range,
    options: *const coffer_read_options,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_range", error, || {
            store.enter(|core| {
                let request = read_request(coffer_key_range::copy(range)?, optional(options)?)?;
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_range", call, Effect::Reads, target, async move {
                    ok(Answer::range(client.range_request(request).await?))
                })
            })
        })
    }
}

/// Deletes a range of keys, in one revision. `flags` is COFFER_DELETE_PREVIOUS or 0.
///
/// Result: how many were deleted in `count`; the pairs in `kvs` if they were asked for.
/// Ownership: `range` is borrowed for the call. NULL: `call`, `result`. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_delete(
    store: coffer_store,
    range: *const coffer_key_range,
    flags: u32,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_delete", error, || {
            store.enter(|core| {
                let request = delete_request(range, flags)?;
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_delete", call, Effect::Changes, target, async move {
                    ok(Answer::delete(client.delete_range_request(request).await?))
                })
            })
        })
    }
}

/// The short way: the key as it is now, if the store can tell at once.
fn get_at_once(core: &Core, key: &[u8], target: Target) -> Result<Option<coffer_status>, Failure> {
    core.rehearse(c"coffer_get");
    let Some((header, kv)) = core.client.get_at_once(key) else { return Ok(None) };
    let status = if kv.is_some() { COFFER_OK } else { COFFER_NOT_FOUND };
    target.fill(Answer::one(header, kv))?;
    Ok(Some(status))
}

/// What a put asks for.
///
/// # Safety
/// As [`coffer_bytes::copy`] and [`optional`].
pub(crate) unsafe fn put_request(
    key: coffer_bytes,
    value: coffer_bytes,
    options: *const coffer_put_options,
) -> Result<PutRequest, Failure> {
    // SAFETY: the caller's contract is the same.
    let (key, value, options) = unsafe { (key.copy()?, value.copy()?, optional(options)?) };
    let mut request = PutRequest { key, value, ..PutRequest::default() };
    if let Some(options) = options {
        let known = COFFER_PUT_PREVIOUS | COFFER_PUT_KEEP_VALUE | COFFER_PUT_KEEP_LEASE;
        input::flags(options.flags, known)?;
        request.lease = LeaseId(options.lease);
        request.prev_kv = options.flags & COFFER_PUT_PREVIOUS != 0;
        request.ignore_value = options.flags & COFFER_PUT_KEEP_VALUE != 0;
        request.ignore_lease = options.flags & COFFER_PUT_KEEP_LEASE != 0;
    }
    Ok(request)
}

impl coffer_read_options {
    /// Whether it asks for what is asked for without options.
    fn is_plain(&self) -> bool {
        let Self { size: _, flags, revision, limit, sort, order, .. } = *self;
        let bounds = [
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ];
        (flags, sort, order, revision, limit) == (0, 0, 0, 0, 0) && bounds == [0; 4]
    }
}

/// What a read asks for.
pub(crate) fn read_request(
    range: KeyRange,
    options: Option<coffer_read_options>,
) -> Result<RangeRequest, Failure> {
    let mut request = RangeRequest::new(range);
    if let Some(options) = options {
        let known = COFFER_READ_SERIALIZABLE | COFFER_READ_KEYS_ONLY | COFFER_READ_COUNT_ONLY;
        input::flags(options.flags, known)?;
        request.serializable = options.flags & COFFER_READ_SERIALIZABLE != 0;
        request.keys_only = options.flags & COFFER_READ_KEYS_ONLY != 0;
        request.count_only = options.flags & COFFER_READ_COUNT_ONLY != 0;
        request.revision = options.revision;
        request.limit = options.limit;
        request.sort_target = sort_target(options.sort)?;
        request.sort_order = sort_order(options.order)?;
        request.min_mod_revision = options.min_mod_revision;
        request.max_mod_revision = options.max_mod_revision;
        request.min_create_revision = options.min_create_revision;
        request.max_create_revision = options.max_create_revision;
    }
    Ok(request)
}

/// What a deletion asks for.
///
/// # Safety
/// As [`coffer_key_range::copy`].
pub(crate) unsafe fn delete_request(
    range: *const coffer_key_range,
    flags: u32,
) -> Result<DeleteRangeRequest, Failure> {
    input::flags(flags, COFFER_DELETE_PREVIOUS)?;
    // SAFETY: the caller's contract is the same.
    let range = unsafe { coffer_key_range::copy(range) }?;
    Ok(DeleteRangeRequest { range, prev_kv: flags & COFFER_DELETE_PREVIOUS != 0 })
}

fn sort_target(number: u32) -> Result<SortTarget, Failure> {
    Ok(match number {
        COFFER_SORT_KEY => SortTarget::Key,
        COFFER_SORT_VERSION => SortTarget::Version,
        COFFER_SORT_CREATE => SortTarget::Create,
        COFFER_SORT_MOD => SortTarget::Mod,
        COFFER_SORT_VALUE => SortTarget::Value,
        _ => return Err(Failure::plain(COFFER_INVALID_SORT, "nothing is sorted by that")),
    })
}

fn sort_order(number: u32) -> Result<SortOrder, Failure> {
    Ok(match number {
        COFFER_ORDER_NONE => SortOrder::None,
        COFFER_ORDER_ASCEND => SortOrder::Ascend,
        COFFER_ORDER_DESCEND => SortOrder::Descend,
        _ => return Err(Failure::plain(COFFER_INVALID_SORT, "there is no such order")),
    })
}
