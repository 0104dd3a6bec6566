//! Applies committed log entries: the only writer of the state.
//!
//! # Invariants
//! - Entries are applied in log order, each once.
//! - The state is locked while an entry is applied, so that a checkpoint taken under the same lock is whole.
//! - Events are published before answers are sent, in revision order.
//! - When a snapshot is installed, readers go from one whole content to another whole content: the record store changes in
//!   one step, then memory is emptied, then the index is exchanged, and then the new revision is published. Both contents
//!   are of one history, so that until the end whoever reads the old one finds it, except for what the new one has
//!   compacted: that is told as such.
//! - Apply waits for room only while the maintenance thread runs: during the replay at a start and after a shutdown
//!   began there is nobody who would make any.

use super::SnapshotView;
use super::counters::{Counters, Tally};
use super::equality::Equality;
use super::failure::Failure;
use super::leases::LeaseKeeper;
use super::maintenance::Maintenance;
use super::member_snapshot::{NodeStaging, Outgoing, Served, StagedSnapshot};
use super::opening::load_state;
use super::proposals::Proposals;
use super::values::ValueStore;
use crate::consensus::Machine;
use crate::consensus::snapshots::{Snapshot, Staged, Staging};
use crate::planted::{Bug, planted};
use crate::state::{Answer, Applied, Outcome, State, StateReader};
use crate::storage::{EntryKind, LogEntry, LogId, StorageError};
use crate::watch::{EventBatch, WatchHub};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Everything that applying touches.
pub(super) struct StateMachine {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) reader: StateReader,
    pub(super) values: Arc<ValueStore>,
    pub(super) proposals: Arc<Proposals>,
    pub(super) hub: Arc<WatchHub>,
    pub(super) leases: Arc<LeaseKeeper>,
    pub(super) maintenance: Arc<Maintenance>,
    pub(super) counters: Arc<Counters>,
    pub(super) failure: Arc<Failure>,
    pub(super) equality: Arc<Equality>,
    pub(super) unflushed_bytes_hard: usize,
}

impl Machine for StateMachine {
    fn applied(&self) -> Option<LogId> {
        self.state.lock().applied()
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        self.state.lock().membership()
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        // Without room on the medium waiting is in vain, and what still comes is little.
        let keep_waiting = || self.maintenance.makes_room() && self.values.records().has_room();
        self.values.wait_below(self.unflushed_bytes_hard, keep_waiting);
        let (began, mut tally) = (Instant::now(), Tally::default());
        // The whole history, because a range inside a txn may have named an old revision.
        let pin = Arc::new(self.reader.pin_history());
        let mut answers = Vec::new();
        let mut events = Vec::new();
        for entry in entries {
            let applied = self.apply_entry(entry)?;
            tally.add(&applied);
            self.leases.changed(&applied.leases);
            if applied.compacted.is_some() {
                self.maintenance.compaction_requested();
            }
            if applied.answers.iter().any(|answer| matches!(answer.result, Ok(Outcome::Alarm { .. }))) {
                self.equality.look_at_alarms();
            }
            events.extend(applied.events);
            answers.extend(applied.answers);
        }
        self.counters.applied(&tally, began.elapsed());
        if !events.is_empty() {
            self.hub.publish(Arc::new(EventBatch { revision: self.reader.revision(), events }));
        }
        self.proposals.answer(answers, |answer| needs_values(answer).then(|| Arc::clone(&pin)));
        self.maintenance.records_added();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let state = self.state.lock();
        let (Some(checkpoint), Some(membership)) = (state.checkpoint(), state.membership()) else {
            return Ok(None);
        };
        let view = SnapshotView::take(&state, &self.reader, &self.values, &self.failure);
        let last = checkpoint.applied;
        let content = Served::new(Outgoing::new(view, checkpoint), Arc::clone(&self.equality));
        Ok(Some(Snapshot { last, membership, content: Box::new(content) }))
    }

    fn staging(&self) -> Arc<dyn Staging> {
        let (records, failure) = (Arc::clone(self.values.records()), Arc::clone(&self.failure));
        Arc::new(NodeStaging { records, failure })
    }

    fn install(&mut self, staged: Staged) -> Result<(), StorageError> {
        let mut staged = staged.downcast::<StagedSnapshot>().expect("what this machine's staging made");
        if planted(Bug::SnapshotConflictKept) {
            self.state.lock().apply_blank(staged.checkpoint.applied);
            return Ok(());
        }
        let old_revision = self.reader.revision();
        // Nothing is flushed or given up meanwhile, and what comes later starts from the new content.
        let _alone = self.maintenance.pause();
        let records = self.values.records();
        self.values.replacing(staged.checkpoint.compact_revision);
        let mut installed = records.install_staged(&staged.checkpoint, &mut staged.records);
        if installed.as_ref().is_err_and(StorageError::is_no_room) {
            records.recover_room()?;
            installed = records.install_staged(&staged.checkpoint, &mut staged.records);
        }
        installed?;
        let next = load_state(records.as_ref()).map_err(|error| StorageError::Format {
            path: "a snapshot of another member".into(),
            reason: error.to_string(),
        })?;
        // Memory goes first: whoever sees the new revision looks for everything in the record store.
        self.values.replaced();
        self.state.lock().replace(next);
        self.equality.replaced();
        let revision = self.reader.revision();
        self.hub.jump_to(revision);
        tracing::info!(old_revision, revision, "took over the content of another member");
        Ok(())
    }
}

impl StateMachine {
    fn apply_entry(&self, entry: &LogEntry) -> Result<Applied, StorageError> {
        let mut state = self.state.lock();
        let applied = match entry.kind {
            EntryKind::Normal => state.apply(entry.id, entry.payload.clone(), self.values.as_ref())?,
            EntryKind::Blank => {
                state.apply_blank(entry.id);
                Applied::default()
            }
            EntryKind::Membership => {
                state.apply_membership(entry.id, entry.payload.clone());
                Applied::default()
            }
        };
        self.equality.applied(entry.id.index, state.chain());
        Ok(applied)
    }
}

/// Whether the answer refers to records that must stay readable until the caller has read them.
fn needs_values(answer: &Answer) -> bool {
    fn refers(outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Range(_) => true,
            Outcome::Put { prev } => prev.is_some(),
            Outcome::DeleteRange { prev, .. } => !prev.is_empty(),
            Outcome::Txn { responses, .. } => responses.iter().any(refers),
            _ => false,
        }
    }
    answer.result.as_ref().is_ok_and(refers)
}
