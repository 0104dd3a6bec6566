//! Which record files to rewrite, and the rewriting itself, in slices.
//!
//! A job takes neighbouring files, copies what is live into one new file, and ends with the new file synced. The
//! store then swaps the list of files in the manifest. Between slices the job waits; a process that ends meanwhile
//! leaves a file that no manifest names.
//!
//! A dead tombstone stays while an older file has its key: without it the key would seem alive after a restart,
//! which knows nothing of what was dropped. Such a tombstone counts as live until something older is gone.

use super::super::directory::{Directory, Suffix, file_name};
use super::codec::Line;
use super::dead::RevisionSet;
use super::file::{Segment, SegmentWriter};
use super::merge::{find_keys, merge};
use coffer_core::revision::Revision;
use coffer_core::storage::StorageError;
use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Files at most this large are merged with neighbours at most this large, once there are [`TIER_FILES`] of them.
const TIERS: [u64; 5] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];
const TIER_FILES: usize = 4;
/// No merge takes more than this.
const JOB_BYTES_MAX: u64 = 64 << 20;

/// Which records of the files are dead.
#[derive(Default)]
pub(super) struct Dead {
    files: HashMap<u64, DeadIn>,
    /// Dead before they were stored.
    ahead: RevisionSet,
}

/// The dead records of one file.
#[derive(Default)]
struct DeadIn {
    /// Those that can go.
    revisions: RevisionSet,
    /// What they take in the file, as far as box sizes tell.
    bytes: u64,
    /// Tombstones that cannot go yet: an older file has their key.
    kept: RevisionSet,
}

impl Dead {
    /// Marks `revision`; `segments` are ascending.
    pub(super) fn mark(&mut self, segments: &[Arc<Segment>], revision: Revision) {
        let at = segments.partition_point(|segment| segment.last < revision);
        match segments.get(at) {
            None => _ = self.ahead.insert(revision),
            Some(segment) if segment.first() <= revision => self.mark_in(segment, revision),
            Some(_) => {}
        }
    }

    fn mark_in(&mut self, segment: &Segment, revision: Revision) {
        let dead = self.files.entry(segment.entry.id).or_default();
        if !dead.kept.contains(revision)
            && dead.revisions.insert(revision)
            && let Some(at) = segment.box_number(revision).and_then(|number| segment.boxes.get(number))
        {
            dead.bytes += u64::from(at.bytes / at.records.max(1));
        }
    }

    /// A file was added at the end: what was marked ahead of it may be in it.
    pub(super) fn stored(&mut self, segment: &Segment) {
        let found: Vec<_> = self.ahead.iter().filter(|revision| *revision <= segment.last).collect();
        for revision in found {
            self.ahead.remove(revision);
            if segment.first() <= revision {
                self.mark_in(segment, revision);
            }
        }
    }

    /// All that is dead in a file.
    pub(super) fn all_in(&self, segment: &Segment) -> RevisionSet {
        let Some(dead) = self.files.get(&segment.entry.id) else { return RevisionSet::default() };
        let mut all = dead.revisions.clone();
        dead.kept.iter().for_each(|revision| _ = all.insert(revision));
        all
    }

    /// Bytes that could go from a file.
    pub(super) fn bytes_in(&self, segment: &Segment) -> u64 {
        self.files.get(&segment.entry.id).map_or(0, |dead| dead.bytes)
    }

    /// What a survey of a file found is not to go yet.
    pub(super) fn keep(&mut self, segment: &Segment, survey: &Survey) {
        let dead = self.files.remove(&segment.entry.id).unwrap_or_default();
        self.files.insert(segment.entry.id, DeadIn { kept: survey.kept.clone(), ..DeadIn::default() });
        dead.revisions.iter().for_each(|revision| self.mark_in(segment, revision));
    }

    /// Files were replaced; `later` are those after them.
    pub(super) fn replaced(&mut self, done: &Done, later: &[Arc<Segment>]) {
        for (number, input) in done.inputs.iter().enumerate() {
            let now = self.all_in(input);
            self.files.remove(&input.entry.id);
            let Some(output) = &done.output else { continue };
            for revision in now.iter().filter(|revision| !done.survey.dead[number].contains(*revision)) {
                if done.survey.kept.contains(revision) {
                    self.files.entry(output.entry.id).or_default().kept.insert(revision);
                } else {
                    self.mark_in(output, revision);
                }
            }
        }
        let records = |segment: &Arc<Segment>| segment.records;
        let before: u64 = done.inputs.iter().map(records).sum();
        let after = done.output.as_ref().map_or(0, records);
        if before > after {
            self.release(later);
        }
    }

    /// Something older is gone, so that kept tombstones may go now.
    fn release(&mut self, segments: &[Arc<Segment>]) {
        for segment in segments {
            let Some(dead) = self.files.get_mut(&segment.entry.id) else { continue };
            let kept = std::mem::take(&mut dead.kept);
            kept.iter().for_each(|revision| self.mark_in(segment, revision));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn share_exceeds_half(&self, segment: &Segment) -> bool {
        self.files.get(&segment.entry.id).is_some_and(|dead| {
            dead.revisions.len() * 2 > segment.records || dead.bytes * 2 > segment.directory_offset
        })
    }
}

/// What of some neighbouring files can go.
pub(super) struct Survey {
    /// Per file.
    dead: Vec<RevisionSet>,
    /// Dead tombstones that stay, because an older record of their key does.
    kept: RevisionSet,
}

impl Survey {
    /// Finds which of `dead`, per file of `inputs`, can go. `older` are the files before them.
    pub(super) fn of(
        older: &[Arc<Segment>],
        inputs: &[Arc<Segment>],
        dead: Vec<RevisionSet>,
    ) -> Result<Self, StorageError> {
        let mut survey = Self { dead, kept: RevisionSet::default() };
        if survey.is_pointless() {
            return Ok(survey);
        }
        let mut tombstones = survey.tombstones(inputs)?;
        for segment in older {
            let mut found = Vec::new();
            find_keys(segment, tombstones.keys().map(Vec::as_slice), |key| found.push(key.to_vec()))?;
            for key in found {
                for (input, revision) in tombstones.remove(&key).unwrap_or_default() {
                    survey.keep(input, revision);
                }
            }
        }
        Ok(survey)
    }

    /// Whether nothing can go.
    pub(super) fn is_pointless(&self) -> bool {
        self.dead.iter().all(|dead| dead.len() == 0)
    }

    fn keep(&mut self, input: usize, revision: Revision) {
        self.dead[input].remove(revision);
        self.kept.insert(revision);
    }

    /// The dead tombstones that no live record of these files lies under, by key.
    fn tombstones(&mut self, inputs: &[Arc<Segment>]) -> Result<Tombstones, StorageError> {
        let mut tombstones = Tombstones::new();
        let mut kept = Vec::new();
        let mut key_with_live = Vec::new();
        merge(inputs, |input, key, line| {
            let revision = line.entry.revision;
            if !self.dead[input].contains(revision) {
                key_with_live.clear();
                key_with_live.extend_from_slice(key);
            } else if line.entry.tombstone && key_with_live == key {
                kept.push((input, revision));
            } else if line.entry.tombstone {
                tombstones.entry(key.to_vec()).or_default().push((input, revision));
            }
            ControlFlow::Continue(())
        })?;
        kept.into_iter().for_each(|(input, revision)| self.keep(input, revision));
        Ok(tombstones)
    }
}

type Tombstones = BTreeMap<Vec<u8>, Vec<(usize, Revision)>>;

/// Which neighbouring files to rewrite next, if any.
pub(super) fn plan(segments: &[Arc<Segment>], dead: &Dead) -> Option<Range<usize>> {
    if let Some(at) = segments.iter().position(|segment| dead.share_exceeds_half(segment)) {
        return Some(at..at + 1);
    }
    TIERS.iter().find_map(|tier| small_neighbours(segments, *tier))
}

fn small_neighbours(segments: &[Arc<Segment>], tier: u64) -> Option<Range<usize>> {
    let mut start = 0;
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        if segment.entry.bytes > tier || bytes + segment.entry.bytes > JOB_BYTES_MAX {
            if at - start >= TIER_FILES {
                return Some(start..at);
            }
            (start, bytes) = if segment.entry.bytes > tier { (at + 1, 0) } else { (at, 0) };
        }
        if start <= at {
            bytes += segment.entry.bytes;
        }
    }
    (segments.len() - start.min(segments.len()) >= TIER_FILES).then_some(start..segments.len())
}

/// A rewriting under way.
pub(super) struct Job {
    inputs: Vec<Arc<Segment>>,
    survey: Survey,
    writer: SegmentWriter,
    /// Next box to copy.
    input: usize,
    number: usize,
}

/// A rewriting that is complete but for the manifest.
pub(super) struct Done {
    pub(super) inputs: Vec<Arc<Segment>>,
    survey: Survey,
    /// `None` if nothing was live.
    pub(super) output: Option<Arc<Segment>>,
}

impl Job {
    pub(super) fn start(
        directory: &Directory,
        store_id: [u8; 16],
        inputs: &[Arc<Segment>],
        survey: Survey,
    ) -> Result<Self, StorageError> {
        let writer = SegmentWriter::create(directory, store_id)?;
        Ok(Self { inputs: inputs.to_vec(), survey, writer, input: 0, number: 0 })
    }

    pub(super) fn discard(self, directory: &Directory) {
        self.writer.discard(directory);
    }

    /// Copies about `bytes_max` bytes of live records. Returns how many, and whether all are copied.
    pub(super) fn copy(&mut self, bytes_max: u64) -> Result<(u64, bool), StorageError> {
        let mut copied = 0;
        while let Some(segment) = self.inputs.get(self.input) {
            if self.number == segment.boxes.len() {
                self.input += 1;
                self.number = 0;
                continue;
            }
            if copied >= bytes_max.max(1) {
                return Ok((copied, false));
            }
            let dead = &self.survey.dead[self.input];
            for record in &segment.read_box(self.number)?.records {
                if !dead.contains(record.revision) {
                    self.writer.push(record)?;
                    copied += record.payload_bytes() as u64 + 1;
                }
            }
            self.number += 1;
        }
        Ok((copied, true))
    }

    /// Writes the directory of what was copied and completes the file.
    pub(super) fn finish(mut self, directory: &Directory) -> Result<Done, StorageError> {
        if self.writer.records() == 0 {
            self.writer.discard(directory);
            return Ok(Done { inputs: self.inputs, survey: self.survey, output: None });
        }
        let id = self.writer.id();
        let finished = self.write_directory().and_then(|()| self.writer.finish());
        if finished.is_err() {
            directory.discard(&file_name(id, Suffix::Records));
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
