//! The manifest of the records, in two rows: which units count, and the checkpoint.
//!
//! | table | column | content |
//! |---|---|---|
//! | `manifest` | `id` | 1 the units, 2 the checkpoint |
//! | | `generation` | of the change that wrote the row |
//! | | `sealed`, `piece` | kind 5 and 6: see below; offset = `id`, sequence = `generation` |
//!
//! | text of the units | encoding |
//! |---|---|
//! | cluster id, member id | 8 bytes each |
//! | boot number, next unit id, generation of the checkpoint (0: none) | numbers |
//! | a group that the log must have reached | number |
//! | number of units | number |
//! | each, in revision order: id, bytes | numbers |
//! | and the tag of its footer | 16 bytes |
//!
//! | text of the checkpoint | encoding |
//! |---|---|
//! | applied log id: term, index | numbers |
//! | store revision, compact revision | signed |
//! | state | bytes |

use crate::format::wire::{Malformed, Reader, put_bytes, put_number, put_signed};
use crate::seal::Place;
use crate::units::unit::UnitEntry;
use bytes::Bytes;
use coffer_core::storage::{Checkpoint, LogId};

pub(super) const UNITS_ROW: i64 = 1;
pub(super) const CHECKPOINT_ROW: i64 = 2;

const UNITS_PIECE: u8 = 5;
const CHECKPOINT_PIECE: u8 = 6;

/// Who the store is, and which units count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    pub(super) boot: u64,
    pub(super) next_unit: u64,
    /// The generation that wrote the checkpoint; 0 if there is none.
    pub(super) checkpoint_generation: i64,
    /// The newest group of the log when this was written: the log reaches it.
    pub(super) log_group: u64,
    pub(super) units: Vec<UnitEntry>,
}

impl Manifest {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster_id.to_le_bytes());
        out.extend_from_slice(&self.member_id.to_le_bytes());
        put_number(out, self.boot);
        put_number(out, self.next_unit);
        put_number(out, self.checkpoint_generation as u64);
        put_number(out, self.log_group);
        put_number(out, self.units.len() as u64);
        for unit in &self.units {
            put_number(out, unit.id);
            put_number(out, unit.bytes);
            out.extend_from_slice(&unit.footer_tag);
        }
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(text);
        let (cluster_id, member_id) = (reader.u64()?, reader.u64()?);
        let (boot, next_unit) = (reader.number()?, reader.number()?);
        let (checkpoint_generation, log_group) = (reader.number()? as i64, reader.number()?);
        let mut units = Vec::new();
        for _ in 0..reader.number()? {
            let (id, bytes) = (reader.number()?, reader.number()?);
            units.push(UnitEntry { id, bytes, footer_tag: reader.array()? });
        }
        if !reader.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { cluster_id, member_id, boot, next_unit, checkpoint_generation, log_group, units })
    }
}

pub(super) fn put_checkpoint(out: &mut Vec<u8>, checkpoint: &Checkpoint) {
    put_number(out, checkpoint.applied.term);
    put_number(out, checkpoint.applied.index);
    put_signed(out, checkpoint.revision);
    put_signed(out, checkpoint.compact_revision);
    put_bytes(out, &checkpoint.state);
}

pub(super) fn parse_checkpoint(text: &[u8]) -> Result<Checkpoint, Malformed> {
    let mut reader = Reader::new(text);
    let checkpoint = Checkpoint {
        applied: LogId { term: reader.number()?, index: reader.number()? },
        revision: reader.signed()?,
        compact_revision: reader.signed()?,
        state: Bytes::copy_from_slice(reader.bytes()?),
    };
    if reader.is_empty() { Ok(checkpoint) } else { Err(Malformed) }
}

/// Where the row of the units stands.
pub(super) fn units_place(generation: i64) -> Place {
    Place { kind: UNITS_PIECE, offset: UNITS_ROW as u64, sequence: generation as u64 }
}

/// Where the row of the checkpoint stands.
pub(super) fn checkpoint_place(generation: i64) -> Place {
    Place { kind: CHECKPOINT_PIECE, offset: CHECKPOINT_ROW as u64, sequence: generation as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: Vec<u8>) {
            let _ = Manifest::parse(&text);
            let _ = parse_checkpoint(&text);
        }
    }
}
