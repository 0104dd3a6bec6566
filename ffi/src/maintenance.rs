//! What is asked of a store as a whole.

use crate::answer::{Answer, Target};
use crate::calls::{Call, Effect, ok};
use crate::error::coffer_error;
use crate::guard::guard;
use crate::input;
use crate::queue::coffer_call;
use crate::result::coffer_result;
use crate::status::coffer_status;
use crate::store::coffer_store;
use coffer::request::CompactRequest;

/// Return once the space was reclaimed.
pub const COFFER_COMPACT_PHYSICAL: u32 = 1;

/// Makes revisions below `revision` unreadable, and lets their space be reclaimed in the background. `flags` is
/// COFFER_COMPACT_PHYSICAL or 0.
///
/// NULL: `call`, `result`. Threads: any. Fails with COFFER_COMPACTED if it is done already, COFFER_FUTURE_REVISION.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_compact(
    store: coffer_store,
    revision: i64,
    flags: u32,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_compact", error, || {
            store.enter(|core| {
                input::flags(flags, COFFER_COMPACT_PHYSICAL)?;
                let request = CompactRequest { revision, physical: flags & COFFER_COMPACT_PHYSICAL != 0 };
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_compact", call, Effect::Changes, target, async move {
                    ok(Answer::of(client.compact_request(request).await?.header))
                })
            })
        })
    }
}

/// Tells how the member that answers sees its store.
///
/// Result: `store`. NULL: `call`; `result` with a queue. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_store_status(
    store: coffer_store,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_store_status", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_store_status", call, Effect::Reads, target, async move {
                    ok(Answer::status(client.status().await?))
                })
            })
        })
    }
}

/// Tells a hash over the content up to `revision` (0 for the newest), equal to etcd's HashKV for equal content.
///
/// Result: `hash`, `compact_revision`; in `revision` the one that was hashed up to.
/// NULL: `call`; `result` with a queue. Threads: any. Fails with COFFER_COMPACTED, COFFER_FUTURE_REVISION.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_hash_kv(
    store: coffer_store,
    revision: i64,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_hash_kv", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_hash_kv", call, Effect::Reads, target, async move {
                    ok(Answer::hash(client.hash_kv(revision).await?))
                })
            })
        })
    }
}

/// Lists who belongs to the cluster: with `linearizable` not 0 as of now, else as the member that answers knows it.
///
/// Result: `members`. NULL: `call`; `result` with a queue. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_member_list(
    store: coffer_store,
    linearizable: i32,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_member_list", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_member_list", call, Effect::Reads, target, async move {
                    ok(Answer::members(client.member_list(linearizable != 0).await?))
                })
            })
        })
    }
}
