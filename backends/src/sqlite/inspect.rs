//! Looking at a closed store in SQLite without changing it.
//!
//! A database whose WAL holds nothing is opened as one that cannot change, so that SQLite makes no file and takes no lock.
//! One with a WAL is opened as ever, for itself alone, and only asked: SQLite then reads the WAL into memory, writes nothing,
//! and leaves the WAL as it is when it is closed.

use super::database::{Access, Database};
use super::log::{self, SqliteLog};
use super::records::{self, RecordRows};
use super::{LOG, Options, STATE, wal};
use crate::inspect::{Halves, list};
use crate::io::Io;
use crate::place::StoreLock;
use crate::room::{RESERVE, Room};
use crate::seal::{AtRest, Keys};
use crate::units::UnitRecords;
use coffer_core::storage::{Checking, Halt, Inspector, LogState, Records, StorageError};
use std::path::Path;
use std::sync::Arc;

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
        let rows = match state {
            Some(state) => checking.take(RecordRows::load(state, self.keys.clone(), self.io.clone()))?,
            None => None,
        };
        let rows = rows.map(Arc::new);
        if let Some(log) = log {
            halves.log = self.look_at_log(log, rows.as_deref(), &mut checking)?;
        }
        let Some(rows) = rows else { return Ok(()) };
        let (mut units, mut is_whole) = (Vec::new(), true);
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
        let opened = Database::inspect(&file, &self.access, schema, wal_bytes != Some(0));
        Ok(checking.take(opened)?.map(Arc::new))
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
        let groups = log::Groups::load(database.clone(), keys.clone(), io.clone(), store_id);
        let Some(groups) = checking.take(groups)? else { return Ok(None) };
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
