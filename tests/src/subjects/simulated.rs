//! A machine whose store lies on a simulated disk: whatever opens on [`SimDisk`] is tested with it.

use super::{Machine, Stored};
use coffer_backends::io::{Fault as DiskFault, SimDisk};
use coffer_core::storage::StorageError;
use coffer_core::storage::conformance::{Fault, Harness, LogIo, Medium, Opened, Region};
use std::path::Path;

/// How a kind of store is opened on a simulated disk, and what its files hold.
#[derive(Clone, Copy)]
pub struct SimulatedStore {
    /// Opens the store on the disk; creates it on an empty one.
    pub open: fn(&SimDisk) -> Result<Stored, StorageError>,
    /// Cuts the content of a file into regions.
    pub regions: fn(&str, &[u8]) -> Vec<Region>,
}

/// A machine with such a store.
pub struct Simulated {
    disk: SimDisk,
    store: SimulatedStore,
}

impl Simulated {
    /// A machine with an empty disk.
    pub fn new(store: SimulatedStore) -> Self {
        Self { disk: SimDisk::new(1), store }
    }
}

impl Machine for Simulated {
    fn open_stored(&mut self) -> Result<Stored, StorageError> {
        (self.store.open)(&self.disk)
    }
}

impl Harness for Simulated {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let Stored { log, records, .. } = self.open_stored()?;
        Ok(Opened { log, records })
    }

    fn operations(&self) -> u64 {
        self.disk.counters().operations
    }

    fn arm(&mut self, at: u64, fault: Fault) -> bool {
        let counters = self.disk.counters();
        let fault = match fault {
            Fault::Crash => DiskFault::Crash,
            Fault::Error => DiskFault::Eio,
            Fault::NoSpace => DiskFault::NoSpace,
            Fault::ShortWrite => DiskFault::ShortWrite,
            Fault::ReadError => {
                self.disk.arm_read(counters.reads + at);
                return true;
            }
        };
        self.disk.arm(counters.operations + at, fault);
        true
    }

    fn disarm(&mut self) {
        self.disk.disarm();
    }

    fn fired(&self) -> bool {
        self.disk.fired()
    }

    fn crash(&mut self, seed: u64) {
        self.disk.crash(seed);
    }

    fn flip(&mut self, _: u64) -> Option<String> {
        None
    }

    fn log_io(&self) -> Option<LogIo> {
        None
    }
}

impl Medium for Simulated {
    fn fork(&self) -> Box<dyn Medium> {
        Box::new(Self { disk: self.disk.fork(), store: self.store })
    }

    fn regions(&self) -> Vec<Region> {
        let files = self.disk.files().into_iter();
        files
            .flat_map(|path| {
                let content = self.disk.content(&path).unwrap_or_default();
                (self.store.regions)(&path.to_string_lossy(), &content)
            })
            .collect()
    }

    fn flip_bit(&mut self, file: &str, bit: u64) {
        self.disk.flip(Path::new(file), (bit / 8) as usize, (bit % 8) as u8);
    }
}
