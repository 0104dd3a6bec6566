//! A whole node over SQLite on a disk that fills up: what grows the store is refused, everything else goes on, nothing
//! that was acknowledged is lost, and the node takes everything again as soon as there is room.

use crate::keys::{Opening, sealed};
use crate::vfs::SimVfs;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::record::Record;
use coffer_core::request::{Alarm, AlarmKind, CompactRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, Flush, LogId, StorageError};
use coffer_core::{Error, KeyRange};
use coffer_runtime::block_on;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How the stores are kept, and whether it is a quota that is exhausted: each test is made with all of them.
const KINDS: [(Opening, bool); 3] = [(|| AtRest::Unsealed, false), (sealed, false), (sealed, true)];

const CAPACITY: u64 = 6 << 20;

struct Machine {
    disk: SimDisk,
    vfs: SimVfs,
}

impl Machine {
    fn new(quota: bool) -> Self {
        let disk = SimDisk::new(1);
        disk.set_quota(quota);
        disk.set_capacity(Some(CAPACITY));
        let vfs = SimVfs::new(disk.clone());
        Self { disk, vfs }
    }

    fn open_store(&self, at_rest: AtRest, reserve_bytes_max: u64) -> Result<SqliteStore, StorageError> {
        let options =
            Options { readers_max: 0, reserve_bytes_max, vfs: self.vfs.name().into(), ..Options::default() };
        SqliteStore::open_on(Path::new("/store"), at_rest, &options, Arc::new(self.disk.clone()))
    }

    fn open(&self, sealing: Opening) -> Result<Node, Error> {
        let store = self.open_store(sealing(), 1 << 20)?;
        let config = NodeConfig {
            cluster_id: store.identity.cluster_id,
            member_id: store.identity.member_id,
            boot: store.identity.boot,
            flush_bytes: 64 << 10,
            ..NodeConfig::default()
        };
        Node::open(config, store.log, store.records)
    }
}

fn key(number: usize) -> String {
    format!("key/{number:05}")
}

/// A value that belongs to its key.
fn value(number: usize) -> Vec<u8> {
    (0..2000).map(|at: usize| (at * 31 + number * 7 + at * number) as u8).collect()
}

fn put(node: &Node, number: usize) -> Result<(), Error> {
    let request =
        PutRequest { key: key(number).into(), value: value(number).into(), ..PutRequest::default() };
    block_on(node.put(request)).map(drop)
}

/// Puts until it is refused. Returns how many were taken.
fn fill(node: &Node) -> usize {
    let began = Instant::now();
    let mut number = 0;
    while number < 20_000 {
        match put(node, number) {
            Ok(()) => number += 1,
            // The records are behind: it is to be asked again.
            Err(Error::TooManyRequests) => {
                assert!(began.elapsed() < Duration::from_secs(60), "the records stay behind");
                thread::park_timeout(Duration::from_millis(2));
            }
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                return number;
            }
        }
    }
    panic!("20,000 values of 2,000 bytes fit into {CAPACITY} bytes")
}

fn check_all(node: &Node, count: usize) {
    for number in 0..count {
        let read = block_on(node.range(RangeRequest::new(KeyRange::single(key(number))))).expect("a read");
        let found = read.kvs.first().map(|kv| kv.value.to_vec());
        assert!(found == Some(value(number)), "key {number} of {count}");
    }
}

fn delete(node: &Node, range: KeyRange) -> Result<i64, Error> {
    let deleted = block_on(node.delete_range(DeleteRangeRequest { range, prev_kv: false }));
    deleted.map(|response| response.header.revision)
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn deletions_and_a_compaction_make_room_without_opening_again() {
    KINDS.into_iter().for_each(makes_room);
}

fn makes_room((sealing, quota): (Opening, bool)) {
    let machine = Machine::new(quota);
    let node = machine.open(sealing).expect("a fresh store opens");
    for round in 0..3 {
        let taken = fill(&node);
        assert!(taken > 30, "{taken} values in round {round}");
        assert_eq!(node.alarms(), [Alarm { member: node.header().member_id, kind: AlarmKind::NoSpace }]);
        check_all(&node, taken);
        let revision = delete(&node, KeyRange::all()).expect("a deletion is taken");
        let compacted = block_on(node.compact(CompactRequest { revision, physical: false }));
        compacted.expect("a compaction is taken");
        wait_until("the alarm is cleared", || node.alarms().is_empty());
        put(&node, 0).expect("there is room again");
        check_all(&node, 1);
    }
    assert_eq!(node.failed(), None);
    assert!(machine.disk.bytes() <= CAPACITY);
    drop(node);
    machine.disk.crash(3);
    let node = machine.open(sealing).expect("it opens");
    check_all(&node, 1);
}

#[test]
fn a_disk_that_grows_is_noticed_and_a_power_cut_on_a_full_one_loses_nothing() {
    KINDS.into_iter().for_each(outlives_a_cut);
}

fn outlives_a_cut((sealing, quota): (Opening, bool)) {
    let machine = Machine::new(quota);
    let node = machine.open(sealing).expect("a fresh store opens");
    let taken = fill(&node);
    machine.disk.set_capacity(Some(3 * CAPACITY));
    wait_until("the alarm is cleared", || node.alarms().is_empty());
    put(&node, taken).expect("there is room again");
    machine.disk.set_capacity(Some(machine.disk.bytes()));
    let more = (taken + 1..20_000).take_while(|number| put(&node, *number).is_ok()).count();
    assert_eq!(node.failed(), None);
    machine.disk.crash(5);
    drop(node);
    // Without any room it may be refused, and says why.
    let node = machine.open(sealing).or_else(|error| {
        assert!(error.to_string().contains("free some space there"), "{error}");
        machine.disk.set_capacity(None);
        machine.open(sealing)
    });
    let node = node.expect("with room it opens");
    check_all(&node, taken + 1 + more);
    machine.disk.set_capacity(None);
    wait_until("the alarm of the life before is cleared", || node.alarms().is_empty());
    // Without an alarm to clear, the next look for room is what lets a put in.
    wait_until("there is room again", || put(&node, 0).is_ok());
}

fn records(first: i64, count: i64) -> Vec<Arc<Record>> {
    let record = |main| Record {
        revision: Revision { main, sub: 0 },
        key: format!("{main:08}").into(),
        value: value(main as usize).into(),
        create_revision: main,
        version: 1,
        lease: LeaseId(0),
        tombstone: false,
    };
    (first..first + count).map(|main| Arc::new(record(main))).collect()
}

/// Flushes that many records of 2,000 bytes, the first of them at revision `first`.
fn flush(store: &SqliteStore, first: i64, count: i64) -> Result<(), StorageError> {
    let records = records(first, count);
    let (applied, revision) = (LogId { term: 1, index: first as u64 }, first + count - 1);
    let checkpoint = Checkpoint { applied, revision, compact_revision: 0, state: "s".into() };
    store.records.flush(Flush { records: &records, checkpoint: &checkpoint })
}

/// What is set aside is for the flush: it does not wait for its next turn, in which somebody else may have used that.
#[test]
fn a_flush_that_meets_the_full_disk_takes_the_reserve_at_once() {
    let machine = Machine::new(false);
    let store = machine.open_store(AtRest::Unsealed, 1 << 20).expect("a fresh store opens");
    flush(&store, 2, 50).expect("there is room");
    assert!(store.records.recover_room().expect("looked at"), "a reserve is set aside");
    machine.disk.set_capacity(Some(machine.disk.bytes() + (64 << 10)));
    assert!(store.records.has_room());
    flush(&store, 52, 100).expect("the reserve carries it");
    assert!(!store.records.has_room());
    assert!(machine.disk.content(Path::new("/store/reserve")).is_none());
    // It is all in the database: what can wait does not find a write-ahead log that could not be copied.
    assert_eq!(machine.disk.content(Path::new("/store/state.db-wal")).map(|wal| wal.len()), Some(0));
}

/// What can wait does not take the room that a flush needs: it would fill the write-ahead log, which nobody could copy then.
#[test]
fn nothing_is_given_back_while_the_write_ahead_log_finds_no_room() {
    let machine = Machine::new(false);
    let store = machine.open_store(AtRest::Unsealed, 0).expect("a fresh store opens");
    flush(&store, 2, 100).expect("there is room");
    let dead: Vec<_> = (2..102).map(|main| Revision { main, sub: 0 }).collect();
    store.records.drop_revisions(&dead);
    // Room for the write-ahead log, and none to copy it.
    machine.disk.set_capacity(Some(machine.disk.bytes() + (450 << 10)));
    flush(&store, 102, 100).expect("there is room in the write-ahead log");
    let wal_bytes = || machine.disk.content(Path::new("/store/state.db-wal")).map_or(0, |wal| wal.len());
    let before = wal_bytes();
    assert!(before > 0, "it was not copied");
    for _ in 0..3 {
        let reclaimed = store.records.reclaim(1 << 20);
        assert!(matches!(reclaimed, Err(StorageError::NoRoom { .. })), "{reclaimed:?}");
        assert_eq!(wal_bytes(), before);
    }
    machine.disk.set_capacity(None);
    while store.records.reclaim(1 << 20).expect("there is room").more {}
    assert_eq!(wal_bytes(), 0);
}
