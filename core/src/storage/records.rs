//! The durable records: every revision that has not been compacted away, and everything that is not revisioned.

use super::{Inspector, LogId, SnapshotWriter, StorageError};
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The state that has no revisions (leases, members, alarms, compact revision, request windows, raft membership),
/// as one blob that core encodes, with the log id up to which it and the records are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last log entry whose effects are included.
    pub applied: LogId,
    /// The store revision at that point.
    pub revision: i64,
    /// The compact revision at that point; 0 if never compacted.
    pub compact_revision: i64,
    /// The non-revisioned state, in core's own versioned encoding.
    pub state: Bytes,
}

/// One atomic step of the records forward.
#[derive(Clone, Copy, Debug)]
pub struct Flush<'a> {
    /// Records in ascending revision order, all above every record stored before; may be empty.
    pub records: &'a [Arc<Record>],
    /// The state after them.
    pub checkpoint: &'a Checkpoint,
}

/// A run of consecutive records, as the medium keeps them together: what one read brings in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBlock {
    /// At least one record, ascending. Their keys and values may share one buffer.
    pub records: Vec<Record>,
    /// Bytes that the block holds in memory, for cache accounting.
    pub memory_bytes: usize,
}

impl RecordBlock {
    /// The record at exactly `revision`.
    pub fn get(&self, revision: Revision) -> Option<&Record> {
        let at = self.records.binary_search_by_key(&revision, |record| record.revision).ok()?;
        self.records.get(at)
    }
}

/// What the key directory says of one record. Enough to rebuild the key index without reading a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// When it happened.
    pub revision: Revision,
    /// Main revision of the put that created the key; 0 for a tombstone.
    pub create_revision: i64,
    /// Number of puts since creation; 0 for a tombstone.
    pub version: i64,
    /// The attached lease.
    pub lease: LeaseId,
    /// Whether it is a deletion.
    pub tombstone: bool,
    /// Length of the value in bytes.
    pub value_bytes: u32,
}

impl From<&Record> for DirectoryEntry {
    fn from(record: &Record) -> Self {
        Self {
            revision: record.revision,
            create_revision: record.create_revision,
            version: record.version,
            lease: record.lease,
            tombstone: record.tombstone,
            value_bytes: record.value.len() as u32,
        }
    }
}

/// What one slice of background reclaiming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReclaimProgress {
    /// Bytes given back.
    pub freed_bytes: u64,
    /// Bytes of live records that were copied.
    pub copied_bytes: u64,
    /// Whether more could be done now.
    pub more: bool,
}

/// What one slice of a rewriting did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriteProgress {
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Bytes on the medium that are still to be rewritten.
    pub left_bytes: u64,
    /// Whether more can be done now.
    pub more: bool,
}

/// Sizes of a record store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordsStats {
    /// Bytes on the medium.
    pub disk_bytes: u64,
    /// Bytes of that which hold live records.
    pub live_bytes: u64,
    /// Files, tables or whatever unit the medium has.
    pub units: u64,
}

/// Where the records of an installed snapshot come from.
pub trait SnapshotSource {
    /// The next record in revision order; `None` at the end.
    ///
    /// # Errors
    /// The source broke; the installation is abandoned and the old content stays.
    fn next(&mut self) -> Result<Option<Record>, StorageError>;
}

/// A whole new content that is being written beside the one in force. Dropping it removes what was written; a crash
/// leaves it to the next opening, which removes it.
///
/// Filled by one thread, any one, while the store goes on: reads, flushes, reclaiming and another stage are not held up.
/// It keeps the store from being opened again.
pub trait RecordsStage: Send {
    /// Takes the next record; its revision is above those before. Memory is bounded by what the store needs for one of
    /// its units.
    ///
    /// # Errors
    /// [`StorageError::NoRoom`]: the stage is of no use any more, and the store goes on. Other I/O: as for
    /// [`Records::flush`].
    fn push(&mut self, record: Record) -> Result<(), StorageError>;

    /// Writes what is left and makes all of it durable.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    fn finish(self: Box<Self>) -> Result<StagedRecords, StorageError>;
}

/// A whole content that lies durable beside the one in force, as its store knows it. Dropping it removes it, unless it
/// was installed.
pub struct StagedRecords(Box<dyn Any + Send>);

impl fmt::Debug for StagedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedRecords").finish_non_exhaustive()
    }
}

impl StagedRecords {
    /// For the store that staged it.
    pub fn new(staged: impl Any + Send) -> Self {
        Self(Box::new(staged))
    }

    /// What the store that staged it put in, if it was that.
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut()
    }
}

/// The record store of one member.
pub trait Records: Send + Sync + 'static {
    /// The newest checkpoint; `None` for a fresh store.
    fn checkpoint(&self) -> Option<Checkpoint>;

    /// Stores records and checkpoint, all or nothing, and returns when they are durable.
    ///
    /// # Errors
    /// [`StorageError::NoRoom`]: nothing was stored, and [`has_room`](Self::has_room) says so from now on. Any other
    /// error poisons the store: later flushes fail, what was flushed before stays readable.
    fn flush(&self, flush: Flush<'_>) -> Result<(), StorageError>;

    /// The block that holds `revision`, or `None` if it was never stored or was dropped.
    ///
    /// # Errors
    /// I/O or damage.
    fn read(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError>;

    /// Visits every stored record with `first <= main revision <= last` in revision order until the visitor breaks.
    /// Holds no lock that stops writers; memory is bounded by one block. What is flushed meanwhile may be absent.
    ///
    /// # Errors
    /// I/O or damage.
    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// Visits the directory of every stored record, ascending by key, then by revision. Reads no value.
    ///
    /// # Errors
    /// I/O or damage.
    fn directory(
        &self,
        visit: &mut dyn FnMut(&[u8], &DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// Marks records as dead: nobody will read them again. They may be served until they are reclaimed. Need not be
    /// durable: core repeats it after a restart from the compact revision. Revisions that are not stored are passed
    /// over.
    fn drop_revisions(&self, dead: &[Revision]);

    /// Rewrites or removes some of what is mostly dead, and merges what is small: one slice of background work that
    /// reads and copies at most about `copy_bytes_max`.
    ///
    /// A dead tombstone stays as long as an older record of its key is on the medium: without it a restart, which
    /// knows nothing of what was dropped, would find the key alive. (Of other dead records any may go first: the
    /// index takes what lies before a gap in the versions for dead.)
    ///
    /// # Errors
    /// I/O or damage; [`StorageError::NoRoom`] if what could be done now needs more room than there is. A failure
    /// leaves the old content in place, and poisons only if it is unknown what the medium holds.
    fn reclaim(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError>;

    /// Whether the medium asks for a [`rewrite`](Self::rewrite): the keys that seal it were replaced, and somebody
    /// wanted what the older ones sealed to be carried over, in this life of the process or before. Never, on a medium
    /// without keys.
    fn wants_rewrite(&self) -> bool;

    /// Rewrites some of what older keys sealed: one slice of background work, like [`reclaim`](Self::reclaim), that
    /// copies at most about `copy_bytes_max`. A key that nothing needs any more is destroyed.
    ///
    /// # Errors
    /// As for [`reclaim`](Self::reclaim).
    fn rewrite(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError>;

    /// Begins a whole new content beside the one in force. It uses nothing of what is set aside for a medium without
    /// room, as far as the medium can tell them apart.
    ///
    /// # Errors
    /// The store is poisoned.
    fn stage(&self) -> Result<Box<dyn RecordsStage>, StorageError>;

    /// Replaces everything by what this store staged, with `checkpoint`, in one step: all or nothing, and durable when
    /// this returns. A scan or directory walk that runs meanwhile sees the old content to its end.
    ///
    /// # Errors
    /// [`StorageError::NoRoom`]: the old content stays, what is staged stays staged, and the call may be made again.
    /// Other I/O: as for [`flush`](Self::flush).
    ///
    /// # Panics
    /// If another store staged it.
    fn install_staged(&self, checkpoint: &Checkpoint, staged: &mut StagedRecords)
    -> Result<(), StorageError>;

    /// Replaces everything by a snapshot, all or nothing: stages what the source yields, and installs it.
    ///
    /// # Errors
    /// The source's error, or [`StorageError::NoRoom`]: the old content stays, and the store goes on. Other I/O: as for
    /// [`flush`](Self::flush).
    fn install(&self, checkpoint: &Checkpoint, source: &mut dyn SnapshotSource) -> Result<(), StorageError> {
        let mut stage = self.stage()?;
        while let Some(record) = source.next()? {
            stage.push(record)?;
        }
        self.install_staged(checkpoint, &mut stage.finish()?)
    }

    /// Reads and checks everything that is stored and counts, as it was when this was called. Returns the number of
    /// records that were found intact. Goes on past damage, and tells `inspector` of it; ends early if that breaks.
    /// What is replaced meanwhile may be passed over or be read in its new place. Holds no lock that stops writers,
    /// and holds back the reclaiming of a small part at a time.
    ///
    /// # Errors
    /// The store was closed, or cannot be read as a whole.
    fn verify(&self, inspector: &mut dyn Inspector) -> Result<u64, StorageError>;

    /// Sizes.
    fn stats(&self) -> RecordsStats;

    /// Begins a snapshot file that is sealed as this store is.
    ///
    /// # Errors
    /// This kind of store makes none; the system's generator failed.
    fn snapshot_writer(&self) -> Result<Box<dyn SnapshotWriter>, StorageError>;

    /// Whether there is room for more, in this half and in the log. From the moment at which either met a medium
    /// without room, or could not set aside in advance what it will need, this is `false`, until
    /// [`recover_room`](Self::recover_room) has succeeded. While it is, core proposes nothing that grows the store.
    /// Costs no more than a load.
    fn has_room(&self) -> bool;

    /// Sets aside what the store needs to go on when the medium is full (room to flush, to rewrite what is mostly
    /// dead, and to go on with the log) as far as it is missing, and returns whether all of it is there:
    /// [`has_room`](Self::has_room) says the same afterwards. Core calls this after opening, after a flush, and about
    /// once a second while there is no room. Costs next to nothing while nothing is missing.
    ///
    /// # Errors
    /// I/O other than a lack of room.
    fn recover_room(&self) -> Result<bool, StorageError>;

    /// How many bytes of records (keys, values and some 170 bytes each) a flush surely finds room for now: in what is
    /// set aside and in what is free on the medium. Core takes no more that grows the store than can be flushed, so
    /// that what frees space can always be flushed after it. May ask the system, but reads and writes nothing.
    fn flush_room_bytes(&self) -> u64;
}
