//! New units beside those of the store: what a flush adds, and what an installation puts in place of all.
//!
//! # Invariants
//! - Nothing here is in force: no manifest names these units.
//! - Whoever gives up a stage gives up its units; the store's lock is held until that is done.

use super::codec::Line;
use super::medium::Medium;
use super::unit::{Sink, Unit, UnitWriter};
use crate::place::StoreLock;
use crate::poison::Poison;
use coffer_core::record::Record;
use coffer_core::storage::{RecordsStage, StagedRecords, StorageError};
use std::mem::take;
use std::sync::{Arc, Weak};

/// Another unit is begun beyond this, to bound the memory that its directory takes meanwhile.
const UNIT_BYTES_MAX: u64 = 64 << 20;
const UNIT_RECORDS_MAX: u64 = 256 << 10;

/// Units that are being written, or are written and wait for a manifest.
pub(super) struct Stage<M: Medium> {
    medium: Arc<M>,
    /// Whether they are worth what is set aside for a medium without room.
    presses: bool,
    begun: Vec<u64>,
    units: Vec<Arc<Unit>>,
    building: Option<Building<M::Sink>>,
}

impl<M: Medium> Stage<M> {
    pub(super) fn begin(medium: Arc<M>, presses: bool) -> Self {
        Self { medium, presses, begun: Vec::new(), units: Vec::new(), building: None }
    }

    /// Takes the next record; its revision is above those before.
    pub(super) fn push(&mut self, record: Arc<Record>) -> Result<(), StorageError> {
        let unit = match &mut self.building {
            Some(unit) => unit,
            None => {
                let sink = self.medium.begin_unit(self.presses)?;
                self.begun.push(sink.id());
                self.building.insert(Building::new(sink))
            }
        };
        unit.push(record)?;
        if unit.is_full() { self.end_unit() } else { Ok(()) }
    }

    fn end_unit(&mut self) -> Result<(), StorageError> {
        self.units.extend(self.building.take().map(Building::finish).transpose()?);
        Ok(())
    }

    /// Ends the last unit. What was taken is durable now.
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        self.end_unit()?;
        if self.units.is_empty() { Ok(()) } else { self.medium.settle() }
    }

    pub(super) fn units(&self) -> &[Arc<Unit>] {
        &self.units
    }

    pub(super) fn is_of(&self, medium: &Arc<M>) -> bool {
        Arc::ptr_eq(&self.medium, medium)
    }

    /// The units belong to the store now, or may: a manifest names them, or it is not known whether one does.
    pub(super) fn keep(&mut self) {
        self.begun.clear();
    }
}

impl<M: Medium> Drop for Stage<M> {
    fn drop(&mut self) {
        // Closed before it is removed.
        self.building = None;
        self.units.clear();
        take(&mut self.begun).into_iter().for_each(|id| self.medium.remove(id, Weak::new()));
    }
}

/// A unit that is being written from records.
struct Building<S> {
    writer: UnitWriter<S>,
    lines: Vec<(Arc<Record>, u32)>,
}

impl<S: Sink> Building<S> {
    fn new(sink: S) -> Self {
        Self { writer: UnitWriter::new(sink), lines: Vec::new() }
    }

    fn push(&mut self, record: Arc<Record>) -> Result<(), StorageError> {
        let box_number = self.writer.push(&record)?;
        self.lines.push((record, box_number));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.writer.bytes() >= UNIT_BYTES_MAX || self.writer.records() >= UNIT_RECORDS_MAX
    }

    fn finish(mut self) -> Result<Arc<Unit>, StorageError> {
        self.writer.end_records()?;
        self.lines.sort_unstable_by(|(a, _), (b, _)| (&a.key, a.revision).cmp(&(&b.key, b.revision)));
        for (record, box_number) in &self.lines {
            self.writer.push_line(&record.key, &Line::of(record, *box_number))?;
        }
        Ok(Arc::new(self.writer.finish()?))
    }
}

/// The content of a snapshot on its way into the store.
pub(super) struct SnapshotStage<M: Medium> {
    stage: Stage<M>,
    poison: Arc<Poison>,
    /// So that nobody else opens the store before what is given up is removed. Dropped last.
    lock: Arc<StoreLock>,
}

impl<M: Medium> SnapshotStage<M> {
    pub(super) fn begin(medium: Arc<M>, poison: Arc<Poison>, lock: Arc<StoreLock>) -> Self {
        // Too much for what is set aside.
        Self { stage: Stage::begin(medium, false), poison, lock }
    }
}

impl<M: Medium> RecordsStage for SnapshotStage<M> {
    fn push(&mut self, record: Record) -> Result<(), StorageError> {
        self.poison.check()?;
        let pushed = self.stage.push(Arc::new(record));
        self.poison.note(pushed)
    }

    fn finish(mut self: Box<Self>) -> Result<StagedRecords, StorageError> {
        self.poison.check()?;
        let finished = self.stage.finish();
        self.poison.note(finished)?;
        Ok(StagedRecords::new(Staged { stage: self.stage, _lock: self.lock }))
    }
}

/// The whole content of a snapshot, durable and not in force.
pub(super) struct Staged<M: Medium> {
    pub(super) stage: Stage<M>,
    _lock: Arc<StoreLock>,
}
