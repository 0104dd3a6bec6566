//! The thread that owns the [`Machine`]: committed entries reach it in order, batch by batch.
//!
//! A proposer is told here, right after its entry was applied, so that its answer does not wait for the raft thread.
//!
//! # Invariants
//!
//! - Entries are applied once, in the order of their indexes, without a gap.
//! - After the first error or panic the machine is never called again.

use super::Machine;
use super::health::Health;
use super::leadership::Leadership;
use super::log_writer::LogWriter;
use super::snapshots::{Snapshot, Staged};
use super::types::{Types, decode_membership, is_sole_voter};
use crate::Error;
use crate::error::panic_text;
use crate::storage::{EntryKind, LogEntry, LogId, StorageError};
use bytes::Bytes;
use event_listener::Event;
use futures_channel::oneshot;
use openraft::storage::ApplyResponder;
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

/// Committed entries to be applied, with those who wait for each.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<LogEntry>,
    pub(super) waiters: Vec<ApplyResponder<Types>>,
}

/// What the thread is asked for, and whom it tells.
enum Job {
    Apply(Batch, Done<()>),
    Snapshot(Done<Option<Snapshot>>),
    Install(Staged, LogId, Done<()>),
}

type Done<T> = oneshot::Sender<Result<T, StorageError>>;

/// What comes of a job.
pub(super) struct Asked<T>(oneshot::Receiver<Result<T, StorageError>>);

impl<T> Future for Asked<T> {
    type Output = Result<T, StorageError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = |_| Err(StorageError::Poisoned { reason: "the machine is closed".into() });
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or_else(closed))
    }
}

/// Shared handle to the machine's thread.
pub(super) struct Applier {
    state: Arc<State>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    applied: Mutex<Option<LogId>>,
    /// Told whenever `applied` moves.
    advanced: Event,
    log: Arc<LogWriter>,
    leadership: Arc<Leadership>,
    health: Arc<Health>,
}

impl State {
    fn applied_up_to(&self, last: LogId) {
        *self.applied.lock() = Some(last);
        self.log.applied(last);
        self.advanced.notify(usize::MAX);
    }

    fn membership_applied(&self, index: u64, payload: Bytes) {
        let membership = decode_membership(payload);
        let sole = membership.is_ok_and(|it| is_sole_voter(&it, self.leadership.node_id()));
        self.leadership.membership_applied(index, sole);
    }
}

impl Applier {
    /// Starts the thread.
    pub(super) fn start(
        machine: Box<dyn Machine>,
        log: Arc<LogWriter>,
        leadership: Arc<Leadership>,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        let applied = Mutex::new(machine.applied());
        let state = Arc::new(State { applied, advanced: Event::new(), log, leadership, health });
        let (jobs, queue) = mpsc::channel();
        let worker = Worker { state: state.clone(), machine, failed: None };
        let thread =
            thread::Builder::new().name("coffer-apply".to_owned()).spawn(move || worker.run(queue))?;
        Ok(Self { state, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// The newest entry that the machine has applied.
    pub(super) fn applied(&self) -> Option<LogId> {
        *self.state.applied.lock()
    }

    /// Has a batch applied after those before it. Ends when the machine is done with it; goes on if nobody waits.
    pub(super) fn apply(&self, batch: Batch) -> Asked<()> {
        self.ask(|done| Job::Apply(batch, done))
    }

    /// What the machine holds now; `None` while it holds nothing.
    pub(super) async fn snapshot(&self) -> Result<Option<Snapshot>, StorageError> {
        self.ask(Job::Snapshot).await
    }

    /// Has the machine replaced by a snapshot that ends at `last`.
    pub(super) async fn install(&self, staged: Staged, last: LogId) -> Result<(), StorageError> {
        self.ask(|done| Job::Install(staged, last, done)).await
    }

    /// Ends once the machine has applied the entry at `index`.
    pub(super) async fn wait_applied(&self, index: u64) {
        let is_applied = || self.applied().is_some_and(|applied| applied.index >= index);
        while !is_applied() {
            let listener = self.state.advanced.listen();
            if is_applied() {
                return;
            }
            listener.await;
        }
    }

    fn ask<T>(&self, job: impl FnOnce(Done<T>) -> Job) -> Asked<T> {
        let (done, outcome) = oneshot::channel();
        if let Some(jobs) = &*self.jobs.lock() {
            // If the thread is gone, the job with its `done` is dropped, and that is the answer.
            let _ = jobs.send(job(done));
        }
        Asked(outcome)
    }

    /// Lets the thread finish what it is applying, drops the machine and joins. Idempotent.
    pub(super) fn shutdown(&self) {
        drop(self.jobs.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Panics of the machine are caught where they are reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// What the thread owns.
struct Worker {
    state: Arc<State>,
    machine: Box<dyn Machine>,
    failed: Option<StorageError>,
}

impl Worker {
    fn run(mut self, jobs: mpsc::Receiver<Job>) {
        for job in jobs {
            // Nobody waits any more if an outcome cannot be sent.
            match job {
                Job::Apply(batch, done) => drop(done.send(self.apply(batch))),
                Job::Snapshot(done) => drop(done.send(self.guard(|machine| machine.snapshot()))),
                Job::Install(staged, last, done) => drop(done.send(self.install(staged, last))),
            }
        }
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StorageError> {
        self.guard(|machine| machine.apply(&batch.entries))?;
        self.advance(&batch.entries);
        batch.waiters.into_iter().for_each(|waiter| waiter.send(()));
        Ok(())
    }

    fn install(&mut self, staged: Staged, last: LogId) -> Result<(), StorageError> {
        // The records must not be durable ahead of what the log was asked for before.
        if let Some(end) = self.state.log.state().last {
            self.state.log.barrier(end)?;
        }
        self.guard(|machine| {
            machine.install(staged)?;
            let applied = machine.applied();
            if applied == Some(last) {
                return Ok(());
            }
            let reason = format!("a snapshot up to {last:?} holds what was applied up to {applied:?}");
            Err(StorageError::Poisoned { reason })
        })?;
        self.state.applied_up_to(last);
        let membership = self.machine.membership();
        if let Some((at, payload)) = membership {
            self.state.membership_applied(at.index, payload);
        }
        self.state.health.poke();
        Ok(())
    }

    /// Has the machine do something, unless it failed before. A failure or panic is its last.
    fn guard<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Machine) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let machine = &mut *self.machine;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(machine)));
        let fault = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (error.clone(), Error::from(error)),
            Err(panic) => {
                let reason = format!("the state machine panicked: {}", panic_text(&*panic));
                (StorageError::Poisoned { reason: reason.clone() }, Error::Fatal(reason))
            }
        };
        self.failed = Some(fault.0.clone());
        self.state.health.fail(fault.1);
        Err(fault.0)
    }

    /// Publishes what was applied, before anyone is told.
    fn advance(&self, entries: &[LogEntry]) {
        let state = &*self.state;
        let Some(last) = entries.last() else { return };
        state.applied_up_to(last.id);
        for entry in entries {
            match entry.kind {
                EntryKind::Normal => {}
                EntryKind::Blank => state.leadership.blank_applied(entry.id.term),
                EntryKind::Membership => state.membership_applied(entry.id.index, entry.payload.clone()),
            }
        }
        if entries.iter().any(|entry| entry.kind != EntryKind::Normal) {
            state.health.poke();
        }
    }
}
