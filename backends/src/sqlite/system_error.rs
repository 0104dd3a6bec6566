//! What the system answered where SQLite says no more than that a call failed: it knows of a full disk, not of an
//! exhausted quota.
#![allow(unsafe_code, reason = "rusqlite does not pass this on")]

use rusqlite::{Connection, ErrorCode, ffi};
use rustix::io::Errno;

/// Whether `error`, which was the last of `connection`, is an exhausted quota: of a write or a creation, never of a
/// sync.
pub(super) fn is_quota(connection: &Connection, error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return false };
    let is_write = failure.extended_code == ffi::SQLITE_IOERR_WRITE || failure.code == ErrorCode::CannotOpen;
    // SAFETY: the connection is borrowed, and so is open, and no other thread uses it.
    is_write && unsafe { ffi::sqlite3_system_errno(connection.handle()) } == Errno::DQUOT.raw_os_error()
}
