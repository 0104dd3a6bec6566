//! Completion queues: what calls that did not wait have come to.

use crate::completions::{QUEUES, Queue};
use crate::error::coffer_error;
use crate::flight::Stop;
use crate::guard::guard;
use crate::input::{Sized32, out, sized};
use crate::result::coffer_result;
use crate::status::{COFFER_NOT_FOUND, COFFER_NOTHING, COFFER_OK, coffer_status};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A completion queue. Zero is none. May be shared by stores and threads. Closed by coffer_queue_close().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_queue {
    /// Opaque.
    pub id: u64,
}

/// How one call is made. NULL instead means: wait, with the store's timeout.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_call {
    /// sizeof(coffer_call).
    pub size: u32,
    /// Zero.
    pub flags: u32,
    /// How long the call may take, in milliseconds; 0 for the store's `command-timeout`, negative for no limit. A read whose
    /// time is up fails with COFFER_TIMEOUT; a change with COFFER_OUTCOME_UNKNOWN, unless it surely did not begin. On a
    /// remote store the `command-timeout` bounds each request besides.
    pub timeout_ms: i64,
    /// Where the completion goes; zero to wait for the answer.
    pub queue: coffer_queue,
    /// What the completion bears, for the caller to know it by. Need not be unique, but coffer_cancel() ends all that bear it.
    pub tag: u64,
}

/// A call that was made with a queue is over.
pub const COFFER_COMPLETION_CALL: u32 = 1;
/// A watch has news; with a failure or COFFER_END in `status` it is over.
pub const COFFER_COMPLETION_WATCH: u32 = 2;
/// A keeper can no longer keep its lease; `status` says why.
pub const COFFER_COMPLETION_KEEPER: u32 = 3;

/// What came to a queue.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_completion {
    /// sizeof(coffer_completion), set by the caller.
    pub size: u32,
    /// One of COFFER_COMPLETION_*.
    pub kind: u32,
    /// The tag of the call.
    pub tag: u64,
    /// What the call would have returned had it waited.
    pub status: coffer_status,
    /// 1 if nothing more comes for this call: always of calls and keepers, of a watch with its end.
    pub last: u32,
    /// Why it failed; to be freed by coffer_error_free(). Zero if it did not.
    pub error: coffer_error,
    /// The answer; to be freed by coffer_result_free().
    pub result: coffer_result,
}

// SAFETY: repr(C), begins with a u32, holds integers only.
unsafe impl Sized32 for coffer_call {}
// SAFETY: repr(C), begins with a u32, holds integers and raw pointers only.
unsafe impl Sized32 for coffer_completion {}

/// When a time that a caller gives is up: 0 is now, a negative number never.
pub(crate) fn until(timeout_ms: i64) -> Option<Instant> {
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).ok()?);
    // Beyond the end of all clocks is never.
    Instant::now().checked_add(timeout)
}

/// Makes a queue.
///
/// Ownership: the caller's, to be closed by coffer_queue_close(). NULL: `queue` must not be. Threads: any.
/// Fails with COFFER_NO_RESOURCES.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_queue_new(
    queue: *mut coffer_queue,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own.
    unsafe {
        guard(c"coffer_queue_new", error, || {
            let queue = out(queue)?;
            let id = QUEUES.insert(Arc::new(Queue::new()?))?;
            queue.write_unaligned(coffer_queue { id });
            Ok(COFFER_OK)
        })
    }
}

/// The descriptor of a queue: readable (POLLIN, EPOLLIN; level-triggered) exactly while a completion waits. For poll, epoll
/// and event loops only: it must not be read, written or closed.
///
/// Ownership: the queue's, until coffer_queue_close(). NULL: `descriptor` must not be. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_queue_fd(
    queue: coffer_queue,
    descriptor: *mut i32,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own.
    unsafe {
        guard(c"coffer_queue_fd", error, || {
            let descriptor = out(descriptor)?;
            descriptor.write_unaligned(QUEUES.get(queue.id)?.descriptor());
            Ok(COFFER_OK)
        })
    }
}

/// Takes the next completion, in the order in which they came. Waits up to `timeout_ms` for one: 0 does not wait, a negative
/// number waits for ever. Returns COFFER_OK with a completion, and COFFER_NOTHING without.
///
/// `completion->size` must be set; what else is in it is overwritten, not freed.
///
/// Ownership: the completion's error and result are the caller's to free. NULL: `completion` must not be.
/// Threads: any number at once; each completion goes to one of them. Waiting ends with COFFER_BAD_HANDLE when the queue is
/// closed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_queue_next(
    queue: coffer_queue,
    timeout_ms: i64,
    completion: *mut coffer_completion,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own.
    unsafe {
        guard(c"coffer_queue_next", error, || {
            sized(out(completion)?)?;
            let queue = QUEUES.get(queue.id)?;
            let Some(next) = queue.next(until(timeout_ms))? else { return Ok(COFFER_NOTHING) };
            completion.write_unaligned(next.hand_over());
            Ok(COFFER_OK)
        })
    }
}

/// Ends all calls, watches and keepers with this queue and tag that are under way. Each still completes, exactly once: with
/// its answer if that was quicker; with COFFER_CANCELED if it did not happen; with COFFER_OUTCOME_UNKNOWN if it is a change
/// that had begun. Returns COFFER_NOT_FOUND if there is none, which may have completed already.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_cancel(
    queue: coffer_queue,
    tag: u64,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own.
    unsafe {
        guard(c"coffer_cancel", error, || {
            let any = QUEUES.get(queue.id)?.flights.stop_tag(tag, Stop::Canceled);
            Ok(if any { COFFER_OK } else { COFFER_NOT_FOUND })
        })
    }
}

/// Closes a queue. What is under way with it is cancelled; completions that wait are freed and wiped; its descriptor is
/// closed; threads that wait in coffer_queue_next() return. Returns when nothing uses the queue any more.
///
/// Threads: any. A second time gives COFFER_BAD_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_queue_close(queue: coffer_queue, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own.
    unsafe {
        guard(c"coffer_queue_close", error, || {
            let queue = QUEUES.remove(queue.id)?;
            queue.close();
            Ok(COFFER_OK)
        })
    }
}
