//! What a sealed store lets nobody see, and what it refuses: other keys, and files that were moved, exchanged, cut or
//! put back.

use crate::keys::{Opening, sealed, sealed_as};
use bytes::Bytes;
use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, EntryKind, Findings, Flush, LogEntry, LogId, LogOp, StorageError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KEY: &str = "canary-in-a-key";
const VALUE: &str = "canary-in-a-value";
const STATE: &str = "canary-in-the-state";
const PAYLOAD: &str = "canary-in-the-log";
const CANARIES: [&str; 4] = [KEY, VALUE, STATE, PAYLOAD];

fn open(disk: &SimDisk, at_rest: AtRest) -> Result<SegmentStore, StorageError> {
    let options = Options { log_file_bytes: 64 << 10, background: false, ..Options::default() };
    SegmentStore::open_on(Path::new("/store"), at_rest, options, Arc::new(disk.clone()))
}

fn append(store: &mut SegmentStore, index: u64) {
    let payload: Bytes = format!("{PAYLOAD} {index}").into();
    let entry = LogEntry { id: LogId { term: 1, index }, kind: EntryKind::Normal, payload };
    store.log.write(&[LogOp::Append(vec![entry])], None).expect("write");
}

fn flush(store: &SegmentStore, revisions: std::ops::Range<i64>) {
    let record = |main| {
        Arc::new(Record {
            revision: Revision { main, sub: 0 },
            key: format!("{KEY} {main}").into(),
            value: format!("{VALUE} {}", "v".repeat(300)).into(),
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
    store.records.flush(Flush { records: &records, checkpoint: &checkpoint }).expect("flush");
}

/// Uses everything that writes: a log over several files, flushes, compaction, other keys, a crash, a new opening.
fn fill(disk: &SimDisk, at_rest: Opening) {
    for round in 0..4 {
        let mut store = open(disk, at_rest()).expect("it opens");
        let next = store.log.state().last.map_or(0, |last| last.index + 1);
        (next..next + 30).for_each(|index| append(&mut store, index));
        let first = 2 + round * 50;
        flush(&store, first..first + 50);
        store.log.purge(LogId { term: 1, index: next + 20 }).expect("purge");
        append(&mut store, next + 30);
        if let Some(keyring) = &store.keyring {
            keyring.rotate().expect("rotate");
            keyring.request_rewrite().expect("request");
            while store.log.rewrite(4096).expect("rewrite").more {}
            while store.records.rewrite(1 << 20).expect("rewrite").more {}
        }
        let dead: Vec<_> = (first..first + 40).map(|main| Revision { main, sub: 0 }).collect();
        store.records.drop_revisions(&dead);
        while store.records.reclaim(1 << 20).expect("reclaim").more {}
        if round % 2 == 0 {
            disk.crash(round as u64);
        }
    }
}

fn seen(disk: &SimDisk) -> Vec<(&'static str, PathBuf)> {
    let mut seen = Vec::new();
    for path in disk.files() {
        let content = disk.content(&path).expect("it is there");
        for canary in CANARIES {
            // A key loses its beginning where it equals the one before: a part will do.
            let part = &canary.as_bytes()[canary.len() - 8..];
            if content.windows(part.len()).any(|window| window == part) {
                seen.push((canary, path.clone()));
            }
        }
    }
    seen
}

#[test]
fn nothing_that_was_stored_is_on_the_disk_in_the_clear() {
    let disk = SimDisk::new(1);
    fill(&disk, sealed);
    assert_eq!(seen(&disk), [], "of a sealed store");
    // The search finds what it looks for.
    let disk = SimDisk::new(1);
    fill(&disk, || AtRest::Unsealed);
    for canary in CANARIES {
        assert!(seen(&disk).iter().any(|(found, _)| *found == canary), "{canary} in a store in the clear");
    }
}

fn snapshot(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    disk.files().into_iter().map(|path| (path.clone(), disk.content(&path).expect("it is there"))).collect()
}

#[test]
fn another_way_of_opening_is_refused_and_changes_nothing() {
    let cases: [(Opening, Opening, &str); 4] = [
        (sealed, || AtRest::Unsealed, "is sealed: give its key"),
        (|| AtRest::Unsealed, sealed, "open it with --unsealed"),
        (sealed, || sealed_as(3, 8), "does not open with this key"),
        (sealed, || sealed_as(4, 7), "another store"),
    ];
    for (made, opened, advice) in cases {
        let disk = SimDisk::new(1);
        fill(&disk, made);
        let before = snapshot(&disk);
        let error = open(&disk, opened()).err().expect("it is refused");
        assert!(matches!(error, StorageError::Key { .. }), "{error:?}");
        assert!(error.to_string().contains(advice) && error.to_string().contains("/store"), "{error}");
        assert!(snapshot(&disk) == before, "{advice}: a refused store is left alone");
        open(&disk, made()).expect("the right way");
    }
}

#[test]
fn a_sealed_store_without_its_keyring_is_refused() {
    let disk = SimDisk::new(1);
    fill(&disk, sealed);
    for name in ["keyring.a", "keyring.b"] {
        open(&disk, sealed()).expect("one slot is enough");
        disk.tamper(&Path::new("/store").join(name), Vec::clear);
        if name == "keyring.a" {
            open(&disk, sealed()).expect("one slot is enough");
            disk.tamper(&Path::new("/store").join(name), Vec::clear);
        }
    }
    disk.tamper(Path::new("/store/keyring.a"), Vec::clear);
    let before = snapshot(&disk);
    let error = open(&disk, sealed()).err().expect("it is refused");
    assert!(error.to_string().contains("keyring.a"), "{error}");
    assert!(snapshot(&disk) == before, "a refused store is left alone");
}

/// A creation that failed may leave a keyring that stands in a page cache only; the next one must not found a store on it.
#[test]
fn no_store_is_founded_on_a_keyring_that_a_cut_takes_away() {
    let mut cuts = 0;
    for at in 1.. {
        let disk = SimDisk::new(at);
        disk.arm(at, Fault::Eio);
        drop(open(&disk, sealed()));
        let failed = disk.fired();
        disk.disarm();
        for cut in 1.. {
            let disk = disk.fork();
            disk.arm(disk.counters().operations + cut, Fault::Crash);
            drop(open(&disk, sealed()));
            let fired = disk.fired();
            disk.crash(cut);
            if let Err(error) = open(&disk, sealed()) {
                panic!("an error at operation {at}, a cut at {cut} after it: {error}");
            }
            cuts += usize::from(fired);
            if !fired {
                break;
            }
        }
        if !failed {
            break;
        }
    }
    assert!(cuts > 100, "{cuts} cuts");
}

#[test]
fn a_creation_that_was_cut_is_repeated() {
    for at in 1.. {
        let disk = SimDisk::new(1);
        disk.arm(at, Fault::Crash);
        let first = open(&disk, sealed());
        let cut = first.is_err();
        drop(first);
        disk.crash(at);
        let mut store =
            open(&disk, sealed()).unwrap_or_else(|error| panic!("cut at operation {at}: {error}"));
        append(&mut store, 0);
        drop(store);
        assert_eq!(open(&disk, sealed()).expect("it opens").log.state().last.map(|last| last.index), Some(0));
        if !cut && disk.counters().operations < at {
            return;
        }
    }
}

/// Everything that a reader can ask for.
fn read_all(store: &SegmentStore) -> Result<(), StorageError> {
    store.log.reader().read(0..u64::MAX, u64::MAX, &mut |_| ControlFlow::Continue(()))?;
    store.records.scan(0, i64::MAX, &mut |_| ControlFlow::Continue(()))?;
    let mut findings = Findings::default();
    store.log.reader().verify(&mut findings)?;
    store.records.verify(&mut findings)?;
    findings.first_damage().cloned().map_or(Ok(()), Err)
}

/// Asserts that a store is refused, when it is opened or when it is read, with a word on `file`.
fn assert_refused(disk: &SimDisk, file: &Path, what: &str) {
    let error = match open(disk, sealed()).and_then(|store| read_all(&store)) {
        Ok(()) => panic!("{what}: nobody noticed"),
        Err(error) => error,
    };
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{what}: {error}");
}

fn files(disk: &SimDisk, extension: &str) -> Vec<PathBuf> {
    let is = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    disk.files().into_iter().filter(is).collect()
}

/// A store with some record files and log frames that count, closed.
fn two_files(store: u8) -> SimDisk {
    let disk = SimDisk::new(u64::from(store));
    let mut opened = open(&disk, sealed_as(store, 7)).expect("it opens");
    flush(&opened, 2..40);
    flush(&opened, 40..78);
    (0..5).for_each(|index| append(&mut opened, index));
    drop(opened);
    // The newest log file has frames that the manifest knows of.
    let mut opened = open(&disk, sealed_as(store, 7)).expect("it opens again");
    (5..9).for_each(|index| append(&mut opened, index));
    flush(&opened, 78..80);
    drop(opened);
    disk
}

#[test]
fn frames_that_change_places_are_refused() {
    let disk = two_files(3);
    let log = files(&disk, "log").pop().expect("a log");
    disk.tamper(&log, |bytes| {
        let (first, second) = bytes.split_at_mut(8192);
        first[4096..].swap_with_slice(&mut second[..4096]);
    });
    assert_refused(&disk, &log, "two frames");
}

#[test]
fn boxes_that_change_places_are_refused() {
    let disk = two_files(3);
    let records = files(&disk, "records").swap_remove(0);
    disk.tamper(&records, |bytes| {
        // Two boxes of the same length: the first two are full.
        let length =
            |at: usize| 40 + u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("4 bytes")) as usize;
        let (first, second) = (512, 512 + length(512));
        assert_eq!(length(first), length(second), "the boxes are of one length");
        let (before, after) = bytes.split_at_mut(second);
        let end = after.len().min(second - first);
        before[first..].swap_with_slice(&mut after[..end]);
    });
    assert_refused(&disk, &records, "two boxes");
}

#[test]
fn files_that_change_places_are_refused() {
    let disk = two_files(3);
    let found = files(&disk, "records");
    let content = |path: &PathBuf| disk.content(path).expect("it is there");
    let (first, second) = (content(&found[0]), content(&found[1]));
    disk.place(&found[0], &second);
    disk.place(&found[1], &first);
    assert_refused(&disk, &found[0], "two record files");
}

#[test]
fn files_of_another_store_are_refused() {
    // The same root key, and files of the same names, sizes and data-key ids.
    let (ours, other) = (two_files(3), two_files(4));
    for path in ours.files().into_iter().filter(|path| !path.ends_with("LOCK")) {
        let disk = two_files(3);
        let Some(foreign) = other.content(&path) else { continue };
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        disk.place(&path, &foreign);
        // One of two slots is replaced by the other, and meant to be.
        if let Some(twin) = name.strip_suffix(".a").map(|kind| path.with_file_name(format!("{kind}.b"))) {
            open(&disk, sealed()).map(drop).expect("one slot is enough");
            let disk = two_files(3);
            disk.place(&path, &foreign);
            disk.place(&twin, &other.content(&twin).expect("two slots"));
            assert_refused(&disk, Path::new("/store"), &name);
        } else if !name.ends_with(".b") && !name.ends_with(".spare") {
            assert_refused(&disk, &path, &name);
        }
    }
}

#[test]
fn cut_files_are_refused() {
    for extension in ["log", "records"] {
        // The newest log, and the first records: both hold more than a block.
        let mut found = files(&two_files(3), extension);
        let path = if extension == "log" { found.pop().expect("a log") } else { found.swap_remove(0) };
        let length = two_files(3).content(&path).expect("it is there").len();
        for kept in [0, 100, 512, 4096, 8192, length - 4096, length - 1] {
            let disk = two_files(3);
            disk.tamper(&path, |bytes| bytes.truncate(kept));
            let whole = extension == "log" && kept >= length - 4096;
            if !whole {
                assert_refused(&disk, &path, &format!("{extension} of {kept} bytes"));
            }
        }
    }
}

#[test]
fn files_that_were_put_back_are_refused() {
    let disk = two_files(3);
    let before = snapshot(&disk);
    let mut store = open(&disk, sealed()).expect("it opens");
    (9..12).for_each(|index| append(&mut store, index));
    flush(&store, 80..90);
    let dead: Vec<_> = (2..78).map(|main| Revision { main, sub: 0 }).collect();
    store.records.drop_revisions(&dead);
    while store.records.reclaim(1 << 20).expect("reclaim").more {}
    store.keyring.as_ref().expect("sealed").rotate().expect("rotate");
    flush(&store, 90..99);
    drop(store);

    let put_back = |kind: &str| {
        let copy = SimDisk::new(9);
        coffer_backends::io::Io::create_dir(&copy, Path::new("/store")).expect("mkdir");
        snapshot(&disk).iter().for_each(|(path, content)| copy.place(path, content));
        let older = before.iter().filter(|(path, _)| path.to_string_lossy().contains(kind));
        older.for_each(|(path, content)| copy.place(path, content));
        copy
    };
    // The log alone: its newest file is older than the manifest says.
    let log = put_back(".log");
    files(&log, "log").into_iter().filter(|path| !before.iter().any(|(old, _)| old == path)).for_each(
        |path| {
            log.tamper(&path, Vec::clear);
        },
    );
    assert_refused(&log, Path::new("/store"), "an older log");
    assert_refused(&put_back("manifest"), Path::new("/store"), "an older manifest");
    assert_refused(&put_back("keyring"), Path::new("/store"), "an older keyring");
}

#[test]
fn an_older_end_of_the_log_is_refused() {
    let disk = SimDisk::new(3);
    let mut store = open(&disk, sealed()).expect("it opens");
    (0..3).for_each(|index| append(&mut store, index));
    let log = files(&disk, "log").pop().expect("a log");
    let older = disk.content(&log).expect("it is there");
    (3..6).for_each(|index| append(&mut store, index));
    flush(&store, 2..10);
    drop(store);
    disk.place(&log, &older);
    assert_refused(&disk, &log, "an older end of the log");
}
