//! What calls return, grouped by what the caller must do.

use coffer::{Error, ErrorGroup};
use std::ffi::{CStr, c_char};

/// What a call returns: COFFER_OK, another answer below 100, or a failure. `status / 100` is its group.
pub type coffer_status = i32;

/// It worked.
pub const COFFER_OK: coffer_status = 0;
/// There is no more: of an iterator, or of a watch that was closed.
pub const COFFER_END: coffer_status = 1;
/// The key does not exist.
pub const COFFER_NOT_FOUND: coffer_status = 2;
/// Nothing came within the time that was given for waiting.
pub const COFFER_NOTHING: coffer_status = 3;

/// Group 0: no failure.
pub const COFFER_GROUP_NONE: u32 = 0;
/// Group 1: the request can never succeed as it is.
pub const COFFER_GROUP_FIX_REQUEST: u32 = 1;
/// Group 2: the caller is not known or not allowed.
pub const COFFER_GROUP_AUTHENTICATE: u32 = 2;
/// Group 3: nothing happened; the same request may succeed later.
pub const COFFER_GROUP_RETRY: u32 = 3;
/// Group 4: it may or may not have happened, or what came of it is not told. Read before deciding.
pub const COFFER_GROUP_OUTCOME_UNKNOWN: u32 = 4;
/// Group 5: this store can not go on; another member of its cluster, or the store opened anew, may.
pub const COFFER_GROUP_STOP_NODE: u32 = 5;
/// Group 6: stored data is damaged.
pub const COFFER_GROUP_REPAIR_DATA: u32 = 6;

/// An argument has no meaning; the error says which.
pub const COFFER_INVALID_ARGUMENT: coffer_status = 101;
/// A pointer that must not be NULL is.
pub const COFFER_NULL: coffer_status = 102;
/// No handle: zero, closed, of another kind, or made up.
pub const COFFER_BAD_HANDLE: coffer_status = 103;
/// A struct has a size that this library does not know, or the program was compiled for another interface.
pub const COFFER_BAD_SIZE: coffer_status = 104;
/// The handle serves one call at a time, and another one is under way.
pub const COFFER_BUSY: coffer_status = 105;
/// This process was forked from the one that uses the library.
pub const COFFER_FORKED: coffer_status = 106;
/// The caller cancelled, and the request did not happen.
pub const COFFER_CANCELED: coffer_status = 107;
/// The store can not be opened: in use by another process, wrong key, wrong format, no permission. The error says which.
pub const COFFER_CANNOT_OPEN: coffer_status = 108;
/// This kind of store does not offer it.
pub const COFFER_UNSUPPORTED: coffer_status = 109;
/// A key is needed and was empty.
pub const COFFER_EMPTY_KEY: coffer_status = 110;
/// A put that keeps the value or the lease of a key names one that does not exist.
pub const COFFER_KEY_MISSING: coffer_status = 111;
/// A put that keeps the value has a value.
pub const COFFER_VALUE_PROVIDED: coffer_status = 112;
/// A put that keeps the lease has a lease.
pub const COFFER_LEASE_PROVIDED: coffer_status = 113;
/// A transaction has more conditions or operations than the store takes.
pub const COFFER_TOO_MANY_OPS: coffer_status = 114;
/// A transaction puts a key twice, or puts a key that it deletes.
pub const COFFER_DUPLICATE_KEY: coffer_status = 115;
/// An unknown order or target of sorting.
pub const COFFER_INVALID_SORT: coffer_status = 116;
/// A transaction would look at too many keys.
pub const COFFER_TXN_TOO_LARGE: coffer_status = 117;
/// The answer is larger than one answer may be; nothing was changed.
pub const COFFER_ANSWER_TOO_LARGE: coffer_status = 118;
/// The revision was compacted; the error tells the oldest that is readable.
pub const COFFER_COMPACTED: coffer_status = 119;
/// The revision has not happened yet.
pub const COFFER_FUTURE_REVISION: coffer_status = 120;
/// There is no such lease.
pub const COFFER_LEASE_NOT_FOUND: coffer_status = 121;
/// The chosen id of a lease is taken.
pub const COFFER_LEASE_EXISTS: coffer_status = 122;
/// A lease can not live that long.
pub const COFFER_LEASE_TTL_TOO_LARGE: coffer_status = 123;
/// The request is larger than the store takes.
pub const COFFER_REQUEST_TOO_LARGE: coffer_status = 124;
/// The key is longer than the store keeps.
pub const COFFER_KEY_TOO_LARGE: coffer_status = 125;
/// A range that is watched can never hold a key.
pub const COFFER_EMPTY_WATCH_RANGE: coffer_status = 126;

/// The caller is not known or not allowed.
pub const COFFER_UNAUTHENTICATED: coffer_status = 201;

/// Too much waits already.
pub const COFFER_TOO_MANY_REQUESTS: coffer_status = 301;
/// No leader is known.
pub const COFFER_NO_LEADER: coffer_status = 302;
/// The member that was asked is not the leader.
pub const COFFER_NOT_LEADER: coffer_status = 303;
/// The time was up before anything happened.
pub const COFFER_TIMEOUT: coffer_status = 304;
/// No endpoint could be reached.
pub const COFFER_UNAVAILABLE: coffer_status = 305;
/// The store was closed, or is being closed.
pub const COFFER_STOPPED: coffer_status = 306;
/// The store has reached its quota, or the disk is full. What frees space is still taken.
pub const COFFER_NO_SPACE: coffer_status = 307;
/// The system refused a thread, a descriptor or the like; or there are too many handles.
pub const COFFER_NO_RESOURCES: coffer_status = 308;

/// The time was up, or the caller cancelled, after a change began.
pub const COFFER_OUTCOME_UNKNOWN: coffer_status = 401;
/// The leader changed while the request waited.
pub const COFFER_LEADER_CHANGED: coffer_status = 402;
/// The connection broke after a request that changes something was sent.
pub const COFFER_CONNECTION_LOST: coffer_status = 403;
/// The change was made, but the answer that was asked for with it is too large for one answer. Do not repeat it.
pub const COFFER_DONE_ANSWER_TOO_LARGE: coffer_status = 404;

/// A fault stopped the store: a failed sync, a broken invariant. Close it and open it again.
pub const COFFER_FATAL: coffer_status = 501;
/// The call panicked, which is a bug in Coffer. Its handle can only be closed.
pub const COFFER_PANICKED: coffer_status = 502;
/// An earlier call on this handle panicked. This one did nothing.
pub const COFFER_POISONED: coffer_status = 503;

/// Stored data is damaged; the error names the place.
pub const COFFER_CORRUPT: coffer_status = 601;

/// Every status and its name.
const NAMES: &[(coffer_status, &CStr)] = &[
    (COFFER_OK, c"COFFER_OK"),
    (COFFER_END, c"COFFER_END"),
    (COFFER_NOT_FOUND, c"COFFER_NOT_FOUND"),
    (COFFER_NOTHING, c"COFFER_NOTHING"),
    (COFFER_INVALID_ARGUMENT, c"COFFER_INVALID_ARGUMENT"),
    (COFFER_NULL, c"COFFER_NULL"),
    (COFFER_BAD_HANDLE, c"COFFER_BAD_HANDLE"),
    (COFFER_BAD_SIZE, c"COFFER_BAD_SIZE"),
    (COFFER_BUSY, c"COFFER_BUSY"),
    (COFFER_FORKED, c"COFFER_FORKED"),
    (COFFER_CANCELED, c"COFFER_CANCELED"),
    (COFFER_CANNOT_OPEN, c"COFFER_CANNOT_OPEN"),
    (COFFER_UNSUPPORTED, c"COFFER_UNSUPPORTED"),
    (COFFER_EMPTY_KEY, c"COFFER_EMPTY_KEY"),
    (COFFER_KEY_MISSING, c"COFFER_KEY_MISSING"),
    (COFFER_VALUE_PROVIDED, c"COFFER_VALUE_PROVIDED"),
    (COFFER_LEASE_PROVIDED, c"COFFER_LEASE_PROVIDED"),
    (COFFER_TOO_MANY_OPS, c"COFFER_TOO_MANY_OPS"),
    (COFFER_DUPLICATE_KEY, c"COFFER_DUPLICATE_KEY"),
    (COFFER_INVALID_SORT, c"COFFER_INVALID_SORT"),
    (COFFER_TXN_TOO_LARGE, c"COFFER_TXN_TOO_LARGE"),
    (COFFER_ANSWER_TOO_LARGE, c"COFFER_ANSWER_TOO_LARGE"),
    (COFFER_COMPACTED, c"COFFER_COMPACTED"),
    (COFFER_FUTURE_REVISION, c"COFFER_FUTURE_REVISION"),
    (COFFER_LEASE_NOT_FOUND, c"COFFER_LEASE_NOT_FOUND"),
    (COFFER_LEASE_EXISTS, c"COFFER_LEASE_EXISTS"),
    (COFFER_LEASE_TTL_TOO_LARGE, c"COFFER_LEASE_TTL_TOO_LARGE"),
    (COFFER_REQUEST_TOO_LARGE, c"COFFER_REQUEST_TOO_LARGE"),
    (COFFER_KEY_TOO_LARGE, c"COFFER_KEY_TOO_LARGE"),
    (COFFER_EMPTY_WATCH_RANGE, c"COFFER_EMPTY_WATCH_RANGE"),
    (COFFER_UNAUTHENTICATED, c"COFFER_UNAUTHENTICATED"),
    (COFFER_TOO_MANY_REQUESTS, c"COFFER_TOO_MANY_REQUESTS"),
    (COFFER_NO_LEADER, c"COFFER_NO_LEADER"),
    (COFFER_NOT_LEADER, c"COFFER_NOT_LEADER"),
    (COFFER_TIMEOUT, c"COFFER_TIMEOUT"),
    (COFFER_UNAVAILABLE, c"COFFER_UNAVAILABLE"),
    (COFFER_STOPPED, c"COFFER_STOPPED"),
    (COFFER_NO_SPACE, c"COFFER_NO_SPACE"),
    (COFFER_NO_RESOURCES, c"COFFER_NO_RESOURCES"),
    (COFFER_OUTCOME_UNKNOWN, c"COFFER_OUTCOME_UNKNOWN"),
    (COFFER_LEADER_CHANGED, c"COFFER_LEADER_CHANGED"),
    (COFFER_CONNECTION_LOST, c"COFFER_CONNECTION_LOST"),
    (COFFER_DONE_ANSWER_TOO_LARGE, c"COFFER_DONE_ANSWER_TOO_LARGE"),
    (COFFER_FATAL, c"COFFER_FATAL"),
    (COFFER_PANICKED, c"COFFER_PANICKED"),
    (COFFER_POISONED, c"COFFER_POISONED"),
    (COFFER_CORRUPT, c"COFFER_CORRUPT"),
];

/// The name of a status, such as "COFFER_OK"; "unknown status" for a number that is none. Lives for ever.
///
/// Threads: any. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn coffer_status_name(status: coffer_status) -> *const c_char {
    let known = NAMES.iter().find(|(known, _)| *known == status);
    known.map_or(c"unknown status", |(_, name)| *name).as_ptr()
}

/// What a status asks of the caller: one of COFFER_GROUP_*. COFFER_GROUP_STOP_NODE for a number that is no status.
///
/// Threads: any. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn coffer_status_group(status: coffer_status) -> u32 {
    match status / 100 {
        group @ 0..=6 if status >= 0 => group.unsigned_abs(),
        _ => COFFER_GROUP_STOP_NODE,
    }
}

/// 1 if the same request may be made again because nothing happened; else 0.
///
/// Threads: any. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn coffer_is_retryable(status: coffer_status) -> i32 {
    i32::from(coffer_status_group(status) == COFFER_GROUP_RETRY)
}

/// 1 if the request may have happened although it failed; else 0.
///
/// Threads: any. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn coffer_is_maybe_committed(status: coffer_status) -> i32 {
    let group = coffer_status_group(status);
    let stopped = group == COFFER_GROUP_STOP_NODE && status != COFFER_POISONED;
    i32::from(group == COFFER_GROUP_OUTCOME_UNKNOWN || stopped)
}

/// The status of an error.
pub(crate) fn status_of(error: &Error) -> coffer_status {
    match error {
        Error::EmptyKey => COFFER_EMPTY_KEY,
        Error::KeyNotFound => COFFER_KEY_MISSING,
        Error::ValueProvided => COFFER_VALUE_PROVIDED,
        Error::LeaseProvided => COFFER_LEASE_PROVIDED,
        Error::TooManyOps => COFFER_TOO_MANY_OPS,
        Error::DuplicateKey => COFFER_DUPLICATE_KEY,
        Error::InvalidSortOption => COFFER_INVALID_SORT,
        Error::TxnTooLarge => COFFER_TXN_TOO_LARGE,
        Error::AnswerTooLarge => COFFER_ANSWER_TOO_LARGE,
        Error::DoneAnswerTooLarge => COFFER_DONE_ANSWER_TOO_LARGE,
        Error::Compacted { .. } => COFFER_COMPACTED,
        Error::FutureRevision => COFFER_FUTURE_REVISION,
        Error::NoSpace => COFFER_NO_SPACE,
        Error::LeaseNotFound => COFFER_LEASE_NOT_FOUND,
        Error::LeaseExists => COFFER_LEASE_EXISTS,
        Error::LeaseTtlTooLarge => COFFER_LEASE_TTL_TOO_LARGE,
        Error::RequestTooLarge => COFFER_REQUEST_TOO_LARGE,
        Error::KeyTooLarge => COFFER_KEY_TOO_LARGE,
        Error::TooManyRequests => COFFER_TOO_MANY_REQUESTS,
        Error::NoLeader => COFFER_NO_LEADER,
        Error::NotLeader => COFFER_NOT_LEADER,
        Error::LeaderChanged => COFFER_LEADER_CHANGED,
        Error::Timeout => COFFER_TIMEOUT,
        Error::OutcomeUnknown => COFFER_OUTCOME_UNKNOWN,
        Error::ConnectionLost => COFFER_CONNECTION_LOST,
        Error::Unavailable(_) => COFFER_UNAVAILABLE,
        Error::Stopped => COFFER_STOPPED,
        Error::Canceled => COFFER_CANCELED,
        Error::EmptyWatchRange => COFFER_EMPTY_WATCH_RANGE,
        Error::InvalidArgument(_) => COFFER_INVALID_ARGUMENT,
        Error::Unsupported(_) => COFFER_UNSUPPORTED,
        Error::Fatal(_) => COFFER_FATAL,
        Error::Corrupt(_) => COFFER_CORRUPT,
        Error::Open(_) => COFFER_CANNOT_OPEN,
        // One that is newer than this list still says what to do.
        other => match other.group() {
            ErrorGroup::FixRequest => COFFER_INVALID_ARGUMENT,
            ErrorGroup::Authenticate => COFFER_UNAUTHENTICATED,
            ErrorGroup::Retry => COFFER_UNAVAILABLE,
            ErrorGroup::OutcomeUnknown => COFFER_OUTCOME_UNKNOWN,
            ErrorGroup::RepairData => COFFER_CORRUPT,
            _ => COFFER_FATAL,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(status: coffer_status) -> &'static str {
        // SAFETY: the function gives a string that lives for ever.
        unsafe { CStr::from_ptr(coffer_status_name(status)) }.to_str().expect("names are ASCII")
    }

    #[test]
    fn numbers_are_unique_and_have_names() {
        for (at, (status, expected)) in NAMES.iter().enumerate() {
            assert!(NAMES[..at].iter().all(|(other, _)| other != status), "{status}");
            assert_eq!(name(*status), expected.to_str().expect("names are ASCII"));
        }
        for unknown in [-1, 4, 99, 999, i32::MIN, i32::MAX] {
            assert_eq!(name(unknown), "unknown status");
        }
    }

    #[test]
    fn groups_and_predicates_are_those_of_the_errors() {
        let errors = [
            Error::EmptyKey,
            Error::Compacted { compact_revision: 3 },
            Error::TooManyRequests,
            Error::Unavailable(String::new()),
            Error::OutcomeUnknown,
            Error::LeaderChanged,
            Error::ConnectionLost,
            Error::DoneAnswerTooLarge,
            Error::Fatal(String::new()),
            Error::Corrupt(String::new()),
            Error::Open(String::new()),
            Error::DuplicateWatchId,
        ];
        for error in errors {
            let status = status_of(&error);
            let group = match error.group() {
                ErrorGroup::FixRequest => COFFER_GROUP_FIX_REQUEST,
                ErrorGroup::Retry => COFFER_GROUP_RETRY,
                ErrorGroup::OutcomeUnknown => COFFER_GROUP_OUTCOME_UNKNOWN,
                ErrorGroup::StopNode => COFFER_GROUP_STOP_NODE,
                ErrorGroup::RepairData => COFFER_GROUP_REPAIR_DATA,
                _ => COFFER_GROUP_AUTHENTICATE,
            };
            assert_eq!(coffer_status_group(status), group, "{error}");
            assert_eq!(coffer_is_retryable(status) == 1, error.is_retryable(), "{error}");
            assert_eq!(coffer_is_maybe_committed(status) == 1, error.is_maybe_committed(), "{error}");
        }
        for status in [COFFER_OK, COFFER_END, COFFER_NOT_FOUND, COFFER_NOTHING] {
            assert_eq!(coffer_status_group(status), COFFER_GROUP_NONE);
        }
        assert_eq!((coffer_status_group(-7), coffer_status_group(700)), (5, 5));
        assert_eq!(coffer_is_maybe_committed(COFFER_POISONED), 0);
        assert_eq!(coffer_is_maybe_committed(COFFER_PANICKED), 1);
    }
}
