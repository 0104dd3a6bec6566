//! The store that the golden files hold, whatever the backend: how it is written, and what must be read from it.

use bytes::Bytes;
use coffer_backends::seal::Keyring;
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{
    Checkpoint, DirectoryEntry, EntryKind, Findings, Flush, HardState, Log, LogEntry, LogId, LogOp, Records,
};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Writes something of everything.
pub(crate) fn write(log: &mut dyn Log, records: &dyn Records, keyring: Option<&Arc<Keyring>>) {
    let hard_state = HardState { term: 2, voted_for: Some(9), vote_committed: true };
    let mut entries = log_entries();
    let last = entries.split_off(3);
    let dropped = LogEntry { id: id(1, 3), kind: EntryKind::Normal, payload: "dropped".into() };
    log.write(&[LogOp::Append(entries), LogOp::SaveHardState(hard_state)], None).expect("write");
    log.write(&[LogOp::Append(vec![dropped])], Some(id(2, 2))).expect("write");
    let truncation = LogOp::Truncate { after: Some(id(2, 2)) };
    log.write(&[truncation, LogOp::Append(last)], Some(id(2, 2))).expect("write");
    let (all, checkpoint) = (self::records(), checkpoint());
    records.flush(Flush { records: &all[..2], checkpoint: &checkpoint }).expect("flush");
    // A sealed store has two data keys, and files of both.
    if let Some(keyring) = keyring {
        keyring.rotate().expect("rotate");
    }
    records.flush(Flush { records: &all[2..], checkpoint: &checkpoint }).expect("flush");
    log.purge(id(1, 0)).expect("purge");
}

/// Checks that it is there.
pub(crate) fn check(log: &dyn Log, records: &dyn Records) {
    let state = log.state();
    assert_eq!((state.purged, state.last, state.committed), (Some(id(1, 0)), Some(id(2, 3)), Some(id(2, 2))));
    assert_eq!(state.hard_state, HardState { term: 2, voted_for: Some(9), vote_committed: true });
    let mut entries = Vec::new();
    let visit = &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    };
    log.reader().read(0..9, u64::MAX, visit).expect("readable");
    assert_eq!(entries, log_entries()[1..]);
    assert_eq!(records.checkpoint(), Some(checkpoint()));
    let mut found = Vec::new();
    let visit = &mut |record: &Record| {
        found.push(Arc::new(record.clone()));
        ControlFlow::Continue(())
    };
    records.scan(0, 9, visit).expect("readable");
    assert_eq!(found, self::records());
    let mut findings = Findings::default();
    assert_eq!(records.verify(&mut findings).expect("intact"), 5);
    assert_eq!(findings.count(), 0, "{:?}", findings.listed());
    let mut keys = Vec::new();
    let visit = &mut |key: &[u8], entry: &DirectoryEntry| {
        keys.push((String::from_utf8_lossy(key).into_owned(), entry.revision.main, entry.value_bytes));
        ControlFlow::Continue(())
    };
    records.directory(visit).expect("readable");
    let expected = [
        ("large", 5, 5000),
        ("registry/pods/a", 2, 5),
        ("registry/pods/a", 3, 5),
        ("registry/pods/b", 3, 6),
        ("registry/pods/b", 4, 0),
    ];
    assert_eq!(keys, expected.map(|(key, main, bytes)| (key.to_owned(), main, bytes)));
}

pub(crate) fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Bytes as lines of an offset and 32 bytes, without those of zeros.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let mut text = format!("{} bytes\n", bytes.len());
    for (line, chunk) in bytes.chunks(32).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0))
    {
        write!(text, "{:06x} ", line * 32).expect("a string takes all");
        chunk.iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes all"));
        text.push('\n');
    }
    text
}

/// The bytes of such lines.
pub(crate) fn undump(text: &str) -> Vec<u8> {
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
