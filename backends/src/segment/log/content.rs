//! What a log holds, in memory: its state, and which frame holds which entries.
//!
//! One run per frame, about 48 bytes, however many entries the frame has. Entries themselves stay in the files:
//! core caches the recent ones.

use super::super::directory::StoreFile;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Step, each_step};
use crate::seal::Sealer;
use bytes::Bytes;
use coffer_core::storage::{HardState, LogEntry, LogId, LogOp, LogReader, LogState, StorageError};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// A log file that is being read or written.
pub(super) struct LogFile {
    pub(super) id: u64,
    pub(super) file: StoreFile,
    pub(super) sealer: Sealer,
    pub(super) bytes: u64,
}

/// Where a frame stands.
#[derive(Clone)]
pub(super) struct FrameAt {
    pub(super) file: Arc<LogFile>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) sequence: u64,
}

impl FrameAt {
    fn is(&self, other: &FrameAt) -> bool {
        self.sequence == other.sequence && self.file.id == other.file.id
    }

    fn corrupt(&self, found: &str) -> StorageError {
        self.file.file.corrupt(self.offset, format!("log frame {}", self.sequence), found)
    }

    /// Reads and verifies the frame; visits the entries of `indexes` that it leaves in the log.
    fn entries(&self, indexes: Range<u64>) -> Result<Vec<LogEntry>, StorageError> {
        let mut frame = vec![0; self.bytes as usize];
        self.file.file.read_exact(&mut frame, self.offset)?;
        let header = FrameHeader::decode(&frame, &self.file.sealer).map_err(|found| self.corrupt(found))?;
        if header.sequence != self.sequence {
            return Err(self.corrupt("another frame"));
        }
        let opened = header.open_body(&mut frame, &self.file.sealer, self.offset);
        let body_bytes = opened.map_err(|found| self.corrupt(found))?.len();
        let body = Bytes::from(frame).slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body_bytes);
        let mut entries: Vec<LogEntry> = Vec::new();
        let visit = |step| {
            if let Step::Entry { id, kind, payload } = step {
                // An entry that comes again was truncated in between, within this frame.
                while entries.last().is_some_and(|last| last.id.index >= id.index) {
                    entries.pop();
                }
                if indexes.contains(&id.index) {
                    entries.push(LogEntry { id, kind, payload: body.slice(payload) });
                }
            }
        };
        each_step(&body, visit).map_err(|_| self.corrupt("malformed log operations"))?;
        Ok(entries)
    }
}

/// Consecutive entries that one frame holds.
struct Run {
    first: u64,
    last: u64,
    at: FrameAt,
}

/// State and entries.
#[derive(Default)]
pub(super) struct Content {
    pub(super) state: LogState,
    runs: VecDeque<Run>,
    /// How often entries were taken back.
    truncations: u64,
}

impl Content {
    pub(super) fn new(state: LogState) -> Self {
        Self { state, ..Self::default() }
    }

    /// Takes a step that the frame `at` holds.
    pub(super) fn step(&mut self, step: &Step, at: &FrameAt) {
        match step {
            Step::Entry { id, .. } => self.append(*id, at),
            Step::Truncate(after) => self.truncate(*after),
            Step::HardState(state) => self.hard_state(*state),
            Step::Committed(id) => self.committed(*id),
            Step::Purged(id) => _ = self.purge(*id),
        }
    }

    /// Takes an operation that the frame `at` holds.
    pub(super) fn operation(&mut self, op: &LogOp, at: &FrameAt) {
        match op {
            LogOp::Append(entries) => entries.iter().for_each(|entry| self.append(entry.id, at)),
            LogOp::Truncate { after } => self.truncate(*after),
            LogOp::SaveHardState(state) => self.hard_state(*state),
        }
    }

    fn append(&mut self, id: LogId, at: &FrameAt) {
        match self.runs.back_mut() {
            Some(run) if run.last + 1 == id.index && run.at.is(at) => run.last = id.index,
            _ => self.runs.push_back(Run { first: id.index, last: id.index, at: at.clone() }),
        }
        self.state.last = Some(id);
    }

    fn truncate(&mut self, after: Option<LogId>) {
        let first_gone = after.map_or(0, |after| after.index + 1);
        self.truncations += 1;
        while self.runs.back().is_some_and(|run| run.first >= first_gone) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            run.last = run.last.min(first_gone - 1);
        }
        self.state.last = if self.runs.is_empty() { self.state.purged } else { after };
        self.state.committed = self.state.committed.min(self.state.last);
    }

    fn hard_state(&mut self, state: HardState) {
        self.state.hard_state = state;
    }

    pub(super) fn committed(&mut self, id: LogId) {
        self.state.committed = self.state.committed.max(Some(id)).min(self.state.last);
    }

    /// Returns whether anything was purged.
    pub(super) fn purge(&mut self, up_to: LogId) -> bool {
        if self.state.purged.is_some_and(|purged| purged.index >= up_to.index) {
            return false;
        }
        while self.runs.front().is_some_and(|run| run.last <= up_to.index) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(up_to.index + 1);
        }
        self.state.purged = Some(up_to);
        if self.runs.is_empty() {
            self.state.last = Some(up_to);
            self.state.committed = self.state.committed.min(self.state.last);
        }
        true
    }

    /// Bytes of the frames that hold entries.
    pub(super) fn frame_bytes(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.at.bytes)).sum()
    }

    /// The frame that holds the first entry at or after `index`, with the indexes that it holds from there on.
    fn find(&self, index: u64) -> Option<Found> {
        let at = self.runs.partition_point(|run| run.last < index);
        let run = self.runs.get(at)?;
        let indexes = run.first.max(index)..run.last + 1;
        Some(Found { at: run.at.clone(), indexes, truncations: self.truncations })
    }
}

/// A frame, the entries that it holds from some index on, and when that was so.
struct Found {
    at: FrameAt,
    indexes: Range<u64>,
    truncations: u64,
}

/// Reads the durable entries; the writer changes the content under a lock that is never held during I/O.
pub(super) struct Reader(pub(super) Arc<RwLock<Content>>);

impl LogReader for Reader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut next = range.start;
        let mut passed = 0u64;
        let mut truncations = None;
        while next < range.end {
            let Some(found) = self.0.read().find(next) else { break };
            // What was purged or truncated meanwhile would leave a gap, or mix old and new.
            let begun = truncations.is_some();
            let overtaken = found.indexes.start > next || truncations != Some(found.truncations);
            if begun && overtaken || found.indexes.start >= range.end {
                break;
            }
            truncations = Some(found.truncations);
            next = found.indexes.end;
            for entry in found.at.entries(found.indexes.start..found.indexes.end.min(range.end))? {
                passed += entry.payload.len() as u64;
                if visit(entry).is_break() || passed >= bytes_max {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Every entry of the log.
pub(super) fn collect(content: &Arc<RwLock<Content>>) -> Result<Vec<LogEntry>, StorageError> {
    let mut entries = Vec::new();
    Reader(content.clone()).read(0..u64::MAX, u64::MAX, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}
