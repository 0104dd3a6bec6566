//! Faults, shutdowns and races of a whole node: nobody waits for ever, nothing is told wrong.

use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{CompactRequest, PutRequest, RangeRequest, TxnOp, TxnRequest};
use coffer_core::storage::conformance::Fault;
use coffer_core::storage::{
    Checkpoint, DirectoryEntry, Flush, Inspector, Log, LogId, LogOp, LogReader, LogState, MemoryDisk,
    MemoryLog, MemoryRecords, ReclaimProgress, RecordBlock, Records, RecordsStage, RecordsStats,
    RewriteProgress, SnapshotWriter, StagedRecords, StorageError,
};
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange, LeaseId, Record, Revision};
use coffer_runtime::block_on;
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn open_with(config: NodeConfig) -> Node {
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens")
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..PutRequest::default() }
}

fn put(node: &Node, key: &str, value: &str) -> i64 {
    block_on(node.put(put_request(key, value))).expect("a put succeeds").header.revision
}

/// What `work` returns, unless it hangs.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} does not end"))
}

/// Stops whoever passes until the test lets it go on, and tells the test that somebody came.
struct Gate {
    closed: AtomicBool,
    came: Sender<PathBuf>,
    go: Mutex<Receiver<()>>,
}

/// The test's side of a gate.
struct Keeper {
    gate: Arc<Gate>,
    came: Receiver<PathBuf>,
    go: Sender<()>,
}

fn gate() -> Keeper {
    let ((came, arrivals), (go, permits)) = (mpsc::channel(), mpsc::channel());
    let gate = Gate { closed: AtomicBool::new(false), came, go: Mutex::new(permits) };
    Keeper { gate: Arc::new(gate), came: arrivals, go }
}

impl Gate {
    fn pass(&self) {
        if self.closed.load(Ordering::Acquire) {
            let thread = fs::read_link("/proc/thread-self").expect("proc is mounted");
            let _ = self.came.send(Path::new("/proc").join(thread));
            let _ = self.go.lock().recv_timeout(PATIENCE);
        }
    }
}

impl Keeper {
    fn close(&self) {
        self.gate.closed.store(true, Ordering::Release);
    }

    /// Waits until somebody comes, and gives that thread's folder in /proc.
    fn wait(&self) -> PathBuf {
        self.came.recv_timeout(PATIENCE).expect("somebody comes to the gate")
    }

    fn open(&self) {
        self.gate.closed.store(false, Ordering::Release);
        self.go.send(()).expect("the gate is there");
    }
}

/// Records whose flushes pass a gate, and fail behind it if the test says so. So do scans, with a panic.
struct GatedRecords {
    records: MemoryRecords,
    gate: Arc<Gate>,
    fails: Arc<AtomicBool>,
    scans_panic: bool,
}

impl Records for GatedRecords {
    fn checkpoint(&self) -> Option<Checkpoint> {
        self.records.checkpoint()
    }
    fn flush(&self, flush: Flush<'_>) -> Result<(), StorageError> {
        self.gate.pass();
        match self.fails.load(Ordering::Acquire) {
            true => Err(StorageError::Poisoned { reason: "injected".into() }),
            false => self.records.flush(flush),
        }
    }
    fn read(&self, revision: Revision) -> Result<Option<Arc<RecordBlock>>, StorageError> {
        self.records.read(revision)
    }
    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(&Record) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        assert!(!self.scans_panic, "this panic is part of a test");
        self.records.scan(first, last, visit)
    }
    fn directory(
        &self,
        visit: &mut dyn FnMut(&[u8], &DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.records.directory(visit)
    }
    fn drop_revisions(&self, dead: &[Revision]) {
        self.records.drop_revisions(dead);
    }
    fn reclaim(&self, copy_bytes_max: u64) -> Result<ReclaimProgress, StorageError> {
        self.records.reclaim(copy_bytes_max)
    }
    fn wants_rewrite(&self) -> bool {
        self.records.wants_rewrite()
    }
    fn rewrite(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.records.rewrite(copy_bytes_max)
    }
    fn stage(&self) -> Result<Box<dyn RecordsStage>, StorageError> {
        self.records.stage()
    }
    fn install_staged(
        &self,
        checkpoint: &Checkpoint,
        staged: &mut StagedRecords,
    ) -> Result<(), StorageError> {
        self.records.install_staged(checkpoint, staged)
    }
    fn verify(&self, inspector: &mut dyn Inspector) -> Result<u64, StorageError> {
        self.records.verify(inspector)
    }
    fn stats(&self) -> RecordsStats {
        self.records.stats()
    }

    fn snapshot_writer(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.records.snapshot_writer()
    }
    fn has_room(&self) -> bool {
        self.records.has_room()
    }
    fn recover_room(&self) -> Result<bool, StorageError> {
        self.records.recover_room()
    }
    fn flush_room_bytes(&self) -> u64 {
        self.records.flush_room_bytes()
    }
}

/// A log whose groups pass a gate.
struct GatedLog {
    log: MemoryLog,
    gate: Arc<Gate>,
}

impl Log for GatedLog {
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

/// A node with one record, whose next flush waits at the gate and then fails.
fn about_to_fail() -> (Node, Keeper) {
    let keeper = gate();
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    let records =
        GatedRecords { records, gate: keeper.gate.clone(), fails: Arc::new(true.into()), scans_panic: false };
    let node = Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).expect("a node opens");
    keeper.close();
    let revision = put(&node, "a", "1");
    block_on(node.compact(CompactRequest { revision, physical: false })).expect("a compaction");
    keeper.wait();
    (node, keeper)
}

#[test]
fn a_hash_that_waits_for_a_failing_flush_is_answered() {
    let (node, keeper) = about_to_fail();
    let asker = node.clone();
    let mut hash = Box::pin(async move { asker.hash_kv(0).await });
    assert!((&mut hash).now_or_never().is_none(), "the hash waits for the flush");
    keeper.open();
    let answer = in_time("a hash", move || block_on(hash));
    assert!(matches!(answer, Err(Error::Fatal(_))), "{answer:?}");
}

#[test]
fn watchers_of_a_failed_node_are_told() {
    let (node, keeper) = about_to_fail();
    let mut stream = node.watch();
    keeper.open();
    assert!(in_time("a stream", move || block_on(stream.next())).is_none());
    assert!(node.failed().is_some());
}

#[test]
fn a_panic_of_the_watch_thread_stops_the_node_and_ends_its_streams() {
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    let records = GatedRecords { records, gate: gate().gate, fails: Arc::default(), scans_panic: true };
    let config = NodeConfig { cache_bytes_max: 0, ..NodeConfig::default() };
    let node = Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens");
    let mut live = node.watch();
    live.create(WatchRequest::new(KeyRange::single("k"))).expect("a watcher");
    let revision = put(&node, "k", "1");
    let last = put(&node, "k", "2");
    // Once the second put is delivered, both are history: before, the thread would serve them as they come.
    in_time("the last event", move || {
        let mut seen = 0;
        while seen < last {
            for response in block_on(live.next()).expect("the stream goes on") {
                if let WatchKind::Events { events, .. } = response.kind {
                    seen = events.last().map_or(seen, |event| event.event.record.revision.main);
                }
            }
        }
    });
    block_on(node.compact(CompactRequest { revision, physical: true })).expect("the records leave memory");
    let (mut waiting, mut past) = (node.watch(), node.watch());
    waiting.create(WatchRequest::new(KeyRange::single("other"))).expect("a watcher");
    let request = WatchRequest { start_revision: revision, ..WatchRequest::new(KeyRange::single("k")) };
    past.create(request).expect("a watcher");
    in_time("streams", move || {
        for stream in [&mut waiting, &mut past] {
            while block_on(stream.next()).is_some() {}
        }
    });
    let waiter = node.clone();
    let reason = in_time("the wait for a failure", move || block_on(waiter.stopped()));
    assert!(matches!(&reason, Error::Fatal(text) if text.contains("part of a test")), "{reason:?}");
    assert_eq!(block_on(node.put(put_request("k", "3"))).map(drop), Err(reason));
}

#[test]
fn a_shutdown_does_not_wait_for_room_that_nobody_makes() {
    let (flushes, writes) = (gate(), gate());
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    let log = GatedLog { log, gate: writes.gate.clone() };
    let records =
        GatedRecords { records, gate: flushes.gate.clone(), fails: Arc::default(), scans_panic: false };
    let config = NodeConfig { flush_bytes: 1000, ..NodeConfig::default() };
    let node = Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens");
    put(&node, "small", "1");
    // Two entries are on their way, each full, and larger than what may wait for a flush.
    writes.close();
    let large = "x".repeat(1 << 20);
    let puts: Vec<_> = (0..2)
        .map(|number| {
            let node = node.clone();
            let request = put_request(&format!("large/{number}"), &large);
            let mut put = Box::pin(async move { node.put(request).await });
            for _ in 0..2 {
                // First for others that may leave with it.
                assert!((&mut put).now_or_never().is_none(), "the put waits for the log");
            }
            put
        })
        .collect();
    writes.wait();
    flushes.close();
    let stopping = {
        let node = node.clone();
        thread::spawn(move || node.shutdown())
    };
    let makes_room = flushes.wait();
    flushes.open();
    in_time("the thread that makes room", move || {
        while makes_room.exists() {
            thread::yield_now();
        }
    });
    writes.open();
    in_time("a shutdown", move || stopping.join().expect("no panic"));
    for put in puts {
        let answer = in_time("a put", move || block_on(put));
        let is_told = answer.as_ref().map_or_else(Error::is_maybe_committed, |_| true);
        assert!(is_told, "what was on its way is answered: {answer:?}");
    }
}

#[test]
fn a_header_is_not_ahead_of_what_was_read() {
    let node = open_with(NodeConfig::default());
    put(&node, "k", "v");
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut behind = 0;
                    while running.load(Ordering::Acquire) {
                        let request =
                            RangeRequest { keys_only: true, ..RangeRequest::new(KeyRange::single("k")) };
                        let response = block_on(node.range(request)).expect("a read succeeds");
                        behind += u64::from(response.kvs[0].mod_revision != response.header.revision);
                    }
                    behind
                })
            })
            .collect();
        for number in 0..30_000 {
            put(&node, "k", &number.to_string());
        }
        running.store(false, Ordering::Release);
        let behind: u64 = readers.into_iter().map(|reader| reader.join().expect("no panic")).sum();
        // Whoever lists and then watches from the header's revision on would miss a change.
        assert_eq!(behind, 0, "headers ahead of the content");
    });
}

fn txns_at_an_old_revision_race_compactions(extra: Option<TxnOp>) {
    const KEYS: usize = 3000;
    let node = open_with(NodeConfig { flush_bytes: 64 << 10, cache_bytes_max: 0, ..NodeConfig::default() });
    for round in 0..12 {
        let puts = |value: usize| {
            let puts = (0..KEYS).map(|key| node.put(put_request(&format!("k/{key}"), &value.to_string())));
            loop {
                match block_on(futures_util::future::try_join_all(puts.clone())) {
                    Err(Error::TooManyRequests) => thread::yield_now(),
                    done => return drop(done.expect("puts succeed")),
                }
            }
        };
        puts(round);
        let old = node.header().revision;
        puts(round + 1000);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let range =
                            RangeRequest { revision: old, ..RangeRequest::new(KeyRange::prefix("k/")) };
                        let mut success = vec![TxnOp::Range(range)];
                        success.extend(extra.clone());
                        match block_on(node.txn(TxnRequest { success, ..TxnRequest::default() })) {
                            Ok(_) | Err(Error::TooManyRequests) => {}
                            Err(Error::Compacted { .. }) => break,
                            Err(error) => panic!("a txn failed: {error}"),
                        }
                    }
                });
            }
            let revision = node.header().revision;
            loop {
                match block_on(node.compact(CompactRequest { revision, physical: true })) {
                    Err(Error::TooManyRequests) => thread::yield_now(),
                    done => break done.map(drop).expect("a compaction"),
                }
            }
        });
    }
    assert_eq!(node.failed(), None);
}

#[test]
fn read_txns_at_an_old_revision_race_compactions() {
    txns_at_an_old_revision_race_compactions(None);
}

#[test]
fn write_txns_at_an_old_revision_race_compactions() {
    txns_at_an_old_revision_race_compactions(Some(TxnOp::Put(put_request("other", "x"))));
}

#[test]
fn a_write_whose_answer_can_not_be_read_may_have_happened_and_stops_the_node() {
    let disk = MemoryDisk::default();
    let (log, records) = disk.open().expect("an empty disk opens");
    let config = NodeConfig { cache_bytes_max: 0, ..NodeConfig::default() };
    let node = Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens");
    let revision = put(&node, "k", "1");
    block_on(node.compact(CompactRequest { revision, physical: true })).expect("the record leaves memory");
    disk.arm(1, Fault::ReadError);
    let answer = block_on(node.put(PutRequest { prev_kv: true, ..put_request("k", "2") }));
    let error = answer.expect_err("the pair before can not be read");
    assert!(error.is_maybe_committed(), "{error:?}");
    assert!(node.failed().is_some(), "a local fault stops the node");
}

#[test]
fn records_without_their_log_are_refused() {
    let (disk, other) = (MemoryDisk::default(), MemoryDisk::default());
    {
        let (log, records) = disk.open().expect("an empty disk opens");
        let node = Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).expect("a node opens");
        put(&node, "a", "1");
        node.shutdown();
    }
    let (_, records) = disk.open().expect("the disk opens again");
    let (fresh, _) = other.open().expect("an empty disk opens");
    let opened =
        Node::open(NodeConfig { boot: 2, ..NodeConfig::default() }, Box::new(fresh), Arc::new(records));
    assert!(matches!(opened, Err(Error::Corrupt(_))), "{opened:?}");
}

#[test]
fn a_keepalive_of_no_lease_is_no_error() {
    let node = open_with(NodeConfig::default());
    assert_eq!(block_on(node.lease_keep_alive(LeaseId::NONE)).map(|answer| answer.ttl_s), Ok(0));
}

#[test]
fn conditions_alone_are_read_linearizably() {
    assert!(!TxnRequest::default().is_serializable());
    let range = RangeRequest { serializable: true, ..RangeRequest::new(KeyRange::single("k")) };
    let mut request = TxnRequest { success: vec![TxnOp::Range(range)], ..TxnRequest::default() };
    assert!(request.is_serializable());
    request.failure.push(TxnOp::Txn(TxnRequest::default()));
    assert!(!request.is_serializable(), "a nested txn may have conditions too");
}
