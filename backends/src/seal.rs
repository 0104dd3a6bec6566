//! Encryption at rest: how stored bytes are sealed, authenticated, and bound to their place.
//!
//! Whatever a backend stores in pieces (log frames, record boxes, directory blocks, manifest slots, rows) gets a
//! nonce and a 16-byte tag that bind the bytes to their place: store, file, kind, offset and sequence. A piece that
//! was moved, swapped with another, or left over from an earlier life of a recycled file does not open.
//!
//! - `file`: what a file says of its sealing, and the places in it.
//! - `sealer`: seals and opens the pieces of one file.
//! - `nonce`: the numbers that must never repeat under one key.
//! - `aead`: AES-256-GCM, behind three functions.
//! - `locked`: memory that is neither swapped nor dumped, for the states of ciphers.
//! - [`slots`], [`source`]: who may open the store: what wraps the root key.
//! - `at_rest`: whether a store is sealed: what was given, and what is there.
//! - `store_keys`: both together, to be changed.
//! - `keyring`: the data keys, and what a store layer may ask and order of them.
//! - `sealing`: what a backend holds: makes the sealer of each file.
//!
//! # Keys
//! A key-encryption key wraps the root key; the root key seals the keyring of data keys; the key of a file is
//! `HKDF-SHA256(data key, salt = the file's 32 random bytes, info = "coffer/v1" | kind | store id | file id)`.
//!
//! # Algorithms
//! - 0 leaves the text as it is. The tag is XXH3-128 seeded with the file's salt, over the associated data and the
//!   text: it detects accidents, and because the salt is drawn afresh for each life of a file, neither stale content
//!   nor a value that imitates a frame passes. It does not stop a person who can read and write the file.
//! - 1 is AES-256-GCM under the key of the file.
//!
//! # Invariants
//! - A store is sealed or it is not: in a sealed store a file with algorithm 0 is refused, and the other way round.
//! - A file's salt, and with it its key, is fresh at every opening, rotation and recycling. No file of an earlier
//!   process life is ever appended to.
//! - Within a file no nonce repeats: its counter never goes back, whatever became of what was sealed with it. Its
//!   other 8 bytes are fresh from the system's generator each time, so that two copies of a running process, which
//!   have the same counter, do not meet.
//! - Nothing that is stored beside a sealed text depends on the text but its tag: checksums are over ciphertext.
//! - Keys never appear in `Debug` output, errors or logs. They are wiped when they are dropped.
//!
//! # Associated data
//! The same for both algorithms:
//!
//! | bytes | content |
//! |---|---|
//! | 16 | store id |
//! | 8 | file id |
//! | 4 | data-key id |
//! | 1 | file kind |
//! | 1 | algorithm |
//! | 1 | piece kind |
//! | 1 | zero |
//! | 8 | offset of the piece in the file |
//! | 8 | sequence of the piece |
//! | 12 | nonce |
//! | 4 | length of the context |
//! | n | context: the part of the piece that is stored beside the text |
//!
//! Integers are little-endian.
//!
//! # What it cannot do
//! Nobody can tell from one directory alone that all of it was put back to an earlier, consistent state.

mod aead;
mod at_rest;
mod file;
mod key_error;
mod keyring;
mod locked;
mod nonce;
mod sealer;
mod sealing;
mod secret;
pub mod slots;
pub mod source;
mod store_keys;
mod verify;

pub use at_rest::AtRest;
pub use file::{Algorithm, Place, SealRefused, SealedFile};
pub use key_error::KeyError;
pub use keyring::{KeyState, KeyStatus, Keyring, KeyringStatus};
pub use nonce::{NONCE_BYTES, Nonce, Nonces};
pub use sealer::{SealBroken, Sealer, TAG_BYTES, Tag};
pub use sealing::{RootKey, Sealing};
pub use secret::{KEY_BYTES, SecretKey};
pub use store_keys::StoreKeys;

pub(crate) use sealing::{Keys, is_keys_file};
pub(crate) use verify::verify_keys;

#[cfg(test)]
pub(crate) use {nonce::FIRST_COUNT, sealer::recorder};

/// Bytes of a file's salt.
pub const SALT_BYTES: usize = 32;
