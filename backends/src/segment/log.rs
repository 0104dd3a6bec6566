//! The write-ahead log in flat files.
//!
//! A log is a chain of files. Each begins with the state so far and goes on with frames, one per group; a frame
//! carries the tag of the one before it. A group is one padded write and one `fdatasync` of a file whose blocks were
//! written before, and never touches a sector that holds acknowledged data.
//!
//! # Invariants
//! - A frame is acknowledged only after `fdatasync` returned, and the next frame is written only after that: at most
//!   one frame at the end of the log is in doubt after a crash.
//! - A file of an earlier process life is never appended to. Opening starts a new one and copies what is in doubt.
//! - Truncation and purge are recorded, never performed by overwriting.
//! - A file is given back only after the watermark that makes it needless was synced.
//! - A file is replaced before it holds a frame under a data key that is no longer the active one, and before its
//!   nonces end.
//!
//! # Crash behaviour
//! See [`recovery`]. A group that finds no room leaves no trace that counts and can be written again. After the first
//! other failed write, and after any failed sync, every later call fails: what is on the medium is unknown.

mod at;
mod frame;
mod header;
mod pool;
mod recovery;
mod verify;

use super::directory::{Directory, Suffix, file_name};
use crate::format::header::FileKind;
use crate::groups::content::{self, Content, assert_continues};
use crate::groups::steps::{put_committed, put_entry, put_ops, put_purged};
use crate::place::StoreLock;
use crate::poison::Poison;
use crate::seal::{Nonces, Sealing, Tag};
use at::{FrameAt, LogFile};
use coffer_core::storage::{Log, LogId, LogOp, LogReader, LogState, RewriteProgress, StorageError};
use frame::{BODY_BYTES_MAX, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FramePlace, frame_bytes_max};
use header::{HEADER_BLOCK_BYTES, LogHeader};
use parking_lot::RwLock;
use pool::FilePool;
pub(super) use pool::SparePool;
use recovery::{Held, Recovered, TailFrame, apply, recover};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use verify::SegmentReader;
pub(super) use verify::inspect_log;

/// The end of each file is kept for a watermark: on a full disk it is what lets older files go.
const WATERMARK_BYTES: u64 = FRAME_ALIGNMENT as u64;
/// A buffer that a large group left behind is given back above this.
const BUFFER_KEPT_BYTES: usize = 4 << 20;
/// Bodies that copy older content are cut at about this.
const COPY_BODY_BYTES: usize = 1 << 20;

/// Fewer nonces than this are left for the end of a file: what a file began is finished with the same counter.
const NONCES_KEPT: u64 = 16;

/// How a log is opened.
pub(super) struct LogConfig {
    pub(super) sealing: Sealing,
    pub(super) file_bytes: u64,
    pub(super) spares_max: usize,
    pub(super) thread: bool,
    /// A log file that exists for sure, or was replaced by a newer one.
    pub(super) newest_known: u64,
    /// A frame that was acknowledged for sure.
    pub(super) acked_known: u64,
    /// The lowest boot number that this process may take.
    pub(super) boot_min: u64,
    pub(super) progress: Arc<LogProgress>,
}

/// How far the log is, durably. Advanced by the log.
#[derive(Default)]
pub(super) struct LogProgress {
    /// Id of the newest log file.
    pub(super) newest_file: AtomicU64,
    /// Sequence of the newest frame that was acknowledged.
    pub(super) acked: AtomicU64,
}

/// The log of a [`SegmentStore`](super::SegmentStore).
pub(super) struct SegmentLog {
    directory: Arc<Directory>,
    config: LogConfig,
    boot: u64,
    opened: LogState,
    content: Arc<RwLock<Content<FrameAt>>>,
    poison: Poison,
    files: VecDeque<Held>,
    /// The same, for whoever verifies them. What is given back is taken out of here first.
    published: Arc<RwLock<Vec<Held>>>,
    pool: FilePool,
    /// Where the next frame goes in the last file.
    offset: u64,
    /// The last frame written; it is acknowledged.
    sequence: u64,
    chain: Tag,
    nonces: Nonces,
    /// A watermark that no frame carries yet.
    purge_waits: bool,
    /// Room for a file header, then the frame that is being built.
    buffer: Vec<u8>,
    _lock: Arc<StoreLock>,
}

impl SegmentLog {
    /// Recovers the log from its files and starts a new one. `names` are all names in the directory.
    pub(super) fn open(
        directory: Arc<Directory>,
        config: LogConfig,
        names: &[(u64, Suffix)],
        lock: Arc<StoreLock>,
    ) -> Result<Self, StorageError> {
        let ids: Vec<u64> = names.iter().filter(|name| name.1 == Suffix::Log).map(|name| name.0).collect();
        let recovered = recover(&directory, &config.sealing, &ids, config.newest_known, config.acked_known)?;
        // Everything is read and right: from here on the store changes.
        if let Some(keyring) = config.sealing.keyring() {
            keyring.begin()?;
        }
        let pool = FilePool::new(directory.clone(), config.file_bytes, config.spares_max, config.thread)?;
        for (id, _) in names.iter().filter(|name| name.1 == Suffix::Spare) {
            pool.adopt(&file_name(*id, Suffix::Spare))?;
        }
        let boot = recovered.boot.saturating_add(1).max(config.boot_min);
        let nonces = config.sealing.nonces();
        let leftovers = recovered.leftovers.clone();
        let mut log = Self {
            directory,
            config,
            boot,
            opened: LogState::default(),
            content: Arc::default(),
            poison: Poison::default(),
            files: VecDeque::new(),
            published: Arc::default(),
            pool,
            offset: 0,
            sequence: recovered.sequence,
            chain: recovered.chain,
            nonces,
            purge_waits: false,
            buffer: Vec::new(),
            _lock: lock,
        };
        // Before a file is begun, because a disk may be full of what an opening that failed has left.
        for name in leftovers {
            log.pool.adopt(&name)?;
        }
        // A file that was not begun in full must not be closed as if it had been.
        log.begin(recovered).inspect_err(|error| log.poison.end(error))?;
        log.opened = log.content.read().state;
        Ok(log)
    }

    /// The boot number of this process life.
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    /// The files in waiting.
    pub(super) fn pool(&self) -> Arc<SparePool> {
        self.pool.shared()
    }

    /// Starts the file of this life with what earlier ones left in doubt; or, if the log holds little, with all of
    /// it, so that a store that is opened and closed often does not collect files.
    fn begin(&mut self, recovered: Recovered) -> Result<(), StorageError> {
        let Recovered { mut content, mut files, tail, .. } = recovered;
        let all_bytes =
            content.group_bytes() + tail.iter().map(|frame| u64::from(frame.at.bytes)).sum::<u64>();
        let copies_all = files.is_empty() || all_bytes <= self.config.file_bytes / 4;
        let bodies = if copies_all {
            tail.iter().try_for_each(|frame| apply(&mut content, frame))?;
            *self.content.write() = content;
            let bodies = entry_bodies(&self.content)?;
            self.files = files;
            return self.carry_over(bodies);
        } else {
            tail.into_iter().map(|frame: TailFrame| frame.body).collect::<Vec<_>>()
        };
        // A file of which no frame counts may never have reached the medium, so nothing may depend on it.
        let mut previous_file = files.back().map_or(0, |held| held.file.id);
        let mut retired = Vec::new();
        while let Some(held) = files.pop_back_if(|held| held.header.previous_sequence == self.sequence) {
            previous_file = held.header.previous_file;
            if held.header.previous_file != 0 {
                self.chain = held.header.previous_chain;
            }
            retired.push(held.file);
        }
        self.files = files;
        let header = LogHeader {
            boot: self.boot,
            previous_file,
            previous_sequence: self.sequence,
            previous_chain: if previous_file == 0 { Tag::default() } else { self.chain },
            copied_through: self.sequence + bodies.len() as u64,
            state: content.state,
        };
        self.start_with(header, bodies, content)?;
        self.publish();
        self.pool.retire(retired);
        Ok(())
    }

    /// Shows the files to whoever verifies them, once their headers are on the medium.
    fn publish(&self) {
        *self.published.write() = self.files.iter().cloned().collect();
    }

    /// Starts a file with everything that the log holds, `bodies`, and gives back all others. If there is no room for
    /// such a file nothing changes.
    fn carry_over(&mut self, bodies: Vec<Vec<u8>>) -> Result<(), StorageError> {
        let state = self.content.read().state;
        let header = LogHeader {
            boot: self.boot,
            previous_file: 0,
            previous_sequence: self.sequence,
            previous_chain: Tag::default(),
            copied_through: self.sequence + bodies.len() as u64,
            state: LogState { last: state.purged, ..state },
        };
        let content = Content::new(header.state);
        self.start_with(header, bodies, content)?;
        self.purge_waits = false;
        let replaced = self.files.len() - 1;
        let retired: Vec<_> = self.files.drain(..replaced).map(|held| held.file).collect();
        self.publish();
        self.pool.retire(retired);
        Ok(())
    }

    /// Starts a file with `bodies`, of which `content` knows nothing yet. Readers see it when it is synced. If there is
    /// no room for such a file nothing changes; once it is begun there is no way back.
    fn start_with(
        &mut self,
        header: LogHeader,
        bodies: Vec<Vec<u8>>,
        content: Content<FrameAt>,
    ) -> Result<(), StorageError> {
        let room: usize = bodies.iter().map(|body| frame_bytes_max(body.len())).sum();
        let bytes = (HEADER_BLOCK_BYTES + room) as u64 + WATERMARK_BYTES;
        let (block, _) = self.start_file(header, bytes)?;
        let filled = self.fill_file(block, bodies, content);
        filled.inspect_err(|error| self.poison.end(error))
    }

    fn fill_file(
        &mut self,
        block: Vec<u8>,
        bodies: Vec<Vec<u8>>,
        mut content: Content<FrameAt>,
    ) -> Result<(), StorageError> {
        let committed = content.state.committed;
        let mut header = Some(block);
        for body in bodies {
            self.begin_frame();
            self.buffer.extend_from_slice(&body);
            let at = self.put_frame(header.take(), Frame::Group)?;
            apply(&mut content, &TailFrame { body, at })?;
        }
        if let Some(block) = header {
            let file = self.current()?.file.file.clone();
            file.write(&block, 0)?;
            file.sync()?;
            self.config.progress.newest_file.store(self.current()?.file.id, Ordering::Release);
        }
        if let Some(committed) = committed {
            content.committed(committed);
        }
        self.content.write().replace(content);
        Ok(())
    }

    /// Makes the next file current and returns its header block, which is yet to be written, and where the file before
    /// it ends.
    fn start_file(&mut self, header: LogHeader, bytes: u64) -> Result<(Vec<u8>, End), StorageError> {
        let id = self.directory.fresh_id();
        let (file, bytes) = self.pool.take(id, bytes)?;
        let sealer = self.config.sealing.sealer_for_new_file(FileKind::Log as u8, id)?;
        let nonces = std::mem::replace(&mut self.nonces, self.config.sealing.nonces());
        let end = End { chain: self.chain, offset: self.offset, nonces };
        let mut block = vec![0; HEADER_BLOCK_BYTES];
        self.chain = header.encode(&sealer, self.nonces.draw()?, &mut block);
        self.offset = HEADER_BLOCK_BYTES as u64;
        let file = LogFile { id, file, sealer, header_tag: self.chain, bytes };
        self.files.push_back(Held { file: Arc::new(file), header });
        Ok((block, end))
    }

    fn current(&self) -> Result<&Held, StorageError> {
        // Opening starts a file before anything else can ask.
        self.files.back().ok_or_else(|| StorageError::Poisoned { reason: "the log has no file".into() })
    }

    /// Empties the buffer but for the room of the headers.
    fn begin_frame(&mut self) {
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.buffer.resize(HEADER_BLOCK_BYTES + FRAME_HEADER_BYTES, 0);
    }

    /// Makes the frame in the buffer durable, in a new file if need be. If there is no room for it nothing changes.
    fn finish_frame(&mut self, kind: Frame) -> Result<FrameAt, StorageError> {
        let body_bytes = self.buffer.len() - HEADER_BLOCK_BYTES - FRAME_HEADER_BYTES;
        assert!(body_bytes <= BODY_BYTES_MAX, "a group of {body_bytes} bytes is beyond what core may write");
        let room = frame_bytes_max(body_bytes);
        let kept = if kind == Frame::Group { WATERMARK_BYTES } else { 0 };
        let file = &self.current()?.file;
        let ended = self.offset + room as u64 + kept > file.bytes
            || self.nonces.left() < NONCES_KEPT
            || self.config.sealing.is_outdated(file.sealer.file());
        if !ended {
            return self.put_frame(None, kind);
        }
        let (block, before) = self.rotate(room)?;
        let written = self.put_frame(Some(block), kind);
        if written.as_ref().is_err_and(StorageError::is_no_room) {
            self.turn_back(before)?;
        }
        self.publish();
        written
    }

    /// Goes on with the file before, because the one that was to begin with this frame found no room. Its name is gone
    /// durably before anything else is written, so that no crash brings it back as the successor of what follows. What
    /// was sealed for it had a salt of its own, and the counter of the file before was not touched.
    fn turn_back(&mut self, before: End) -> Result<(), StorageError> {
        End { chain: self.chain, offset: self.offset, nonces: self.nonces } = before;
        if let Some(held) = self.files.pop_back() {
            self.directory.remove(&file_name(held.file.id, Suffix::Log))?;
            self.directory.sync()?;
        }
        Ok(())
    }

    /// Seals the frame in the buffer and makes it durable, with the file header before it if there is one to write.
    fn put_frame(&mut self, header: Option<Vec<u8>>, kind: Frame) -> Result<FrameAt, StorageError> {
        let file = self.current()?.file.clone();
        let place = FramePlace {
            offset: self.offset,
            sequence: self.sequence + 1,
            acked: self.sequence,
            chain: self.chain,
            last: kind == Frame::Last,
        };
        let nonce = self.nonces.draw()?;
        let tag = frame::seal_frame(&mut self.buffer, HEADER_BLOCK_BYTES, &file.sealer, &place, nonce);
        let total = self.buffer.len() - HEADER_BLOCK_BYTES;
        match header {
            Some(block) => {
                self.buffer[..HEADER_BLOCK_BYTES].copy_from_slice(&block);
                file.file.write(&self.buffer, 0)?;
            }
            None => file.file.write(&self.buffer[HEADER_BLOCK_BYTES..], self.offset)?,
        }
        file.file.sync()?;
        self.config.progress.newest_file.store(file.id, Ordering::Release);
        self.config.progress.acked.store(place.sequence, Ordering::Release);
        let at = FrameAt { file, offset: self.offset, bytes: total as u32, sequence: place.sequence };
        self.offset += total as u64;
        self.sequence = place.sequence;
        self.chain = tag;
        Ok(at)
    }

    fn rotate(&mut self, frame_bytes: usize) -> Result<(Vec<u8>, End), StorageError> {
        let header = LogHeader {
            boot: self.boot,
            previous_file: self.current()?.file.id,
            previous_sequence: self.sequence,
            previous_chain: self.chain,
            copied_through: self.sequence,
            state: self.content.read().state,
        };
        self.start_file(header, (HEADER_BLOCK_BYTES + frame_bytes) as u64 + WATERMARK_BYTES)
    }

    fn write_group(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        self.begin_frame();
        self.put_waiting_purge();
        put_ops(&mut self.buffer, ops);
        if let Some(committed) = committed {
            put_committed(&mut self.buffer, committed);
        }
        let at = self.finish_frame(Frame::Group)?;
        {
            let mut content = self.content.write();
            ops.iter().for_each(|op| content.operation(op, &at));
            if let Some(committed) = committed {
                content.committed(committed);
            }
        }
        if std::mem::take(&mut self.purge_waits) {
            self.retire_purged();
        }
        let current = self.current()?;
        if self.offset > current.file.bytes / 4 {
            self.pool.prepare();
        }
        Ok(())
    }

    /// Carries what the log holds over to a file under the active data key, if any of its files is under another.
    /// All at once: a frame is chained to the one before it, so that no file can be replaced by itself.
    fn rewrite_outdated(&mut self) -> Result<RewriteProgress, StorageError> {
        let outdated = |held: &Held| self.config.sealing.is_outdated(held.file.sealer.file());
        if !self.files.iter().any(outdated) {
            return Ok(RewriteProgress::default());
        }
        let bodies = entry_bodies(&self.content)?;
        let copied_bytes = bodies.iter().map(|body| body.len() as u64).sum();
        self.carry_over(bodies)?;
        Ok(RewriteProgress { copied_bytes, ..RewriteProgress::default() })
    }

    /// Writes the watermark at once and by itself, where that lets a file go.
    fn write_watermark(&mut self) -> Result<(), StorageError> {
        let fits = self.offset + WATERMARK_BYTES <= self.current()?.file.bytes;
        if !self.purge_waits || !fits || !self.first_is_purged() {
            return Ok(());
        }
        self.begin_frame();
        self.put_waiting_purge();
        match self.finish_frame(Frame::Watermark) {
            Err(error) if error.is_no_room() => return Ok(()),
            written => written?,
        };
        self.purge_waits = false;
        self.retire_purged();
        Ok(())
    }

    /// Whether the oldest file holds nothing above the watermark, and another one goes on.
    fn first_is_purged(&self) -> bool {
        let purged = self.content.read().state.purged.map(|id| id.index);
        self.files.get(1).is_some_and(|next| next.header.state.last.map(|id| id.index) <= purged)
    }

    fn put_waiting_purge(&mut self) {
        if self.purge_waits
            && let Some(purged) = self.content.read().state.purged
        {
            put_purged(&mut self.buffer, purged);
        }
    }

    /// Gives back the files whose entries all lie at or below the durable watermark.
    fn retire_purged(&mut self) {
        let mut retired = Vec::new();
        while self.first_is_purged() {
            retired.extend(self.files.pop_front().map(|held| held.file));
        }
        if !retired.is_empty() {
            self.publish();
        }
        self.pool.retire(retired);
    }

    /// Marks the log as closed in order, so that the next opening knows that nothing is missing.
    fn close(&mut self) -> Result<(), StorageError> {
        self.poison.check()?;
        self.begin_frame();
        self.put_waiting_purge();
        self.finish_frame(Frame::Last)?;
        Ok(())
    }
}

/// Where a file of the log ends, to be gone on with.
struct End {
    chain: Tag,
    offset: u64,
    nonces: Nonces,
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// A group, or a part of older content.
    Group,
    /// A watermark that frees space.
    Watermark,
    /// The end of a log that is closed in order.
    Last,
}

/// All entries of a log as bodies of frames.
fn entry_bodies(content: &Arc<RwLock<Content<FrameAt>>>) -> Result<Vec<Vec<u8>>, StorageError> {
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for entry in content::collect(content)? {
        match bodies.last_mut() {
            Some(body) if body.len() < COPY_BODY_BYTES => put_entry(body, &entry),
            _ => {
                let mut body = Vec::new();
                put_entry(&mut body, &entry);
                bodies.push(body);
            }
        }
    }
    Ok(bodies)
}

impl Log for SegmentLog {
    fn state(&self) -> LogState {
        self.opened
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        self.poison.check()?;
        assert_continues(&self.content.read().state, ops);
        let written = self.write_group(ops, committed);
        if written.as_ref().is_err_and(StorageError::is_no_room) {
            let marked = self.write_watermark();
            self.poison.note(marked)?;
        }
        self.poison.note(written)
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.poison.check()?;
        self.purge_waits |= self.content.write().purge(up_to);
        if !self.directory.room().is_full() {
            return Ok(());
        }
        let marked = self.write_watermark();
        self.poison.note(marked)
    }

    fn rewrite(&mut self, _: u64) -> Result<RewriteProgress, StorageError> {
        self.poison.check()?;
        let rewritten = self.rewrite_outdated();
        self.poison.note(rewritten)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.poison.check()?;
        let marked = self.write_watermark();
        self.poison.note(marked)?;
        self.pool.trim();
        Ok(false)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(SegmentReader::of(self))
    }

    fn disk_bytes(&self) -> u64 {
        self.files.iter().map(|held| held.file.bytes).sum::<u64>() + self.pool.disk_bytes()
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        if self.poison.is_sound()
            && !self.files.is_empty()
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "the log could not be marked as closed; nothing acknowledged is lost");
        }
    }
}
