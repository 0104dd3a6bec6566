//! The file seam: the few operations on files and directories that a backend needs.
//!
//! Every byte that a backend reads or writes passes through [`Io`] and [`File`], so that tests can count calls,
//! inject faults and cut the power between any two of them.
//!
//! - [`RealIo`]: the file system, with `pread`, `pwrite`, `fdatasync` and `flock`.
//! - [`SimDisk`]: a disk in memory that remembers what was never synced, and can lose any subset of it.
//!
//! # Contract
//! - What [`File::sync_data`] covered survives a crash: content and length of that file.
//! - A name survives once [`Io::sync_dir`] of its directory returned; renames are atomic.
//! - Everything else may be kept, lost or reordered by a crash, per 512-byte sector and per directory operation.
//! - After a failed sync nothing is known of what was unsynced; a later sync that succeeds says nothing of it.

mod real;
mod sim;

pub use real::RealIo;
pub use sim::{Fault, SimCounters, SimDisk};

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file that only its owner may read or write; it is an error if it exists.
    Create,
}

/// What came of an attempt to lock a store.
pub enum LockAttempt {
    /// It is ours until the guard is dropped or the process ends.
    Held(Box<dyn LockGuard>),
    /// A live process holds it.
    Busy {
        /// Its process id, if it can be read.
        owner: Option<u32>,
    },
}

impl fmt::Debug for LockAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(_) => f.write_str("Held"),
            Self::Busy { owner } => f.debug_struct("Busy").field("owner", owner).finish(),
        }
    }
}

/// Holds a lock; dropping it gives the lock back.
pub trait LockGuard: Send + Sync + 'static {}

/// The file system as a backend sees it. All paths are absolute or relative to the process.
pub trait Io: Send + Sync + 'static {
    /// Creates one directory that only its owner may enter; its parent exists. An existing directory is an error of
    /// kind `AlreadyExists`.
    ///
    /// # Errors
    /// What the system answers.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// `NotFound` if there is none, `NotADirectory` if it is a file.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the system answers.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Renames a file within its directory, replacing the target.
    ///
    /// # Errors
    /// What the system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name. Open handles stay usable.
    ///
    /// # Errors
    /// What the system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system answers; then it is unknown which names are durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Takes the lock that the file at `path` stands for and leaves our process id in it. Never waits. The lock of
    /// a dead process is free.
    ///
    /// # Errors
    /// The file cannot be created or written.
    fn lock(&self, path: &Path) -> io::Result<LockAttempt>;

    /// Takes the lock as [`lock`](Self::lock) does, but changes nothing: no process id is left behind, and where there is
    /// no such file nobody has locked it, and it is not made.
    ///
    /// # Errors
    /// The file cannot be read.
    fn lock_unchanged(&self, path: &Path) -> io::Result<LockAttempt>;

    /// The wall clock, for what people read: nothing is decided by it.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Bytes that can still be taken on the file system of a directory, if that can be told.
    ///
    /// # Errors
    /// What the system answers.
    fn free_bytes(&self, _directory: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Fills `bytes` from the system's random generator.
    ///
    /// # Errors
    /// The generator failed.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// An open file. Positions are explicit; any thread may use it.
pub trait File: Send + Sync + 'static {
    /// Reads at `offset`, as many bytes as one call gives; 0 at the end.
    ///
    /// # Errors
    /// What the system answers.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, as many bytes as one call takes.
    ///
    /// # Errors
    /// What the system answers.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// What the system answers; then it is unknown what is durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends with zeros.
    ///
    /// # Errors
    /// What the system answers.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the system answers.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no byte.
    ///
    /// # Errors
    /// What the system answers.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads until `bytes` is full or the file ends; returns how much was read.
///
/// # Errors
/// The first error that is not an interruption.
pub fn read_full(file: &dyn File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `bytes`; one call of the system unless it takes less than it was given.
///
/// # Errors
/// The first error that is not an interruption; a part may have been written.
pub fn write_full(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
