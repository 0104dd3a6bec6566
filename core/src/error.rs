//! The one set of errors that every surface shows, grouped by what the caller must do.
//!
//! Texts equal etcd's (without the `etcdserver: ` prefix that its wire adds), because its clients match on
//! them. Branch on variants, never on text.

use std::any::Any;
use thiserror::Error;

/// What the caller of a failed operation must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorGroup {
    /// The request can never succeed as it is.
    FixRequest,
    /// The caller is not known or not allowed.
    Authenticate,
    /// Nothing happened; the same request may succeed later.
    Retry,
    /// It may or may not have happened, or what came of it is not told. Read before deciding.
    OutcomeUnknown,
    /// This node can not go on; another may.
    StopNode,
    /// Stored data is damaged.
    RepairData,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A key is needed and was empty.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` names a key that does not exist; or a txn holds an empty operation.
    #[error("key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// More compares or operations than the limit.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// One txn puts a key twice, or puts a key that it deletes.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// An unknown sort order or target.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// One txn would look at more keys than the store lets it, because nothing else is carried out meanwhile.
    #[error("txn looks at too many keys: split it, or narrow or limit its ranges")]
    TxnTooLarge,
    /// The answer is larger than one answer may be. Nothing was changed.
    #[error("answer is too large: ask for fewer keys at a time")]
    AnswerTooLarge,
    /// The change was made, but the answer that was asked for with it is larger than one answer may be.
    #[error("done, but the answer is too large: the change was made and must not be repeated")]
    DoneAnswerTooLarge,
    /// The revision lies below the compact revision.
    #[error("mvcc: required revision has been compacted")]
    Compacted {
        /// The store's compact revision, the oldest that can still be read.
        compact_revision: i64,
    },
    /// The revision has not happened yet.
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    /// The store has reached its quota, or the disk has no room for more. What frees space is still taken.
    #[error("mvcc: database space exceeded")]
    NoSpace,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The chosen lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// The asked TTL is beyond 9,000,000,000 s.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The request exceeds `max-request-bytes`.
    #[error("request is too large")]
    RequestTooLarge,
    /// A key is longer than this store keeps.
    #[error("key is too large")]
    KeyTooLarge,
    /// Too much waits already. Nothing happened.
    #[error("too many requests")]
    TooManyRequests,
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// This node is not the leader.
    #[error("not leader")]
    NotLeader,
    /// The leader changed while the request waited: it may or may not have happened.
    #[error("leader changed")]
    LeaderChanged,
    /// The deadline passed before a proposal began; nothing happened.
    #[error("request timed out")]
    Timeout,
    /// The deadline passed after a proposal began: it may or may not have happened.
    #[error("request timed out, outcome unknown")]
    OutcomeUnknown,
    /// The connection broke after a request that changes something was sent.
    #[error("connection lost, outcome unknown")]
    ConnectionLost,
    /// No endpoint could be reached. Nothing happened.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The node is shutting down.
    #[error("server stopped")]
    Stopped,
    /// The caller cancelled.
    #[error("request canceled")]
    Canceled,
    /// A watch id is in use on its stream.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateWatchId,
    /// A watch range can never hold a key.
    #[error("mvcc: watcher range is empty")]
    EmptyWatchRange,
    /// A field holds a value that has no meaning.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The surface does not offer this.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A local fault stopped this node: a failed fsync, a broken invariant.
    #[error("node stopped: {0}")]
    Fatal(String),
    /// Stored data is damaged: names file and offset. Or the alarm that says so is raised: nothing is changed any more.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The store can not be opened: in use, wrong format, wrong permissions.
    #[error("cannot open store: {0}")]
    Open(String),
}

impl Error {
    /// The store can not be opened for want of a thread.
    pub(crate) fn no_thread(error: std::io::Error) -> Self {
        Self::Open(format!("the system refuses a thread: {error}"))
    }

    /// What the caller must do.
    pub fn group(&self) -> ErrorGroup {
        use Error::*;
        match self {
            EmptyKey
            | KeyNotFound
            | ValueProvided
            | LeaseProvided
            | TooManyOps
            | TxnTooLarge
            | AnswerTooLarge
            | DuplicateKey
            | InvalidSortOption
            | Compacted { .. }
            | FutureRevision
            | LeaseNotFound
            | LeaseExists
            | LeaseTtlTooLarge
            | RequestTooLarge
            | KeyTooLarge
            | DuplicateWatchId
            | EmptyWatchRange
            | InvalidArgument(_)
            | Unsupported(_)
            | Canceled
            | Open(_) => ErrorGroup::FixRequest,
            TooManyRequests | NoLeader | NotLeader | Timeout | Unavailable(_) | Stopped | NoSpace => {
                ErrorGroup::Retry
            }
            LeaderChanged | OutcomeUnknown | ConnectionLost | DoneAnswerTooLarge => {
                ErrorGroup::OutcomeUnknown
            }
            Fatal(_) => ErrorGroup::StopNode,
            Corrupt(_) => ErrorGroup::RepairData,
        }
    }

    /// Whether the same request may be sent again because nothing happened.
    pub fn is_retryable(&self) -> bool {
        self.group() == ErrorGroup::Retry
    }

    /// Whether the request may have happened although it failed.
    pub fn is_maybe_committed(&self) -> bool {
        matches!(self.group(), ErrorGroup::OutcomeUnknown | ErrorGroup::StopNode)
    }
}

/// The text of a caught panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panic without a text".to_owned())
}
