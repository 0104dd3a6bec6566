//! A whole node on a disk that fills up: what grows the store is refused, everything else goes on, nothing that was
//! acknowledged is lost, whenever the power goes, and the node takes everything again as soon as there is room, without
//! being opened again.
//!
//! `COFFER_SEED` replays a seed, `COFFER_CASES` says how many seeds to try.

use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::{AtRest, RootKey, SecretKey};
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{
    Alarm, AlarmKind, CompactRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, TxnOp,
    TxnRequest,
};
use coffer_core::{Error, KeyRange, LeaseId};
use coffer_runtime::block_on;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CAPACITY: u64 = 1 << 20;
const OPTIONS: Options = Options {
    log_file_bytes: 64 << 10,
    log_spares_max: 2,
    reserve_bytes_max: 128 << 10,
    background: false,
    create: true,
    founding: None,
};

/// How the stores are kept: each test is made with both. What the sealed ones are short of is a quota.
const KINDS: [AtRestOf; 2] =
    [|| AtRest::Unsealed, || AtRest::Sealed(RootKey::new([3; 16], SecretKey::from_bytes(&mut [7; 32])))];

type AtRestOf = fn() -> AtRest;

fn open(disk: &SimDisk, kind: AtRestOf, options: Options) -> Result<Node, Error> {
    open_with(disk, kind, options, 24 << 10)
}

fn open_with(disk: &SimDisk, kind: AtRestOf, options: Options, flush_bytes: usize) -> Result<Node, Error> {
    let store = SegmentStore::open_on(Path::new("/store"), kind(), options, Arc::new(disk.clone()))?;
    let config = NodeConfig {
        cluster_id: store.identity.cluster_id,
        member_id: store.identity.member_id,
        boot: store.identity.boot,
        flush_bytes,
        ..NodeConfig::default()
    };
    Node::open(config, store.log, store.records)
}

/// A node on a disk of [`CAPACITY`].
fn small(kind: AtRestOf, options: Options) -> (SimDisk, Node) {
    on_disk_of(CAPACITY, kind, options)
}

fn on_disk_of(capacity: u64, kind: AtRestOf, options: Options) -> (SimDisk, Node) {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(capacity));
    disk.set_quota(matches!(kind(), AtRest::Sealed(_)));
    let node = open(&disk, kind, options).expect("a fresh store opens");
    (disk, node)
}

fn key(number: usize) -> String {
    format!("key/{number:05}")
}

/// A value that belongs to its key.
fn value(number: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(number as u64);
    (0..2000).map(|_| random.random()).collect()
}

fn put(node: &Node, number: usize) -> Result<i64, Error> {
    let request =
        PutRequest { key: key(number).into(), value: value(number).into(), ..PutRequest::default() };
    block_on(node.put(request)).map(|response| response.header.revision)
}

fn delete(node: &Node, range: KeyRange) -> Result<i64, Error> {
    let deleted = block_on(node.delete_range(DeleteRangeRequest { range, prev_kv: false }));
    deleted.map(|response| response.header.revision)
}

fn compact(node: &Node, revision: i64) -> Result<(), Error> {
    block_on(node.compact(CompactRequest { revision, physical: false })).map(drop)
}

fn get(node: &Node, number: usize) -> Option<Vec<u8>> {
    let read = block_on(node.range(RangeRequest::new(KeyRange::single(key(number))))).expect("a read");
    read.kvs.first().map(|kv| kv.value.to_vec())
}

/// Puts until it is refused. Returns how many were taken.
fn fill(node: &Node) -> usize {
    let began = Instant::now();
    let mut number = 0;
    while number < 10_000 {
        match put(node, number) {
            Ok(_) => number += 1,
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
    panic!("10,000 values of 2,000 bytes fit into {CAPACITY} bytes")
}

fn check_all(node: &Node, count: usize) {
    for number in 0..count {
        assert!(get(node, number) == Some(value(number)), "key {number} of {count}");
    }
}

fn full(node: &Node) -> [Alarm; 1] {
    [Alarm { member: node.header().member_id, kind: AlarmKind::NoSpace }]
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
fn a_full_disk_refuses_growth_and_nothing_else() {
    KINDS.into_iter().for_each(refuses_growth);
}

fn refuses_growth(kind: AtRestOf) {
    let (disk, node) = small(kind, OPTIONS);
    let taken = fill(&node);
    assert!((100..500).contains(&taken), "{taken} values of 2,000 bytes fit into {CAPACITY} bytes");
    assert_eq!(node.alarms(), full(&node), "the refusal comes with the alarm");
    let status = block_on(node.status()).expect("a status");
    assert_eq!(status.alarms, full(&node));
    check_all(&node, taken);
    // Whatever would grow the store is refused, in whatever form.
    let grant = LeaseGrantRequest { ttl_s: 60, id: LeaseId::NONE };
    assert_eq!(block_on(node.lease_grant(grant)), Err(Error::NoSpace));
    let request = PutRequest { key: "k".into(), ..PutRequest::default() };
    let txn = TxnRequest { compare: Vec::new(), success: vec![TxnOp::Put(request)], failure: Vec::new() };
    assert_eq!(block_on(node.txn(txn)).err(), Some(Error::NoSpace));
    // What does not is taken.
    for number in 0..50 {
        delete(&node, KeyRange::single(key(number))).expect("a deletion is taken");
    }
    block_on(node.hash_kv(0)).expect("everything can be read");
    assert!(disk.bytes() <= CAPACITY);
    assert_eq!(node.failed(), None);
}

#[test]
fn deletions_and_a_compaction_make_room_without_opening_again() {
    KINDS.into_iter().for_each(makes_room);
}

fn makes_room(kind: AtRestOf) {
    let (disk, node) = small(kind, OPTIONS);
    for round in 0..4 {
        let taken = fill(&node);
        assert!(taken > 100, "{taken} values in round {round}");
        let revision = delete(&node, KeyRange::all()).expect("a deletion is taken");
        compact(&node, revision).expect("a compaction is taken");
        wait_until("the alarm is cleared", || node.alarms().is_empty());
        put(&node, 0).expect("there is room again");
        check_all(&node, 1);
        delete(&node, KeyRange::all()).expect("a deletion is taken");
    }
    assert_eq!(node.failed(), None);
    drop(node);
    disk.crash(3);
    let node = open(&disk, kind, OPTIONS).expect("it opens");
    assert_eq!(get(&node, 0), None);
    put(&node, 0).expect("there is room");
}

#[test]
fn a_disk_that_grows_is_noticed() {
    KINDS.into_iter().for_each(notices_growth);
}

fn notices_growth(kind: AtRestOf) {
    let (disk, node) = small(kind, OPTIONS);
    let taken = fill(&node);
    disk.set_capacity(Some(2 * CAPACITY));
    wait_until("the alarm is cleared", || node.alarms().is_empty());
    put(&node, taken).expect("there is room again");
    check_all(&node, taken + 1);
    assert_eq!(node.failed(), None);
}

#[test]
fn an_alarm_that_outlives_the_process_ends_with_the_lack_of_room() {
    KINDS.into_iter().for_each(reopens_full);
}

fn reopens_full(kind: AtRestOf) {
    // What was under way when the process went may have made some room, and then the next life says so.
    let outlived = (0..20).any(|_| alarm_outlives(kind));
    assert!(outlived, "each of 20 full disks had room when the store was opened again");
}

/// Whether the alarm was still raised in the second life.
fn alarm_outlives(kind: AtRestOf) -> bool {
    let (disk, node) = small(kind, OPTIONS);
    let taken = fill(&node);
    // As by a process that is killed: nothing is closed.
    disk.arm(disk.counters().operations + 1, Fault::Crash);
    drop(node);
    disk.crash(1);
    let node = open(&disk, kind, OPTIONS).expect("a full disk is no reason not to open");
    check_all(&node, taken);
    let outlived = match put(&node, 0) {
        Err(error) => {
            assert_eq!(error, Error::NoSpace);
            true
        }
        Ok(_) => false,
    };
    disk.set_capacity(None);
    wait_until("the alarm is cleared", || node.alarms().is_empty());
    put(&node, taken).expect("there is room again");
    outlived
}

/// However many puts arrive at once when the disk is full: no more are taken than can be flushed, so that what frees
/// space is taken after them, and has its effect.
#[test]
fn a_crowd_of_puts_does_not_keep_out_what_frees_space() {
    KINDS.into_iter().for_each(meets_a_crowd);
}

fn meets_a_crowd(kind: AtRestOf) {
    // As it is by default, a file of the log is larger than what a crowd brings at once, which is less than what may be
    // unflushed beyond the bound for puts.
    let options = Options { log_file_bytes: CAPACITY, reserve_bytes_max: CAPACITY, ..OPTIONS };
    let (_disk, node) = on_disk_of(12 * CAPACITY, kind, options);
    for number in 0..100 {
        wait_until("a put is taken", || put(&node, number) != Err(Error::TooManyRequests));
    }
    check_all(&node, 100);
    let request =
        |number| PutRequest { key: key(number).into(), value: value(number).into(), ..PutRequest::default() };
    wait_until("there is no space", || {
        let outcomes = block_on(join_all((100..140).map(|number| node.put(request(number)))));
        outcomes.into_iter().filter_map(Result::err).any(|error| {
            assert!(matches!(error, Error::NoSpace | Error::TooManyRequests), "{error}");
            error == Error::NoSpace
        })
    });
    for number in 0..50 {
        delete(&node, KeyRange::single(key(number))).expect("a deletion is taken");
    }
    let revision = delete(&node, KeyRange::all()).expect("a deletion is taken");
    compact(&node, revision).expect("a compaction is taken");
    // What was refused while it waited for the disk need not have raised the alarm, so that this says nothing yet.
    wait_until("there is room again", || put(&node, 0).is_ok());
    assert_eq!(node.alarms(), []);
    check_all(&node, 1);
    assert_eq!(node.failed(), None);
}

/// The same with what a store has by default, and a crowd that brings more than half of a file of the log at once.
#[test]
fn a_crowd_of_puts_does_not_keep_out_what_frees_space_by_default() {
    for kind in KINDS {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(64 * CAPACITY));
        let options = Options { background: false, ..Options::default() };
        let node =
            open_with(&disk, kind, options, NodeConfig::default().flush_bytes).expect("a fresh store opens");
        let large: Vec<u8> = (0..10).flat_map(value).collect();
        let request = |number| PutRequest {
            key: key(number).into(),
            value: large.clone().into(),
            ..PutRequest::default()
        };
        wait_until("there is no space", || {
            let outcomes = block_on(join_all((0..250).map(|number| node.put(request(number)))));
            outcomes.into_iter().filter_map(Result::err).any(|error| error == Error::NoSpace)
        });
        let revision = delete(&node, KeyRange::all()).expect("a deletion is taken");
        compact(&node, revision).expect("a compaction is taken");
        wait_until("there is room again", || put(&node, 0).is_ok());
        check_all(&node, 1);
        assert_eq!(node.failed(), None);
    }
}

/// Without a reserve and with a disk that is full to the last byte no flush succeeds, so that the log fills up.
#[test]
fn where_even_the_log_is_full_everything_is_refused_until_there_is_room() {
    KINDS.into_iter().for_each(fills_the_log);
}

fn fills_the_log(kind: AtRestOf) {
    let (disk, node) = small(kind, Options { reserve_bytes_max: 0, ..OPTIONS });
    for number in 0..20 {
        wait_until("a put is taken", || put(&node, number) != Err(Error::TooManyRequests));
    }
    check_all(&node, 20);
    disk.set_capacity(Some(disk.bytes()));
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let put_refused = AtomicBool::new(false);
    let attempt = || match delete(&node, KeyRange::single("none")) {
        Ok(_) => taken.fetch_add(1, Ordering::AcqRel),
        Err(Error::NoSpace) => refused.fetch_add(1, Ordering::AcqRel),
        Err(error) => {
            assert_eq!(error, Error::TooManyRequests);
            0
        }
    };
    thread::scope(|scope| {
        // Whatever happens, those that wait for room get it.
        let _room = Grow(&disk);
        // What is on its way when the log fills up waits for room, so that each has a thread; later ones are refused.
        wait_until("a deletion is refused", || {
            scope.spawn(attempt);
            refused.load(Ordering::Acquire) > 0
        });
        wait_until("a put is refused", || {
            scope.spawn(|| put_refused.fetch_or(put(&node, 0) == Err(Error::NoSpace), Ordering::AcqRel));
            put_refused.load(Ordering::Acquire)
        });
        check_all(&node, 20);
        assert_eq!(node.failed(), None);
        disk.set_capacity(None);
        wait_until("a put is taken", || put(&node, 20).is_ok());
    });
    let taken = taken.load(Ordering::Acquire);
    assert!(taken > 10, "only {taken} deletions were taken before the log was full");
    check_all(&node, 21);
}

/// Makes room, also where a test fails.
struct Grow<'a>(&'a SimDisk);

impl Drop for Grow<'_> {
    fn drop(&mut self) {
        self.0.set_capacity(None);
    }
}

/// What is in the store for sure, and what may have happened to it.
struct Known {
    there: Vec<bool>,
    in_doubt: Option<Change>,
}

/// A change that was under way when the power went.
enum Change {
    Put(usize),
    Delete(usize, usize),
}

impl Known {
    fn check(&mut self, node: &Node) {
        match self.in_doubt.take() {
            None => {}
            Some(Change::Put(number)) => self.there[number] = get(node, number).is_some(),
            Some(Change::Delete(from, to)) => {
                let before: Vec<_> = (from..to).filter(|number| self.there[*number]).collect();
                let gone = before.iter().filter(|number| get(node, **number).is_none()).count();
                assert!(gone == 0 || gone == before.len(), "{gone} of {} keys are deleted", before.len());
                self.there[from..to].fill(gone == 0 && !before.is_empty());
                (from..to).for_each(|number| self.there[number] &= before.contains(&number));
            }
        }
        for (number, is_there) in self.there.iter().enumerate() {
            let expected = is_there.then(|| value(number));
            assert!(get(node, number) == expected, "key {number}, there: {is_there}");
        }
    }

    /// Changes the store until the power goes, or for a while.
    fn run(&mut self, node: &Node, random: &mut StdRng) {
        let (began, count) = (Instant::now(), self.there.len());
        let mut next = random.random_range(0..count);
        while began.elapsed() < Duration::from_secs(2) {
            next = (next + 1) % count;
            match put(node, next) {
                Ok(_) => {
                    self.there[next] = true;
                    continue;
                }
                Err(Error::NoSpace) => {}
                Err(_) => return self.in_doubt = Some(Change::Put(next)),
            }
            // Mostly a few keys; sometimes enough to go on.
            let some = if random.random_range(0..20) == 0 { count } else { 3 };
            let from = random.random_range(0..count);
            let to = (from + random.random_range(1..=some)).min(count);
            match delete(node, KeyRange::between(key(from), key(to))) {
                Ok(revision) => {
                    self.there[from..to].fill(false);
                    if some > 3 || random.random_range(0..50) == 0 {
                        // It may be refused, or the power may go.
                        drop(compact(node, revision));
                    }
                }
                Err(Error::NoSpace) => {}
                Err(_) => return self.in_doubt = Some(Change::Delete(from, to)),
            }
        }
    }
}

/// Fills, frees and fills again, with the power cut somewhere on the way.
fn run_case(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let kind = KINDS[seed as usize % KINDS.len()];
    let disk = SimDisk::new(seed);
    disk.set_capacity(Some(CAPACITY));
    let mut known = Known { there: vec![false; 1000], in_doubt: None };
    for _ in 0..4 {
        let node = match open(&disk, kind, OPTIONS) {
            Ok(node) => node,
            Err(error) => {
                assert!(error.to_string().contains("free some space there"), "{error}");
                disk.set_capacity(Some(disk.bytes() + CAPACITY));
                open(&disk, kind, OPTIONS).expect("with room it opens")
            }
        };
        known.check(&node);
        disk.arm(disk.counters().operations + random.random_range(1..2000), Fault::Crash);
        known.run(&node, &mut random);
        drop(node);
        disk.crash(random.random());
    }
}

#[test]
fn nothing_acknowledged_is_lost_on_a_disk_that_is_full() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match variable("COFFER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("COFFER_CASES").unwrap_or(8),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run_case(seed)) {
            eprintln!("replay with COFFER_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
