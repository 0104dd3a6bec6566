//! Stores that come and go in one process leave nothing behind. Alone in its process: it counts threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use coffer_core::consensus::{Consensus, ConsensusConfig, Machine};
use coffer_core::storage::MemoryDisk;
use coffer_core::storage::{LogEntry, LogId, StorageError};
use std::sync::mpsc;
use std::time::{Duration, Instant};

struct Nothing(Option<LogId>);

impl Machine for Nothing {
    fn applied(&self) -> Option<LogId> {
        self.0
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        None
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        self.0 = entries.last().map(|entry| entry.id).or(self.0);
        Ok(())
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_thousand_stores_leave_no_thread() {
    let before = threads();
    for n in 0..1000 {
        let (log, _records) = MemoryDisk::new().open().unwrap();
        let consensus =
            Consensus::start(ConsensusConfig::default(), Box::new(log), Box::new(Nothing(None))).unwrap();
        let (sender, outcome) = mpsc::channel();
        consensus.propose("x".into(), Box::new(move |result| drop(sender.send(result))));
        if n % 2 == 0 {
            outcome.recv().unwrap().unwrap();
            consensus.shutdown();
        }
    }
    // A joined thread leaves /proc a moment later.
    let deadline = Instant::now() + Duration::from_secs(60);
    while threads() > before {
        assert!(Instant::now() < deadline, "{} threads before, {} after", before, threads());
        std::thread::yield_now();
    }
}
