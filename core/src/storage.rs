//! The narrow waist between the store and a medium: two traits, blocking calls, byte slices.
//!
//! - [`Log`]: what must be durable now. One writer thread owns it and writes whole groups.
//! - [`Records`]: what may become durable later, because the log replays what is missing.
//!
//! Nothing here knows openraft, sockets or executors. A backend is handed no keys: sealing is a layer inside the
//! backends crate, below these traits.
//!
//! # Invariants that core upholds towards a backend
//! - `purged <= records.applied <= applied <= committed <= last`.
//! - [`Log::write`] and [`Log::purge`] are called from one thread, one call at a time.
//! - [`Records::flush`], [`Records::reclaim`], [`Records::rewrite`], [`Records::install_staged`] and
//!   [`Records::recover_room`] are called one at a time; reads, and what fills a [`RecordsStage`], come from any thread at
//!   any time.
//! - A flush at log id `L` comes only after every log entry up to `L` is durable. An installed snapshot may lie above
//!   the log; core then purges the log up to it, and does so again at opening if a crash came between
//!   ([`LogState::covers`]).
//! - The store is closed by dropping both halves, and opened again only after that.
//!
//! A backend may panic, before it changes anything, where a caller breaks this: that is a bug of ours, not a fault.
//!
//! # What a backend promises
//! - A call that returned `Ok` is durable: a crash right after it loses nothing of it.
//! - A call that failed or never returned happened as a whole or as a prefix of its log operations, never torn.
//! - What opening shows is durable, whatever it was before: a later crash does not take it back.
//! - Damage is an [`StorageError::Corrupt`] that names file and offset, never wrong data.
//! - Damage in acknowledged content is never taken for a torn write, with one exception that no medium can tell: what
//!   was damaged is the very last group before a crash, and nothing written later proves that it was acknowledged. A
//!   store that was closed knows what it held.
//! - A medium without room is no fault: the call did not happen ([`StorageError::NoRoom`]), nothing is poisoned,
//!   everything stays readable, and the same call succeeds once there is room, without opening again. A sync that
//!   fails is a fault, whatever the system answers.
//! - After an I/O error poisoned a half, every later mutating call on that half fails with
//!   [`StorageError::Poisoned`] until the store is opened again; what was durable before stays readable.

pub mod conformance;
mod error;
mod log;
mod memory;
mod records;
mod snapshot;
mod verify;

pub use error::StorageError;
pub use log::{EntryKind, HardState, Log, LogEntry, LogId, LogOp, LogReader, LogState};
pub use memory::{MemoryDisk, MemoryLog, MemoryRecords};
pub use records::{
    Checkpoint, DirectoryEntry, Flush, ReclaimProgress, RecordBlock, Records, RecordsStage, RecordsStats,
    RewriteProgress, SnapshotSource, StagedRecords,
};
pub use snapshot::{SnapshotHead, SnapshotLease, SnapshotWriter};
pub use verify::{Checking, FINDINGS_LISTED_MAX, Finding, Findings, Halt, Inspector, ended};
