//! A bounded cache of record blocks, keyed by the revisions that they span.
//!
//! Records are immutable, so an entry is never stale: after segments were merged, blocks with other bounds may
//! overlap older ones, which costs a second read at worst and never a wrong answer.

use crate::revision::Revision;
use crate::storage::RecordBlock;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Evicts by the second-chance rule.
#[derive(Debug)]
pub(super) struct BlockCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    blocks: BTreeMap<Revision, Slot>,
    order: VecDeque<Revision>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    block: Arc<RecordBlock>,
    used: bool,
}

impl BlockCache {
    /// A cache for about `bytes_max` bytes of blocks.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default() }
    }

    /// The block that holds `revision`, if it is cached.
    pub(super) fn get(&self, revision: Revision) -> Option<Arc<RecordBlock>> {
        let mut inner = self.inner.lock();
        let (_, slot) = inner.blocks.range_mut(..=revision).next_back()?;
        if slot.block.records.last().is_none_or(|last| last.revision < revision) {
            return None;
        }
        slot.used = true;
        Some(slot.block.clone())
    }

    /// Adds a block.
    pub(super) fn insert(&self, block: Arc<RecordBlock>) {
        let Some(first) = block.records.first().map(|record| record.revision) else { return };
        if block.memory_bytes > self.bytes_max / 8 {
            return;
        }
        let mut inner = self.inner.lock();
        inner.bytes += block.memory_bytes;
        match inner.blocks.insert(first, Slot { block, used: false }) {
            Some(old) => inner.bytes -= old.block.memory_bytes,
            None => inner.order.push_back(first),
        }
        inner.evict(self.bytes_max);
    }
}

impl Inner {
    fn evict(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(first) = self.order.pop_front() else { return };
            match self.blocks.get_mut(&first) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.order.push_back(first);
                }
                _ => {
                    if let Some(slot) = self.blocks.remove(&first) {
                        self.bytes -= slot.block.memory_bytes;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use bytes::Bytes;

    fn block(first: i64, last: i64) -> Arc<RecordBlock> {
        let records = (first..=last)
            .map(|main| Record::deletion(Revision::first(main), Bytes::from_static(b"k")))
            .collect();
        Arc::new(RecordBlock { records, memory_bytes: 100 })
    }

    #[test]
    fn finds_blocks_by_any_revision_inside() {
        let cache = BlockCache::new(10_000);
        cache.insert(block(10, 20));
        cache.insert(block(30, 40));
        assert!(cache.get(Revision::first(10)).is_some());
        assert!(cache.get(Revision::first(20)).is_some());
        assert!(cache.get(Revision::first(21)).is_none());
        assert!(cache.get(Revision::first(9)).is_none());
    }

    #[test]
    fn keeps_what_is_used_within_its_bound() {
        let cache = BlockCache::new(1000);
        cache.insert(block(0, 1));
        for first in 1..100 {
            assert!(cache.get(Revision::first(0)).is_some(), "after {first} insertions");
            cache.insert(block(first * 10, first * 10 + 1));
        }
        assert!(cache.inner.lock().bytes <= 1000);
        assert!(cache.inner.lock().blocks.len() <= 10);
    }
}
