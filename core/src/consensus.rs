//! TEMPORARY stand-in.
use crate::error::Error;
use crate::storage::{EntryKind, Log, LogEntry, LogId, LogOp, StorageError};
use bytes::Bytes;
use parking_lot::Mutex;
use std::time::Duration;
#[allow(missing_docs)]
pub trait Machine: Send + 'static {
    fn applied(&self) -> Option<LogId>;
    fn membership(&self) -> Option<(LogId, Bytes)>;
    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError>;
}
#[allow(missing_docs)]
#[derive(Clone, Debug, Default)]
pub struct ConsensusConfig {
    pub node_id: u64,
    pub heartbeat_interval: Duration,
    pub election_timeout: Duration,
}
#[allow(missing_docs)]
#[derive(Clone, Debug)]
pub enum ProposeError {
    NotLeader { leader: Option<u64> },
    Unknown,
    Stopped(String),
}
#[allow(missing_docs)]
pub struct Consensus {
    tx: Mutex<Option<std::sync::mpsc::Sender<(Bytes, Box<dyn FnOnce(Result<(), ProposeError>) + Send>)>>>,
    th: Mutex<Option<std::thread::JoinHandle<()>>>,
    applied: std::sync::Arc<Mutex<Option<LogId>>>,
    node_id: u64,
}
impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("C")
    }
}
#[allow(missing_docs)]
#[derive(Default)]
pub struct ConsensusStatus {
    pub term: u64,
    pub leader: Option<u64>,
    pub last: Option<LogId>,
    pub applied: Option<LogId>,
    pub is_learner: bool,
}
#[allow(missing_docs)]
#[allow(clippy::missing_errors_doc)]
impl Consensus {
    pub fn start(
        config: ConsensusConfig,
        mut log: Box<dyn Log>,
        mut machine: Box<dyn Machine>,
    ) -> Result<Self, Error> {
        let st = log.state();
        let from = machine.applied().map_or(0, |a| a.index + 1);
        let mut v = vec![];
        if let Some(l) = st.last {
            log.reader().read(from..l.index + 1, u64::MAX, &mut |e| {
                v.push(e);
                std::ops::ControlFlow::Continue(())
            })?;
        }
        machine.apply(&v)?;
        let applied = std::sync::Arc::new(Mutex::new(machine.applied()));
        let (tx, rx) =
            std::sync::mpsc::channel::<(Bytes, Box<dyn FnOnce(Result<(), ProposeError>) + Send>)>();
        let a2 = applied.clone();
        let mut next = st.last.map_or(0, |l| l.index + 1);
        let th = std::thread::spawn(move || {
            while let Ok((payload, done)) = rx.recv() {
                let e = LogEntry { id: LogId { term: 1, index: next }, kind: EntryKind::Normal, payload };
                next += 1;
                log.write(&[LogOp::Append(vec![e.clone()])], None).unwrap();
                machine.apply(&[e]).unwrap();
                *a2.lock() = machine.applied();
                done(Ok(()));
            }
        });
        Ok(Self { tx: Mutex::new(Some(tx)), th: Mutex::new(Some(th)), applied, node_id: config.node_id })
    }
    pub fn propose(&self, payload: Bytes, done: Box<dyn FnOnce(Result<(), ProposeError>) + Send>) {
        if let Some(t) = &*self.tx.lock() {
            let _ = t.send((payload, done));
        }
    }
    pub async fn read_barrier(&self) -> Result<(), Error> {
        Ok(())
    }
    pub fn status(&self) -> ConsensusStatus {
        let a = *self.applied.lock();
        ConsensusStatus { term: 1, leader: Some(self.node_id), last: a, applied: a, is_learner: false }
    }
    pub fn log_barrier(&self, _: LogId) -> Result<(), StorageError> {
        Ok(())
    }
    pub fn purge(&self, _: LogId) {}
    pub fn log_bytes(&self) -> u64 {
        0
    }
    pub fn term(&self) -> u64 {
        1
    }
    pub fn on_leadership(&self, f: Box<dyn Fn(Option<u64>) + Send + Sync>) {
        f(Some(1))
    }
    pub fn on_failure(&self, _f: Box<dyn Fn(Error) + Send + Sync>) {}
    pub fn shutdown(&self) {
        drop(self.tx.lock().take());
        if let Some(t) = self.th.lock().take() {
            let _ = t.join();
        }
    }
}
