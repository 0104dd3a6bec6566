//! Snapshots on their way between members: everything that the machine holds at one entry, in chunks whose content
//! only machines know.
//!
//! ```text
//! leader:   Machine::snapshot ─▶ Snapshot { last, membership, content } ─▶ transport, chunk by chunk
//! follower: transport ─▶ Staging ─▶ Staged (beside the old content) ─▶ raft agrees ─▶ Machine::install
//! ```
//!
//! # Invariants
//! - What arrives is staged whole and checked before raft hears of it: a transfer that breaks leaves the member as it was.
//! - The member's content changes in one step, in [`Machine::install`](super::Machine::install).

use crate::storage::{LogId, StorageError};
use bytes::Bytes;
use std::any::Any;
use std::fmt;

/// A snapshot to be sent.
pub struct Snapshot {
    /// The last entry whose effects it holds.
    pub last: LogId,
    /// The membership in force there, and where it was decided.
    pub membership: (LogId, Bytes),
    /// Its content.
    pub content: Box<dyn SnapshotReader>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The content of a snapshot, read from the front.
pub trait SnapshotReader: Send {
    /// The next chunk of about `bytes_max`; `None` at the end. Blocks on the medium.
    ///
    /// # Errors
    /// The medium failed.
    fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError>;
}

/// Where arriving snapshots are put, beside what the machine holds.
pub trait Staging: Send + Sync {
    /// Begins one.
    ///
    /// # Errors
    /// The medium failed.
    fn begin(&self) -> Result<Box<dyn SnapshotWriter>, StorageError>;
}

/// A snapshot that arrives. Dropping it removes what was staged.
pub trait SnapshotWriter: Send {
    /// Takes the next chunk. Blocks on the medium.
    ///
    /// # Errors
    /// The chunk makes no sense, or the medium failed.
    fn write(&mut self, chunk: Bytes) -> Result<(), StorageError>;

    /// Checks that it is whole, and makes it durable.
    ///
    /// # Errors
    /// Something is missing, or the medium failed.
    fn finish(self: Box<Self>) -> Result<Staged, StorageError>;
}

/// A snapshot that is staged whole, as its machine knows it.
pub type Staged = Box<dyn Any + Send>;

/// What raft calls a snapshot's data.
pub(super) enum Content {
    /// Only a position: up to there the records are flushed.
    Position,
    /// To be sent.
    Outgoing(Box<dyn SnapshotReader>),
    /// To be installed.
    Incoming(Staged),
}

/// Of a machine that takes no snapshots: its store stays alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NoStaging;

impl NoStaging {
    pub(super) fn refusal() -> StorageError {
        StorageError::io("stage", "a snapshot", std::io::Error::other("this machine takes no snapshots"))
    }
}

impl Staging for NoStaging {
    fn begin(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Err(Self::refusal())
    }
}
