//! Consensus over the segment log: openraft's own log-store suite, and power cuts between proposals.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::consensus::{Consensus, ConsensusConfig, Machine, conformance};
use coffer_core::storage::{EntryKind, LogEntry, LogId, StorageError};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn open(disk: &SimDisk) -> SegmentStore {
    let options = Options {
        log_file_bytes: 64 << 10,
        reserve_bytes_max: 64 << 10,
        background: false,
        ..Options::default()
    };
    SegmentStore::open_on(Path::new("/store"), AtRest::Unsealed, options, Arc::new(disk.clone())).unwrap()
}

#[test]
fn the_segment_log_passes_the_suite_of_openraft() {
    conformance::check_log(|| {
        let store = open(&SimDisk::new(1));
        (store.records, store.log)
    });
}

/// Keeps the payloads that it has applied.
#[derive(Default)]
struct Journal {
    applied: Option<LogId>,
    payloads: Arc<Mutex<Vec<Bytes>>>,
}

impl Machine for Journal {
    fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        None
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        self.applied = entries.last().map(|entry| entry.id).or(self.applied);
        let normal = entries.iter().filter(|entry| entry.kind == EntryKind::Normal);
        self.payloads.lock().extend(normal.map(|entry| entry.payload.clone()));
        Ok(())
    }
}

#[test]
fn power_cuts_keep_what_was_acknowledged() {
    let disk = SimDisk::new(7);
    let mut acknowledged: Vec<Bytes> = Vec::new();
    for round in 0..10_u64 {
        let store = open(&disk);
        let journal = Journal::default();
        let payloads = journal.payloads.clone();
        let consensus = Consensus::start(ConsensusConfig::default(), store.log, Box::new(journal)).unwrap();
        assert_eq!(payloads.lock()[..acknowledged.len()], acknowledged[..], "round {round}");
        // What was applied at this start is acknowledged to later rounds as well: it was on the medium.
        acknowledged = payloads.lock().clone();

        let (sender, outcomes) = mpsc::channel();
        for n in 0..100_u64 {
            let payload = Bytes::from([round.to_be_bytes(), n.to_be_bytes()].concat());
            let (sender, kept) = (sender.clone(), payload.clone());
            consensus.propose(payload, Box::new(move |outcome| drop(sender.send((outcome, kept)))));
        }
        for _ in 0..10 + round {
            let (outcome, payload) = outcomes.recv_timeout(Duration::from_secs(30)).unwrap();
            outcome.unwrap();
            acknowledged.push(payload);
        }
        disk.crash(round);
        drop(consensus);
    }
}
