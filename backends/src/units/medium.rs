//! What a medium of units can do.

use super::unit::{Sink, Unit};
use crate::seal::Sealing;
use coffer_core::storage::{Checking, Checkpoint, Halt, ReclaimProgress, StorageError};
use std::sync::{Arc, Weak};

/// The medium that holds the units of one store, and the manifest that says which of them count.
pub(crate) trait Medium: Send + Sync + Sized + 'static {
    /// What a unit is written to.
    type Sink: Sink + Send;

    /// Begins a unit. It counts for nothing before a manifest names it. `presses`: it is worth what is set aside for a
    /// medium without room.
    fn begin_unit(&self, presses: bool) -> Result<Self::Sink, StorageError>;

    /// What seals the store.
    fn sealing(&self) -> &Sealing;

    /// Whether another manifest would let go of older keys: the one there is, or what it replaces, is sealed with them.
    fn is_manifest_outdated(&self) -> bool;

    /// Called when units are finished and before a manifest names them.
    fn settle(&self) -> Result<(), StorageError>;

    /// Makes these units and this checkpoint the content, durably, all or nothing. If there is no room for that it
    /// surely did not happen.
    fn put_manifest(&self, units: &[Arc<Unit>], checkpoint: Option<&Checkpoint>) -> Result<(), StorageError>;

    /// Gives up a unit that no manifest names. It stays readable as long as `readers` live.
    fn remove(&self, id: u64, readers: Weak<Unit>);

    /// Gives up a unit that another one replaced, as [`remove`](Self::remove) does. Its space may come back in slices
    /// of [`cut_retired`](Self::cut_retired): that of a large file at once holds up everybody's writes.
    fn retire(&self, unit: &Arc<Unit>);

    /// Gives back a slice of what is retired. `false` if nothing is.
    fn cut_retired(&self) -> bool;

    /// Called before a slice of a rewriting, or of giving back.
    ///
    /// # Errors
    /// [`StorageError::NoRoom`] if it would take what a flush needs first.
    fn check_room_to_reclaim(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Gives back some space of what was removed, if that does not happen by itself.
    fn give_back(&self) -> Result<ReclaimProgress, StorageError>;

    /// Whether [`give_back`](Self::give_back) has something to do now.
    fn has_garbage(&self) -> bool;

    /// Checks what is below the units: the manifest, and what the medium has of its own.
    fn verify(&self, checking: &mut Checking<'_>) -> Result<(), Halt>;

    /// Bytes on the medium, given those of all units.
    fn disk_bytes(&self, units: u64) -> u64;

    /// See [`Records::has_room`](coffer_core::storage::Records::has_room).
    fn has_room(&self) -> bool;

    /// See [`Records::recover_room`](coffer_core::storage::Records::recover_room), for records of `disk_bytes`.
    fn recover_room(&self, disk_bytes: u64) -> Result<bool, StorageError>;

    /// See [`Records::flush_room_bytes`](coffer_core::storage::Records::flush_room_bytes).
    fn flush_room_bytes(&self) -> u64;
}
