//! The thread that owns the [`Log`]: everything that must be durable passes through its one ordered queue.
//!
//! The thread takes whatever is queued as one group: one [`Log::write`], so one write and one sync, however much came
//! meanwhile. Then it calls the completions in order.
//!
//! # Invariants
//!
//! - Votes, appends and truncations reach the log in the order in which they were queued, and complete in that order.
//! - An entry can be read from the moment it is queued: from memory until it is both durable and applied, afterwards
//!   from memory or the medium.
//! - A group that finds no room on the medium is written again until there is some, and everything after it waits:
//!   a lack of room is no error here. What is durable is purged meanwhile, because that makes room.
//! - After the first error nothing more is written; every later completion gets that error.
//! - `durable` never runs ahead of what [`Log::write`] has returned for.
//!
//! # Crash behaviour
//!
//! A crash keeps a prefix of what was queued; what was completed is within it.

use super::health::Health;
use super::log_reader::DiskReader;
use crate::error::panic_text;
use crate::metrics::{DISK_BOUNDS, Histogram, HistogramSnapshot};
use crate::planted::{Bug, planted};
use crate::storage::{HardState, Log, LogEntry, LogId, LogOp, LogState, RewriteProgress, StorageError};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

/// How long a group that found no room rests before it is tried again.
const ROOM_INTERVAL: Duration = Duration::from_millis(100);

/// Told when an operation is durable, or why it never will be.
pub(super) type Completion = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// Shared handle to the log and its thread.
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    disk: DiskReader,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Bytes of applied entries that memory keeps nevertheless.
    cache_bytes: usize,
    /// Bytes above which durable entries leave memory even if they are not applied yet.
    unapplied_bytes_max: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    content: Mutex<Content>,
    durable: Mutex<Durable>,
    advanced: Condvar,
    disk_bytes: AtomicU64,
    /// A group waits for room.
    full: AtomicBool,
    sync_durations: Histogram,
    health: Arc<Health>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// Work that no write waits for. Apart, because writes that wait for room may wait for this.
    background: Vec<Background>,
    /// The newest committed id; rides along with the next group.
    committed: Option<LogId>,
    /// Whether the thread waits.
    idle: bool,
    stopping: bool,
}

enum Job {
    Write { op: LogOp, done: Completion },
    Purge(LogId),
}

/// Background work on the log, and where its outcome goes.
struct Background {
    work: Work,
    done: Completion,
}

type Work = Box<dyn FnOnce(&mut dyn Log) -> Result<(), StorageError> + Send>;

/// What the log holds, counting what is queued as done.
struct Content {
    purged: Option<LogId>,
    last: Option<LogId>,
    hard_state: HardState,
    committed: Option<LogId>,
    applied: Option<LogId>,
    /// The newest entries, without a gap; the last one is `last`.
    window: VecDeque<LogEntry>,
    window_bytes: usize,
}

#[derive(Default)]
struct Durable {
    last: Option<LogId>,
    failed: Option<StorageError>,
    stopped: bool,
}

impl LogWriter {
    /// Takes over a log that was just opened.
    pub(super) fn start(
        log: Box<dyn Log>,
        applied: Option<LogId>,
        cache_bytes: usize,
        unapplied_bytes_max: usize,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        let state = log.state();
        let disk = DiskReader::new(log.reader());
        let content = Content {
            purged: state.purged,
            last: state.last,
            hard_state: state.hard_state,
            committed: state.committed,
            applied,
            window: VecDeque::new(),
            window_bytes: 0,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { committed: state.committed, ..Queue::default() }),
            work: Condvar::new(),
            content: Mutex::new(content),
            durable: Mutex::new(Durable { last: state.last, ..Durable::default() }),
            advanced: Condvar::new(),
            disk_bytes: AtomicU64::new(log.disk_bytes()),
            full: AtomicBool::new(false),
            sync_durations: Histogram::new(DISK_BOUNDS),
            health,
        });
        let worker = Worker { shared: shared.clone(), log, failed: None };
        let thread = thread::Builder::new().name("coffer-log".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, disk, thread: Mutex::new(Some(thread)), cache_bytes, unapplied_bytes_max })
    }

    /// Queues entries. They can be read at once.
    pub(super) fn append(&self, entries: Vec<LogEntry>, done: Completion) {
        {
            let mut content = self.shared.content.lock();
            for entry in &entries {
                content.last = Some(entry.id);
                content.window_bytes += memory_bytes(entry);
                content.window.push_back(entry.clone());
            }
        }
        self.shared.submit(Job::Write { op: LogOp::Append(entries), done });
    }

    /// Queues a vote.
    pub(super) fn save_hard_state(&self, state: HardState, done: Completion) {
        self.shared.content.lock().hard_state = state;
        if planted(Bug::VoteNotSaved) {
            return done(Ok(()));
        }
        self.shared.submit(Job::Write { op: LogOp::SaveHardState(state), done });
    }

    /// Queues the removal of every entry after `after`. They can no longer be read.
    pub(super) fn truncate(&self, after: Option<LogId>, done: Completion) {
        {
            let mut content = self.shared.content.lock();
            if after >= content.last {
                drop(content);
                return done(Ok(()));
            }
            let keep = after.map_or(0, |id| id.index + 1);
            while content.window.back().is_some_and(|entry| entry.id.index >= keep) {
                content.pop_back();
            }
            content.last = after.max(content.purged);
        }
        if planted(Bug::TruncationNotSaved) {
            return done(Ok(()));
        }
        self.shared.submit(Job::Write { op: LogOp::Truncate { after }, done });
    }

    /// Queues that everything up to `up_to` is no longer needed. It can no longer be read.
    pub(super) fn purge(&self, up_to: LogId) {
        {
            let mut content = self.shared.content.lock();
            if content.purged >= Some(up_to) {
                return;
            }
            content.purged = Some(up_to);
            while content.window.front().is_some_and(|entry| entry.id.index <= up_to.index) {
                content.pop_front();
            }
            if content.last.is_none_or(|last| last.index < up_to.index) {
                content.last = Some(up_to);
            }
        }
        self.shared.submit(Job::Purge(up_to));
    }

    /// Has the log write anew some of what older keys sealed. Blocks until it is done.
    pub(super) fn rewrite(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.work(move |log| log.rewrite(copy_bytes_max))
    }

    /// Has the log give back some space. Blocks until it is done; returns whether there is more.
    pub(super) fn trim(&self) -> Result<bool, StorageError> {
        self.work(|log| log.trim())
    }

    /// Has the thread do background work between two groups, or while one waits for room: this may be what makes some,
    /// and whoever asks for it may be who makes some next. Blocks until it is done.
    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Log) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (sender, receiver) = mpsc::sync_channel(2);
        let failed = sender.clone();
        // The receiver waits below, or has seen the senders go.
        let work = Box::new(move |log: &mut dyn Log| work(log).map(|done| drop(sender.send(Ok(done)))));
        let done = Box::new(move |result: Result<(), _>| {
            if let Err(error) = result {
                drop(failed.send(Err(error)));
            }
        });
        self.shared.submit_background(Background { work, done });
        receiver.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// Remembers the committed id. Never waits: it rides along with the next group.
    pub(super) fn save_committed(&self, committed: Option<LogId>) {
        self.shared.content.lock().committed = committed;
        self.shared.queue.lock().committed = committed;
    }

    /// Remembers what the machine has applied: memory may let go of it.
    pub(super) fn applied(&self, applied: LogId) {
        let durable = self.shared.durable.lock().last;
        let mut content = self.shared.content.lock();
        content.applied = Some(applied);
        while content.window_bytes > self.cache_bytes {
            let Some(front) = content.window.front() else { break };
            let applied = front.id.index <= applied.index;
            let durable = durable.is_some_and(|durable| front.id <= durable);
            if !durable || !(applied || content.window_bytes > self.unapplied_bytes_max) {
                break;
            }
            content.pop_front();
        }
    }

    /// The log as openraft sees it.
    pub(super) fn state(&self) -> LogState {
        let content = self.shared.content.lock();
        LogState {
            purged: content.purged,
            last: content.last,
            hard_state: content.hard_state,
            committed: content.committed,
        }
    }

    /// Up to where the log is durable.
    pub(super) fn durable(&self) -> Option<LogId> {
        self.shared.durable.lock().last
    }

    /// Bytes on the medium.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.shared.disk_bytes.load(Ordering::Relaxed)
    }

    /// Whether a group waits for room on the medium, and everything after it.
    pub(super) fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Acquire)
    }

    /// How long groups took to be written and synced.
    pub(super) fn sync_durations(&self) -> HistogramSnapshot {
        self.shared.sync_durations.snapshot()
    }

    /// Blocks until everything up to `up_to`, which must have been appended, is durable.
    ///
    /// # Errors
    /// The log failed or is closed; [`StorageError::NoRoom`] while what is not durable waits for room: whoever waits
    /// here may be the one who makes it.
    pub(super) fn barrier(&self, up_to: LogId) -> Result<(), StorageError> {
        let mut durable = self.shared.durable.lock();
        loop {
            if durable.last >= Some(up_to) {
                return Ok(());
            }
            if let Some(failed) = &durable.failed {
                return Err(failed.clone());
            }
            if durable.stopped {
                return Err(StorageError::Poisoned { reason: "the log is closed".to_owned() });
            }
            if self.is_full() {
                let source = io::ErrorKind::StorageFull.into();
                return Err(StorageError::io_or_no_room("write", "the log", source));
            }
            self.shared.advanced.wait(&mut durable);
        }
    }

    /// Entries from the front of `range`: at least one if it exists, and no more than about `bytes_max`.
    pub(super) async fn read(
        &self,
        mut range: Range<u64>,
        bytes_max: u64,
    ) -> Result<Vec<LogEntry>, StorageError> {
        loop {
            let on_disk = {
                let content = self.shared.content.lock();
                let first = range.start.max(content.purged.map_or(0, |id| id.index + 1));
                let end = range.end.min(content.last.map_or(0, |id| id.index + 1));
                let window = content.window.front().map_or(end, |front| front.id.index);
                if first >= end {
                    return Ok(Vec::new());
                }
                if first >= window {
                    return Ok(content.copy(first - window, end - window, bytes_max));
                }
                first..end.min(window)
            };
            range.start = on_disk.end;
            let entries = self.disk.read(on_disk, bytes_max).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// Writes what is queued, closes the log and joins its threads. Idempotent.
    pub(super) fn shutdown(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.work.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Panics of the log are caught where they are reported.
            let _ = thread.join();
        }
        self.disk.shutdown();
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Content {
    fn pop_front(&mut self) {
        let popped = self.window.pop_front();
        self.window_bytes -= popped.as_ref().map_or(0, memory_bytes);
    }

    fn pop_back(&mut self) {
        let popped = self.window.pop_back();
        self.window_bytes -= popped.as_ref().map_or(0, memory_bytes);
    }

    fn copy(&self, from: u64, to: u64, bytes_max: u64) -> Vec<LogEntry> {
        let mut bytes = 0;
        let entries = self.window.range(from as usize..to as usize);
        entries
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.payload.len() as u64 <= bytes_max;
                bytes += (entry.payload.len() as u64).max(1);
                fits
            })
            .cloned()
            .collect()
    }
}

fn closed() -> StorageError {
    StorageError::Poisoned { reason: "the log is closed".to_owned() }
}

/// What an entry costs in memory, about.
fn memory_bytes(entry: &LogEntry) -> usize {
    size_of::<LogEntry>() + entry.payload.len()
}

impl Shared {
    fn submit(&self, job: Job) {
        if let Err(Job::Write { done, .. }) = self.push(job, |queue| &mut queue.jobs) {
            done(Err(closed()));
        }
    }

    fn submit_background(&self, background: Background) {
        match self.push(background, |queue| &mut queue.background) {
            // It may be waiting for room, which this may make.
            Ok(()) => drop(self.work.notify_one()),
            Err(refused) => (refused.done)(Err(closed())),
        }
    }

    /// Queues something and wakes the thread if it waits. Gives it back if the log is to be closed.
    fn push<T>(&self, item: T, list: impl FnOnce(&mut Queue) -> &mut Vec<T>) -> Result<(), T> {
        let mut queue = self.queue.lock();
        if queue.stopping {
            return Err(item);
        }
        list(&mut queue).push(item);
        let idle = mem::take(&mut queue.idle);
        drop(queue);
        if idle {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs; `None` when the log is to be closed and nothing is left.
    fn next(&self, jobs: &mut Vec<Job>) -> Option<Option<LogId>> {
        let mut queue = self.queue.lock();
        while queue.jobs.is_empty() && queue.background.is_empty() {
            if queue.stopping {
                return None;
            }
            queue.idle = true;
            self.work.wait(&mut queue);
            queue.idle = false;
        }
        mem::swap(&mut queue.jobs, jobs);
        Some(queue.committed)
    }
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    log: Box<dyn Log>,
    failed: Option<StorageError>,
}

impl Worker {
    fn run(mut self) {
        let mut jobs = Vec::new();
        let (mut ops, mut completions) = (Vec::new(), Vec::new());
        while let Some(committed) = self.shared.next(&mut jobs) {
            self.purge_durable(&mut jobs);
            for job in jobs.drain(..) {
                match job {
                    Job::Write { op, done } => {
                        ops.push(op);
                        completions.push(done);
                    }
                    Job::Purge(up_to) => {
                        self.write(&mut ops, &mut completions, committed);
                        self.purge(up_to);
                        let mut durable = self.shared.durable.lock();
                        durable.last = durable.last.max(Some(up_to));
                        drop(durable);
                        // A purge may go beyond the end, behind an installed snapshot.
                        self.shared.advanced.notify_all();
                    }
                }
            }
            self.write(&mut ops, &mut completions, committed);
            self.do_background();
        }
        self.shared.durable.lock().stopped = true;
        self.shared.advanced.notify_all();
    }

    /// Writes one group and completes it.
    fn write(&mut self, ops: &mut Vec<LogOp>, completions: &mut Vec<Completion>, committed: Option<LogId>) {
        if ops.is_empty() {
            return;
        }
        let mut began = Instant::now();
        while let Some(no_room) = self.guarded(|log| log.write(ops, committed)) {
            if !self.shared.full.swap(true, Ordering::AcqRel) {
                tracing::warn!(error = %no_room, "the log waits for room");
                // Under the lock, so that nobody begins to wait without having seen it.
                let _durable = self.shared.durable.lock();
                self.shared.advanced.notify_all();
            }
            if !self.wait_for_room() {
                self.fail(no_room);
            }
            began = Instant::now();
        }
        if self.shared.full.swap(false, Ordering::AcqRel) {
            tracing::info!("the log goes on");
        }
        if self.failed.is_none() {
            self.shared.sync_durations.record(began.elapsed());
            let mut durable = self.shared.durable.lock();
            ops.iter().for_each(|op| durable.advance(op));
            drop(durable);
            self.shared.advanced.notify_all();
            self.shared.disk_bytes.store(self.log.disk_bytes(), Ordering::Relaxed);
        }
        ops.clear();
        for done in completions.drain(..) {
            done(self.failed.clone().map_or(Ok(()), Err));
        }
    }

    fn do_background(&mut self) {
        let background = mem::take(&mut self.shared.queue.lock().background);
        for Background { work, done } in background {
            let no_room = self.guarded(work);
            self.shared.disk_bytes.store(self.log.disk_bytes(), Ordering::Relaxed);
            done(self.failed.clone().or(no_room).map_or(Ok(()), Err));
        }
    }

    /// Purges what is durable without waiting for what was queued before: a purge is what makes room for it.
    fn purge_durable(&mut self, jobs: &mut Vec<Job>) {
        let durable = self.shared.durable.lock().last;
        let mut purged = None;
        jobs.retain(|job| match job {
            Job::Purge(up_to) if Some(*up_to) <= durable => {
                purged = purged.max(Some(*up_to));
                false
            }
            _ => true,
        });
        if let Some(up_to) = purged {
            self.purge(up_to);
        }
    }

    /// Without room the log stays as it is; the next purge goes at least as far.
    fn purge(&mut self, up_to: LogId) {
        if let Some(no_room) = self.guarded(|log| log.purge(up_to)) {
            tracing::debug!(error = %no_room, "a purge of the log waits for room");
        }
    }

    /// Rests, purges what may be purged, does what was asked for meanwhile, and returns whether to try again: not if the
    /// log is to be closed.
    fn wait_for_room(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut queue = shared.queue.lock();
        if !queue.stopping {
            shared.work.wait_for(&mut queue, ROOM_INTERVAL);
        }
        let (stopping, mut jobs) = (queue.stopping, mem::take(&mut queue.jobs));
        drop(queue);
        self.purge_durable(&mut jobs);
        let mut queue = shared.queue.lock();
        jobs.append(&mut queue.jobs);
        queue.jobs = jobs;
        drop(queue);
        self.do_background();
        !stopping
    }

    /// Calls the log unless it has failed before. An error or a panic ends it; but a lack of room is returned.
    fn guarded(
        &mut self,
        call: impl FnOnce(&mut dyn Log) -> Result<(), StorageError>,
    ) -> Option<StorageError> {
        if self.failed.is_some() {
            return None;
        }
        let log = &mut *self.log;
        let outcome = catch_unwind(AssertUnwindSafe(|| call(log))).unwrap_or_else(|panic| {
            Err(StorageError::Poisoned { reason: format!("the log panicked: {}", panic_text(&*panic)) })
        });
        match outcome {
            Err(error) if error.is_no_room() => return Some(error),
            Err(error) => self.fail(error),
            Ok(()) => {}
        }
        None
    }

    fn fail(&mut self, error: StorageError) {
        self.failed = Some(error.clone());
        self.shared.durable.lock().failed = Some(error.clone());
        self.shared.advanced.notify_all();
        self.shared.health.fail(error.into());
    }
}

impl Durable {
    fn advance(&mut self, op: &LogOp) {
        match op {
            LogOp::Append(entries) => self.last = entries.last().map(|entry| entry.id).or(self.last),
            LogOp::Truncate { after } => self.last = *after,
            LogOp::SaveHardState(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;
    use crate::storage::conformance::Fault;

    #[test]
    fn whoever_waits_for_a_durable_log_is_told_of_a_purge_beyond_its_end() {
        let (log, _records) = MemoryDisk::new().open().expect("a new disk");
        let writer = LogWriter::start(Box::new(log), None, 0, 0, Arc::default()).expect("a thread");
        let (begins, has_begun) = mpsc::channel();
        let (ends, has_ended) = mpsc::channel();
        let up_to = LogId { term: 1, index: 10 };
        thread::scope(|scope| {
            scope.spawn(|| {
                begins.send(()).expect("awaited");
                ends.send(writer.barrier(up_to)).expect("awaited");
            });
            has_begun.recv().expect("it begins");
            // It waits by now, most probably: nothing tells.
            (0..1000).for_each(|_| thread::yield_now());
            writer.purge(up_to);
            let told = has_ended.recv_timeout(Duration::from_secs(20));
            // Ends the thread in any case.
            writer.shutdown();
            assert!(matches!(told, Ok(Ok(()))), "{told:?}");
        });
    }

    /// Whoever asks for the work may be who makes room: it must not wait for the write.
    #[test]
    fn work_is_done_while_a_write_waits_for_room() {
        let disk = MemoryDisk::new();
        let (log, _records) = disk.open().expect("a new disk");
        let writer = LogWriter::start(Box::new(log), None, 0, 0, Arc::default()).expect("a thread");
        disk.arm(0, Fault::NoSpace);
        let (ends, has_ended) = mpsc::channel();
        let (writes, has_written) = mpsc::channel();
        thread::scope(|scope| {
            writer.save_hard_state(HardState::default(), Box::new(move |done| drop(writes.send(done))));
            scope.spawn(|| {
                while !writer.shared.full.load(Ordering::Acquire) && writer.shared.health.stopped().is_none()
                {
                    thread::yield_now();
                }
                drop(ends.send(writer.trim()));
            });
            let trimmed = has_ended.recv_timeout(Duration::from_secs(20));
            let written = has_written.try_recv();
            disk.disarm();
            let later = has_written.recv_timeout(Duration::from_secs(20));
            // Ends the thread in any case.
            writer.shutdown();
            assert!(matches!(trimmed, Ok(Ok(_))), "{trimmed:?}");
            assert!(written.is_err(), "there was no room");
            assert!(matches!(later, Ok(Ok(()))), "{later:?}");
        });
    }
}
