//! The table of the slots, as the file holds it.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `COFFERKS` |
//! | 4 | format version, 1 |
//! | 4 | CRC of bytes 0 to 12: the version can be trusted whatever the rest looks like |
//! | 16 | store id |
//! | 8 | generation: how often the file was replaced, from 1 |
//! | 4 | id of the next new slot |
//! | 4 | number of slots, 1 to 32 |
//! | n | the slots, ascending by id ([`super::slot`]) |
//! | 32 | HMAC-SHA256 over everything before; its key is HKDF-SHA256 of the root key with the store id as salt and the info `coffer slots 1 table` |
//! | 4 | CRC of everything before |
//!
//! Integers are little-endian. There is one encoding of a table; a file that is not exactly it is damaged.

use super::slot::{Slot, SlotId};
use crate::format::header::FORMAT_VERSION;
use crate::format::wire::{Malformed, Reader};
use crate::format::{corrupt, unknown_version};
use crate::seal::secret::SecretKey;
use coffer_core::storage::StorageError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::path::Path;
use subtle::ConstantTimeEq;

/// No store has more slots.
pub const SLOTS_MAX: usize = 32;

const MAGIC: &[u8; 8] = b"COFFERKS";
const MAC_BYTES: usize = 32;
const CRC_BYTES: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) store_id: [u8; 16],
    pub(super) generation: u64,
    pub(super) next_slot: SlotId,
    /// Ascending by id.
    pub(super) slots: Vec<Slot>,
    mac: [u8; MAC_BYTES],
}

impl Table {
    /// A table without slots, which is not stored.
    pub(super) fn new(store_id: [u8; 16]) -> Self {
        Self { store_id, generation: 0, next_slot: SlotId::FIRST, slots: Vec::new(), mac: [0; MAC_BYTES] }
    }

    /// The next generation, with `slot` in the place of the one with its id or as a new one.
    pub(super) fn with(&self, slot: Slot) -> Self {
        let mut next = self.without(slot.id);
        next.next_slot =
            SlotId(next.next_slot.0.max(slot.id.0.checked_add(1).expect("fewer slots were ever made")));
        let at = next.slots.partition_point(|other| other.id < slot.id);
        next.slots.insert(at, slot);
        next
    }

    /// The next generation, without this slot.
    pub(super) fn without(&self, id: SlotId) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        next.slots.retain(|slot| slot.id != id);
        next
    }

    /// Signs the table with the root key.
    pub(super) fn authenticate(&mut self, root: &SecretKey) {
        self.mac = self.mac_with(root);
    }

    pub(super) fn is_authentic(&self, root: &SecretKey) -> bool {
        self.mac_with(root).ct_eq(&self.mac).into()
    }

    fn mac_with(&self, root: &SecretKey) -> [u8; MAC_BYTES] {
        let key = root.derive(&self.store_id, &[b"coffer slots 1 table"]);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        mac.update(&self.encode_body());
        mac.finalize().into_bytes().into()
    }

    fn encode_body(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend(crc32c::crc32c(&out).to_le_bytes());
        out.extend(self.store_id);
        out.extend(self.generation.to_le_bytes());
        out.extend(self.next_slot.0.to_le_bytes());
        out.extend((self.slots.len() as u32).to_le_bytes());
        for slot in &self.slots {
            slot.encode(&mut out);
        }
        out
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_body();
        out.extend(self.mac);
        out.extend(crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// # Errors
    /// The bytes are no table, or another version wrote them.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self, StorageError> {
        let damaged = |expected: &str, found: &str| corrupt(path, 0, expected, found);
        let prelude = bytes.get(..16).filter(|prelude| {
            prelude.starts_with(MAGIC) && crc32c::crc32c(&prelude[..12]).to_le_bytes() == prelude[12..]
        });
        let prelude = prelude.ok_or_else(|| damaged("the beginning of a file of slots", "something else"))?;
        let version = u32::from_le_bytes([prelude[8], prelude[9], prelude[10], prelude[11]]);
        if version != FORMAT_VERSION {
            return Err(unknown_version(path, version));
        }
        let (body, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc32c::crc32c(body).to_le_bytes() != *crc {
            return Err(damaged("a checksum that fits", "one that does not"));
        }
        let table =
            Self::decode_body(body).map_err(|Malformed| damaged("a table of slots", "something else"))?;
        if table.encode() != bytes {
            return Err(damaged("a table of slots", "another encoding of it"));
        }
        Ok(table)
    }

    fn decode_body(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        reader.take(16)?;
        let mut table = Self::new(reader.array()?);
        table.generation = reader.u64()?;
        table.next_slot = SlotId(reader.u32()?);
        let count = reader.u32()? as usize;
        if !(1..=SLOTS_MAX).contains(&count) {
            return Err(Malformed);
        }
        table.slots = (0..count).map(|_| Slot::decode(&mut reader)).collect::<Result<_, _>>()?;
        table.mac = reader.array()?;
        let ascending = table.slots.is_sorted_by(|a, b| a.id < b.id);
        let below_next = table.slots.iter().all(|slot| slot.id < table.next_slot);
        if reader.is_empty() && ascending && below_next { Ok(table) } else { Err(Malformed) }
    }
}
