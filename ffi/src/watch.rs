//! Watches: every change of a range of keys, in order, once, from any revision that is still readable.

use crate::answer::Target;
use crate::bytes::coffer_key_range;
use crate::calls::Call;
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::flight::Stop;
use crate::guard::guard;
use crate::input::{self, Sized32, optional, out};
use crate::queue::{coffer_call, until};
use crate::result::coffer_result;
use crate::status::{COFFER_OK, coffer_status};
use crate::store::coffer_store;
use crate::watching::{WATCHES, open};
use coffer::WatchBuilder;
use std::sync::atomic::Ordering;

/// A watch. Zero is none. Serves one call at a time. Closed by coffer_watch_close().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_watch {
    /// Opaque.
    pub id: u64,
}

/// Deliver the pair before each change.
pub const COFFER_WATCH_PREVIOUS: u32 = 1;
/// Tell now and then, while nothing happens, up to which revision everything was delivered.
pub const COFFER_WATCH_PROGRESS: u32 = 2;
/// Leave puts out.
pub const COFFER_WATCH_NO_PUT: u32 = 4;
/// Leave deletes out.
pub const COFFER_WATCH_NO_DELETE: u32 = 8;
/// Large revisions may come in several results: COFFER_RESULT_FRAGMENT.
pub const COFFER_WATCH_FRAGMENTS: u32 = 16;

/// What is watched for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_watch_options {
    /// sizeof(coffer_watch_options).
    pub size: u32,
    /// COFFER_WATCH_* or-ed.
    pub flags: u32,
    /// Begin with the changes of this revision; 0 for what happens after the start.
    pub start_revision: i64,
}

// SAFETY: repr(C), begins with a u32, holds integers only.
unsafe impl Sized32 for coffer_watch_options {}

/// Begins to watch a range.
///
/// Without a queue it waits until the watch has begun; what it sees is then taken with coffer_watch_next().
/// With a queue, in `call`, it returns at once, and what the watch sees comes there, each as a completion of kind
/// COFFER_COMPLETION_WATCH with the call's tag: first one with COFFER_RESULT_STARTED, then changes, at last (`last` is 1) one
/// that says why it ended: COFFER_END after coffer_watch_close(), COFFER_CANCELED after coffer_cancel(), COFFER_STOPPED after
/// coffer_close(), COFFER_COMPACTED if it fell behind a compaction. A few completions of a watch wait at most; then it
/// waits until they are taken. The call's timeout is for the beginning alone.
///
/// A remote watch survives lost connections without loss or repetition. After an end begin another one with the
/// `start_revision` of coffer_watch_resume().
///
/// Ownership: the caller's, to be closed by coffer_watch_close(). `range` is borrowed for the call.
/// NULL: `options`, `call`. Threads: any. Fails with COFFER_COMPACTED, COFFER_EMPTY_WATCH_RANGE.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_watch_open(
    store: coffer_store,
    range: *const coffer_key_range,
    options: *const coffer_watch_options,
    call: *const coffer_call,
    watch: *mut coffer_watch,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_watch_open", error, || {
            let watch = out(watch)?;
            store.enter(|core| {
                core.rehearse(c"coffer_watch_open");
                let mut builder = core.client.watch(coffer_key_range::copy(range)?);
                let mut start_revision = 0;
                if let Some(options) = optional(options)? {
                    builder = options.apply(builder)?;
                    start_revision = options.start_revision;
                }
                let call = Call::read(call, core.timeout)?;
                let id = open(core, builder, start_revision, call)?;
                watch.write_unaligned(coffer_watch { id });
                Ok(COFFER_OK)
            })
        })
    }
}

/// Takes what a watch without a queue sees next; waits up to `timeout_ms` for it: 0 does not wait, a negative number waits
/// for ever. COFFER_NOTHING if nothing came. After any failure but COFFER_BUSY the watch is over.
///
/// Result: changes in `events`, of whole revisions unless COFFER_RESULT_FRAGMENT is set; or COFFER_RESULT_PROGRESS.
/// NULL: none. Threads: one call at a time. Waiting ends with COFFER_END when the watch is closed, with COFFER_STOPPED when
/// the store is. Fails with COFFER_COMPACTED, COFFER_UNSUPPORTED for a watch with a queue.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_watch_next(
    watch: coffer_watch,
    timeout_ms: i64,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_watch_next", error, || {
            WATCHES.get(watch.id)?.enter(|watch| {
                let target = Target::waiting(result, true)?;
                let (status, answer) = watch.next(until(timeout_ms))?;
                target.fill(answer)?;
                Ok(status)
            })
        })
    }
}

/// Asks for COFFER_RESULT_PROGRESS as soon as everything that has happened was delivered.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_watch_request_progress(
    watch: coffer_watch,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_watch_request_progress", error, || {
            WATCHES.get(watch.id)?.enter(|watch| {
                watch.flight.nudge();
                Ok(COFFER_OK)
            })
        })
    }
}

/// Tells the `start_revision` with which another watch goes on where this one is: one above the last revision that was
/// delivered as a whole, or where it began. Also after its end.
///
/// NULL: `revision` must not be. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_watch_resume(
    watch: coffer_watch,
    revision: *mut i64,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_watch_resume", error, || {
            let revision = out(revision)?;
            WATCHES.get(watch.id)?.enter(|watch| {
                revision.write_unaligned(watch.next_revision.load(Ordering::Acquire));
                Ok(COFFER_OK)
            })
        })
    }
}

/// Ends and closes a watch. With a queue its last completion still comes, with COFFER_END.
///
/// Threads: any. A second time gives COFFER_BAD_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_watch_close(watch: coffer_watch, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_watch_close", error, || {
            WATCHES.remove(watch.id)?.anyway().flight.stop(Stop::Closed);
            Ok(COFFER_OK)
        })
    }
}

impl coffer_watch_options {
    fn apply(&self, mut builder: WatchBuilder) -> Result<WatchBuilder, Failure> {
        let known = COFFER_WATCH_PREVIOUS
            | COFFER_WATCH_PROGRESS
            | COFFER_WATCH_NO_PUT
            | COFFER_WATCH_NO_DELETE
            | COFFER_WATCH_FRAGMENTS;
        input::flags(self.flags, known)?;
        let has = |flag| self.flags & flag != 0;
        builder = builder.from_revision(self.start_revision);
        builder = if has(COFFER_WATCH_PREVIOUS) { builder.prev_kv() } else { builder };
        builder = if has(COFFER_WATCH_PROGRESS) { builder.progress_notify() } else { builder };
        builder = if has(COFFER_WATCH_NO_PUT) { builder.no_put() } else { builder };
        builder = if has(COFFER_WATCH_NO_DELETE) { builder.no_delete() } else { builder };
        Ok(if has(COFFER_WATCH_FRAGMENTS) { builder.fragments() } else { builder })
    }
}
