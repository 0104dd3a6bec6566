//! The slots: who may open the store.
//!
//! Each slot holds the root key, wrapped by a key-encryption key (KEK) that one [source](super::source) gives: a
//! passphrase, a key file, an external command, or Kubernetes' key management. Any one of them opens the store. Changing a
//! slot rewraps 32 bytes and touches nothing else of the store.
//!
//! All slots live in one small file, `slots` in the store's directory (`docs/formats.md`, section 9). It is readable
//! without a key, so that one can see which keys would open the store, and authentic only with one:
//! [`Slots::open`] checks it against accidents, [`Slots::unlock`] against people.
//!
//! # Invariants
//! - The file is replaced as a whole: written beside, synced, renamed, directory synced. After a crash it is the old or
//!   the new one. What [`Slots::open`] has read is durable when it returns.
//! - There is always a slot; the last one cannot be removed.
//! - A key is tried by its check value, which commits to it, and never by whether a tag happens to verify.
//! - A slot's wrap covers everything in the slot and the store's id; a MAC of the root key covers the whole table. Who does
//!   not hold the root key cannot add, change, swap or drop a slot unseen. Putting back an older file as a whole cannot be
//!   seen: a removed slot opens that one.
//! - Ids of slots are never used twice.
//!
//! Whoever changes slots holds the store's lock; two writers of one file are not told apart here.

mod replace;
mod slot;
mod table;

pub use slot::{SlotId, SlotInfo, SlotKind};
pub use table::SLOTS_MAX;

use super::key_error::KeyError;
use super::secret::SecretKey;
use super::source::KeySource;
use crate::format::corrupt;
use crate::io::{Io, RealIo};
use coffer_core::storage::StorageError;
use slot::{LABEL_BYTES_MAX, Slot, Unwrapped};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use table::Table;

/// The name of the file in the store's directory.
pub const SLOTS_FILE: &str = "slots";
/// What a replacement of it is called while it is written. Left behind by a crash, it means nothing.
pub const SLOTS_FILE_NEW: &str = "slots.new";

/// The slots of one store.
pub struct Slots {
    io: Arc<dyn Io>,
    path: PathBuf,
    table: Table,
}

impl Slots {
    /// Whether the directory of a store has slots.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn exists(io: &dyn Io, directory: &Path) -> Result<bool, StorageError> {
        let names = io.list(directory).map_err(|error| StorageError::io("list", directory, error))?;
        Ok(names.iter().any(|name| name == SLOTS_FILE))
    }

    /// Draws a root key for the store `store_id` and makes one slot, number 1, for `source`. Durable when it returns.
    ///
    /// # Errors
    /// The directory has slots already, the source gives no key, or the file cannot be written.
    pub fn create(
        io: Arc<dyn Io>,
        directory: &Path,
        store_id: [u8; 16],
        source: &KeySource,
        label: &str,
    ) -> Result<(Self, SecretKey), KeyError> {
        let path = directory.join(SLOTS_FILE);
        if Self::exists(&*io, directory)? {
            let reason = "the store has key slots already".into();
            return Err(StorageError::Format { path, reason }.into());
        }
        let root = SecretKey::random()?;
        let mut slots = Self { io, path, table: Table::new(store_id) };
        let slot = slots.make(SlotId::FIRST, &root, source, label)?;
        slots.commit(&root, slots.table.with(slot))?;
        Ok((slots, root))
    }

    /// Reads the slots of a store. Nothing is believed yet: what they say may have been changed by anybody who can write
    /// to the directory, until [`unlock`](Self::unlock) has succeeded.
    ///
    /// # Errors
    /// There are none, they are damaged, another version wrote them, or the directory cannot be synced.
    pub fn open(io: Arc<dyn Io>, directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(SLOTS_FILE);
        let table = Table::decode(&replace::read(&*io, &path)?, &path)?;
        // A process that was killed may have renamed the file and not synced the directory. Whoever has seen that a key is
        // gone must not find it back after the next power cut.
        replace::sync_directory(&*io, directory)?;
        Ok(Self { io, path, table })
    }

    /// What is wrong with the slots in a directory, if it has any; they are to be those of this root key. Changes nothing.
    pub(crate) fn verify(
        io: &dyn Io,
        directory: &Path,
        root: &SecretKey,
    ) -> Result<Option<StorageError>, StorageError> {
        let path = directory.join(SLOTS_FILE);
        match replace::read(io, &path).and_then(|bytes| Table::decode(&bytes, &path)) {
            Ok(table) if table.is_authentic(root) => Ok(None),
            Ok(_) => Ok(Some(corrupt(&path, 0, "slots that the root key authenticates", "others"))),
            Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error @ StorageError::Corrupt { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// The slots of a store as another file holds a copy of them: to be unlocked, and not to be changed.
    pub(crate) fn of_copy(bytes: &[u8], path: &Path) -> Result<Self, KeyError> {
        Ok(Self { io: Arc::new(RealIo), path: path.to_owned(), table: Table::decode(bytes, path)? })
    }

    /// The bytes of the file, to be copied.
    pub(crate) fn copy(io: &dyn Io, directory: &Path) -> Result<Vec<u8>, StorageError> {
        replace::read(io, &directory.join(SLOTS_FILE))
    }

    /// The store that the slots belong to.
    pub fn store_id(&self) -> [u8; 16] {
        self.table.store_id
    }

    /// How often the file was replaced; 1 when it is new.
    pub fn generation(&self) -> u64 {
        self.table.generation
    }

    /// The slots, ascending by id.
    pub fn list(&self) -> Vec<SlotInfo> {
        self.table.slots.iter().map(Slot::info).collect()
    }

    /// The root key.
    ///
    /// # Errors
    /// [`KeyError::NoSlotOfKind`] or [`KeyError::WrongKey`] if the source is not one of this store's;
    /// [`KeyError::Source`] if it gives no key; [`KeyError::Tampered`] if the file is not authentic.
    pub fn unlock(&self, source: &KeySource) -> Result<SecretKey, KeyError> {
        self.unlock_slot(source).map(|(_, root)| root)
    }

    /// The root key, and the slot that the source opened.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock).
    pub fn unlock_slot(&self, source: &KeySource) -> Result<(SlotId, SecretKey), KeyError> {
        let kind = source.kind();
        let mut tried = false;
        let mut refused = None;
        for slot in self.table.slots.iter().filter(|slot| slot.kind() == kind) {
            tried = true;
            let kek = match source.kek(&slot.parameters, &self.table.store_id) {
                Ok(kek) => kek,
                Err(error) => {
                    refused.get_or_insert(error);
                    continue;
                }
            };
            match slot.unwrap(&kek, &self.table.store_id) {
                Unwrapped::OtherKey => {}
                Unwrapped::Tampered => return Err(self.tampered(format!("slot {}", slot.id))),
                Unwrapped::Root(root) => {
                    self.authenticate(&root)?;
                    return Ok((slot.id, root));
                }
            }
        }
        let path = self.path.clone();
        if !tried {
            let mut present: Vec<String> = self.table.slots.iter().map(|s| s.kind().to_string()).collect();
            present.sort();
            present.dedup();
            return Err(KeyError::NoSlotOfKind { path, kind, present: present.join(", ") });
        }
        Err(refused.unwrap_or_else(|| KeyError::WrongKey { path, origin: source.to_string(), kind }))
    }

    /// Adds a slot for `source`. Durable when it returns.
    ///
    /// # Errors
    /// `root` is not this store's, the source gives no key, there is no room, or the file cannot be written.
    pub fn add(&mut self, root: &SecretKey, source: &KeySource, label: &str) -> Result<SlotId, KeyError> {
        self.authenticate(root)?;
        if self.table.slots.len() >= SLOTS_MAX {
            return Err(KeyError::Full(SLOTS_MAX));
        }
        let id = self.table.next_slot;
        let slot = self.make(id, root, source, label)?;
        self.commit(root, self.table.with(slot))?;
        Ok(id)
    }

    /// Removes a slot: its key opens the store no longer. Durable when it returns.
    ///
    /// # Errors
    /// `root` is not this store's, there is no such slot, it is the last one, or the file cannot be written.
    pub fn remove(&mut self, root: &SecretKey, id: SlotId) -> Result<(), KeyError> {
        self.authenticate(root)?;
        self.slot(id)?;
        if self.table.slots.len() == 1 {
            return Err(KeyError::LastSlot(id));
        }
        self.commit(root, self.table.without(id))
    }

    /// Rewraps the root key in a slot: from now on `source` opens it, and what opened it before does not. Id and label
    /// stay. Durable when it returns.
    ///
    /// # Errors
    /// `root` is not this store's, there is no such slot, the source gives no key, or the file cannot be written.
    pub fn rotate_kek(&mut self, root: &SecretKey, id: SlotId, source: &KeySource) -> Result<(), KeyError> {
        self.authenticate(root)?;
        let label = self.slot(id)?.label.clone();
        let slot = self.make(id, root, source, &label)?;
        self.commit(root, self.table.with(slot))
    }

    /// Whether the table is what was written with this root key.
    fn authenticate(&self, root: &SecretKey) -> Result<(), KeyError> {
        if self.table.is_authentic(root) { Ok(()) } else { Err(self.tampered("the table of slots")) }
    }

    fn slot(&self, id: SlotId) -> Result<&Slot, KeyError> {
        self.table.slots.iter().find(|slot| slot.id == id).ok_or(KeyError::NoSuchSlot(id))
    }

    fn make(&self, id: SlotId, root: &SecretKey, source: &KeySource, label: &str) -> Result<Slot, KeyError> {
        if label.len() > LABEL_BYTES_MAX {
            return Err(KeyError::LongLabel { max: LABEL_BYTES_MAX, found: label.len() });
        }
        let mut random = [0; 44];
        self.io
            .random(&mut random)
            .map_err(|error| StorageError::io("draw random bytes for", &self.path, error))?;
        let (salt, nonce) = random.split_at(32);
        let (parameters, kek) = source.new_kek(&self.table.store_id)?;
        let created_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut slot = Slot::new(id, label, created_s, parameters);
        slot.salt.copy_from_slice(salt);
        slot.nonce.copy_from_slice(nonce);
        slot.wrap(&kek, &self.table.store_id, root);
        Ok(slot)
    }

    /// Makes `table` the one on the disk, and then ours.
    fn commit(&mut self, root: &SecretKey, mut table: Table) -> Result<(), KeyError> {
        table.authenticate(root);
        replace::replace(&*self.io, &self.path, &table.encode())?;
        self.table = table;
        Ok(())
    }

    fn tampered(&self, what: impl Into<String>) -> KeyError {
        KeyError::Tampered { path: self.path.clone(), what: what.into() }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("path", &self.path).field("slots", &self.list()).finish_non_exhaustive()
    }
}
