//! Seals of what a database holds: SQLite sees sizes, revisions and indexes, and blobs that are sealed.
//!
//! What a file is to the segment backend is here a *sealed file*: a row of the table `sealed_files` whose `header` is
//! the block of [`crate::format::header`], with a fresh salt. Each opening begins one, and another is begun long before
//! its nonces end, and at once when the data key was replaced. A blob is one piece (see [`crate::format::piece`]) of a
//! sealed file; its offset is the id of its row, so that a blob that was moved to another row, table, database or store
//! does not open.
//!
//! # Invariants
//! - The row of a sealed file is durable before a blob names it.
//! - No nonce is used twice under one sealed file: one process at a time has it, as the current one, and never again.
//!   A nonce that was drawn is used up, whatever became of the transaction.
//! - The sealer of a sealed file is kept, and with it its data key, until nobody else has it and no row that counts
//!   names it. Its row goes before.

use super::database::Database;
use crate::format::header::{FileKind, HeaderFault, open_header, seal_header};
use crate::format::piece::{append_piece, open_piece};
use crate::format::unknown_version;
use crate::io::Io;
use crate::seal::{Keys, Nonces, Place, SealRefused, Sealer, Sealing};
use coffer_core::storage::{Checking, Finding, Halt, StorageError};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The table of sealed files, in both databases.
pub(super) const SEALED_FILES: &str =
    "CREATE TABLE sealed_files(id INTEGER PRIMARY KEY, header BLOB NOT NULL) STRICT";

/// A sealed file takes no more pieces once it has no more nonces than this: half of them are never used.
const NONCES_KEPT: u64 = 1 << 31;

/// The sealed files of a database.
pub(super) struct Sealed {
    database: Arc<Database>,
    sealing: Sealing,
    kind: FileKind,
    files: RwLock<BTreeMap<u64, Sealer>>,
    current: Mutex<Option<Arc<Writing>>>,
}

/// A sealed file that blobs are written to.
pub(super) struct Writing {
    id: u64,
    sealer: Sealer,
    nonces: Mutex<Nonces>,
}

/// Makes the row of a sealed file: its sealer, the header, and its nonces after the header's.
pub(super) fn new_file(
    kind: FileKind,
    sealing: &Sealing,
    id: u64,
) -> Result<(Sealer, Vec<u8>, Nonces), StorageError> {
    let sealer = sealing.sealer_for_new_file(kind as u8, id)?;
    let mut nonces = sealing.nonces();
    let (header, _) = seal_header(&sealer, 0, nonces.draw()?, &[]);
    Ok((sealer, header.to_vec(), nonces))
}

/// Opens the header of sealed file `id`, which must be of the store `of_store` if that is known; then it is.
fn sealer_of(
    database: &Database,
    keys: &Keys,
    kind: FileKind,
    id: i64,
    header: &[u8],
    of_store: &mut Option<[u8; 16]>,
) -> Result<Sealer, StorageError> {
    let name = || format!("the header of sealed file {id}");
    let opened = open_header(header, kind, 0, |file| keys.sealer_of(file));
    let header = opened.map_err(|fault| match fault {
        HeaderFault::Version(version) => unknown_version(database.path(), version),
        HeaderFault::Refused(refused @ (SealRefused::Sealed | SealRefused::InTheClear)) => {
            refused.at(database.path())
        }
        fault => database.corrupt(name(), fault.to_string()),
    })?;
    let file = header.sealer.file();
    if file.file_id != id as u64 || *of_store.get_or_insert(file.store_id) != file.store_id {
        return Err(database.corrupt(name(), "that of another"));
    }
    Ok(header.sealer)
}

impl Sealed {
    /// Reads the sealed files of a database, which must be of the store `store_id` if one is given.
    pub(super) fn load(
        database: Arc<Database>,
        keys: Keys,
        io: Arc<dyn Io>,
        kind: FileKind,
        store_id: Option<[u8; 16]>,
    ) -> Result<Self, StorageError> {
        Self::read(database, keys, io, kind, store_id, &mut Err)
    }

    /// As [`load`](Self::load), past the headers that are damaged, which are told. What they seal does not open.
    pub(super) fn salvage(
        database: Arc<Database>,
        keys: Keys,
        io: Arc<dyn Io>,
        kind: FileKind,
        store_id: Option<[u8; 16]>,
        checking: &mut Checking<'_>,
    ) -> Result<Self, Halt> {
        Self::read(database, keys, io, kind, store_id, &mut |fault| {
            checking.take(Err(fault)).map(|_: Option<()>| ())
        })
    }

    /// Reads them; goes on past a fault if `faulty` does.
    fn read<E>(
        database: Arc<Database>,
        keys: Keys,
        io: Arc<dyn Io>,
        kind: FileKind,
        store_id: Option<[u8; 16]>,
        faulty: &mut dyn FnMut(StorageError) -> Result<(), E>,
    ) -> Result<Self, E> {
        let sql = "SELECT id, header FROM sealed_files WHERE id > ?1 ORDER BY id LIMIT 1";
        let (mut files, mut of_store, mut after, mut any) = (BTreeMap::new(), store_id, i64::MIN, false);
        loop {
            // What is no blob is no header either.
            let header = |row: &rusqlite::Row<'_>| {
                Ok(row.get_ref(1)?.as_blob().map(<[u8]>::to_vec).unwrap_or_default())
            };
            match database.read_next(sql, after, header) {
                Ok(None) => break,
                Ok(Some((id, header))) => {
                    (after, any) = (id, true);
                    match sealer_of(&database, &keys, kind, id, &header, &mut of_store) {
                        Ok(sealer) => _ = files.insert(id as u64, sealer),
                        Err(fault) => faulty(fault)?,
                    }
                }
                // Nor is found what comes behind it.
                Err(error) => {
                    any = true;
                    faulty(error)?;
                    break;
                }
            }
        }
        if !any && of_store.is_none() {
            faulty(database.corrupt("a sealed file", "none"))?;
        }
        let store_id = of_store.or_else(|| keys.store_id()).unwrap_or_default();
        let sealing = Sealing::new(store_id, keys, io, database.path());
        Ok(Self { database, sealing, kind, files: RwLock::new(files), current: Mutex::default() })
    }

    pub(super) fn store_id(&self) -> [u8; 16] {
        *self.sealing.store_id()
    }

    pub(super) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    /// The sealed file that blobs are written to now. Begins one if there is none, or the last one is used up or
    /// under a data key that was replaced.
    pub(super) fn current(&self) -> Result<Arc<Writing>, StorageError> {
        let mut current = self.current.lock();
        let usable = |writing: &&Arc<Writing>| {
            writing.nonces.lock().left() > NONCES_KEPT && !self.sealing.is_outdated(writing.sealer.file())
        };
        if let Some(writing) = current.as_ref().filter(usable) {
            return Ok(writing.clone());
        }
        let id = self.files.read().last_key_value().map_or(1, |(id, _)| id + 1);
        let (sealer, header, nonces) = new_file(self.kind, &self.sealing, id)?;
        self.database.transaction(|connection| {
            connection
                .prepare_cached("INSERT INTO sealed_files(id, header) VALUES(?1, ?2)")?
                .execute((id as i64, header.as_slice()))
        })?;
        self.files.write().insert(id, sealer.clone());
        let writing = Writing { id, sealer, nonces: Mutex::new(nonces) };
        Ok(current.insert(Arc::new(writing)).clone())
    }

    /// The sealer of a sealed file that a row names.
    pub(super) fn sealer(&self, id: i64) -> Result<Sealer, StorageError> {
        let sealer = self.files.read().get(&(id as u64)).cloned();
        sealer.ok_or_else(|| {
            let found = format!("what sealed file {id} sealed, of which there is no header");
            self.database.corrupt("a sealed piece", found)
        })
    }

    /// Whether a sealed file is under a data key that was replaced.
    pub(super) fn is_outdated(&self, id: i64) -> bool {
        let files = self.files.read();
        files.get(&(id as u64)).is_some_and(|sealer| self.sealing.is_outdated(sealer.file()))
    }

    /// The ids below which sealed files are under data keys that were replaced; `None` if none is. (A data key seals
    /// nothing new once it was replaced, so that those come first.)
    pub(super) fn outdated_below(&self) -> Option<i64> {
        let files = self.files.read();
        let last = files.iter().rfind(|(_, sealer)| self.sealing.is_outdated(sealer.file()));
        last.map(|(id, _)| *id as i64 + 1)
    }

    /// Opens a blob; returns where its text stands.
    pub(super) fn open(
        &self,
        sealer: &Sealer,
        place: Place,
        piece: &mut [u8],
    ) -> Result<Range<usize>, StorageError> {
        open_piece(piece, sealer, place).map_err(|found| {
            self.database.corrupt(format!("piece {} of row {}", place.kind, place.offset), found)
        })
    }

    /// Opens a blob of sealed file `id` and returns its text.
    pub(super) fn text(&self, id: i64, place: Place, mut piece: Vec<u8>) -> Result<Vec<u8>, StorageError> {
        let text = self.open(&self.sealer(id)?, place, &mut piece)?;
        piece.truncate(text.end);
        Ok(piece.split_off(text.start))
    }

    /// Reads the headers again and checks that they are those of the sealed files that are known.
    pub(super) fn verify(&self, checking: &mut Checking<'_>) -> Result<(), Halt> {
        let sql = "SELECT header FROM sealed_files WHERE id = ?1";
        let known: Vec<(u64, Sealer)> = self.files.read().iter().map(|(id, it)| (*id, it.clone())).collect();
        for (id, sealer) in known {
            let Some(header) = checking.take(self.database.read_row(sql, id as i64, |row| row.get(0)))?
            else {
                continue;
            };
            let header: Option<Vec<u8>> = header;
            let opened = header.map(|header| {
                open_header(&header, self.kind, 0, |file| match file == *sealer.file() {
                    true => Ok(sealer.clone()),
                    false => Err(SealRefused::OtherStore),
                })
            });
            drop(sealer);
            let found = match opened {
                Some(Ok(_)) => continue,
                Some(Err(fault)) => fault.to_string(),
                // It may have been let go since.
                None if !self.files.read().contains_key(&id) => continue,
                None => "no such row".to_owned(),
            };
            checking.found(Finding::Damage(
                self.database.corrupt(format!("the header of sealed file {id}"), found),
            ));
        }
        checking.checked(0)
    }

    /// Whether there is any sealed file but the one that is written to.
    pub(super) fn has_several(&self) -> bool {
        self.files.read().len() > 1
    }

    /// The sealed files that nobody reads or writes any more, apart from those that are `named`: by rows whose readers
    /// look them up here.
    pub(super) fn unneeded(&self, named: &[i64]) -> Vec<i64> {
        let files = self.files.read();
        let unneeded = files.iter().filter(|(_, sealer)| !sealer.is_shared()).map(|(id, _)| *id as i64);
        unneeded.filter(|id| !named.contains(id)).collect()
    }

    /// Deletes the rows of sealed files, in a transaction that is under way.
    pub(super) fn delete(connection: &Connection, ids: &[i64]) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached("DELETE FROM sealed_files WHERE id = ?1")?;
        ids.iter().try_for_each(|id| statement.execute([id]).map(|_| ()))
    }

    /// Lets go of sealed files, once the deletion of their rows is durable.
    pub(super) fn forget(&self, ids: &[i64]) {
        let mut files = self.files.write();
        ids.iter().for_each(|id| _ = files.remove(&(*id as u64)));
    }
}

impl Writing {
    /// As rows name it.
    pub(super) fn id(&self) -> i64 {
        self.id as i64
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// A sealed blob; `fill` appends its text.
    pub(super) fn seal(
        &self,
        place: Place,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<u8>, StorageError> {
        let mut piece = Vec::new();
        append_piece(&mut piece, &self.sealer, &mut self.nonces.lock(), place, fill)?;
        Ok(piece)
    }
}
