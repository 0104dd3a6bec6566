//! The record store over a medium of units: immutable units in revision order, and the manifest that names them.
//!
//! # Invariants
//! - The units of the store are ascending and do not overlap: a revision finds its unit by binary search, and a box in
//!   it by another. Nothing points into a unit, so units are replaced without touching anything else.
//! - A unit is complete and durable before the manifest names it.
//! - Readers hold the units they read: one that was replaced stays readable until they are done.
//! - Units, the manifest and the log keep their sealers for as long as they are needed; a data key of which no sealer
//!   is left is destroyed after the change that ended its use.
//! - One lock orders changes; readers take another for the time of cloning a pointer.
//!
//! # Crash behaviour
//! A flush, an installation and a rewriting are done when their manifest is durable, and did not happen before.
//! What they left behind, and what was staged, is removed at the next opening.

pub(crate) mod codec;
mod dead;
pub(crate) mod medium;
mod merge;
mod reclaim;
mod stage;
pub(crate) mod unit;
mod verify;

use crate::place::StoreLock;
use crate::poison::Poison;
use crate::seal::SealedFile;
use crate::snapshot;
use coffer_core::record::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{
    Checkpoint, DirectoryEntry, Flush, Inspector, ReclaimProgress, RecordBlock, Records, RecordsStage,
    RecordsStats, RewriteProgress, SnapshotWriter, StagedRecords, StorageError,
};
use medium::Medium;
use merge::merge;
use parking_lot::{Mutex, RwLock};
use reclaim::{Dead, Done, Job, Survey, plan};
use stage::{SnapshotStage, Stage, Staged};
use std::ops::ControlFlow;
use std::sync::Arc;
use unit::Unit;
pub(crate) use verify::verify_unit;

/// The records of a store, in units on a medium.
pub(crate) struct UnitRecords<M: Medium> {
    medium: Arc<M>,
    view: RwLock<View>,
    dead: Mutex<Dead>,
    writer: Mutex<Writer<M>>,
    poison: Arc<Poison>,
    lock: Arc<StoreLock>,
}

/// What readers see.
#[derive(Clone)]
struct View {
    units: Arc<[Arc<Unit>]>,
    checkpoint: Option<Checkpoint>,
}

struct Writer<M: Medium> {
    /// The rewriting under way.
    job: Option<Job<M::Sink>>,
}

impl<M: Medium> UnitRecords<M> {
    /// The store that consists of these units.
    pub(crate) fn new(
        medium: Arc<M>,
        units: Vec<Arc<Unit>>,
        checkpoint: Option<Checkpoint>,
        lock: Arc<StoreLock>,
    ) -> Self {
        Self {
            medium,
            view: RwLock::new(View { units: units.into(), checkpoint }),
            dead: Mutex::default(),
            writer: Mutex::new(Writer { job: None }),
            poison: Arc::default(),
            lock,
        }
    }

    fn view(&self) -> View {
        self.view.read().clone()
    }

    /// Swaps the list of units and the checkpoint, on the medium and then for readers.
    fn swap(
        &self,
        units: Vec<Arc<Unit>>,
        checkpoint: Option<Checkpoint>,
        account: impl FnOnce(&mut Dead),
    ) -> Result<(), StorageError> {
        let written = self.medium.put_manifest(&units, checkpoint.as_ref());
        self.poison.note(written)?;
        // Marking takes the same two locks in this order, so no mark falls between the lists.
        let mut dead = self.dead.lock();
        *self.view.write() = View { units: units.into(), checkpoint };
        account(&mut dead);
        Ok(())
    }

    fn remove(&self, units: &[Arc<Unit>]) {
        units.iter().for_each(|unit| self.medium.remove(unit.entry.id, Arc::downgrade(unit)));
    }

    fn flush_all(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        let _alone = self.writer.lock();
        let view = self.view();
        let (last, first) = (view.units.last().map(|last| last.last), flush.records.first());
        assert!(
            first.is_none_or(|first| last < Some(first.revision)),
            "flushed records lie above all before"
        );
        let mut added = Stage::begin(self.medium.clone(), true);
        flush.records.iter().try_for_each(|record| added.push(record.clone()))?;
        added.finish()?;
        let mut units = view.units.to_vec();
        units.extend_from_slice(added.units());
        let swapped = self.swap(units, Some(flush.checkpoint.clone()), |dead| {
            added.units().iter().for_each(|unit| dead.stored(unit));
        });
        keep_unless_refused(&swapped, &mut added);
        swapped?;
        self.settle_keys();
        Ok(())
    }

    /// Gives up new units that the manifest surely does not name.
    fn remove_refused(
        &self,
        swapped: Result<(), StorageError>,
        added: &[Arc<Unit>],
    ) -> Result<(), StorageError> {
        swapped.inspect_err(|error| {
            if error.is_no_room() {
                self.remove(added);
            }
        })
    }

    /// Lets go of keys that nothing needs any more, and tells what older ones still seal.
    pub(crate) fn settle_keys(&self) {
        let Some(keyring) = self.medium.sealing().keyring() else { return };
        keyring.set_outdated_bytes(self.outdated_bytes());
        keyring.settle();
    }

    fn is_outdated(&self, sealed: &SealedFile) -> bool {
        self.medium.sealing().is_outdated(sealed)
    }

    fn outdated_bytes(&self) -> u64 {
        let units = self.view.read().units.clone();
        let outdated = units.iter().filter(|unit| self.is_outdated(unit.sealed()));
        outdated.map(|unit| unit.entry.bytes).sum()
    }

    fn install_all(&self, checkpoint: &Checkpoint, staged: &mut Stage<M>) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        let replaced = self.view().units;
        let swapped = self.swap(staged.units().to_vec(), Some(checkpoint.clone()), Dead::clear);
        keep_unless_refused(&swapped, staged);
        swapped?;
        if let Some(job) = writer.job.take() {
            job.discard(&*self.medium);
        }
        self.remove(&replaced);
        drop(replaced);
        self.settle_keys();
        Ok(())
    }

    /// Ends a rewriting: the manifest names its output instead of its inputs.
    fn replace(&self, done: &Done) -> Result<u64, StorageError> {
        let view = self.view();
        let replaced = |unit: &Arc<Unit>| done.inputs.iter().any(|input| Arc::ptr_eq(input, unit));
        let at = view.units.iter().position(replaced).unwrap_or(0);
        let mut units: Vec<_> = view.units.iter().filter(|unit| !replaced(unit)).cloned().collect();
        if let Some(output) = &done.output {
            units.insert(at, output.clone());
            if let Err(error) = self.medium.settle() {
                self.remove(std::slice::from_ref(output));
                return Err(error);
            }
        }
        let later = units[at + usize::from(done.output.is_some())..].to_vec();
        let swapped = self.swap(units, view.checkpoint, |dead| dead.replaced(done, &later));
        self.remove_refused(swapped, done.output.as_slice())?;
        done.inputs.iter().for_each(|unit| self.medium.retire(unit));
        let before: u64 = done.inputs.iter().map(|input| input.entry.bytes).sum();
        Ok(before.saturating_sub(done.output.as_ref().map_or(0, |output| output.entry.bytes)))
    }

    /// The next rewriting, if there is anything to do.
    fn next_job(&self) -> Result<Option<Job<M::Sink>>, StorageError> {
        let units = self.view().units;
        loop {
            let (chosen, marked) = {
                let dead = self.dead.lock();
                let Some(chosen) = plan(&units, &dead, self.medium.has_room()) else { return Ok(None) };
                let marked = units[chosen.clone()].iter().map(|unit| dead.all_in(unit)).collect();
                (chosen, marked)
            };
            let inputs = &units[chosen.clone()];
            let survey = Survey::of(&units[..chosen.start], inputs, marked)?;
            match inputs {
                [alone] if survey.is_pointless() => self.dead.lock().keep(alone, &survey),
                // What only tidies up is not worth what is set aside.
                _ => return Job::start(&*self.medium, inputs, survey, inputs.len() == 1).map(Some),
            }
        }
    }

    /// The rewriting of the first unit that an older key seals, if there is one.
    fn next_outdated_job(&self) -> Result<Option<Job<M::Sink>>, StorageError> {
        let units = self.view().units;
        let Some(at) = units.iter().position(|unit| self.is_outdated(unit.sealed())) else {
            return Ok(None);
        };
        let (older, inputs) = (&units[..at], &units[at..at + 1]);
        let marked = vec![self.dead.lock().all_in(&units[at])];
        let survey = Survey::of(older, inputs, marked)?;
        Job::start(&*self.medium, inputs, survey, false).map(Some)
    }

    fn reclaim_slice(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        let mut writer = self.writer.lock();
        self.medium.check_room_to_reclaim()?;
        if self.medium.cut_retired() {
            return Ok(ReclaimProgress { more: true, ..ReclaimProgress::default() });
        }
        let job = match writer.job.take() {
            Some(job) => job,
            None => match self.next_job()? {
                Some(job) => job,
                None => return self.medium.give_back(),
            },
        };
        let slice = self.work(&mut writer, job, copy_bytes_max)?;
        let planned = || plan(&self.view().units, &self.dead.lock(), self.medium.has_room()).is_some();
        let more = !slice.done || planned() || self.medium.has_garbage();
        Ok(ReclaimProgress { freed_bytes: slice.freed_bytes, copied_bytes: slice.copied_bytes, more })
    }

    fn rewrite_slice(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        let mut writer = self.writer.lock();
        if self.medium.cut_retired() {
            let left_bytes = self.outdated_bytes();
            return Ok(RewriteProgress { left_bytes, more: true, ..RewriteProgress::default() });
        }
        // What was begun before the keys were replaced would have to be done again.
        if let Some(job) = writer.job.take_if(|job| self.is_outdated(job.sealed())) {
            job.discard(&*self.medium);
        }
        let job = match writer.job.take() {
            Some(job) => Some(job),
            None => self.next_outdated_job()?,
        };
        let Some(job) = job else {
            if self.medium.is_manifest_outdated() {
                let view = self.view();
                self.swap(view.units.to_vec(), view.checkpoint, |_| {})?;
            }
            self.settle_keys();
            return Ok(RewriteProgress::default());
        };
        let slice = self.work(&mut writer, job, copy_bytes_max)?;
        let left_bytes = self.outdated_bytes();
        Ok(RewriteProgress { copied_bytes: slice.copied_bytes, left_bytes, more: true })
    }

    /// Does a slice of a rewriting.
    fn work(
        &self,
        writer: &mut Writer<M>,
        mut job: Job<M::Sink>,
        copy_bytes_max: u64,
    ) -> Result<Slice, StorageError> {
        let (copied_bytes, copied_all) = match job.copy(copy_bytes_max) {
            Ok(copied) => copied,
            Err(error) => {
                job.discard(&*self.medium);
                return Err(error);
            }
        };
        if !copied_all {
            writer.job = Some(job);
            return Ok(Slice { freed_bytes: 0, copied_bytes, done: false });
        }
        let done = job.finish(&*self.medium)?;
        let freed_bytes = self.replace(&done)?;
        drop(done);
        self.settle_keys();
        Ok(Slice { freed_bytes, copied_bytes, done: true })
    }
}

/// Leaves new units to the stage, which removes them, only where the manifest surely does not name them.
fn keep_unless_refused<M: Medium>(swapped: &Result<(), StorageError>, stage: &mut Stage<M>) {
    if !swapped.as_ref().is_err_and(StorageError::is_no_room) {
        stage.keep();
    }
}

/// What a slice of a rewriting did.
struct Slice {
    freed_bytes: u64,
    copied_bytes: u64,
    done: bool,
}

impl<M: Medium> Records for UnitRecords<M> {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.view.read().checkpoint.clone()
    }

    fn flush(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        self.poison.check()?;
        let flushed = self.flush_all(flush);
        self.poison.note(flushed)
    }

    fn read(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError> {
        let units = self.view.read().units.clone();
        let at = units.partition_point(|unit| unit.last < revision);
        let Some(unit) = units.get(at) else { return Ok(None) };
        let Some(number) = unit.box_number(revision) else { return Ok(None) };
        let block = unit.read_box(number)?;
        Ok(block.get(revision).is_some().then(|| Arc::new(block)))
    }

    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let units = self.view.read().units.clone();
        let from = units.partition_point(|unit| unit.last.main < first);
        for unit in &units[from..] {
            let start = unit.box_number(Revision::first(first)).unwrap_or(0);
            for number in start..unit.boxes.len() {
                if unit.boxes[number].first.main > last {
                    return Ok(());
                }
                for record in &unit.read_box(number)?.records {
                    if record.revision.main > last {
                        return Ok(());
                    }
                    if record.revision.main >= first && visit(record).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn directory(
        &self,
        visit: &mut dyn FnMut(&[u8], &DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let units = self.view.read().units.clone();
        merge(&units, |_, key, line| visit(key, &line.entry))
    }

    fn drop_revisions(&self, revisions: &[Revision]) {
        let mut dead = self.dead.lock();
        let units = self.view.read().units.clone();
        revisions.iter().for_each(|revision| dead.mark(&units, *revision));
    }

    fn reclaim(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        self.poison.check()?;
        self.reclaim_slice(copy_bytes_max)
    }

    fn wants_rewrite(&self) -> bool {
        self.medium.sealing().keyring().is_some_and(|keyring| keyring.is_rewriting())
    }

    fn rewrite(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.poison.check()?;
        self.rewrite_slice(copy_bytes_max)
    }

    fn stage(&self) -> Result<Box<dyn RecordsStage>, StorageError> {
        self.poison.check()?;
        let (medium, poison) = (self.medium.clone(), self.poison.clone());
        Ok(Box::new(SnapshotStage::begin(medium, poison, self.lock.clone())))
    }

    fn install_staged(
        &self,
        checkpoint: &Checkpoint,
        staged: &mut StagedRecords,
    ) -> Result<(), StorageError> {
        let staged = staged.get_mut::<Staged<M>>().filter(|staged| staged.stage.is_of(&self.medium));
        let staged = staged.expect("a store is only given what it staged itself");
        self.poison.check()?;
        let installed = self.install_all(checkpoint, &mut staged.stage);
        self.poison.note(installed)
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<u64, StorageError> {
        self.verify_all(inspector)
    }

    fn stats(&self) -> RecordsStats {
        let dead = self.dead.lock();
        let units = self.view.read().units.clone();
        let mut stats = RecordsStats { units: units.len() as u64, ..RecordsStats::default() };
        for unit in units.iter() {
            stats.disk_bytes += unit.entry.bytes;
            stats.live_bytes += unit.entry.bytes.saturating_sub(dead.bytes_in(unit));
        }
        stats.disk_bytes = self.medium.disk_bytes(stats.disk_bytes);
        stats
    }

    fn snapshot_writer(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(snapshot::Writer::new(self.medium.sealing())?))
    }

    fn has_room(&self) -> bool {
        self.medium.has_room()
    }

    fn recover_room(&self) -> Result<bool, StorageError> {
        self.poison.check()?;
        self.medium.recover_room(self.stats().disk_bytes)
    }

    fn flush_room_bytes(&self) -> u64 {
        self.medium.flush_room_bytes()
    }
}
