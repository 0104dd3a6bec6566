//! Stores that are made from what another one held.

use bytes::Bytes;
use coffer::{Error, LeaseId, Options, Restored, Seal, block_on};
use coffer_core::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{SnapshotSource, StorageError};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

struct Source(std::vec::IntoIter<Record>);

impl SnapshotSource for Source {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        Ok(self.0.next())
    }
}

fn record(main: i64, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Record {
    Record {
        revision: Revision::first(main),
        key: key.into(),
        value: value.into(),
        create_revision: main,
        version: 1,
        lease: LeaseId::NONE,
        tombstone: false,
    }
}

fn restore(dir: &Path, records: Vec<Record>) -> Result<coffer::RestoredStore, Error> {
    let content = Restored { revision: 90, compact_revision: 4, leases: Vec::new() };
    Options::default().seal(Seal::Unsealed).restore(dir, None, &content, &mut Source(records.into_iter()))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Longer than a put may be, because another store may have allowed it.
#[test]
fn a_store_has_what_it_was_made_from_whatever_its_sizes() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("below").join("store");
    let (long, large) = (vec![b'k'; 200_000], vec![b'v'; 5_000_000]);
    let records =
        vec![record(2, "a", ""), record(5, long.clone(), "short"), record(9, "large", large.clone())];
    let made = restore(&dir, records).expect("a store");
    let audit = *made.audit();
    assert_eq!((audit.revision, audit.compact_revision, audit.keys, audit.leases), (90, 4, 3, 0));
    assert!(!dir.exists(), "it has its place before it was kept");
    made.keep().expect("kept");
    assert_eq!(names(&home.path().join("below")), ["store"]);
    let opened = block_on(async {
        let store = coffer::open(&format!("file://{}?unsealed", dir.display())).await?;
        let found = (store.get(long).await?, store.get("large").await?, store.get("a").await?);
        let revision = store.put("new", "write").await?.header.revision;
        store.close().await;
        Ok::<_, Error>((found, revision))
    });
    let ((by_long, by_large, by_a), revision) = opened.expect("it works");
    assert_eq!(by_long.map(|kv| kv.value), Some("short".into()));
    assert!(by_large.is_some_and(|kv| kv.value[..] == large[..]));
    assert_eq!(by_a.map(|kv| kv.create_revision), Some(2));
    assert_eq!(revision, 91);
}

#[test]
fn what_is_not_kept_leaves_nothing() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    drop(restore(&dir, vec![record(5, "a", "b")]).expect("a store"));
    assert!(names(home.path()).is_empty());
    let refused = restore(&dir, vec![record(5, "a", "b"), record(5, "b", "c")]).map(|_| ());
    assert!(matches!(&refused, Err(Error::InvalidArgument(text)) if text.contains("5.0")), "{refused:?}");
    assert!(names(home.path()).is_empty());
    fs::create_dir(&dir).expect("created");
    fs::write(dir.join("letter"), "dear").expect("written");
    let refused = restore(&dir, Vec::new()).map(|_| ());
    assert!(matches!(&refused, Err(Error::Open(text)) if text.contains("not empty")), "{refused:?}");
    assert_eq!(names(home.path()), ["store"]);
}

#[test]
fn a_store_that_is_called_like_a_leftover_stays() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    let partial = home.path().join("store.partial");
    let url = format!("file://{}?unsealed", partial.display());
    block_on(async {
        let other = coffer::open(&url).await.expect("a store");
        other.put("a", "b").await.expect("a put");
        let refused = restore(&dir, Vec::new()).map(|_| ());
        assert!(matches!(&refused, Err(Error::Open(text)) if text.contains("in the way")), "{refused:?}");
        other.close().await;
    });
    let refused = restore(&dir, Vec::new()).map(|_| ());
    assert!(matches!(&refused, Err(Error::Open(text)) if text.contains("in the way")), "{refused:?}");
    assert_eq!(names(home.path()), ["store.partial"]);
    let found = block_on(async {
        let store = coffer::open(&url).await.expect("a store");
        let found = store.get("a").await.expect("an answer");
        store.close().await;
        found
    });
    assert_eq!(found.map(|kv| kv.value), Some("b".into()));
}

#[test]
fn what_an_attempt_left_is_removed_by_the_next_one() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    let partial = home.path().join("store.partial");
    // Cut off before its first file, and as late as can be.
    fs::create_dir(&partial).expect("created");
    restore(&dir, Vec::new()).expect("a store");
    let made = restore(&dir, vec![record(5, "a", "b")]).expect("a store");
    std::mem::forget(made);
    assert!(fs::read_dir(&partial).expect("it is there").count() > 1);
    let again = home.path().join("other");
    fs::rename(&partial, home.path().join("other.partial")).expect("renamed");
    restore(&again, vec![record(5, "a", "b")]).expect("a store").keep().expect("kept");
    assert!(!home.path().join("other.partial").exists());
    assert!(!names(&again).contains(&"RESTORE".to_owned()), "the store has nothing of the attempt");
}

#[test]
fn two_attempts_do_not_meet() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    // Another one has made its store, and is about to name it.
    let made = restore(&dir, Vec::new()).expect("a store");
    let refused = restore(&dir, Vec::new()).map(|_| ());
    assert!(matches!(&refused, Err(Error::Open(text)) if text.contains("being filled")), "{refused:?}");
    made.keep().expect("kept");
    assert_eq!(names(home.path()), ["store"]);
}
