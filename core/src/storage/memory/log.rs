//! The log of a memory disk.
//!
//! [`LogContent`] is what a restart finds. Steps that were not synced wait beside it, in order, and a crash keeps a
//! prefix of them.

use super::faults::{Operation, Strike};
use super::{Medium, Session};
use crate::storage::conformance::{Fault, LogIo};
use crate::storage::{
    Finding, HardState, Inspector, Log, LogEntry, LogId, LogOp, LogReader, LogState, RewriteProgress,
    StorageError,
};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

const PATH: &str = "mem:log";

/// The log half of an open [`MemoryDisk`](super::MemoryDisk).
#[derive(Debug)]
pub struct MemoryLog {
    medium: Arc<Medium>,
    session: Arc<Session>,
    /// As found at opening.
    state: LogState,
    poisoned: Option<String>,
}

/// The log as it lies on the disk.
#[derive(Debug, Default)]
pub(super) struct LogImage {
    durable: LogContent,
    /// Written but not synced, in order.
    pending: Vec<Step>,
    /// What readers may no longer see; ahead of `durable.purged` while a purge is pending.
    hidden: Option<LogId>,
    io: LogIo,
    /// Index of an entry that no longer is what was written.
    damaged: Option<u64>,
}

#[derive(Debug, Default)]
struct LogContent {
    /// Contiguous indexes, the first one above `purged`.
    entries: VecDeque<LogEntry>,
    bytes: u64,
    purged: Option<LogId>,
    hard_state: HardState,
    committed: Option<LogId>,
    /// How many truncations there were: tells readers that what they see changed.
    truncations: u64,
}

/// The smallest change that happens or does not.
#[derive(Clone, Debug)]
enum Step {
    Append(LogEntry),
    Truncate(Option<LogId>),
    HardState(HardState),
    Committed(LogId),
    Purge(LogId),
}

impl MemoryLog {
    pub(super) fn new(medium: Arc<Medium>, session: Arc<Session>, state: LogState) -> Self {
        Self { medium, session, state, poisoned: None }
    }

    fn check(&self) -> Result<(), StorageError> {
        self.session.check()?;
        match &self.poisoned {
            Some(reason) => Err(StorageError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, strike: Strike) -> StorageError {
        if !strike.error.is_no_room() {
            self.poisoned = Some(strike.error.to_string());
        }
        strike.error
    }
}

impl Log for MemoryLog {
    fn state(&self) -> LogState {
        self.state
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        let medium = Arc::clone(&self.medium);
        let mut image = medium.log.write();
        // Under the lock, because a power cut may have come while this waited for it.
        self.check()?;
        image.check_continues(ops);
        let mut steps = steps(ops, committed);
        if let Err(strike) = medium.mutate(Operation::Write, PATH) {
            if strike.fault == Fault::ShortWrite {
                steps.truncate(steps.len() / 2);
                image.pending.append(&mut steps);
            }
            return Err(self.poison(strike));
        }
        image.io.writes += 1;
        image.pending.append(&mut steps);
        if let Err(strike) = medium.mutate(Operation::Sync, PATH) {
            if strike.fault == Fault::Error {
                // As a page cache does: what could not be written back is forgotten.
                let kept = image.pending.len() / 2;
                image.pending.truncate(kept);
            }
            return Err(self.poison(strike));
        }
        image.io.syncs += 1;
        image.settle();
        Ok(())
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        let mut image = self.medium.log.write();
        self.check()?;
        if image.hidden >= Some(up_to) {
            return Ok(());
        }
        image.hidden = Some(up_to);
        image.pending.push(Step::Purge(up_to));
        if !self.medium.purges_lazily {
            image.settle();
        }
        Ok(())
    }

    /// Memory has no keys.
    fn rewrite(&mut self, _: u64) -> Result<RewriteProgress, StorageError> {
        self.check()?;
        Ok(RewriteProgress::default())
    }

    /// Memory gives everything back at once.
    fn trim(&mut self) -> Result<bool, StorageError> {
        self.check()?;
        Ok(false)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(MemoryLogReader { medium: self.medium.clone(), session: Arc::downgrade(&self.session) })
    }

    fn disk_bytes(&self) -> u64 {
        self.medium.log.read().durable.bytes
    }
}

#[derive(Debug)]
struct MemoryLogReader {
    medium: Arc<Medium>,
    /// A reader does not keep the store open.
    session: Weak<Session>,
}

impl LogReader for MemoryLogReader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        match self.session.upgrade() {
            Some(session) => session.check()?,
            None => return Err(StorageError::Poisoned { reason: "the store was closed".into() }),
        }
        self.medium.faults.read("read", PATH)?;
        let truncations = self.medium.log.read().durable.truncations;
        let (mut next, mut bytes, mut begun) = (range.start, 0u64, false);
        while next < range.end {
            // One entry per lock hold: the visitor may take its time.
            let found = self.medium.log.read().first_visible(next, truncations);
            let Some(entry) = found.filter(|entry| entry.id.index < range.end) else { break };
            if begun && entry.id.index != next {
                break;
            }
            (next, begun) = (entry.id.index + 1, true);
            bytes += entry.payload.len() as u64;
            if visit(entry).is_break() || bytes >= bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError> {
        let mut entries: Vec<(u64, u64)> = Vec::new();
        self.read(0..u64::MAX, u64::MAX, &mut |entry| {
            entries.push((entry.id.index, entry_bytes(&entry)));
            ControlFlow::Continue(())
        })?;
        inspector.expect(entries.iter().map(|(_, bytes)| bytes).sum());
        let damaged = self.medium.log.read().damaged;
        for (index, bytes) in entries {
            if damaged == Some(index) {
                inspector.found(Finding::Damage(damage_at(index)));
            }
            if inspector.checked(bytes).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn damage_at(index: u64) -> StorageError {
    StorageError::Corrupt {
        path: PATH.into(),
        offset: index,
        expected: "the entry that was written".into(),
        found: "damage".into(),
    }
}

fn steps(ops: &[LogOp], committed: Option<LogId>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(ops.len() + 1);
    for op in ops {
        match op {
            LogOp::Append(entries) => steps.extend(entries.iter().cloned().map(Step::Append)),
            LogOp::Truncate { after } => steps.push(Step::Truncate(*after)),
            LogOp::SaveHardState(state) => steps.push(Step::HardState(*state)),
        }
    }
    steps.extend(committed.map(Step::Committed));
    steps
}

impl LogImage {
    /// A restart: what was pending is on the disk, unless a crash decided otherwise before.
    pub(super) fn recover(&mut self) -> Result<LogState, StorageError> {
        self.settle();
        if let Some(index) = self.damaged {
            return Err(damage_at(index));
        }
        self.hidden = self.durable.purged;
        Ok(self.durable.state())
    }

    pub(super) fn crash(&mut self, rng: &mut SmallRng) {
        let kept = rng.random_range(0..=self.pending.len());
        self.pending.truncate(kept);
        self.settle();
    }

    pub(super) fn damage(&mut self, rng: &mut SmallRng) -> Option<String> {
        let entries = &self.durable.entries;
        let (first, last) = (entries.front()?.id.index, entries.back()?.id.index);
        let index = rng.random_range(first..=last);
        self.damaged = Some(index);
        Some(format!("log entry {index}"))
    }

    pub(super) fn io(&self) -> LogIo {
        self.io
    }

    /// Makes everything that is pending durable.
    fn settle(&mut self) {
        for step in self.pending.drain(..) {
            self.durable.apply(step);
        }
    }

    /// The last id as the writer sees it: pending purges count.
    fn last(&self) -> Option<LogId> {
        self.durable.last().max(self.hidden)
    }

    /// The first entry at or above `index` that is not purged, unless a truncation came after the first
    /// `truncations`.
    fn first_visible(&self, index: u64, truncations: u64) -> Option<LogEntry> {
        if self.durable.truncations != truncations {
            return None;
        }
        let index = index.max(self.hidden.map_or(0, |hidden| hidden.index + 1));
        self.durable.first_from(index).cloned()
    }

    /// # Panics
    /// If the operations do not continue the log: a bug of the caller.
    fn check_continues(&self, ops: &[LogOp]) {
        let mut last = self.last();
        for op in ops {
            match op {
                LogOp::Append(entries) => {
                    for entry in entries {
                        let expected = last.map_or(0, |last| last.index + 1);
                        assert_eq!(entry.id.index, expected, "an append leaves a gap in the log");
                        last = Some(entry.id);
                    }
                }
                LogOp::Truncate { after } => {
                    assert!(*after <= last, "a truncation keeps {after:?} of a log that ends at {last:?}");
                    last = (*after).max(self.hidden);
                }
                LogOp::SaveHardState(_) => {}
            }
        }
    }
}

impl LogContent {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Append(entry) => {
                self.bytes += entry_bytes(&entry);
                self.entries.push_back(entry);
            }
            Step::Truncate(after) => {
                self.truncations += 1;
                while let Some(last) = self.entries.pop_back_if(|last| Some(last.id) > after) {
                    self.bytes -= entry_bytes(&last);
                }
            }
            Step::HardState(state) => self.hard_state = state,
            Step::Committed(committed) => self.committed = Some(committed),
            Step::Purge(up_to) => self.purge(up_to),
        }
    }

    fn purge(&mut self, up_to: LogId) {
        while let Some(first) = self.entries.pop_front_if(|first| first.id.index <= up_to.index) {
            self.bytes -= entry_bytes(&first);
        }
        self.purged = self.purged.max(Some(up_to));
        // A burst leaves no hollow queue behind.
        self.entries.shrink_to(2 * self.entries.len() + 64);
    }

    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.id).or(self.purged)
    }

    /// The first entry at or above `index`.
    fn first_from(&self, index: u64) -> Option<&LogEntry> {
        let first = self.entries.front()?.id.index;
        self.entries.get(usize::try_from(index.saturating_sub(first)).ok()?)
    }

    fn state(&self) -> LogState {
        LogState {
            purged: self.purged,
            last: self.last(),
            hard_state: self.hard_state,
            committed: self.committed.min(self.last()),
        }
    }
}

/// What an entry takes in memory.
fn entry_bytes(entry: &LogEntry) -> u64 {
    (size_of::<LogEntry>() + entry.payload.len()) as u64
}
