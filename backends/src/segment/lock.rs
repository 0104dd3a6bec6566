//! The lock of a store: one process, one opening.

use super::directory::{Directory, LOCK};
use crate::io::{LockAttempt, LockGuard};
use coffer_core::storage::StorageError;

/// Held by both halves of an open store; gives the lock back when both are gone.
pub(super) struct StoreLock {
    _guard: Box<dyn LockGuard>,
}

impl StoreLock {
    pub(super) fn take(directory: &Directory) -> Result<Self, StorageError> {
        let path = directory.file_path(LOCK);
        match directory.io().lock(&path) {
            Ok(LockAttempt::Held(guard)) => Ok(Self { _guard: guard }),
            Ok(LockAttempt::Busy { owner }) => {
                Err(StorageError::InUse { path: directory.path().to_owned(), owner })
            }
            Err(error) => Err(StorageError::io("lock", path, error)),
        }
    }
}
