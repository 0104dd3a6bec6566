//! Which units to rewrite, and the rewriting itself, in slices.
//!
//! A job takes neighbouring units, copies what is live into a new one, and ends with the new one durable. The store
//! then swaps the list of units in the manifest. Between slices the job waits; a process that ends meanwhile leaves a
//! unit that no manifest names.
//!
//! A dead tombstone stays while an older unit has its key: without it the key would seem alive after a restart,
//! which knows nothing of what was dropped. Such a tombstone counts as live until something older is gone.

use super::codec::Line;
use super::dead::RevisionSet;
use super::medium::Medium;
use super::merge::{find_keys, merge};
use super::unit::{Sink, Unit, UnitWriter, give_way};
use crate::seal::SealedFile;
use coffer_core::revision::Revision;
use coffer_core::storage::StorageError;
use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

/// Units at most this large are merged with neighbours at most this large, once there are [`TIER_UNITS`] of them.
const TIERS: [u64; 5] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];
const TIER_UNITS: usize = 4;
/// No merge takes more than this.
const JOB_BYTES_MAX: u64 = 64 << 20;

/// Which records of the units are dead.
#[derive(Default)]
pub(crate) struct Dead {
    units: HashMap<u64, DeadIn>,
    /// Dead before they were stored.
    ahead: RevisionSet,
}

/// The dead records of one unit.
#[derive(Default)]
struct DeadIn {
    /// Those that can go.
    revisions: RevisionSet,
    /// What they take in the unit, as far as box sizes tell.
    bytes: u64,
    /// Tombstones that cannot go yet: an older unit has their key.
    kept: RevisionSet,
}

impl Dead {
    /// Marks `revision`; `units` are ascending.
    pub(crate) fn mark(&mut self, units: &[Arc<Unit>], revision: Revision) {
        let at = units.partition_point(|unit| unit.last < revision);
        match units.get(at) {
            None => _ = self.ahead.insert(revision),
            Some(unit) if unit.first() <= revision => self.mark_in(unit, revision),
            Some(_) => {}
        }
    }

    fn mark_in(&mut self, unit: &Unit, revision: Revision) {
        let dead = self.units.entry(unit.entry.id).or_default();
        if !dead.kept.contains(revision)
            && dead.revisions.insert(revision)
            && let Some(at) = unit.box_number(revision).and_then(|number| unit.boxes.get(number))
        {
            dead.bytes += u64::from(at.bytes / at.records.max(1));
        }
    }

    /// A unit was added at the end: what was marked ahead of it may be in it.
    pub(crate) fn stored(&mut self, unit: &Unit) {
        let found: Vec<_> = self.ahead.iter().filter(|revision| *revision <= unit.last).collect();
        for revision in found {
            self.ahead.remove(revision);
            if unit.first() <= revision {
                self.mark_in(unit, revision);
            }
        }
    }

    /// All that is dead in a unit.
    pub(crate) fn all_in(&self, unit: &Unit) -> RevisionSet {
        let Some(dead) = self.units.get(&unit.entry.id) else { return RevisionSet::default() };
        let mut all = dead.revisions.clone();
        dead.kept.iter().for_each(|revision| _ = all.insert(revision));
        all
    }

    /// Bytes that could go from a unit.
    pub(crate) fn bytes_in(&self, unit: &Unit) -> u64 {
        self.units.get(&unit.entry.id).map_or(0, |dead| dead.bytes)
    }

    /// What a survey of a unit found is not to go yet.
    pub(crate) fn keep(&mut self, unit: &Unit, survey: &Survey) {
        let dead = self.units.remove(&unit.entry.id).unwrap_or_default();
        self.units.insert(unit.entry.id, DeadIn { kept: survey.kept.clone(), ..DeadIn::default() });
        dead.revisions.iter().for_each(|revision| self.mark_in(unit, revision));
    }

    /// Units were replaced; `later` are those after them.
    pub(crate) fn replaced(&mut self, done: &Done, later: &[Arc<Unit>]) {
        for (number, input) in done.inputs.iter().enumerate() {
            let now = self.all_in(input);
            self.units.remove(&input.entry.id);
            let Some(output) = &done.output else { continue };
            for revision in now.iter().filter(|revision| !done.survey.dead[number].contains(*revision)) {
                if done.survey.kept.contains(revision) {
                    self.units.entry(output.entry.id).or_default().kept.insert(revision);
                } else {
                    self.mark_in(output, revision);
                }
            }
        }
        let records = |unit: &Arc<Unit>| unit.records;
        let before: u64 = done.inputs.iter().map(records).sum();
        let after = done.output.as_ref().map_or(0, records);
        if before > after {
            self.release(later);
        }
    }

    /// Something older is gone, so that kept tombstones may go now.
    fn release(&mut self, units: &[Arc<Unit>]) {
        for unit in units {
            let Some(dead) = self.units.get_mut(&unit.entry.id) else { continue };
            let kept = std::mem::take(&mut dead.kept);
            kept.iter().for_each(|revision| self.mark_in(unit, revision));
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn share_exceeds_half(&self, unit: &Unit) -> bool {
        self.units
            .get(&unit.entry.id)
            .is_some_and(|dead| dead.revisions.len() * 2 > unit.records || dead.bytes * 2 > unit.box_bytes())
    }
}

/// What of some neighbouring units can go.
pub(crate) struct Survey {
    /// Per unit.
    dead: Vec<RevisionSet>,
    /// Dead tombstones that stay, because an older record of their key does.
    kept: RevisionSet,
    /// Per unit, whether a box holds anything live; empty if nothing can go.
    live_boxes: Vec<Vec<bool>>,
}

impl Survey {
    /// Finds which of `dead`, per unit of `inputs`, can go. `older` are the units before them.
    pub(crate) fn of(
        older: &[Arc<Unit>],
        inputs: &[Arc<Unit>],
        dead: Vec<RevisionSet>,
    ) -> Result<Self, StorageError> {
        let mut survey = Self { dead, kept: RevisionSet::default(), live_boxes: Vec::new() };
        if survey.is_pointless() {
            return Ok(survey);
        }
        let mut tombstones = survey.tombstones(inputs)?;
        for unit in older {
            let mut found = Vec::new();
            find_keys(unit, tombstones.keys().map(Vec::as_slice), |key| found.push(key.to_vec()))?;
            for key in found {
                for (input, revision) in tombstones.remove(&key).unwrap_or_default() {
                    survey.keep(inputs, input, revision);
                }
            }
        }
        Ok(survey)
    }

    /// Whether nothing can go.
    pub(crate) fn is_pointless(&self) -> bool {
        self.dead.iter().all(|dead| dead.len() == 0)
    }

    /// Whether anything in a box is to be copied. Known from the directory, not from how much is marked: revisions that
    /// are not stored may be marked too.
    fn has_live(&self, input: usize, number: usize) -> bool {
        self.live_boxes.get(input).and_then(|boxes| boxes.get(number)).is_none_or(|live| *live)
    }

    fn keep(&mut self, inputs: &[Arc<Unit>], input: usize, revision: Revision) {
        self.dead[input].remove(revision);
        self.kept.insert(revision);
        self.stays(inputs, input, revision);
    }

    fn stays(&mut self, inputs: &[Arc<Unit>], input: usize, revision: Revision) {
        if let Some(number) = inputs[input].box_number(revision) {
            self.live_boxes[input][number] = true;
        }
    }

    /// The dead tombstones that no live record of these units lies under, by key. Notes which boxes hold what is live.
    fn tombstones(&mut self, inputs: &[Arc<Unit>]) -> Result<Tombstones, StorageError> {
        let mut tombstones = Tombstones::new();
        let mut kept = Vec::new();
        let mut key_with_live = Vec::new();
        self.live_boxes = inputs.iter().map(|unit| vec![false; unit.boxes.len()]).collect();
        merge(inputs, |input, key, line| {
            let revision = line.entry.revision;
            if !self.dead[input].contains(revision) {
                key_with_live.clear();
                key_with_live.extend_from_slice(key);
                self.stays(inputs, input, revision);
            } else if line.entry.tombstone && key_with_live == key {
                kept.push((input, revision));
            } else if line.entry.tombstone {
                tombstones.entry(key.to_vec()).or_default().push((input, revision));
            }
            ControlFlow::Continue(())
        })?;
        kept.into_iter().for_each(|(input, revision)| self.keep(inputs, input, revision));
        Ok(tombstones)
    }
}

type Tombstones = BTreeMap<Vec<u8>, Vec<(usize, Revision)>>;

/// Which neighbouring units to rewrite next, if any: one that is mostly dead; else, if more than a quarter of all is dead,
/// the one of which most is; else small neighbours. Without room the one of which least is left, as that makes room for the
/// others.
pub(crate) fn plan(units: &[Arc<Unit>], dead: &Dead, has_room: bool) -> Option<Range<usize>> {
    let mut mostly_dead = units.iter().enumerate().filter(|(_, unit)| dead.share_exceeds_half(unit));
    let live_bytes = |unit: &Unit| unit.entry.bytes.saturating_sub(dead.bytes_in(unit));
    let chosen = match has_room {
        true => mostly_dead.next(),
        false => mostly_dead.min_by_key(|(_, unit)| live_bytes(unit)),
    };
    let chosen = chosen.or_else(|| if has_room { most_dead(units, dead) } else { None });
    if let Some((at, _)) = chosen {
        return Some(at..at + 1);
    }
    TIERS.iter().find_map(|tier| small_neighbours(units, *tier))
}

/// The unit of which the largest share is dead, if more than a quarter of all units is.
fn most_dead<'a>(units: &'a [Arc<Unit>], dead: &Dead) -> Option<(usize, &'a Arc<Unit>)> {
    let bytes: u64 = units.iter().map(|unit| unit.entry.bytes).sum();
    let dead_bytes: u64 = units.iter().map(|unit| dead.bytes_in(unit)).sum();
    let share = |unit: &Unit| dead.bytes_in(unit) as f64 / unit.entry.bytes.max(1) as f64;
    let most = units.iter().enumerate().max_by(|one, other| share(one.1).total_cmp(&share(other.1)));
    most.filter(|_| dead_bytes > bytes / 4)
}

fn small_neighbours(units: &[Arc<Unit>], tier: u64) -> Option<Range<usize>> {
    let mut start = 0;
    let mut bytes = 0;
    for (at, unit) in units.iter().enumerate() {
        if unit.entry.bytes > tier || bytes + unit.entry.bytes > JOB_BYTES_MAX {
            if at - start >= TIER_UNITS {
                return Some(start..at);
            }
            (start, bytes) = if unit.entry.bytes > tier { (at + 1, 0) } else { (at, 0) };
        }
        if start <= at {
            bytes += unit.entry.bytes;
        }
    }
    (units.len() - start.min(units.len()) >= TIER_UNITS).then_some(start..units.len())
}

/// A rewriting under way.
pub(crate) struct Job<S> {
    inputs: Vec<Arc<Unit>>,
    survey: Survey,
    writer: UnitWriter<S>,
    /// Next box to copy.
    input: usize,
    number: usize,
}

/// A rewriting that is complete but for the manifest.
pub(crate) struct Done {
    pub(crate) inputs: Vec<Arc<Unit>>,
    survey: Survey,
    /// `None` if nothing was live.
    pub(crate) output: Option<Arc<Unit>>,
}

impl<S: Sink> Job<S> {
    /// Begins to rewrite `inputs`. `presses`: it frees so much that it is worth what is set aside.
    pub(crate) fn start<M: Medium<Sink = S>>(
        medium: &M,
        inputs: &[Arc<Unit>],
        survey: Survey,
        presses: bool,
    ) -> Result<Self, StorageError> {
        let writer = UnitWriter::new(medium.begin_unit(presses)?);
        Ok(Self { inputs: inputs.to_vec(), survey, writer, input: 0, number: 0 })
    }

    pub(crate) fn discard<M: Medium<Sink = S>>(self, medium: &M) {
        medium.remove(self.writer.id(), Weak::new());
    }

    /// How what it writes is sealed.
    pub(crate) fn sealed(&self) -> &SealedFile {
        self.writer.sealed()
    }

    /// Reads about `bytes_max` bytes and copies the live records in them. Boxes of which nothing is live are not read.
    /// Returns how many bytes it copied, and whether all are copied.
    pub(crate) fn copy(&mut self, bytes_max: u64) -> Result<(u64, bool), StorageError> {
        let (mut read, mut copied) = (0, 0);
        while let Some(unit) = self.inputs.get(self.input) {
            let Some(next) = unit.boxes.get(self.number) else {
                self.input += 1;
                self.number = 0;
                continue;
            };
            if self.survey.has_live(self.input, self.number) {
                if read >= bytes_max.max(1) {
                    self.writer.settle()?;
                    return Ok((copied, false));
                }
                read += u64::from(next.bytes);
                give_way();
                let dead = &self.survey.dead[self.input];
                for record in &unit.read_box(self.number)?.records {
                    if !dead.contains(record.revision) {
                        self.writer.push(record)?;
                        copied += record.payload_bytes() as u64 + 1;
                    }
                }
            }
            self.number += 1;
        }
        Ok((copied, true))
    }

    /// Writes the directory of what was copied and completes the file.
    pub(crate) fn finish<M: Medium<Sink = S>>(mut self, medium: &M) -> Result<Done, StorageError> {
        let id = self.writer.id();
        if self.writer.records() == 0 {
            medium.remove(id, Weak::new());
            return Ok(Done { inputs: self.inputs, survey: self.survey, output: None });
        }
        let finished = self.write_directory().and_then(|()| self.writer.finish());
        if finished.is_err() {
            medium.remove(id, Weak::new());
        }
        Ok(Done { inputs: self.inputs, survey: self.survey, output: Some(Arc::new(finished?)) })
    }

    fn write_directory(&mut self) -> Result<(), StorageError> {
        self.writer.end_records()?;
        let (writer, dead) = (&mut self.writer, &self.survey.dead);
        let mut failed = Ok(());
        merge(&self.inputs, |input, key, line| {
            if dead[input].contains(line.entry.revision) {
                return ControlFlow::Continue(());
            }
            let line = Line { box_number: writer.box_of(line.entry.revision), ..line.clone() };
            failed = writer.push_line(key, &line);
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed
    }
}
