//! The durable log: plain Raft content, so that any Raft library could read it.

use super::{Inspector, RewriteProgress, StorageError};
use bytes::Bytes;
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Identity of a log entry. Indexes start at 0 with the entry that founds the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that proposed it; a term has one leader.
    pub term: u64,
    /// Position in the log.
    pub index: u64,
}

/// What a log entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A batch of commands for the state machine.
    Normal,
    /// A membership configuration.
    Membership,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its identity.
    pub id: LogId,
    /// What it carries.
    pub kind: EntryKind,
    /// The content, opaque to the log.
    pub payload: Bytes,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEntry")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// What a member must remember of elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// The candidate that got this member's vote in that term.
    pub voted_for: Option<u64>,
    /// Whether that candidate is known to have become leader.
    pub vote_committed: bool,
}

/// One step of a group. The steps of a group, and groups among each other, keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Appends entries; the first index is one above the last.
    Append(Vec<LogEntry>),
    /// Drops every entry after `after` (all entries if `None`): they conflict with the leader's.
    Truncate {
        /// The last entry that stays: an entry of the log, or the purged one.
        after: Option<LogId>,
    },
    /// Replaces the hard state.
    SaveHardState(HardState),
}

/// What a log holds, as found at opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Every entry up to this one is gone, or is to be treated as gone.
    pub purged: Option<LogId>,
    /// The newest entry; equal to `purged` if the log is empty.
    pub last: Option<LogId>,
    /// The newest hard state.
    pub hard_state: HardState,
    /// A committed log id that was recorded with some group, never above `last`; the true one may be newer.
    pub committed: Option<LogId>,
}

impl LogState {
    /// Whether replaying this log over records that are complete up to `applied` misses nothing: the records are not
    /// ahead of the log (`applied <= last`) and nothing that they lack was purged (`purged <= applied`).
    pub fn covers(&self, applied: Option<LogId>) -> bool {
        self.purged <= applied && applied <= self.last
    }
}

/// The durable log of one member. Owned by one writer thread.
pub trait Log: Send + 'static {
    /// What the log held when it was opened.
    fn state(&self) -> LogState;

    /// Makes a group of operations durable: one write and one sync, whatever its size.
    ///
    /// `committed` rides along and needs no durability of its own: it may be lost or old after a crash. `None` says
    /// nothing new.
    ///
    /// # Errors
    /// [`StorageError::NoRoom`]: nothing of the group happened, and it may be written again; a
    /// [`purge`](Self::purge) in between may make the room for it. Any other error poisons the log. After a crash or
    /// such an error a prefix of the group's operations may have happened;
    /// an append happens entry by entry from the front, a hard state and a truncation as a whole.
    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError>;

    /// Records that every entry up to `up_to` is no longer needed. Returns without waiting for the space; durable
    /// with the next [`write`](Self::write) at the latest. `up_to` may lie above the last entry (after a snapshot
    /// was installed): then the log becomes empty and continues after `up_to`. Readers no longer see what was purged
    /// as soon as this returns. An `up_to` at or below what was purged before changes nothing. Where a group met a
    /// medium without room, a purge makes what room it can, without waiting for that group.
    ///
    /// # Errors
    /// An I/O error poisons the log.
    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError>;

    /// Writes anew, durably, some of what older keys sealed and the log still holds: one slice of background work. It
    /// copies about `copy_bytes_max` bytes where the medium can do it in slices, and everything at once where it
    /// cannot; comes after a purge, so that it is little. Nothing changes for readers. What a crash cuts short is done
    /// by further calls, in this life of the process or the next. A medium without keys has nothing to do.
    ///
    /// # Errors
    /// Any error poisons the log.
    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError>;

    /// Gives back some of the space that the log took and needs no more: one slice of background work, which takes no
    /// longer than a group or two. It is asked for at leisure, every few seconds at most, until there is no more: what was not
    /// used since the last time need not be kept for soon. Returns whether there is more. Nothing changes for readers.
    ///
    /// # Errors
    /// Any error poisons the log. A lack of room is none: what would need some is left for later.
    fn trim(&mut self) -> Result<bool, StorageError>;

    /// A handle for reading from other threads while the log is written.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Bytes on the medium.
    fn disk_bytes(&self) -> u64;
}

/// Reads a log that another thread writes.
pub trait LogReader: Send + Sync + 'static {
    /// Visits the durable entries with indexes in `range` in order, until the visitor breaks or `bytes_max` payload
    /// bytes were passed (at least one entry is visited if one exists). Purged and truncated entries are absent. What
    /// one call visits has no gaps: a purge or truncation that overtakes it ends it.
    ///
    /// # Errors
    /// I/O, or damage in an entry that was read.
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// Reads and checks everything that is stored of the log and counts, as it was when this was called: headers,
    /// checksums, tags, and that nothing is missing in between. Goes on past damage, and tells `inspector` of it; ends
    /// early if that breaks. What is purged or written anew meanwhile is passed over. Holds no lock that stops the
    /// writer.
    ///
    /// # Errors
    /// The store was closed, or cannot be read as a whole.
    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError>;
}
