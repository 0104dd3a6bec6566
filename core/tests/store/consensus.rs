//! Consensus of one member over the in-memory log: founding, recovery, purging, faults.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use coffer_core::Error;
use coffer_core::consensus::{Consensus, ConsensusConfig, Machine, ProposeError};
use coffer_core::storage::MemoryDisk;
use coffer_core::storage::conformance::Fault;
use coffer_core::storage::{
    EntryKind, Inspector, Log, LogEntry, LogId, LogOp, LogReader, LogState, RewriteProgress, StorageError,
};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Long enough for any machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a machine has applied, as the test sees it.
#[derive(Default)]
struct Applied {
    payloads: Vec<Bytes>,
    entries: Vec<LogId>,
    membership: Option<(LogId, Bytes)>,
    /// Payload that breaks the machine: with an error or a panic.
    error_at: Option<Bytes>,
    panic_at: Option<Bytes>,
}

/// A machine in memory. Cloning [`Applied`] out and back in stands for flushed records.
struct Journal(Arc<Mutex<Applied>>);

impl Machine for Journal {
    fn applied(&self) -> Option<LogId> {
        self.0.lock().entries.last().copied()
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        self.0.lock().membership.clone()
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        let mut applied = self.0.lock();
        for entry in entries {
            if applied.error_at.as_ref() == Some(&entry.payload) {
                return Err(StorageError::Poisoned { reason: "on purpose".into() });
            }
            if applied.panic_at.as_ref() == Some(&entry.payload) {
                drop(applied);
                panic!("on purpose");
            }
            let expected = applied.entries.last().map_or(0, |last| last.index + 1);
            assert_eq!(entry.id.index, expected, "in order, once, without a gap");
            applied.entries.push(entry.id);
            match entry.kind {
                EntryKind::Blank => {}
                EntryKind::Normal => applied.payloads.push(entry.payload.clone()),
                EntryKind::Membership => applied.membership = Some((entry.id, entry.payload.clone())),
            }
        }
        Ok(())
    }
}

fn fresh() -> Arc<Mutex<Applied>> {
    Arc::default()
}

fn start(disk: &MemoryDisk, applied: &Arc<Mutex<Applied>>) -> Result<Consensus, Error> {
    let (log, _) = disk.open().unwrap();
    start_over(Box::new(log), applied)
}

fn start_over(log: Box<dyn Log>, applied: &Arc<Mutex<Applied>>) -> Result<Consensus, Error> {
    let config = ConsensusConfig { node_id: 7, ..ConsensusConfig::default() };
    Consensus::start(config, log, Box::new(Journal(applied.clone())))
}

/// Proposes and waits for the outcome.
fn propose(consensus: &Consensus, payload: impl Into<Bytes>) -> Result<(), ProposeError> {
    let (sender, outcome) = mpsc::channel();
    consensus.propose(payload.into(), Box::new(move |result| sender.send(result).unwrap()));
    outcome.recv_timeout(PATIENCE).unwrap()
}

fn payloads(applied: &Arc<Mutex<Applied>>) -> Vec<Bytes> {
    applied.lock().payloads.clone()
}

/// Waits until `condition`.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn founds_leads_and_applies() {
    let applied = fresh();
    let consensus = start(&MemoryDisk::new(), &applied).unwrap();
    let status = consensus.status();
    assert!(status.is_leader && status.sole_voter && !status.is_learner, "{status:?}");
    assert_eq!((status.node_id, status.leader, status.term), (7, Some(7), 1));
    assert_eq!(consensus.term(), 1);

    for payload in ["a", "b", "c"] {
        propose(&consensus, payload).unwrap();
    }
    assert_eq!(payloads(&applied), ["a", "b", "c"]);
    let status = consensus.status();
    assert_eq!(status.applied, status.last);
    assert_eq!(status.applied, status.log_durable);
    assert_eq!(status.failed, None);
    consensus.log_barrier(status.applied.unwrap()).unwrap();
    assert!(consensus.read_barrier().now_or_never().is_some(), "a sole voter reads at once");
    assert_eq!(applied.lock().membership.as_ref().unwrap().0, LogId { term: 0, index: 0 });
}

#[test]
fn an_outcome_is_told_after_the_machine_has_applied() {
    let applied = fresh();
    let consensus = start(&MemoryDisk::new(), &applied).unwrap();
    let (sender, outcomes) = mpsc::channel();
    for n in 0..1000_u32 {
        let (sender, applied) = (sender.clone(), applied.clone());
        let payload = Bytes::copy_from_slice(&n.to_be_bytes());
        let done = move |result| {
            let seen = applied.lock().payloads.len();
            sender.send((n, result, seen)).unwrap();
        };
        consensus.propose(payload, Box::new(done));
    }
    for n in 0..1000 {
        let (told, result, seen) = outcomes.recv_timeout(PATIENCE).unwrap();
        assert_eq!((told, result), (n, Ok(())), "in order");
        assert!(seen > n as usize);
    }
}

#[test]
fn a_restart_replays_what_was_not_flushed() {
    let disk = MemoryDisk::new();
    let applied = fresh();
    let consensus = start(&disk, &applied).unwrap();
    for n in 0..100 {
        propose(&consensus, format!("{n}")).unwrap();
    }
    drop(consensus);
    let all = payloads(&applied);

    // Nothing was flushed.
    let lost = fresh();
    let consensus = start(&disk, &lost).unwrap();
    assert_eq!(payloads(&lost), all, "applied when `start` returns");
    assert_eq!(consensus.term(), 2);
    propose(&consensus, "after").unwrap();
    drop(consensus);

    // A part was flushed.
    let part = fresh();
    {
        let lost = lost.lock();
        let mut part = part.lock();
        part.entries = lost.entries[..50].to_vec();
        part.payloads = lost.payloads[..48].to_vec();
        part.membership = lost.membership.clone();
    }
    let consensus = start(&disk, &part).unwrap();
    assert_eq!(payloads(&part), payloads(&lost));
    assert_eq!(consensus.term(), 3);
}

#[test]
fn a_power_cut_keeps_what_was_acknowledged() {
    for seed in 0..20 {
        let disk = MemoryDisk::simulated();
        let applied = fresh();
        let consensus = start(&disk, &applied).unwrap();
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        for n in 0..200_u32 {
            let payload = Bytes::copy_from_slice(&n.to_be_bytes());
            let acknowledged = acknowledged.clone();
            let record = payload.clone();
            let done = move |result: Result<(), _>| {
                if result.is_ok() {
                    acknowledged.lock().push(record);
                }
            };
            consensus.propose(payload, Box::new(done));
        }
        eventually("some are acknowledged", || acknowledged.lock().len() > 10 + seed as usize);
        disk.crash(seed);
        drop(consensus);

        let again = fresh();
        let consensus = start(&disk, &again).unwrap();
        let acknowledged = acknowledged.lock().clone();
        assert_eq!(payloads(&again)[..acknowledged.len()], acknowledged[..], "seed {seed}");
        propose(&consensus, "after").unwrap();
    }
}

#[test]
fn a_purged_log_restarts_with_what_was_flushed() {
    let disk = MemoryDisk::simulated();
    let applied = fresh();
    let consensus = start(&disk, &applied).unwrap();
    for n in 0..50 {
        propose(&consensus, format!("{n}")).unwrap();
    }
    let flushed = consensus.status().applied.unwrap();
    consensus.log_barrier(flushed).unwrap();
    consensus.purge(flushed);
    eventually("the log is purged", || consensus.status().purged == Some(flushed));
    propose(&consensus, "after the purge").unwrap();
    let upto = consensus.status().applied.unwrap();
    consensus.purge(upto);
    eventually("the log is empty", || consensus.status().purged == Some(upto));
    propose(&consensus, "more").unwrap();
    drop(consensus);

    // The machine keeps what it holds: it was flushed.
    let consensus = start(&disk, &applied).unwrap();
    propose(&consensus, "last").unwrap();
    assert_eq!(payloads(&applied).len(), 53);
    drop(consensus);

    // A machine that lost its records is refused.
    let error = start(&disk, &fresh()).unwrap_err();
    assert!(matches!(&error, Error::Corrupt(text) if text.contains("records are missing")), "{error}");
}

#[test]
fn a_log_that_lost_entries_is_refused() {
    let applied = fresh();
    let consensus = start(&MemoryDisk::new(), &applied).unwrap();
    propose(&consensus, "a").unwrap();
    drop(consensus);
    let error = start(&MemoryDisk::new(), &applied).unwrap_err();
    assert!(matches!(&error, Error::Corrupt(text) if text.contains("log entries are missing")), "{error}");
}

#[test]
fn a_failed_log_stops_consensus_and_leaves_the_outcome_unknown() {
    let disk = MemoryDisk::new();
    let applied = fresh();
    let consensus = start(&disk, &applied).unwrap();
    propose(&consensus, "fine").unwrap();
    let (sender, faults) = mpsc::channel();
    consensus.on_failure(Box::new(move |fault| sender.send(fault).unwrap()));

    disk.arm(0, Fault::Error);
    assert_eq!(propose(&consensus, "lost"), Err(ProposeError::Unknown));
    let fault = faults.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(fault, Error::Fatal(_)), "{fault:?}");
    assert!(faults.recv_timeout(PATIENCE).is_err(), "told once");
    assert_eq!(propose(&consensus, "later"), Err(ProposeError::Stopped(fault.clone())));
    assert_eq!(consensus.read_barrier().now_or_never(), Some(Err(fault.clone())));
    assert_eq!(consensus.status().failed, Some(fault.clone()));
    assert!(consensus.log_barrier(LogId { term: 1, index: 99 }).is_err());
    let (sender, late) = mpsc::channel();
    consensus.on_failure(Box::new(move |fault| sender.send(fault).unwrap()));
    assert_eq!(late.try_recv(), Ok(fault));
    consensus.shutdown();
    assert_eq!(payloads(&applied), ["fine"]);
}

#[test]
fn a_failed_machine_stops_consensus() {
    for panics in [false, true] {
        let applied = fresh();
        let bad = Some(Bytes::from_static(b"bad"));
        if panics {
            applied.lock().panic_at = bad;
        } else {
            applied.lock().error_at = bad;
        }
        let consensus = start(&MemoryDisk::new(), &applied).unwrap();
        let (sender, faults) = mpsc::channel();
        consensus.on_failure(Box::new(move |fault| sender.send(fault).unwrap()));
        assert_eq!(propose(&consensus, "bad"), Err(ProposeError::Unknown));
        let fault = faults.recv_timeout(PATIENCE).unwrap();
        assert!(fault.to_string().contains("on purpose"), "{fault}");
        assert_eq!(propose(&consensus, "later"), Err(ProposeError::Stopped(fault)));
    }
}

/// A log whose writes panic.
struct Panicking(Box<dyn Log>);

impl Log for Panicking {
    fn state(&self) -> LogState {
        self.0.state()
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        let bad =
            |op: &LogOp| matches!(op, LogOp::Append(entries) if entries.iter().any(|e| e.payload == "bad"));
        assert!(!ops.iter().any(bad), "on purpose");
        self.0.write(ops, committed)
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.0.purge(up_to)
    }

    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.0.rewrite(copy_bytes_max)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.0.trim()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.0.reader()
    }

    fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes()
    }
}

#[test]
fn a_panic_of_the_log_stops_consensus() {
    let (log, _records) = MemoryDisk::new().open().unwrap();
    let consensus = start_over(Box::new(Panicking(Box::new(log))), &fresh()).unwrap();
    let (sender, faults) = mpsc::channel();
    consensus.on_failure(Box::new(move |fault| sender.send(fault).unwrap()));
    propose(&consensus, "good").unwrap();
    assert_eq!(propose(&consensus, "bad"), Err(ProposeError::Unknown));
    assert!(faults.recv_timeout(PATIENCE).unwrap().to_string().contains("on purpose"));
}

#[test]
fn a_panic_of_a_proposer_stops_consensus() {
    let consensus = start(&MemoryDisk::new(), &fresh()).unwrap();
    let (sender, faults) = mpsc::channel();
    consensus.on_failure(Box::new(move |fault| sender.send(fault).unwrap()));
    consensus.propose("x".into(), Box::new(|_| panic!("on purpose")));
    assert!(faults.recv_timeout(PATIENCE).unwrap().to_string().contains("on purpose"));
}

#[test]
fn a_machine_that_fails_while_it_recovers_fails_the_start() {
    let disk = MemoryDisk::new();
    let consensus = start(&disk, &fresh()).unwrap();
    propose(&consensus, "bad").unwrap();
    drop(consensus);
    let applied = fresh();
    applied.lock().error_at = Some(Bytes::from_static(b"bad"));
    let error = start(&disk, &applied).unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[test]
fn too_much_at_once_is_refused_and_room_comes_back() {
    let applied = fresh();
    let (log, _) = MemoryDisk::new().open().unwrap();
    let config = ConsensusConfig { proposals_max: 8, proposal_bytes_max: 100, ..ConsensusConfig::default() };
    let consensus = Consensus::start(config, Box::new(log), Box::new(Journal(applied.clone()))).unwrap();
    propose(&consensus, vec![0; 1000]).expect("one is always taken");

    let held = applied.lock();
    let (sender, outcomes) = mpsc::channel();
    for _ in 0..20 {
        let sender = sender.clone();
        consensus.propose(vec![1].into(), Box::new(move |result| sender.send(result).unwrap()));
    }
    let refused: Vec<_> = (0..12).map(|_| outcomes.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(refused.iter().all(|result| *result == Err(ProposeError::Overloaded)));
    drop(held);
    let taken: Vec<_> = (0..8).map(|_| outcomes.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(taken.iter().all(Result::is_ok));
    propose(&consensus, "again").unwrap();
}

#[test]
fn shutdown_answers_everything_that_is_under_way() {
    let applied = fresh();
    let consensus = start(&MemoryDisk::new(), &applied).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let failures = Arc::new(Mutex::new(0));
    let count = failures.clone();
    consensus.on_failure(Box::new(move |_| *count.lock() += 1));
    for _ in 0..1000 {
        let told = told.clone();
        consensus.propose("x".into(), Box::new(move |result| told.lock().push(result)));
    }
    consensus.shutdown();
    consensus.shutdown();
    let told = std::mem::take(&mut *told.lock());
    assert_eq!(told.len(), 1000);
    assert!(told.iter().all(|result| matches!(result, Ok(()) | Err(ProposeError::Unknown))));
    assert_eq!(propose(&consensus, "later"), Err(ProposeError::Stopped(Error::Stopped)));
    assert_eq!(*failures.lock(), 0, "a shutdown is no failure");
}

#[test]
fn leadership_is_told_at_once_and_ends_with_the_shutdown() {
    let consensus = start(&MemoryDisk::new(), &fresh()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = told.clone();
    consensus.on_leadership(Box::new(move |term| record.lock().push(term)));
    consensus.shutdown();
    assert_eq!(*told.lock(), [Some(1), None]);
}

#[test]
fn a_large_log_replays_in_order() {
    let disk = MemoryDisk::new();
    let applied = fresh();
    let consensus = start(&disk, &applied).unwrap();
    let (sender, outcomes) = mpsc::channel();
    for n in 0..300_u32 {
        let mut payload = vec![0; 50_000];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        let sender = sender.clone();
        consensus.propose(payload.into(), Box::new(move |result| sender.send(result).unwrap()));
    }
    for _ in 0..300 {
        outcomes.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    drop(consensus);
    let again = fresh();
    let _consensus = start(&disk, &again).unwrap();
    assert_eq!(payloads(&again), payloads(&applied));
}

/// Payload bytes that were read from the log and are not applied yet, and the most that they ever were.
#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A log that counts what is read from it.
struct Weighed {
    log: Box<dyn Log>,
    held: Arc<Held>,
}

impl Log for Weighed {
    fn state(&self) -> LogState {
        self.log.state()
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        self.log.write(ops, committed)
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.log.purge(up_to)
    }

    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.log.rewrite(copy_bytes_max)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.log.trim()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(WeighedReader { log: self.log.reader(), held: self.held.clone() })
    }

    fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }
}

struct WeighedReader {
    log: Arc<dyn LogReader>,
    held: Arc<Held>,
}

impl LogReader for WeighedReader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.log.read(range, bytes_max, &mut |entry| {
            let bytes = entry.payload.len();
            let now = self.held.now.fetch_add(bytes, Ordering::AcqRel) + bytes;
            self.held.most.fetch_max(now, Ordering::AcqRel);
            visit(entry)
        })
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError> {
        self.log.verify(inspector)
    }
}

struct WeighedMachine(Journal, Arc<Held>);

impl Machine for WeighedMachine {
    fn applied(&self) -> Option<LogId> {
        self.0.applied()
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        self.0.membership()
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        self.0.apply(entries)?;
        // What never left memory, such as the blank entry of this start, was not read.
        let bytes = entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
        self.1
            .now
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_sub(bytes)))
            .unwrap();
        Ok(())
    }
}

#[test]
fn a_replay_holds_little_of_the_log_in_memory() {
    const MIB: usize = 1 << 20;
    let disk = MemoryDisk::new();
    let consensus = start(&disk, &fresh()).unwrap();
    for n in 0..60 {
        propose(&consensus, vec![n; MIB]).unwrap();
    }
    drop(consensus);
    let (log, _) = disk.open().unwrap();
    let (applied, held) = (fresh(), Arc::new(Held::default()));
    let log = Weighed { log: Box::new(log), held: held.clone() };
    let machine = WeighedMachine(Journal(applied.clone()), held.clone());
    let config = ConsensusConfig { node_id: 7, ..ConsensusConfig::default() };
    let _consensus = Consensus::start(config, Box::new(log), Box::new(machine)).unwrap();
    let replayed = payloads(&applied);
    assert_eq!(replayed.len(), 60);
    assert!(replayed.iter().enumerate().all(|(n, payload)| *payload == vec![n as u8; MIB]));
    let most = held.most.load(Ordering::Acquire);
    assert!((MIB..=8 * MIB).contains(&most), "{most} bytes were held at once");
}

#[test]
fn the_memory_log_passes_the_suite_of_openraft() {
    coffer_core::consensus::conformance::check_log(|| {
        let (log, records) = MemoryDisk::new().open().unwrap();
        (records, Box::new(log))
    });
}
