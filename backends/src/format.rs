//! What the formats of all backends have in common. `docs/formats.md` has them byte by byte.

pub(crate) mod header;
pub(crate) mod piece;
pub(crate) mod wire;

use coffer_core::storage::StorageError;
use header::FORMAT_VERSION;
use std::path::Path;

/// Damage, named.
pub(crate) fn corrupt(
    path: &Path,
    offset: u64,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> StorageError {
    StorageError::Corrupt { path: path.to_owned(), offset, expected: expected.into(), found: found.into() }
}

/// The refusal of a store that another version of the program wrote.
pub(crate) fn unknown_version(path: &Path, version: u32) -> StorageError {
    let reason = format!(
        "has format version {version}, and this program knows version {FORMAT_VERSION}: open it with the version of \
         Coffer that wrote it, or a newer one"
    );
    StorageError::Format { path: path.to_owned(), reason }
}
