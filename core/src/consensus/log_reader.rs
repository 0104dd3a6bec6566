//! Reads what has left memory from the log's medium, on a thread of its own: the raft thread never waits for a disk.
//!
//! Needed after a restart and for members that are far behind; the thread starts with the first such read.
//!
//! # Invariants
//! - A read that whoever asked for it no longer waits for takes no time of those behind it, unless it has begun.

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
            // What nobody waits for any more is not read: others wait behind it.
            for job in queue.into_iter().filter(|job| !job.answer.is_canceled()) {
                // Whoever waited may leave while it is read.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Inspector;
    use futures_util::FutureExt;

    /// Says which reads begin, and lets each wait for a word.
    struct Slow {
        begins: mpsc::Sender<u64>,
        may_end: Mutex<mpsc::Receiver<()>>,
    }

    impl LogReader for Slow {
        fn read(
            &self,
            range: Range<u64>,
            _: u64,
            _: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
        ) -> Result<(), StorageError> {
            let _ = self.begins.send(range.start);
            let _ = self.may_end.lock().recv();
            Ok(())
        }

        fn verify(&self, _: &mut dyn Inspector) -> Result<(), StorageError> {
            unreachable!("nobody asks for it")
        }
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_read() {
        let (begins, has_begun) = mpsc::channel();
        let (ends, may_end) = mpsc::channel();
        let reader = DiskReader::new(Arc::new(Slow { begins, may_end: Mutex::new(may_end) }));
        let wanted = [1, 5].map(|start| {
            let mut first = Box::pin(reader.read(start..start + 1, 1));
            assert!(first.as_mut().now_or_never().is_none());
            // Begun and left, while the first one is read.
            (start + 1..start + 4)
                .for_each(|start| assert!(reader.read(start..start + 1, 1).now_or_never().is_none()));
            first
        });
        drop(ends);
        for read in wanted {
            assert!(coffer_runtime::block_on(read).is_ok());
        }
        reader.shutdown();
        assert_eq!(has_begun.try_iter().collect::<Vec<_>>(), [1, 5]);
    }
}
