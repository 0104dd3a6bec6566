//! Tests of the suite itself: backends with one planted flaw each, which it must find.

use super::harness::{Fault, Harness, LogIo, Opened};
use super::{Make, SuiteConfig};
use crate::record::Record;
use crate::revision::Revision;
use crate::storage::{
    Checkpoint, DirectoryEntry, Finding, Flush, Inspector, Log, LogEntry, LogId, LogOp, LogReader, LogState,
    MemoryDisk, ReclaimProgress, RecordBlock, Records, RecordsStage, RecordsStats, RewriteProgress,
    SnapshotSource, SnapshotWriter, StagedRecords, StorageError,
};
use bytes::Bytes;
use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    AcknowledgesBeforeTheSync,
    HidesFailedWrites,
    ForgetsHardStates,
    ForgetsPurges,
    PurgesOneMore,
    IgnoresByteLimits,
    FlushesInTwoSteps,
    CheckpointsBeforeRecords,
    DropsTheNeighbour,
    NeverReclaims,
    ListsWithoutTombstones,
    ScansOneLess,
    VerifiesNothing,
    VerifiesNoLog,
    VerifiesToTheEnd,
    InstallsOnTop,
    InstallsWhileStaging,
    KeepsHalfOfABrokenSnapshot,
    ServesDamage,
    TakesReadErrorsForAbsence,
    PoisonsWithoutRoom,
    HidesThatThereIsNoRoom,
    NeverHasRoomAgain,
}

struct FlawedHarness {
    disk: MemoryDisk,
    flaw: Flaw,
    flipped: Rc<Cell<bool>>,
}

impl Harness for FlawedHarness {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let (log, records) = self.disk.open()?;
        let log = FlawedLog { inner: log, flaw: self.flaw, held: Vec::new(), ended: false };
        let records = FlawedRecords { inner: records, flaw: self.flaw, flipped: self.flipped.get() };
        Ok(Opened { log: Box::new(log), records: Arc::new(records) })
    }

    fn operations(&self) -> u64 {
        self.disk.operations()
    }

    fn arm(&mut self, at: u64, fault: Fault) -> bool {
        self.disk.arm(at, fault);
        true
    }

    fn disarm(&mut self) {
        self.disk.disarm();
    }

    fn fired(&self) -> bool {
        self.disk.fired()
    }

    fn crash(&mut self, seed: u64) {
        self.disk.crash(seed);
    }

    fn flip(&mut self, seed: u64) -> Option<String> {
        if self.flaw != Flaw::ServesDamage {
            return self.disk.damage(seed);
        }
        self.flipped.set(true);
        Some("a value".into())
    }

    fn log_io(&self) -> Option<LogIo> {
        Some(self.disk.log_io())
    }
}

struct FlawedLog<L> {
    inner: L,
    flaw: Flaw,
    held: Vec<LogOp>,
    ended: bool,
}

impl<L: Log> Log for FlawedLog<L> {
    fn state(&self) -> LogState {
        self.inner.state()
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        let mut ops = ops.to_vec();
        match self.flaw {
            Flaw::AcknowledgesBeforeTheSync => {
                std::mem::swap(&mut self.held, &mut ops);
                self.inner.write(&ops, None)
            }
            Flaw::HidesFailedWrites => {
                let _ = self.inner.write(&ops, committed);
                Ok(())
            }
            Flaw::ForgetsHardStates => {
                ops.retain(|op| !matches!(op, LogOp::SaveHardState(_)));
                self.inner.write(&ops, committed)
            }
            Flaw::PoisonsWithoutRoom if self.ended => {
                Err(StorageError::Poisoned { reason: "there was no room".into() })
            }
            _ => self.inner.write(&ops, committed).inspect_err(|_| self.ended = true),
        }
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        match self.flaw {
            Flaw::ForgetsPurges => Ok(()),
            Flaw::PurgesOneMore => self.inner.purge(LogId { index: up_to.index + 1, ..up_to }),
            _ => self.inner.purge(up_to),
        }
    }

    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.inner.rewrite(copy_bytes_max)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.inner.trim()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(FlawedReader { inner: self.inner.reader(), flaw: self.flaw })
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }
}

struct FlawedReader {
    inner: Arc<dyn LogReader>,
    flaw: Flaw,
}

impl LogReader for FlawedReader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let bytes_max = if self.flaw == Flaw::IgnoresByteLimits { u64::MAX } else { bytes_max };
        self.inner.read(range, bytes_max, visit)
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError> {
        if self.flaw == Flaw::VerifiesNoLog { Ok(()) } else { self.inner.verify(inspector) }
    }
}

struct FlawedRecords<R> {
    inner: R,
    flaw: Flaw,
    flipped: bool,
}

impl<R: Records> Records for FlawedRecords<R> {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.inner.checkpoint()
    }

    fn flush(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        let old = self.inner.checkpoint();
        match (self.flaw, old) {
            (Flaw::FlushesInTwoSteps, Some(old)) => {
                self.inner.flush(Flush { records: flush.records, checkpoint: &old })?;
                self.inner.flush(Flush { records: &[], checkpoint: flush.checkpoint })
            }
            (Flaw::CheckpointsBeforeRecords, _) => {
                self.inner.flush(Flush { records: &[], checkpoint: flush.checkpoint })?;
                self.inner.flush(flush)
            }
            _ => self.inner.flush(flush),
        }
    }

    fn read(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError> {
        let block = self.inner.read(revision);
        match self.flaw {
            Flaw::TakesReadErrorsForAbsence => block.or(Ok(None)),
            Flaw::ServesDamage if self.flipped => Ok(block?.map(|block| Arc::new(damaged(&block)))),
            _ => block,
        }
    }

    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        match self.flaw {
            Flaw::ScansOneLess => self.inner.scan(first, last.saturating_sub(1), visit),
            Flaw::ServesDamage if self.flipped => {
                self.inner.scan(first, last, &mut |r| visit(&damaged_record(r)))
            }
            _ => self.inner.scan(first, last, visit),
        }
    }

    fn directory(
        &self,
        visit: &mut dyn FnMut(&[u8], &DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.inner.directory(&mut |key, entry| match self.flaw {
            Flaw::ListsWithoutTombstones if entry.tombstone => ControlFlow::Continue(()),
            _ => visit(key, entry),
        })
    }

    fn drop_revisions(&self, dead: &[Revision]) {
        self.inner.drop_revisions(dead);
        if let (Flaw::DropsTheNeighbour, Some(last)) = (self.flaw, dead.last()) {
            self.inner.drop_revisions(&[Revision::first(last.main + 1)]);
        }
    }

    fn reclaim(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        if self.flaw == Flaw::NeverReclaims {
            return Ok(ReclaimProgress::default());
        }
        self.inner.reclaim(copy_bytes_max)
    }

    fn wants_rewrite(&self) -> bool {
        self.inner.wants_rewrite()
    }

    fn rewrite(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.inner.rewrite(copy_bytes_max)
    }

    fn stage(&self) -> Result<Box<dyn RecordsStage>, StorageError> {
        if self.flaw == Flaw::InstallsWhileStaging {
            let checkpoint = self.inner.checkpoint().unwrap_or_else(|| panic!("there is a checkpoint"));
            self.inner.install(&checkpoint, &mut FnSource(|| Ok(None)))?;
        }
        self.inner.stage()
    }

    fn install_staged(
        &self,
        checkpoint: &Checkpoint,
        staged: &mut StagedRecords,
    ) -> Result<(), StorageError> {
        self.inner.install_staged(checkpoint, staged)
    }

    fn install(&self, checkpoint: &Checkpoint, source: &mut dyn SnapshotSource) -> Result<(), StorageError> {
        match self.flaw {
            Flaw::InstallsOnTop => {
                let mut records = Vec::new();
                while let Some(record) = source.next()? {
                    records.push(Arc::new(record));
                }
                self.inner.flush(Flush { records: &records, checkpoint })
            }
            Flaw::KeepsHalfOfABrokenSnapshot => {
                let mut broken = None;
                let mut half = FnSource(|| {
                    source.next().or_else(|error| {
                        broken = Some(error);
                        Ok(None)
                    })
                });
                self.inner.install(checkpoint, &mut half)?;
                broken.map_or(Ok(()), Err)
            }
            _ => self.inner.install(checkpoint, source),
        }
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<u64, StorageError> {
        match self.flaw {
            Flaw::VerifiesNothing => Ok(0),
            Flaw::VerifiesToTheEnd => self.inner.verify(&mut Restless(inspector)),
            _ => self.inner.verify(inspector),
        }
    }

    fn stats(&self) -> RecordsStats {
        self.inner.stats()
    }

    fn snapshot_writer(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.inner.snapshot_writer()
    }

    fn has_room(&self) -> bool {
        self.flaw == Flaw::HidesThatThereIsNoRoom || self.inner.has_room()
    }

    fn recover_room(&self) -> Result<bool, StorageError> {
        let had_room = self.inner.has_room();
        let has_room = self.inner.recover_room()?;
        Ok(has_room && (had_room || self.flaw != Flaw::NeverHasRoomAgain))
    }

    fn flush_room_bytes(&self) -> u64 {
        self.inner.flush_room_bytes()
    }
}

/// An inspector that cannot be ended.
struct Restless<'a>(&'a mut dyn Inspector);

impl Inspector for Restless<'_> {
    fn is_alone(&self) -> bool {
        self.0.is_alone()
    }

    fn expect(&mut self, bytes: u64) {
        self.0.expect(bytes);
    }

    fn checked(&mut self, bytes: u64) -> ControlFlow<()> {
        // Its answer is what is not heard.
        let _ = self.0.checked(bytes);
        ControlFlow::Continue(())
    }

    fn found(&mut self, finding: Finding) {
        self.0.found(finding);
    }
}

struct FnSource<F>(F);

impl<F: FnMut() -> Result<Option<Record>, StorageError>> SnapshotSource for FnSource<F> {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        self.0()
    }
}

fn damaged(block: &RecordBlock) -> RecordBlock {
    RecordBlock {
        records: block.records.iter().map(damaged_record).collect(),
        memory_bytes: block.memory_bytes,
    }
}

fn damaged_record(record: &Record) -> Record {
    let mut value = record.value.to_vec();
    if let Some(byte) = value.first_mut() {
        *byte ^= 1;
    }
    Record { value: Bytes::from(value), ..record.clone() }
}

/// Runs a test of the suite on a backend with `flaw`.
fn finds(test: fn(Make<'_>, &SuiteConfig), flaw: Flaw) -> bool {
    let make = || -> Box<dyn Harness> {
        Box::new(FlawedHarness { disk: MemoryDisk::simulated(), flaw, flipped: Rc::default() })
    };
    catch_unwind(AssertUnwindSafe(|| test(&make, &SuiteConfig::default()))).is_err()
}

macro_rules! controls {
    ($($flaw:ident: $($test:ident)+;)*) => {
        /// Each planted flaw is found by each of the tests that are there to find it.
        #[test]
        fn planted_flaws_are_found() {
            $($(assert!(finds(super::$test, Flaw::$flaw), "{} misses {:?}", stringify!($test), Flaw::$flaw);)+)*
        }

        /// None of those tests finds fault with a sound backend wrapped in the same way.
        #[test]
        fn a_sound_backend_passes() {
            $($(assert!(!finds(super::$test, Flaw::None), "{} fails a sound backend", stringify!($test));)+)*
        }
    };
}

controls! {
    AcknowledgesBeforeTheSync: agrees_with_the_model a_hard_state_alone_is_durable;
    HidesFailedWrites: survives_io_errors survives_a_full_medium survives_short_writes survives_a_cut_at_every_operation;
    ForgetsHardStates: agrees_with_the_model a_hard_state_alone_is_durable;
    ForgetsPurges: purged_entries_are_gone everything_survives_a_purged_log;
    PurgesOneMore: purged_entries_are_gone agrees_with_the_model;
    IgnoresByteLimits: log_reads_stop_at_their_bytes;
    FlushesInTwoSteps: survives_a_cut_at_every_operation survives_io_errors;
    CheckpointsBeforeRecords: survives_a_cut_at_every_operation survives_io_errors;
    DropsTheNeighbour: reclaim_gives_space_back records_are_read_while_they_are_reclaimed;
    NeverReclaims: reclaim_gives_space_back;
    ListsWithoutTombstones: agrees_with_the_model awkward_records_are_kept;
    ScansOneLess: scans_cover_exactly_their_range;
    VerifiesNothing: agrees_with_the_model damage_is_never_served a_sound_store_verifies;
    VerifiesNoLog: a_sound_store_verifies;
    VerifiesToTheEnd: a_verification_ends_when_it_is_told_to;
    InstallsOnTop: a_snapshot_replaces_everything agrees_with_the_model;
    InstallsWhileStaging: a_staged_snapshot_waits_to_be_installed a_staged_snapshot_goes_with_a_crash
        a_snapshot_without_room_is_refused;
    KeepsHalfOfABrokenSnapshot: a_broken_snapshot_changes_nothing;
    ServesDamage: damage_is_never_served damage_after_a_crash_is_never_served;
    TakesReadErrorsForAbsence: survives_read_errors;
    PoisonsWithoutRoom: survives_a_full_medium;
    HidesThatThereIsNoRoom: survives_a_full_medium;
    NeverHasRoomAgain: survives_a_full_medium;
}
