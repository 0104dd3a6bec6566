//! What the test code of a backend gives to the suite: a medium that can be cut, broken and bent at will.

use crate::storage::{Findings, Log, Records, StorageError};
use std::sync::Arc;

/// Both halves of an open store.
pub struct Opened {
    /// The log.
    pub log: Box<dyn Log>,
    /// The records.
    pub records: Arc<dyn Records>,
}

/// What goes wrong at an armed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine dies: this mutating operation and every one after it fails and does nothing, until
    /// [`Harness::crash`].
    Crash,
    /// This mutating operation fails once with an I/O error and does nothing. A failed sync may also have lost any
    /// part of what it should have made durable, although later syncs succeed.
    Error,
    /// The medium is full: this mutating operation and every later one that needs room fails with
    /// [`io::ErrorKind::StorageFull`](std::io::ErrorKind::StorageFull), until [`Harness::disarm`]. Syncs and removals
    /// need none.
    NoSpace,
    /// This operation, or the first write after it, stores only a part of its bytes and then fails once.
    ShortWrite,
    /// This *reading* operation (counted apart from the mutating ones) fails once with an I/O error.
    ReadError,
}

/// I/O that [`Log::write`] did for groups, and nothing else did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogIo {
    /// Write calls.
    pub writes: u64,
    /// Sync calls.
    pub syncs: u64,
}

/// One store on one medium, under the control of the suite. A new harness holds an empty medium.
///
/// A *mutating operation* is whatever the medium does that can fail by itself and can be lost or kept by itself:
/// for files create, write, set_len, sync, directory sync, rename, unlink. Counting need not be deterministic (a
/// backend may prepare files in the background), but it should be nearly so.
pub trait Harness {
    /// Opens the store as it lies on the medium; creates it on an empty one. The suite has dropped the handles of
    /// the last opening before, which closes the store. Armed faults stay armed, so that recovery can be hit too.
    ///
    /// # Errors
    /// Whatever the backend answers.
    fn open(&mut self) -> Result<Opened, StorageError>;

    /// Mutating operations so far, failed ones included.
    fn operations(&self) -> u64;

    /// Lets `fault` strike at the `at`-th operation from now (1: the next one), in place of an earlier arming.
    /// Returns `false`, and changes nothing, if this medium knows no such fault: the suite then leaves it out.
    fn arm(&mut self, at: u64, fault: Fault) -> bool;

    /// Takes back what was armed; ends a full medium.
    fn disarm(&mut self);

    /// Whether the fault armed last has struck.
    fn fired(&self) -> bool;

    /// Cuts the power; the suite has dropped all handles, or is about to drop them and calls nothing on them.
    /// What was synced stays. What was not survives in an arbitrary subset, torn where the medium can tear, that
    /// `seed` decides; the same history and the same seed leave the same medium. Disarms.
    fn crash(&mut self, seed: u64);

    /// Flips one bit, chosen by `seed`, somewhere in what is stored, while the store is closed. Returns where (for
    /// messages), or `None` if this medium has no bits.
    fn flip(&mut self, seed: u64) -> Option<String>;

    /// Verifies the store as it lies on the medium, while it is closed, without changing anything. `None` if the backend
    /// can do that only by opening it.
    fn verify_closed(&mut self) -> Option<Result<Findings, StorageError>> {
        None
    }

    /// Whether the store is sealed with keys that can be exchanged.
    fn has_keys(&self) -> bool {
        false
    }

    /// Exchanges the keys that seal the open store: durably, and all that is written from now on is
    /// sealed with the new ones. With `carries_over` what the old ones sealed is to be written anew as well.
    ///
    /// # Errors
    /// Whatever the backend answers.
    fn exchange_keys(&mut self, carries_over: bool) -> Result<(), StorageError> {
        let _ = carries_over;
        Ok(())
    }

    /// The log's group I/O so far, or `None` if this medium does not count it.
    fn log_io(&self) -> Option<LogIo>;
}
