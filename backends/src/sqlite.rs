//! Two SQLite databases in one directory: the log, and the records.
//!
//! - `log`: one sealed row per group, in `log.db`.
//! - `records`, `manifest`: units of records as rows, in `state.db`.
//! - `sealed`: what a sealed file is here, and its nonces.
//! - `progress`: what each half knows of the other.
//! - `database`, `wal`: how SQLite is used, and what is looked at before it is.
//!
//! SQLite sees sizes, and numbers that count rows; everything else is in sealed blobs, before SQLite gets it, so that
//! nothing else is in its WAL, its page cache, its temporary structures or its messages. `docs/formats.md` has the schema
//! and the blobs byte by byte.
//!
//! # Invariants
//! - One process has a store open: `LOCK` is locked for as long as either half lives.
//! - Both databases are in WAL mode with `synchronous=FULL`: a commit that returned is durable. (For the records
//!   `NORMAL` and a checkpoint would do; but a flush is one small transaction more, its WAL is the only thing to judge
//!   after a crash, and a reader that is in the way of the checkpoint then costs nothing.)
//! - The log is durable before the records, by the order in which core calls.
//!
//! # Crash behaviour
//! Opening judges what a crash left in the WALs (see `wal`), reads both databases, and only then changes anything.
//! Databases are made under another name; a store whose creation did not end is created again.

mod database;
mod inspect;
mod integrity;
mod log;
mod manifest;
#[cfg(test)]
mod nonces;
mod progress;
mod records;
mod sealed;
mod system_error;
mod wal;

use crate::Backend;
use crate::format::corrupt;
use crate::format::header::FileKind;
use crate::format::piece::append_piece;
use crate::io::{Io, OpenMode, RealIo};
use crate::place::{Founding, Identity, LOCK, StoreLock, create_directories, explain, random, sync_way_to};
use crate::room::{PressingIo, RESERVE, Room};
use crate::seal::{AtRest, Keyring, Keys, Sealing, is_keys_file};
use crate::units::UnitRecords;
use coffer_core::storage::{Log, Records, StorageError};
use database::{Access, Database};
pub(crate) use inspect::inspect;
use log::{Base, SqliteLog, base_place};
use manifest::{Manifest, UNITS_ROW, units_place};
use records::RecordRows;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of the log.
const LOG: &str = "log.db";
/// The file of the records; a directory that has it holds a store.
const STATE: &str = "state.db";
/// Begins the names of what is begun and not finished.
const NEW: &str = "new.";
/// The VFS of SQLite that keeps its file locks for the whole process.
const VFS: &str = "unix-excl";

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a directory that holds no store becomes one.
    pub create: bool,
    /// Who a store becomes that is created; drawn if nobody says.
    pub founding: Option<Founding>,
    /// Connections that are kept for reading, per database. Without any, reads take the writer's.
    pub readers_max: usize,
    /// The most that is set aside for a full disk: what it takes to get out of it again. 0 for nothing.
    pub reserve_bytes_max: u64,
    /// The VFS that SQLite reaches its files by; for tests, which register one of their own.
    pub vfs: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { create: true, founding: None, readers_max: 4, reserve_bytes_max: 32 << 20, vfs: VFS.into() }
    }
}

/// A store that was opened. The halves share its lock and are closed by dropping them.
pub struct SqliteStore {
    /// What must be durable now.
    pub log: Box<dyn Log>,
    /// What may be durable later.
    pub records: Arc<dyn Records>,
    /// Who it is.
    pub identity: Identity,
    /// Its data keys, if it is sealed: to ask for them, and to replace them while the store is open. They may be
    /// held for longer than the store.
    pub keyring: Option<Arc<Keyring>>,
}

impl SqliteStore {
    /// Opens the store in a directory of the file system, creating both if need be.
    ///
    /// # Errors
    /// As [`open_on`](Self::open_on).
    pub fn open(path: &Path, at_rest: AtRest, options: &Options) -> Result<Self, StorageError> {
        Self::open_on(path, at_rest, options, Arc::new(RealIo))
    }

    /// Opens the store in a directory that `io` reaches, and SQLite by the VFS of the options.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if another process (or another handle) has it open; [`StorageError::Format`] for a
    /// directory that is no store, holds one of another backend, cannot be used, or is of another format version, with
    /// what to do; [`StorageError::Key`] if the store is sealed and no key was given, or the other way round, or it is
    /// the key of another; then nothing was changed. [`StorageError::Corrupt`] for damage; or an I/O error.
    pub fn open_on(
        path: &Path,
        at_rest: AtRest,
        options: &Options,
        io: Arc<dyn Io>,
    ) -> Result<Self, StorageError> {
        let room = Arc::new(Room::new(path.join(RESERVE), io.clone(), options.reserve_bytes_max));
        let access = Access { vfs: options.vfs.clone(), readers_max: options.readers_max, room };
        let opened = match open(path, at_rest.share(), options, &access, io.clone()) {
            // What found no room has let the reserve go.
            Err(error) if error.is_no_room() && access.room.was_let_go() => {
                open(path, at_rest, options, &access, io)
            }
            opened => opened,
        };
        opened.map_err(|error| explain(path, error))
    }
}

fn open(
    path: &Path,
    at_rest: AtRest,
    options: &Options,
    access: &Access,
    io: Arc<dyn Io>,
) -> Result<SqliteStore, StorageError> {
    if options.create {
        at_rest.check_missing(path, &*io)?;
    }
    create_directories(path, &*io, options.create)?;
    check_ours(path, &*io, &at_rest, options.create)?;
    let lock = Arc::new(StoreLock::take(path, &*io)?);
    access.room.adopt()?;
    let pressing = Arc::new(PressingIo::new(access.room.clone()));
    let names = list(path, &*io)?;
    let exists = names.iter().any(|name| name == STATE);
    let keys = Keys::open(at_rest, pressing.clone(), path, &names, exists)?;
    if let Some(keyring) = keys.keyring() {
        lock.covers(keyring);
    }
    // Until here nothing has changed but the lock, and the slots and the first keyring of a new store.
    remove_unfinished(path, &*io)?;
    if !exists {
        found_store(path, access, &io, &names, options.founding, keys.clone())?;
    } else if !names.iter().any(|name| name == LOG) {
        return Err(corrupt(&path.join(LOG), 0, "the log of the store", "no such file"));
    }
    let file = |name: &str| path.join(name);
    for name in [LOG, STATE] {
        wal::recover(&*pressing, &file(name), &file(&format!("{NEW}{name}-wal")))?;
    }
    let state = Arc::new(Database::open(&file(STATE), access, &records::SCHEMA)?);
    let rows = Arc::new(RecordRows::load(state, keys.clone(), io.clone())?);
    let units = rows.open_units()?;
    let log = Arc::new(Database::open(&file(LOG), access, &log::SCHEMA)?);
    let keyring = keys.keyring().cloned();
    let mut log = SqliteLog::load(log, keys, &rows, io, lock.clone())?;
    // Everything is read and right: from here on the store changes.
    if let Some(keyring) = &keyring {
        keyring.begin()?;
    }
    let manifest = rows.manifest();
    let boot = log.begin(manifest.boot.saturating_add(1))?;
    rows.begin(boot)?;
    let identity = Identity {
        store_id: rows.store_id(),
        cluster_id: manifest.cluster_id,
        member_id: manifest.member_id,
        boot,
    };
    let checkpoint = rows.checkpoint();
    let records = UnitRecords::new(rows, units, checkpoint, lock);
    records.settle_keys();
    Ok(SqliteStore { log: Box::new(log), records: Arc::new(records), identity, keyring })
}

fn list(path: &Path, io: &dyn Io) -> Result<Vec<String>, StorageError> {
    io.list(path).map_err(|error| StorageError::io("list", path, error))
}

/// Refuses a directory that holds something else, before anything in it changes.
fn check_ours(path: &Path, io: &dyn Io, at_rest: &AtRest, create: bool) -> Result<(), StorageError> {
    let names = list(path, io)?;
    if names.iter().any(|name| name == STATE) {
        return Ok(());
    }
    let refuse = |reason: String| Err(StorageError::Format { path: path.to_owned(), reason });
    if Backend::of_names(&names) == Some(Backend::Segment) {
        return refuse(Backend::Segment.holds());
    }
    if !create {
        return refuse("holds no store: name the directory of one, or allow it to be created".into());
    }
    match names.iter().find(|name| {
        !is_database(name)
            && !is_unfinished(name)
            && !is_keys_file(name)
            && ![LOCK, RESERVE, "lost+found"].contains(&name.as_str())
    }) {
        None => at_rest.check_new(path, &names),
        Some(name) => refuse(format!(
            "is not empty and holds no store (found {name:?}): name an empty directory, or a new one"
        )),
    }
}

/// Whether a name is one of a store's databases, or goes with it.
pub(crate) fn is_database(name: &str) -> bool {
    let of = |database| {
        name.strip_prefix(database).is_some_and(|rest: &str| ["", "-wal", "-journal"].contains(&rest))
    };
    of(LOG) || of(STATE)
}

/// Whether a name is one of a store whose creation did not end.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_prefix(NEW).is_some_and(is_database)
}

/// Removes what was begun and not finished, durably: else a cut could have the next file of such a name, which takes
/// another name, be the one that was removed.
fn remove_unfinished(path: &Path, io: &dyn Io) -> Result<(), StorageError> {
    let mut names = list(path, io)?;
    names.retain(|name| is_unfinished(name));
    for name in &names {
        let path = path.join(name);
        io.remove(&path).map_err(|error| StorageError::io("remove", path, error))?;
    }
    match names.is_empty() {
        true => Ok(()),
        false => io.sync_dir(path).map_err(|error| StorageError::io("sync directory", path, error)),
    }
}

/// Creates a store. The database of the records gets its name last.
fn found_store(
    path: &Path,
    access: &Access,
    shared: &Arc<dyn Io>,
    names: &[String],
    founding: Option<Founding>,
    keys: Keys,
) -> Result<(), StorageError> {
    let io = &**shared;
    if names.iter().any(|name| name == LOG) {
        remove_unused_log(path, access, io)?;
    }
    sync_way_to(path, io)?;
    if let Some(keyring) = keys.keyring() {
        keyring.begin()?;
    }
    let store_id = match keys.store_id() {
        Some(store_id) => store_id,
        None => random(path, io)?,
    };
    let sealing = Sealing::new(store_id, keys, shared.clone(), path);
    let founding = match founding {
        Some(founding) => founding,
        None => Founding::draw(path, io)?,
    };
    let manifest = Manifest {
        cluster_id: founding.cluster_id,
        member_id: founding.member_id,
        boot: founding.boot,
        next_unit: 1,
        checkpoint_generation: 0,
        log_group: 0,
        units: Vec::new(),
    };
    let insert = |table: &str| {
        format!("INSERT INTO {table}(id, generation, sealed, piece) VALUES({UNITS_ROW}, 1, 1, ?1)")
    };
    let create = |name: &str, kind, schema: &[&str], row: String, place, text: &dyn Fn(&mut Vec<u8>)| {
        let new = path.join(format!("{NEW}{name}"));
        io.open(&new, OpenMode::Create)
            .map_err(|error| StorageError::io_or_no_room("create", &new, error))?;
        Database::create(&new, access, schema, |connection| {
            let (sealer, header, mut nonces) = sealed::new_file(kind, &sealing, 1)?;
            let mut piece = Vec::new();
            append_piece(&mut piece, &sealer, &mut nonces, place, text)?;
            connection
                .execute("INSERT INTO sealed_files(id, header) VALUES(1, ?1)", [header])
                .and_then(|_| connection.execute(&row, [piece]))
                .map(|_| ())
                .map_err(|error| database::failure_on(connection, "create", &new, error))
        })?;
        let name = path.join(name);
        io.rename(&new, &name).map_err(|error| StorageError::io_or_no_room("rename", &new, error))?;
        io.sync_dir(path).map_err(|error| StorageError::io("sync directory", path, error))
    };
    let base = Base::fresh(founding.boot);
    create(LOG, FileKind::SqliteLog, &log::SCHEMA, insert("base"), base_place(1), &|out| base.put(out))?;
    let put = |out: &mut Vec<u8>| manifest.put(out);
    create(STATE, FileKind::SqliteState, &records::SCHEMA, insert("manifest"), units_place(1), &put)?;
    remove_unfinished(path, io)
}

/// Removes a log without records: right if the store was never opened, and damage otherwise.
fn remove_unused_log(path: &Path, access: &Access, io: &dyn Io) -> Result<(), StorageError> {
    let file = path.join(LOG);
    let unused =
        Database::open(&file, access, &log::SCHEMA).and_then(|database| log::is_unused(Arc::new(database)));
    match unused {
        Ok(true) => {}
        Ok(false) => return Err(corrupt(&path.join(STATE), 0, "the records of the store", "no such file")),
        Err(error) => return Err(error),
    }
    let remove = |name: PathBuf| match io.remove(&name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::io("remove", name, error))
        }
        _ => Ok(()),
    };
    remove(wal::wal_path(&file))?;
    remove(file)
}
