//! What the tests store, how they read it back, and a store on a simulated disk.

use crate::vfs::SimVfs;
use bytes::Bytes;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::{AtRest, Keyring};
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, EntryKind, Findings, Flush, LogEntry, LogId, LogOp, StorageError};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

/// Begins every key, every value, every state and every payload, in this order.
pub(crate) const CANARIES: [&str; 4] = [KEY, VALUE, STATE, PAYLOAD];
const KEY: &str = "canary-in-a-key";
const VALUE: &str = "canary-in-a-value";
const STATE: &str = "canary-in-the-state";
const PAYLOAD: &str = "canary-in-the-log";

/// A simulated disk, and SQLite's way to it.
pub(crate) struct SimPlace {
    pub(crate) disk: SimDisk,
    vfs: SimVfs,
}

impl SimPlace {
    pub(crate) fn new(disk: SimDisk) -> Self {
        let vfs = SimVfs::new(disk.clone());
        Self { disk, vfs }
    }

    /// What SQLite knows it by.
    pub(crate) fn vfs(&self) -> &str {
        self.vfs.name()
    }

    pub(crate) fn open(&self, at_rest: AtRest) -> Result<SqliteStore, StorageError> {
        let options = Options { readers_max: 0, vfs: self.vfs.name().into(), ..Options::default() };
        SqliteStore::open_on(Path::new("/store"), at_rest, &options, Arc::new(self.disk.clone()))
    }
}

pub(crate) fn keyring(store: &SqliteStore) -> Arc<Keyring> {
    store.keyring.clone().expect("a sealed store has a keyring")
}

pub(crate) fn key_ids(store: &SqliteStore) -> Vec<u32> {
    keyring(store).status().keys.iter().map(|key| key.id).collect()
}

fn payload(index: u64) -> Bytes {
    format!("{PAYLOAD} {index} {}", "p".repeat(700)).into()
}

fn value(main: i64) -> Bytes {
    format!("{VALUE} {main} {}", "v".repeat(400)).into()
}

/// Writes a group of one entry.
pub(crate) fn append(store: &mut SqliteStore, index: u64) -> Result<(), StorageError> {
    let id = LogId { term: 1, index };
    let entry = LogEntry { id, kind: EntryKind::Normal, payload: payload(index) };
    store.log.write(&[LogOp::Append(vec![entry])], None)
}

/// The index that the next entry gets.
pub(crate) fn next_index(store: &SqliteStore) -> Result<u64, StorageError> {
    let mut next = store.log.state().last.map_or(0, |last| last.index + 1);
    store.log.reader().read(0..u64::MAX, u64::MAX, &mut |entry| {
        next = next.max(entry.id.index + 1);
        ControlFlow::Continue(())
    })?;
    Ok(next)
}

/// Flushes a record for each of these revisions.
pub(crate) fn flush(store: &SqliteStore, revisions: Range<i64>) -> Result<(), StorageError> {
    let record = |main| {
        Arc::new(Record {
            revision: Revision { main, sub: 0 },
            key: format!("{KEY} {main}").into(),
            value: value(main),
            create_revision: main,
            version: 1,
            lease: LeaseId(0),
            tombstone: false,
        })
    };
    let checkpoint = Checkpoint {
        applied: LogId { term: 1, index: 0 },
        revision: revisions.end - 1,
        compact_revision: 0,
        state: STATE.into(),
    };
    let records: Vec<_> = revisions.map(record).collect();
    store.records.flush(Flush { records: &records, checkpoint: &checkpoint })
}

/// Carries everything over to the active data key, in the smallest steps.
pub(crate) fn rewrite(store: &mut SqliteStore) -> Result<(), StorageError> {
    while store.log.rewrite(1)?.more {}
    while store.records.rewrite(1)?.more {}
    Ok(())
}

/// Drops these revisions, and gives their space back.
pub(crate) fn compact(store: &SqliteStore, revisions: Range<i64>) -> Result<(), StorageError> {
    let dead: Vec<_> = revisions.map(|main| Revision { main, sub: 0 }).collect();
    store.records.drop_revisions(&dead);
    while store.records.reclaim(1 << 20)?.more {}
    Ok(())
}

/// Reads everything that a store holds: log indexes and record revisions.
pub(crate) fn read_all(store: &SqliteStore) -> Result<(Vec<u64>, Vec<i64>), StorageError> {
    let (mut indexes, mut revisions) = (Vec::new(), Vec::new());
    store.log.reader().read(0..u64::MAX, u64::MAX, &mut |entry| {
        assert_eq!(entry.payload, payload(entry.id.index));
        indexes.push(entry.id.index);
        ControlFlow::Continue(())
    })?;
    store.records.scan(0, i64::MAX, &mut |record| {
        assert_eq!(record.value, value(record.revision.main));
        revisions.push(record.revision.main);
        ControlFlow::Continue(())
    })?;
    let mut findings = Findings::default();
    store.log.reader().verify(&mut findings)?;
    store.records.verify(&mut findings)?;
    if let Some(damage) = findings.first_damage() {
        return Err(damage.clone());
    }
    Ok((indexes, revisions))
}

/// Reads everything of a store that is sound.
pub(crate) fn content(store: &SqliteStore) -> (Vec<u64>, Vec<i64>) {
    read_all(store).expect("the store is intact")
}
