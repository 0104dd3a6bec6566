//! Other embedded stores, each as its manual says that an acknowledged put is durable.

use super::Failure;
use redb::{Database, Durability, TableDefinition};
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A store.
pub(super) trait Peer: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Puts a key; durable when it returns.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Failure>;
}

/// SQLite with a write-ahead log that is synced at every commit. Its threads share a connection: it writes one transaction at
/// a time anyway, and waiting for a lock of ours is quicker than trying its own again.
pub(super) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection
            .prepare_cached("INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2")?
            .execute((key, value))?;
        Ok(())
    }
}

/// redb, with a transaction for each put.
pub(super) struct Redb(Database);

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kv");

impl Redb {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self(Database::create(path)?))
    }
}

impl Peer for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let mut txn = self.0.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.open_table(TABLE)?.insert(key, value)?;
        txn.commit()?;
        Ok(())
    }
}
