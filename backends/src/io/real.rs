//! The file system of the machine.

use super::{File, Io, LockAttempt, LockGuard, OpenMode};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Only the owner reads, writes and enters: what is stored is nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealIo;

impl Io for RealIo {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => _ = options.write(true),
            OpenMode::Create => _ = options.write(true).create_new(true).mode(FILE_MODE),
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        // An empty parent means the working directory.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        fs::File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        if let Some(busy) = try_lock(&file)? {
            return Ok(busy);
        }
        // The id is for people. On a full disk there may be no room for it, and the lock is held all the same; what was
        // there is overwritten before it is cut, so that its block stays.
        let owner = format!("{}\n", std::process::id());
        match file.rewind().and_then(|()| file.write_all(owner.as_bytes())) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {}
            written => written.and_then(|()| file.set_len(owner.len() as u64))?,
        }
        Ok(LockAttempt::Held(Box::new(RealLock::new(file))))
    }

    fn lock_unchanged(&self, path: &Path) -> io::Result<LockAttempt> {
        match fs::File::open(path) {
            Ok(file) => match try_lock(&file)? {
                Some(busy) => Ok(busy),
                None => Ok(LockAttempt::Held(Box::new(RealLock::new(file)))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LockAttempt::Held(Box::new(NoLock))),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<Option<u64>> {
        let told = rustix::fs::statvfs(directory)?;
        Ok(Some(told.f_bavail.saturating_mul(told.f_frsize)))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
    }
}

/// Locks an open file; returns who has it if somebody has.
fn try_lock(file: &fs::File) -> io::Result<Option<LockAttempt>> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let mut reader = file;
            let owner = reader.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Ok(Some(LockAttempt::Busy { owner }))
        }
        Err(error) => Err(error.into()),
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// The kernel drops the lock with the last descriptor, so a dead owner never blocks anybody.
struct RealLock {
    file: fs::File,
    owner: u32,
}

impl RealLock {
    fn new(file: fs::File) -> Self {
        Self { file, owner: std::process::id() }
    }
}

impl LockGuard for RealLock {}

impl Drop for RealLock {
    /// Not left to the last descriptor: a process that another thread begins meanwhile has all of them until it runs its own
    /// program, and a fork keeps them. What a fork drops is not its own.
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            // Closing it is the rest.
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Of a place that has nothing to lock.
struct NoLock;

impl LockGuard for NoLock {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process that is being started has of this one's descriptors keeps nobody out; a fork that ends lets nobody in.
    #[test]
    fn a_lock_ends_with_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("LOCK");
        let is_busy = || matches!(RealIo.lock(&path).expect("a lock"), LockAttempt::Busy { .. });
        let locked = || {
            let file = fs::File::create(&path).expect("a file");
            assert!(try_lock(&file).expect("a lock").is_none());
            let fork = file.try_clone().expect("a descriptor");
            (file, fork)
        };
        let (file, _fork) = locked();
        let lock = RealLock::new(file);
        assert!(is_busy());
        drop(lock);
        assert!(!is_busy());
        let (file, fork) = locked();
        drop(RealLock { file, owner: 0 });
        assert!(is_busy(), "it was not the owner's");
        drop(fork);
        assert!(!is_busy());
    }
}
