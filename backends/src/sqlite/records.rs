//! Units as rows.
//!
//! | table | column | content |
//! |---|---|---|
//! | `boxes`, `blocks` | `id` | id of the unit × 2^24 + number of the piece |
//! | | `piece` | a box (kind 2) or a directory block (kind 3) of [`crate::units`]; offset = `id`, sequence = number |
//! | `units` | `id` | id of the unit |
//! | | `sealed` | the sealed file of all its pieces |
//! | | `footer` | its footer (kind 4); offset = `id`, sequence 0 |
//!
//! Values stand in `boxes` only: opening reads `units`, the walk of the directory `blocks`.
//!
//! # Invariants
//! - A unit's rows are written a mebibyte per transaction, and never changed. The manifest that names it comes last.
//! - After each manifest the WAL is copied into the database and cut, so that what a crash leaves of it is one
//!   transaction at most.
//! - Rows of a unit that no manifest names go in slices, once nobody reads it. What sealed them goes before, with the
//!   next manifest: nobody can open what is left of them then.

mod salvage;

pub(super) use salvage::Salvaged;

use super::database::{Database, PAGE_BYTES};
use super::integrity::verify_integrity;
use super::manifest::{
    CHECKPOINT_ROW, Manifest, UNITS_ROW, checkpoint_place, parse_checkpoint, put_checkpoint, units_place,
};
use super::progress::Progress;
use super::sealed::{Sealed, Writing};
use crate::format::header::FileKind;
use crate::format::piece::{PIECE_HEADER_BYTES, open_piece};
use crate::format::wire::Malformed;
use crate::io::Io;
use crate::seal::{Keys, Place, SealedFile, Sealer, Sealing, Tag, verify_keys};
use crate::units::codec::{BOX_PIECE, FOOTER_PIECE};
use crate::units::medium::Medium;
use crate::units::unit::{Pieces, Sink, Unit, UnitEntry};
use coffer_core::storage::{Checking, Checkpoint, Halt, ReclaimProgress, StorageError};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The tables of the records' database, by name.
pub(super) const SCHEMA: [&str; 5] = [
    "CREATE TABLE blocks(id INTEGER PRIMARY KEY, piece BLOB NOT NULL) STRICT",
    "CREATE TABLE boxes(id INTEGER PRIMARY KEY, piece BLOB NOT NULL) STRICT",
    "CREATE TABLE manifest(id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, sealed INTEGER NOT NULL, \
     piece BLOB NOT NULL) STRICT",
    super::sealed::SEALED_FILES,
    "CREATE TABLE units(id INTEGER PRIMARY KEY, sealed INTEGER NOT NULL, footer BLOB NOT NULL) STRICT",
];

/// Bits of a row's id that number the pieces of one unit.
const NUMBER_BITS: u32 = 24;
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of the WAL after which it is copied into the database in the middle of a unit.
const CHECKPOINT_BYTES: u64 = 1 << 20;
/// Rows that one slice of giving back deletes, and pages that it moves.
const SLICE_ROWS: i64 = 256;
const SLICE_PAGES: u64 = 64;

fn row_id(unit: u64, number: u64) -> u64 {
    assert!(number < 1 << NUMBER_BITS && unit < 1 << (62 - NUMBER_BITS), "ids of rows are of 62 bits");
    unit << NUMBER_BITS | number
}

/// The table that holds pieces of this kind.
fn table_of(kind: u8) -> &'static str {
    if kind == BOX_PIECE { "boxes" } else { "blocks" }
}

/// The rows of all units, and the manifest.
pub(super) struct RecordRows {
    database: Arc<Database>,
    sealed: Sealed,
    io: Arc<dyn Io>,
    progress: Arc<Progress>,
    manifest: Mutex<InForce>,
    next_unit: AtomicU64,
    /// Bytes written since the last checkpoint.
    written: Arc<AtomicU64>,
    /// Units that no manifest names, with their readers.
    garbage: Mutex<Vec<(u64, Weak<Unit>)>>,
}

struct InForce {
    generation: i64,
    /// The sealed files of the two rows; 0 for a row that is not there.
    sealed: [i64; 2],
    manifest: Manifest,
    checkpoint: Option<Checkpoint>,
}

impl RecordRows {
    /// Reads the manifest. Changes nothing before [`begin`](Self::begin).
    pub(super) fn load(database: Arc<Database>, keys: Keys, io: Arc<dyn Io>) -> Result<Self, StorageError> {
        let sealed = Sealed::load(database.clone(), keys, io.clone(), FileKind::SqliteState, None)?;
        let (generation, units_sealed, manifest) = read_manifest(&database, &sealed)?;
        let (checkpoint_sealed, checkpoint) = match manifest.checkpoint_generation {
            0 => (0, None),
            expected => {
                let (id, checkpoint) = read_checkpoint(&database, &sealed, Some(expected))?;
                (id, Some(checkpoint))
            }
        };
        let rows_sealed = [units_sealed, checkpoint_sealed];
        let in_force = InForce { generation, sealed: rows_sealed, manifest, checkpoint };
        Ok(Self::new(database, sealed, io, in_force))
    }

    fn new(database: Arc<Database>, sealed: Sealed, io: Arc<dyn Io>, in_force: InForce) -> Self {
        let next_unit = AtomicU64::new(in_force.manifest.next_unit);
        let progress = Arc::new(Progress::default());
        progress.set_manifest(in_force.generation);
        let manifest = Mutex::new(in_force);
        let (written, garbage) = (Arc::default(), Mutex::default());
        Self { database, sealed, io, progress, manifest, next_unit, written, garbage }
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Refuses a manifest that has not reached a generation that the log knows of.
    pub(super) fn check_reached(&self, known: i64) -> Result<(), StorageError> {
        let generation = self.progress.manifest();
        if generation >= known {
            return Ok(());
        }
        let expected = format!("generation {known} of the manifest, as the log knows it");
        Err(self.database.corrupt(expected, format!("generation {generation}")))
    }

    pub(super) fn store_id(&self) -> [u8; 16] {
        self.sealed.store_id()
    }

    pub(super) fn manifest(&self) -> Manifest {
        self.manifest.lock().manifest.clone()
    }

    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.manifest.lock().checkpoint.clone()
    }

    /// Opens the units that the manifest names.
    pub(super) fn open_units(&self) -> Result<Vec<Arc<Unit>>, StorageError> {
        self.manifest().units.into_iter().map(|entry| self.open_unit(entry).map(Arc::new)).collect()
    }

    pub(super) fn open_unit(&self, entry: UnitEntry) -> Result<Unit, StorageError> {
        let name = || format!("the footer of unit {}", entry.id);
        let sql = "SELECT sealed, footer FROM units WHERE id = ?1";
        let row = self
            .database
            .read_row(sql, entry.id as i64, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let (file, mut footer) = row.ok_or_else(|| self.database.corrupt(name(), "no such row"))?;
        let sealer = self.database.naming(name, self.sealed.sealer(file))?;
        let opened = self.sealed.open(&sealer, footer_place(entry.id), &mut footer);
        let text = self.database.naming(name, opened)?;
        if footer[24..PIECE_HEADER_BYTES] != entry.footer_tag {
            return Err(self.database.corrupt(name(), "another"));
        }
        let pieces = RowPieces { database: self.database.clone(), sealer };
        let place = |_, number, _| entry.id << NUMBER_BITS | number;
        Unit::new(entry, &footer[text], Box::new(pieces), place)
            .map_err(|_| self.database.corrupt(name(), "a malformed one"))
    }

    /// Writes the manifest with a new boot number; with that the store is open. What a crash left is garbage.
    pub(super) fn begin(&self, boot: u64) -> Result<(), StorageError> {
        // What was read counts only once it is in the database for sure.
        self.database.checkpoint(true)?;
        let leftovers = self.leftovers()?;
        self.change(|in_force| in_force.manifest.boot = boot)?;
        self.garbage.lock().extend(leftovers.into_iter().map(|id| (id, Weak::new())));
        self.database.checkpoint(true)
    }

    /// Units that have rows and that the manifest does not name.
    fn leftovers(&self) -> Result<Vec<u64>, StorageError> {
        let listed: Vec<u64> = self.manifest().units.iter().map(|entry| entry.id).collect();
        let mut found = Vec::new();
        for (table, bits) in [("boxes", NUMBER_BITS), ("blocks", NUMBER_BITS), ("units", 0)] {
            let sql = format!("SELECT id FROM {table} WHERE id > ?1 ORDER BY id LIMIT 1");
            let mut after = -1;
            while let Some((id, ())) = self.database.read_next(&sql, after, |_| Ok(()))? {
                let unit = id as u64 >> bits;
                if !listed.contains(&unit) && !found.contains(&unit) {
                    found.push(unit);
                }
                after = (((unit + 1) << bits) - 1) as i64;
            }
        }
        // Their ids must not be used again while they are there.
        let above = found.iter().max().map_or(0, |id| id + 1);
        self.next_unit.fetch_max(above, Ordering::Relaxed);
        Ok(found)
    }

    /// Changes the manifest, durably. The checkpoint is written again only if it is another one, or the data key that
    /// sealed it was replaced. With it go the sealed files that nothing needs.
    fn change(&self, change: impl FnOnce(&mut InForce)) -> Result<(), StorageError> {
        let in_force = &mut *self.manifest.lock();
        let generation = in_force.generation + 1;
        let mut next = InForce {
            generation,
            sealed: in_force.sealed,
            manifest: in_force.manifest.clone(),
            checkpoint: in_force.checkpoint.clone(),
        };
        change(&mut next);
        next.manifest.next_unit = self.next_unit.load(Ordering::Relaxed);
        next.manifest.log_group = self.progress.group();
        let writing = self.sealed.current()?;
        let mut rows = Vec::new();
        let changed = next.checkpoint != in_force.checkpoint || self.sealed.is_outdated(in_force.sealed[1]);
        if let Some(checkpoint) = next.checkpoint.as_ref().filter(|_| changed) {
            next.manifest.checkpoint_generation = generation;
            next.sealed[1] = writing.id();
            let piece = writing.seal(checkpoint_place(generation), |out| put_checkpoint(out, checkpoint))?;
            rows.push((CHECKPOINT_ROW, piece));
        }
        rows.push((UNITS_ROW, writing.seal(units_place(generation), |out| next.manifest.put(out))?));
        next.sealed[0] = writing.id();
        let unneeded = self.sealed.unneeded(&next.sealed);
        self.database.transaction(|connection| {
            let sql = "INSERT OR REPLACE INTO manifest(id, generation, sealed, piece) VALUES(?1, ?2, ?3, ?4)";
            let mut insert = connection.prepare_cached(sql)?;
            for (row, piece) in &rows {
                insert.execute((row, generation, writing.id(), piece.as_slice()))?;
            }
            Sealed::delete(connection, &unneeded)
        })?;
        self.sealed.forget(&unneeded);
        self.progress.set_manifest(generation);
        *in_force = next;
        Ok(())
    }

    /// Copies the WAL into the database and cuts it.
    fn checkpoint_wal(&self) -> Result<(), StorageError> {
        self.written.store(0, Ordering::Relaxed);
        self.database.checkpoint_if_room(true)
    }

    /// A unit of garbage that nobody reads.
    fn next_garbage(&self) -> Option<u64> {
        let garbage = self.garbage.lock();
        garbage.iter().find(|(_, readers)| readers.strong_count() == 0).map(|(id, _)| *id)
    }

    /// Deletes some rows of a unit; returns whether none are left.
    fn delete_some(connection: &Connection, unit: u64) -> rusqlite::Result<bool> {
        let (first, behind) = ((unit << NUMBER_BITS) as i64, ((unit + 1) << NUMBER_BITS) as i64);
        for table in ["boxes", "blocks"] {
            let sql = format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id >= ?1 AND id < ?2 LIMIT ?3)"
            );
            if connection.prepare_cached(&sql)?.execute((first, behind, SLICE_ROWS))? > 0 {
                return Ok(false);
            }
        }
        connection.prepare_cached("DELETE FROM units WHERE id = ?1")?.execute([unit as i64])?;
        Ok(true)
    }

    /// Whether so many pages are free that the file should shrink. Some are kept for what comes next.
    fn has_free_pages(&self) -> Result<bool, StorageError> {
        let (pages, free) = self.database.pages()?;
        Ok(free * 8 > pages)
    }

    fn give_back_slice(&self) -> Result<(), StorageError> {
        if let Some(unit) = self.next_garbage() {
            let gone = self.database.transaction(|connection| Self::delete_some(connection, unit))?;
            if gone {
                self.garbage.lock().retain(|(id, _)| *id != unit);
            }
        } else if self.has_free_pages()? {
            self.database.give_back_pages(SLICE_PAGES)?;
        }
        self.checkpoint_wal()
    }
}

impl Drop for RecordRows {
    fn drop(&mut self) {
        // Everything is in the database already, unless a reader was in the way. After a failure nothing is synced again.
        if self.database.has_failed() {
            return;
        }
        if let Err(error) = self.database.checkpoint(true) {
            tracing::debug!(%error, "the write-ahead log of the records stays");
        }
    }
}

/// A row of the manifest: its generation, its sealed file, and its text.
fn manifest_row(database: &Database, sealed: &Sealed, id: i64) -> Result<(i64, i64, Vec<u8>), StorageError> {
    let row: Option<(i64, i64, Vec<u8>)> = database.write("read", |connection| {
        let sql = "SELECT generation, sealed, piece FROM manifest WHERE id = ?1";
        connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
    })?;
    let (generation, file, piece) =
        row.ok_or_else(|| database.corrupt(format!("row {id} of the manifest"), "no such row"))?;
    let place = if id == UNITS_ROW { units_place(generation) } else { checkpoint_place(generation) };
    let text = database.naming(|| format!("row {id} of the manifest"), sealed.text(file, place, piece))?;
    Ok((generation, file, text))
}

/// The row of the units: its generation, its sealed file, and what it says.
fn read_manifest(database: &Database, sealed: &Sealed) -> Result<(i64, i64, Manifest), StorageError> {
    let (generation, file, text) = manifest_row(database, sealed, UNITS_ROW)?;
    let manifest = Manifest::parse(&text).map_err(|_| database.corrupt("the manifest", "a malformed one"))?;
    Ok((generation, file, manifest))
}

/// The row of the checkpoint, of this generation if it is known: its sealed file, and what it says.
fn read_checkpoint(
    database: &Database,
    sealed: &Sealed,
    expected: Option<i64>,
) -> Result<(i64, Checkpoint), StorageError> {
    let (generation, file, text) = manifest_row(database, sealed, CHECKPOINT_ROW)?;
    if let Some(expected) = expected.filter(|expected| *expected != generation) {
        return Err(database.corrupt(format!("checkpoint {expected}"), format!("{generation}")));
    }
    let malformed = |_: Malformed| database.corrupt("the checkpoint", "a malformed one");
    Ok((file, parse_checkpoint(&text).map_err(malformed)?))
}

fn footer_place(unit: u64) -> Place {
    Place { kind: FOOTER_PIECE, offset: unit, sequence: 0 }
}

impl Medium for RecordRows {
    type Sink = RowSink;

    fn begin_unit(&self, _: bool) -> Result<RowSink, StorageError> {
        Ok(RowSink {
            database: self.database.clone(),
            written: self.written.clone(),
            writing: self.sealed.current()?,
            id: self.next_unit.fetch_add(1, Ordering::Relaxed),
            bytes: 0,
            rows: Vec::new(),
            rows_bytes: 0,
        })
    }

    fn sealing(&self) -> &Sealing {
        self.sealed.sealing()
    }

    fn is_manifest_outdated(&self) -> bool {
        let rows = self.manifest.lock().sealed;
        let lingers = |id: &i64| self.sealed.is_outdated(*id);
        rows.iter().any(lingers) || self.sealed.unneeded(&rows).iter().any(lingers)
    }

    fn settle(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn put_manifest(&self, units: &[Arc<Unit>], checkpoint: Option<&Checkpoint>) -> Result<(), StorageError> {
        self.change(|next| {
            next.manifest.units = units.iter().map(|unit| unit.entry).collect();
            next.checkpoint = checkpoint.cloned();
        })?;
        self.checkpoint_wal()
    }

    fn remove(&self, id: u64, readers: Weak<Unit>) {
        self.garbage.lock().push((id, readers));
    }

    fn retire(&self, unit: &Arc<Unit>) {
        self.remove(unit.entry.id, Arc::downgrade(unit));
    }

    fn cut_retired(&self) -> bool {
        false
    }

    fn check_room_to_reclaim(&self) -> Result<(), StorageError> {
        self.database.copy_waiting()
    }

    fn give_back(&self) -> Result<ReclaimProgress, StorageError> {
        if !self.has_garbage() {
            return Ok(ReclaimProgress::default());
        }
        let before = self.database.pages()?.0;
        self.give_back_slice()?;
        let freed = before.saturating_sub(self.database.pages()?.0);
        Ok(ReclaimProgress { freed_bytes: freed * PAGE_BYTES, copied_bytes: 0, more: self.has_garbage() })
    }

    fn has_garbage(&self) -> bool {
        self.next_garbage().is_some() || self.has_free_pages().unwrap_or(false)
    }

    fn verify(&self, checking: &mut Checking<'_>) -> Result<(), Halt> {
        if checking.is_alone() {
            verify_integrity(&self.database, checking)?;
        }
        self.sealed.verify(checking)?;
        let rows = {
            let in_force = self.manifest.lock();
            let ids = [UNITS_ROW, CHECKPOINT_ROW];
            ids.into_iter()
                .zip(in_force.sealed)
                .filter(|(_, sealed)| *sealed != 0)
                .map(|(id, _)| manifest_row(&self.database, &self.sealed, id).map(|_| ()))
                .collect::<Vec<_>>()
        };
        for row in rows {
            checking.take(row)?;
        }
        if let Some(keyring) = self.sealing().keyring() {
            verify_keys(keyring, checking)?;
        }
        checking.checked(0)
    }

    fn disk_bytes(&self, units: u64) -> u64 {
        self.database.bytes(&*self.io).unwrap_or(units).max(units)
    }

    fn has_room(&self) -> bool {
        !self.database.room().is_full()
    }

    fn recover_room(&self, disk_bytes: u64) -> Result<bool, StorageError> {
        self.database.room().recover(disk_bytes, 0, || Ok(()))
    }

    fn flush_room_bytes(&self) -> u64 {
        // Into the WAL, then into the database.
        self.database.room().flush_bytes(2)
    }
}

/// The rows of one unit.
struct RowPieces {
    database: Arc<Database>,
    sealer: Sealer,
}

impl Pieces for RowPieces {
    fn verify_frame(&self, entry: &UnitEntry) -> Result<(), StorageError> {
        let name = || format!("the footer of unit {}", entry.id);
        let sql = "SELECT footer FROM units WHERE id = ?1";
        let footer = self.database.read_row(sql, entry.id as i64, |row| row.get::<_, Vec<u8>>(0))?;
        let mut footer = footer.ok_or_else(|| self.database.corrupt(name(), "no such row"))?;
        let wrong = |found: &str| self.database.corrupt(name(), found);
        open_piece(&mut footer, &self.sealer, footer_place(entry.id)).map_err(wrong)?;
        if footer[24..PIECE_HEADER_BYTES] == entry.footer_tag { Ok(()) } else { Err(wrong("another")) }
    }

    fn read(&self, kind: u8, at: u64, piece: &mut [u8]) -> Result<(), StorageError> {
        let sql = match kind {
            BOX_PIECE => "SELECT piece FROM boxes WHERE id = ?1",
            _ => "SELECT piece FROM blocks WHERE id = ?1",
        };
        let found = self.database.read_row(sql, at as i64, |row| {
            let found = row.get_ref(0)?.as_blob()?;
            if found.len() == piece.len() {
                piece.copy_from_slice(found);
            }
            Ok(found.len())
        })?;
        match found {
            Some(bytes) if bytes == piece.len() => Ok(()),
            Some(bytes) => Err(self.corrupt(at, format!("{} bytes", piece.len()), &format!("{bytes} bytes"))),
            None => Err(self.corrupt(at, "a row".into(), "no such row")),
        }
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    fn corrupt(&self, at: u64, expected: String, found: &str) -> StorageError {
        self.database.corrupt(format!("{expected} in row {at}"), found)
    }
}

/// A unit that is being written.
pub(super) struct RowSink {
    database: Arc<Database>,
    written: Arc<AtomicU64>,
    writing: Arc<Writing>,
    id: u64,
    bytes: u64,
    /// Rows that are yet to be written: kind, id, piece.
    rows: Vec<(u8, u64, Vec<u8>)>,
    rows_bytes: usize,
}

impl RowSink {
    fn write(&mut self, footer: Option<&[u8]>) -> Result<(), StorageError> {
        let (rows, id, sealed) = (std::mem::take(&mut self.rows), self.id, self.writing.id());
        self.database.transaction(|connection| {
            for (kind, id, piece) in &rows {
                let sql = format!("INSERT INTO {}(id, piece) VALUES(?1, ?2)", table_of(*kind));
                connection.prepare_cached(&sql)?.execute((*id as i64, piece.as_slice()))?;
            }
            if let Some(footer) = footer {
                let sql = "INSERT INTO units(id, sealed, footer) VALUES(?1, ?2, ?3)";
                connection.prepare_cached(sql)?.execute((id as i64, sealed, footer))?;
            }
            Ok(())
        })?;
        let bytes = std::mem::take(&mut self.rows_bytes) as u64;
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > CHECKPOINT_BYTES {
            self.written.store(0, Ordering::Relaxed);
            self.database.checkpoint_if_room(true)?;
        }
        Ok(())
    }
}

impl Sink for RowSink {
    /// With its headers such a box fills a page: SQLite puts no two that are a little larger than half of one into it.
    const BOX_BYTES: usize = PAGE_BYTES as usize - 192;

    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sealed(&self) -> &SealedFile {
        self.writing.sealer().file()
    }

    fn put(
        &mut self,
        kind: u8,
        number: u64,
        fill: &dyn Fn(&mut Vec<u8>),
    ) -> Result<(u64, u32), StorageError> {
        let at = row_id(self.id, number);
        let piece = self.writing.seal(Place { kind, offset: at, sequence: number }, fill)?;
        let bytes = piece.len() as u32;
        self.bytes += u64::from(bytes);
        self.rows_bytes += piece.len();
        self.rows.push((kind, at, piece));
        if self.rows_bytes >= WRITE_BYTES {
            self.settle()?;
        }
        Ok((at, bytes))
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.write(None)
    }

    fn finish(mut self, footer: &[u8]) -> Result<(UnitEntry, Box<dyn Pieces>), StorageError> {
        let piece = self.writing.seal(footer_place(self.id), |out| out.extend_from_slice(footer))?;
        let footer_tag: Tag = piece[24..PIECE_HEADER_BYTES].try_into().unwrap_or_default();
        self.write(Some(&piece))?;
        let entry = UnitEntry { id: self.id, bytes: self.bytes + piece.len() as u64, footer_tag };
        let sealer = self.writing.sealer().clone();
        Ok((entry, Box::new(RowPieces { database: self.database, sealer })))
    }
}
