//! Runs openraft's own log-store suite over any [`Log`].

use super::leadership::Leadership;
use super::log_store::LogStore;
use super::log_writer::LogWriter;
use super::runtime::RaftRuntime;
use super::types::{RaftLogId, RaftSnapshot, RaftSnapshotMeta, RaftStoredMembership, Types};
use crate::storage::{
    EntryKind, Inspector, Log, LogEntry, LogId, LogOp, LogReader, LogState, RewriteProgress, StorageError,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{AsyncRuntime, EntryPayload, OptionalSend};
use parking_lot::Mutex;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Checks that openraft can rely on the logs that `open` makes, each of them fresh. The cache that hides the medium
/// from reads is off, so that reads reach it as soon as an entry is applied.
///
/// `G` is dropped when its log is no longer needed: the owner of a temporary folder, for example.
///
/// # Panics
/// If the log breaks openraft's rules.
pub fn check_log<G: Send + Sync>(open: impl Fn() -> (G, Box<dyn Log>) + Send + Sync) {
    RaftRuntime::run(Suite::test_all(Builder { open })).expect("the log-store suite of openraft passes");
}

struct Builder<F> {
    open: F,
}

impl<G, F> StoreBuilder<Types, LogStore, Positions, G> for Builder<F>
where
    G: Send + Sync,
    F: Fn() -> (G, Box<dyn Log>) + Send + Sync,
{
    async fn build(&self) -> Result<(G, LogStore, Positions), openraft::StorageError<Types>> {
        let (guard, log) = (self.open)();
        let log = Box::new(Padded { log, empty: true, first: Arc::default() });
        let writer = LogWriter::start(log, None, 0, 0, Arc::default()).expect("a thread can be started");
        let store = LogStore { writer: Arc::new(writer), leadership: Arc::new(Leadership::new(0)) };
        Ok((guard, store, Positions::default()))
    }
}

/// The state machine that the suite wants beside the log: remembers positions only.
#[derive(Default)]
struct Positions {
    position: RaftSnapshotMeta,
    snapshot: Arc<Mutex<Option<RaftSnapshotMeta>>>,
}

impl RaftStateMachine<Types> for Positions {
    type SnapshotData = ();
    type SnapshotBuilder = SnapshotOfPositions;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        Ok((self.position.last_log_id, self.position.last_membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, _) = entry?;
            self.position.last_log_id = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.position.last_membership = RaftStoredMembership::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotOfPositions {
        SnapshotOfPositions { position: self.position.clone(), newest: self.snapshot.clone() }
    }

    async fn install_snapshot(&mut self, meta: &RaftSnapshotMeta, _content: ()) -> io::Result<()> {
        self.position = meta.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot<()>>> {
        Ok(self.snapshot.lock().clone().map(|meta| RaftSnapshot { meta, snapshot: () }))
    }
}

struct SnapshotOfPositions {
    position: RaftSnapshotMeta,
    newest: Arc<Mutex<Option<RaftSnapshotMeta>>>,
}

impl RaftSnapshotBuilder<Types> for SnapshotOfPositions {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot<()>> {
        *self.newest.lock() = Some(self.position.clone());
        Ok(RaftSnapshot { meta: self.position.clone(), snapshot: () })
    }
}

/// Lets a log begin at any index, as some of the suite's do: a real one begins with the entry that founds the cluster,
/// at index 0. What is missing before the first entry is padded with blank entries that nobody can read.
struct Padded {
    log: Box<dyn Log>,
    empty: bool,
    first: Arc<AtomicU64>,
}

impl Log for Padded {
    fn state(&self) -> LogState {
        self.log.state()
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        let mut padded = Vec::new();
        for op in ops {
            match op {
                LogOp::Append(entries) => {
                    if let (Some(first), true) = (entries.first(), self.empty) {
                        let blank = |index| LogEntry {
                            id: LogId { term: 0, index },
                            kind: EntryKind::Blank,
                            payload: Bytes::new(),
                        };
                        padded.push(LogOp::Append((0..first.id.index).map(blank).collect()));
                        self.first.store(first.id.index, Ordering::Release);
                        self.empty = false;
                    }
                }
                LogOp::Truncate { after } => self.empty = after.is_none(),
                LogOp::SaveHardState(_) => {}
            }
            padded.push(op.clone());
        }
        self.log.write(&padded, committed)
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.empty = false;
        self.log.purge(up_to)
    }

    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.log.rewrite(copy_bytes_max)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.log.trim()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(PaddedReader { log: self.log.reader(), first: self.first.clone() })
    }

    fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }
}

struct PaddedReader {
    log: Arc<dyn LogReader>,
    first: Arc<AtomicU64>,
}

impl LogReader for PaddedReader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let start = range.start.max(self.first.load(Ordering::Acquire));
        self.log.read(start..range.end.max(start), bytes_max, visit)
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError> {
        self.log.verify(inspector)
    }
}
