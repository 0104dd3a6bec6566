//! Opening a store: who may, what is refused, and what each refusal says.

use coffer_backends::seal::AtRest;
use coffer_backends::segment::{self, SegmentStore};
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_backends::{Backend, Founding};
use coffer_core::storage::StorageError;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, AtRest::Unsealed, &Options::default()).expect("it opens")
}

fn refusal(path: &Path) -> StorageError {
    SqliteStore::open(path, AtRest::Unsealed, &Options::default()).err().expect("it is refused")
}

/// Every file but the lock's, with its content.
fn content(path: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(path).expect("list").map(|file| file.expect("list"));
    let mut files: Vec<_> = files
        .filter(|file| file.file_name() != "LOCK")
        .map(|file| (file.file_name().into_string().expect("a name"), fs::read(file.path()).expect("read")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_new_store_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("above/store");
    let store = open(&path);
    assert_ne!(store.identity.member_id, 0);
    assert_ne!(store.identity.cluster_id, 0);
    assert_eq!(store.identity.boot, 1);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&path).expect("list") {
        let file = file.expect("list");
        assert_eq!(mode(&file.path()), 0o600, "{}", file.path().display());
        names.push(file.file_name().into_string().expect("a name"));
    }
    names.sort();
    assert_eq!(
        names,
        ["LOCK", "log.db", "log.db-wal", "state.db", "state.db-wal"],
        "no -shm, nothing left over"
    );
    let identity = store.identity;
    drop(store);
    let again = open(&path).identity;
    assert_eq!(
        (again.store_id, again.cluster_id, again.member_id),
        (identity.store_id, identity.cluster_id, identity.member_id)
    );
    assert_eq!(again.boot, 2);
}

#[test]
fn a_store_in_use_names_its_owner_and_a_dead_owner_does_not_count() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let store = open(&path);
    match refusal(&path) {
        StorageError::InUse { owner, path: named } => {
            assert_eq!((owner, named), (Some(std::process::id()), path.clone()))
        }
        other => panic!("{other}"),
    }
    // Each half alone holds the store.
    let SqliteStore { log, records, .. } = store;
    drop(log);
    assert!(matches!(refusal(&path), StorageError::InUse { .. }));
    drop(records);
    fs::write(path.join("LOCK"), "4194305\n").expect("write");
    open(&path);
}

#[test]
fn a_store_of_another_backend_is_refused_by_name_and_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (flat, sqlite) = (directory.path().join("flat"), directory.path().join("sqlite"));
    let flat_options = segment::Options { log_file_bytes: 64 << 10, ..Default::default() };
    drop(SegmentStore::open(&flat, AtRest::Unsealed, flat_options).expect("it opens"));
    drop(open(&sqlite));
    assert_eq!(Backend::of(&flat).expect("list"), Some(Backend::Segment));
    assert_eq!(Backend::of(&sqlite).expect("list"), Some(Backend::Sqlite));
    assert_eq!(Backend::of(&directory.path().join("absent")).expect("list"), None);
    let before = (content(&flat), content(&sqlite));
    let error = refusal(&flat);
    assert!(matches!(error, StorageError::Format { .. }), "{error}");
    assert!(error.to_string().contains("--backend segment"), "{error}");
    let error = SegmentStore::open(&sqlite, AtRest::Unsealed, flat_options).err().expect("it is refused");
    assert!(matches!(error, StorageError::Format { .. }), "{error}");
    assert!(error.to_string().contains("--backend sqlite"), "{error}");
    assert!(before == (content(&flat), content(&sqlite)), "a refused store is left alone");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("letter.txt"), "dear").expect("write");
    let error = refusal(directory.path());
    assert!(matches!(error, StorageError::Format { .. }), "{error}");
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1, "nothing was added");
}

#[test]
fn a_store_that_must_exist_is_not_created() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for path in [directory.path().to_owned(), directory.path().join("absent")] {
        let options = Options { create: false, ..Options::default() };
        let error = SqliteStore::open(&path, AtRest::Unsealed, &options).err().expect("there is no store");
        assert!(matches!(error, StorageError::Format { .. }), "{error}");
    }
    assert!(!directory.path().join("absent").exists());
}

#[test]
fn a_store_that_is_founded_as_somebody_goes_on_with_their_boot_numbers() {
    for at_rest in [|| AtRest::Unsealed, crate::keys::sealed] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store");
        let founding = Some(Founding { cluster_id: 5, member_id: 6, boot: 7 });
        for boot in 8..11 {
            let options = Options { founding, ..Options::default() };
            let identity = SqliteStore::open(&path, at_rest(), &options).expect("it opens").identity;
            assert_eq!((identity.cluster_id, identity.member_id, identity.boot), (5, 6, boot));
        }
    }
}

#[test]
fn a_missing_half_is_damage() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for half in ["log.db", "state.db"] {
        let path = directory.path().join(half);
        drop(open(&path));
        fs::remove_file(path.join(half)).expect("remove");
        fs::remove_file(path.join(format!("{half}-wal"))).expect("remove");
        let error = refusal(&path);
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(half), "{error}");
    }
}

#[test]
fn halves_of_two_stores_are_no_store() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    drop(open(&one));
    drop(open(&other));
    fs::copy(other.join("log.db"), one.join("log.db")).expect("copy");
    let error = refusal(&one);
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}
