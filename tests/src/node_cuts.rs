//! A whole node on a machine that loses power at any moment: what was acknowledged is there afterwards, and nothing
//! else than what was tried.
//!
//! Several callers write keys of their own, delete them, attach them to leases, compact, and exchange the data keys of a
//! sealed store, until the power fails.
//! Then the node is opened again (sometimes the power fails during that, too) and every key must show the last
//! acknowledged change or the one that was under way, with the version that its history implies. Revisions, compact
//! revisions and leases do not go back.
//!
//! What is answered after the power began to fail is no acknowledgement: no machine would have sent it. (A kernel whose file
//! system is being shut down does answer: there is a moment in which `fdatasync` succeeds and has synced nothing.)
//!
//! Where the power comes from is the caller's: a simulated disk that loses any part of what was not synced
//! ([`SimulatedPower`]), or a file system of the kernel that is shut down ([`power`](crate::power)).

use crate::subjects::{Machine, Stored, Subject};
use coffer_backends::seal::Keyring;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{
    CompactRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
    RangeRequest, TxnOp, TxnRequest,
};
use coffer_core::storage::conformance::Fault;
use coffer_core::{Error, KeyRange, LeaseId};
use coffer_runtime::block_on;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const CALLERS: usize = 4;
const KEYS: usize = 6;
/// A simulated disk takes so long for a sync: else the threads of a node rarely meet in the middle of what they do.
const SYNC_TIME: Duration = Duration::from_micros(100);

/// What a key is known to be: as of the last acknowledged change, and after the one that may have happened.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<Pair>,
    /// Set while a change is under way and after it failed; inner `None` for a deletion.
    perhaps: Option<Option<Pair>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    value: Vec<u8>,
    version: i64,
    lease: LeaseId,
}

/// One caller's view of its own keys, and what it was told of the store.
#[derive(Clone, Debug)]
struct Caller {
    number: usize,
    keys: Vec<Known>,
    leases: Vec<LeaseId>,
    revision: i64,
    compact_revision: i64,
    acknowledged: u64,
}

impl Caller {
    fn new(number: usize) -> Self {
        Self {
            number,
            keys: vec![Known::default(); KEYS],
            leases: vec![],
            revision: 0,
            compact_revision: 0,
            acknowledged: 0,
        }
    }

    fn key(&self, key: usize) -> String {
        format!("caller-{}/key-{key}", self.number)
    }

    /// Changes keys until something fails.
    fn run(&mut self, running: &Running, random: &mut StdRng) -> Error {
        loop {
            let step = match random.random_bool(1.0 / 64.0) {
                true => running.exchange_keys(random),
                false => self.step(running, random),
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    fn step(&mut self, running: &Running, random: &mut StdRng) -> Result<(), Error> {
        let node = &running.node;
        let key = random.random_range(0..KEYS);
        match random.random_range(0..20) {
            0 => {
                let granted =
                    block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 100_000, id: LeaseId::NONE }))?;
                running.heard()?;
                self.leases.push(granted.id);
            }
            1 => {
                let revision = self.revision - random.random_range(0..20);
                match block_on(node.compact(CompactRequest { revision, physical: random.random_bool(0.3) })) {
                    Ok(_) => {
                        running.heard()?;
                        self.compact_revision = self.compact_revision.max(revision);
                    }
                    Err(Error::Compacted { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            2..=4 => {
                self.keys[key].perhaps = Some(None);
                let range = KeyRange::single(self.key(key));
                let deleted = block_on(node.delete_range(DeleteRangeRequest { range, prev_kv: false }))?;
                assert_eq!(deleted.deleted, i64::from(self.keys[key].acknowledged.is_some()));
                running.heard()?;
                self.confirm(key, deleted.header.revision);
            }
            choice => {
                let bytes = if random.random_bool(0.05) { 40_000 } else { random.random_range(0..400) };
                let value: Vec<u8> = (0..bytes).map(|_| random.random()).collect();
                let lease = match self.leases.last() {
                    Some(lease) if random.random_bool(0.3) => *lease,
                    _ => LeaseId::NONE,
                };
                let version = self.keys[key].acknowledged.as_ref().map_or(1, |pair| pair.version + 1);
                self.keys[key].perhaps = Some(Some(Pair { value: value.clone(), version, lease }));
                let put = PutRequest {
                    key: self.key(key).into(),
                    value: value.into(),
                    lease,
                    ..Default::default()
                };
                let revision = match choice {
                    5..=8 => self.put_in_txn(node, put, version)?,
                    _ => block_on(node.put(put))?.header.revision,
                };
                running.heard()?;
                self.confirm(key, revision);
            }
        }
        Ok(())
    }

    /// Puts only if the key has the version that this caller knows; it must.
    fn put_in_txn(&self, node: &Node, put: PutRequest, version: i64) -> Result<i64, Error> {
        let compare = Compare {
            range: KeyRange::single(put.key.clone()),
            result: CompareResult::Equal,
            target: CompareTarget::Version(version - 1),
        };
        let request = TxnRequest { compare: vec![compare], success: vec![TxnOp::Put(put)], failure: vec![] };
        let response = block_on(node.txn(request))?;
        assert!(response.succeeded, "a key changed that only one caller writes");
        Ok(response.header.revision)
    }

    fn confirm(&mut self, key: usize, revision: i64) {
        self.revision = self.revision.max(revision);
        self.acknowledged += 1;
        if let Some(change) = self.keys[key].perhaps.take() {
            self.keys[key].acknowledged = change;
        }
    }

    /// Compares the store with what is known, and learns which of two possibilities happened.
    fn check(&mut self, node: &Node) {
        for key in 0..KEYS {
            let request = RangeRequest::new(KeyRange::single(self.key(key)));
            let found = block_on(node.range(request))
                .expect("an opened node answers")
                .kvs
                .pop()
                .map(|kv| Pair { value: kv.value.to_vec(), version: kv.version, lease: kv.lease });
            let known = &mut self.keys[key];
            let possible = found == known.acknowledged || known.perhaps.as_ref() == Some(&found);
            assert!(
                possible,
                "caller {} key {key}: {:?} instead of {:?}",
                self.number,
                size(&found),
                size_of(known)
            );
            known.acknowledged = found;
            known.perhaps = None;
        }
        let leases = block_on(node.lease_list()).expect("an opened node answers").leases;
        let lost = self.leases.iter().find(|lease| !leases.contains(lease));
        assert!(lost.is_none(), "caller {}: lease {lost:?} is gone", self.number);
    }
}

/// Bytes of a value, and its version: what a failure tells of a pair.
type Size = (usize, i64);

fn size(pair: &Option<Pair>) -> Option<Size> {
    pair.as_ref().map(|pair| (pair.value.len(), pair.version))
}

fn size_of(known: &Known) -> (Option<Size>, Option<Option<Size>>) {
    (size(&known.acknowledged), known.perhaps.as_ref().map(size))
}

/// Where a node's store lies, and what cuts its power.
pub trait Power {
    /// Opens the store.
    ///
    /// # Errors
    /// Whatever the backend answers.
    fn open(&mut self) -> Result<Stored, Error>;

    /// Lets the power fail soon: while the store is opened, or while it is written. What is answered once the flag is set
    /// does not count.
    fn arm(&mut self, opening: bool, random: &mut StdRng) -> Arc<AtomicBool>;

    /// The power fails now if it did not yet, and comes back. The store is closed.
    ///
    /// # Errors
    /// The machine does not come back; that is not the store's fault.
    fn cut(&mut self, random: &mut StdRng) -> Result<(), String>;

    /// Writes, syncs and the like that the machine performed, as far as it counts them.
    fn operations(&self) -> u64;

    /// Whether the store may be opened under a cut before it is opened for good.
    fn cuts_openings(&self) -> bool;
}

/// What was tried in a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTally {
    /// Power cuts, all of them followed by a recovery that was compared.
    pub cuts: u64,
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Operations of the machine.
    pub operations: u64,
}

/// A simulated machine.
pub struct SimulatedPower {
    machine: Box<dyn Machine>,
}

impl SimulatedPower {
    /// A machine with an empty disk.
    pub fn new(subject: &Subject) -> Self {
        let mut machine = (subject.simulated)();
        machine.set_sync_time(SYNC_TIME);
        Self { machine }
    }
}

impl Power for SimulatedPower {
    fn open(&mut self) -> Result<Stored, Error> {
        Ok(self.machine.open_stored()?)
    }

    /// Nothing succeeds on a simulated disk after its power failed: the flag stays as it is.
    fn arm(&mut self, opening: bool, random: &mut StdRng) -> Arc<AtomicBool> {
        let at = random.random_range(1..if opening { 40 } else { 400 });
        self.machine.arm(at, Fault::Crash);
        Arc::default()
    }

    fn cut(&mut self, random: &mut StdRng) -> Result<(), String> {
        self.machine.crash(random.random());
        self.machine.disarm();
        Ok(())
    }

    fn operations(&self) -> u64 {
        self.machine.operations()
    }

    fn cuts_openings(&self) -> bool {
        true
    }
}

/// A node, and the data keys of its store if it is sealed.
struct Running {
    node: Node,
    keyring: Option<Arc<Keyring>>,
    /// Whether the power began to fail.
    fails: Arc<AtomicBool>,
}

impl Running {
    /// Whether anybody can have heard the answer that just came.
    fn heard(&self) -> Result<(), Error> {
        if self.fails.load(Ordering::SeqCst) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Makes a new data key; most of the time what the older ones sealed is to be written anew.
    fn exchange_keys(&self, random: &mut StdRng) -> Result<(), Error> {
        let Some(keyring) = &self.keyring else { return Ok(()) };
        keyring.rotate()?;
        if random.random_bool(0.7) {
            keyring.request_rewrite()?;
            self.node.rewrite();
        }
        Ok(())
    }
}

fn open(power: &mut dyn Power) -> Result<Running, Error> {
    let store = power.open()?;
    let config = NodeConfig {
        cluster_id: store.cluster_id,
        member_id: store.member_id,
        boot: store.boot,
        flush_bytes: 24 << 10,
        ..NodeConfig::default()
    };
    let node = Node::open(config, store.log, store.records)?;
    Ok(Running { node, keyring: store.keyring, fails: Arc::default() })
}

/// Opens the store; some of the time the power fails while it opens.
fn open_under_cuts(
    power: &mut dyn Power,
    random: &mut StdRng,
    tally: &mut NodeTally,
) -> Result<Running, String> {
    for _ in 0..if power.cuts_openings() { random.random_range(0..3) } else { 0 } {
        power.arm(true, random);
        drop(open(power)); // it may have opened before the power failed
        power.cut(random)?;
        tally.cuts += 1;
    }
    Ok(open(power).expect("a store opens after power failures"))
}

/// One life of a store with `rounds` power cuts while it is written.
///
/// # Errors
/// The machine failed.
///
/// # Panics
/// The store broke a promise.
pub fn run(power: &mut dyn Power, seed: u64, rounds: usize) -> Result<NodeTally, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally = NodeTally::default();
    let mut callers: Vec<Caller> = (0..CALLERS).map(Caller::new).collect();
    for round in 0..rounds {
        let mut running = open_under_cuts(power, &mut random, &mut tally)?;
        check(&running.node, &mut callers, round);

        running.fails = power.arm(false, &mut random);
        thread::scope(|scope| {
            for caller in &mut callers {
                let (running, seed) = (&running, random.random());
                scope.spawn(move || caller.run(running, &mut StdRng::seed_from_u64(seed)));
            }
        });
        running.node.shutdown();
        drop(running);
        power.cut(&mut random)?;
        tally.cuts += 1;
    }
    let running = open(power).expect("a store opens after power failures");
    check(&running.node, &mut callers, rounds);
    let hash = block_on(running.node.hash_kv(0)).expect("everything can be read").hash;
    drop(running);
    let running = open(power).expect("a store opens again");
    assert_eq!(block_on(running.node.hash_kv(0)).expect("everything can be read").hash, hash);
    drop(running);
    tally.acknowledged = callers.iter().map(|caller| caller.acknowledged).sum();
    tally.operations = power.operations();
    Ok(tally)
}

fn check(node: &Node, callers: &mut [Caller], round: usize) {
    callers.iter_mut().for_each(|caller| caller.check(node));
    let status = block_on(node.status()).expect("an opened node answers");
    let acknowledged = callers.iter().map(|caller| caller.revision).max().unwrap_or(0);
    let compacted = callers.iter().map(|caller| caller.compact_revision).max().unwrap_or(0);
    assert!(status.header.revision >= acknowledged, "round {round}: the revision went back");
    assert!(status.compact_revision >= compacted, "round {round}: the compact revision went back");
    block_on(node.hash_kv(0)).expect("everything can be read");
}
