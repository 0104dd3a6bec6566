//! Errors of a storage backend.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Why a storage call failed. None of these is ever an outcome of a command: each stops the node, but for
/// [`NoRoom`](Self::NoRoom) and, where a reader meets it, [`Replaced`](Self::Replaced).
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused an operation.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was attempted: "open", "write", "fdatasync".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The medium has no room. Nothing of the call happened and nothing is poisoned: it may be made again.
    #[error("{operation} {}: {source}", path.display())]
    NoRoom {
        /// What was attempted: "write", "create", "rename".
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged at offset {offset}: expected {expected}, found {found}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// An earlier write or sync failed; what is on the medium is unknown until the store is opened again.
    #[error("store is poisoned: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The store was written by a format that this program does not know, or is no store at all.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The store is sealed, and no key that opens it was given. Nothing was changed.
    #[error("{reason}")]
    Key {
        /// What was given, why it does not open the store, and what to do.
        reason: String,
    },
    /// A snapshot took the place of what was there while somebody read it, and the history that was asked for is not in it.
    /// No fault.
    #[error("compacted up to revision {compact_revision} by a snapshot")]
    Replaced {
        /// The oldest revision that can be read now.
        compact_revision: i64,
    },
    /// Another process has the store open.
    #[error("{} is in use{}", path.display(), owner.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    InUse {
        /// The store.
        path: PathBuf,
        /// Process id of the owner, if known.
        owner: Option<u32>,
    },
}

impl StorageError {
    /// Wraps an I/O error with what was attempted on which file.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { operation, path: path.into(), source: Arc::new(source) }
    }

    /// The file or directory that it is about, if it names one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Corrupt { path, .. }
            | Self::Format { path, .. }
            | Self::NoRoom { path, .. }
            | Self::InUse { path, .. } => Some(path),
            Self::Poisoned { .. } | Self::Key { .. } | Self::Replaced { .. } => None,
        }
    }

    /// Whether the medium had no room.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } | Self::NoRoom { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// As [`io`](Self::io), for an operation that happened in no part that counts if it failed: a write beyond what
    /// is in use, a creation, a renaming. A lack of room then is [`NoRoom`](Self::NoRoom). Never for a sync: what it
    /// leaves behind is unknown, whatever it answers.
    pub fn io_or_no_room(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoRoom { operation, path: path.into(), source: Arc::new(source) }
            }
            _ => Self::io(operation, path, source),
        }
    }

    /// Whether the call did not happen for lack of room, and may be made again.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom { .. })
    }
}

impl From<StorageError> for crate::Error {
    fn from(error: StorageError) -> Self {
        match &error {
            StorageError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            StorageError::Format { .. } | StorageError::InUse { .. } | StorageError::Key { .. } => {
                Self::Open(error.to_string())
            }
            StorageError::Replaced { compact_revision } => {
                Self::Compacted { compact_revision: *compact_revision }
            }
            StorageError::NoRoom { .. } => Self::Open(format!("{error}: free some space there")),
            StorageError::Io { .. } | StorageError::Poisoned { .. } => Self::Fatal(error.to_string()),
        }
    }
}
