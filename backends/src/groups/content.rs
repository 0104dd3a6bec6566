//! What a log holds, in memory: its state, and which group holds which entries.
//!
//! One run per group, about 48 bytes, however many entries the group has. Entries themselves stay on the medium:
//! core caches the recent ones.

use super::steps::Step;
use coffer_core::storage::{HardState, LogEntry, LogId, LogOp, LogState, StorageError};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Where a group stands on the medium.
pub(crate) trait GroupAt: Clone + Send + Sync + 'static {
    /// Whether it is the same group.
    fn is(&self, other: &Self) -> bool;

    /// Bytes that it takes.
    fn bytes(&self) -> u64;

    /// Reads and verifies the group; returns the entries of `indexes` that it leaves in the log, or `None` if it is
    /// no longer there.
    fn entries(&self, indexes: Range<u64>) -> Result<Option<Vec<LogEntry>>, StorageError>;

    /// The error that the group should be there and is not.
    fn missing(&self) -> StorageError;
}

/// Consecutive entries that one group holds.
struct Run<A> {
    first: u64,
    last: u64,
    at: A,
}

/// State and entries.
pub(crate) struct Content<A> {
    pub(crate) state: LogState,
    runs: VecDeque<Run<A>>,
    /// How often entries were taken back.
    truncations: u64,
}

impl<A> Default for Content<A> {
    fn default() -> Self {
        Self { state: LogState::default(), runs: VecDeque::new(), truncations: 0 }
    }
}

impl<A: GroupAt> Content<A> {
    pub(crate) fn new(state: LogState) -> Self {
        Self { state, ..Self::default() }
    }

    /// Becomes `content`, which has the same entries or more in other groups. A reader that is at work ends early.
    pub(crate) fn replace(&mut self, content: Self) {
        let truncations = self.truncations + 1;
        *self = Self { truncations, ..content };
    }

    /// Takes a step that the group `at` holds.
    pub(crate) fn step(&mut self, step: &Step, at: &A) {
        match step {
            Step::Entry { id, .. } => self.append(*id, at),
            Step::Truncate(after) => self.truncate(*after),
            Step::HardState(state) => self.hard_state(*state),
            Step::Committed(id) => self.committed(*id),
            Step::Purged(id) => _ = self.purge(*id),
        }
    }

    /// Takes an operation that the group `at` holds.
    pub(crate) fn operation(&mut self, op: &LogOp, at: &A) {
        match op {
            LogOp::Append(entries) => entries.iter().for_each(|entry| self.append(entry.id, at)),
            LogOp::Truncate { after } => self.truncate(*after),
            LogOp::SaveHardState(state) => self.hard_state(*state),
        }
    }

    fn append(&mut self, id: LogId, at: &A) {
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

    pub(crate) fn committed(&mut self, id: LogId) {
        self.state.committed = self.state.committed.max(Some(id)).min(self.state.last);
    }

    /// Returns whether anything was purged.
    pub(crate) fn purge(&mut self, up_to: LogId) -> bool {
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

    /// The group that holds the first entry.
    pub(crate) fn first_group(&self) -> Option<&A> {
        self.runs.front().map(|run| &run.at)
    }

    /// Bytes of the groups that hold entries.
    pub(crate) fn group_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.at.bytes()).sum()
    }

    /// The group that holds the first entry at or after `index`, with the indexes that it holds from there on.
    fn find(&self, index: u64) -> Option<Found<A>> {
        let at = self.runs.partition_point(|run| run.last < index);
        let run = self.runs.get(at)?;
        let indexes = run.first.max(index)..run.last + 1;
        Some(Found { at: run.at.clone(), indexes, truncations: self.truncations })
    }
}

/// A group, the entries that it holds from some index on, and when that was so.
struct Found<A> {
    at: A,
    indexes: Range<u64>,
    truncations: u64,
}

/// Reads the durable entries; the writer changes the content under a lock that is never held during I/O.
pub(crate) struct Reader<A>(pub(crate) Arc<RwLock<Content<A>>>);

impl<A: GroupAt> Reader<A> {
    /// Bytes of the groups that hold entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.read().group_bytes()
    }

    /// As [`LogReader::read`](coffer_core::storage::LogReader::read).
    pub(crate) fn read(
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
            let Some(entries) = found.at.entries(found.indexes.start..found.indexes.end.min(range.end))?
            else {
                let listed = self.0.read().find(next).is_some_and(|now| now.at.is(&found.at));
                match (listed, begun) {
                    (true, _) => return Err(found.at.missing()),
                    // Purged or truncated between the look and the read.
                    (false, true) => break,
                    (false, false) => continue,
                }
            };
            truncations = Some(found.truncations);
            next = found.indexes.end;
            for entry in entries {
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
pub(crate) fn collect<A: GroupAt>(content: &Arc<RwLock<Content<A>>>) -> Result<Vec<LogEntry>, StorageError> {
    let mut entries = Vec::new();
    Reader(content.clone()).read(0..u64::MAX, u64::MAX, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

/// Checks that operations continue the log. Anything else is a bug above, and must not reach the medium.
pub(crate) fn assert_continues(state: &LogState, ops: &[LogOp]) {
    let mut last = state.last;
    for op in ops {
        match op {
            LogOp::Append(entries) => {
                for entry in entries {
                    let next = last.map_or(0, |last| last.index + 1);
                    assert_eq!(entry.id.index, next, "an appended entry does not continue the log");
                    last = Some(entry.id);
                }
            }
            LogOp::Truncate { after } => {
                let after = after.or(state.purged);
                let (kept, end) = (after.map(|id| id.index), last.map(|id| id.index));
                assert!(kept <= end, "a truncation lies behind the end of the log");
                last = after;
            }
            LogOp::SaveHardState(_) => {}
        }
    }
}
