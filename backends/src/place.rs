//! The place of a store, whatever its backend: its directory, its lock, who it is, and errors that a person can cure.

use crate::io::{Io, LockAttempt, LockGuard};
use crate::seal::Keyring;
use coffer_core::storage::StorageError;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The file that is locked while a store is open; holds the owner's process id.
pub(crate) const LOCK: &str = "LOCK";

/// Who a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This copy on this medium.
    pub store_id: [u8; 16],
    /// The cluster; drawn at creation, and replaced when the store joins another.
    pub cluster_id: u64,
    /// The member of that cluster; not 0.
    pub member_id: u64,
    /// How often the store was opened: grows durably with each opening.
    pub boot: u64,
}

/// Who a new store is to be, where that is decided already: a member whose store moves to another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The cluster.
    pub cluster_id: u64,
    /// The member of that cluster; not 0.
    pub member_id: u64,
    /// The last boot number that the member used.
    pub boot: u64,
}

impl Founding {
    /// A new member of a new cluster.
    pub(crate) fn draw(path: &Path, io: &dyn Io) -> Result<Self, StorageError> {
        Ok(Self { cluster_id: nonzero(path, io)?, member_id: nonzero(path, io)?, boot: 0 })
    }
}

impl From<Identity> for Founding {
    fn from(identity: Identity) -> Self {
        Self { cluster_id: identity.cluster_id, member_id: identity.member_id, boot: identity.boot }
    }
}

/// The lock of a store: one process, one opening. Held by both halves; given back when both are gone. The keyring, which
/// may be held for longer, changes nothing after that.
pub(crate) struct StoreLock {
    keyring: OnceLock<Arc<Keyring>>,
    _guard: Box<dyn LockGuard>,
}

impl StoreLock {
    /// Takes the lock of the store in `directory`.
    pub(crate) fn take(directory: &Path, io: &dyn Io) -> Result<Self, StorageError> {
        let path = directory.join(LOCK);
        match io.lock(&path) {
            Ok(LockAttempt::Held(guard)) => Ok(Self { keyring: OnceLock::new(), _guard: guard }),
            Ok(LockAttempt::Busy { owner }) => Err(StorageError::InUse { path: directory.to_owned(), owner }),
            Err(error) => Err(StorageError::io_or_no_room("lock", path, error)),
        }
    }

    /// Takes the lock and leaves no trace of it; a store without the file of the lock, as a copy may be, has none.
    pub(crate) fn take_unchanged(directory: &Path, io: &dyn Io) -> Result<Self, StorageError> {
        let path = directory.join(LOCK);
        match io.lock_unchanged(&path) {
            Ok(LockAttempt::Held(guard)) => Ok(Self { keyring: OnceLock::new(), _guard: guard }),
            Ok(LockAttempt::Busy { owner }) => Err(StorageError::InUse { path: directory.to_owned(), owner }),
            Err(error) => Err(StorageError::io("lock", path, error)),
        }
    }

    /// Says that the store has this keyring.
    pub(crate) fn covers(&self, keyring: &Arc<Keyring>) {
        // A store has one keyring, so there is nothing to replace.
        let _ = self.keyring.set(keyring.clone());
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        if let Some(keyring) = self.keyring.get() {
            keyring.close();
        }
    }
}

/// Creates the directory and those above it that are missing.
pub(crate) fn create_directories(path: &Path, io: &dyn Io, create: bool) -> Result<(), StorageError> {
    match io.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        // One that exists may still be of no use; its first use will tell.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(StorageError::io("open directory", path, error)),
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_directories(parent, io, create)?;
    }
    match io.create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StorageError::io_or_no_room("create directory", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes the way to a directory durable, whether this opening or an earlier one that failed created it.
pub(crate) fn sync_way_to(path: &Path, io: &dyn Io) -> Result<(), StorageError> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    for directory in path.ancestors().skip(1) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match io.sync_dir(directory) {
            Ok(()) => {}
            // A directory that we may not read, or that cannot be synced, is none that we created.
            Err(error) if matches!(error.kind(), PermissionDenied | InvalidInput | ReadOnlyFilesystem) => {}
            Err(error) => return Err(StorageError::io("sync directory", directory, error)),
        }
    }
    Ok(())
}

/// Fills an array from the system's random generator, for the store at `path`.
pub(crate) fn random<const N: usize>(path: &Path, io: &dyn Io) -> Result<[u8; N], StorageError> {
    let mut bytes = [0; N];
    io.random(&mut bytes).map_err(|error| StorageError::io("draw random bytes for", path, error))?;
    Ok(bytes)
}

/// A random id that is not 0.
fn nonzero(path: &Path, io: &dyn Io) -> Result<u64, StorageError> {
    loop {
        let id = u64::from_le_bytes(random(path, io)?);
        if id != 0 {
            return Ok(id);
        }
    }
}

/// Says what to do about errors that a person can cure.
pub(crate) fn explain(path: &Path, error: StorageError) -> StorageError {
    let StorageError::Io { source, .. } = &error else { return error };
    let advice = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "let the user that runs this read and write it, or name another directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount it for writing, or name another directory",
        io::ErrorKind::NotADirectory => "name a directory",
        io::ErrorKind::NotFound => "name the directory of a store, or allow it to be created",
        _ => return error,
    };
    StorageError::Format { path: path.to_owned(), reason: format!("cannot be used ({error}): {advice}") }
}
