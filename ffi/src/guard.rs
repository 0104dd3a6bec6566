//! What every exported function goes through: no child of a fork, no panic across the boundary, and errors told.

use crate::error::{self, coffer_error};
use crate::failure::Failure;
use crate::fork;
use crate::status::coffer_status;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the work of the function `context` and tells what came of it.
///
/// # Safety
/// `error` is null or can be written to.
pub(crate) unsafe fn guard(
    context: &'static CStr,
    error: *mut coffer_error,
    work: impl FnOnce() -> Result<coffer_status, Failure>,
) -> coffer_status {
    let outcome = run(work);
    let (status, id) = match outcome {
        Ok(status) => (status, 0),
        Err(failure) if error.is_null() => (failure.status, 0),
        Err(failure) => (failure.status, error::tell(context, failure)),
    };
    if !error.is_null() {
        // SAFETY: the caller says that it can be written to.
        unsafe { error.write_unaligned(coffer_error { id }) };
    }
    status
}

/// The same for functions that tell no error.
pub(crate) fn guard_silently(work: impl FnOnce() -> Result<coffer_status, Failure>) -> coffer_status {
    run(work).unwrap_or_else(|failure| failure.status)
}

fn run(work: impl FnOnce() -> Result<coffer_status, Failure>) -> Result<coffer_status, Failure> {
    fork::check()?;
    // What a panic left half done is behind handles that it poisoned.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
}
