//! What a sealed store lets nobody see, and what it refuses: other keys, and rows and files that were moved, exchanged,
//! taken away or put back.

use crate::keys::{Opening, sealed, sealed_as};
use crate::stored::{CANARIES, SimPlace, append, compact, flush, keyring, next_index, read_all, rewrite};
use coffer_backends::inspect;
use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::storage::{Findings, LogId, StorageError};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The canaries that stand in these bytes.
fn canaries_in(content: &[u8]) -> Vec<&'static str> {
    // A key loses its beginning where it equals the one before: a part will do.
    let shows = |canary: &&str| {
        let part = &canary.as_bytes()[canary.len() - 8..];
        content.windows(part.len()).any(|window| window == part)
    };
    CANARIES.into_iter().filter(shows).collect()
}

/// Uses everything that writes: groups, flushes, purges, compaction, other keys. Calls `look` on the way.
fn use_all(store: &mut SqliteStore, round: i64, look: &mut dyn FnMut()) -> Result<(), StorageError> {
    let next = next_index(store)?;
    for index in next..next + 30 {
        append(store, index)?;
    }
    look();
    let first = 2 + round * 50;
    if store.records.checkpoint().is_none_or(|checkpoint| checkpoint.revision < first) {
        flush(store, first..first + 50)?;
    }
    look();
    store.log.purge(LogId { term: 1, index: next + 20 })?;
    append(store, next + 30)?;
    if let Some(keyring) = store.keyring.clone() {
        keyring.rotate()?;
        keyring.request_rewrite()?;
        rewrite(store)?;
    }
    look();
    compact(store, first..first + 40)?;
    look();
    Ok(())
}

#[test]
fn nothing_that_was_stored_is_on_the_disk_in_the_clear() {
    let openings: [(Opening, &[&str]); 2] = [(sealed, &[]), (|| AtRest::Unsealed, &CANARIES)];
    for (at_rest, expected) in openings {
        let place = SimPlace::new(SimDisk::new(1));
        let (mut seen, mut looks, mut wal_bytes) = (Vec::new(), 0, 0);
        let mut look = || {
            for path in place.disk.files() {
                let content = place.disk.content(&path).expect("it is there");
                wal_bytes += if path.to_string_lossy().ends_with("-wal") { content.len() } else { 0 };
                seen.extend(canaries_in(&content));
            }
            looks += 1;
        };
        for round in 0..4 {
            let mut store = place.open(at_rest()).expect("it opens");
            use_all(&mut store, round, &mut look).expect("nothing fails");
            drop(store);
            look();
            if round % 2 == 0 {
                place.disk.crash(round as u64);
                look();
            }
        }
        seen.sort_unstable();
        seen.dedup();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        // In a store in the clear the search finds what it looks for.
        assert_eq!(seen, expected);
        assert!(looks > 20 && wal_bytes > 10_000, "{looks} looks at {wal_bytes} bytes of WALs");
    }
}

#[test]
fn nothing_is_in_the_clear_in_the_middle_of_a_run_or_after_it_was_cut() {
    let mut cuts = 0;
    for at in (1..).step_by(19) {
        let place = SimPlace::new(SimDisk::new(at));
        place.disk.arm(at, Fault::Crash);
        let whole = place.open(sealed()).and_then(|mut store| use_all(&mut store, 0, &mut || {})).is_ok();
        for cut in [false, true] {
            if cut {
                place.disk.crash(at);
            }
            for path in place.disk.files() {
                let content = place.disk.content(&path).expect("it is there");
                assert!(canaries_in(&content).is_empty(), "{}, cut at operation {at}", path.display());
            }
        }
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 20, "{cuts} cuts");
}

#[test]
fn nothing_that_was_stored_is_in_the_files_of_a_directory_in_use() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let mut store = SqliteStore::open(&path, sealed(), &Options::default()).expect("it opens");
    let mut names = Vec::new();
    let mut look = || {
        for file in fs::read_dir(&path).expect("list") {
            let file = file.expect("list");
            names.push(file.file_name().into_string().expect("a name"));
            let content = fs::read(file.path()).expect("read");
            assert!(canaries_in(&content).is_empty(), "{}", file.path().display());
        }
    };
    (0..3).for_each(|round| use_all(&mut store, round, &mut look).expect("nothing fails"));
    names.sort_unstable();
    names.dedup();
    let expected = ["LOCK", "keyring.a", "keyring.b", "log.db", "log.db-wal", "state.db", "state.db-wal"];
    assert_eq!(names, expected, "no other files were there at any time");
}

#[test]
fn no_error_tells_what_was_stored() {
    let mut told = 0;
    for fault in [Fault::Eio, Fault::NoSpace, Fault::ShortWrite] {
        for at in (1..).step_by(41) {
            let place = SimPlace::new(SimDisk::new(at));
            place.disk.arm(at, fault);
            let result = place.open(sealed()).and_then(|mut store| {
                let used = use_all(&mut store, 0, &mut || {});
                // What comes after it tells of the first error.
                let after = next_index(&store)
                    .and_then(|next| append(&mut store, next))
                    .and_then(|()| read_all(&store).map(|_| ()));
                used.and(after)
            });
            let fired = place.disk.fired();
            if let Err(error) = result {
                let text = format!("{error} {error:?}");
                assert!(canaries_in(text.as_bytes()).is_empty(), "{fault:?} at {at}: {text}");
                told += 1;
            }
            if !fired {
                break;
            }
        }
    }
    assert!(told > 30, "{told} errors");
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
        for killed in [false, true] {
            let place = SimPlace::new(SimDisk::new(1));
            let mut store = place.open(made()).expect("it opens");
            use_all(&mut store, 0, &mut || {}).expect("nothing fails");
            if killed {
                // The WALs stay as they are.
                let operations = place.disk.counters().operations;
                place.disk.arm(operations + 1, Fault::Crash);
            }
            drop(store);
            if killed {
                place.disk.crash(1);
            }
            let before = snapshot(&place.disk);
            let error = place.open(opened()).err().expect("it is refused");
            assert!(matches!(error, StorageError::Key { .. }), "{error:?}");
            assert!(error.to_string().contains(advice) && error.to_string().contains("/store"), "{error}");
            assert!(snapshot(&place.disk) == before, "{advice}: a refused store is left alone");
            place.open(made()).expect("the right way");
        }
    }
}

fn snapshot(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    disk.files().into_iter().map(|path| (path.clone(), disk.content(&path).expect("it is there"))).collect()
}

#[test]
fn a_creation_that_was_cut_is_repeated() {
    for at in (1..).step_by(2) {
        let place = SimPlace::new(SimDisk::new(1));
        place.disk.arm(at, Fault::Crash);
        let first = place.open(sealed());
        let cut = first.is_err();
        drop(first);
        place.disk.crash(at);
        let mut store = place.open(sealed()).unwrap_or_else(|error| panic!("cut at operation {at}: {error}"));
        append(&mut store, 0).expect("write");
        drop(store);
        let store = place.open(sealed()).expect("it opens");
        assert_eq!(store.log.state().last.map(|last| last.index), Some(0));
        if !cut && place.disk.counters().operations < at {
            return;
        }
    }
}

/// A closed store in a directory of the file system: two units, a purged log, and two lives.
pub(crate) struct Made {
    _directory: TempDir,
    path: PathBuf,
}

fn made(at_rest: AtRest, again: AtRest) -> Made {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let mut store = SqliteStore::open(&path, at_rest, &Options::default()).expect("it opens");
    flush(&store, 2..40).expect("flush");
    flush(&store, 40..78).expect("flush");
    (0..5).for_each(|index| append(&mut store, index).expect("write"));
    drop(store);
    let mut store = SqliteStore::open(&path, again, &Options::default()).expect("it opens again");
    (5..9).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 78..80).expect("flush");
    drop(store);
    Made { _directory: directory, path }
}

/// The store with id 3.
pub(crate) fn ours() -> Made {
    made(sealed(), sealed())
}

impl Made {
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes a database as somebody could who knows SQLite.
    pub(crate) fn tamper(&self, name: &str, sql: &str) {
        let connection = Connection::open(self.file(name)).expect("a database");
        connection.execute_batch(sql).expect("the statements are right");
        drop(connection);
        // What SQLite does when it closes may not leave a WAL behind.
        let _ = fs::remove_file(self.file(&format!("{name}-wal")));
        let _ = fs::remove_file(self.file(&format!("{name}-shm")));
    }

    /// Everything but the lock.
    fn copy(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(&self.path).expect("list").map(|file| file.expect("list").path());
        let files = files.filter(|path| !path.ends_with("LOCK"));
        files.map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
    }

    /// Puts those files of a copy back whose names begin so.
    fn put_back(&self, copy: &[(PathBuf, Vec<u8>)], begins: &str) {
        let is =
            |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begins));
        for (path, content) in copy.iter().filter(|(path, _)| is(path)) {
            fs::write(path, content).expect("write");
        }
    }

    /// Asserts that the store is refused, when it is opened or when it is read, with a word on `file`, and that a
    /// verification of it tells.
    #[track_caller]
    fn assert_refused(&self, file: &str, what: &str) -> StorageError {
        let mut findings = Findings::default();
        let inspected = inspect(&self.path, sealed(), &mut findings).map(|_| ());
        assert!(inspected.is_err() || findings.damage() > 0, "{what}: verification sees nothing");
        let opened = SqliteStore::open(&self.path, sealed(), &Options::default());
        let error = match opened.and_then(|store| read_all(&store)) {
            Ok(_) => panic!("{what}: nobody noticed"),
            Err(error) => error,
        };
        let file = if file.is_empty() { self.path.clone() } else { self.file(file) };
        assert!(error.to_string().contains(&*file.to_string_lossy()), "{what}: {error}");
        error
    }
}

#[test]
fn rows_that_were_moved_exchanged_or_taken_away_are_refused() {
    // Rows of one table, of two tables, of two sealed files; numbers beside a blob; and rows that are missing.
    let exchange = |table: &str, column: &str, id: &str, one: &str, other: &str| {
        format!(
            "CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {id} IN ({one}, {other});
             UPDATE {table} SET {column} = (SELECT {column} FROM kept WHERE kept.{id} = {other}) WHERE {id} = {one};
             UPDATE {table} SET {column} = (SELECT {column} FROM kept WHERE kept.{id} = {one}) WHERE {id} = {other};"
        )
    };
    let box_of = |unit: i64, number: i64| ((unit << 24) + number).to_string();
    let cases = [
        ("two groups", "log.db", exchange("groups", "piece", "sequence", "2", "3")),
        ("two groups with their seals", "log.db", {
            exchange("groups", "(sealed, piece)", "sequence", "2", "7")
                .replace("(SELECT (sealed, piece)", "(SELECT sealed, piece")
        }),
        (
            "a group as another",
            "log.db",
            "DELETE FROM groups WHERE sequence = 3;
            UPDATE groups SET sequence = 3 WHERE sequence = 4;"
                .into(),
        ),
        (
            "the seal of a group",
            "log.db",
            "UPDATE groups SET sealed = (SELECT max(id) FROM sealed_files) WHERE sequence = 2".into(),
        ),
        ("a group that is missing", "log.db", "DELETE FROM groups WHERE sequence = 3".into()),
        (
            "the last group",
            "log.db",
            "DELETE FROM groups WHERE sequence = (SELECT max(sequence) FROM groups)".into(),
        ),
        ("all groups", "log.db", "DELETE FROM groups".into()),
        (
            "a group as the base",
            "log.db",
            "UPDATE base SET piece = (SELECT piece FROM groups WHERE sequence = 2)".into(),
        ),
        ("the generation of the base", "log.db", "UPDATE base SET generation = generation + 1".into()),
        ("no base", "log.db", "DELETE FROM base".into()),
        ("two sealed files", "log.db", "UPDATE sealed_files SET id = id + 100".into()),
        (
            "no sealed file",
            "log.db",
            "DELETE FROM sealed_files WHERE id = (SELECT min(id) FROM sealed_files)".into(),
        ),
        ("two boxes of a unit", "state.db", exchange("boxes", "piece", "id", &box_of(1, 0), &box_of(1, 1))),
        ("boxes of two units", "state.db", exchange("boxes", "piece", "id", &box_of(1, 1), &box_of(2, 1))),
        (
            "a box as a block",
            "state.db",
            format!(
                "UPDATE blocks SET piece = (SELECT piece FROM boxes WHERE id = {0}) WHERE id = {0}",
                box_of(1, 0)
            ),
        ),
        ("a box that is missing", "state.db", format!("DELETE FROM boxes WHERE id = {}", box_of(1, 1))),
        ("two footers", "state.db", exchange("units", "footer", "id", "1", "2")),
        (
            "a unit as another",
            "state.db",
            "DELETE FROM units WHERE id = 2; UPDATE units SET id = 2 WHERE id = 1".into(),
        ),
        ("the checkpoint as the units", "state.db", exchange("manifest", "piece", "id", "1", "2")),
        (
            "the generation of the checkpoint",
            "state.db",
            "UPDATE manifest SET generation = 1 WHERE id = 2".into(),
        ),
        ("no checkpoint", "state.db", "DELETE FROM manifest WHERE id = 2".into()),
    ];
    for (what, file, sql) in cases {
        let made = ours();
        made.tamper(file, &sql);
        made.assert_refused(file, what);
    }
}

#[test]
fn files_of_another_store_are_refused() {
    // The same root key, and files of the same names and data-key ids.
    for name in ["log.db", "state.db"] {
        let (made, other) = (ours(), self::made(sealed_as(4, 7), sealed_as(4, 7)));
        fs::copy(other.file(name), made.file(name)).expect("copy");
        made.assert_refused(name, "a file of another store");
    }
    let (made, other) = (ours(), self::made(sealed_as(4, 7), sealed_as(4, 7)));
    for name in ["keyring.a", "keyring.b"] {
        fs::copy(other.file(name), made.file(name)).expect("copy");
    }
    made.assert_refused("", "a keyring of another store");
}

#[test]
fn a_database_in_the_clear_is_refused_in_a_sealed_store() {
    for name in ["log.db", "state.db"] {
        let (made, clear) = (ours(), self::made(AtRest::Unsealed, AtRest::Unsealed));
        fs::copy(clear.file(name), made.file(name)).expect("copy");
        let error = made.assert_refused(name, "a database in the clear");
        assert!(error.to_string().contains("is not sealed"), "{error}");
    }
}

#[test]
fn databases_of_one_store_that_change_names_are_refused() {
    let made = ours();
    fs::rename(made.file("log.db"), made.file("kept")).expect("rename");
    fs::rename(made.file("state.db"), made.file("log.db")).expect("rename");
    fs::rename(made.file("kept"), made.file("state.db")).expect("rename");
    made.assert_refused("", "two databases");
}

#[test]
fn a_database_that_was_put_back_is_refused() {
    let made = ours();
    let before = made.copy();
    let mut store = SqliteStore::open(&made.path, sealed(), &Options::default()).expect("it opens");
    (9..12).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 80..90).expect("flush");
    store.log.purge(LogId { term: 1, index: 10 }).expect("purge");
    append(&mut store, 12).expect("write");
    keyring(&store).rotate().expect("rotate");
    flush(&store, 90..99).expect("flush");
    append(&mut store, 13).expect("write");
    drop(store);
    let after = made.copy();
    for (begins, what) in [
        ("log.db", "an older log"),
        ("state.db", "older records, beside a log that was purged"),
        ("keyring", "an older keyring"),
    ] {
        made.put_back(&before, begins);
        made.assert_refused(if begins == "keyring" { "" } else { begins }, what);
        made.put_back(&after, begins);
    }
    let store = SqliteStore::open(&made.path, sealed(), &Options::default()).expect("it is itself again");
    let (indexes, revisions) = read_all(&store).expect("it is whole");
    assert!(indexes.iter().copied().eq(11..14) && revisions.iter().copied().eq(2..99));
    drop(store);
    // All of it put back is the store that it was: nothing in one directory can tell.
    made.put_back(&before, "");
    SqliteStore::open(&made.path, sealed(), &Options::default()).expect("an older state as a whole");
}

#[test]
fn a_database_that_was_put_back_within_one_life_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let made = Made { path: directory.path().join("store"), _directory: directory };
    let mut store = SqliteStore::open(&made.path, sealed(), &Options::default()).expect("it opens");
    (0..5).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 2..40).expect("flush");
    // A copy of the files of a running store: each is what a kill would have left.
    let before = made.copy();
    (5..9).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 40..50).expect("flush");
    store.log.purge(LogId { term: 1, index: 7 }).expect("purge");
    append(&mut store, 9).expect("write");
    drop(store);
    let after = made.copy();
    for begins in ["log.db", "state.db"] {
        made.put_back(&before, begins);
        made.assert_refused(begins, "an older half");
        made.put_back(&after, begins);
    }
}

#[test]
fn a_sealed_store_without_its_keyring_is_refused() {
    let made = ours();
    fs::remove_file(made.file("keyring.a")).expect("remove");
    drop(SqliteStore::open(&made.path, sealed(), &Options::default()).expect("one slot is enough"));
    for name in ["keyring.a", "keyring.b"] {
        fs::remove_file(made.file(name)).expect("remove");
    }
    let before = made.copy();
    made.assert_refused("", "no keyring");
    assert!(made.copy() == before, "a refused store is left alone");
    // Without any file of its keys it looks like a store in the clear, but for its databases.
    let opened = SqliteStore::open(&made.path, AtRest::Unsealed, &Options::default());
    let error = opened.err().expect("it is refused");
    assert!(error.to_string().contains("is sealed: give its key"), "{error}");
}
