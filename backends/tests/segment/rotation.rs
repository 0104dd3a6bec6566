//! Exchanging data keys while a store is in use, and power cuts on the way.

use crate::keys::sealed;
use bytes::Bytes;
use coffer_backends::io::{Fault, Io, OpenMode, SimDisk, write_full};
use coffer_backends::seal::{KeyState, Keyring};
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, EntryKind, Findings, Flush, LogEntry, LogId, LogOp, StorageError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn open(disk: &SimDisk) -> Result<SegmentStore, StorageError> {
    let options = Options { log_file_bytes: 64 << 10, background: false, ..Options::default() };
    SegmentStore::open_on(Path::new("/store"), sealed(), options, Arc::new(disk.clone()))
}

fn keyring(store: &SegmentStore) -> Arc<Keyring> {
    store.keyring.clone().expect("a sealed store has a keyring")
}

fn key_ids(store: &SegmentStore) -> Vec<u32> {
    keyring(store).status().keys.iter().map(|key| key.id).collect()
}

fn append(store: &mut SegmentStore, index: u64) -> Result<(), StorageError> {
    let payload = Bytes::from(vec![index as u8; 700]);
    let entry = LogEntry { id: LogId { term: 1, index }, kind: EntryKind::Normal, payload };
    store.log.write(&[LogOp::Append(vec![entry])], None)
}

fn flush(store: &SegmentStore, revisions: std::ops::Range<i64>) -> Result<(), StorageError> {
    let record = |main| {
        Arc::new(Record {
            revision: Revision { main, sub: 0 },
            key: format!("key {main}").into(),
            value: vec![main as u8; 400].into(),
            create_revision: main,
            version: 1,
            lease: LeaseId(0),
            tombstone: false,
        })
    };
    let applied = LogId { term: 1, index: 0 };
    let checkpoint =
        Checkpoint { applied, revision: revisions.end - 1, compact_revision: 0, state: "state".into() };
    let records: Vec<_> = revisions.map(record).collect();
    store.records.flush(Flush { records: &records, checkpoint: &checkpoint })
}

/// Carries everything over, in the smallest steps.
fn rewrite(store: &mut SegmentStore) -> Result<(), StorageError> {
    while store.log.rewrite(4096)?.more {}
    while store.records.rewrite(1)?.more {}
    Ok(())
}

/// Log indexes and record revisions.
fn content(store: &SegmentStore) -> (Vec<u64>, Vec<i64>) {
    let (mut indexes, mut revisions) = (Vec::new(), Vec::new());
    let visit = &mut |entry: LogEntry| {
        assert_eq!(entry.payload, vec![entry.id.index as u8; 700]);
        indexes.push(entry.id.index);
        ControlFlow::Continue(())
    };
    store.log.reader().read(0..u64::MAX, u64::MAX, visit).expect("the log is readable");
    let visit = &mut |record: &Record| {
        assert_eq!(record.value, vec![record.revision.main as u8; 400]);
        revisions.push(record.revision.main);
        ControlFlow::Continue(())
    };
    store.records.scan(0, i64::MAX, visit).expect("the records are readable");
    let mut findings = Findings::default();
    store.records.verify(&mut findings).expect("the records are read");
    assert_eq!(findings.count(), 0, "the records are intact: {:?}", findings.listed());
    (indexes, revisions)
}

fn filled() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("it opens");
    (0..20).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 2..30).expect("flush");
    flush(&store, 30..60).expect("flush");
    drop(store);
    disk
}

#[test]
fn new_files_get_the_new_key_and_the_old_one_goes_when_nothing_needs_it() {
    let disk = filled();
    let mut store = open(&disk).expect("it opens");
    let keys = keyring(&store);
    assert_eq!(key_ids(&store), [1]);
    assert!(!store.records.wants_rewrite());
    assert_eq!(keys.rotate().expect("rotate"), 2);
    let status = keys.status();
    assert_eq!(
        status.keys.iter().map(|key| key.state).collect::<Vec<_>>(),
        [KeyState::DecryptOnly, KeyState::Active]
    );
    assert!(status.keys[0].in_use && status.keys[0].sealed_bytes > 0);

    // What is written now is sealed with the new key: the log at once, records from the next flush on.
    append(&mut store, 20).expect("write");
    flush(&store, 60..70).expect("flush");
    let outdated = keys.status().outdated_bytes;
    assert!(outdated > 0 && outdated < store.records.stats().disk_bytes, "{outdated}");
    assert_eq!(key_ids(&store), [1, 2], "the first records need the first key");

    keys.request_rewrite().expect("request");
    assert!(store.records.wants_rewrite());
    let mut left = u64::MAX;
    while store.log.rewrite(4096).expect("rewrite").more {}
    loop {
        let progress = store.records.rewrite(1).expect("rewrite");
        assert!(progress.left_bytes <= left, "it never gets more");
        left = progress.left_bytes;
        if !progress.more {
            break;
        }
    }
    assert_eq!((left, keys.status().outdated_bytes), (0, 0));
    assert_eq!(key_ids(&store), [2], "nothing needs the first key");
    assert!(!store.records.wants_rewrite());
    let everything = ((0..=20).collect(), (2..70).collect());
    assert_eq!(content(&store), everything);
    drop(store);
    disk.crash(1);
    let store = open(&disk).expect("it opens with the new key alone");
    assert_eq!((key_ids(&store), content(&store)), (vec![2], everything));
}

/// A cut does not bring a purged log file back once its key was destroyed. Where it is there all the same, put back by
/// hand, or brought back to a store of before the directory was synced, it is passed over.
#[test]
fn a_log_file_that_comes_back_without_its_key_was_purged() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk).expect("it opens");
    (0..5).for_each(|index| append(&mut store, index).expect("write"));
    keyring(&store).rotate().expect("rotate");
    (5..8).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 2..30).expect("flush");
    let first = Path::new("/store/0000000000000002.log");
    let purged = disk.content(first).expect("the first log file");
    // It goes, and with it the last use of the first key.
    store.log.purge(LogId { term: 1, index: 6 }).expect("purge");
    append(&mut store, 8).expect("write");
    store.records.rewrite(1).expect("nothing to rewrite");
    assert_eq!(key_ids(&store), [2]);
    for seed in 0..32 {
        let disk = disk.fork();
        disk.crash(seed);
        assert_eq!(disk.content(first), None, "it came back in cut {seed}");
        let file = disk.open(first, OpenMode::Create).expect("created");
        write_full(&*file, &purged, 0).expect("written");
        file.sync_data().and_then(|()| disk.sync_dir(Path::new("/store"))).expect("synced");
        let store = open(&disk).expect("the file is not needed");
        assert_eq!(content(&store), (vec![7, 8], (2..30).collect()));
    }
}

#[test]
fn compaction_carries_over_as_well() {
    let disk = filled();
    let mut store = open(&disk).expect("it opens");
    keyring(&store).rotate().expect("rotate");
    append(&mut store, 20).expect("write");
    let dead: Vec<_> = (2..60).map(|main| Revision { main, sub: 0 }).collect();
    store.records.drop_revisions(&dead);
    while store.records.reclaim(1 << 20).expect("reclaim").more {}
    // The log is the last that needs the old key.
    store.log.purge(LogId { term: 1, index: 19 }).expect("purge");
    append(&mut store, 21).expect("write");
    flush(&store, 60..61).expect("flush");
    assert_eq!(key_ids(&store), [2]);
}

#[test]
fn readers_keep_what_they_read() {
    let disk = filled();
    let mut store = open(&disk).expect("it opens");
    keyring(&store).rotate().expect("rotate");
    keyring(&store).request_rewrite().expect("request");
    let mut seen = 0;
    let records = store.records.clone();
    let visit = &mut |_: &Record| {
        if seen == 0 {
            rewrite(&mut store).expect("rewrite");
            assert!(key_ids(&store).contains(&1), "a reader needs the first key");
        }
        seen += 1;
        ControlFlow::Continue(())
    };
    records.scan(0, i64::MAX, visit).expect("the reader goes on");
    assert_eq!(seen, 58);
    rewrite(&mut store).expect("rewrite");
    assert_eq!(key_ids(&store), [2]);
}

#[test]
fn a_cut_at_every_step_loses_nothing_and_is_made_up_for() {
    let filled = filled();
    let files: Vec<_> =
        filled.files().into_iter().map(|path| (path.clone(), filled.content(&path))).collect();
    let copy = || {
        let disk = SimDisk::new(2);
        coffer_backends::io::Io::create_dir(&disk, Path::new("/store")).expect("mkdir");
        coffer_backends::io::Io::sync_dir(&disk, Path::new("/")).expect("sync");
        files.iter().for_each(|(path, content)| disk.place(path, content.as_deref().unwrap_or_default()));
        disk
    };
    let exchange = |disk: &SimDisk, acked: &mut u64, rotated: &mut bool| -> Result<(), StorageError> {
        let mut store = open(disk)?;
        keyring(&store).rotate()?;
        keyring(&store).request_rewrite()?;
        *rotated = true;
        append(&mut store, 20)?;
        *acked = 21;
        rewrite(&mut store)?;
        flush(&store, 60..70)?;
        drop(store);
        Ok(())
    };
    let mut cuts = 0;
    for at in 1.. {
        let disk = copy();
        disk.arm(at, Fault::Crash);
        let (mut acked, mut rotated) = (20, false);
        let result = exchange(&disk, &mut acked, &mut rotated);
        let fired = disk.fired();
        disk.crash(at.wrapping_mul(0x9e37_79b9));
        let mut store = open(&disk).unwrap_or_else(|error| panic!("cut at operation {at}: {error}"));
        let wanted = store.records.wants_rewrite();
        let ids = key_ids(&store);
        assert!(!rotated || wanted || ids.len() == 1, "cut at {at}: {ids:?} is forgotten");
        let (indexes, revisions) = content(&store);
        assert!(indexes.len() as u64 >= acked && indexes.iter().copied().eq(0..indexes.len() as u64), "{at}");
        assert!(revisions.iter().copied().eq(2..60) || revisions.iter().copied().eq(2..70), "{at}");
        // Whatever was left is made up for; and once more, with the power gone again afterwards.
        rewrite(&mut store).expect("rewrite");
        assert!(!store.records.wants_rewrite() || !wanted, "cut at {at}: it does not end");
        if wanted {
            assert_eq!(key_ids(&store).len(), 1, "cut at {at}");
        }
        drop(store);
        disk.crash(at);
        assert_eq!(content(&open(&disk).expect("it opens")), (indexes, revisions), "cut at {at}");
        cuts += usize::from(fired);
        if !fired {
            result.expect("nothing was cut");
            break;
        }
    }
    assert!(cuts > 60, "only {cuts} steps");
}

/// The data-key id in the header of a file.
fn key_of(disk: &SimDisk, path: &Path) -> u32 {
    let content = disk.content(path).expect("it is there");
    u32::from_le_bytes(content[44..48].try_into().expect("4 bytes"))
}

#[test]
fn no_file_comes_back_after_its_key_was_destroyed() {
    let disk = filled();
    let mut store = open(&disk).expect("it opens");
    let keys = keyring(&store);
    for round in 2..6u64 {
        let id = keys.rotate().expect("a new key");
        keys.request_rewrite().expect("noted");
        append(&mut store, 18 + round).expect("write");
        rewrite(&mut store).expect("rewrite");
        assert_eq!(key_ids(&store), [id], "the older ones were destroyed");
        for seed in 0..40 {
            let copy = disk.fork();
            copy.crash(seed);
            let named = |suffix: &str, path: &PathBuf| path.extension().is_some_and(|it| it == suffix);
            for path in copy.files().iter().filter(|path| named("log", path) || named("records", path)) {
                assert_eq!(key_of(&copy, path), id, "{} after cut {seed}", path.display());
            }
            open(&copy).expect("it opens");
        }
    }
}

#[test]
fn keys_that_could_not_be_stored_are_not_used() {
    for at in 1..=6 {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let disk = filled();
            let mut store = open(&disk).expect("it opens");
            let keys = keyring(&store);
            disk.arm(disk.counters().operations + at, fault);
            let rotated = keys.rotate();
            let fired = disk.fired();
            disk.disarm();
            if !fired {
                continue;
            }
            rotated.expect_err("the disk refused");
            assert_eq!(key_ids(&store), [1], "the keys are those of before");
            match fault {
                // It did not happen, and can be made again.
                Fault::NoSpace => assert!(keys.rotate().is_ok()),
                _ => assert!(matches!(keys.rotate(), Err(StorageError::Poisoned { .. }))),
            }
            // The store itself is whole.
            append(&mut store, 20).expect("write");
            flush(&store, 60..70).expect("flush");
            drop(store);
            let store = open(&disk).expect("it opens");
            assert_eq!(content(&store), ((0..=20).collect(), (2..70).collect()));
            keyring(&store).rotate().expect("now it works");
        }
    }
}

#[test]
fn a_keyring_that_outlives_its_store_changes_nothing() {
    let disk = filled();
    let store = open(&disk).expect("it opens");
    let keys = keyring(&store);
    drop(store);
    let operations = disk.counters().operations;
    assert!(matches!(keys.rotate(), Err(StorageError::Poisoned { .. })));
    assert!(keys.request_rewrite().is_ok(), "there is nothing to rewrite");
    assert_eq!((keys.status().keys.len(), disk.counters().operations), (1, operations));
    open(&disk).expect("the store is free");
}

#[test]
fn nothing_prints_a_key() {
    let store = open(&filled()).expect("it opens");
    let printed = format!("{:?} {:?} {:?}", keyring(&store), keyring(&store).status(), sealed());
    let root: String = [7u8; 32].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!printed.contains(&root) && !printed.contains("7, 7, 7"), "{printed}");
}
