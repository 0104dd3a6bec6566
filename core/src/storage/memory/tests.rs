use super::MemoryDisk;
use crate::storage::StorageError;
use crate::storage::conformance::{Fault, Harness, LogIo, Opened};
use std::sync::Arc;

/// A memory disk in the hands of the suite.
struct MemoryHarness(MemoryDisk);

impl Harness for MemoryHarness {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let (log, records) = self.0.open()?;
        Ok(Opened { log: Box::new(log), records: Arc::new(records) })
    }

    fn operations(&self) -> u64 {
        self.0.operations()
    }

    fn arm(&mut self, at: u64, fault: Fault) -> bool {
        self.0.arm(at, fault);
        true
    }

    fn disarm(&mut self) {
        self.0.disarm();
    }

    fn fired(&self) -> bool {
        self.0.fired()
    }

    fn crash(&mut self, seed: u64) {
        self.0.crash(seed);
    }

    fn flip(&mut self, seed: u64) -> Option<String> {
        self.0.damage(seed)
    }

    fn log_io(&self) -> Option<LogIo> {
        Some(self.0.log_io())
    }
}

mod suite {
    use super::{MemoryDisk, MemoryHarness};

    crate::conformance_tests!(|| Box::new(MemoryHarness(MemoryDisk::simulated())) as _);
}
