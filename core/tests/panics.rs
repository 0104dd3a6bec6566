//! A panic with values in flight: the node stops, and what is said of it, wherever, holds no key and no value.
//!
//! A program of its own: it listens to all panics and all of the log.

use coffer_core::Error;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{Compare, CompareResult, CompareTarget, PutRequest, TxnOp, TxnRequest};
use coffer_core::storage::{
    EntryKind, Log, LogId, LogOp, LogReader, LogState, MemoryDisk, MemoryLog, RewriteProgress, StorageError,
};
use coffer_core::{KeyRange, LeaseId};
use coffer_runtime::block_on;
use std::io;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

const CANARY: &str = "canary-4d0b";
/// What every text of a panic of this test has in it.
const MARKER: &str = "this panic is part of a test of panics";

/// Everything that was said by panics, and by whoever logs.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }
}

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Listens to all panics of this program, and to its log at the finest level.
fn listen() -> Said {
    static SAID: OnceLock<Said> = OnceLock::new();
    let listen = || {
        let said = Said::default();
        let (heard, next) = (said.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |panic| {
            heard.lock().extend_from_slice(format!("{panic}\n").as_bytes());
            next(panic);
        }));
        let writer = said.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        subscriber.try_init().expect("nobody else listens");
        said
    };
    SAID.get_or_init(listen).clone()
}

/// A log that shows what it is given and panics, as careless code would: once it is given commands.
struct PanickingLog(MemoryLog);

impl Log for PanickingLog {
    fn state(&self) -> LogState {
        self.0.state()
    }
    fn write(&mut self, ops: &[LogOp], committed: Option<LogId>) -> Result<(), StorageError> {
        let is_command = |op: &LogOp| matches!(op, LogOp::Append(entries) if entries.iter().any(|entry| entry.kind == EntryKind::Normal));
        assert!(!ops.iter().any(is_command), "{MARKER}: {ops:?}");
        self.0.write(ops, committed)
    }
    fn purge(&mut self, up_to: LogId) -> Result<(), StorageError> {
        self.0.purge(up_to)
    }
    fn rewrite(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.0.rewrite(copy_bytes_max)
    }
    fn trim(&mut self) -> Result<bool, StorageError> {
        self.0.trim()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.0.reader()
    }
    fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes()
    }
}

fn put() -> PutRequest {
    PutRequest { key: CANARY.into(), value: CANARY.into(), lease: LeaseId::NONE, ..PutRequest::default() }
}

#[test]
fn a_panic_with_values_in_flight_shows_none_of_them() {
    let said = listen();
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    let node =
        Node::open(NodeConfig::default(), Box::new(PanickingLog(log)), Arc::new(records)).expect("a node");
    let compare = Compare {
        range: KeyRange::prefix(CANARY),
        result: CompareResult::Less,
        target: CompareTarget::Value(CANARY.into()),
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![TxnOp::Put(put())],
        failure: vec![TxnOp::Put(put())],
    };
    let (first, second) =
        block_on(async { futures_util::future::join(node.put(put()), node.txn(txn.clone())).await });
    let errors = [first.expect_err("the log panicked"), second.expect_err("the log panicked")];
    let reason = block_on(node.stopped());
    assert!(matches!(reason, Error::Fatal(_)), "{reason:?}");
    let status = block_on(node.status()).expect("a status");
    node.shutdown();
    // Careless code elsewhere: a request in the text of a panic.
    panic::catch_unwind(|| panic!("{MARKER}: {:?} {txn:?}", put())).expect_err("a panic");
    let mut text = format!("{errors:?} {reason} {reason:?} {:?}", status.errors);
    text.push_str(&said.text());
    // The listener hears panics, and what they show.
    assert!(text.matches(MARKER).count() >= 2, "{text}");
    assert!(text.contains("payload_bytes") && text.contains("11 bytes"), "{text}");
    let numbers = CANARY.as_bytes()[..4].iter().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    assert!(!text.contains(CANARY) && !text.contains(&numbers), "{text}");
}
