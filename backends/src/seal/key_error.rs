//! What can go wrong between the one who holds a key and the root key of a store.

use super::slots::{SlotId, SlotKind};
use coffer_core::storage::StorageError;
use std::path::PathBuf;
use thiserror::Error;

/// Why a key does not open a store, or its slots cannot be changed. Nothing was changed when one of these is returned,
/// except where [`KeyError::Storage`] says that a write failed: then the old slots or the new ones are on the disk.
/// None of them contains a byte of a key.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file of the slots cannot be read or written, or is damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The source gives no key.
    #[error("{origin}: {reason}")]
    Source {
        /// Which source: its kind and place.
        origin: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The source gives a key, and it is another one.
    #[error("{}: {origin} opens none of its slots of kind {kind}: it is not this store's key", path.display())]
    WrongKey {
        /// The file of the slots.
        path: PathBuf,
        /// Which source: its kind and place.
        origin: String,
        /// Its kind.
        kind: SlotKind,
    },
    /// No slot is for a source of this kind.
    #[error("{}: it has no slot of kind {kind}; it opens with: {present}", path.display())]
    NoSlotOfKind {
        /// The file of the slots.
        path: PathBuf,
        /// The kind of the source that was given.
        kind: SlotKind,
        /// The kinds that there are.
        present: String,
    },
    /// A slot or the table of the slots is not what was written with the root key.
    #[error("{}: {what} was changed by someone who has not this store's root key", path.display())]
    Tampered {
        /// The file of the slots.
        path: PathBuf,
        /// What does not verify.
        what: String,
    },
    /// There is no slot with this id.
    #[error("there is no slot {0}")]
    NoSuchSlot(SlotId),
    /// Without this slot nobody could open the store.
    #[error("slot {0} is the only one, without it nobody could open the store: add another one first")]
    LastSlot(SlotId),
    /// The table is full.
    #[error("there are {0} slots already, and no more are possible: remove one first")]
    Full(usize),
    /// A label is too long to be stored.
    #[error("a label has at most {max} bytes, this one has {found}")]
    LongLabel {
        /// The limit.
        max: usize,
        /// What was given.
        found: usize,
    },
}

impl KeyError {
    pub(super) fn source(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Source { origin: origin.into(), reason: reason.into() }
    }
}

impl From<KeyError> for StorageError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Storage(error) => error,
            KeyError::Tampered { path, what } => Self::Corrupt {
                path,
                offset: 0,
                expected: format!("{what} as it was written with the root key"),
                found: "something else".into(),
            },
            other => Self::Key { reason: other.to_string() },
        }
    }
}
