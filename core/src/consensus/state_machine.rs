//! openraft's state machine over the [`Applier`].
//!
//! The snapshot that openraft is told of when it may purge stands for the flushed records: it has no content, only a
//! position. One that a member needs is taken from the machine when it is asked for, at the entry applied last.
//!
//! openraft hears that entries are applied once the machine's thread *has* them: to wake the raft thread for each batch
//! would cost more than the batch. Nobody takes openraft's word for it: proposers, reads and snapshots ask the
//! [`Applier`], and openraft itself purges by what is flushed.
//!
//! # Invariants
//! - The machine's thread has at most one batch, and the next one waits here until that is done.
//! - After a batch that failed none is handed over. Raft ends without being told here: the [`Applier`] tells the fault to
//!   [`Health`](super::health::Health), which ends it.

use super::applier::{Applier, Asked, Batch};
use super::log_store::LogStore;
use super::snapshots::{Content, Snapshot};
use super::types::{
    RaftLogId, RaftMembership, RaftSnapshot, RaftSnapshotMeta, RaftStoredMembership, Types,
    decode_membership, to_log_entry, to_log_id, to_raft_id,
};
use crate::planted::{Bug, planted};
use crate::storage::LogId;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, mem};

/// Entries and payload bytes that the machine gets at once, at most: bounds what a replay keeps in memory.
const BATCH_ENTRIES_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Hands committed entries to the machine's thread.
pub(super) struct StateMachine {
    applier: Arc<Applier>,
    flushed: Arc<Flushed>,
    /// The last entry that was handed over, and what comes of its batch.
    applied: Option<LogId>,
    under_way: Option<Asked<()>>,
    /// Whether raft runs: before, it asks for a snapshot only to see how far it goes.
    running: Arc<AtomicBool>,
}

impl StateMachine {
    pub(super) fn new(applier: Arc<Applier>, flushed: Arc<Flushed>, running: Arc<AtomicBool>) -> Self {
        let applied = applier.applied();
        Self { applier, flushed, applied, under_way: None, running }
    }

    /// Applies what is known to be committed, read in steps of limited size. At a start: openraft would read 64 entries
    /// in one go, however large they are.
    pub(super) async fn replay(&mut self, log: &LogStore) -> io::Result<()> {
        let again = u64::from(planted(Bug::EntryAppliedTwice));
        let start = self.applied.map_or(0, |applied| applied.index + 1 - again);
        let end = log.writer.state().committed.map_or(0, |committed| committed.index + 1);
        let entries = log.entries(start..end.max(start)).map(|entry| Ok((entry?, None)));
        self.apply(entries.boxed()).await?;
        self.settle().await
    }

    async fn hand_over(&mut self, batch: &mut Batch) -> io::Result<()> {
        let batch = mem::take(batch);
        let Some(last) = batch.entries.last() else { return Ok(()) };
        let last = last.id;
        self.settle().await?;
        self.under_way = Some(self.applier.apply(batch));
        self.applied = Some(last);
        Ok(())
    }

    /// Ends once the machine is done with what it has.
    async fn settle(&mut self) -> io::Result<()> {
        match self.under_way.take() {
            Some(under_way) => under_way.await.map_err(io::Error::other),
            None => Ok(()),
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Content;
    type SnapshotBuilder = Arc<Flushed>;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        Ok((self.applied.map(to_raft_id), self.flushed.newest_membership()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(entry) = entries.next().await {
            let (entry, waiter) = entry?;
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.flushed.membership_applied(entry.log_id, membership.clone());
            }
            let entry = to_log_entry(entry);
            bytes += entry.payload.len();
            batch.entries.push(entry);
            batch.waiters.extend(waiter);
            if batch.entries.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
                bytes = 0;
                self.hand_over(&mut batch).await?;
            }
        }
        self.hand_over(&mut batch).await
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Arc<Flushed>> {
        Some(self.flushed.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Arc<Flushed> {
        self.flushed.clone()
    }

    async fn install_snapshot(&mut self, meta: &RaftSnapshotMeta, content: Content) -> io::Result<()> {
        let (Content::Incoming(staged), Some(last)) = (content, &meta.last_log_id) else {
            return Err(io::Error::other("a snapshot without content cannot be installed"));
        };
        let last = to_log_id(last);
        self.settle().await?;
        self.applier.install(staged, last).await.map_err(io::Error::other)?;
        self.applied = Some(last);
        self.flushed.installed(last, meta.last_membership.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        if !self.running.load(Ordering::Acquire) {
            return Ok(self.flushed.snapshot());
        }
        let taken = self.applier.snapshot().await.map_err(io::Error::other)?;
        taken.map(to_raft_snapshot).transpose()
    }
}

fn to_raft_snapshot(snapshot: Snapshot) -> io::Result<RaftSnapshot> {
    let (at, membership) = snapshot.membership;
    let membership = decode_membership(membership).map_err(io::Error::other)?;
    let meta = RaftSnapshotMeta {
        last_log_id: Some(to_raft_id(snapshot.last)),
        last_membership: RaftStoredMembership::new(Some(to_raft_id(at)), membership),
    };
    Ok(RaftSnapshot { meta, snapshot: Content::Outgoing(snapshot.content) })
}

/// Up to where the records are flushed, and the memberships that were in force from there on.
pub(super) struct Flushed {
    state: Mutex<FlushedState>,
}

struct FlushedState {
    up_to: Option<LogId>,
    /// Ascending; the first one was in force at `up_to`.
    memberships: Vec<RaftStoredMembership>,
}

impl Flushed {
    /// At a start, what the machine holds is what was flushed.
    pub(super) fn new(up_to: Option<LogId>, membership: RaftStoredMembership) -> Self {
        Self { state: Mutex::new(FlushedState { up_to, memberships: vec![membership] }) }
    }

    /// The records are durable up to `up_to`. `false` if that is no news.
    pub(super) fn advance(&self, up_to: LogId) -> bool {
        let mut state = self.state.lock();
        if state.up_to >= Some(up_to) {
            return false;
        }
        state.up_to = Some(up_to);
        let in_force = state
            .memberships
            .iter()
            .rposition(|membership| membership.log_id().as_ref().is_none_or(|id| to_log_id(id) <= up_to));
        state.memberships.drain(..in_force.unwrap_or(0));
        true
    }

    /// A snapshot was installed: its records are durable up to its last entry.
    fn installed(&self, last: LogId, membership: RaftStoredMembership) {
        *self.state.lock() = FlushedState { up_to: Some(last), memberships: vec![membership] };
    }

    fn membership_applied(&self, id: RaftLogId, membership: RaftMembership) {
        self.state.lock().memberships.push(RaftStoredMembership::new(Some(id), membership));
    }

    fn newest_membership(&self) -> RaftStoredMembership {
        self.state.lock().memberships.last().cloned().unwrap_or_default()
    }

    fn snapshot(&self) -> Option<RaftSnapshot> {
        let state = self.state.lock();
        let up_to = state.up_to?;
        let last_membership = state.memberships.first().cloned().unwrap_or_default();
        let meta = RaftSnapshotMeta { last_log_id: Some(to_raft_id(up_to)), last_membership };
        Some(RaftSnapshot { meta, snapshot: Content::Position })
    }
}

impl RaftSnapshotBuilder<Types> for Arc<Flushed> {
    type SnapshotData = Content;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        self.snapshot().ok_or_else(|| io::Error::other("nothing has been flushed"))
    }
}
