//! What a backend holds: the keys of its store, or none, and the sealers of its files.

use super::at_rest::{AtRest, Found, IN_THE_CLEAR};
use super::file::{Algorithm, SealRefused, SealedFile};
use super::keyring::{DataKey, Keyring, is_keyring_name};
use super::nonce::{Generator, Nonces};
use super::sealer::Sealer;
use super::secret::SecretKey;
use super::slots::{SLOTS_FILE, SLOTS_FILE_NEW};
use crate::io::Io;
use coffer_core::storage::StorageError;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The root key of one store. Its key slots give it. Clones are handles to the same bytes.
#[derive(Clone)]
pub struct RootKey {
    pub(super) store_id: [u8; 16],
    key: Arc<DataKey>,
}

impl RootKey {
    /// The key of the store with this id.
    pub fn new(store_id: [u8; 16], key: SecretKey) -> Self {
        Self { store_id, key: Arc::new(DataKey::new(0, key, 0)) }
    }

    /// The store.
    pub fn store_id(&self) -> &[u8; 16] {
        &self.store_id
    }

    /// Another handle to the same key.
    pub(super) fn share(&self) -> Self {
        Self { store_id: self.store_id, key: self.key.clone() }
    }

    pub(super) fn key(&self) -> &SecretKey {
        &self.key.key
    }

    /// The sealer of a file that the root key itself seals: the keyring.
    pub(crate) fn sealer(&self, file: SealedFile) -> Sealer {
        Sealer::sealed(file, self.key.clone())
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey")
    }
}

/// Whether a name in the directory of a store belongs to its keys: the slots of its root key, or the keyring.
pub(crate) fn is_keys_file(name: &str) -> bool {
    name == SLOTS_FILE || name == SLOTS_FILE_NEW || is_keyring_name(name)
}

/// What opens the files of a store that is being opened.
#[derive(Clone)]
pub(crate) enum Keys {
    Unsealed,
    Sealed(Arc<Keyring>),
}

impl Keys {
    /// Opens the keyring of the store in `directory`, which holds the files `names`; makes it, and the slots of its root
    /// key, if the store does not exist yet. To be called while the store's lock is held.
    ///
    /// # Errors
    /// The store is sealed and no key was given, or the other way round, or it is another key.
    pub(crate) fn open(
        at_rest: AtRest,
        io: Arc<dyn Io>,
        directory: &Path,
        names: &[String],
        store_exists: bool,
    ) -> Result<Self, StorageError> {
        match at_rest.root(&Found { io: &io, directory, names, store_exists })? {
            None => Ok(Self::Unsealed),
            Some(root) => Keyring::open(io, directory, root, store_exists)
                .map(|keyring| Self::Sealed(Arc::new(keyring))),
        }
    }

    /// The sealer of a file that exists.
    pub(crate) fn sealer_of(&self, file: SealedFile) -> Result<Sealer, SealRefused> {
        match (self, file.algorithm) {
            (Self::Unsealed, Algorithm::Unsealed) => Ok(Sealer::unsealed(file)),
            (Self::Unsealed, Algorithm::Aes256Gcm) => Err(SealRefused::Sealed),
            (Self::Sealed(_), Algorithm::Unsealed) => Err(SealRefused::InTheClear),
            (Self::Sealed(keyring), Algorithm::Aes256Gcm) => {
                if file.store_id != *keyring.store_id() {
                    return Err(SealRefused::OtherStore);
                }
                let sealer = keyring.with_key(file.data_key_id, |key| Sealer::sealed(file, key));
                sealer.ok_or(SealRefused::UnknownKey(file.data_key_id))
            }
        }
    }

    /// The id that the store must have.
    pub(crate) fn store_id(&self) -> Option<[u8; 16]> {
        match self {
            Self::Unsealed => None,
            Self::Sealed(keyring) => Some(*keyring.store_id()),
        }
    }

    pub(crate) fn keyring(&self) -> Option<&Arc<Keyring>> {
        match self {
            Self::Unsealed => None,
            Self::Sealed(keyring) => Some(keyring),
        }
    }
}

impl SealRefused {
    /// Says what to do about a store that was opened in the wrong way.
    pub fn at(self, path: &Path) -> StorageError {
        StorageError::Key { reason: format!("{} {}", path.display(), advice(self)) }
    }
}

fn advice(refused: SealRefused) -> String {
    match refused {
        SealRefused::Sealed => {
            "is sealed: give its key (--seal-key-file, --seal-passphrase-file, --seal-command or --seal-kms-socket)"
                .to_owned()
        }
        SealRefused::InTheClear => IN_THE_CLEAR.to_owned(),
        SealRefused::OtherStore => {
            "belongs to another store than the key that was given: give the key of this one".to_owned()
        }
        SealRefused::UnknownKey(id) => format!(
            "is sealed with data key {id}, which the keyring does not have: put back the keyring that belongs to it"
        ),
    }
}

/// Seals the files of one open store, or leaves them in the clear. Clones are handles to the same keys.
#[derive(Clone)]
pub struct Sealing {
    store_id: [u8; 16],
    keys: Keys,
    generator: Generator,
}

impl Sealing {
    pub(crate) fn new(store_id: [u8; 16], keys: Keys, io: Arc<dyn Io>, directory: &Path) -> Self {
        Self { store_id, keys, generator: Generator::new(io, directory) }
    }

    /// Files in the clear, of the store with this id.
    pub fn unsealed(store_id: [u8; 16], io: Arc<dyn Io>, directory: &Path) -> Self {
        Self::new(store_id, Keys::Unsealed, io, directory)
    }

    /// A sealed store with known keys.
    #[cfg(test)]
    pub(crate) fn for_test(io: Arc<dyn Io>, directory: &Path) -> Self {
        let root = RootKey::new([1; 16], SecretKey::from_bytes(&mut [2; 32]));
        let keys = Keys::open(AtRest::Sealed(root), io.clone(), directory, &[], false).expect("a keyring");
        Self::new([1; 16], keys, io, directory)
    }

    /// The store.
    pub fn store_id(&self) -> &[u8; 16] {
        &self.store_id
    }

    /// The keys, if the store is sealed.
    pub fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keys.keyring()
    }

    /// A sealer for a new life of a file: with a fresh salt, and the active data key. What describes it is to be
    /// stored: [`Sealer::file`].
    ///
    /// # Errors
    /// The system's generator failed.
    pub fn sealer_for_new_file(&self, kind: u8, file_id: u64) -> Result<Sealer, StorageError> {
        let salt = self.generator.draw()?;
        let file = |algorithm, data_key_id| SealedFile {
            store_id: self.store_id,
            file_id,
            kind,
            algorithm,
            data_key_id,
            salt,
        };
        let Some(keyring) = self.keyring() else {
            return Ok(Sealer::unsealed(file(Algorithm::Unsealed, 0)));
        };
        keyring
            .with_active(|key| Sealer::sealed(file(Algorithm::Aes256Gcm, key.id), key))
            .ok_or_else(|| StorageError::Poisoned { reason: "the keyring has no active key".into() })
    }

    /// A sealer for a snapshot file, under the root key, and the key slots that open it: none if the store is in the clear.
    ///
    /// # Errors
    /// The slots cannot be read; the system's generator failed.
    pub(crate) fn sealer_for_snapshot(&self, kind: u8) -> Result<(Sealer, Vec<u8>), StorageError> {
        let (salt, id) = (self.generator.draw()?, self.generator.draw()?);
        let file = |algorithm| SealedFile {
            store_id: self.store_id,
            file_id: u64::from_le_bytes(id),
            kind,
            algorithm,
            data_key_id: 0,
            salt,
        };
        let Some(keyring) = self.keyring() else {
            return Ok((Sealer::unsealed(file(Algorithm::Unsealed)), Vec::new()));
        };
        let slots = keyring.copy_slots()?;
        Ok((keyring.sealer_of_root(file(Algorithm::Aes256Gcm)), slots))
    }

    /// The nonces of a new life of a file: one for each sealer that is made for a new file.
    pub fn nonces(&self) -> Nonces {
        Nonces::new(self.generator.clone())
    }

    /// The sealer of a file that exists, as it describes itself. It only opens: nothing is sealed with a salt of an
    /// earlier life.
    ///
    /// # Errors
    /// The file cannot belong to this store.
    pub fn sealer_of(&self, file: SealedFile) -> Result<Sealer, SealRefused> {
        if file.store_id != self.store_id {
            return Err(SealRefused::OtherStore);
        }
        self.keys.sealer_of(file)
    }

    /// Whether a file is sealed with another key than new ones are.
    pub fn is_outdated(&self, file: &SealedFile) -> bool {
        self.keyring().is_some_and(|keyring| keyring.active_id() != file.data_key_id)
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("keyring", &self.keyring()).finish_non_exhaustive()
    }
}
