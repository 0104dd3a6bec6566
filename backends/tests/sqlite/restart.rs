//! What a failure while a store opens and begins to write leaves: nothing that passes for damage, whatever the medium
//! kept.

use crate::vfs::SimVfs;
use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::storage::{EntryKind, LogEntry, LogId, LogOp, StorageError};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

const WAL: &str = "/store/log.db-wal";
/// The last entry of the store.
const LAST: u64 = 5;

fn open(disk: &SimDisk, vfs: &SimVfs) -> Result<SqliteStore, StorageError> {
    let options = Options { readers_max: 0, vfs: vfs.name().into(), ..Options::default() };
    SqliteStore::open_on(Path::new("/store"), AtRest::Unsealed, &options, Arc::new(disk.clone()))
}

/// Writes one entry.
fn append(store: &mut SqliteStore, index: u64) -> Result<(), StorageError> {
    let id = LogId { term: 1, index };
    let entry = LogEntry { id, kind: EntryKind::Normal, payload: vec![7; 9000].into() };
    store.log.write(&[LogOp::Append(vec![entry])], None)
}

/// A disk with a store that was closed in order: its WALs are cut, and the medium may not know of that yet. And what
/// the WAL of the log held before.
fn closed_store() -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new(1);
    let vfs = SimVfs::new(disk.clone());
    let mut store = open(&disk, &vfs).expect("a fresh store opens");
    for index in 0..=LAST {
        append(&mut store, index).expect("a group");
    }
    let wal = disk.content(Path::new(WAL)).expect("a WAL");
    drop(store);
    (disk, wal)
}

/// Opens the store, whose log ends with one of `last`.
fn check(disk: &SimDisk, last: &RangeInclusive<u64>, what: &str) {
    let vfs = SimVfs::new(disk.clone());
    let store = open(disk, &vfs).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = store.log.state().last.map_or(0, |last| last.index);
    assert!(last.contains(&found), "{what}: the log ends with {found}");
}

#[test]
fn a_failed_start_leaves_a_sound_store() {
    let (closed, _) = closed_store();
    for fault in [Fault::Eio, Fault::ShortWrite, Fault::Crash] {
        for at in 1.. {
            let disk = closed.fork();
            let vfs = SimVfs::new(disk.clone());
            disk.arm(disk.counters().operations + at, fault);
            let started = open(&disk, &vfs).and_then(|mut store| append(&mut store, LAST + 1));
            // A group that failed may be there or not.
            let last = LAST + u64::from(started.is_ok())..=LAST + 1;
            if !disk.fired() {
                assert!(at > 20, "only {at} operations");
                break;
            }
            disk.disarm();
            if fault != Fault::Crash {
                check(&disk.fork(), &last, &format!("{fault:?} at operation {at}"));
            }
            for seed in 0..64 {
                let disk = disk.fork();
                disk.crash(seed);
                check(&disk, &last, &format!("{fault:?} at operation {at}, cut with seed {seed}"));
            }
        }
    }
}

#[test]
fn a_header_that_was_being_written_again_is_told_from_rot() {
    let (closed, old) = closed_store();
    // The header of the next life, without its sums: sequence number and first salt count up, the second is drawn.
    let mut next = old[..24].to_vec();
    next[15] += 1;
    let salt = u32::from_be_bytes(old[16..20].try_into().expect("four bytes"));
    next[16..20].copy_from_slice(&salt.wrapping_add(1).to_be_bytes());
    next[20..24].iter_mut().for_each(|byte| *byte ^= 0x5a);
    for bytes in [16, 20, 24] {
        let mut torn = old.clone();
        torn[..bytes].copy_from_slice(&next[..bytes]);
        let disk = closed.fork();
        disk.place(Path::new(WAL), &torn);
        check(&disk, &(LAST..=LAST), &format!("{bytes} bytes are new"));
        // Two lives later means that one is missing.
        torn[15] += 1;
        let disk = closed.fork();
        disk.place(Path::new(WAL), &torn);
        let vfs = SimVfs::new(disk.clone());
        let error = open(&disk, &vfs).err().expect("it is refused");
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn a_rotten_bit_of_a_header_is_refused() {
    let (closed, wal) = closed_store();
    for bit in 0..32 * 8 {
        let disk = closed.fork();
        disk.place(Path::new(WAL), &wal);
        disk.flip(Path::new(WAL), bit / 8, (bit % 8) as u8);
        let vfs = SimVfs::new(disk.clone());
        let opened = open(&disk, &vfs).err();
        assert!(matches!(opened, Some(StorageError::Corrupt { .. })), "bit {bit}: {opened:?}");
    }
}

#[test]
fn a_start_that_is_cut_twice_leaves_a_sound_store() {
    let (closed, wal) = closed_store();
    // As if the store had been killed: there is a WAL to judge and to copy.
    closed.place(Path::new(WAL), &wal);
    let cut = |disk: &SimDisk, at: u64, seed: u64| {
        let disk = disk.fork();
        let vfs = SimVfs::new(disk.clone());
        disk.arm(disk.counters().operations + at, Fault::Crash);
        drop(open(&disk, &vfs));
        assert!(disk.fired(), "only {at} operations");
        disk.crash(seed);
        disk
    };
    for (first, first_seed) in (1..=4).flat_map(|at| (0..12).map(move |seed| (at, seed))) {
        let once = cut(&closed, first, first_seed);
        for (second, seed) in (1..=7).flat_map(|at| (0..20).map(move |seed| (at, seed))) {
            let twice = cut(&once, second, seed);
            let what = format!("cut at {first} with seed {first_seed}, then at {second} with seed {seed}");
            check(&twice, &(LAST..=LAST), &what);
        }
    }
}
