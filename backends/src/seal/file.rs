//! What a file says of its sealing, in the clear, and the places of its pieces.

use super::SALT_BYTES;
use thiserror::Error;

/// How a file's pieces are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In the clear, with a checksum that is bound to its place.
    Unsealed,
    /// AES-256-GCM under a key of the file's own.
    Aes256Gcm,
}

impl Algorithm {
    /// As stored.
    pub fn id(self) -> u8 {
        match self {
            Self::Unsealed => 0,
            Self::Aes256Gcm => 1,
        }
    }

    /// The algorithm that is stored as `id`.
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Unsealed),
            1 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }
}

/// What every piece of one file shares. Stored in the clear in the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// The store that the file belongs to.
    pub store_id: [u8; 16],
    /// The file; ids are never used twice in a store.
    pub file_id: u64,
    /// What kind of file it is, as `docs/formats.md` numbers them.
    pub kind: u8,
    /// How it is sealed.
    pub algorithm: Algorithm,
    /// The data key; 0 if unsealed, and for a keyring, which the root key seals.
    pub data_key_id: u32,
    /// Random, drawn for each life of the file.
    pub salt: [u8; SALT_BYTES],
}

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What kind of piece it is.
    pub kind: u8,
    /// Its offset in the file.
    pub offset: u64,
    /// Its number among the file's pieces of that kind.
    pub sequence: u64,
}

/// Why a file cannot belong to the store as it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealRefused {
    /// The file is in the clear, and the store is sealed.
    #[error("a file that is not sealed")]
    InTheClear,
    /// The file is sealed, and no key was given.
    #[error("a sealed file")]
    Sealed,
    /// The file is of another store.
    #[error("a file of another store")]
    OtherStore,
    /// The keyring has no such data key.
    #[error("a file sealed with data key {0}, which the keyring does not have")]
    UnknownKey(u32),
}
