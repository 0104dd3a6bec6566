//! That no nonce is ever used twice under one key: every (key, nonce) of a long run is recorded.

use super::{Options, SegmentStore};
use crate::io::{Fault, File, Io, LockAttempt, OpenMode, SimDisk};
use crate::seal::{AtRest, FIRST_COUNT, RootKey, SecretKey, recorder};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, EntryKind, Flush, LogEntry, LogId, LogOp, StorageError};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(disk: &SimDisk) -> Result<SegmentStore, StorageError> {
    open_on(Arc::new(disk.clone()))
}

fn open_on(io: Arc<dyn Io>) -> Result<SegmentStore, StorageError> {
    let at_rest = AtRest::Sealed(RootKey::new([3; 16], SecretKey::from_bytes(&mut [7; 32])));
    let options = Options {
        log_file_bytes: 64 << 10,
        reserve_bytes_max: 64 << 10,
        background: false,
        ..Options::default()
    };
    SegmentStore::open_on(Path::new("/store"), at_rest, options, io)
}

/// A life of a process: whatever writes, until something fails or it ends.
fn live(disk: &SimDisk, seed: u64) -> Result<(), StorageError> {
    let mut store = open(disk)?;
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
            while store.log.rewrite(4096)?.more {}
            while store.records.rewrite(1000)?.more {}
        }
    }
    Ok(())
}

fn next_index(store: &SegmentStore) -> Result<u64, StorageError> {
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
    let mut crashes = 0;
    let recorded = recorder::record(|| {
        let mut disks = vec![SimDisk::new(1)];
        for seed in 0..40 {
            // A copy of the directory, with which both go on: a virtual machine that was cloned while it was off.
            if seed == 15 || seed == 25 {
                disks.push(disks[0].copy(seed));
            }
            for disk in &disks {
                disk.arm(disk.counters().operations + 20 + seed * 37 % 150, Fault::Crash);
                crashes += usize::from(live(disk, seed).is_err());
                disk.crash(seed);
            }
        }
    });
    assert!(crashes > 30, "{crashes} crashes");
    assert!(
        recorded.pairs() > 2000 && recorded.keys() > 300,
        "{} under {}",
        recorded.pairs(),
        recorded.keys()
    );
    assert_eq!(recorded.repeats, 0, "of {} nonces", recorded.pairs());
}

#[test]
fn a_log_file_ends_before_its_nonces() {
    let disk = SimDisk::new(1);
    let recorded = recorder::record(|| {
        // Each file begins as if it had almost used up its nonces.
        FIRST_COUNT.set((1 << 32) - 20);
        let mut store = open(&disk).expect("it opens");
        for index in 0..40 {
            let id = LogId { term: 1, index };
            let entry = LogEntry { id, kind: EntryKind::Normal, payload: "little".into() };
            store.log.write(&[LogOp::Append(vec![entry])], None).expect("write");
        }
        drop(store);
        FIRST_COUNT.set(0);
    });
    let logs = disk.files().into_iter().filter(|path| path.extension().is_some_and(|name| name == "log"));
    assert!(logs.count() > 5, "files were replaced");
    assert_eq!(recorded.repeats, 0);
    let store = open(&disk).expect("it opens");
    assert_eq!(store.log.state().last.map(|last| last.index), Some(39));
}

/// A file system that writes nothing in place: while it is full no write finds room, wherever it goes.
#[derive(Clone)]
struct CopyOnWrite {
    disk: SimDisk,
    full: Arc<AtomicBool>,
}

struct CopyOnWriteFile {
    file: Arc<dyn File>,
    full: Arc<AtomicBool>,
}

impl Io for CopyOnWrite {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (file, full) = (self.disk.open(path, mode)?, self.full.clone());
        Ok(Arc::new(CopyOnWriteFile { file, full }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_dir(directory)
    }
    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        self.disk.lock(path)
    }
    fn lock_unchanged(&self, path: &Path) -> io::Result<LockAttempt> {
        self.disk.lock_unchanged(path)
    }
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.random(bytes)
    }
}

impl File for CopyOnWriteFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        // Some of it is written, as by a system that finds out in the middle.
        if self.full.load(Ordering::Acquire) {
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// In the same file, or in one that takes the place of a file that was to begin with it.
#[test]
fn what_found_no_room_is_written_with_another_nonce_and_nothing_else_is_lost() {
    let (mut turned_back, mut written) = (0, 0);
    let recorded = recorder::record(|| {
        for seed in 1..30 {
            let disk = SimDisk::new(seed);
            let full = Arc::new(AtomicBool::new(false));
            let mut store =
                open_on(Arc::new(CopyOnWrite { disk: disk.clone(), full: full.clone() })).expect("it opens");
            let groups = 20 + seed;
            for index in 0..groups {
                let (id, payload) = (LogId { term: 1, index }, vec![index as u8; 3000].into());
                let group = [LogOp::Append(vec![LogEntry { id, kind: EntryKind::Normal, payload }])];
                for attempt in 0..2 {
                    full.store(true, Ordering::Release);
                    let files = disk.files();
                    let refused = store.log.write(&group, None);
                    assert!(refused.as_ref().is_err_and(StorageError::is_no_room), "{attempt}: {refused:?}");
                    turned_back += usize::from(files != disk.files());
                    full.store(false, Ordering::Release);
                }
                if index + 1 < groups {
                    store.log.write(&group, None).expect("with room the same group is taken");
                    written += 1;
                }
            }
            disk.crash(seed);
            drop(store);
            let next = next_index(&open(&disk).expect("it opens")).expect("it reads");
            assert_eq!(next, groups - 1, "seed {seed}");
        }
    });
    assert!(turned_back > 30, "{turned_back} files were given up");
    assert!(recorded.pairs() > 3 * written, "{} nonces for {written} groups", recorded.pairs());
    assert_eq!(recorded.repeats, 0, "of {} nonces", recorded.pairs());
}
