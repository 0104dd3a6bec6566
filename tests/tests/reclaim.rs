//! After churn and a compaction a store takes no more than twice what lives in it and a constant, by itself, on both
//! backends; and whoever reads an old revision meanwhile gets its value or is told that it was compacted away.

use coffer_backends::seal::{AtRest, RootKey, SecretKey};
use coffer_backends::segment::{self, SegmentStore};
use coffer_backends::sqlite::{self, SqliteStore};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{CompactRequest, PutRequest, RangeRequest};
use coffer_core::{Error, KeyRange};
use coffer_runtime::block_on;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt, SeedableRng};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const KEYS: usize = 1000;
const VALUE_BYTES: usize = 8 << 10;
const ROUNDS: usize = 5;
const KEY_BYTES: usize = 9;
const LIVE_BYTES: usize = KEYS * (KEY_BYTES + VALUE_BYTES);

/// Log and reserve, as these options bound them, and what SQLite keeps of free pages and of its WALs.
const CONSTANT_BYTES: usize = 4 << 20;
const RESERVE_BYTES: u64 = 256 << 10;
const FLUSH_BYTES: usize = 512 << 10;

fn at_rest() -> AtRest {
    AtRest::Sealed(RootKey::new([3; 16], SecretKey::from_bytes(&mut [7; 32])))
}

fn config(identity: coffer_backends::Identity) -> NodeConfig {
    NodeConfig {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        boot: identity.boot,
        flush_bytes: FLUSH_BYTES,
        ..NodeConfig::default()
    }
}

fn open_segment(path: &Path) -> Node {
    let options = segment::Options {
        log_file_bytes: 512 << 10,
        log_spares_max: 2,
        reserve_bytes_max: RESERVE_BYTES,
        ..segment::Options::default()
    };
    let store = SegmentStore::open(path, at_rest(), options).expect("a fresh store opens");
    Node::open(config(store.identity), store.log, store.records).expect("a node opens")
}

fn open_sqlite(path: &Path) -> Node {
    let options = sqlite::Options { reserve_bytes_max: RESERVE_BYTES, ..sqlite::Options::default() };
    let store = SqliteStore::open(path, at_rest(), &options).expect("a fresh store opens");
    Node::open(config(store.identity), store.log, store.records).expect("a node opens")
}

#[test]
fn flat_files_give_their_space_back() {
    gives_space_back(open_segment);
}

#[test]
fn sqlite_gives_its_space_back() {
    gives_space_back(open_sqlite);
}

fn key(number: usize) -> String {
    format!("key/{number:05}")
}

/// What a round puts to a key.
fn value(number: usize, round: usize) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    StdRng::seed_from_u64((number << 16 | round) as u64).fill_bytes(&mut value);
    value
}

/// Overwrites every key once. Returns the revision after it.
fn overwrite(node: &Node, round: usize) -> i64 {
    let mut newest = 0;
    for first in (0..KEYS).step_by(50) {
        let puts = (first..first + 50).map(|number| async move {
            let request = PutRequest {
                key: key(number).into(),
                value: value(number, round).into(),
                ..PutRequest::default()
            };
            let began = Instant::now();
            loop {
                match node.put(request.clone()).await {
                    Err(Error::TooManyRequests) if began.elapsed() < Duration::from_secs(60) => {
                        coffer_runtime::sleep(Duration::from_millis(5)).await;
                    }
                    put => return put.expect("a put is taken").header.revision,
                }
            }
        });
        newest = block_on(join_all(puts)).into_iter().fold(newest, i64::max);
    }
    newest
}

fn disk_bytes(path: &Path) -> usize {
    let entries = fs::read_dir(path).expect("a directory").flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len() as usize).sum()
}

fn gives_space_back(open: fn(&Path) -> Node) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let node = open(&path);
    // The revision after each round.
    let rounds: Vec<i64> = (0..ROUNDS).map(|round| overwrite(&node, round)).collect();
    let (stop, right, compacted) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let newest = rounds[ROUNDS - 1];
    thread::scope(|scope| {
        for reader in 0..2 {
            let (node, rounds, stop, right, compacted) = (&node, &rounds, &stop, &right, &compacted);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(reader);
                while !stop.load(Ordering::Acquire) {
                    let (number, round) = (random.random_range(0..KEYS), random.random_range(0..ROUNDS));
                    let request = RangeRequest {
                        revision: rounds[round],
                        ..RangeRequest::new(KeyRange::single(key(number)))
                    };
                    match block_on(node.range(request)) {
                        Ok(read) => {
                            let found = read.kvs.first().map(|kv| kv.value.to_vec());
                            assert!(found == Some(value(number, round)), "key {number} in round {round}");
                            right.fetch_add(1, Ordering::AcqRel);
                        }
                        Err(error) => {
                            assert!(
                                matches!(error, Error::Compacted { .. }) && round + 1 < ROUNDS,
                                "{error}"
                            );
                            compacted.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                }
            });
        }
        let _stopped = Raise(&stop);
        wait_until("readers read", || right.load(Ordering::Acquire) > 100);
        block_on(node.compact(CompactRequest { revision: newest, physical: true })).expect("it is compacted");
        wait_until("readers are told", || compacted.load(Ordering::Acquire) > 0);
        let after = right.load(Ordering::Acquire);
        wait_until("readers go on", || right.load(Ordering::Acquire) > after + 100);
    });
    let bytes_max = 2 * LIVE_BYTES + CONSTANT_BYTES;
    wait_until("the space is given back", || disk_bytes(&path) <= bytes_max);
    // Not only at an end: the space that is free is used for what comes.
    let newest = (ROUNDS..2 * ROUNDS).map(|round| overwrite(&node, round)).fold(newest, i64::max);
    block_on(node.compact(CompactRequest { revision: newest, physical: true })).expect("it is compacted");
    wait_until("the space is given back again", || disk_bytes(&path) <= bytes_max);
    for number in 0..KEYS {
        let read = block_on(node.range(RangeRequest::new(KeyRange::single(key(number))))).expect("a read");
        assert!(read.kvs[0].value == value(number, 2 * ROUNDS - 1), "key {number}");
    }
    assert_eq!(node.failed(), None);
}

/// Raises a flag also where a test fails, so that nobody goes on for ever.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
