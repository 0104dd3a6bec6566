//! Looking at a closed store without changing it: what `coffer verify --data-dir` does.
//!
//! An opening writes: it begins a log file, a manifest, a keyring. Here everything is read only, so that a copy on a medium
//! that cannot be written is as good as the store itself. The store's lock is held meanwhile, if it has one.

use crate::backend::Backend;
use crate::io::{Io, RealIo};
use crate::place::{StoreLock, explain};
use crate::seal::slots::{SLOTS_FILE, SlotId, Slots};
use crate::seal::{AtRest, RootKey};
use crate::{segment, sqlite};
use coffer_core::storage::{Inspector, LogState, Records, StorageError};
use std::path::Path;
use std::sync::Arc;

/// A closed store that was looked at. The lock is held until the records are let go.
pub struct Inspected {
    /// What the log says, if it is whole.
    pub log: Option<LogState>,
    /// The records, to be read, if all of them can be opened. Nothing may be written to them.
    pub records: Option<Arc<dyn Records>>,
    /// How it is kept.
    pub backend: Backend,
    /// Records that are intact.
    pub intact: u64,
    /// Whether it is sealed.
    pub sealed: bool,
    /// The slot that the given key opens.
    pub slot: Option<SlotId>,
}

/// What a backend finds.
pub(crate) struct Halves {
    pub(crate) log: Option<LogState>,
    pub(crate) records: Option<Arc<dyn Records>>,
    pub(crate) intact: u64,
    pub(crate) sealed: bool,
}

/// Reads and checks everything of the closed store in a directory of the file system, and goes on past damage. What is
/// to be compared between log, records and state is left to the caller.
///
/// # Errors
/// As for opening it: there is no store, it is in use, or does not open with this key. Damage is an error only if nothing
/// can be looked at because of it.
pub fn inspect(
    path: &Path,
    at_rest: AtRest,
    inspector: &mut dyn Inspector,
) -> Result<Inspected, StorageError> {
    inspect_on(path, at_rest, &sqlite::Options::default(), Arc::new(RealIo), inspector)
}

/// As [`inspect`], of a directory that `io` reaches, and SQLite by the VFS of `options`.
///
/// # Errors
/// As for [`inspect`].
pub fn inspect_on(
    path: &Path,
    at_rest: AtRest,
    options: &sqlite::Options,
    io: Arc<dyn Io>,
    inspector: &mut dyn Inspector,
) -> Result<Inspected, StorageError> {
    inspect_all(path, at_rest, options, io, inspector).map_err(|error| explain(path, error))
}

fn inspect_all(
    path: &Path,
    at_rest: AtRest,
    options: &sqlite::Options,
    io: Arc<dyn Io>,
    inspector: &mut dyn Inspector,
) -> Result<Inspected, StorageError> {
    let names = list(path, &*io)?;
    let Some(backend) = Backend::of_names(&names) else {
        let reason = "holds no store: name the directory of one".into();
        return Err(StorageError::Format { path: path.to_owned(), reason });
    };
    let lock = Arc::new(StoreLock::take_unchanged(path, &*io)?);
    let (at_rest, slot) = unlock(path, at_rest, &io)?;
    let halves = match backend {
        Backend::Segment => segment::inspect(path, at_rest, io, lock, inspector),
        Backend::Sqlite => sqlite::inspect(path, at_rest, options, io, lock, inspector),
    };
    let Halves { log, records, intact, sealed } = halves?;
    Ok(Inspected { log, records, backend, intact, sealed, slot })
}

pub(crate) fn list(path: &Path, io: &dyn Io) -> Result<Vec<String>, StorageError> {
    io.list(path).map_err(|error| StorageError::io("list", path, error))
}

/// Finds the slot that the key opens, so that it can be told, and the source is asked once.
fn unlock(path: &Path, at_rest: AtRest, io: &Arc<dyn Io>) -> Result<(AtRest, Option<SlotId>), StorageError> {
    match at_rest {
        AtRest::Keyed(source) if list(path, &**io)?.iter().any(|name| name == SLOTS_FILE) => {
            let slots = Slots::open(io.clone(), path)?;
            let (slot, root) = slots.unlock_slot(&source)?;
            Ok((AtRest::Sealed(RootKey::new(slots.store_id(), root)), Some(slot)))
        }
        other => Ok((other, None)),
    }
}
