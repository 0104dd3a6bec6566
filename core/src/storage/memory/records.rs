//! The records of a memory disk.
//!
//! A [`Generation`] is everything that one installation brought and flushes added. Walks hold on to the generation that
//! they began in, so that an installation does not change what they see.

use super::blocks::Blocks;
use super::faults::{Operation, Strike};
use super::{Medium, Session};
use crate::record::Record;
use crate::revision::Revision;
use crate::storage::conformance::Fault;
use crate::storage::{
    Checking, Checkpoint, DirectoryEntry, Flush, Halt, Inspector, ReclaimProgress, RecordBlock, Records,
    RecordsStage, RecordsStats, RewriteProgress, SnapshotWriter, StagedRecords, StorageError, ended,
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const PATH: &str = "mem:records";
/// Below every revision.
const OLDEST: Revision = Revision { main: i64::MIN, sub: 0 };
/// Records or revisions that are handled in one hold of a lock.
const CHUNK: usize = 256;

/// The records half of an open [`MemoryDisk`](super::MemoryDisk).
#[derive(Debug)]
pub struct MemoryRecords {
    medium: Arc<Medium>,
    session: Arc<Session>,
    poisoned: Arc<Mutex<Option<String>>>,
}

/// The records as they lie on the disk.
#[derive(Debug, Default)]
pub(super) struct RecordsImage {
    generation: Arc<Generation>,
    checkpoint: Option<Checkpoint>,
    /// Written but not synced: the whole of it is kept or lost.
    pending: Option<Pending>,
    damaged: Option<Damage>,
}

#[derive(Debug, Default)]
pub(super) struct Generation {
    blocks: RwLock<Blocks>,
}

/// A change that is all or nothing.
#[derive(Debug)]
pub(super) enum Pending {
    Flush(Vec<Arc<Record>>, Checkpoint),
    Install(Arc<Generation>, Checkpoint),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Checkpoint,
    Record(Revision),
}

impl MemoryRecords {
    pub(super) fn new(medium: Arc<Medium>, session: Arc<Session>) -> Self {
        Self { medium, session, poisoned: Arc::default() }
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        self.session.check()?;
        match &*self.poisoned.lock() {
            Some(reason) => Err(StorageError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Remembers a failure, and passes it on. A lack of room is none.
    fn failed(&self, error: StorageError) -> StorageError {
        if !error.is_no_room() {
            *self.poisoned.lock() = Some(error.to_string());
        }
        error
    }

    /// Performs the operations that would make `pending` durable, then makes it visible.
    fn commit(&self, pending: Pending, operations: &[Operation]) -> Result<(), StorageError> {
        let _alone = self.medium.records_change.lock();
        // Again, because a power cut may have come while this waited for the lock.
        self.session.check()?;
        let mut written = false;
        for &operation in operations {
            if let Err(Strike { fault, error }) = self.medium.mutate(operation, PATH) {
                // A power cut may keep what was written; a failed write or sync has lost it.
                self.medium.records.write().pending = (written && fault == Fault::Crash).then_some(pending);
                return Err(self.failed(error));
            }
            written = true;
        }
        pending.apply(&self.medium.records);
        Ok(())
    }

    /// The generation to read from, and the record in it that is damaged.
    fn generation(&self) -> Result<(Arc<Generation>, Option<Revision>), StorageError> {
        self.session.check()?;
        let image = self.medium.records.read();
        let damaged = match image.damaged {
            Some(Damage::Record(revision)) => Some(revision),
            _ => None,
        };
        Ok((image.generation.clone(), damaged))
    }

    /// Visits the records of the present generation from `from` on, in order, a block at a time.
    fn walk(
        &self,
        from: Revision,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let (generation, damaged) = self.generation()?;
        let mut from = Some(from);
        while let Some(next) = from {
            self.medium.faults.read("read", PATH)?;
            let Some(block) = generation.blocks.read().first_from(next).cloned() else { break };
            check_undamaged(&block, damaged)?;
            // A block that was rewritten meanwhile may reach back to what was visited.
            for record in block.records.iter().filter(|record| record.revision >= next) {
                if visit(record).is_break() {
                    return Ok(());
                }
            }
            from = block.records.last().and_then(|last| successor(last.revision));
        }
        Ok(())
    }
}

impl MemoryRecords {
    /// Checks the blocks one by one; counts the records of those that are intact.
    fn verify_blocks(&self, checking: &mut Checking<'_>, count: &mut u64) -> Result<(), Halt> {
        let (generation, damaged) = self.generation()?;
        checking.expect(generation.blocks.read().bytes());
        let last = generation.blocks.read().last();
        let mut from = Some(OLDEST);
        while let Some(next) = from.filter(|next| Some(*next) <= last) {
            self.session.check()?;
            let Some(block) = generation.blocks.read().first_from(next).cloned() else { break };
            let read = self.medium.faults.read("read", PATH).and_then(|()| check_undamaged(&block, damaged));
            if checking.take(read)?.is_some() {
                // A block that was rewritten meanwhile may reach back to what was counted.
                *count += block.records.iter().filter(|record| record.revision >= next).count() as u64;
            }
            from = block.records.last().and_then(|last| successor(last.revision));
            checking.checked(block.memory_bytes as u64)?;
        }
        Ok(())
    }
}

impl Records for MemoryRecords {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.medium.records.read().checkpoint.clone()
    }

    fn flush(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        self.check_writable()?;
        let stored = self.medium.records.read().generation.blocks.read().last();
        let mut last = stored;
        for record in flush.records {
            assert!(Some(record.revision) > last, "a flush goes back to {} from {last:?}", record.revision);
            last = Some(record.revision);
        }
        let pending = Pending::Flush(flush.records.to_vec(), flush.checkpoint.clone());
        self.commit(pending, &[Operation::Write, Operation::Sync])
    }

    fn read(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError> {
        let (generation, damaged) = self.generation()?;
        self.medium.faults.read("read", PATH)?;
        let block = generation.blocks.read().get(revision).cloned();
        if let Some(block) = &block {
            check_undamaged(block, damaged)?;
        }
        Ok(block)
    }

    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.walk(Revision::first(first), &mut |record| {
            if record.revision.main > last { ControlFlow::Break(()) } else { visit(record) }
        })
    }

    fn directory(
        &self,
        visit: &mut dyn FnMut(&[u8], &DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut entries: Vec<(Bytes, DirectoryEntry)> = Vec::new();
        self.walk(OLDEST, &mut |record| {
            entries.push((record.key.clone(), DirectoryEntry::from(record)));
            ControlFlow::Continue(())
        })?;
        entries.sort_unstable_by(|(a, of_a), (b, of_b)| (a, of_a.revision).cmp(&(b, of_b.revision)));
        for (key, entry) in &entries {
            if visit(key, entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn drop_revisions(&self, dead: &[Revision]) {
        let generation = self.medium.records.read().generation.clone();
        // In chunks, so that readers get in between.
        for chunk in dead.chunks(CHUNK) {
            let mut blocks = generation.blocks.write();
            chunk.iter().for_each(|&revision| blocks.mark_dead(revision));
        }
    }

    fn reclaim(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        self.check_writable()?;
        let (generation, damaged) = self.generation()?;
        let mut total = ReclaimProgress { more: true, ..ReclaimProgress::default() };
        while total.more && total.copied_bytes < copy_bytes_max.max(1) {
            let Some(block) = generation.blocks.read().reclaimable().cloned() else {
                total.more = false;
                break;
            };
            check_undamaged(&block, damaged)?;
            // The old content stays until the new is complete, so a failure here leaves nothing unknown.
            self.medium.mutate(Operation::Write, PATH).map_err(|strike| strike.error)?;
            let step = generation.blocks.write().reclaim();
            total.freed_bytes += step.freed_bytes;
            total.copied_bytes += step.copied_bytes;
            total.more = step.more;
        }
        Ok(total)
    }

    /// Memory has no keys.
    fn wants_rewrite(&self) -> bool {
        false
    }

    fn rewrite(&self, _: u64) -> Result<RewriteProgress, StorageError> {
        self.check_writable()?;
        Ok(RewriteProgress::default())
    }

    fn stage(&self) -> Result<Box<dyn RecordsStage>, StorageError> {
        self.check_writable()?;
        let (medium, session) = (self.medium.clone(), self.session.clone());
        let records = Self { medium, session, poisoned: self.poisoned.clone() };
        Ok(Box::new(Stage { records, blocks: Blocks::default(), chunk: Vec::new(), last: None }))
    }

    fn install_staged(
        &self,
        checkpoint: &Checkpoint,
        staged: &mut StagedRecords,
    ) -> Result<(), StorageError> {
        let staged = staged.get_mut::<Staged>().filter(|staged| Arc::ptr_eq(&staged.session, &self.session));
        let staged = staged.expect("a store is only given what it staged itself");
        self.check_writable()?;
        let pending = Pending::Install(staged.generation.clone(), checkpoint.clone());
        self.commit(pending, &[Operation::Rename, Operation::Sync])
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<u64, StorageError> {
        let mut checking = Checking::new(inspector);
        let mut count = 0;
        ended(self.verify_blocks(&mut checking, &mut count)).map(|()| count)
    }

    fn stats(&self) -> RecordsStats {
        let generation = self.medium.records.read().generation.clone();
        let blocks = generation.blocks.read();
        RecordsStats {
            disk_bytes: blocks.bytes(),
            live_bytes: blocks.live_bytes(),
            units: blocks.len() as u64,
        }
    }

    fn snapshot_writer(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        let reason = "a store in memory makes no snapshot file: export it".into();
        Err(StorageError::Format { path: "memory".into(), reason })
    }

    fn has_room(&self) -> bool {
        !self.medium.full.load(Ordering::Acquire)
    }

    fn recover_room(&self) -> Result<bool, StorageError> {
        self.check_writable()?;
        if self.has_room() {
            return Ok(true);
        }
        match self.medium.mutate(Operation::Write, PATH) {
            Ok(()) => self.medium.full.store(false, Ordering::Release),
            Err(strike) if strike.error.is_no_room() => return Ok(false),
            Err(strike) => return Err(strike.error),
        }
        Ok(true)
    }

    fn flush_room_bytes(&self) -> u64 {
        u64::MAX
    }
}

/// A content that is being written. Until it is installed nothing on the disk shows it.
struct Stage {
    records: MemoryRecords,
    blocks: Blocks,
    chunk: Vec<Record>,
    last: Option<Revision>,
}

impl Stage {
    fn end_chunk(&mut self) {
        self.blocks.append(self.chunk.iter());
        self.chunk.clear();
    }
}

impl RecordsStage for Stage {
    fn push(&mut self, record: Record) -> Result<(), StorageError> {
        self.records.check_writable()?;
        let (last, next) = (self.last, record.revision);
        assert!(Some(next) > last, "a snapshot goes back to {next} from {last:?}");
        self.last = Some(next);
        self.chunk.push(record);
        if self.chunk.len() == CHUNK {
            self.end_chunk();
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<StagedRecords, StorageError> {
        self.end_chunk();
        self.records.check_writable()?;
        for operation in [Operation::Write, Operation::Sync] {
            self.records
                .medium
                .mutate(operation, PATH)
                .map_err(|strike| self.records.failed(strike.error))?;
        }
        let blocks = std::mem::take(&mut self.blocks);
        let generation = Arc::new(Generation { blocks: RwLock::new(blocks) });
        Ok(StagedRecords::new(Staged { generation, session: self.records.session.clone() }))
    }
}

/// A content that waits to be installed.
struct Staged {
    generation: Arc<Generation>,
    session: Arc<Session>,
}

impl RecordsImage {
    /// A restart: what was pending is lost, unless a crash decided otherwise before.
    pub(super) fn recover(&mut self) -> Result<(), StorageError> {
        self.pending = None;
        match self.damaged {
            Some(Damage::Checkpoint) => Err(damage_at(0)),
            _ => Ok(()),
        }
    }

    /// What of the unsynced the power cut keeps.
    pub(super) fn crash(&mut self, rng: &mut SmallRng) -> Option<Pending> {
        self.pending.take().filter(|_| rng.random_bool(0.5))
    }

    pub(super) fn damage(&mut self, rng: &mut SmallRng) -> Option<String> {
        self.checkpoint.as_ref()?;
        let blocks = self.generation.blocks.read();
        let last = blocks.last().filter(|_| rng.random_bool(0.8));
        let block = last.and_then(|last| blocks.first_from(Revision::first(rng.random_range(0..=last.main))));
        let (damaged, name) = match block {
            Some(block) => {
                let record = &block.records[rng.random_range(0..block.records.len())];
                (Damage::Record(record.revision), format!("record {}", record.revision))
            }
            None => (Damage::Checkpoint, "checkpoint".to_owned()),
        };
        self.damaged = Some(damaged);
        Some(name)
    }
}

impl Pending {
    /// Makes this visible. Readers get in between: the records of a flush may show before its checkpoint does.
    pub(super) fn apply(self, image: &RwLock<RecordsImage>) {
        match self {
            Pending::Flush(records, checkpoint) => {
                let generation = image.read().generation.clone();
                for chunk in records.chunks(CHUNK) {
                    generation.blocks.write().append(chunk.iter().map(|record| &**record));
                }
                image.write().checkpoint = Some(checkpoint);
            }
            Pending::Install(generation, checkpoint) => {
                let mut image = image.write();
                let old = std::mem::replace(&mut image.generation, generation);
                image.checkpoint = Some(checkpoint);
                // The old content may take its time to go; readers need not wait for that.
                drop(image);
                drop(old);
            }
        }
    }
}

fn check_undamaged(block: &RecordBlock, damaged: Option<Revision>) -> Result<(), StorageError> {
    match damaged.filter(|&revision| block.get(revision).is_some()) {
        Some(revision) => Err(damage_at(revision.main as u64)),
        None => Ok(()),
    }
}

fn damage_at(offset: u64) -> StorageError {
    StorageError::Corrupt {
        path: PATH.into(),
        offset,
        expected: "what was written".into(),
        found: "damage".into(),
    }
}

/// The smallest revision above `revision`.
fn successor(revision: Revision) -> Option<Revision> {
    match revision.sub.checked_add(1) {
        Some(sub) => Some(Revision { sub, ..revision }),
        None => revision.main.checked_add(1).map(Revision::first),
    }
}
