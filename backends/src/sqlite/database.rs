//! One SQLite database: its connections, how they are set up, transactions, checkpoints, and SQLite's errors as ours.
//!
//! One connection writes; reads take others, so that none waits for a sync or a checkpoint. All are of this process:
//! the VFS `unix-excl` holds the file lock of the process once and keeps the index of the WAL in memory of the heap.
//! There is thus no `-shm` file and no memory mapping, and another process is kept out even if it ignores our `LOCK`.
//! (`locking_mode=EXCLUSIVE` would do the same, but for a single connection only.)
//!
//! # Invariants
//! - `synchronous=FULL`: a transaction is on the medium when its commit returned.
//! - Checkpoints happen where this program says (`wal_autocheckpoint=0`), never when a connection closes: what a half
//!   that failed left behind is judged at the next opening.
//! - A transaction or a checkpoint that finds no room (or exceeds a quota) did not happen: SQLite answers so for writes
//!   only, never for a sync. It is tried again at once without the reserve, before somebody else takes that.
//! - No read transaction outlives the call that reads a row, so that a checkpoint never waits for long.

use super::system_error;
use super::wal::wal_path;
use crate::format::corrupt;
use crate::io::{Io, OpenMode};
use crate::room::Room;
use coffer_core::planted::{Bug, planted};
use coffer_core::storage::StorageError;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of a database page.
pub(super) const PAGE_BYTES: u64 = 8192;
/// How long a checkpoint waits for readers, each of which reads one row.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// How the connections of a store are opened.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) vfs: String,
    /// Connections that are kept for reading; without any the writer's is used.
    pub(super) readers_max: usize,
    /// What is set aside for a full disk.
    pub(super) room: Arc<Room>,
}

/// An open database.
pub(super) struct Database {
    path: PathBuf,
    access: Access,
    /// Whether it is only looked at.
    unchanged: bool,
    /// Whether all of its pages stand in the file itself, for as long as it is open.
    settled: bool,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    failed: AtomicBool,
    /// The last checkpoint found no room.
    wal_stays: AtomicBool,
}

impl Database {
    /// Makes a database in an empty file that exists, with this schema, and closes it. Its content is durable then.
    pub(super) fn create(
        path: &Path,
        access: &Access,
        schema: &[&str],
        fill: impl FnOnce(&Connection) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let connection = connect(path, access)?;
        let failed = |error| failure_on(&connection, "create", path, error);
        let pragmas = format!("PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL;");
        connection.execute_batch(&pragmas).map_err(failed)?;
        set_up(&connection, access).map_err(failed)?;
        connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        for table in schema {
            connection.execute_batch(table).map_err(failed)?;
        }
        fill(&connection)?;
        connection.execute_batch("COMMIT").map_err(failed)?;
        truncate_wal(&connection).map_err(failed)?;
        Ok(())
    }

    /// Opens a database that [`create`](Self::create) made.
    pub(super) fn open(path: &Path, access: &Access, schema: &[&str]) -> Result<Self, StorageError> {
        let connection = connect(path, access)?;
        set_up(&connection, access).map_err(|error| failure_on(&connection, "open", path, error))?;
        let database = Self {
            path: path.to_owned(),
            access: access.clone(),
            unchanged: false,
            settled: false,
            writer: Mutex::new(connection),
            readers: Mutex::default(),
            failed: AtomicBool::new(false),
            wal_stays: AtomicBool::new(false),
        };
        database.check_schema(schema)?;
        Ok(database)
    }

    /// Opens a database to be looked at. Nothing of it is changed, nor of its WAL, if it has one with content.
    pub(super) fn inspect(
        path: &Path,
        access: &Access,
        schema: &[&str],
        has_wal: bool,
    ) -> Result<Self, StorageError> {
        let failed = |error| failure("open", path, error);
        let connection = match has_wal {
            true => connect(path, access)?,
            false => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX
                    | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags_and_vfs(immutable(path), flags, access.vfs.as_str())
                    .map_err(failed)?
            }
        };
        set_up_unchanged(&connection, has_wal).map_err(failed)?;
        let database = Self {
            path: path.to_owned(),
            access: Access { readers_max: 0, ..access.clone() },
            unchanged: true,
            settled: !has_wal,
            writer: Mutex::new(connection),
            readers: Mutex::default(),
            failed: AtomicBool::new(false),
            wal_stays: AtomicBool::new(false),
        };
        database.check_schema(schema)?;
        Ok(database)
    }

    fn check_schema(&self, schema: &[&str]) -> Result<(), StorageError> {
        let found: Vec<String> = self.write("read the schema of", |connection| {
            let mut statement = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        if found == schema { Ok(()) } else { Err(self.corrupt("the schema of this format", "another")) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Damage, at no particular offset: SQLite does not say where rows stand.
    pub(super) fn corrupt(&self, expected: impl Into<String>, found: impl Into<String>) -> StorageError {
        corrupt(&self.path, 0, expected, found)
    }

    /// What was found damaged, by the name of what should have been there.
    pub(super) fn naming<T>(
        &self,
        expected: impl FnOnce() -> String,
        result: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        result.map_err(|error| match error {
            StorageError::Corrupt { found, .. } => self.corrupt(expected(), found),
            error => error,
        })
    }

    /// Runs statements on the writing connection.
    pub(super) fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let connection = self.writer.lock();
        let done = work(&connection).map_err(|error| failure_on(&connection, operation, &self.path, error));
        drop(connection);
        self.noting(done)
    }

    pub(super) fn room(&self) -> &Room {
        &self.access.room
    }

    /// Whether a write or a sync has failed, other than for lack of room.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Remembers a failure other than a lack of room.
    fn noting<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        result.inspect_err(|error| {
            if !error.is_no_room() && matches!(error, StorageError::Io { .. }) {
                self.failed.store(true, Ordering::Release);
            }
        })
    }

    /// Runs statements as one transaction, which is durable when this returns, or did not happen, or may or may not
    /// have happened if its commit failed. Without room it did not happen, and is tried once more without the reserve.
    pub(super) fn transaction<T>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        self.room().pressing(true, || self.transact(&work))
    }

    fn transact<T>(&self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, StorageError> {
        let connection = self.writer.lock();
        let done = connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]))
            .and_then(|_| work(&connection))
            .and_then(|done| connection.prepare_cached("COMMIT")?.execute([]).map(|_| done))
            .map_err(|error| failure_on(&connection, "commit", &self.path, error));
        if done.is_err() && !connection.is_autocommit() {
            // A failure of the rollback leaves a connection that fails every later transaction as well.
            let _ = connection.execute_batch("ROLLBACK");
        }
        drop(connection);
        self.noting(done)
    }

    /// Reads on a connection that no writer holds up.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        if self.access.readers_max == 0 {
            return self.write("read", work);
        }
        let kept = self.readers.lock().pop();
        let reader = match kept {
            Some(reader) => reader,
            None => {
                let reader = connect(&self.path, &self.access)?;
                set_up(&reader, &self.access)
                    .and_then(|()| reader.pragma_update(None, "query_only", true))
                    .map_err(|error| failure("open", &self.path, error))?;
                reader
            }
        };
        let done = work(&reader).map_err(|error| failure("read", &self.path, error))?;
        let mut readers = self.readers.lock();
        if readers.len() < self.access.readers_max {
            readers.push(reader);
        }
        Ok(done)
    }

    /// Reads one row, if it is there.
    pub(super) fn read_row<T>(
        &self,
        sql: &str,
        id: i64,
        take: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StorageError> {
        self.read(|connection| connection.prepare_cached(sql)?.query_row([id], take).optional())
    }

    /// Reads the first row behind `after`: `sql` says so, and has the number that counts the rows as its first column. In a
    /// damaged tree SQLite may find one that lies before; nobody who goes on from row to row would ever come to an end.
    pub(super) fn read_next<T>(
        &self,
        sql: &str,
        after: i64,
        take: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<(i64, T)>, StorageError> {
        match self.read_row(sql, after, |row| Ok((row.get::<_, i64>(0)?, take(row)?)))? {
            Some((found, _)) if found <= after => {
                Err(self.corrupt(format!("a row behind row {after}"), format!("row {found}")))
            }
            row => Ok(row),
        }
    }

    /// Copies what the WAL holds into the database, durably, as far as readers let it. The WAL is used again from its
    /// start by the next transaction, or is cut to nothing.
    pub(super) fn checkpoint(&self, truncate: bool) -> Result<(), StorageError> {
        if self.unchanged {
            return Ok(());
        }
        let copy = |connection: &Connection| match truncate {
            true => truncate_wal(connection),
            false => connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())),
        };
        self.room().pressing(true, || self.write("checkpoint", copy))
    }

    /// A [`checkpoint`](Self::checkpoint) of what this process has committed: that is durable in the WAL, so that
    /// without room a later one can copy it.
    pub(super) fn checkpoint_if_room(&self, truncate: bool) -> Result<(), StorageError> {
        let copied = self.checkpoint(truncate);
        let stays = copied.as_ref().is_err_and(StorageError::is_no_room);
        self.wal_stays.store(stays, Ordering::Release);
        match copied {
            Err(error) if stays => {
                tracing::warn!(%error, "the write-ahead log of SQLite grows");
                Ok(())
            }
            copied => copied,
        }
    }

    /// Copies a WAL that found no room when it should have been copied. What can wait must not make it longer.
    pub(super) fn copy_waiting(&self) -> Result<(), StorageError> {
        if self.wal_stays.load(Ordering::Acquire) {
            self.checkpoint(true)?;
            self.wal_stays.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Moves pages from the end of the file into `count` free ones at most, and cuts the file. Nothing happens to a
    /// database that was not made for that.
    pub(super) fn give_back_pages(&self, count: u64) -> Result<(), StorageError> {
        let vacuum = |connection: &Connection| {
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({count})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        self.room().pressing(true, || self.write("vacuum", vacuum))
    }

    /// Pages of the file, and how many of them are free.
    pub(super) fn pages(&self) -> Result<(u64, u64), StorageError> {
        self.read(|connection| {
            let number = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
            Ok((number("PRAGMA page_count")? as u64, number("PRAGMA freelist_count")? as u64))
        })
    }

    /// Bytes of the database and its WAL. (The database is not opened for that: closing it would give up the file locks
    /// that this process holds.)
    pub(super) fn bytes(&self, io: &dyn Io) -> Result<u64, StorageError> {
        let wal = io.open(&wal_path(&self.path), OpenMode::Read).and_then(|file| file.len());
        Ok(self.pages()?.0 * PAGE_BYTES + wal.unwrap_or(0))
    }

    /// Whether SQLite refuses to write to a database that was opened to be written.
    pub(super) fn refuses_writes(&self) -> bool {
        !self.settled && self.writer.lock().is_readonly("main").unwrap_or(false)
    }

    /// Whether all of its pages stand in the file itself, for as long as it is open.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }
}

fn connect(path: &Path, access: &Access) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(path, flags, access.vfs.as_str())
        .map_err(|error| failure("open", path, error))
}

/// The URI of a database that is not going to change while it is open.
fn immutable(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            // Writing to a string does not fail.
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri + "?immutable=1"
}

/// Sets up a connection that only looks.
fn set_up_unchanged(connection: &Connection, has_wal: bool) -> rusqlite::Result<()> {
    protect(connection)?;
    if has_wal {
        // Nobody else has it open, and the index of the WAL is kept in memory.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    }
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -4096)?;
    connection.pragma_update(None, "query_only", true)
}

fn protect(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map(|_| ())
}

fn set_up(connection: &Connection, access: &Access) -> rusqlite::Result<()> {
    protect(connection)?;
    if access.readers_max == 0 {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // All that is deleted was sealed.
    connection.pragma_update(None, "secure_delete", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -4096)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let found = format!("journal mode {mode}, where WAL was asked for");
        return Err(rusqlite::Error::InvalidParameterName(found));
    }
    let synchronous = if planted(Bug::NoSync) { "OFF" } else { "FULL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

/// A checkpoint that readers hold up is done by the next one; what it should have copied is durable in the WAL.
fn truncate_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The answer of a connection to what it did last, as ours.
pub(super) fn failure_on(
    connection: &Connection,
    operation: &'static str,
    path: &Path,
    error: rusqlite::Error,
) -> StorageError {
    match system_error::is_quota(connection, &error) {
        true => {
            let source = io::Error::new(io::ErrorKind::QuotaExceeded, "the disk quota is exhausted");
            StorageError::io_or_no_room(operation, path, source)
        }
        false => failure(operation, path, error),
    }
}

/// SQLite's answer as ours. All statements are our own, so that an answer that a sound database cannot give is damage.
fn failure(operation: &'static str, path: &Path, error: rusqlite::Error) -> StorageError {
    let found = error.to_string();
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        Some(ErrorCode::PermissionDenied) => io::ErrorKind::PermissionDenied,
        Some(ErrorCode::OutOfMemory) => io::ErrorKind::OutOfMemory,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::FileLockingProtocolFailed) => {
            io::ErrorKind::Other
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return StorageError::InUse { path: path.to_owned(), owner: None };
        }
        _ => return corrupt(path, 0, "a sound database", found),
    };
    StorageError::io_or_no_room(operation, path, io::Error::new(kind, found))
}
