//! Opening a store: who may, what is refused, and what each refusal says.

use coffer_backends::io::{Io, LockAttempt, RealIo, SimDisk};
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::storage::StorageError;
use coffer_core::{LeaseId, Record, Revision};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn options() -> Options {
    Options { log_file_bytes: 64 << 10, ..Options::default() }
}

fn refusal(path: &Path) -> StorageError {
    SegmentStore::open(path, AtRest::Unsealed, options()).err().expect("it is refused")
}

#[test]
fn a_new_store_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("above/store");
    let store = SegmentStore::open(&path, AtRest::Unsealed, options()).expect("directories are created");
    assert_ne!(store.identity.member_id, 0);
    assert_ne!(store.identity.cluster_id, 0);
    assert_eq!(store.identity.boot, 1);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).expect("list") {
        let file = file.expect("list").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let identity = store.identity;
    drop(store);
    let again = SegmentStore::open(&path, AtRest::Unsealed, options()).expect("it opens again").identity;
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
    let store = SegmentStore::open(&path, AtRest::Unsealed, options()).expect("it opens");
    match refusal(&path) {
        StorageError::InUse { owner, path: named } => {
            assert_eq!((owner, named), (Some(std::process::id()), path.clone()))
        }
        other => panic!("{other}"),
    }
    // Each half alone holds the store.
    let SegmentStore { log, records, .. } = store;
    drop(log);
    assert!(matches!(refusal(&path), StorageError::InUse { .. }));
    drop(records);
    // What a killed process leaves: a file with its id, and no lock.
    fs::write(path.join("LOCK"), "4194305\n").expect("write");
    SegmentStore::open(&path, AtRest::Unsealed, options()).expect("a dead owner's lock is free");
}

#[test]
fn another_format_version_says_what_to_do() {
    let disk = SimDisk::new(1);
    let path = Path::new("/store");
    let open = || SegmentStore::open_on(path, AtRest::Unsealed, options(), Arc::new(disk.clone()));
    drop(open().expect("it opens"));
    disk.tamper(&path.join("manifest.b"), |bytes| {
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        let checksum = crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    });
    let before: Vec<_> = disk.files().iter().map(|path| disk.content(path)).collect();
    let error = open().err().expect("an unknown version is refused");
    assert!(matches!(error, StorageError::Format { .. }), "{error}");
    assert!(
        error.to_string().contains("format version 2") && error.to_string().contains("open it with"),
        "{error}"
    );
    let after: Vec<_> = disk.files().iter().map(|path| disk.content(path)).collect();
    assert!(before == after, "a refused store is left alone");
}

/// CRC-32C bit by bit, so that the test does not trust what it tests.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("letter.txt"), "dear").expect("write");
    let error = refusal(directory.path());
    assert!(matches!(error, StorageError::Format { .. }), "{error}");
    assert!(
        error.to_string().contains("letter.txt") && error.to_string().contains("name an empty directory"),
        "{error}"
    );
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1, "nothing was added");
    let error = refusal(&directory.path().join("letter.txt"));
    assert!(error.to_string().contains("name a directory"), "{error}");
}

#[test]
fn a_store_that_must_exist_is_not_created() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for path in [directory.path().to_owned(), directory.path().join("absent")] {
        let options = Options { create: false, ..options() };
        let error = SegmentStore::open(&path, AtRest::Unsealed, options).err().expect("there is no store");
        assert!(matches!(error, StorageError::Format { .. }), "{error}");
    }
    assert!(!directory.path().join("absent").exists());
}

#[test]
fn a_store_without_its_manifest_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    drop(SegmentStore::open(&path, AtRest::Unsealed, options()).expect("it opens"));
    fs::remove_file(path.join("manifest.a")).expect("remove");
    drop(SegmentStore::open(&path, AtRest::Unsealed, options()).expect("one slot is enough"));
    fs::remove_file(path.join("manifest.a")).expect("remove");
    fs::remove_file(path.join("manifest.b")).expect("remove");
    let error = refusal(&path);
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}

/// The real file system, but a path cannot be written.
struct ReadOnly {
    error: std::io::ErrorKind,
}

impl Io for ReadOnly {
    fn create_dir(&self, _: &Path) -> std::io::Result<()> {
        Err(self.error.into())
    }
    fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
        RealIo.list(directory)
    }
    fn open(
        &self,
        path: &Path,
        mode: coffer_backends::io::OpenMode,
    ) -> std::io::Result<Arc<dyn coffer_backends::io::File>> {
        match mode {
            coffer_backends::io::OpenMode::Read => RealIo.open(path, mode),
            _ => Err(self.error.into()),
        }
    }
    fn rename(&self, _: &Path, _: &Path) -> std::io::Result<()> {
        Err(self.error.into())
    }
    fn remove(&self, _: &Path) -> std::io::Result<()> {
        Err(self.error.into())
    }
    fn sync_dir(&self, directory: &Path) -> std::io::Result<()> {
        RealIo.sync_dir(directory)
    }
    fn lock(&self, _: &Path) -> std::io::Result<LockAttempt> {
        Err(self.error.into())
    }
    fn lock_unchanged(&self, _: &Path) -> std::io::Result<LockAttempt> {
        Err(self.error.into())
    }
    fn random(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        RealIo.random(bytes)
    }
}

#[test]
fn a_directory_that_cannot_be_written_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path: PathBuf = directory.path().join("store");
    drop(SegmentStore::open(&path, AtRest::Unsealed, options()).expect("it opens"));
    for (error, advice) in [
        (std::io::ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
        (std::io::ErrorKind::PermissionDenied, "read and write it"),
    ] {
        let refused = SegmentStore::open_on(&path, AtRest::Unsealed, options(), Arc::new(ReadOnly { error }));
        let refused = refused.err().expect("it is refused");
        assert!(matches!(refused, StorageError::Format { .. }), "{refused}");
        assert!(refused.to_string().contains(advice) && refused.to_string().contains("store"), "{refused}");
    }
}

#[test]
fn a_creation_that_was_cut_is_repeated() {
    for at in 1..40 {
        let disk = SimDisk::new(1);
        let open = || {
            SegmentStore::open_on(Path::new("/a/store"), AtRest::Unsealed, options(), Arc::new(disk.clone()))
        };
        disk.arm(at, coffer_backends::io::Fault::Crash);
        let first = open();
        let cut = first.is_err();
        drop(first);
        disk.crash(at);
        let store = open().unwrap_or_else(|error| panic!("cut at operation {at}: {error}"));
        assert!(store.records.checkpoint().is_none());
        if !cut && disk.counters().operations < at {
            return;
        }
    }
}

fn record_files(path: &Path) -> usize {
    let files = fs::read_dir(path).expect("list").map(|file| file.expect("list").path());
    files.filter(|path| path.extension().is_some_and(|suffix| suffix == "records")).count()
}

/// A snapshot that was being staged when the process died, or lay there whole.
#[test]
fn what_was_staged_is_removed_by_the_next_opening() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (path, copy) = (directory.path().join("store"), directory.path().join("copy"));
    let store = SegmentStore::open(&path, AtRest::Unsealed, options()).expect("it opens");
    let mut stages = [0, 1].map(|_| store.records.stage().expect("stage"));
    for main in 2..200 {
        let record = Record {
            revision: Revision::first(main),
            key: "k".into(),
            value: vec![7; 100].into(),
            create_revision: 2,
            version: main - 1,
            lease: LeaseId::NONE,
            tombstone: false,
        };
        stages.iter_mut().for_each(|stage| stage.push(record.clone()).expect("push"));
    }
    let [whole, half] = stages;
    let whole = whole.finish().expect("finish");
    assert_eq!(record_files(&path), 2);
    // As a killed process leaves it.
    fs::create_dir(&copy).expect("create");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("its owner's alone");
    for file in fs::read_dir(&path).expect("list") {
        let file = file.expect("list");
        fs::copy(file.path(), copy.join(file.file_name())).expect("copy");
    }
    let killed = SegmentStore::open(&copy, AtRest::Unsealed, options()).expect("it opens");
    assert_eq!((record_files(&copy), killed.records.stats().units), (0, 0));
    // Whoever gives up clears up, and holds the store until then.
    drop((store.log, store.records, half));
    assert!(matches!(refusal(&path), StorageError::InUse { .. }));
    assert_eq!(record_files(&path), 1);
    drop(whole);
    assert_eq!(record_files(&path), 0);
    SegmentStore::open(&path, AtRest::Unsealed, options()).expect("it opens again");
}
