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
use super::types::{Types, decode_membership, is_sole_voter};
use crate::Error;
use crate::error::panic_text;
use crate::storage::{EntryKind, LogEntry, LogId, StorageError};
use futures_channel::oneshot;
use openraft::storage::ApplyResponder;
use parking_lot::Mutex;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

/// Committed entries to be applied, with those who wait for each.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<LogEntry>,
    pub(super) waiters: Vec<ApplyResponder<Types>>,
}

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), StorageError>>,
}

/// Shared handle to the machine's thread.
pub(super) struct Applier {
    state: Arc<State>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    applied: Mutex<Option<LogId>>,
    log: Arc<LogWriter>,
    leadership: Arc<Leadership>,
    health: Arc<Health>,
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
        let state = Arc::new(State { applied, log, leadership, health });
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

    /// Applies a batch and ends when the machine is done with it.
    pub(super) async fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        let (done, outcome) = oneshot::channel();
        if let Some(jobs) = &*self.jobs.lock() {
            // If the thread is gone, the job with its `done` is dropped, and that is the answer.
            let _ = jobs.send(Job { batch, done });
        }
        outcome
            .await
            .unwrap_or_else(|_| Err(StorageError::Poisoned { reason: "the machine is closed".into() }))
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
        for Job { batch, done } in jobs {
            let outcome = self.apply(batch);
            // Nobody waits any more if the outcome cannot be sent.
            let _ = done.send(outcome);
        }
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StorageError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let machine = &mut *self.machine;
        let outcome = catch_unwind(AssertUnwindSafe(|| machine.apply(&batch.entries)));
        let fault = match outcome {
            Ok(Ok(())) => {
                self.advance(&batch.entries);
                batch.waiters.into_iter().for_each(|waiter| waiter.send(()));
                return Ok(());
            }
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
        *state.applied.lock() = Some(last.id);
        state.log.applied(last.id);
        for entry in entries {
            match entry.kind {
                EntryKind::Normal => {}
                EntryKind::Blank => state.leadership.blank_applied(entry.id.term),
                EntryKind::Membership => {
                    let membership = decode_membership(entry.payload.clone());
                    let sole = membership.is_ok_and(|it| is_sole_voter(&it, state.leadership.node_id()));
                    state.leadership.membership_applied(entry.id.index, sole);
                }
            }
        }
        if entries.iter().any(|entry| entry.kind != EntryKind::Normal) {
            state.health.poke();
        }
    }
}
