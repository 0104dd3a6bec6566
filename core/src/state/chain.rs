//! A hash chained over what log entries did, by which members compare their states at little cost.
//!
//! CRC-32C over what each entry left behind, one after the other: its log id, its records, what it did to leases, the
//! compact revision, a membership, and the answers. Whoever once did something else has another hash from then on: what
//! follows maps different hashes to different ones.
//!
//! # Invariants
//! - Equal logs give equal chains, if they begin at the same entry.
//! - It says nothing of what a medium makes of records later: that is told by their checksums, and by HashKV.

use super::{Answer, Applied, LeaseChange};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::record::Record;
use crate::storage::LogId;

/// The hash of all entries since the one with which it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Index of the last entry that it does not count; 0 also where it counts all. Chains that begin elsewhere cannot be
    /// compared.
    pub start: u64,
    /// The hash.
    pub hash: u32,
}

impl Chain {
    /// One that begins behind the entry `start`.
    pub(super) fn behind(start: LogId) -> Self {
        Self { start: start.index, hash: 0 }
    }

    /// Takes an entry without effect.
    pub(super) fn blank(&mut self, id: LogId) {
        self.numbers([id.term, id.index]);
    }

    /// Takes an entry that carries a membership.
    pub(super) fn membership(&mut self, id: LogId, payload: &[u8]) {
        self.blank(id);
        self.bytes(payload);
    }

    /// Takes an entry and what it did.
    pub(super) fn batch(&mut self, id: LogId, applied: &Applied) {
        self.blank(id);
        applied.events.iter().for_each(|event| self.record(&event.record));
        applied.leases.iter().for_each(|change| self.lease(*change));
        applied.answers.iter().for_each(|answer| self.answer(answer));
        self.numbers([applied.compacted.unwrap_or(0) as u64]);
    }

    fn record(&mut self, record: &Record) {
        let Record { revision, key, value, create_revision, version, lease, tombstone } = record;
        self.numbers([
            revision.main as u64,
            u64::from(revision.sub) << 1 | u64::from(*tombstone),
            *create_revision as u64,
            *version as u64,
            lease.0 as u64,
            key.len() as u64,
            value.len() as u64,
        ]);
        self.bytes(key);
        self.bytes(value);
    }

    fn lease(&mut self, change: LeaseChange) {
        self.numbers(match change {
            LeaseChange::Granted { id, ttl_s } => [1, id.0 as u64, ttl_s as u64],
            LeaseChange::Removed { id } => [2, id.0 as u64, 0],
            LeaseChange::Checkpointed { id, remaining_s } => [3, id.0 as u64, remaining_s as u64],
        });
    }

    fn answer(&mut self, answer: &Answer) {
        self.numbers([answer.revision as u64, u64::from(answer.result.is_ok())]);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        self.bytes(numbers.map(u64::to_le_bytes).as_flattened());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, bytes);
    }

    /// Writes `start hash`.
    pub(super) fn encode(self, out: &mut Encoder) {
        out.u64(self.start);
        out.u64(self.hash.into());
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(input: &mut Decoder) -> Result<Self, Malformed> {
        let start = input.u64()?;
        let hash = u32::try_from(input.u64()?).map_err(|_| Malformed("a hash of more than 32 bits"))?;
        Ok(Self { start, hash })
    }
}
