//! The segment log by itself: what a group costs, what a crash and a rotten bit do, and that old bytes stay dead.

use coffer_backends::io::{Fault, File, Io, LockAttempt, OpenMode, RealIo, SimDisk};
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::storage::{EntryKind, HardState, Log, LogEntry, LogId, LogOp, StorageError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DIR: &str = "/store";
const FILE_BYTES: u64 = 64 << 10;

fn options() -> Options {
    Options {
        log_file_bytes: FILE_BYTES,
        reserve_bytes_max: 64 << 10,
        background: false,
        ..Options::default()
    }
}

fn open(disk: &SimDisk) -> Result<SegmentStore, StorageError> {
    SegmentStore::open_on(Path::new(DIR), AtRest::Unsealed, options(), Arc::new(disk.clone()))
}

fn entry(index: u64, payload: &[u8]) -> LogEntry {
    LogEntry { id: LogId { term: 1, index }, kind: EntryKind::Normal, payload: payload.to_vec().into() }
}

fn append(log: &mut dyn Log, index: u64, payload: &[u8]) -> Result<(), StorageError> {
    log.write(&[LogOp::Append(vec![entry(index, payload)])], None)
}

fn entries(log: &dyn Log) -> Result<Vec<LogEntry>, StorageError> {
    let mut entries = Vec::new();
    log.reader().read(0..u64::MAX, u64::MAX, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

fn indexes(log: &dyn Log) -> Vec<u64> {
    entries(log).expect("the log is readable").iter().map(|entry| entry.id.index).collect()
}

fn spares(disk: &SimDisk) -> usize {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|name| name == "spare")).count()
}

fn log_files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|name| name == "log")).collect()
}

/// Ends a store as a process ends that is killed: nothing is closed, but what was written stays.
fn kill(store: SegmentStore, disk: &SimDisk) {
    let operation = disk.counters().operations + 1;
    disk.arm(operation, Fault::Eio);
    drop(store);
    disk.disarm();
}

#[test]
fn a_group_of_any_size_is_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("a fresh store opens");
    let mut index = 0;
    for group in [1u64, 10, 100, 1, 500, 3] {
        let entries = (index..index + group).map(|index| entry(index, &[7; 300])).collect();
        index += group;
        let before = disk.counters_of("log");
        let hard_state = LogOp::SaveHardState(HardState { term: 1, ..HardState::default() });
        store
            .log
            .write(&[LogOp::Append(entries), hard_state], Some(LogId { term: 1, index: 0 }))
            .expect("write");
        let after = disk.counters_of("log");
        assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1), "a group of {group}");
    }
    assert_eq!(indexes(&*store.log).len() as u64, index);
}

/// Counts the calls on log files of the real file system.
#[derive(Default)]
struct CountingIo {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    syncs: AtomicU64,
}

struct CountingFile {
    file: Arc<dyn File>,
    counts: Arc<Counts>,
}

impl File for CountingFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.counts.writes.fetch_add(1, Ordering::SeqCst);
        self.file.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Io for CountingIo {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealIo.create_dir(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealIo.list(directory)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(CountingFile { file: RealIo.open(path, mode)?, counts: self.counts.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealIo.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealIo.remove(path)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::SeqCst);
        RealIo.sync_dir(directory)
    }
    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        RealIo.lock(path)
    }
    fn lock_unchanged(&self, path: &Path) -> io::Result<LockAttempt> {
        RealIo.lock_unchanged(path)
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        RealIo.random(bytes)
    }
}

#[test]
fn on_a_real_file_system_a_group_is_one_write_and_one_sync() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let io = CountingIo::default();
    let counts = io.counts.clone();
    // All files: a group touches no other one. The file is large enough that no other is prepared.
    let options = Options { reserve_bytes_max: 64 << 10, background: false, ..Options::default() };
    let mut store =
        SegmentStore::open_on(&directory.path().join("store"), AtRest::Unsealed, options, Arc::new(io))
            .expect("open");
    for index in 0..100 {
        let before = (counts.writes.load(Ordering::SeqCst), counts.syncs.load(Ordering::SeqCst));
        append(&mut *store.log, index, &[9; 300]).expect("write");
        let after = (counts.writes.load(Ordering::SeqCst), counts.syncs.load(Ordering::SeqCst));
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1), "group {index}");
    }
}

#[test]
fn a_failed_sync_poisons_for_ever() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("a fresh store opens");
    append(&mut *store.log, 0, b"acknowledged").expect("write");
    disk.arm(disk.counters().operations + 2, Fault::Eio);
    let failed = append(&mut *store.log, 1, b"in doubt").expect_err("the sync fails");
    assert!(matches!(failed, StorageError::Io { operation: "fdatasync", .. }), "{failed}");
    let counters = disk.counters();
    for _ in 0..3 {
        let refused = append(&mut *store.log, 1, b"in doubt").expect_err("the log is poisoned");
        assert!(matches!(refused, StorageError::Poisoned { .. }), "{refused}");
        assert!(store.log.purge(LogId { term: 1, index: 0 }).is_err());
    }
    assert_eq!(disk.counters().operations, counters.operations, "nothing is tried again");
    assert_eq!(indexes(&*store.log), [0], "what was acknowledged stays readable");
    drop(store);
    let reopened = open(&disk).expect("it opens again");
    let found = indexes(&*reopened.log);
    assert!(found == [0] || found == [0, 1], "{found:?}");
    // Whatever it shows now is on the medium.
    drop(reopened);
    disk.crash(5);
    assert_eq!(indexes(&*open(&disk).expect("it opens after a power cut").log), found);
}

#[test]
fn a_torn_tail_is_dropped() {
    let mut kept = 0;
    for seed in 0..64 {
        let disk = SimDisk::new(1);
        let mut store = open(&disk).expect("a fresh store opens");
        for index in 0..3 {
            append(&mut *store.log, index, &[1; 5000]).expect("write");
        }
        // The power goes during the sync of the last group.
        disk.arm(disk.counters().operations + 2, Fault::Crash);
        append(&mut *store.log, 3, &[2; 900]).expect_err("the power is gone");
        drop(store);
        disk.crash(seed);
        let found = indexes(&*open(&disk).expect("a torn tail is no damage").log);
        assert!(found == [0, 1, 2] || found == [0, 1, 2, 3], "{found:?}");
        kept += usize::from(found.len() == 4);
    }
    assert!((1..64).contains(&kept), "the last group was kept {kept} times of 64");
}

#[test]
fn rot_in_acknowledged_data_is_refused_with_file_and_offset() {
    for rotten in 0..6u64 {
        let disk = SimDisk::new(1);
        let mut store = open(&disk).expect("a fresh store opens");
        for index in 0..8 {
            append(&mut *store.log, index, b"some entry").expect("write");
        }
        let files = log_files(&disk);
        let file = files.last().expect("there is a log file");
        kill(store, &disk);
        // Frame by frame behind the header.
        let offset = 4096 * (1 + rotten);
        disk.flip(file, offset as usize + 100, 3);
        match open(&disk).err() {
            Some(StorageError::Corrupt { path, offset: found, .. }) => {
                assert_eq!((path.as_path(), found), (file.as_path(), offset));
            }
            other => panic!("rot in frame {rotten} came out as {other:?}"),
        }
    }
}

#[test]
fn after_an_orderly_close_rot_in_the_last_group_is_refused_too() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("a fresh store opens");
    append(&mut *store.log, 0, b"the only group").expect("write");
    let file = log_files(&disk).pop().expect("there is a log file");
    drop(store);
    disk.flip(&file, 4096 + 100, 3);
    let error = open(&disk).err().expect("damage is refused");
    assert!(matches!(error, StorageError::Corrupt { offset: 4096, .. }), "{error}");
}

#[test]
fn a_missing_log_file_is_refused() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("a fresh store opens");
    for index in 0..60 {
        append(&mut *store.log, index, &[3; 4000]).expect("write");
    }
    drop(store);
    let files = log_files(&disk);
    assert!(files.len() > 3, "the log has {} files", files.len());
    for missing in [0, 1, files.len() - 1] {
        let copy = SimDisk::new(1);
        Io::create_dir(&copy, Path::new(DIR)).expect("mkdir");
        for path in disk.files().iter().filter(|path| **path != files[missing]) {
            copy.place(path, &disk.content(path).expect("it is there"));
        }
        let answer = open(&copy).map(|store| indexes(&*store.log).len());
        // Whether the newest file was ever used is known only from what the manifest names.
        let refused = matches!(answer, Err(StorageError::Corrupt { .. }));
        assert!(refused || missing == files.len() - 1, "without file {missing}: {answer:?}");
    }
}

#[test]
fn old_content_of_a_recycled_file_is_never_taken_for_new() {
    let disk = SimDisk::new(1);
    let mut index = 0;
    let mut payload = 0u8;
    for _ in 0..12 {
        let mut store = open(&disk).expect("it opens");
        let expected = entries(&*store.log).expect("readable").len() as u64;
        assert_eq!(expected, index - store.log.state().purged.map_or(0, |purged| purged.index + 1));
        // The same shapes again and again, so that old frames lie exactly where new ones would.
        for _ in 0..40 {
            append(&mut *store.log, index, &[payload; 3000]).expect("write");
            index += 1;
        }
        payload += 1;
        store.log.purge(LogId { term: 1, index: index - 2 }).expect("purge");
        append(&mut *store.log, index, &[payload; 3000]).expect("write");
        index += 1;
        let found = entries(&*store.log).expect("readable");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].payload[..], [payload; 3000]);
        kill(store, &disk);
    }
    let spares =
        disk.files().iter().filter(|path| path.extension().is_some_and(|name| name == "spare")).count();
    assert!(spares > 0, "no file was recycled");
    assert!(disk.bytes() < 8 * FILE_BYTES, "the store takes {} bytes", disk.bytes());
}

#[test]
fn opening_and_closing_often_collects_no_files() {
    let disk = SimDisk::new(1);
    for index in 0..50 {
        let mut store = open(&disk).expect("it opens");
        append(&mut *store.log, index, b"little").expect("write");
    }
    let mut store = open(&disk).expect("it opens");
    assert_eq!(indexes(&*store.log).len(), 50);
    append(&mut *store.log, 50, b"little").expect("write");
    assert!(disk.files().len() < 8, "{:?}", disk.files());
}

#[test]
fn a_full_disk_is_named_and_a_spare_delays_it() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("a fresh store opens");
    // Fill a quarter: the next file is prepared.
    for index in 0..6 {
        append(&mut *store.log, index, &[1; 3000]).expect("write");
    }
    disk.set_capacity(Some(disk.bytes()));
    let mut index = 6;
    let error = loop {
        match append(&mut *store.log, index, &[1; 3000]) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_no_room() && error.to_string().contains(DIR), "{error}");
    assert!(!store.records.has_room());
    assert!(index >= 27, "only {index} groups fit, so no spare was used");
    assert!(append(&mut *store.log, index, &[1; 3000]).is_err_and(|error| error.is_no_room()));
    assert_eq!(indexes(&*store.log).len() as u64, index, "what was acknowledged stays readable");
    disk.set_capacity(None);
    append(&mut *store.log, index, &[1; 3000]).expect("with room the same group is taken");
    drop(store);
    assert_eq!(indexes(&*open(&disk).expect("it opens").log).len() as u64, index + 1);
}

#[test]
fn boot_numbers_grow_whatever_happens() {
    let disk = SimDisk::new(1);
    let mut last = 0;
    for seed in 0..20 {
        let store = open(&disk).expect("it opens");
        assert!(store.identity.boot > last, "boot {} after {last}", store.identity.boot);
        last = store.identity.boot;
        if seed % 2 == 0 {
            drop(store);
        } else {
            kill(store, &disk);
        }
        disk.crash(seed);
    }
}

#[test]
fn the_thread_of_a_store_prepares_recycles_and_ends() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let options = Options { log_file_bytes: 256 << 10, ..Options::default() };
    for round in 0..3u64 {
        let mut store = SegmentStore::open(&path, AtRest::Unsealed, options).expect("it opens");
        let first = store.log.state().last.map_or(0, |last| last.index + 1);
        for index in first..first + 400 {
            append(&mut *store.log, index, &[round as u8; 3000]).expect("write");
            if index % 50 == 49 {
                store.log.purge(LogId { term: 1, index: index - 5 }).expect("purge");
            }
        }
        assert!(indexes(&*store.log).len() < 60);
        drop(store);
        let bytes: u64 = std::fs::read_dir(&path)
            .expect("list")
            .map(|file| file.and_then(|file| file.metadata()).map_or(0, |metadata| metadata.len()))
            .sum();
        assert!(bytes < 2 << 20, "{bytes} bytes after round {round}");
    }
}

/// Under load purged files wait to be used again; in quiet times all but one go, as does what the current file replaced.
#[test]
fn a_quiet_log_gives_its_files_back() {
    let disk = SimDisk::new(11);
    let mut log = open(&disk).expect("a fresh store opens").log;
    let payload = [7; 20 << 10];
    for index in 0..12 {
        append(&mut *log, index, &payload).expect("an entry is written");
    }
    assert!(log_files(&disk).len() > 3, "twelve entries take several files");
    log.purge(LogId { term: 1, index: 11 }).expect("it is purged");
    let before = log.disk_bytes();
    assert!(!log.trim().expect("it is trimmed"), "a slice does it all");
    // Busy a moment ago: what was taken since the last time is kept.
    assert_eq!((log_files(&disk).len(), spares(&disk)), (1, 4));
    assert!(!log.trim().expect("it is trimmed"), "a slice does it all");
    assert_eq!((log_files(&disk).len(), spares(&disk)), (1, 1));
    assert_eq!(log.disk_bytes(), 2 * FILE_BYTES);
    assert!(log.disk_bytes() < before);
    append(&mut *log, 12, &payload).expect("an entry is written");
    drop(log);
    let log = open(&disk).expect("the store opens").log;
    assert_eq!((log.state().purged, indexes(&*log)), (Some(LogId { term: 1, index: 11 }), vec![12]));
}
