//! The data keys, and how they stand in a slot.
//!
//! | content | encoding |
//! |---|---|
//! | id of the next data key | number |
//! | whether everything is to be carried over to the active key | 1 byte |
//! | number of data keys | number |
//! | each, ascending: id | number |
//! | state: 1 active (the last one, and no other), 2 decrypt only | 1 byte |
//! | when it was made, in seconds since 1970 | number |
//! | bytes that were sealed with it, at least | number |
//! | the key | 32 bytes |

use super::super::secret::{KEY_BYTES, SecretKey};
use super::{DataKey, KeyState};
use crate::format::wire::{Malformed, Reader, put_number};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a key takes at most.
const ENCODED_KEY_BYTES: usize = 5 + 1 + 10 + 10 + KEY_BYTES;

/// What a keyring holds.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) next_id: u32,
    pub(super) rewrite: bool,
    pub(super) keys: Vec<Held>,
}

/// A key and what it is for.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) key: Arc<DataKey>,
    pub(super) state: KeyState,
    created_s: u64,
}

impl Held {
    /// A key that becomes the active one.
    pub(super) fn new(key: Arc<DataKey>, now: SystemTime) -> Self {
        let created_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { key, state: KeyState::Active, created_s }
    }

    pub(super) fn created(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.created_s)).unwrap_or(UNIX_EPOCH)
    }

    /// Whether anything but the keyring holds it.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.key) > 1
    }
}

impl Content {
    pub(super) fn active(&self) -> Option<&Held> {
        self.keys.iter().find(|held| held.state == KeyState::Active)
    }

    pub(super) fn sealed_bytes(&self) -> u64 {
        let sealed = |held: &Held| held.key.sealed_bytes.load(Ordering::Relaxed);
        self.keys.iter().map(sealed).fold(0, u64::saturating_add)
    }

    /// Bytes that [`put`](Self::put) appends at most.
    pub(super) fn bytes_max(&self) -> usize {
        16 + self.keys.len() * ENCODED_KEY_BYTES
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.next_id.into());
        out.push(self.rewrite.into());
        put_number(out, self.keys.len() as u64);
        for held in &self.keys {
            put_number(out, held.key.id.into());
            out.push(match held.state {
                KeyState::Active => 1,
                KeyState::DecryptOnly => 2,
            });
            put_number(out, held.created_s);
            put_number(out, held.key.sealed_bytes.load(Ordering::Relaxed));
            out.extend_from_slice(held.key.key.expose());
        }
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(text);
        let next_id = reader.small()?;
        let rewrite = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let count: usize = reader.small()?;
        let mut keys: Vec<Held> = Vec::new();
        for number in 1..=count {
            let id = reader.small()?;
            let state = match reader.u8()? {
                1 => KeyState::Active,
                2 => KeyState::DecryptOnly,
                _ => return Err(Malformed),
            };
            let (created_s, sealed_bytes) = (reader.number()?, reader.number()?);
            let key = SecretKey::from_bytes(&mut reader.array()?);
            let ascending = keys.last().is_none_or(|last| last.key.id < id) && id < next_id;
            if !ascending || (state == KeyState::Active) != (number == count) {
                return Err(Malformed);
            }
            keys.push(Held { key: Arc::new(DataKey::new(id, key, sealed_bytes)), state, created_s });
        }
        if keys.is_empty() || !reader.is_empty() {
            Err(Malformed)
        } else {
            Ok(Self { next_id, rewrite, keys })
        }
    }
}
