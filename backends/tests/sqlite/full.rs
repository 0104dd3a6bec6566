//! A whole node over SQLite on a disk that fills up: what grows the store is refused, everything else goes on, nothing
//! that was acknowledged is lost, and the node takes everything again as soon as there is room.

use crate::keys::{Opening, sealed};
use crate::vfs::SimVfs;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{Alarm, AlarmKind, CompactRequest, DeleteRangeRequest, PutRequest, RangeRequest};
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

    fn open(&self, sealing: Opening) -> Result<Node, Error> {
        let options = Options {
            readers_max: 0,
            reserve_bytes_max: 1 << 20,
            vfs: self.vfs.name().into(),
            ..Options::default()
        };
        let store =
            SqliteStore::open_on(Path::new("/store"), sealing(), &options, Arc::new(self.disk.clone()))?;
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
