//! The record store in flat files: immutable record files in revision order, and the manifest that names them.
//!
//! # Invariants
//! - The files of the store are ascending and do not overlap: a revision finds its file by binary search, and a
//!   box in it by another. Nothing points into a file, so files are replaced without touching anything else.
//! - A file is complete, synced and its name durable before the manifest names it.
//! - Readers hold the files they read: a file that was replaced is unlinked at once and lives until they are done.
//! - One lock orders changes; readers take another for the time of cloning a pointer.
//!
//! # Crash behaviour
//! A flush, an installation and a rewriting are done when their manifest slot is synced, and did not happen before.
//! What they left behind is removed at the next opening.

mod codec;
mod dead;
mod file;
mod merge;
mod reclaim;

use super::directory::{Directory, Suffix, file_name};
use super::lock::StoreLock;
use super::manifest::{Manifest, Slots};
use super::poison::Poison;
use codec::{Line, record_hash};
use coffer_core::record::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{
    Checkpoint, DirectoryEntry, Flush, ReclaimProgress, RecordBlock, Records, RecordsStats, SnapshotSource,
    StorageError,
};
use file::{Segment, SegmentWriter};
use merge::merge;
use parking_lot::{Mutex, RwLock};
use reclaim::{Dead, Done, Job, Survey, plan};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A flush or a snapshot starts another file beyond this, to bound the memory that its directory takes meanwhile.
const FILE_BYTES_MAX: u64 = 64 << 20;
const FILE_RECORDS_MAX: u64 = 256 << 10;

/// The records of a [`SegmentStore`](super::SegmentStore).
pub(super) struct SegmentRecords {
    directory: Arc<Directory>,
    view: RwLock<View>,
    dead: Mutex<Dead>,
    writer: Mutex<Writer>,
    poison: Poison,
    /// The newest log file, to be named in the manifest.
    newest_log: Arc<AtomicU64>,
    _lock: Arc<StoreLock>,
}

/// What readers see.
#[derive(Clone)]
struct View {
    segments: Arc<[Arc<Segment>]>,
    checkpoint: Option<Checkpoint>,
}

struct Writer {
    slots: Slots,
    manifest: Manifest,
    job: Option<Job>,
}

impl SegmentRecords {
    /// Opens the files that the manifest names.
    pub(super) fn open(
        directory: Arc<Directory>,
        slots: Slots,
        manifest: Manifest,
        newest_log: Arc<AtomicU64>,
        lock: Arc<StoreLock>,
    ) -> Result<Self, StorageError> {
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            segments.push(Arc::new(Segment::open(&directory, &manifest.store_id, *entry)?));
        }
        let view = View { segments: segments.into(), checkpoint: manifest.checkpoint.clone() };
        Ok(Self {
            directory,
            view: RwLock::new(view),
            dead: Mutex::default(),
            writer: Mutex::new(Writer { slots, manifest, job: None }),
            poison: Poison::default(),
            newest_log,
            _lock: lock,
        })
    }

    /// Writes the manifest with a new boot number; with that the store is open.
    pub(super) fn begin(&self, boot: u64) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        let manifest = self.next_manifest(Manifest { boot, ..writer.manifest.clone() });
        writer.slots.write_first(&self.directory, &manifest)?;
        writer.manifest = manifest;
        Ok(())
    }

    /// Removes record files that the manifest does not name.
    pub(super) fn remove_leftovers(&self, names: &[(u64, Suffix)]) {
        let view = self.view();
        for (id, _) in names.iter().filter(|name| name.1 == Suffix::Records) {
            if !view.segments.iter().any(|segment| segment.entry.id == *id) {
                self.directory.discard(&file_name(*id, Suffix::Records));
            }
        }
    }

    fn view(&self) -> View {
        self.view.read().clone()
    }

    /// The next generation, with what it says of ids and the log brought up to date.
    fn next_manifest(&self, manifest: Manifest) -> Manifest {
        Manifest {
            generation: manifest.generation + 1,
            next_id: self.directory.next_id(),
            newest_log: self.newest_log.load(Ordering::Acquire).max(manifest.newest_log),
            ..manifest
        }
    }

    /// Makes the next generation of the manifest durable.
    fn put_manifest(&self, writer: &mut Writer, manifest: Manifest) -> Result<(), StorageError> {
        let manifest = self.next_manifest(manifest);
        let written = writer.slots.write(&self.directory, &manifest);
        self.poison.note(written)?;
        writer.manifest = manifest;
        Ok(())
    }

    /// Swaps the list of files and the checkpoint, on the medium and then for readers.
    fn swap(
        &self,
        writer: &mut Writer,
        segments: Vec<Arc<Segment>>,
        checkpoint: Option<Checkpoint>,
        account: impl FnOnce(&mut Dead),
    ) -> Result<(), StorageError> {
        let entries = segments.iter().map(|segment| segment.entry).collect();
        let manifest =
            Manifest { segments: entries, checkpoint: checkpoint.clone(), ..writer.manifest.clone() };
        self.put_manifest(writer, manifest)?;
        // Marking takes the same two locks in this order, so no mark falls between the lists.
        let mut dead = self.dead.lock();
        *self.view.write() = View { segments: segments.into(), checkpoint };
        account(&mut dead);
        Ok(())
    }

    /// Writes records into new files, synced and with durable names.
    fn store(
        &self,
        store_id: [u8; 16],
        next: &mut dyn FnMut() -> Result<Option<Arc<Record>>, StorageError>,
    ) -> Result<Vec<Arc<Segment>>, StorageError> {
        let mut stored = Vec::new();
        let result = self.store_all(store_id, next, &mut stored);
        if let Err(error) = result {
            self.unlink(&stored);
            return Err(error);
        }
        Ok(stored)
    }

    fn store_all(
        &self,
        store_id: [u8; 16],
        next: &mut dyn FnMut() -> Result<Option<Arc<Record>>, StorageError>,
        stored: &mut Vec<Arc<Segment>>,
    ) -> Result<(), StorageError> {
        let mut building: Option<Building> = None;
        while let Some(record) = next().inspect_err(|_| abandon(&mut building, &self.directory))? {
            let file = match &mut building {
                Some(file) => file,
                None => building.insert(Building::create(&self.directory, store_id)?),
            };
            file.push(record)?;
            if file.is_full() {
                stored.extend(building.take().map(Building::finish).transpose()?);
            }
        }
        stored.extend(building.map(Building::finish).transpose()?);
        if stored.is_empty() { Ok(()) } else { self.directory.sync() }
    }

    fn unlink(&self, segments: &[Arc<Segment>]) {
        for segment in segments {
            self.directory.discard(&file_name(segment.entry.id, Suffix::Records));
        }
    }

    fn flush_all(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        let view = self.view();
        let (last, first) = (view.segments.last().map(|last| last.last), flush.records.first());
        assert!(
            first.is_none_or(|first| last < Some(first.revision)),
            "flushed records lie above all before"
        );
        let mut records = flush.records.iter();
        let added = self.store(writer.manifest.store_id, &mut || Ok(records.next().cloned()))?;
        let mut segments = view.segments.to_vec();
        segments.extend_from_slice(&added);
        self.swap(&mut writer, segments, Some(flush.checkpoint.clone()), |dead| {
            added.iter().for_each(|segment| dead.stored(segment));
        })
    }

    fn install_all(&self, checkpoint: &Checkpoint, stored: &[Arc<Segment>]) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        let replaced = self.view().segments;
        self.swap(&mut writer, stored.to_vec(), Some(checkpoint.clone()), Dead::clear)?;
        if let Some(job) = writer.job.take() {
            job.discard(&self.directory);
        }
        self.unlink(&replaced);
        Ok(())
    }

    /// Ends a rewriting: the manifest names its output instead of its inputs.
    fn replace(&self, writer: &mut Writer, done: &Done) -> Result<u64, StorageError> {
        let view = self.view();
        let replaced = |segment: &Arc<Segment>| done.inputs.iter().any(|input| Arc::ptr_eq(input, segment));
        let at = view.segments.iter().position(replaced).unwrap_or(0);
        let mut segments: Vec<_> =
            view.segments.iter().filter(|segment| !replaced(segment)).cloned().collect();
        if let Some(output) = &done.output {
            segments.insert(at, output.clone());
            if let Err(error) = self.directory.sync() {
                self.unlink(std::slice::from_ref(output));
                return Err(error);
            }
        }
        let later = segments[at + usize::from(done.output.is_some())..].to_vec();
        self.swap(writer, segments, view.checkpoint, |dead| dead.replaced(done, &later))?;
        self.unlink(&done.inputs);
        let before: u64 = done.inputs.iter().map(|input| input.entry.bytes).sum();
        Ok(before.saturating_sub(done.output.as_ref().map_or(0, |output| output.entry.bytes)))
    }

    /// The next rewriting, if there is anything to do.
    fn next_job(&self, writer: &Writer) -> Result<Option<Job>, StorageError> {
        let segments = self.view().segments;
        loop {
            let (chosen, marked) = {
                let dead = self.dead.lock();
                let Some(chosen) = plan(&segments, &dead) else { return Ok(None) };
                let marked = segments[chosen.clone()].iter().map(|segment| dead.all_in(segment)).collect();
                (chosen, marked)
            };
            let inputs = &segments[chosen.clone()];
            let survey = Survey::of(&segments[..chosen.start], inputs, marked)?;
            match inputs {
                [alone] if survey.is_pointless() => self.dead.lock().keep(alone, &survey),
                _ => return Job::start(&self.directory, writer.manifest.store_id, inputs, survey).map(Some),
            }
        }
    }

    fn reclaim_slice(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        let mut writer = self.writer.lock();
        let mut job = match writer.job.take() {
            Some(job) => job,
            None => match self.next_job(&writer)? {
                Some(job) => job,
                None => return Ok(ReclaimProgress::default()),
            },
        };
        let (copied_bytes, copied_all) = match job.copy(copy_bytes_max) {
            Ok(copied) => copied,
            Err(error) => {
                job.discard(&self.directory);
                return Err(error);
            }
        };
        if !copied_all {
            writer.job = Some(job);
            return Ok(ReclaimProgress { freed_bytes: 0, copied_bytes, more: true });
        }
        let done = job.finish(&self.directory)?;
        let freed_bytes = self.replace(&mut writer, &done)?;
        let more = plan(&self.view().segments, &self.dead.lock()).is_some();
        Ok(ReclaimProgress { freed_bytes, copied_bytes, more })
    }

    fn verify_segment(segment: &Arc<Segment>) -> Result<u64, StorageError> {
        let mut hashes: Vec<(Revision, u64)> = Vec::with_capacity(segment.records as usize);
        for number in 0..segment.boxes.len() {
            let block = segment.read_box(number)?;
            hashes.extend(block.records.iter().map(|record| (record.revision, record_hash(record))));
        }
        let mut lines = 0;
        let mut wrong = None;
        merge(std::slice::from_ref(segment), |_, _, line| {
            lines += 1;
            let revision = line.entry.revision;
            let found = hashes.binary_search_by_key(&revision, |(revision, _)| *revision).ok();
            if found.is_none_or(|at| hashes[at].1 != line.hash) {
                wrong = Some(segment.wrong_record(revision, "another"));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match wrong {
            Some(error) => Err(error),
            None if lines != hashes.len() => Err(segment.malformed_directory(0, "another number of records")),
            None => Ok(lines as u64),
        }
    }
}

/// A record file that is being written from records.
struct Building {
    writer: SegmentWriter,
    lines: Vec<(Arc<Record>, u32)>,
}

impl Building {
    fn create(directory: &Directory, store_id: [u8; 16]) -> Result<Self, StorageError> {
        Ok(Self { writer: SegmentWriter::create(directory, store_id)?, lines: Vec::new() })
    }

    fn push(&mut self, record: Arc<Record>) -> Result<(), StorageError> {
        let box_number = self.writer.push(&record)?;
        self.lines.push((record, box_number));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.writer.bytes() >= FILE_BYTES_MAX || self.writer.records() >= FILE_RECORDS_MAX
    }

    fn finish(mut self) -> Result<Arc<Segment>, StorageError> {
        self.writer.end_records()?;
        self.lines.sort_unstable_by(|(a, _), (b, _)| (&a.key, a.revision).cmp(&(&b.key, b.revision)));
        for (record, box_number) in &self.lines {
            self.writer.push_line(&record.key, &Line::of(record, *box_number))?;
        }
        Ok(Arc::new(self.writer.finish()?))
    }
}

/// Removes a file that will not be finished.
fn abandon(building: &mut Option<Building>, directory: &Directory) {
    if let Some(file) = building.take() {
        file.writer.discard(directory);
    }
}

impl Records for SegmentRecords {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.view.read().checkpoint.clone()
    }

    fn flush(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        self.poison.check()?;
        let flushed = self.flush_all(flush);
        self.poison.note(flushed)
    }

    fn read(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError> {
        let segments = self.view.read().segments.clone();
        let at = segments.partition_point(|segment| segment.last < revision);
        let Some(segment) = segments.get(at) else { return Ok(None) };
        let Some(number) = segment.box_number(revision) else { return Ok(None) };
        let block = segment.read_box(number)?;
        Ok(block.get(revision).is_some().then(|| Arc::new(block)))
    }

    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let segments = self.view.read().segments.clone();
        let from = segments.partition_point(|segment| segment.last.main < first);
        for segment in &segments[from..] {
            let start = segment.box_number(Revision::first(first)).unwrap_or(0);
            for number in start..segment.boxes.len() {
                if segment.boxes[number].first.main > last {
                    return Ok(());
                }
                for record in &segment.read_box(number)?.records {
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
        let segments = self.view.read().segments.clone();
        merge(&segments, |_, key, line| visit(key, &line.entry))
    }

    fn drop_revisions(&self, revisions: &[Revision]) {
        let mut dead = self.dead.lock();
        let segments = self.view.read().segments.clone();
        revisions.iter().for_each(|revision| dead.mark(&segments, *revision));
    }

    fn reclaim(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        self.poison.check()?;
        self.reclaim_slice(copy_bytes_max)
    }

    fn install(&self, checkpoint: &Checkpoint, source: &mut dyn SnapshotSource) -> Result<(), StorageError> {
        self.poison.check()?;
        let store_id = self.writer.lock().manifest.store_id;
        let mut broken = false;
        let stored = self.store(store_id, &mut || {
            let next = source.next();
            broken = next.is_err();
            Ok(next?.map(Arc::new))
        });
        // A source that breaks leaves the medium as it was.
        let stored = if broken { stored? } else { self.poison.note(stored)? };
        let installed = self.install_all(checkpoint, &stored);
        self.poison.note(installed)
    }

    fn verify(&self) -> Result<u64, StorageError> {
        self.view().segments.iter().map(Self::verify_segment).sum()
    }

    fn stats(&self) -> RecordsStats {
        let dead = self.dead.lock();
        let segments = self.view.read().segments.clone();
        let mut stats = RecordsStats { units: segments.len() as u64, ..RecordsStats::default() };
        for segment in segments.iter() {
            stats.disk_bytes += segment.entry.bytes;
            stats.live_bytes += segment.entry.bytes.saturating_sub(dead.bytes_in(segment));
        }
        stats
    }
}
