//! One slot: the root key, wrapped for one key-encryption key.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | slot id |
//! | 1 | kind: 1 passphrase, 2 key file, 3 command, 4 Kubernetes KMS |
//! | 8 | created, seconds since 1970 |
//! | bytes | label, UTF-8, at most 255 |
//! | bytes | parameters, as the kind has them ([`crate::seal::source::Parameters`]) |
//! | 32 | salt, random for each wrap |
//! | 12 | nonce, random for each wrap |
//! | 32 | check value |
//! | 32 | root key, encrypted |
//! | 16 | tag |
//!
//! HKDF-SHA256 with the KEK as input, the salt, and the info `coffer slots 1 wrap` or `coffer slots 1 check` and the
//! store's id gives the wrapping key (AES-256-GCM) and the check value. The associated data is `coffer slots 1`, the
//! store's id, and the slot from its id through the check value. AES-GCM does not commit to its key; the check value does.

use crate::format::wire::{Malformed, Reader, put_bytes};
use crate::seal::aead::Cipher;
use crate::seal::sealer::SealBroken;
use crate::seal::secret::{KEY_BYTES, SecretKey};
use crate::seal::source::Parameters;
use crate::seal::{NONCE_BYTES, Nonce, SALT_BYTES, TAG_BYTES, Tag};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

pub(super) const LABEL_BYTES_MAX: usize = 255;
const CONTEXT: &[u8] = b"coffer slots 1";

/// Names a slot; never used twice in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

impl SlotId {
    /// The slot that a store begins with.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of source opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SlotKind {
    /// A passphrase, stretched by argon2id.
    Passphrase = 1,
    /// A file with a key.
    KeyFile = 2,
    /// An external command that wraps and unwraps.
    Command = 3,
    /// A Kubernetes KMS v2 plugin behind a socket.
    Kms = 4,
}

impl SlotKind {
    fn from_stored(kind: u8) -> Option<Self> {
        [Self::Passphrase, Self::KeyFile, Self::Command, Self::Kms]
            .into_iter()
            .find(|known| *known as u8 == kind)
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key-file",
            Self::Command => "command",
            Self::Kms => "kms",
        })
    }
}

/// What a slot says of itself. None of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its id.
    pub id: SlotId,
    /// The kind of source that opens it.
    pub kind: SlotKind,
    /// What its owner calls it.
    pub label: String,
    /// When it was made or last rewrapped.
    pub created: SystemTime,
    /// What the source needs to find its key again.
    pub parameters: Parameters,
}

/// A slot, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) id: SlotId,
    pub(super) label: String,
    pub(super) created_s: u64,
    pub(super) parameters: Parameters,
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) nonce: Nonce,
    pub(super) check: [u8; KEY_BYTES],
    pub(super) wrapped: [u8; KEY_BYTES],
    pub(super) tag: Tag,
}

/// What came of trying a key.
pub(super) enum Unwrapped {
    /// The slot was wrapped with another key.
    OtherKey,
    /// It was wrapped with this key and changed afterwards.
    Tampered,
    /// The root key.
    Root(SecretKey),
}

impl Slot {
    /// A slot that is not wrapped yet.
    pub(super) fn new(id: SlotId, label: &str, created_s: u64, parameters: Parameters) -> Self {
        Self {
            id,
            label: label.into(),
            created_s,
            parameters,
            salt: [0; SALT_BYTES],
            nonce: [0; NONCE_BYTES],
            check: [0; KEY_BYTES],
            wrapped: [0; KEY_BYTES],
            tag: [0; TAG_BYTES],
        }
    }

    pub(super) fn kind(&self) -> SlotKind {
        self.parameters.kind()
    }

    pub(super) fn info(&self) -> SlotInfo {
        SlotInfo {
            id: self.id,
            kind: self.kind(),
            label: self.label.clone(),
            created: UNIX_EPOCH.checked_add(Duration::from_secs(self.created_s)).unwrap_or(UNIX_EPOCH),
            parameters: self.parameters.clone(),
        }
    }

    /// Wraps `root`. Salt and nonce are fresh.
    pub(super) fn wrap(&mut self, kek: &SecretKey, store_id: &[u8; 16], root: &SecretKey) {
        self.check = *self.check_value(kek, store_id).expose();
        let bound = self.bound(store_id);
        self.wrapped = *root.expose();
        let cipher = self.cipher(kek, store_id);
        self.tag = cipher.seal(&self.nonce, &bound, &mut self.wrapped);
    }

    pub(super) fn unwrap(&self, kek: &SecretKey, store_id: &[u8; 16]) -> Unwrapped {
        if !bool::from(self.check_value(kek, store_id).expose().ct_eq(&self.check)) {
            return Unwrapped::OtherKey;
        }
        let cipher = self.cipher(kek, store_id);
        let opened = SecretKey::filled(|key| {
            key.copy_from_slice(&self.wrapped);
            cipher.open(&self.nonce, &self.bound(store_id), key, &self.tag)
        });
        opened.map_or_else(|SealBroken| Unwrapped::Tampered, Unwrapped::Root)
    }

    fn check_value(&self, kek: &SecretKey, store_id: &[u8; 16]) -> SecretKey {
        kek.derive(&self.salt, &[CONTEXT, b" check", store_id])
    }

    fn cipher(&self, kek: &SecretKey, store_id: &[u8; 16]) -> Cipher {
        Cipher::new(&kek.derive(&self.salt, &[CONTEXT, b" wrap", store_id]))
    }

    fn bound(&self, store_id: &[u8; 16]) -> Vec<u8> {
        let mut bound = [CONTEXT, store_id].concat();
        self.encode_described(&mut bound);
        bound
    }

    /// Everything but the wrapped key.
    fn encode_described(&self, out: &mut Vec<u8>) {
        out.extend(self.id.0.to_le_bytes());
        out.push(self.kind() as u8);
        out.extend(self.created_s.to_le_bytes());
        put_bytes(out, self.label.as_bytes());
        put_bytes(out, &self.parameters.encode());
        out.extend(self.salt);
        out.extend(self.nonce);
        out.extend(self.check);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.encode_described(out);
        out.extend(self.wrapped);
        out.extend(self.tag);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let id = SlotId(reader.u32()?);
        let kind = SlotKind::from_stored(reader.u8()?).ok_or(Malformed)?;
        let created_s = reader.u64()?;
        let label = std::str::from_utf8(reader.bytes()?).map_err(|_| Malformed)?;
        if label.len() > LABEL_BYTES_MAX {
            return Err(Malformed);
        }
        let parameters = Parameters::decode(kind, reader.bytes()?)?;
        let mut slot = Self::new(id, label, created_s, parameters);
        (slot.salt, slot.nonce, slot.check) = (reader.array()?, reader.array()?, reader.array()?);
        (slot.wrapped, slot.tag) = (reader.array()?, reader.array()?);
        Ok(slot)
    }
}
