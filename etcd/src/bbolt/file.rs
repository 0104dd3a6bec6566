//! A file that is read by position, and damage in it.

use coffer_core::storage::StorageError;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file, locked against bbolt's writers for as long as it lives.
#[derive(Debug)]
pub struct BoltFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl BoltFile {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// [`StorageError::InUse`] while etcd has it open; [`StorageError::Format`] if it is no file; I/O.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let failed = |error| StorageError::io("open", path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let reason = "is no file".into();
            return Err(StorageError::Format { path: path.to_owned(), reason });
        }
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse { path: path.to_owned(), owner: None });
            }
            // A file system without locks: then nobody else can hold one.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(StorageError::io("lock", path, error)),
        }
        Ok(Self { path: path.to_owned(), file, bytes: metadata.len() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads exactly `into.len()` bytes.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the file ends before; I/O.
    pub fn read(&self, into: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.file.read_exact_at(into, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.corrupt(offset, format!("{} bytes", into.len()), "the end of the file")
            }
            _ => StorageError::io("read", &self.path, error),
        })
    }

    /// Damage, named.
    pub(crate) fn corrupt(
        &self,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> StorageError {
        StorageError::Corrupt {
            path: self.path.clone(),
            offset,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
