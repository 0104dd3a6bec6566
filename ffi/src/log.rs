//! The log hook, the only callback.

use crate::error::coffer_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::logger;
use crate::status::{COFFER_OK, coffer_status};
use std::ffi::{c_char, c_void};
use tracing::level_filters::LevelFilter;

/// What is wrong.
pub const COFFER_LOG_ERROR: u32 = 1;
/// What might become wrong.
pub const COFFER_LOG_WARN: u32 = 2;
/// What an operator wants to know.
pub const COFFER_LOG_INFO: u32 = 3;
/// What a developer wants to know.
pub const COFFER_LOG_DEBUG: u32 = 4;

/// Takes one message: its level, the module that says it, and the text, which holds neither keys nor values. The strings
/// live for the call. Called by any thread, also by several at once; must return soon, and must not call the library.
pub type coffer_log_fn = Option<
    unsafe extern "C" fn(user: *mut c_void, level: u32, target: *const c_char, message: *const c_char),
>;

/// Has everything that the library logs, down to `level` (COFFER_LOG_*), told to `hook`, in place of an earlier one; NULL
/// for nobody, as in the beginning. One hook for the process. A call of an earlier hook may still be under way when this
/// returns.
///
/// Ownership: `user` is handed to the hook and else not touched; it must live as long as the hook may be called.
/// NULL: `hook`, `user`. Threads: any. Fails with COFFER_UNSUPPORTED in a Rust program that has a tracing subscriber of its
/// own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_set_log(
    hook: coffer_log_fn,
    user: *mut c_void,
    level: u32,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_set_log", error, || {
            let level = match (hook, level) {
                (None, _) => LevelFilter::OFF,
                (_, COFFER_LOG_ERROR) => LevelFilter::ERROR,
                (_, COFFER_LOG_WARN) => LevelFilter::WARN,
                (_, COFFER_LOG_INFO) => LevelFilter::INFO,
                (_, COFFER_LOG_DEBUG) => LevelFilter::DEBUG,
                _ => return Err(Failure::argument("there is no such level")),
            };
            logger::set(hook, user, level)?;
            Ok(COFFER_OK)
        })
    }
}
