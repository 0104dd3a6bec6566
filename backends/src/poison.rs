//! The end of a half of the store: after a failed write or sync nobody knows what the medium holds.

use coffer_core::storage::StorageError;
use std::sync::OnceLock;

/// The first failure, for ever.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: OnceLock<String>,
}

impl Poison {
    /// Fails if anything failed before.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        match self.reason.get() {
            None => Ok(()),
            Some(reason) => Err(StorageError::Poisoned { reason: reason.clone() }),
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.reason.get().is_none()
    }

    /// Ends this half for `error`, whatever it is.
    pub(crate) fn end(&self, error: &StorageError) {
        // The first reason stays; later ones are its consequences.
        let _ = self.reason.set(error.to_string());
    }

    /// Remembers a failure, and passes it on. A lack of room is none: what was to happen did not.
    pub(crate) fn note<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result
            && !error.is_no_room()
        {
            self.end(error);
        }
        result
    }
}
