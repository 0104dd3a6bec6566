//! Looking at a closed store in SQLite without changing it.
//!
//! A database whose WAL holds nothing is opened as one that cannot change, so that SQLite makes no file and takes no lock.
//! One with a WAL is opened as ever, for itself alone, and only asked: SQLite then reads the WAL into memory, writes nothing,
//! and leaves the WAL as it is when it is closed.
//!
//! A sealed file's header, a row of the manifest or the base of the log that is damaged is told, and what does not depend on
//! it is looked at all the same.

use super::database::{Access, Database};
use super::log::{self, SqliteLog};
use super::records::{self, RecordRows, Salvaged};
use super::{LOG, Options, STATE, wal};
use crate::format::corrupt;
use crate::inspect::{Halves, list};
use crate::io::{Io, OpenMode, read_full};
use crate::place::StoreLock;
use crate::room::{RESERVE, Room};
use crate::seal::{AtRest, Keys, verify_keys};
use crate::units::medium::Medium;
use crate::units::{UnitRecords, verify_unit};
use coffer_core::storage::{Checking, Finding, Halt, Inspector, LogState, Records, StorageError};
use std::path::Path;
use std::sync::Arc;

/// Where the header of a database has the version of the format that who writes has to know.
const WRITE_VERSION: u64 = 18;

/// Looks at the store in `path`, whose lock is held.
pub(crate) fn inspect(
    path: &Path,
    at_rest: AtRest,
    options: &Options,
    io: Arc<dyn Io>,
    lock: Arc<StoreLock>,
    inspector: &mut dyn Inspector,
) -> Result<Halves, StorageError> {
    let names = list(path, &*io)?;
    if !names.iter().any(|name| name == STATE) {
        let reason = "holds no store: its creation did not end, and the next opening creates it again".into();
        return Err(StorageError::Format { path: path.to_owned(), reason });
    }
    let keys = Keys::open(at_rest, io.clone(), path, &names, true)?;
    if let Some(keyring) = keys.keyring() {
        lock.covers(keyring);
    }
    // Nothing is written, so that nothing is set aside.
    let room = Arc::new(Room::new(path.join(RESERVE), io.clone(), 0));
    let access = Access { vfs: options.vfs.clone(), readers_max: 0, room };
    let mut looking = Looking { path, access, io, keys, lock };
    let mut halves = Halves { log: None, records: None, intact: 0, sealed: looking.keys.keyring().is_some() };
    match looking.look(inspector, &mut halves) {
        Ok(()) | Err(Halt::Ended) => Ok(halves),
        Err(Halt::Failed(error)) => Err(error),
    }
}

struct Looking<'a> {
    path: &'a Path,
    access: Access,
    io: Arc<dyn Io>,
    keys: Keys,
    lock: Arc<StoreLock>,
}

impl Looking<'_> {
    fn look(&mut self, inspector: &mut dyn Inspector, halves: &mut Halves) -> Result<(), Halt> {
        let mut checking = Checking::new(inspector);
        let state = self.open(STATE, &records::SCHEMA, &mut checking)?;
        let log = self.open(LOG, &log::SCHEMA, &mut checking)?;
        for database in [&state, &log].into_iter().flatten() {
            checking.expect(database.bytes(&*self.io).unwrap_or(0));
        }
        let (keys, io) = (self.keys.clone(), self.io.clone());
        let salvaged = match state {
            Some(state) => Some(RecordRows::salvage(state, keys, io, &mut checking)?),
            None => None,
        };
        if let Some(log) = log {
            let records = salvaged.as_ref().filter(|salvaged| salvaged.has_manifest);
            halves.log = self.look_at_log(log, records.map(|salvaged| &salvaged.rows), &mut checking)?;
        }
        let Some(Salvaged { rows, has_manifest, mut is_whole }) = salvaged else {
            return match self.keys.keyring() {
                Some(keyring) => verify_keys(keyring, &mut checking),
                None => Ok(()),
            };
        };
        if !has_manifest {
            return look_without_manifest(&rows, &mut checking);
        }
        let rows = Arc::new(rows);
        let mut units = Vec::new();
        for entry in rows.manifest().units {
            match checking.take(rows.open_unit(entry))? {
                Some(unit) => units.push(Arc::new(unit)),
                None => is_whole = false,
            }
        }
        let checkpoint = rows.checkpoint();
        let records: Arc<dyn Records> =
            Arc::new(UnitRecords::new(rows, units, checkpoint, self.lock.clone()));
        halves.intact = records.verify(inspector)?;
        halves.records = is_whole.then_some(records);
        Ok(())
    }

    /// Opens a database, if that can be done at all.
    fn open(
        &self,
        name: &str,
        schema: &[&str],
        checking: &mut Checking<'_>,
    ) -> Result<Option<Arc<Database>>, Halt> {
        let file = self.path.join(name);
        // SQLite sees what comes before the damage, and that is looked at all the same.
        let wal_bytes = checking.take(wal::judge(&*self.io, &file))?;
        let is_settled = wal_bytes == Some(0);
        let can_be_written = match is_settled {
            true => checking.take(self.can_be_written(&file))?.unwrap_or(true),
            // The header may stand in the WAL, and SQLite can be asked.
            false => true,
        };
        let opened =
            checking.take(Database::inspect(&file, &self.access, schema, !is_settled))?.map(Arc::new);
        if !can_be_written || opened.as_ref().is_some_and(|opened| opened.refuses_writes()) {
            let found = "one that SQLite does not write";
            let fault = corrupt(&file, WRITE_VERSION, "a database of SQLite's format version 2", found);
            checking.found(Finding::Damage(fault));
        }
        Ok(opened)
    }

    /// Whether SQLite would write to a database. It reads those of a later format, and an opening needs more than that.
    fn can_be_written(&self, file: &Path) -> Result<bool, StorageError> {
        let failed = |error| StorageError::io("read", file, error);
        let database = self.io.open(file, OpenMode::Read).map_err(failed)?;
        let mut version = [0];
        read_full(&*database, &mut version, WRITE_VERSION).map_err(failed)?;
        Ok(version[0] <= 2)
    }

    fn look_at_log(
        &self,
        database: Arc<Database>,
        records: Option<&RecordRows>,
        checking: &mut Checking<'_>,
    ) -> Result<Option<LogState>, Halt> {
        let before = checking.damage();
        let store_id = records.map(RecordRows::store_id);
        let (keys, io) = (self.keys.clone(), self.io.clone());
        let groups = log::Groups::salvage(database.clone(), keys.clone(), io.clone(), store_id, checking)?;
        groups.verify(None, checking)?;
        let Some(records) = records else { return Ok(None) };
        match SqliteLog::load(database, keys, records, io, self.lock.clone()) {
            Ok(log) => Ok(Some(log.state_found())),
            // What refuses it is most likely what was told already.
            Err(StorageError::Corrupt { .. } | StorageError::Io { .. }) if checking.damage() > before => {
                Ok(None)
            }
            Err(error) => checking.take(Err(error)),
        }
    }
}

/// Checks what there is of records whose manifest cannot be read. Nobody can say which of them count.
fn look_without_manifest(rows: &RecordRows, checking: &mut Checking<'_>) -> Result<(), Halt> {
    rows.verify(checking)?;
    for unit in rows.units_there(checking)? {
        verify_unit(&unit, None, checking, &mut 0)?;
    }
    Ok(())
}
