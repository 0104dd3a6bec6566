//! All that a node holds at one moment, for whoever copies it elsewhere.
//!
//! # Invariants
//! - The moment lies between two log entries: revision, compact revision, leases and log id belong together.
//! - While the view lives, every record that it shows stays readable: nothing of it is pruned or reclaimed. Whatever was
//!   dead at the view's compact revision is not shown, whether it is still stored or not, so that two walks over the
//!   view see the same.
//! - Where a snapshot of another member replaces what the node holds, the view ends with an error, unless all that it shows
//!   is still there.
//! - Memory is bounded by a page, and 24 bytes a record (twice that while the list grows) for [`SnapshotView::measure`].

use super::Node;
use super::failure::Failure;
use super::values::ValueStore;
use crate::error::Error;
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::state::{LeaseInfo, ReadPin, State, StateReader};
use crate::storage::{DirectoryEntry, LogId, SnapshotWriter};
use coffer_runtime::unblock;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes that a record counts for beside its key and value, so that a page of empty ones has an end as well.
const RECORD_BYTES: usize = 64;
/// Directory entries between two looks at whether the node still runs.
const CHECK_EVERY: usize = 4096;

/// A pinned view of a node. Its calls block on the medium: not for threads of connections.
#[derive(Debug)]
pub struct SnapshotView {
    revision: i64,
    compact_revision: i64,
    applied: LogId,
    leases: Vec<(LeaseId, LeaseInfo)>,
    reader: StateReader,
    values: Arc<ValueStore>,
    failure: Arc<Failure>,
    _history: ReadPin,
}

impl Node {
    /// A view of everything that the node holds now. Holds back reclaiming while it lives.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn snapshot_view(&self) -> Result<SnapshotView, Error> {
        self.inner.check()?;
        let (state, reader) = (Arc::clone(&self.inner.state), self.inner.reader.clone());
        let (values, failure) = (Arc::clone(&self.inner.values), Arc::clone(&self.inner.failure));
        // Away from the caller's thread: the state is locked for as long as an entry takes to be applied.
        let taken = unblock(move || SnapshotView::take(&state.lock(), &reader, &values, &failure));
        taken.await.map_err(|error| Error::Fatal(error.to_string()))
    }
}

impl SnapshotView {
    /// A view of what `state`, which is between two log entries, holds.
    pub(super) fn take(
        state: &State,
        reader: &StateReader,
        values: &Arc<ValueStore>,
        failure: &Arc<Failure>,
    ) -> Self {
        let history = reader.pin_history();
        Self {
            revision: reader.revision(),
            compact_revision: history.revision(),
            applied: state.applied().unwrap_or_default(),
            leases: reader.lease_infos(),
            reader: reader.clone(),
            values: Arc::clone(values),
            failure: Arc::clone(failure),
            _history: history,
        }
    }

    /// The newest revision of the view.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The oldest readable revision of the view; 0 if the history was never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The last log entry whose effects the view shows.
    pub fn applied(&self) -> LogId {
        self.applied
    }

    /// All leases, ascending.
    pub fn leases(&self) -> &[(LeaseId, LeaseInfo)] {
        &self.leases
    }

    /// Begins a file of what the view shows.
    pub(super) fn writer(&self) -> Result<Box<dyn SnapshotWriter>, Error> {
        // Not a fault of the node: one that cannot make a snapshot goes on.
        Ok(self.values.records().snapshot_writer()?)
    }

    /// A number for each record of the view, in revision order, that `of` makes from the key and what the directory
    /// says. Reads no value.
    ///
    /// # Errors
    /// The medium failed, or the node has stopped; [`Error::Compacted`] if a snapshot of another member took away what the
    /// view shows.
    pub fn measure(
        &self,
        of: &mut dyn FnMut(&[u8], &DirectoryEntry) -> u32,
    ) -> Result<Vec<(Revision, u32)>, Error> {
        // What is in memory first: what is flushed meanwhile is then seen twice, and not missed.
        let unflushed = self.values.unflushed_up_to(self.revision);
        let mut measured = Vec::with_capacity(unflushed.len());
        for record in unflushed {
            let entry = DirectoryEntry::from(&*record);
            if self.shows(&record.key, entry.revision, entry.tombstone) {
                measured.push((entry.revision, of(&record.key, &entry)));
            }
        }
        let (mut seen, mut stopped) = (0usize, Ok(()));
        let walked = self.values.records().directory(&mut |key, entry| {
            seen += 1;
            if seen.is_multiple_of(CHECK_EVERY) {
                stopped = self.failure.check();
            }
            if self.shows(key, entry.revision, entry.tombstone) {
                measured.push((entry.revision, of(key, entry)));
            }
            if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        walked.map_err(|error| self.fault(error.into()))?;
        stopped?;
        self.values.check_not_replaced(self.compact_revision)?;
        measured.sort_unstable_by_key(|(revision, _)| *revision);
        measured.dedup_by_key(|(revision, _)| *revision);
        Ok(measured)
    }

    /// The next records of the view, the first of them at or after `from`, until about `bytes_max` are together; at
    /// least one, unless there is none any more.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn page(&self, from: Revision, bytes_max: usize) -> Result<Vec<Record>, Error> {
        self.failure.check()?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        let scanned = self.values.scan(from.main, self.revision, &mut |record| {
            if record.revision >= from && self.shows(&record.key, record.revision, record.tombstone) {
                bytes += record.payload_bytes() + RECORD_BYTES;
                page.push(record.clone());
            }
            if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        scanned.map_err(|error| self.fault(error.into()))?;
        self.values.check_not_replaced(self.compact_revision)?;
        Ok(page)
    }

    /// Whether a record belongs to the view: it is part of the history from the compact revision on, deletions too, because a
    /// watch may begin there; or what its key shows there.
    fn shows(&self, key: &[u8], revision: Revision, tombstone: bool) -> bool {
        if revision.main >= self.compact_revision {
            return revision.main <= self.revision;
        }
        let visible = || self.reader.get(key, self.compact_revision);
        !tombstone && visible().is_some_and(|version| version.revision == revision)
    }

    /// A local fault stops the node.
    fn fault(&self, error: Error) -> Error {
        self.failure.set(error.clone());
        error
    }
}
