//! The keys of a sealed store: which ones open it, which ones its data is sealed with, and how they are changed.

use crate::options::Options;
use crate::seal::Seal;
use coffer_backends::seal;
use coffer_core::Error;
use coffer_core::node::Node;
use std::path::Path;

pub use coffer_backends::seal::slots::{SlotId, SlotInfo};
pub use coffer_backends::seal::{KeyState, KeyStatus, KeyringStatus};

/// What can be said of the keys of a store. None of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysStatus {
    /// Who may open it, ascending by id.
    pub slots: Vec<SlotInfo>,
    /// What its data is sealed with.
    pub data: KeyringStatus,
}

/// The keys of a sealed store that this process has open, or that nobody has.
///
/// Every change is durable when the call returns. Calls block: they wait for the disk, and for the program or the plugin
/// that has a key.
#[derive(Debug)]
pub struct StoreKeys {
    keys: seal::StoreKeys,
    /// Of an open store.
    node: Option<Node>,
}

impl StoreKeys {
    pub(crate) fn of_open(keys: seal::StoreKeys, node: Node) -> Self {
        Self { keys, node: Some(node) }
    }

    /// The keys of a closed store, which nobody can open as long as this lives.
    ///
    /// # Errors
    /// [`Error::Open`] if the store is in use, is not sealed, or does not open with this key; [`Error::Corrupt`] if its
    /// keys are damaged.
    pub fn of_closed(dir: &Path, seal: &Seal) -> Result<Self, Error> {
        let source = seal.key()?;
        Ok(Self { keys: seal::StoreKeys::of_closed(dir, &source)?, node: None })
    }

    /// Which keys open the store in a directory, open or closed. Needs no key, so that nothing says that it is true.
    ///
    /// # Errors
    /// [`Error::Open`] if it is not sealed; [`Error::Corrupt`] if its slots are damaged.
    pub fn slots_in(dir: &Path) -> Result<Vec<SlotInfo>, Error> {
        Ok(seal::StoreKeys::slots_in(dir)?)
    }

    /// Whether a key opens the store in a directory, open or closed: the slot that it opens, and the data keys behind it.
    /// Changes nothing.
    ///
    /// # Errors
    /// [`Error::Open`] if it does not; [`Error::Corrupt`] if slots or data keys are damaged.
    pub fn verify(dir: &Path, seal: &Seal) -> Result<Verified, Error> {
        let source = seal.key()?;
        let (slot, keyring) = seal::StoreKeys::verify(dir, &source)?;
        let newer_key_id = match source.key_id().map_err(coffer_core::storage::StorageError::from)? {
            Some(id) if slot.parameters.key_id() != Some(&id) => Some(id),
            _ => None,
        };
        Ok(Verified { slot, data_keys: keyring.status().keys.len(), newer_key_id })
    }

    /// What can be said of them.
    pub fn status(&self) -> KeysStatus {
        KeysStatus { slots: self.keys.slots(), data: self.keys.keyring().status() }
    }

    /// Adds a key that opens the store.
    ///
    /// # Errors
    /// [`Error::Open`] if it gives no key, or there is no room; a fault of the disk.
    pub fn add(&self, seal: &Seal, label: &str) -> Result<SlotId, Error> {
        Ok(self.keys.add(&seal.key()?, label)?)
    }

    /// Takes away a key: it opens the store no longer. The last one stays.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no such slot, or no other; a fault of the disk.
    pub fn remove(&self, slot: SlotId) -> Result<(), Error> {
        Ok(self.keys.remove(slot)?)
    }

    /// Replaces the key of a slot, by default of the one that opened the store, or of the only one. Returns the slot.
    ///
    /// # Errors
    /// [`Error::Open`] if it gives no key, or the slot is missing or unsaid; a fault of the disk.
    pub fn rotate_kek(&self, slot: Option<SlotId>, seal: &Seal) -> Result<SlotId, Error> {
        Ok(self.keys.rotate_kek(slot, &seal.key()?)?)
    }

    /// Makes a new data key, which seals everything that is written from now on, and returns its id. With `rewrite` what
    /// older keys sealed is carried over in the background, and they are destroyed after that; of a closed store when it
    /// is opened. [`status`](Self::status) tells how far it is.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn rotate_data(&self, rewrite: bool) -> Result<u32, Error> {
        let keyring = self.keys.keyring();
        let id = keyring.rotate()?;
        if rewrite {
            keyring.request_rewrite()?;
            if let Some(node) = &self.node {
                node.rewrite();
            }
        }
        Ok(id)
    }
}

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The slot.
    pub slot: SlotInfo,
    /// How many data keys there are.
    pub data_keys: usize,
    /// The id of the key that a program or a plugin wraps with now, if it is not the one that wrapped this slot: it should
    /// be rewrapped.
    pub newer_key_id: Option<String>,
}

/// A store of this process that was opened.
#[derive(Debug)]
pub struct OpenStore {
    /// What serves it.
    pub node: Node,
    /// Its keys, if it is sealed.
    pub keys: Option<StoreKeys>,
}

impl Options {
    /// As [`open_node`](Self::open_node), with the keys of the store.
    ///
    /// # Errors
    /// As [`open_node`](Self::open_node).
    pub async fn open_store(&self, uri: &crate::Uri) -> Result<OpenStore, Error> {
        let (options, uri) = (self.clone(), uri.clone());
        crate::embedded::on_thread("coffer-open", move || options.open_blocking(&uri)).await?
    }
}
