//! What is left of a cluster that has lost its quorum: the content of one member's closed store, with every entry of its log,
//! whether it was committed or not.
//!
//! Nobody can say of an entry behind the last one that is known to be committed whether it was acknowledged. It is taken:
//! what was acknowledged must not be lost if it is here.
//!
//! # Invariants
//! - Nothing is written.
//! - What was never flushed is in memory until the end: as much as the log holds.

use super::SnapshotView;
use super::failure::Failure;
use super::opening::{gap_between, load_state, members};
use super::restore::Restored;
use super::values::ValueStore;
use crate::error::Error;
use crate::member::Member;
use crate::record::Record;
use crate::revision::Revision;
use crate::storage::{EntryKind, Log, LogEntry, LogId, Records, SnapshotSource, StorageError};
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of log entries, and of records, that are read at a time.
const PAGE_BYTES: usize = 4 << 20;

/// The content of a store.
#[derive(Debug)]
pub struct Remains {
    /// The last entry that it holds.
    pub last: LogId,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogId>,
    /// The members of the cluster, each with whether it has a vote.
    pub members: Vec<(Member, bool)>,
    view: SnapshotView,
}

/// How far a closed store goes; `None` if it holds nothing.
pub fn end_of(log: &dyn Log, records: &dyn Records) -> Option<LogId> {
    log.state().last.max(records.checkpoint().map(|checkpoint| checkpoint.applied))
}

impl Remains {
    /// Reads a closed store: its records, and all of its log applied.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not whole; [`Error::Open`] if it holds nothing; a fault of the medium.
    pub fn read(log: &dyn Log, records: Arc<dyn Records>) -> Result<Self, Error> {
        let stored = records.checkpoint().map(|checkpoint| checkpoint.applied);
        if let Some(wrong) = gap_between(&log.state(), stored) {
            return Err(Error::Corrupt(wrong));
        }
        let mut state = load_state(records.as_ref())?;
        let values = Arc::new(ValueStore::new(records, 0));
        let reader = log.reader();
        let end = log.state().last.map_or(0, |last| last.index + 1);
        loop {
            let next = state.applied().map_or(0, |applied| applied.index + 1);
            let mut page: Vec<LogEntry> = Vec::new();
            reader.read(next..end.max(next), PAGE_BYTES as u64, &mut |entry| {
                page.push(entry);
                ControlFlow::Continue(())
            })?;
            if page.is_empty() {
                break;
            }
            for (expected, entry) in (next..).zip(page) {
                if entry.id.index != expected {
                    return Err(Error::Corrupt(format!("log entry {expected} is missing")));
                }
                match entry.kind {
                    EntryKind::Blank => state.apply_blank(entry.id),
                    EntryKind::Membership => state.apply_membership(entry.id, entry.payload),
                    EntryKind::Normal => drop(state.apply(entry.id, entry.payload, values.as_ref())?),
                }
            }
        }
        let last = state.applied().ok_or_else(|| Error::Open("the store holds nothing".into()))?;
        let members = members(&state)?;
        let view = SnapshotView::take(&state, &state.reader(), &values, &Arc::new(Failure::default()));
        Ok(Self { last, committed: log.state().committed.max(stored), members, view })
    }

    /// What a store that is made of it will hold beside its records.
    pub fn content(&self) -> Restored {
        Restored {
            revision: self.view.revision(),
            compact_revision: self.view.compact_revision(),
            leases: self.view.leases().to_vec(),
        }
    }

    /// Its records, in ascending revision order.
    pub fn records(&self) -> impl SnapshotSource {
        Pages { view: &self.view, next: Some(Revision::first(0)), page: VecDeque::new() }
    }
}

struct Pages<'a> {
    view: &'a SnapshotView,
    /// Where the next page begins; `None` behind the last.
    next: Option<Revision>,
    page: VecDeque<Record>,
}

impl SnapshotSource for Pages<'_> {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        if let (true, Some(from)) = (self.page.is_empty(), self.next) {
            let failed = |error| StorageError::io("read", "the records", io::Error::other(error));
            self.page = self.view.page(from, PAGE_BYTES).map_err(failed)?.into();
            self.next = self
                .page
                .back()
                .map(|last| Revision { sub: last.revision.sub.saturating_add(1), ..last.revision });
        }
        Ok(self.page.pop_front())
    }
}
