//! Counts the operations of a memory disk and lets armed faults strike.

use crate::storage::StorageError;
use crate::storage::conformance::Fault;
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a mutating operation is to a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Needs room and can be cut short.
    Write,
    /// Makes durable.
    Sync,
    /// Swaps one name for another.
    Rename,
}

/// An operation that an armed fault hit.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) error: StorageError,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Mutex<Armed>,
    /// Reads up to and including the one that fails; 0 if none is to fail.
    reads_left: AtomicU64,
}

#[derive(Debug, Default)]
struct Armed {
    operations: u64,
    /// The fault, and the operation count from which on it strikes.
    fault: Option<(u64, Fault)>,
    fired: bool,
}

impl Faults {
    /// Counts one mutating operation.
    pub(super) fn mutate(&self, operation: Operation, path: &str) -> Result<(), Strike> {
        let mut armed = self.armed.lock();
        armed.operations += 1;
        let Some((from, fault)) = armed.fault else { return Ok(()) };
        let strikes = match fault {
            Fault::Crash | Fault::Error => true,
            Fault::NoSpace | Fault::ShortWrite => operation == Operation::Write,
            Fault::ReadError => false,
        };
        if armed.operations < from || !strikes {
            return Ok(());
        }
        armed.fired = true;
        if matches!(fault, Fault::Error | Fault::ShortWrite) {
            armed.fault = None;
        }
        let name = match operation {
            Operation::Write => "write",
            Operation::Sync => "fdatasync",
            Operation::Rename => "rename",
        };
        Err(Strike { fault, error: StorageError::io_or_no_room(name, path, injected(fault)) })
    }

    /// Counts one reading operation.
    pub(super) fn read(&self, operation: &'static str, path: &str) -> Result<(), StorageError> {
        // The common case must not make readers share a cache line for writing.
        if self.reads_left.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let step = |left: u64| left.checked_sub(1);
        if self.reads_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) != Ok(1) {
            return Ok(());
        }
        self.armed.lock().fired = true;
        Err(StorageError::io(operation, path, injected(Fault::ReadError)))
    }

    pub(super) fn arm(&self, at: u64, fault: Fault) {
        self.disarm();
        if fault == Fault::ReadError {
            self.reads_left.store(at, Ordering::Relaxed);
            return;
        }
        let mut armed = self.armed.lock();
        armed.fault = Some((armed.operations + at, fault));
    }

    pub(super) fn disarm(&self) {
        let mut armed = self.armed.lock();
        armed.fault = None;
        armed.fired = false;
        self.reads_left.store(0, Ordering::Relaxed);
    }

    pub(super) fn fired(&self) -> bool {
        self.armed.lock().fired
    }

    pub(super) fn operations(&self) -> u64 {
        self.armed.lock().operations
    }
}

fn injected(fault: Fault) -> io::Error {
    match fault {
        Fault::Crash => io::Error::other("the power was cut"),
        Fault::NoSpace => io::ErrorKind::StorageFull.into(),
        Fault::ShortWrite => io::ErrorKind::WriteZero.into(),
        Fault::Error | Fault::ReadError => io::Error::other("injected fault"),
    }
}
