//! The in-memory reference backend: the contract of [`Log`](super::Log) and [`Records`](super::Records) in its
//! plainest form, the medium of `mem:` stores, and a disk for simulations.
//!
//! A [`MemoryDisk`] is the medium: it outlives the handles, so that opening it again is a restart. What was not
//! synced yet lies apart from what was, so that [`MemoryDisk::crash`] can lose it.
//!
//! # Invariants
//! - Log operations become durable in their order: a crash keeps a prefix of those that were not synced.
//! - A flush and an installation become durable as a whole.
//! - One pair of handles is valid at a time. A crash invalidates it: its later calls fail and change nothing.
//!
//! - A disk that is full keeps everything: what needs room fails and can be tried again. Nothing is set aside.
//!
//! # Left out
//! There are no bytes to tear or to checksum. [`MemoryDisk::damage`] marks something stored as damaged instead.

mod blocks;
mod faults;
mod log;
mod records;
#[cfg(test)]
mod tests;

pub use log::MemoryLog;
pub use records::MemoryRecords;

use super::StorageError;
use super::conformance::{Fault, LogIo};
use faults::{Faults, Operation, Strike};
use log::LogImage;
use parking_lot::{Mutex, RwLock};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use records::RecordsImage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// What survives a restart. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    medium: Arc<Medium>,
}

#[derive(Debug, Default)]
struct Medium {
    /// A purge waits for the next write, as on a real disk, instead of freeing memory at once.
    purges_lazily: bool,
    log: RwLock<LogImage>,
    records: RwLock<RecordsImage>,
    /// Held while a flush or an installation happens: a power cut comes before or after it.
    records_change: Mutex<()>,
    faults: Faults,
    /// Something found no room, and nobody found any since.
    full: AtomicBool,
    session: Mutex<Weak<Session>>,
}

/// One opening of the disk; both handles share it.
#[derive(Debug, Default)]
struct Session {
    over: AtomicBool,
}

impl Session {
    /// Fails once the power was cut under this session.
    fn check(&self) -> Result<(), StorageError> {
        if self.over.load(Ordering::Acquire) {
            return Err(StorageError::Poisoned { reason: "the power was cut".into() });
        }
        Ok(())
    }
}

impl Medium {
    /// Counts a mutating operation, and remembers if it finds no room.
    fn mutate(&self, operation: Operation, path: &str) -> Result<(), Strike> {
        self.faults.mutate(operation, path).inspect_err(|strike| {
            if strike.error.is_no_room() {
                self.full.store(true, Ordering::Release);
            }
        })
    }
}

impl MemoryDisk {
    /// An empty disk that frees memory as early as it can.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk for simulations: everything that a real disk may lose in a crash can be lost, purges included.
    pub fn simulated() -> Self {
        Self { medium: Arc::new(Medium { purges_lazily: true, ..Medium::default() }) }
    }

    /// Opens the store on this disk.
    ///
    /// # Errors
    /// [`StorageError::InUse`] while handles of an earlier opening live, [`StorageError::Corrupt`] after
    /// [`damage`](Self::damage) to the log or the checkpoint, or an injected fault.
    pub fn open(&self) -> Result<(MemoryLog, MemoryRecords), StorageError> {
        let mut session = self.medium.session.lock();
        if session.upgrade().is_some_and(|old| old.check().is_ok()) {
            return Err(StorageError::InUse { path: "mem:".into(), owner: Some(std::process::id()) });
        }
        self.medium.faults.read("open", "mem:")?;
        let state = self.medium.log.write().recover()?;
        self.medium.records.write().recover()?;
        self.medium.full.store(false, Ordering::Release);
        let opened = Arc::new(Session::default());
        *session = Arc::downgrade(&opened);
        let log = MemoryLog::new(self.medium.clone(), opened.clone(), state);
        Ok((log, MemoryRecords::new(self.medium.clone(), opened)))
    }

    /// Cuts the power: open handles become useless, and of what was not synced a part survives that `seed` decides.
    /// Disarms.
    pub fn crash(&self, seed: u64) {
        if let Some(session) = self.medium.session.lock().upgrade() {
            session.over.store(true, Ordering::Release);
        }
        let mut rng = SmallRng::seed_from_u64(seed);
        self.medium.log.write().crash(&mut rng);
        let _alone = self.medium.records_change.lock();
        let kept = self.medium.records.write().crash(&mut rng);
        if let Some(pending) = kept {
            pending.apply(&self.medium.records);
        }
        self.medium.faults.disarm();
    }

    /// Lets `fault` strike at the `at`-th operation from now; see [`Fault`]. The operations of this disk are the
    /// writes, syncs and swaps that a file system would do for it.
    pub fn arm(&self, at: u64, fault: Fault) {
        self.medium.faults.arm(at, fault);
    }

    /// Takes back what was armed.
    pub fn disarm(&self) {
        self.medium.faults.disarm();
    }

    /// Whether the fault armed last has struck.
    pub fn fired(&self) -> bool {
        self.medium.faults.fired()
    }

    /// Mutating operations so far.
    pub fn operations(&self) -> u64 {
        self.medium.faults.operations()
    }

    /// The I/O that the log's groups did so far.
    pub fn log_io(&self) -> LogIo {
        self.medium.log.read().io()
    }

    /// Damages one stored thing that `seed` chooses: a log entry or the checkpoint (the next opening is refused) or
    /// a record (reading its block fails). Returns which, or `None` if nothing is stored.
    pub fn damage(&self, seed: u64) -> Option<String> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut log, mut records) = (self.medium.log.write(), self.medium.records.write());
        if rng.random_bool(0.5) {
            log.damage(&mut rng).or_else(|| records.damage(&mut rng))
        } else {
            records.damage(&mut rng).or_else(|| log.damage(&mut rng))
        }
    }
}
