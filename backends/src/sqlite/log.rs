//! The log as a database: one sealed row per group, and one row that says from where on they count.
//!
//! | table | column | content |
//! |---|---|---|
//! | `groups` | `sequence` | number of the group, without gaps |
//! | | `sealed` | the sealed file of the blob |
//! | | `piece` | kind 2: the steps of the group, see [`crate::groups::steps`]; sequence = offset = `sequence` |
//! | `base` | `id` | 1 |
//! | | `generation` | grows with each change |
//! | | `sealed`, `piece` | kind 3: see below; offset 1, sequence = `generation` |
//!
//! The text of the base:
//!
//! | content | encoding |
//! |---|---|
//! | boot number | number |
//! | first group that counts; a group that must be there, 0 if none | numbers |
//! | whether the log was closed in order: then that group is the last one | 1 byte |
//! | a generation that the manifest of the records must have reached | number |
//! | hard state: term; flags (1 voted, 2 vote committed); the vote | number, 1 byte, number |
//! | purge watermark, a committed log id: present; term, index | 1 byte, numbers |
//!
//! # Invariants
//! - A group is one transaction, and with it goes the purge that waits: one sync.
//! - Entries at or below the watermark do not count, whatever groups still hold them; their rows go later, a few with
//!   each group.
//! - The hard state of the base is replaced by that of any group that counts.
//! - The first group that counts holds the first entry behind the watermark. What else it holds may have stood on
//!   entries of groups that are gone, and been taken back by a truncation in the same group.
//!
//! # Crash behaviour
//! A group's transaction happened or did not. A WAL that rotted is told from a torn one; see [`super::wal`]. A log that
//! is older than what the records say of it, or newer than records that lack what it purged, is refused.

mod rewrite;
mod trim;
mod verify;

use super::database::Database;
use super::progress::Progress;
use super::records::RecordRows;
use super::sealed::Sealed;
use crate::format::header::FileKind;
use crate::format::wire::{Malformed, Reader as WireReader, put_number};
use crate::groups::content::{Content, GroupAt, Reader, assert_continues};
use crate::groups::steps::{Step, each_step, entries_of, put_committed, put_ops};
use crate::io::Io;
use crate::place::StoreLock;
use crate::poison::Poison;
use crate::seal::{Keys, Place, Sealer};
use bytes::Bytes;
use coffer_core::storage::{
    Checking, Halt, HardState, Log, LogEntry, LogId, LogOp, LogReader, LogState, RewriteProgress,
    StorageError,
};
use parking_lot::RwLock;
use std::ops::Range;
use std::sync::Arc;
use verify::SqliteReader;

/// The tables of the log's database, by name.
pub(super) const SCHEMA: [&str; 3] = [
    "CREATE TABLE base(id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, sealed INTEGER NOT NULL, \
     piece BLOB NOT NULL) STRICT",
    "CREATE TABLE groups(sequence INTEGER PRIMARY KEY, sealed INTEGER NOT NULL, piece BLOB NOT NULL) STRICT",
    super::sealed::SEALED_FILES,
];

const GROUP_PIECE: u8 = 2;
const BASE_PIECE: u8 = 3;
/// Longest text of a group: SQLite's blobs end at 10^9 bytes, and no group comes near.
const GROUP_BYTES_MAX: usize = 900 << 20;
/// Bytes of the WAL after which it is copied into the database.
const CHECKPOINT_BYTES: u64 = 8 << 20;
/// The same where little or nothing is set aside.
const CHECKPOINT_BYTES_MIN: u64 = 1 << 20;
/// Rows of purged groups that go with each group.
const DELETE_ROWS_MAX: i64 = 64;

/// What is known of the log apart from its groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    boot: u64,
    /// The first group that counts.
    first: u64,
    /// A group that must be there; 0 if none.
    known: u64,
    /// Whether that is the last one.
    closed: bool,
    /// A generation that the manifest of the records has reached.
    manifest: i64,
    state: LogState,
}

impl Base {
    /// Of a log that was just created, by a member that used up the boot numbers up to `boot`.
    pub(super) fn fresh(boot: u64) -> Self {
        Self { boot, first: 1, closed: true, ..Self::default() }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.boot);
        put_number(out, self.first);
        put_number(out, self.known);
        out.push(self.closed.into());
        put_number(out, self.manifest as u64);
        let hard = &self.state.hard_state;
        put_number(out, hard.term);
        out.push(u8::from(hard.voted_for.is_some()) | u8::from(hard.vote_committed) << 1);
        put_number(out, hard.voted_for.unwrap_or(0));
        for id in [self.state.purged, self.state.committed] {
            out.push(id.is_some().into());
            put_number(out, id.unwrap_or_default().term);
            put_number(out, id.unwrap_or_default().index);
        }
    }

    fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut reader = WireReader::new(text);
        let (boot, first, known) = (reader.number()?, reader.number()?, reader.number()?);
        let (closed, manifest) = (reader.u8()? != 0, reader.number()? as i64);
        let (term, flags, vote) = (reader.number()?, reader.u8()?, reader.number()?);
        let hard_state =
            HardState { term, voted_for: (flags & 1 != 0).then_some(vote), vote_committed: flags & 2 != 0 };
        let mut id = || -> Result<Option<LogId>, Malformed> {
            let present = reader.u8()? != 0;
            let id = LogId { term: reader.number()?, index: reader.number()? };
            Ok(present.then_some(id))
        };
        let (purged, committed) = (id()?, id()?);
        if !reader.is_empty() {
            return Err(Malformed);
        }
        let state = LogState { purged, last: purged, hard_state, committed };
        Ok(Self { boot, first, known, closed, manifest, state })
    }
}

/// Where the base stands.
pub(super) fn base_place(generation: i64) -> Place {
    Place { kind: BASE_PIECE, offset: 1, sequence: generation as u64 }
}

fn group_place(sequence: u64) -> Place {
    Place { kind: GROUP_PIECE, offset: sequence, sequence }
}

/// The rows of the log.
pub(super) struct Groups {
    database: Arc<Database>,
    sealed: Sealed,
}

/// The row of one group.
#[derive(Clone)]
struct Row {
    groups: Arc<Groups>,
    sequence: u64,
    bytes: u32,
}

impl Row {
    fn name(&self) -> String {
        format!("log group {}", self.sequence)
    }
}

impl Groups {
    /// Those of a database, which must be of the store `store_id` if one is given.
    pub(super) fn load(
        database: Arc<Database>,
        keys: Keys,
        io: Arc<dyn Io>,
        store_id: Option<[u8; 16]>,
    ) -> Result<Self, StorageError> {
        let sealed = Sealed::load(database.clone(), keys, io, FileKind::SqliteLog, store_id)?;
        Ok(Self { database, sealed })
    }

    /// As [`load`](Self::load), past damaged headers.
    pub(super) fn salvage(
        database: Arc<Database>,
        keys: Keys,
        io: Arc<dyn Io>,
        store_id: Option<[u8; 16]>,
        checking: &mut Checking<'_>,
    ) -> Result<Self, Halt> {
        let kind = FileKind::SqliteLog;
        let sealed = Sealed::salvage(database.clone(), keys, io, kind, store_id, checking)?;
        Ok(Self { database, sealed })
    }

    /// The piece of a group, and what opens it.
    fn row(&self, sequence: u64) -> Result<Option<(Sealer, Vec<u8>)>, StorageError> {
        let sql = "SELECT sealed, piece FROM groups WHERE sequence = ?1";
        let mut let_go = None;
        loop {
            let row = self.database.read_row(sql, sequence as i64, |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            let Some((sealed, piece)) = row else { return Ok(None) };
            match self.sealed.sealer(sealed) {
                Ok(sealer) => return Ok(Some((sealer, piece))),
                // Since it was read, the row may have been sealed anew, or deleted, and its sealed file let go.
                Err(_) if let_go != Some(sealed) => let_go = Some(sealed),
                Err(error) => return Err(error),
            }
        }
    }
}

impl GroupAt for Row {
    fn is(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }

    fn bytes(&self) -> u64 {
        self.bytes.into()
    }

    fn entries(&self, indexes: Range<u64>) -> Result<Option<Vec<LogEntry>>, StorageError> {
        let Some((sealer, mut piece)) = self.groups.row(self.sequence)? else { return Ok(None) };
        let text = self.groups.sealed.open(&sealer, group_place(self.sequence), &mut piece)?;
        let body = Bytes::from(piece).slice(text);
        let malformed = |_| self.groups.database.corrupt(self.name(), "malformed log operations");
        entries_of(&body, &indexes).map(Some).map_err(malformed)
    }

    fn missing(&self) -> StorageError {
        self.groups.database.corrupt(self.name(), "no such row")
    }
}

/// Whether a log was never in use.
pub(super) fn is_unused(database: Arc<Database>) -> Result<bool, StorageError> {
    let sql = "SELECT max(generation) = ?1 AND NOT EXISTS(SELECT 1 FROM groups) FROM base";
    Ok(database.read_row(sql, 1, |row| row.get(0))?.unwrap_or(false))
}

/// The log of a [`SqliteStore`](super::SqliteStore).
pub(super) struct SqliteLog {
    groups: Arc<Groups>,
    io: Arc<dyn Io>,
    opened: LogState,
    content: Arc<RwLock<Content<Row>>>,
    poison: Poison,
    progress: Arc<Progress>,
    boot: u64,
    generation: i64,
    /// The sealed file of the base.
    base_sealed: i64,
    /// The last group.
    sequence: u64,
    /// The first group that counts, as the base has it.
    first: u64,
    /// A watermark that the base does not have yet.
    purge_waits: bool,
    /// Whether rows before `first` are left.
    has_purged_rows: bool,
    /// Bytes written since the last checkpoint, about.
    written: u64,
    /// Bytes of the WAL, about: what is written after a checkpoint takes the place of what was copied.
    wal_bytes: u64,
    /// Bytes of groups since the log was last trimmed, about.
    appended: u64,
    /// Whether it is in use, and is to be closed in order.
    begun: bool,
    _lock: Arc<StoreLock>,
}

impl SqliteLog {
    /// Reads the log that belongs to `records`. Changes nothing before [`begin`](Self::begin).
    pub(super) fn load(
        database: Arc<Database>,
        keys: Keys,
        records: &RecordRows,
        io: Arc<dyn Io>,
        lock: Arc<StoreLock>,
    ) -> Result<Self, StorageError> {
        let Groups { database, sealed } = Groups::load(database, keys, io.clone(), Some(records.store_id()))?;
        let sql = "SELECT generation, sealed, piece FROM base WHERE id = ?1";
        let row = database.read_row(sql, 1, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (generation, file, piece): (i64, i64, Vec<u8>) =
            row.ok_or_else(|| database.corrupt("the base of the log", "no such row"))?;
        let text = sealed.text(file, base_place(generation), piece)?;
        let base =
            Base::parse(&text).map_err(|_| database.corrupt("the base of the log", "a malformed one"))?;
        records.check_reached(base.manifest)?;
        let groups = Arc::new(Groups { database, sealed });
        let mut content = Content::new(base.state);
        // It lies behind what is known to be there, until that was read.
        content.state.committed = None;
        let sequence = replay(&groups, &base, &mut content)?;
        let manifest = records.manifest();
        if base.boot < manifest.boot || sequence < manifest.log_group {
            let expected =
                format!("log group {} of boot {}, as the records know it", manifest.log_group, manifest.boot);
            let found = format!("the end after group {sequence} of boot {}", base.boot);
            return Err(groups.database.corrupt(expected, found));
        }
        let progress = records.progress().clone();
        progress.set_group(sequence);
        if let Some(committed) = base.state.committed {
            content.committed(committed);
        }
        Ok(Self {
            groups,
            io,
            opened: content.state,
            content: Arc::new(RwLock::new(content)),
            poison: Poison::default(),
            progress,
            boot: base.boot,
            generation,
            base_sealed: file,
            sequence,
            first: base.first,
            purge_waits: false,
            has_purged_rows: true,
            written: 0,
            wal_bytes: 0,
            appended: 0,
            begun: false,
            _lock: lock,
        })
    }

    /// Takes the next boot number, at least `boot_min`; from here on the log is in use.
    pub(super) fn begin(&mut self, boot_min: u64) -> Result<u64, StorageError> {
        self.boot = self.boot.saturating_add(1).max(boot_min);
        let begun = self.write_base(false).and_then(|()| {
            self.prune()?;
            self.groups.database.checkpoint(true)
        });
        self.tell_wal_bytes();
        // A log that was not begun in full must not be closed as if it had been.
        begun.inspect_err(|error| self.poison.end(error))?;
        self.begun = true;
        Ok(self.boot)
    }

    /// What the log said when it was read.
    pub(super) fn state_found(&self) -> LogState {
        self.opened
    }

    /// The base as of now.
    fn base(&self, first: u64, closed: bool) -> Base {
        let state = self.content.read().state;
        let manifest = self.progress.manifest();
        Base { boot: self.boot, first, known: self.sequence, closed, manifest, state }
    }

    fn sealed_base(&self, base: &Base) -> Result<(i64, i64, Vec<u8>), StorageError> {
        let generation = self.generation + 1;
        let writing = self.groups.sealed.current()?;
        let piece = writing.seal(base_place(generation), |out| base.put(out))?;
        Ok((generation, writing.id(), piece))
    }

    fn write_base(&mut self, closed: bool) -> Result<(), StorageError> {
        let (generation, sealed, piece) = self.sealed_base(&self.base(self.first, closed))?;
        self.groups.database.transaction(|connection| put_base(connection, generation, sealed, &piece))?;
        (self.generation, self.base_sealed) = (generation, sealed);
        Ok(())
    }

    /// Writes the watermark that waits, if one does.
    fn write_waiting_purge(&mut self) -> Result<(), StorageError> {
        if self.purge_waits {
            self.first = self.first_needed();
            self.write_base(false)?;
            (self.purge_waits, self.has_purged_rows) = (false, true);
        }
        Ok(())
    }

    /// Lets go of the sealed files that no row names.
    fn prune(&mut self) -> Result<(), StorageError> {
        let Groups { database, sealed } = &*self.groups;
        if !sealed.has_several() {
            return Ok(());
        }
        let mut named: Vec<i64> = database.write("read", |connection| {
            let mut statement = connection.prepare_cached("SELECT DISTINCT sealed FROM groups")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        named.push(self.base_sealed);
        let gone = sealed.unneeded(&named);
        if !gone.is_empty() {
            database.transaction(|connection| Sealed::delete(connection, &gone))?;
            sealed.forget(&gone);
        }
        Ok(())
    }

    fn write_group(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        let sequence = self.sequence + 1;
        let writing = self.groups.sealed.current()?;
        let piece = writing.seal(group_place(sequence), |body| {
            put_ops(body, ops);
            if let Some(committed) = committed {
                put_committed(body, committed);
            }
        })?;
        assert!(
            piece.len() <= GROUP_BYTES_MAX,
            "a group of {} bytes is beyond what core may write",
            piece.len()
        );
        let due = self.written > self.checkpoint_bytes();
        let first = if self.purge_waits { self.first_needed() } else { self.first };
        let base = match self.purge_waits || due {
            true => Some(self.sealed_base(&self.base(first, false))?),
            false => None,
        };
        let deletes = self.has_purged_rows && !self.purge_waits;
        let deleted = self.groups.database.transaction(|connection| {
            connection
                .prepare_cached("INSERT INTO groups(sequence, sealed, piece) VALUES(?1, ?2, ?3)")?
                .execute((sequence as i64, writing.id(), piece.as_slice()))?;
            if let Some((generation, sealed, piece)) = &base {
                put_base(connection, *generation, *sealed, piece)?;
            }
            if !deletes {
                return Ok(None);
            }
            delete_before(connection, first).map(Some)
        })?;
        if let Some((generation, sealed, _)) = base {
            (self.generation, self.base_sealed) = (generation, sealed);
            self.first = first;
        }
        let had_purged_rows = self.has_purged_rows;
        self.has_purged_rows = self.purge_waits || deleted.map_or(had_purged_rows, |rows| rows > 0);
        self.purge_waits = false;
        self.sequence = sequence;
        self.progress.set_group(sequence);
        let pages_bytes = piece.len() as u64 + 4 * super::database::PAGE_BYTES;
        self.count_written(pages_bytes);
        self.appended += pages_bytes;
        let at = Row { groups: self.groups.clone(), sequence, bytes: piece.len() as u32 };
        {
            let mut content = self.content.write();
            ops.iter().for_each(|op| content.operation(op, &at));
            if let Some(committed) = committed {
                content.committed(committed);
            }
        }
        if due {
            self.make_room()?;
        }
        if had_purged_rows && !self.has_purged_rows {
            match self.prune() {
                // The group is written. What is not needed stays until the next time.
                Err(error) if error.is_no_room() => self.has_purged_rows = true,
                pruned => pruned?,
            }
        }
        Ok(())
    }

    /// The first group that holds an entry that is not purged; the next one if there is none.
    fn first_needed(&self) -> u64 {
        self.content.read().first_group().map_or(self.sequence + 1, |at| at.sequence)
    }

    /// Bytes of the WAL after which it is copied: without room to copy it a full disk would stay full, so that it is no
    /// larger than what is set aside.
    fn checkpoint_bytes(&self) -> u64 {
        CHECKPOINT_BYTES.min(self.groups.database.room().held_bytes().max(CHECKPOINT_BYTES_MIN))
    }

    fn count_written(&mut self, bytes: u64) {
        self.written += bytes;
        self.wal_bytes = self.wal_bytes.max(self.written);
        self.tell_wal_bytes();
    }

    /// A small group takes whole pages of the WAL, until that is as large as it gets.
    fn tell_wal_bytes(&self) {
        let more_bytes = self.checkpoint_bytes().saturating_sub(self.wal_bytes);
        self.groups.database.room().set_log_bytes(more_bytes);
    }

    /// Copies the WAL and cuts it, if there is room.
    fn cut_wal(&mut self) -> Result<(), StorageError> {
        (self.written, self.wal_bytes) = (0, 0);
        self.tell_wal_bytes();
        self.groups.database.checkpoint_if_room(true)
    }

    /// Background work wrote so much into the WAL.
    fn wrote(&mut self, bytes: u64) -> Result<(), StorageError> {
        self.count_written(bytes);
        if self.written > self.checkpoint_bytes() {
            self.make_room()?;
        }
        Ok(())
    }

    /// Gives the WAL back for what comes next, as far as there is room to copy it.
    fn make_room(&mut self) -> Result<(), StorageError> {
        self.written = 0;
        self.groups.database.checkpoint_if_room(false)
    }

    fn close(&mut self) -> Result<(), StorageError> {
        self.poison.check()?;
        if std::mem::take(&mut self.purge_waits) {
            self.first = self.first_needed();
        }
        self.write_base(true)?;
        self.groups.database.checkpoint(true)
    }
}

fn put_base(
    connection: &rusqlite::Connection,
    generation: i64,
    sealed: i64,
    piece: &[u8],
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO base(id, generation, sealed, piece) VALUES(1, ?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute((generation, sealed, piece)).map(|_| ())
}

/// Deletes some of the rows before the first group that counts. Returns how many.
fn delete_before(connection: &rusqlite::Connection, first: u64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM groups WHERE sequence IN \
               (SELECT sequence FROM groups WHERE sequence < ?1 ORDER BY sequence LIMIT ?2)";
    connection.prepare_cached(sql)?.execute((first as i64, DELETE_ROWS_MAX))
}

/// Reads the groups that count; returns the last one.
fn replay(groups: &Arc<Groups>, base: &Base, content: &mut Content<Row>) -> Result<u64, StorageError> {
    let corrupt = |expected: String, found: &str| groups.database.corrupt(expected, found);
    let mut sequence = base.first.saturating_sub(1);
    let sql = "SELECT sequence, sealed, piece FROM groups WHERE sequence > ?1 ORDER BY sequence LIMIT 1";
    loop {
        let row = groups
            .database
            .read_next(sql, sequence as i64, |row| Ok((row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?)))?;
        let Some((found, (sealed, piece))) = row else { break };
        if found as u64 != sequence + 1 {
            return Err(corrupt(format!("log group {}", sequence + 1), "no such row"));
        }
        sequence += 1;
        let at = Row { groups: groups.clone(), sequence, bytes: piece.len() as u32 };
        let body = groups.sealed.text(sealed, group_place(sequence), piece)?;
        let mut fits = true;
        each_step(&body, |step| fits = apply(content, &step, &at, fits))
            .map_err(|_| corrupt(at.name(), "malformed log operations"))?;
        if !fits {
            return Err(corrupt(at.name(), "entries that do not continue the log"));
        }
    }
    if sequence < base.known || base.closed && sequence != base.known {
        return Err(corrupt(format!("log group {}", base.known), "a log that ends elsewhere"));
    }
    Ok(sequence)
}

/// Takes a step of a group; returns whether the steps so far continue the log, if `fits` says so of those before it.
/// What the watermark covers is passed over.
fn apply(content: &mut Content<Row>, step: &Step, at: &Row, fits: bool) -> bool {
    let purged = content.state.purged;
    let index = |id: Option<LogId>| id.map(|id| id.index);
    match step {
        Step::Entry { id, .. } if Some(id.index) <= index(purged) => fits,
        Step::Entry { id, .. } if index(content.state.last).map_or(0, |last| last + 1) != id.index => false,
        // Whatever stood behind the watermark, now nothing does: the first group that counts may begin with entries
        // that followed purged ones, if it takes them back.
        Step::Truncate(after) if index(*after) <= index(purged) => {
            content.step(&Step::Truncate(purged), at);
            true
        }
        step => {
            content.step(step, at);
            fits
        }
    }
}

impl Log for SqliteLog {
    fn state(&self) -> LogState {
        self.opened
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        self.poison.check()?;
        assert_continues(&self.content.read().state, ops);
        let written = match self.write_group(ops, committed) {
            Err(error) if error.is_no_room() => {
                // Copied into the database, the WAL is used again from its start.
                let made = self.make_room();
                self.poison.note(made)?;
                self.write_group(ops, committed)
            }
            written => written,
        };
        self.poison.note(written)
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.poison.check()?;
        self.purge_waits |= self.content.write().purge(up_to);
        if !self.groups.database.room().is_full() {
            return Ok(());
        }
        // On a full disk nothing may come that would have the WAL copied.
        let freed = self.cut_wal();
        self.poison.note(freed)
    }

    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.poison.check()?;
        let rewritten = self.rewrite_slice(copy_bytes_max);
        self.poison.note(rewritten)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.poison.check()?;
        match self.trim_slice() {
            Err(error) if error.is_no_room() => Ok(false),
            trimmed => self.poison.note(trimmed),
        }
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(SqliteReader {
            entries: Reader(self.content.clone()),
            groups: self.groups.clone(),
            progress: self.progress.clone(),
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.groups.database.bytes(&*self.io).unwrap_or(0)
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        if self.begun
            && self.poison.is_sound()
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "the log could not be marked as closed; nothing acknowledged is lost");
        }
    }
}
