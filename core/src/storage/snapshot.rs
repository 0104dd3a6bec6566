//! Snapshot files: all that a node holds at one revision, sealed as its store is.
//!
//! # Data path
//! Out: a [pinned view](crate::node::SnapshotView) of a node -> [`SnapshotWriter`], which the record store makes, because it
//! has the keys -> bytes, a piece at a time -> whoever asked for them. In: the file -> the backends' reader, a
//! [`SnapshotSource`](super::SnapshotSource) -> [`restore`](crate::node::restore).

use super::{LogId, StorageError};
use crate::record::Record;
use crate::revision::LeaseId;
use bytes::Bytes;
use std::fmt;

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The cluster that it comes from.
    pub cluster_id: u64,
    /// The member that made it.
    pub member_id: u64,
    /// The store's revision that it shows.
    pub revision: i64,
    /// The oldest revision that can be read in it; 0 if the history was never compacted.
    pub compact_revision: i64,
    /// The last log entry whose effects it shows.
    pub applied: LogId,
    /// Seconds since 1970 when it was begun, by the clock of the member.
    pub created_s: u64,
}

/// A lease in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLease {
    /// The lease.
    pub id: LeaseId,
    /// The granted time to live, in seconds.
    pub ttl_s: i64,
    /// Seconds that remained at the last checkpoint; 0 if none is stored.
    pub remaining_s: i64,
}

/// Makes the bytes of one snapshot file, in this order: [`begin`](Self::begin), [`leases`](Self::leases) and
/// [`records`](Self::records) as often as there are some, [`end`](Self::end). What the calls answered, one after the
/// other, is the file.
pub trait SnapshotWriter: Send + fmt::Debug {
    /// What the file begins with.
    ///
    /// # Errors
    /// The keys of the store cannot be read, or the system's generator failed; so everywhere here.
    fn begin(&mut self, head: &SnapshotHead) -> Result<Bytes, StorageError>;

    /// Some leases, above all before.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn leases(&mut self, leases: &[SnapshotLease]) -> Result<Bytes, StorageError>;

    /// Some records, above all before.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn records(&mut self, records: &[Record]) -> Result<Bytes, StorageError>;

    /// What the file ends with. Without it a file is refused as cut.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn end(&mut self) -> Result<Bytes, StorageError>;
}
