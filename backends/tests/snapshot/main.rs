//! Snapshot files: what is written is read, by whoever has a key of the store, and nothing else passes for it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use bytes::Bytes;
use coffer_backends::io::{Io, RealIo};
use coffer_backends::seal::slots::Slots;
use coffer_backends::seal::source::{KeyFile, KeySource};
use coffer_backends::seal::{AtRest, KeyError, RootKey};
use coffer_backends::segment::{Options, SegmentStore};
use coffer_backends::{SnapshotReader, is_snapshot};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{LogId, SnapshotHead, SnapshotLease, SnapshotSource, StorageError};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STORE_ID: [u8; 16] = *b"the store's id..";
const NAME: &str = "a-snapshot";
const CANARY: &str = "canary-in-a-snapshot";
const HEAD: SnapshotHead = SnapshotHead {
    cluster_id: 0xc1,
    member_id: 0xa1,
    revision: 900,
    compact_revision: 17,
    applied: LogId { term: 3, index: 1234 },
    created_s: 1_700_000_000,
};

/// A store in a directory of its own, and a key that opens it if it is sealed.
struct World {
    dir: tempfile::TempDir,
    store: SegmentStore,
}

impl World {
    fn new(sealed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        std::fs::create_dir(&at).unwrap();
        let at_rest = if sealed {
            let io: Arc<dyn Io> = Arc::new(RealIo);
            let (_, root) = Slots::create(io, &at, STORE_ID, &key(dir.path(), "key"), "first").unwrap();
            AtRest::Sealed(RootKey::new(STORE_ID, root))
        } else {
            AtRest::Unsealed
        };
        let store = SegmentStore::open(&at, at_rest, Options::default()).unwrap();
        Self { dir, store }
    }

    fn key(&self) -> Option<KeySource> {
        self.store.keyring.is_some().then(|| key(self.dir.path(), "key"))
    }

    fn save(&self, leases: &[SnapshotLease], records: &[Record]) -> Vec<u8> {
        let mut writer = self.store.records.snapshot_writer().unwrap();
        let mut file = writer.begin(&HEAD).unwrap().to_vec();
        file.extend(writer.leases(leases).unwrap());
        for page in records.chunks(7) {
            file.extend(writer.records(page).unwrap());
        }
        file.extend(writer.end().unwrap());
        file
    }

    fn read(&self, file: &[u8]) -> Result<Content, KeyError> {
        read(file, self.key().as_ref())
    }
}

/// The key file of this name: the one that is there, or a new one.
fn key(dir: &Path, name: &str) -> KeySource {
    let path = dir.join(name);
    match path.exists() {
        true => KeySource::KeyFile(KeyFile::open(&path).unwrap()),
        false => KeySource::KeyFile(KeyFile::generate(&path).unwrap()),
    }
}

type Content = (SnapshotHead, Vec<SnapshotLease>, Vec<Record>);

fn read(file: &[u8], key: Option<&KeySource>) -> Result<Content, KeyError> {
    let input = Box::new(Cursor::new(file.to_vec()));
    let mut reader = SnapshotReader::open(input, &PathBuf::from(NAME), key)?;
    let (head, leases) = (*reader.head(), reader.leases().to_vec());
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    assert_eq!(reader.next()?, None, "and nothing after it");
    Ok((head, leases, records))
}

fn leases(count: i64) -> Vec<SnapshotLease> {
    let lease = |id| SnapshotLease { id: LeaseId(id), ttl_s: 60 + id, remaining_s: id % 50 };
    (1..=count).map(lease).collect()
}

fn records(count: i64) -> Vec<Record> {
    let record = |n: i64| Record {
        revision: Revision { main: 2 + n / 3, sub: (n % 3) as u32 },
        key: format!("{CANARY} {}", n % 40).into(),
        value: Bytes::from(format!("{CANARY} {}", "v".repeat((n % 11 * 97) as usize))),
        create_revision: 2,
        version: n % 40,
        lease: LeaseId(n % 2),
        tombstone: false,
    };
    (0..count).map(record).collect()
}

#[test]
fn what_was_saved_is_read() {
    for sealed in [false, true] {
        let world = World::new(sealed);
        for (count, lease_count) in [(0, 0), (1, 0), (0, 1), (500, 40_000)] {
            let file = world.save(&leases(lease_count), &records(count));
            assert!(is_snapshot(&file));
            assert_eq!(world.read(&file).unwrap(), (HEAD, leases(lease_count), records(count)));
        }
    }
}

#[test]
fn records_of_every_size_find_their_place() {
    let world = World::new(true);
    let mut all = records(40);
    for (record, bytes) in all.iter_mut().zip([0, 1 << 20, 3 << 20, (1 << 20) - 1, 5]) {
        record.value = vec![b'x'; bytes].into();
    }
    let mut writer = world.store.records.snapshot_writer().unwrap();
    let mut file = writer.begin(&HEAD).unwrap().to_vec();
    file.extend(writer.records(&all).unwrap());
    file.extend(writer.end().unwrap());
    assert_eq!(world.read(&file).unwrap().2, all);
}

#[test]
fn a_sealed_one_shows_nothing() {
    let world = World::new(true);
    let (first, second) = (world.save(&leases(3), &records(30)), world.save(&leases(3), &records(30)));
    let shows = |file: &[u8]| file.windows(CANARY.len()).any(|at| at == CANARY.as_bytes());
    assert!(!shows(&first));
    assert!(shows(&World::new(false).save(&[], &records(30))), "the search finds what is in the clear");
    assert_ne!(first[512..], second[512..], "each has a key of its own");
}

#[test]
fn every_flipped_byte_is_found() {
    for sealed in [false, true] {
        let world = World::new(sealed);
        let file = world.save(&leases(3), &records(10));
        for at in 0..file.len() {
            let mut rotten = file.clone();
            rotten[at] ^= 1 << (at % 8);
            world.read(&rotten).expect_err("a flipped byte");
        }
    }
}

#[test]
fn what_is_cut_or_longer_is_no_snapshot() {
    for sealed in [false, true] {
        let world = World::new(sealed);
        let file = world.save(&leases(3), &records(10));
        for length in 0..file.len() {
            let error = world.read(&file[..length]).expect_err("a cut file");
            assert!(error.to_string().contains(NAME), "{error}");
        }
        world.read(&[&file[..], b"x"].concat()).expect_err("more than the file");
    }
}

/// Pieces of two files of one store do not make a third.
#[test]
fn two_files_can_not_be_joined() {
    let world = World::new(true);
    let [first, second] = [(); 2].map(|()| {
        let mut writer = world.store.records.snapshot_writer().unwrap();
        let pages = records(20);
        let (head, tail) = pages.split_at(10);
        [
            writer.begin(&HEAD).unwrap(),
            writer.records(head).unwrap(),
            writer.records(tail).unwrap(),
            writer.end().unwrap(),
        ]
    });
    world.read(&first.concat()).unwrap();
    for exchanged in 0..4 {
        let mut parts = first.clone();
        parts[exchanged] = second[exchanged].clone();
        world.read(&parts.concat()).expect_err("a piece of another file");
    }
    let [begin, head, tail, end] = first;
    world.read(&[&begin[..], &tail, &head, &end].concat()).expect_err("another order");
    world.read(&[&begin[..], &head, &end].concat()).expect_err("a piece is missing");
    world.read(&[&begin[..], &head, &tail, &tail, &end].concat()).expect_err("a piece came twice");
}

#[test]
fn keys_decide_who_reads() {
    let (sealed, clear) = (World::new(true), World::new(false));
    let (file, open) = (sealed.save(&[], &records(3)), clear.save(&[], &records(3)));
    let other = key(sealed.dir.path(), "other");
    let refusal = |result: Result<Content, KeyError>| result.expect_err("a refusal").to_string();
    let text = refusal(read(&file, Some(&other)));
    assert!(text.contains("other") && text.contains(NAME), "{text}");
    let text = refusal(read(&file, None));
    assert!(text.contains("--seal-key-file"), "{text}");
    let text = refusal(read(&open, sealed.key().as_ref()));
    assert!(text.contains("not sealed"), "{text}");
    // Another store's snapshot with the same key file has another root key.
    let twin = World::new(true);
    std::fs::copy(twin.dir.path().join("key"), sealed.dir.path().join("twin")).unwrap();
    let theirs = twin.save(&[], &records(3));
    assert!(read(&theirs, sealed.key().as_ref()).is_err());
    assert!(read(&theirs, Some(&key(sealed.dir.path(), "twin"))).is_ok());
}

#[test]
fn nonsense_is_refused_as_such() {
    for bytes in [&b""[..], b"{\"key\":\"a\"}", &[0; 4096], &[0xff; 4096]] {
        assert!(!is_snapshot(bytes));
        assert!(matches!(
            read(bytes, None),
            Err(KeyError::Storage(StorageError::Format { .. } | StorageError::Corrupt { .. }))
        ));
    }
}
