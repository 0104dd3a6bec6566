//! Which record files to rewrite, and the rewriting itself, in slices.
//!
//! A job takes neighbouring files, copies what is live into one new file, and ends with the new file synced. The
//! store then swaps the list of files in the manifest. Between slices the job waits; a process that ends meanwhile
//! leaves a file that no manifest names.

use super::super::directory::{Directory, Suffix, file_name};
use super::codec::Line;
use super::dead::RevisionSet;
use super::file::{Segment, SegmentWriter};
use super::merge::merge;
use coffer_core::revision::Revision;
use coffer_core::storage::StorageError;
use std::collections::HashMap;
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
#[derive(Clone, Default)]
pub(super) struct DeadIn {
    pub(super) revisions: RevisionSet,
    /// What they take in the file, as far as box sizes tell.
    pub(super) bytes: u64,
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
        if dead.revisions.insert(revision)
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

    pub(super) fn of(&self, segment: &Segment) -> Option<&DeadIn> {
        self.files.get(&segment.entry.id)
    }

    fn take(&mut self, segment: &Segment) -> RevisionSet {
        self.files.get(&segment.entry.id).map(|dead| dead.revisions.clone()).unwrap_or_default()
    }

    /// Files were replaced by `output`, which holds what was not dead when the job began.
    pub(super) fn replaced(&mut self, job: &Done) {
        for (input, known) in job.inputs.iter().zip(&job.dead) {
            let Some(dead) = self.files.remove(&input.entry.id) else { continue };
            let Some(output) = &job.output else { continue };
            for revision in dead.revisions.iter().filter(|revision| !known.contains(*revision)) {
                self.mark_in(output, revision);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn share_exceeds_half(&self, segment: &Segment) -> bool {
        self.of(segment).is_some_and(|dead| {
            dead.revisions.len() * 2 > segment.records || dead.bytes * 2 > segment.directory_offset
        })
    }
}

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
    (segments.len() - start.min(segments.len()) >= TIER_FILES).then(|| start..segments.len())
}

/// A rewriting under way.
pub(super) struct Job {
    inputs: Vec<Arc<Segment>>,
    /// What was dead in each input when the job began.
    dead: Vec<RevisionSet>,
    writer: SegmentWriter,
    /// Next box to copy.
    input: usize,
    number: usize,
}

/// A rewriting that is complete but for the manifest.
pub(super) struct Done {
    pub(super) inputs: Vec<Arc<Segment>>,
    dead: Vec<RevisionSet>,
    /// `None` if nothing was live.
    pub(super) output: Option<Arc<Segment>>,
}

impl Job {
    pub(super) fn start(
        directory: &Directory,
        store_id: [u8; 16],
        inputs: &[Arc<Segment>],
        dead: &mut Dead,
    ) -> Result<Self, StorageError> {
        let known = inputs.iter().map(|segment| dead.take(segment)).collect();
        let writer = SegmentWriter::create(directory, store_id)?;
        Ok(Self { inputs: inputs.to_vec(), dead: known, writer, input: 0, number: 0 })
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
            let dead = &self.dead[self.input];
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
        let (inputs, dead) = (self.inputs.clone(), self.dead.clone());
        if self.writer.records() == 0 {
            self.writer.discard(directory);
            return Ok(Done { inputs, dead, output: None });
        }
        let id = self.writer.id();
        let finished = self.write_directory().and_then(|()| self.writer.finish());
        if finished.is_err() {
            directory.discard(&file_name(id, Suffix::Records));
        }
        Ok(Done { inputs, dead, output: Some(Arc::new(finished?)) })
    }

    fn write_directory(&mut self) -> Result<(), StorageError> {
        self.writer.end_records()?;
        let (writer, dead) = (&mut self.writer, &self.dead);
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
