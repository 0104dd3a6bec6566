//! A log that can be held up.

use coffer_core::storage::{Log, LogId, LogOp, LogReader, LogState, RewriteProgress, StorageError};
use std::sync::{Arc, Condvar, Mutex};

/// Holds up the writes of a log while it is closed.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    closed: bool,
    waiting: bool,
}

impl Gate {
    pub(crate) fn before<L: Log>(&self, log: L) -> GatedLog<L> {
        GatedLog { log, gate: self.clone() }
    }

    pub(crate) fn close(&self) {
        self.0.0.lock().unwrap().closed = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().closed = false;
        self.0.1.notify_all();
    }

    /// Whether a write is held up.
    pub(crate) fn waiting(&self) -> bool {
        self.0.0.lock().unwrap().waiting
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        while state.closed {
            state.waiting = true;
            state = self.0.1.wait(state).unwrap();
        }
        state.waiting = false;
    }
}

pub(crate) struct GatedLog<L> {
    log: L,
    gate: Gate,
}

impl<L: Log> Log for GatedLog<L> {
    fn state(&self) -> LogState {
        self.log.state()
    }

    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        self.gate.pass();
        self.log.write(ops, committed)
    }

    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.log.purge(up_to)
    }

    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.log.rewrite(copy_bytes_max)
    }

    fn trim(&mut self) -> Result<bool, StorageError> {
        self.log.trim()
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }

    fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }
}
