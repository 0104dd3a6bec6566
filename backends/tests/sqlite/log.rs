//! The log by itself: what of its groups counts at the next opening.

use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::storage::{EntryKind, Log, LogEntry, LogId, LogOp};
use std::ops::ControlFlow;
use std::path::Path;

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, AtRest::Unsealed, &Options::default()).expect("it opens")
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

/// Entries of one term.
fn append(term: u64, indexes: std::ops::RangeInclusive<u64>) -> LogOp {
    let entry =
        |index| LogEntry { id: id(term, index), kind: EntryKind::Normal, payload: vec![7; 30].into() };
    LogOp::Append(indexes.map(entry).collect())
}

fn truncate(after: LogId) -> LogOp {
    LogOp::Truncate { after: Some(after) }
}

fn ids(log: &dyn Log) -> Vec<LogId> {
    let mut ids = Vec::new();
    let visit = &mut |entry: LogEntry| {
        ids.push(entry.id);
        ControlFlow::Continue(())
    };
    log.reader().read(0..u64::MAX, u64::MAX, visit).expect("the log is readable");
    ids
}

/// Writes `before`, then `group`, purges up to `purged`, and closes. `left` is what is there from then on.
fn check_purge_into_a_group(before: &[LogOp], group: &[LogOp], purged: LogId, left: &[LogId]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let mut store = open(&path);
    for op in before {
        store.log.write(std::slice::from_ref(op), None).expect("a group");
    }
    store.log.write(group, Some(purged)).expect("the group");
    store.log.purge(purged).expect("purged");
    assert_eq!(ids(&*store.log), left);
    drop(store);
    for opening in 1..=2 {
        let store = open(&path);
        assert_eq!(ids(&*store.log), left, "opening {opening}");
        let state = store.log.state();
        assert_eq!((state.purged, state.last), (Some(purged), left.last().copied()), "opening {opening}");
    }
}

#[test]
fn a_purge_into_a_group_that_took_entries_back_keeps_the_rest() {
    let before = [append(1, 0..=4), append(1, 5..=7)];
    // What the group begins with follows entry 7, whose group no longer counts.
    let group = [append(2, 8..=9), truncate(id(1, 5)), append(3, 6..=8)];
    check_purge_into_a_group(&before, &group, id(3, 6), &[id(3, 7), id(3, 8)]);
    // The same, with the watermark right where it was cut.
    let group = [append(2, 8..=9), truncate(id(1, 5)), append(3, 6..=7)];
    check_purge_into_a_group(&before, &group, id(1, 5), &[id(3, 6), id(3, 7)]);
    // And with two cuts, of which only the second lies before the watermark.
    let group =
        [append(2, 8..=9), truncate(id(2, 8)), append(3, 9..=9), truncate(id(1, 5)), append(4, 6..=9)];
    check_purge_into_a_group(&before, &group, id(4, 7), &[id(4, 8), id(4, 9)]);
    // And with a first cut at an entry of a lower term than the watermark's.
    let group =
        [append(4, 1..=3), truncate(id(4, 2)), append(5, 3..=3), truncate(id(1, 0)), append(6, 1..=3)];
    check_purge_into_a_group(&[append(1, 0..=0)], &group, id(6, 1), &[id(6, 2), id(6, 3)]);
}

/// A database that grew under load shrinks in quiet times, and so does its WAL; what was not purged stays.
#[test]
fn a_quiet_log_gives_its_pages_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let length = |name: &str| path.join(name).metadata().expect("a file").len();
    let mut store = open(&path);
    for index in 0..=900 {
        let entry = LogEntry { id: id(1, index), kind: EntryKind::Normal, payload: vec![7; 20 << 10].into() };
        store.log.write(&[LogOp::Append(vec![entry])], None).expect("a group");
    }
    store.log.purge(id(1, 899)).expect("it is purged");
    for _ in 0..2 {
        while store.log.trim().expect("it is trimmed") {}
    }
    assert!(length("log.db") <= 2 << 20, "log.db has {} bytes", length("log.db"));
    assert_eq!(length("log.db-wal"), 0);
    store.log.write(&[append(1, 901..=901)], None).expect("a group");
    assert_eq!(ids(&*store.log), [id(1, 900), id(1, 901)]);
    drop(store);
    assert_eq!(ids(&*open(&path).log), [id(1, 900), id(1, 901)]);
}
