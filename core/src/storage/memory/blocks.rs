//! Records in revision order, grouped in immutable blocks.
//!
//! A block owns one buffer with the keys and values of its records: nothing of the messages that they arrived in
//! stays alive, and giving up a block frees its memory. Dead records are marked in a bitmap beside the block; a block
//! that is mostly dead is rewritten without them and joined with the block before it if both are small.
//!
//! # Invariants
//! - Blocks are keyed by their first revision and do not overlap.
//! - After [`Blocks::reclaim`] has no more to do, less than half of every block is dead.

use crate::record::Record;
use crate::revision::Revision;
use crate::storage::{ReclaimProgress, RecordBlock};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A block takes no further record once it holds this many: as many as its bitmap has bits.
const RECORDS_MAX: usize = u64::BITS as usize;
/// A block takes no further record once it holds this much.
const BLOCK_BYTES: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Blocks {
    blocks: BTreeMap<Revision, Block>,
    /// First revisions of the blocks that are at least half dead.
    mostly_dead: BTreeSet<Revision>,
    bytes: u64,
    dead_bytes: u64,
}

#[derive(Debug)]
struct Block {
    content: Arc<RecordBlock>,
    /// Bit `n` is set if record `n` is dead.
    dead: u64,
    dead_bytes: usize,
}

impl Blocks {
    /// Adds records above all that are stored.
    pub(super) fn append<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        let mut records = records.peekable();
        if records.peek().is_none() {
            return;
        }
        // Small flushes fill the last block, so that blocks keep a useful size.
        let open = self.blocks.last_entry().filter(|last| last.get().has_room()).map(|last| last.remove());
        let (mut dead, mut dead_bytes) = (0, 0);
        let mut builder = Builder::default();
        if let Some(open) = &open {
            self.forget(open);
            (dead, dead_bytes) = (open.dead, open.dead_bytes);
            open.content.records.iter().for_each(|record| builder.push(record));
        }
        for record in records {
            if !builder.has_room() {
                self.insert(Block { content: builder.finish(), dead, dead_bytes });
                (dead, dead_bytes) = (0, 0);
                builder = Builder::default();
            }
            builder.push(record);
        }
        self.insert(Block { content: builder.finish(), dead, dead_bytes });
    }

    /// The block that holds exactly `revision`.
    pub(super) fn get(&self, revision: Revision) -> Option<&Arc<RecordBlock>> {
        let (_, block) = self.blocks.range(..=revision).next_back()?;
        block.content.get(revision).map(|_| &block.content)
    }

    /// The first block with a record at or above `from`.
    pub(super) fn first_from(&self, from: Revision) -> Option<&Arc<RecordBlock>> {
        let before = self.blocks.range(..=from).next_back().filter(|(_, block)| block.last() >= from);
        before.or_else(|| self.blocks.range(from..).next()).map(|(_, block)| &block.content)
    }

    pub(super) fn last(&self) -> Option<Revision> {
        self.blocks.last_key_value().map(|(_, block)| block.last())
    }

    /// Marks a record as dead.
    pub(super) fn mark_dead(&mut self, revision: Revision) {
        let Some((&first, block)) = self.blocks.range_mut(..=revision).next_back() else { return };
        let Ok(at) = block.content.records.binary_search_by_key(&revision, |record| record.revision) else {
            return;
        };
        if block.dead & (1 << at) != 0 {
            return;
        }
        let bytes = record_bytes(&block.content.records[at]);
        block.dead |= 1 << at;
        block.dead_bytes += bytes;
        self.dead_bytes += bytes as u64;
        if block.is_mostly_dead() {
            self.mostly_dead.insert(first);
        }
    }

    /// The block that [`reclaim`](Self::reclaim) would take.
    pub(super) fn reclaimable(&self) -> Option<&Arc<RecordBlock>> {
        self.blocks.get(self.mostly_dead.first()?).map(|block| &block.content)
    }

    /// Rewrites or frees one block that is mostly dead.
    pub(super) fn reclaim(&mut self) -> ReclaimProgress {
        let Some(first) = self.mostly_dead.pop_first() else { return ReclaimProgress::default() };
        let before = self.bytes;
        let mut copied_bytes = 0;
        if let Some(block) = self.blocks.remove(&first) {
            self.forget(&block);
            let mut builder = Builder::default();
            let live_bytes = block.content.memory_bytes - block.dead_bytes;
            let joined = self.blocks.range(..first).next_back().filter(|(_, small)| {
                live_bytes > 0
                    && small.content.records.len() + block.live().count() <= RECORDS_MAX
                    && small.content.memory_bytes + live_bytes <= BLOCK_BYTES
            });
            if let Some((&small, _)) = joined
                && let Some(small) = self.blocks.remove(&small)
            {
                self.forget(&small);
                small.live().for_each(|record| builder.push(record));
            }
            block.live().for_each(|record| builder.push(record));
            if !builder.is_empty() {
                let content = builder.finish();
                copied_bytes = content.memory_bytes as u64;
                self.insert(Block { content, dead: 0, dead_bytes: 0 });
            }
        }
        ReclaimProgress {
            freed_bytes: before.saturating_sub(self.bytes),
            copied_bytes,
            more: !self.mostly_dead.is_empty(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.bytes - self.dead_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    fn insert(&mut self, block: Block) {
        let Some(first) = block.content.records.first().map(|record| record.revision) else { return };
        self.bytes += block.content.memory_bytes as u64;
        self.dead_bytes += block.dead_bytes as u64;
        if block.is_mostly_dead() {
            self.mostly_dead.insert(first);
        }
        self.blocks.insert(first, block);
    }

    /// Takes a removed block off the books.
    fn forget(&mut self, block: &Block) {
        self.bytes -= block.content.memory_bytes as u64;
        self.dead_bytes -= block.dead_bytes as u64;
        if let Some(first) = block.content.records.first() {
            self.mostly_dead.remove(&first.revision);
        }
    }
}

impl Block {
    fn has_room(&self) -> bool {
        self.content.records.len() < RECORDS_MAX && self.content.memory_bytes < BLOCK_BYTES
    }

    fn is_mostly_dead(&self) -> bool {
        2 * self.dead_bytes >= self.content.memory_bytes
    }

    fn last(&self) -> Revision {
        self.content.records.last().map_or(Revision::default(), |record| record.revision)
    }

    fn live(&self) -> impl Iterator<Item = &Record> {
        let dead = self.dead;
        self.content
            .records
            .iter()
            .enumerate()
            .filter(move |(at, _)| dead & (1 << at) == 0)
            .map(|(_, record)| record)
    }
}

/// Collects the records of one block and copies their bytes into one buffer.
#[derive(Default)]
struct Builder {
    records: Vec<Record>,
    bytes: usize,
}

impl Builder {
    fn push(&mut self, record: &Record) {
        self.bytes += record_bytes(record);
        self.records.push(record.clone());
    }

    fn has_room(&self) -> bool {
        self.records.len() < RECORDS_MAX && self.bytes < BLOCK_BYTES
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn finish(mut self) -> Arc<RecordBlock> {
        let mut buffer = BytesMut::with_capacity(self.records.iter().map(Record::payload_bytes).sum());
        for record in &self.records {
            buffer.extend_from_slice(&record.key);
            buffer.extend_from_slice(&record.value);
        }
        let mut rest: Bytes = buffer.freeze();
        for record in &mut self.records {
            record.key = rest.split_to(record.key.len());
            record.value = rest.split_to(record.value.len());
        }
        self.records.shrink_to_fit();
        Arc::new(RecordBlock { records: self.records, memory_bytes: self.bytes })
    }
}

/// What a record takes in memory.
fn record_bytes(record: &Record) -> usize {
    size_of::<Record>() + record.payload_bytes()
}
