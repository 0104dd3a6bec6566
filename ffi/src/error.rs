//! The optional error object: what a failed call can say beyond its status.

use crate::failure::Failure;
use crate::guard::guard_silently;
use crate::handles::{Kind, Table};
use crate::input::{Sized32, sized};
use crate::status::{self, COFFER_OK, coffer_is_maybe_committed, coffer_is_retryable, coffer_status};
use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

/// Why a call failed. Zero: it did not. Freed by coffer_error_free().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_error {
    /// Opaque.
    pub id: u64,
}

/// What an error says. Filled by coffer_error_get(); the texts live until the error is freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_error_info {
    /// sizeof(coffer_error_info), set by the caller.
    pub size: u32,
    /// The status that the call returned.
    pub status: coffer_status,
    /// One of COFFER_GROUP_*.
    pub group: u32,
    /// As coffer_is_retryable().
    pub retryable: i32,
    /// As coffer_is_maybe_committed().
    pub maybe_committed: i32,
    /// Zero.
    pub reserved: u32,
    /// With COFFER_COMPACTED the oldest revision that can be read; else 0.
    pub compact_revision: i64,
    /// What happened, for people. Holds neither keys nor values.
    pub message: *const c_char,
    /// Which call failed, such as "coffer_put".
    pub context: *const c_char,
}

/// An error that the caller holds.
struct Told {
    status: coffer_status,
    compact_revision: i64,
    message: CString,
    context: &'static CStr,
}

static ERRORS: Table<Arc<Told>> = Table::new(Kind::Error);

/// Makes an error object; 0 if there is no room for one, or what is told is an answer.
pub(crate) fn tell(context: &'static CStr, failure: Failure) -> u64 {
    let Failure { status, message, compact_revision } = failure;
    // COFFER_END, of an iterator that was closed while a call waited for its next page.
    if status::coffer_status_group(status) == status::COFFER_GROUP_NONE {
        return 0;
    }
    // Texts of the system or of callers may hold a zero byte.
    let message = CString::new(message.replace('\0', "?")).unwrap_or_default();
    ERRORS.insert(Arc::new(Told { status, compact_revision, message, context })).unwrap_or(0)
}

// SAFETY: repr(C), begins with a u32, holds integers and raw pointers only.
unsafe impl Sized32 for coffer_error_info {}

/// Tells what an error says.
///
/// Ownership: the texts belong to the error, until coffer_error_free(). NULL: `info` must not be.
/// Threads: any. Fails with COFFER_BAD_HANDLE, COFFER_BAD_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_error_get(
    error: coffer_error,
    info: *mut coffer_error_info,
) -> coffer_status {
    guard_silently(|| {
        // SAFETY: by contract null, or a struct that begins with its size.
        let before = unsafe { sized(info) }?;
        let told = ERRORS.get(error.id)?;
        let after = coffer_error_info {
            size: before.size,
            status: told.status,
            group: status::coffer_status_group(told.status),
            retryable: coffer_is_retryable(told.status),
            maybe_committed: coffer_is_maybe_committed(told.status),
            reserved: 0,
            compact_revision: told.compact_revision,
            // The table keeps it alive, where it is, until the error is freed.
            message: told.message.as_ptr(),
            context: told.context.as_ptr(),
        };
        // SAFETY: it was read just now, as a whole, and the caller lets it be written.
        unsafe { info.write_unaligned(after) };
        Ok(COFFER_OK)
    })
}

/// Frees an error and sets it to zero. NULL and zero are good, and do nothing. A copy of a freed one gives
/// COFFER_BAD_HANDLE.
///
/// Threads: any, but no two at once with the same error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_error_free(error: *mut coffer_error) -> coffer_status {
    guard_silently(|| {
        if error.is_null() {
            return Ok(COFFER_OK);
        }
        // SAFETY: by contract the caller's own.
        let id = unsafe { error.read_unaligned() }.id;
        // SAFETY: as above.
        unsafe { error.write_unaligned(coffer_error { id: 0 }) };
        if id != 0 {
            drop(ERRORS.remove(id)?);
        }
        Ok(COFFER_OK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::Stop;

    #[test]
    fn a_failure_has_an_error_and_an_answer_has_none() {
        let mut canceled = coffer_error { id: tell(c"coffer_iter_next", Stop::Canceled.failure(false)) };
        assert_ne!(canceled.id, 0);
        // SAFETY: it is this test's own.
        assert_eq!(unsafe { coffer_error_free(&raw mut canceled) }, COFFER_OK);
        assert_eq!(tell(c"coffer_iter_next", Stop::Closed.failure(false)), 0);
    }
}
