//! Snapshots in etcd's format: of our own nodes, and files that etcd wrote.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use coffer_core::node::restore::{Audit, Restored, audit, restore};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::*;
use coffer_core::storage::{MemoryDisk, StorageError};
use coffer_core::{KeyRange, LeaseId};
use coffer_etcd::bbolt::{Measure, Writer};
use coffer_etcd::snapshot::{self, Auth, Checksum, EtcdFile};
use coffer_runtime::block_on;
use futures_util::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/etcd-{version}.snapshot.db"))
}

fn open_node(disk: &MemoryDisk, boot: u64) -> Node {
    let (log, records) = disk.open().unwrap();
    let config = NodeConfig { boot, member_id: 7, ..NodeConfig::default() };
    Node::open(config, Box::new(log), Arc::new(records)).unwrap()
}

/// A store made from a file, and what it says of itself.
fn imported(file: &EtcdFile) -> (MemoryDisk, Audit) {
    let disk = MemoryDisk::new();
    {
        let (mut log, records) = disk.open().unwrap();
        restore(7, &[], &mut log, &records, file.restored(), &mut file.rows()).unwrap();
    }
    let (_log, records) = disk.open().unwrap();
    let audit = audit(Arc::new(records)).unwrap();
    (disk, audit)
}

fn put(node: &Node, key: impl Into<Bytes>, value: impl Into<Bytes>, lease: LeaseId) {
    let request = PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
    block_on(node.put(request)).unwrap();
}

fn all(node: &Node, revision: i64) -> RangeResponse {
    block_on(node.range(RangeRequest { revision, ..RangeRequest::new(KeyRange::all()) })).unwrap()
}

fn hash(node: &Node) -> HashKvResponse {
    block_on(node.hash_kv(0)).unwrap()
}

/// The messages of a node's snapshot, checked for what etcd's clients rely on, as a file with its checksum.
fn saved(node: &Node, directory: &Path) -> PathBuf {
    let stream = block_on(snapshot::stream(node)).unwrap();
    let (file_bytes, mut left) = (stream.file_bytes(), stream.file_bytes());
    let chunks: Vec<_> = block_on(stream.into_stream().try_collect()).unwrap();
    let mut file = Vec::new();
    let (checksum, content) = chunks.split_last().unwrap();
    for chunk in content {
        assert!(!chunk.blob.is_empty() && chunk.blob.len() <= 32 << 10);
        left -= chunk.blob.len() as u64;
        assert_eq!(chunk.remaining_bytes, left);
        file.extend_from_slice(&chunk.blob);
    }
    assert_eq!((left, file.len() as u64), (0, file_bytes));
    assert_eq!((checksum.remaining_bytes, checksum.blob.len()), (0, 32));
    file.extend_from_slice(&checksum.blob);
    let path = directory.join(format!("{}.db", node.header().revision));
    std::fs::write(&path, file).unwrap();
    path
}

#[test]
fn files_of_etcd_become_the_stores_that_they_were() {
    // HashKV as `etcdctl endpoint hashkv` showed it when the files were made.
    for (version, known) in [("3.4.23", 1260039586), ("3.7.1", 586631693)] {
        let file = EtcdFile::open(&fixture(version), false).unwrap();
        assert_eq!(file.checksum(), Checksum::Verified);
        let Restored { revision, compact_revision, leases } = file.restored();
        assert_eq!((*revision, *compact_revision, leases.len()), (19, 9, 1));
        assert_eq!((file.auth(), file.has_alarms()), (&Auth::default(), false));
        let of_rows = file.hash_kv().unwrap();
        assert_eq!((of_rows.hash, of_rows.revision, of_rows.compact_revision), (known, 19, 9));

        let (disk, audit) = imported(&file);
        assert_eq!((audit.hash, audit.revision, audit.compact_revision), (known, 19, 9));
        let node = open_node(&disk, 2);
        assert_eq!(hash(&node).hash, known);
        let found = all(&node, 0);
        let pairs: Vec<(&[u8], usize, i64, i64, i64)> = found
            .kvs
            .iter()
            .map(|kv| (&kv.key[..], kv.value.len(), kv.create_revision, kv.mod_revision, kv.version))
            .collect();
        let expected: [(&[u8], usize, i64, i64, i64); 6] = [
            (b"big", 9000, 15, 15, 1),
            (b"config/1", 7, 17, 19, 3),
            (b"config/2", 8, 5, 16, 4),
            (b"config/4", 0, 16, 16, 1),
            (b"leased/a", 1, 12, 12, 1),
            (b"leased/b", 1, 13, 13, 1),
        ];
        assert_eq!(pairs, expected);
        let lease = leases[0].0;
        assert!(found.kvs.iter().all(|kv| kv.key.starts_with(b"leased") == (kv.lease == lease)));
        let left = LeaseTimeToLiveRequest { id: lease, keys: true };
        let left = block_on(node.lease_time_to_live(left)).unwrap();
        assert_eq!(
            (left.granted_ttl_s, &left.keys[..]),
            (100_000, &["leased/a".into(), "leased/b".into()][..])
        );
        assert_eq!(all(&node, 9).kvs.iter().map(|kv| kv.mod_revision).collect::<Vec<_>>(), [9, 7, 8]);
    }
}

#[test]
fn a_store_survives_the_way_to_etcds_format_and_back() {
    let directory = tempfile::tempdir().unwrap();
    for seed in 0..12 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let node = open_node(&MemoryDisk::new(), 1);
        let leases = [3, -4, i64::MAX].map(LeaseId);
        for id in leases {
            block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 500, id })).unwrap();
        }
        for _ in 0..rng.random_range(1..400) {
            let key = format!("{:0width$}", rng.random_range(0..30), width = rng.random_range(1..40));
            match rng.random_range(0..12) {
                0 => {
                    let range = KeyRange::prefix(key[..1].to_owned());
                    block_on(node.delete_range(DeleteRangeRequest { range, prev_kv: false })).unwrap();
                }
                1 if rng.random_bool(0.2) => {
                    let newest = node.header().revision;
                    let revision = rng.random_range(newest / 2..=newest);
                    // Perhaps it is compacted already.
                    let _ = block_on(node.compact(CompactRequest { revision, physical: false }));
                }
                2 => {
                    let twice = [key.clone(), format!("{key}/b")].map(|key| {
                        TxnOp::Put(PutRequest {
                            key: key.into(),
                            value: "txn".into(),
                            ..PutRequest::default()
                        })
                    });
                    block_on(node.txn(TxnRequest { success: twice.into(), ..TxnRequest::default() }))
                        .unwrap();
                }
                _ => {
                    let lease =
                        if rng.random_bool(0.3) { leases[rng.random_range(0..3)] } else { LeaseId::NONE };
                    let length = [0, 5, 100, 4000, 4100, 20_000][rng.random_range(0..6)];
                    put(&node, key, vec![rng.random(); length], lease);
                }
            }
        }
        let file = EtcdFile::open(&saved(&node, directory.path()), false).unwrap();
        let original = hash(&node);
        let expected = (original.hash, original.hash_revision, original.compact_revision);
        let of_rows = file.hash_kv().unwrap();
        assert_eq!((of_rows.hash, of_rows.revision, of_rows.compact_revision), expected, "seed {seed}");
        let (disk, audit) = imported(&file);
        assert_eq!((audit.hash, audit.revision, audit.compact_revision), expected, "seed {seed}");
        let copy = open_node(&disk, 2);
        assert_eq!(all(&copy, 0).kvs, all(&node, 0).kvs, "seed {seed}");
        let oldest = original.compact_revision.max(1);
        assert_eq!(all(&copy, oldest).kvs, all(&node, oldest).kvs, "seed {seed}");
        assert_eq!(block_on(copy.lease_list()).unwrap().leases, block_on(node.lease_list()).unwrap().leases);
    }
}

#[test]
fn a_snapshot_shows_one_moment_whatever_happens_while_it_streams() {
    let directory = tempfile::tempdir().unwrap();
    let node = open_node(&MemoryDisk::new(), 1);
    for number in 0..3000 {
        put(&node, format!("key-{:04}", number % 700), vec![number as u8; 900], LeaseId::NONE);
    }
    let before = hash(&node);
    let mut stream = block_on(snapshot::stream(&node)).unwrap();
    let mut file = Vec::new();
    let mut round = 0;
    while let Some(chunk) = block_on(stream.next()).unwrap() {
        file.extend_from_slice(&chunk.blob);
        round += 1;
        if round <= 20 {
            put(&node, format!("key-{round}"), "later", LeaseId::NONE);
            let revision = node.header().revision;
            block_on(node.compact(CompactRequest { revision, physical: false })).unwrap();
        }
    }
    assert!(round > 20, "the stream was too short to disturb");
    drop(stream);
    // With the view gone, the compaction comes to its end.
    let revision = node.header().revision;
    put(&node, "end", "", LeaseId::NONE);
    block_on(node.compact(CompactRequest { revision: revision + 1, physical: true })).unwrap();
    let path = directory.path().join("db");
    std::fs::write(&path, file).unwrap();
    let file = EtcdFile::open(&path, false).unwrap();
    assert_eq!(file.hash_kv().unwrap().hash, before.hash);
    assert_eq!(imported(&file).1.hash, before.hash);
}

#[test]
fn a_stream_ends_with_the_node() {
    let node = open_node(&MemoryDisk::new(), 1);
    for number in 0..2000 {
        put(&node, format!("{number}"), vec![1; 2000], LeaseId::NONE);
    }
    let mut stream = block_on(snapshot::stream(&node)).unwrap();
    block_on(stream.next()).unwrap().unwrap();
    node.shutdown();
    let ended = loop {
        match block_on(stream.next()) {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(ended, Err(coffer_core::Error::Stopped));
    assert_eq!(block_on(stream.next()), Ok(None));
}

#[test]
fn a_checksum_is_verified_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let good = std::fs::read(fixture("3.7.1")).unwrap();
    let content = &good[..good.len() - 32];
    // A byte of free space: everything can be read, and the file is still not the one that was saved.
    let mut damaged = good.clone();
    damaged[4095] ^= 1;
    let opened = |bytes: &[u8], skip| {
        std::fs::write(&path, bytes).unwrap();
        EtcdFile::open(&path, skip).map(|file| (file.checksum(), file.hash_kv().unwrap().hash))
    };
    assert_eq!(opened(&good, false).unwrap(), (Checksum::Verified, 586631693));
    assert_eq!(opened(content, false).unwrap(), (Checksum::Absent, 586631693));
    assert_eq!(opened(&damaged, true).unwrap(), (Checksum::Skipped, 586631693));
    let refused = opened(&damaged, false).unwrap_err();
    assert!(matches!(refused, StorageError::Corrupt { offset: 40960, .. }), "{refused}");
    assert!(refused.to_string().contains("SHA-256"), "{refused}");
    let cut = opened(&good[..good.len() - 7], false).unwrap_err();
    assert!(cut.to_string().contains("it was cut"), "{cut}");
    let foreign = opened(&[7; 8192], false).unwrap_err();
    assert!(foreign.to_string().contains("a meta page of a bbolt file"), "{foreign}");
}

#[test]
fn a_data_directory_serves_while_no_etcd_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("member/snap/db");
    std::fs::create_dir_all(database.parent().unwrap()).unwrap();
    let good = std::fs::read(fixture("3.4.23")).unwrap();
    std::fs::write(&database, &good[..good.len() - 32]).unwrap();
    let held = std::fs::File::open(&database).unwrap();
    held.lock().unwrap();
    let refused = EtcdFile::open(directory.path(), false).unwrap_err();
    assert!(matches!(&refused, StorageError::InUse { path, .. } if *path == database), "{refused}");
    drop(held);
    let file = EtcdFile::open(directory.path(), false).unwrap();
    assert_eq!((file.path(), file.hash_kv().unwrap().hash), (database.as_path(), 1260039586));
    let missing = EtcdFile::open(&directory.path().join("nothing"), false).unwrap_err();
    assert!(matches!(missing, StorageError::Io { .. }));
}

type Rows = Vec<(Bytes, Bytes)>;

/// A file with these rows.
fn file_of(directory: &Path, buckets: &[(&'static str, Rows)]) -> PathBuf {
    let mut measure = Measure::new();
    for (name, rows) in buckets {
        measure.bucket(name.len());
        rows.iter().for_each(|(key, value)| measure.row(key.len(), value.len()));
    }
    let mut writer = Writer::new(measure.finish());
    for (name, rows) in buckets {
        writer.bucket(Bytes::from_static(name.as_bytes()));
        rows.iter().for_each(|(key, value)| writer.row(key.clone(), value.clone()).unwrap());
    }
    let path = directory.join("made.db");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    path
}

fn revision(main: i64, end: &[u8]) -> Bytes {
    [&main.to_be_bytes()[..], b"_", &[0; 8], end].concat().into()
}

/// `mvccpb.KeyValue` of a key `a`.
fn pair(create: u8, main: u8, version: u8) -> Bytes {
    vec![0x0a, 1, b'a', 0x10, create, 0x18, main, 0x20, version, 0x2a, 1, b'v'].into()
}

fn named(name: &'static str, value: Bytes) -> (Bytes, Bytes) {
    (Bytes::from_static(name.as_bytes()), value)
}

#[test]
fn compacted_and_bumped_revisions_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let open = |keys: Rows, meta: Rows| {
        let file =
            EtcdFile::open(&file_of(directory.path(), &[("key", keys), ("meta", meta)]), false).unwrap();
        let (disk, audit) = imported(&file);
        assert_eq!(audit.hash, file.hash_kv().unwrap().hash);
        (audit.revision, audit.compact_revision, all(&open_node(&disk, 2), 0).kvs.len())
    };
    let (finished, scheduled) = ("finishedCompactRev", "scheduledCompactRev");
    // Nothing yet; nothing left.
    assert_eq!(open(vec![], vec![]), (1, 0, 0));
    assert_eq!(
        open(vec![], vec![named(finished, revision(9, b"")), named(scheduled, revision(9, b""))]),
        (9, 9, 0)
    );
    // A compaction that was not finished: its rows are still there.
    let keys = || {
        vec![
            (revision(2, b""), pair(2, 2, 1)),
            (revision(3, b""), pair(2, 3, 2)),
            (revision(4, b"t"), Bytes::from_static(&[0x0a, 1, b'a'])),
            (revision(6, b""), pair(6, 6, 1)),
        ]
    };
    assert_eq!(open(keys(), vec![]), (6, 0, 1));
    assert_eq!(open(keys(), vec![named(scheduled, revision(5, b""))]), (6, 5, 1));
    assert_eq!(open(keys()[..3].to_vec(), vec![named(scheduled, revision(5, b""))]), (5, 5, 0));
    assert_eq!(open(keys()[..3].to_vec(), vec![named(scheduled, revision(3, b""))]), (4, 3, 0));
    // What `etcdutl snapshot restore --bump-revision --mark-compacted` leaves: a revision without a pair.
    let mut bumped = keys();
    bumped.push((revision(1000, b""), Bytes::new()));
    assert_eq!(open(bumped, vec![named(scheduled, revision(1000, b""))]), (1000, 1000, 1));
}

/// Imports a file with these keys and what is said of compactions.
fn tried(directory: &Path, keys: Rows, meta: Rows) -> Result<(), StorageError> {
    let file = EtcdFile::open(&file_of(directory, &[("key", keys), ("meta", meta)]), false)?;
    let (mut log, records) = MemoryDisk::new().open().unwrap();
    restore(7, &[], &mut log, &records, file.restored(), &mut file.rows())
        .map_err(|error| StorageError::Format { path: PathBuf::new(), reason: error.to_string() })
}

#[test]
fn a_history_with_a_gap_that_no_compaction_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let tried = |keys: &Rows, compact_revision| {
        let meta = vec![named("scheduledCompactRev", revision(compact_revision, b""))];
        tried(directory.path(), keys.clone(), if compact_revision == 0 { vec![] } else { meta })
    };
    let deletion = || Bytes::from_static(&[0x0a, 1, b'a']);
    let whole = vec![
        (revision(2, b""), pair(2, 2, 1)),
        (revision(3, b""), pair(2, 3, 2)),
        (revision(4, b""), pair(2, 4, 3)),
        (revision(5, b"t"), deletion()),
        (revision(6, b""), pair(6, 6, 1)),
    ];
    let without = |at: usize| {
        let mut keys = whole.clone();
        keys.remove(at);
        keys
    };
    tried(&whole, 0).unwrap();
    // A pair, once the next one is visible at the compact revision; a deletion that is not above it.
    for (gone, before, compacted_at) in [(0, 3, 3), (1, 4, 4), (3, 6, 5)] {
        for below in [0, compacted_at - 1] {
            let refused = tried(&without(gone), below).unwrap_err().to_string();
            let reason = format!(
                "what came right before revision {before}.0 is missing, though nothing after revision {below} was compacted"
            );
            assert!(refused.contains(&reason), "{refused}");
        }
        tried(&without(gone), compacted_at).unwrap();
    }
}

#[test]
fn rows_that_etcd_never_writes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let tried = |keys: Rows| tried(directory.path(), keys, vec![]);
    for (keys, reason) in [
        (vec![(Bytes::from_static(b"short"), pair(2, 2, 1))], "a key of 5 bytes"),
        (vec![(revision(2, b"x"), pair(2, 2, 1))], "a key of 18 bytes"),
        (vec![(revision(2, b""), Bytes::from_static(&[0xff, 7]))], "a pair at revision 2.0"),
        (vec![(revision(2, b""), pair(2, 3, 1))], "one of revision 3"),
        (vec![(revision(2, b""), pair(3, 2, 1))], "was created at 3"),
        (vec![(revision(2, b""), pair(2, 2, 0))], "version 0"),
        (vec![(revision(2, b"t"), Bytes::new())], "is empty"),
    ] {
        let refused = tried(keys).expect_err(reason).to_string();
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
    let lease =
        |id: u8| (Bytes::from([&[0; 7][..], &[id]].concat()), Bytes::from_static(&[0x08, 9, 0x10, 60]));
    let open =
        |lease| EtcdFile::open(&file_of(directory.path(), &[("key", vec![]), ("lease", vec![lease])]), false);
    assert_eq!(open(lease(9)).unwrap().restored().leases[0].0, LeaseId(9));
    assert!(open(lease(8)).unwrap_err().to_string().contains("a lease under its id"));
    let none = EtcdFile::open(&file_of(directory.path(), &[("other", vec![])]), false).unwrap_err();
    assert!(none.to_string().contains("holds no keys of etcd's"), "{none}");
}

#[test]
fn authentication_and_alarms_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let one = |name| vec![named(name, Bytes::from_static(b"x"))];
    let path = file_of(
        directory.path(),
        &[
            ("alarm", one("a")),
            ("auth", vec![named("authEnabled", Bytes::from_static(&[1]))]),
            ("authRoles", one("root")),
            ("authUsers", vec![named("root", Bytes::new()), named("user", Bytes::new())]),
            ("key", vec![]),
        ],
    );
    let file = EtcdFile::open(&path, false).unwrap();
    assert_eq!(file.auth(), &Auth { enabled: true, users: 2, roles: 1 });
    assert!(file.has_alarms());
}
