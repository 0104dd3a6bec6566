//! openraft's log store over the [`LogWriter`].

use super::leadership::Leadership;
use super::log_writer::{Completion, LogWriter};
use super::types::{
    RaftEntry, RaftLogId, RaftVote, Types, is_sole_voter, to_hard_state, to_log_entry, to_log_id,
    to_raft_entry, to_raft_id, to_vote,
};
use crate::planted::{Bug, planted};
use crate::storage::{LogEntry, StorageError};
use futures_channel::oneshot;
use futures_util::stream::{self, Stream, StreamExt};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

/// Entries that are read in one step, in payload bytes: bounds what a replay keeps in memory.
const READ_BYTES: u64 = 1 << 20;

/// Both openraft's log store and its log reader.
#[derive(Clone)]
pub(super) struct LogStore {
    pub(super) writer: Arc<LogWriter>,
    pub(super) leadership: Arc<Leadership>,
}

impl LogStore {
    /// The entries of `range` in order, read step by step as they are taken.
    pub(super) fn entries(
        &self,
        range: Range<u64>,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + Send + 'static {
        let writer = self.writer.clone();
        let steps = stream::try_unfold((writer, range), async |(writer, range)| {
            let entries = writer.read(range.clone(), READ_BYTES).await.map_err(io::Error::other)?;
            let next = entries.last().map(|entry| entry.id.index + 1);
            io::Result::Ok(next.map(|next| (entries, (writer, next..range.end))))
        });
        steps.flat_map(|step: io::Result<Vec<LogEntry>>| {
            let entries: Vec<io::Result<RaftEntry>> = match step {
                Ok(entries) => entries.into_iter().map(to_raft_entry).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(entries)
        })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries(half_open(range)).boxed()
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let entries: Vec<io::Result<RaftEntry>> = self.entries(half_open(range)).collect().await;
        entries.into_iter().collect()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        let entries = self.writer.read(start..end, READ_BYTES).await.map_err(io::Error::other)?;
        entries.into_iter().map(to_raft_entry).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(to_vote(self.writer.state().hard_state))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.writer.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(to_raft_id),
            last_log_id: state.last.map(to_raft_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (done, outcome) = completion();
        self.writer.save_hard_state(to_hard_state(vote), done);
        durable(outcome).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        self.writer.save_committed(committed.as_ref().map(to_log_id));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.writer.state().committed.map(to_raft_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let watch_membership = |entry: &RaftEntry| {
            if let EntryPayload::Membership(membership) = &entry.payload {
                let sole = is_sole_voter(membership, self.leadership.node_id());
                self.leadership.membership_appended(entry.log_id.index, sole);
            }
        };
        let entries = entries.into_iter().inspect(watch_membership).map(to_log_entry).collect();
        let done = move |outcome: Result<(), StorageError>| {
            callback.io_completed(outcome.map_err(io::Error::other));
        };
        if planted(Bug::AckBeforeDurable) {
            self.writer.append(entries, Box::new(drop));
            done(Ok(()));
            return Ok(());
        }
        self.writer.append(entries, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let (done, outcome) = completion();
        self.writer.truncate(last.as_ref().map(to_log_id), done);
        durable(outcome).await
    }

    async fn purge(&mut self, up_to: RaftLogId) -> io::Result<()> {
        self.writer.purge(to_log_id(&up_to));
        Ok(())
    }
}

type Outcome = oneshot::Receiver<Result<(), StorageError>>;

fn completion() -> (Completion, Outcome) {
    let (sender, receiver) = oneshot::channel();
    // Nobody waits any more if the outcome cannot be sent.
    let done = Box::new(move |outcome| drop(sender.send(outcome)));
    (done, receiver)
}

async fn durable(outcome: Outcome) -> io::Result<()> {
    outcome.await.map_err(io::Error::other)?.map_err(io::Error::other)
}

fn half_open(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
