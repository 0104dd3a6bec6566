//! Where records are found by revision: first among the unflushed ones in memory, then in the cache of blocks,
//! then in the record store.
//!
//! # Invariants
//! - A record that the index shows is in at least one of the three places at every moment: it leaves memory only
//!   after the flush that stored it has returned.
//! - Unflushed records are in revision order.
//! - When a snapshot replaces everything, records above its compact revision stay; of those below some are gone, and
//!   whoever asks for one because an older index showed it is told so.

use super::block_cache::BlockCache;
use super::unflushed::Unflushed;
use crate::error::Error;
use crate::record::Record;
use crate::revision::Revision;
use crate::state::Values;
use crate::storage::{RecordBlock, Records, StorageError};
use parking_lot::{Condvar, Mutex, RwLock};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// All records of the store, for reading from any thread and writing from the apply thread.
pub(super) struct ValueStore {
    unflushed: RwLock<Unflushed>,
    unflushed_bytes: AtomicUsize,
    flushed: Condvar,
    flushed_lock: Mutex<()>,
    cache: BlockCache,
    records: Arc<dyn Records>,
    /// Live bytes in the record store, as of the last look.
    stored_bytes: AtomicU64,
    /// What a flush surely finds room for, as of the last look.
    flush_room_bytes: AtomicU64,
    /// Somebody was refused because what is unflushed takes up that room.
    flush_wanted: AtomicBool,
    /// The compact revision of the snapshot that replaced what was here; 0 if none did.
    replaced_below: AtomicI64,
}

/// Bytes that a record takes in memory beside its payload.
const RECORD_OVERHEAD_BYTES: usize = 176;
/// Records that are looked at in one hold of the lock.
const CHUNK: usize = 256;

impl ValueStore {
    /// Over `records`, with a cache of `cache_bytes_max`.
    pub(super) fn new(records: Arc<dyn Records>, cache_bytes_max: usize) -> Self {
        Self {
            unflushed: RwLock::default(),
            unflushed_bytes: AtomicUsize::new(0),
            flushed: Condvar::new(),
            flushed_lock: Mutex::new(()),
            cache: BlockCache::new(cache_bytes_max),
            stored_bytes: AtomicU64::new(records.stats().live_bytes),
            flush_room_bytes: AtomicU64::new(records.flush_room_bytes()),
            flush_wanted: AtomicBool::new(false),
            replaced_below: AtomicI64::new(0),
            records,
        }
    }

    /// The record store below.
    pub(super) fn records(&self) -> &Arc<dyn Records> {
        &self.records
    }

    /// Bytes of records that are not yet in the record store.
    pub(super) fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes.load(Ordering::Acquire)
    }

    /// Bytes of live records, wherever they are: what a quota is held against. Costs nothing.
    pub(super) fn bytes_in_use(&self) -> u64 {
        self.stored_bytes.load(Ordering::Acquire) + self.unflushed_bytes() as u64
    }

    /// Has [`bytes_in_use`](Self::bytes_in_use) know what the record store holds now.
    pub(super) fn weigh_records(&self) {
        self.stored_bytes.store(self.records.stats().live_bytes, Ordering::Release);
    }

    /// What a flush surely finds room for on the medium, as of the last look. Costs nothing.
    pub(super) fn flush_room_bytes(&self) -> u64 {
        self.flush_room_bytes.load(Ordering::Acquire)
    }

    /// Looks how much a flush surely finds room for.
    pub(super) fn weigh_room(&self) -> u64 {
        let bytes = self.records.flush_room_bytes();
        self.flush_room_bytes.store(bytes, Ordering::Release);
        bytes
    }

    /// Whether all that is unflushed, what is `pending` (no more than `pending_max`) and `more` surely find room in a
    /// flush. What comes alone is tried. If not, a flush is wanted from now on.
    pub(super) fn fits_in_a_flush(&self, pending: impl FnOnce() -> u64, pending_max: u64, more: u64) -> bool {
        let unflushed = self.unflushed_bytes() as u64;
        if unflushed + pending_max + more <= self.flush_room_bytes() {
            return true;
        }
        // In this order: what is applied in between counts twice, rather than not at all.
        let pending = pending();
        let waiting = pending + self.unflushed_bytes() as u64;
        let fits = waiting == 0 || waiting + more <= self.weigh_room();
        if !fits {
            self.flush_wanted.store(true, Ordering::Release);
        }
        fits
    }

    /// Whether a flush is wanted; after this it is not.
    pub(super) fn take_flush_wanted(&self) -> bool {
        self.flush_wanted.swap(false, Ordering::AcqRel)
    }

    /// The record at `revision`; `None` if it was never stored or was reclaimed.
    pub(super) fn find(&self, revision: Revision) -> Result<Option<Record>, StorageError> {
        if let Some(record) = self.unflushed.read().get(revision) {
            return Ok(Some(record.as_ref().clone()));
        }
        Ok(self.block(revision)?.and_then(|block| block.get(revision).cloned()))
    }

    /// Reads many records, in the order of `revisions`. Those that follow each other closely share one block, so that
    /// a page of keys that were written together costs few look-ups. `visit` is quick: it may run under the lock that
    /// the apply thread needs. The next revision is asked for once the record before it was visited, so that
    /// `revisions` can end by what was found.
    ///
    /// # Errors
    /// The medium failed, or a record that must exist is missing.
    pub(super) fn read_many(
        &self,
        revisions: impl Iterator<Item = Revision>,
        mut visit: impl FnMut(&Record),
    ) -> Result<(), StorageError> {
        let mut revisions = revisions.peekable();
        let mut block: Option<Arc<RecordBlock>> = None;
        while revisions.peek().is_some() {
            let first_unflushed = {
                let unflushed = self.unflushed.read();
                let first = unflushed.first().unwrap_or(Revision { main: i64::MAX, sub: 0 });
                let mut near = 0;
                for revision in std::iter::from_fn(|| revisions.next_if(|next| *next >= first)).take(CHUNK) {
                    visit(unflushed.get_near(revision, &mut near).ok_or_else(|| self.missing(revision))?);
                }
                first
            };
            while let Some(revision) = revisions.next_if(|next| *next < first_unflushed) {
                if let Some(record) = block.as_ref().and_then(|block| block.get(revision)) {
                    visit(record);
                    continue;
                }
                block = self.block(revision)?;
                let record = block.as_ref().and_then(|block| block.get(revision));
                visit(record.ok_or_else(|| self.missing(revision))?);
            }
        }
        Ok(())
    }

    /// Visits every record with `first <= main <= last` in order, wherever it lies. `last` must have been published
    /// before the call.
    ///
    /// # Errors
    /// The medium failed.
    pub(super) fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut next = Revision::first(first);
        while next.main <= last {
            match self.unflushed_from(next) {
                // Everything published is in the record store up to the boundary: a flush stores before it forgets.
                NextRecords::AreStored { before: None } => {
                    return self.records.scan(next.main, last, &mut |record| match record.revision < next {
                        true => ControlFlow::Continue(()),
                        false => visit(record),
                    });
                }
                NextRecords::AreStored { before: Some(boundary) } => {
                    let mut stopped = false;
                    self.records.scan(next.main, last.min(boundary.main), &mut |record| {
                        if record.revision < next || record.revision >= boundary {
                            return ControlFlow::Continue(());
                        }
                        let flow = visit(record);
                        stopped = flow.is_break();
                        flow
                    })?;
                    if stopped {
                        return Ok(());
                    }
                    next = boundary;
                }
                NextRecords::Are(chunk) => {
                    let Some(newest) = chunk.last() else { return Ok(()) };
                    next = Revision { sub: newest.revision.sub + 1, ..newest.revision };
                    for record in &chunk {
                        if record.revision.main > last || visit(record).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// What the memory says of `next` and after it.
    fn unflushed_from(&self, next: Revision) -> NextRecords {
        let unflushed = self.unflushed.read();
        match unflushed.first() {
            None => NextRecords::AreStored { before: None },
            Some(first) if first > next => NextRecords::AreStored { before: Some(first) },
            Some(_) => NextRecords::Are(unflushed.from(next).take(CHUNK).cloned().collect()),
        }
    }

    /// The unflushed records up to and including main revision `last`.
    pub(super) fn unflushed_up_to(&self, last: i64) -> Vec<Arc<Record>> {
        self.unflushed.read().up_to(last).cloned().collect()
    }

    /// Forgets unflushed records up to and including main revision `last`: the record store has them.
    pub(super) fn forget_up_to(&self, last: i64) {
        let forgotten = self.unflushed.write().split_up_to(last);
        let freed = forgotten.up_to(last).map(|record| record_bytes(record)).sum();
        drop(forgotten);
        self.unflushed_bytes.fetch_sub(freed, Ordering::AcqRel);
        self.wake_waiters();
    }

    /// Told before a snapshot takes the place of all records: from now on those up to its compact revision may be gone.
    pub(super) fn replacing(&self, compact_revision: i64) {
        self.replaced_below.store(compact_revision, Ordering::Release);
    }

    /// Whether what was read of the history from `revision` on, here and then in the index, was whole: false from the moment
    /// at which a snapshot begins to take its place, if it has compacted some of it.
    ///
    /// # Errors
    /// [`Error::Compacted`].
    pub(super) fn check_not_replaced(&self, revision: i64) -> Result<(), Error> {
        let compact_revision = self.replaced_below.load(Ordering::Acquire);
        if revision < compact_revision { Err(Error::Compacted { compact_revision }) } else { Ok(()) }
    }

    /// Told after that: what memory held is in the snapshot, as far as it is still there.
    pub(super) fn replaced(&self) {
        self.forget_up_to(i64::MAX);
        self.weigh_records();
        self.weigh_room();
    }

    /// A record that should be there is not.
    fn missing(&self, revision: Revision) -> StorageError {
        let compact_revision = self.replaced_below.load(Ordering::Acquire);
        if revision.main <= compact_revision {
            return StorageError::Replaced { compact_revision };
        }
        StorageError::Corrupt {
            path: "records".into(),
            offset: 0,
            expected: format!("a record at revision {revision}"),
            found: "none".into(),
        }
    }

    /// Has whoever waits for room look again.
    pub(super) fn wake_waiters(&self) {
        let _guard = self.flushed_lock.lock();
        self.flushed.notify_all();
    }

    /// Blocks while more than `bytes_max` are unflushed and `keep_waiting` says so.
    pub(super) fn wait_below(&self, bytes_max: usize, keep_waiting: impl Fn() -> bool) {
        let mut guard = self.flushed_lock.lock();
        while self.unflushed_bytes() > bytes_max && keep_waiting() {
            self.flushed.wait_for(&mut guard, std::time::Duration::from_millis(100));
        }
    }

    fn block(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError> {
        if let Some(block) = self.cache.get(revision) {
            return Ok(Some(block));
        }
        let block = self.records.read(revision)?;
        if let Some(block) = &block {
            self.cache.insert(block.clone());
        }
        Ok(block)
    }
}

/// Where a scan finds its next records.
enum NextRecords {
    /// In the record store, up to this revision; to the end if there is none.
    AreStored { before: Option<Revision> },
    /// These, from memory; none if the scan has passed the newest record.
    Are(Vec<Arc<Record>>),
}

impl Values for ValueStore {
    fn load(&self, revision: Revision) -> Result<Arc<Record>, StorageError> {
        if let Some(record) = self.unflushed.read().get(revision) {
            return Ok(record.clone());
        }
        let block = self.block(revision)?;
        match block.and_then(|block| block.get(revision).cloned()) {
            Some(record) => Ok(Arc::new(record)),
            None => Err(self.missing(revision)),
        }
    }

    fn store(&self, record: Arc<Record>) {
        self.unflushed_bytes.fetch_add(record_bytes(&record), Ordering::AcqRel);
        self.unflushed.write().push(record);
    }
}

impl std::fmt::Debug for ValueStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueStore").field("unflushed_bytes", &self.unflushed_bytes()).finish_non_exhaustive()
    }
}

fn record_bytes(record: &Record) -> usize {
    record.payload_bytes() + RECORD_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::founding_membership;
    use crate::member::{Member, MemberInfo};
    use crate::state::founding_checkpoint;
    use crate::storage::{Flush, LogId, MemoryDisk};
    use bytes::Bytes;

    fn scanned(values: &ValueStore, first: i64, last: i64) -> Vec<i64> {
        let mut seen = Vec::new();
        let scan = values.scan(first, last, &mut |record| {
            seen.push(record.revision.main);
            // What is never done would fill the memory.
            if seen.len() < 100 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        scan.expect("a scan");
        seen
    }

    #[test]
    fn a_scan_ends_at_the_largest_revision_too() {
        let (_log, records) = MemoryDisk::default().open().expect("a medium");
        let records: Arc<dyn Records> = Arc::new(records);
        let values = ValueStore::new(records.clone(), 0);
        assert_eq!(scanned(&values, 0, i64::MAX), [0; 0]);
        let mains = [3, 5, i64::MAX - 1, i64::MAX];
        for main in mains {
            let record = Record::deletion(Revision::first(main), Bytes::from_static(b"k"));
            values.store(Arc::new(record));
        }
        // In memory, in both places, and in the record store.
        for flushed in [2, 3, 5, i64::MAX - 1, i64::MAX] {
            let chunk = values.unflushed_up_to(flushed);
            let at = LogId { term: 1, index: 1 };
            let membership = founding_membership(&[Member { id: 1, info: MemberInfo::default() }]);
            let checkpoint = founding_checkpoint(at, membership, (5, 0), &[]);
            let flush = Flush { records: &chunk, checkpoint: &checkpoint };
            records.flush(flush).expect("a flush");
            assert_eq!(scanned(&values, 0, i64::MAX), mains, "stored, and in memory");
            values.forget_up_to(flushed);
            assert_eq!(scanned(&values, 0, i64::MAX), mains, "flushed up to {flushed}");
            assert_eq!(scanned(&values, 4, i64::MAX - 1), [5, i64::MAX - 1]);
            assert_eq!(scanned(&values, i64::MAX, i64::MAX), [i64::MAX]);
            assert_eq!(scanned(&values, 6, 7), [0; 0]);
        }
    }
}
