//! Reads what has left memory from the log's medium, on a thread of its own: the raft thread never waits for a disk.
//!
//! Needed after a restart and for members that are far behind; the thread starts with the first such read.

use crate::error::panic_text;
use crate::storage::{LogEntry, LogReader, StorageError};
use futures_channel::oneshot;
use parking_lot::Mutex;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

/// Hands reads to its thread.
pub(super) struct DiskReader {
    log: Arc<dyn LogReader>,
    worker: Mutex<State>,
}

enum State {
    NotStarted,
    Running { jobs: mpsc::Sender<Job>, thread: JoinHandle<()> },
    Closed,
}

struct Job {
    range: Range<u64>,
    bytes_max: u64,
    answer: oneshot::Sender<Result<Vec<LogEntry>, StorageError>>,
}

impl DiskReader {
    pub(super) fn new(log: Arc<dyn LogReader>) -> Self {
        Self { log, worker: Mutex::new(State::NotStarted) }
    }

    /// Entries from the front of `range`: at least one if it exists, and no more than about `bytes_max`.
    pub(super) async fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
    ) -> Result<Vec<LogEntry>, StorageError> {
        let (answer, outcome) = oneshot::channel();
        self.submit(Job { range, bytes_max, answer })?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }

    fn submit(&self, job: Job) -> Result<(), StorageError> {
        let mut worker = self.worker.lock();
        if let State::NotStarted = *worker {
            *worker = self.start()?;
        }
        match &*worker {
            State::Running { jobs, .. } => jobs.send(job).map_err(|_| closed()),
            State::NotStarted | State::Closed => Err(closed()),
        }
    }

    fn start(&self) -> Result<State, StorageError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let log = self.log.clone();
        let work = move || {
            for job in queue {
                // Nobody waits any more if the answer cannot be sent.
                let _ = job.answer.send(read(&*log, job.range, job.bytes_max));
            }
        };
        let thread = thread::Builder::new().name("coffer-log-read".to_owned()).spawn(work);
        let thread = thread.map_err(|error| StorageError::io("start a thread for", "the log", error))?;
        Ok(State::Running { jobs, thread })
    }

    /// Joins the thread. Idempotent; later reads fail.
    pub(super) fn shutdown(&self) {
        let former = std::mem::replace(&mut *self.worker.lock(), State::Closed);
        if let State::Running { jobs, thread } = former {
            drop(jobs);
            // Panics of the log are caught where they are reported.
            let _ = thread.join();
        }
    }
}

fn read(log: &dyn LogReader, range: Range<u64>, bytes_max: u64) -> Result<Vec<LogEntry>, StorageError> {
    let mut entries = Vec::new();
    let mut visit = |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| log.read(range, bytes_max, &mut visit)));
    outcome.unwrap_or_else(|panic| {
        Err(StorageError::Poisoned { reason: format!("reading the log panicked: {}", panic_text(&*panic)) })
    })?;
    Ok(entries)
}

fn closed() -> StorageError {
    StorageError::Poisoned { reason: "the log is closed".to_owned() }
}
