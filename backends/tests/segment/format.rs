//! The files of format version 1, byte by byte: what is written today, and that what was written then is read.
//!
//! `testdata/format-1` holds a store in the clear and `testdata/format-1-sealed` a sealed one (store id: 16 bytes 3, root
//! key: 32 bytes 7), with one file per stored file, as lines of an offset and 32 bytes in hexadecimal; lines of
//! zeros are left out, and the first line is the length. A change there is a change of the format: it needs a new
//! version, and `docs/formats.md` changes with it. `COFFER_BLESS=1` writes the files anew.

use crate::keys::{Opening, sealed};
use bytes::Bytes;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, EntryKind, Flush, HardState, LogEntry, LogId, LogOp};
use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The stores that are compared: where their files are, and how they are opened.
const KINDS: [(&str, Opening); 2] =
    [("testdata/format-1", || AtRest::Unsealed), ("testdata/format-1-sealed", sealed)];

fn open(disk: &SimDisk, at_rest: AtRest) -> SegmentStore {
    let options = Options { log_file_bytes: 64 << 10, background: false, ..Options::default() };
    SegmentStore::open_on(Path::new("/store"), at_rest, options, Arc::new(disk.clone())).expect("it opens")
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

fn log_entries() -> Vec<LogEntry> {
    let kinds = [EntryKind::Membership, EntryKind::Blank, EntryKind::Normal, EntryKind::Normal];
    let entry = |(index, kind)| LogEntry {
        id: id(1 + index / 2, index),
        kind,
        payload: if kind == EntryKind::Blank { Bytes::new() } else { format!("payload {index}").into() },
    };
    (0..).zip(kinds).map(entry).collect()
}

fn records() -> Vec<Arc<Record>> {
    let put = |main, sub, key: &'static str, value: Bytes, create_revision, version, lease| Record {
        revision: Revision { main, sub },
        key: key.into(),
        value,
        create_revision,
        version,
        lease: LeaseId(lease),
        tombstone: false,
    };
    let records = [
        put(2, 0, "registry/pods/a", "first".into(), 2, 1, 0),
        put(3, 0, "registry/pods/b", "second".into(), 3, 1, 7),
        put(3, 1, "registry/pods/a", "third".into(), 2, 2, -1),
        Record::deletion(Revision { main: 4, sub: 0 }, "registry/pods/b".into()),
        put(5, 0, "large", vec![b'x'; 5000].into(), 5, 1, 0),
    ];
    records.into_iter().map(Arc::new).collect()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { applied: id(2, 2), revision: 5, compact_revision: 1, state: "core's state".into() }
}

/// A store with something of everything in it.
fn written(at_rest: AtRest) -> SimDisk {
    let disk = SimDisk::new(42);
    let mut store = open(&disk, at_rest);
    let hard_state = HardState { term: 2, voted_for: Some(9), vote_committed: true };
    let mut entries = log_entries();
    let last = entries.split_off(3);
    let dropped = LogEntry { id: id(1, 3), kind: EntryKind::Normal, payload: "dropped".into() };
    store.log.write(&[LogOp::Append(entries), LogOp::SaveHardState(hard_state)], None).expect("write");
    store.log.write(&[LogOp::Append(vec![dropped])], Some(id(2, 2))).expect("write");
    let truncation = LogOp::Truncate { after: Some(id(2, 2)) };
    store.log.write(&[truncation, LogOp::Append(last)], Some(id(2, 2))).expect("write");
    let (records, checkpoint) = (records(), checkpoint());
    store.records.flush(Flush { records: &records[..2], checkpoint: &checkpoint }).expect("flush");
    // A sealed store has two data keys, and files of both.
    if let Some(keyring) = &store.keyring {
        keyring.rotate().expect("rotate");
    }
    store.records.flush(Flush { records: &records[2..], checkpoint: &checkpoint }).expect("flush");
    store.log.purge(id(1, 0)).expect("purge");
    drop(store);
    disk
}

fn check(disk: &SimDisk, at_rest: AtRest) {
    let store = open(disk, at_rest);
    let state = store.log.state();
    assert_eq!((state.purged, state.last, state.committed), (Some(id(1, 0)), Some(id(2, 3)), Some(id(2, 2))));
    assert_eq!(state.hard_state, HardState { term: 2, voted_for: Some(9), vote_committed: true });
    let mut entries = Vec::new();
    let visit = &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    };
    store.log.reader().read(0..9, u64::MAX, visit).expect("readable");
    assert_eq!(entries, log_entries()[1..]);
    assert_eq!(store.records.checkpoint(), Some(checkpoint()));
    let mut found = Vec::new();
    let visit = &mut |record: &Record| {
        found.push(Arc::new(record.clone()));
        ControlFlow::Continue(())
    };
    store.records.scan(0, 9, visit).expect("readable");
    assert_eq!(found, records());
    assert_eq!(store.records.verify().expect("intact"), 5);
    let mut keys = Vec::new();
    let visit = &mut |key: &[u8], entry: &coffer_core::storage::DirectoryEntry| {
        keys.push((String::from_utf8_lossy(key).into_owned(), entry.revision.main, entry.value_bytes));
        ControlFlow::Continue(())
    };
    store.records.directory(visit).expect("readable");
    let expected = [
        ("large", 5, 5000),
        ("registry/pods/a", 2, 5),
        ("registry/pods/a", 3, 5),
        ("registry/pods/b", 3, 6),
        ("registry/pods/b", 4, 0),
    ];
    assert_eq!(keys, expected.map(|(key, main, bytes)| (key.to_owned(), main, bytes)));
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn dump(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (line, chunk) in bytes.chunks(32).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0))
    {
        write!(text, "{:06x} ", line * 32).expect("a string takes all");
        chunk.iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes all"));
        text.push('\n');
    }
    text
}

fn undump(text: &str) -> Vec<u8> {
    let (length, lines) = text.split_once(" bytes\n").expect("the first line is the length");
    let mut bytes = vec![0; length.parse().expect("a number")];
    for line in lines.lines() {
        let (offset, digits) = line.split_once(' ').expect("an offset and bytes");
        let offset = usize::from_str_radix(offset, 16).expect("an offset");
        for (at, pair) in digits.as_bytes().chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).expect("digits");
            bytes[offset + at] = u8::from_str_radix(pair, 16).expect("digits");
        }
    }
    bytes
}

fn stored(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let files = disk.files();
    let stored =
        files.iter().filter(|path| !path.ends_with("LOCK") && !path.to_string_lossy().ends_with(".spare"));
    stored.map(|path| (name(path), disk.content(path).expect("it is there"))).collect()
}

#[test]
fn what_is_written_is_format_1() {
    for (name, at_rest) in KINDS {
        let (testdata, files) = (testdata(name), stored(&written(at_rest())));
        if std::env::var_os("COFFER_BLESS").is_some() {
            // It may not be there yet.
            let _ = fs::remove_dir_all(&testdata);
            fs::create_dir(&testdata).expect("mkdir");
            for (name, bytes) in &files {
                fs::write(testdata.join(format!("{name}.hex")), dump(bytes)).expect("write");
            }
        }
        assert_eq!(fs::read_dir(&testdata).expect("list").count(), files.len());
        for (file, bytes) in files {
            let expected = fs::read_to_string(testdata.join(format!("{file}.hex"))).expect("a known file");
            assert!(dump(&bytes) == expected, "{name}/{file} is not what format version 1 says");
        }
    }
}

#[test]
fn format_1_is_read() {
    for (name, at_rest) in KINDS {
        let disk = SimDisk::new(7);
        coffer_backends::io::Io::create_dir(&disk, Path::new("/store")).expect("mkdir");
        for file in fs::read_dir(testdata(name)).expect("list") {
            let path = file.expect("list").path();
            let name = path.file_stem().expect("a name");
            disk.place(&Path::new("/store").join(name), &undump(&fs::read_to_string(&path).expect("read")));
        }
        check(&disk, at_rest());
        check(&disk, at_rest());
    }
}
