//! All keys of one store together, to be looked at and changed: by the process that has it open, or of a closed one.
//!
//! Changes go through here one at a time, so that nobody replaces slots that he has not seen.
//!
//! # Invariants
//! - Whoever has one of these holds the store's lock, or shares the keyring of an opening that holds it.

use super::keyring::Keyring;
use super::sealing::RootKey;
use super::slots::{SLOTS_FILE, SlotId, SlotInfo, Slots};
use super::source::KeySource;
use crate::io::{Io, RealIo};
use crate::place::StoreLock;
use coffer_core::storage::StorageError;
use parking_lot::Mutex;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The keys of one store: its slots, and its data keys.
pub struct StoreKeys {
    slots: Mutex<Slots>,
    keyring: Arc<Keyring>,
    /// The slot that was opened, where that is known.
    opened: Option<SlotId>,
    /// Of a closed store.
    _lock: Option<StoreLock>,
}

impl StoreKeys {
    /// Those of a store in the file system that this process has open, and that gave this keyring.
    ///
    /// # Errors
    /// The slots cannot be read: the store has none, or they are damaged.
    pub fn of_open(directory: &Path, keyring: Arc<Keyring>) -> Result<Self, StorageError> {
        let slots = Slots::open(Arc::new(RealIo), directory)?;
        Ok(Self { slots: Mutex::new(slots), keyring, opened: None, _lock: None })
    }

    /// Those of a store in the file system that nobody has open, and that nobody else opens as long as this lives.
    ///
    /// # Errors
    /// The store is in use, is not sealed, does not open with this key, or is damaged. Nothing was changed.
    pub fn of_closed(directory: &Path, source: &KeySource) -> Result<Self, StorageError> {
        let io: Arc<dyn Io> = Arc::new(RealIo);
        check_sealed(directory, &*io)?;
        let lock = StoreLock::take(directory, &*io)?;
        let (slots, opened, keyring) = unlock(io, directory, source)?;
        lock.covers(&keyring);
        Ok(Self { slots: Mutex::new(slots), keyring, opened: Some(opened), _lock: Some(lock) })
    }

    /// The slots of the store in a directory, open or closed, which are readable without a key: nothing says that they
    /// are authentic.
    ///
    /// # Errors
    /// The store is not sealed, or its slots are damaged.
    pub fn slots_in(directory: &Path) -> Result<Vec<SlotInfo>, StorageError> {
        check_sealed(directory, &RealIo)?;
        Ok(Slots::open(Arc::new(RealIo), directory)?.list())
    }

    /// Whether a key opens the store in a directory, open or closed: the slot that it opens, having checked the slots and
    /// the keyring. Changes nothing.
    ///
    /// # Errors
    /// It does not open it, or slots or keyring are damaged.
    pub fn verify(directory: &Path, source: &KeySource) -> Result<(SlotInfo, Arc<Keyring>), StorageError> {
        check_sealed(directory, &RealIo)?;
        let (slots, opened, keyring) = unlock(Arc::new(RealIo), directory, source)?;
        keyring.close();
        let slot = slots.list().into_iter().find(|slot| slot.id == opened);
        slot.map(|slot| (slot, keyring)).ok_or_else(|| super::KeyError::NoSuchSlot(opened).into())
    }

    /// The slots, ascending by id.
    pub fn slots(&self) -> Vec<SlotInfo> {
        self.slots.lock().list()
    }

    /// The data keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Adds a slot for `source`. Durable when it returns.
    ///
    /// # Errors
    /// As for [`Slots::add`].
    pub fn add(&self, source: &KeySource, label: &str) -> Result<SlotId, StorageError> {
        Ok(self.slots.lock().add(self.keyring.root(), source, label)?)
    }

    /// Removes a slot: its key opens the store no longer. Durable when it returns.
    ///
    /// # Errors
    /// As for [`Slots::remove`].
    pub fn remove(&self, id: SlotId) -> Result<(), StorageError> {
        Ok(self.slots.lock().remove(self.keyring.root(), id)?)
    }

    /// Rewraps the root key in a slot: by default the one that opened the store, or the only one. Durable when it
    /// returns.
    ///
    /// # Errors
    /// Nobody said which of several slots is meant; or as for [`Slots::rotate_kek`].
    pub fn rotate_kek(&self, id: Option<SlotId>, source: &KeySource) -> Result<SlotId, StorageError> {
        let mut slots = self.slots.lock();
        let list = slots.list();
        let only = || if list.len() == 1 { list.first().map(|slot| slot.id) } else { None };
        let Some(id) = id.or(self.opened).or_else(only) else {
            let reason = format!("there are {} slots: say which one is meant", list.len());
            return Err(StorageError::Key { reason });
        };
        slots.rotate_kek(self.keyring.root(), id, source)?;
        Ok(id)
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreKeys").field("keyring", &self.keyring).finish_non_exhaustive()
    }
}

fn unlock(
    io: Arc<dyn Io>,
    directory: &Path,
    source: &KeySource,
) -> Result<(Slots, SlotId, Arc<Keyring>), StorageError> {
    let slots = Slots::open(io.clone(), directory)?;
    let (opened, root) = slots.unlock_slot(source)?;
    let root = RootKey::new(slots.store_id(), root);
    let keyring = Keyring::open(io, directory, root, true)?;
    Ok((slots, opened, Arc::new(keyring)))
}

fn check_sealed(directory: &Path, io: &dyn Io) -> Result<(), StorageError> {
    let names = io.list(directory).map_err(|error| StorageError::io("open directory", directory, error))?;
    match names.iter().any(|name| name == SLOTS_FILE) {
        true => Ok(()),
        false => Err(StorageError::Key {
            reason: format!("{} holds no sealed store: it has no key slots", directory.display()),
        }),
    }
}
