//! What clients and watchers write down.

use crate::ask::ask;
use crate::life::Life;
use crate::machine;
use coffer_core::Error;
use coffer_core::request::Header;
use coffer_runtime::timeout;
use coffer_tests::chaos::history::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A watcher's log, while it watches.
pub type Log = Arc<Mutex<Watched>>;

/// What all clients and watchers share.
#[derive(Default)]
pub struct Recorder {
    operations: Mutex<Vec<Operation>>,
    logs: Mutex<Vec<Log>>,
    /// Revisions that watches still need: nothing from here on is compacted.
    pub needed: AtomicI64,
    /// The newest revision that any client was told of.
    pub newest: AtomicI64,
    stopped: AtomicBool,
    values: AtomicU64,
}

/// The time since the start.
pub fn now() -> Micros {
    machine::now().as_micros() as Micros
}

impl Recorder {
    /// Clients end after what they are at.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether clients are to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// A value that nobody else writes.
    pub fn fresh_value(&self) -> String {
        format!("v{}", self.values.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// A log for another watcher.
    pub fn log(&self, keys: Keys, from: i64, wants_before: bool) -> Log {
        let mut logs = self.logs.lock();
        let watcher = logs.len() as u32;
        let log = Arc::new(Mutex::new(Watched { watcher, keys, from, wants_before, ..Watched::default() }));
        logs.push(log.clone());
        log
    }

    /// Asks a member, and writes down what came of it.
    pub async fn perform(&self, number: u32, life: &Life, action: Action, deadline: Duration) -> Outcome {
        let call = now();
        let asked = action.clone();
        let answered =
            timeout(deadline, life.call(move |node| async move { ask(&node, &asked).await })).await;
        let outcome = match answered {
            Ok(Some(Ok((header, answer)))) => self.answered(&header, answer),
            Ok(Some(Err(error))) if is_maybe(&error) => Outcome::Unknown(error.to_string()),
            Ok(Some(Err(error))) => Outcome::Failed(error.to_string()),
            Ok(None) => Outcome::Unknown("the member ended".into()),
            Err(_) => Outcome::Unknown("deadline".into()),
        };
        let (end, outcome_kept) = (now(), outcome.clone());
        machine::note(end ^ u64::from(matches!(outcome, Outcome::Ok { .. })));
        self.operations.lock().push(Operation { client: number, call, end, action, outcome: outcome_kept });
        outcome
    }

    fn answered(&self, header: &Header, answer: Answer) -> Outcome {
        self.newest.fetch_max(header.revision, Ordering::SeqCst);
        Outcome::Ok { revision: header.revision, term: header.raft_term, answer }
    }

    /// What was written down.
    pub fn take(&self) -> (Vec<Operation>, Vec<Watched>) {
        let operations = std::mem::take(&mut *self.operations.lock());
        let logs = self.logs.lock().iter().map(|log| log.lock().clone()).collect();
        (operations, logs)
    }
}

/// Whether a request that failed so may have happened.
fn is_maybe(error: &Error) -> bool {
    error.is_maybe_committed() || matches!(error, Error::Corrupt(_))
}
