//! That no nonce is ever used twice under one key: every (key, nonce) of a long run is recorded.

#[path = "../../tests/sqlite/vfs.rs"]
mod vfs;

use super::{Options, SqliteStore};
use crate::io::{Fault, SimDisk};
use crate::seal::{AtRest, FIRST_COUNT, RootKey, SecretKey, recorder};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, EntryKind, Flush, LogEntry, LogId, LogOp, StorageError};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use vfs::SimVfs;

fn open(disk: &SimDisk, vfs: &SimVfs) -> Result<SqliteStore, StorageError> {
    let at_rest = AtRest::Sealed(RootKey::new([3; 16], SecretKey::from_bytes(&mut [7; 32])));
    let options = Options { readers_max: 0, vfs: vfs.name().into(), ..Options::default() };
    SqliteStore::open_on(Path::new("/store"), at_rest, &options, Arc::new(disk.clone()))
}

/// A life of a process: whatever writes, until something fails or it ends.
fn live(disk: &SimDisk, vfs: &SimVfs, seed: u64) -> Result<(), StorageError> {
    let mut store = open(disk, vfs)?;
    let mut main = store.records.checkpoint().map_or(1, |checkpoint| checkpoint.revision);
    for step in 0..24 {
        let next = next_index(&store)?;
        let id = |index| LogId { term: 1, index };
        let entry =
            |index| LogEntry { id: id(index), kind: EntryKind::Normal, payload: vec![7; 2000].into() };
        store.log.write(&[LogOp::Append((next..next + 3).map(entry).collect())], None)?;
        if step % 5 == 1 {
            store.log.write(&[LogOp::Truncate { after: Some(id(next + 1)) }], None)?;
        }
        if step % 8 == 7 {
            store.log.purge(id(next))?;
            let record = |main| {
                Arc::new(Record {
                    revision: Revision { main, sub: 0 },
                    key: format!("{main}").into(),
                    value: vec![1; 900].into(),
                    create_revision: main,
                    version: 1,
                    lease: LeaseId(0),
                    tombstone: false,
                })
            };
            let records: Vec<_> = (main + 1..main + 20).map(record).collect();
            main += 19;
            let checkpoint =
                Checkpoint { applied: id(0), revision: main, compact_revision: 0, state: "s".into() };
            store.records.flush(Flush { records: &records, checkpoint: &checkpoint })?;
            store.records.drop_revisions(&records.iter().map(|record| record.revision).collect::<Vec<_>>());
            while store.records.reclaim(1000)?.more {}
        }
        if step == 12 && seed.is_multiple_of(3) {
            let keyring = store.keyring.clone().expect("it is sealed");
            keyring.rotate()?;
            keyring.request_rewrite()?;
            while store.log.rewrite(1000)?.more {}
            while store.records.rewrite(1000)?.more {}
        }
    }
    Ok(())
}

fn next_index(store: &SqliteStore) -> Result<u64, StorageError> {
    let mut next = store.log.state().last.map_or(0, |last| last.index + 1);
    let visit = &mut |entry: LogEntry| {
        next = next.max(entry.id.index + 1);
        ControlFlow::Continue(())
    };
    store.log.reader().read(0..u64::MAX, u64::MAX, visit)?;
    Ok(next)
}

#[test]
fn no_nonce_is_used_twice_under_one_key() {
    let (mut crashes, mut errors, mut whole) = (0, 0, 0);
    let recorded = recorder::record(|| {
        let mut disks = vec![SimDisk::new(1)];
        for seed in 0..60 {
            // A copy of the directory, with which both go on: a virtual machine that was cloned while it was off.
            if seed == 15 || seed == 25 {
                disks.push(disks[0].copy(seed));
            }
            for disk in &disks {
                let vfs = SimVfs::new(disk.clone());
                // Late enough at times for the whole life; and a transaction that fails is rolled back, and the store
                // goes on in its next life.
                let fault = if seed % 4 == 1 { Fault::Eio } else { Fault::Crash };
                disk.arm(disk.counters().operations + 20 + seed * 97 % 900, fault);
                let ended = live(disk, &vfs, seed);
                match (ended, fault) {
                    (Ok(()), _) => whole += 1,
                    (Err(_), Fault::Crash) => crashes += 1,
                    (Err(_), _) => errors += 1,
                }
                disk.disarm();
                if fault == Fault::Crash {
                    disk.crash(seed);
                }
            }
        }
    });
    assert!(
        crashes > 30 && errors > 10 && whole > 5,
        "{crashes} crashes, {errors} errors, {whole} whole lives"
    );
    let (pairs, keys) = (recorded.pairs(), recorded.keys());
    assert!(pairs > 2000 && keys > 300, "{pairs} under {keys}");
    assert_eq!(recorded.repeats, 0, "of {pairs} nonces");
}

#[test]
fn a_sealed_file_ends_before_its_nonces() {
    let disk = SimDisk::new(1);
    let vfs = SimVfs::new(disk.clone());
    let recorded = recorder::record(|| {
        // Each sealed file begins as if it had almost used up its half of the nonces.
        FIRST_COUNT.set((1 << 31) - 10);
        let mut store = open(&disk, &vfs).expect("it opens");
        for index in 0..40 {
            let id = LogId { term: 1, index };
            let entry = LogEntry { id, kind: EntryKind::Normal, payload: "little".into() };
            store.log.write(&[LogOp::Append(vec![entry])], None).expect("write");
        }
        drop(store);
        FIRST_COUNT.set(0);
    });
    assert!(recorded.keys() > 6, "sealed files were replaced: {} keys", recorded.keys());
    assert_eq!(recorded.repeats, 0);
    let store = open(&disk, &vfs).expect("it opens");
    assert_eq!(next_index(&store).expect("it is readable"), 40);
}
