//! Background work on the record store, on one thread: flush, purge of the log, prune, reclaim, and jobs that read
//! much.
//!
//! # Order
//! 1. A checkpoint is taken between two log entries: records up to a log id, and the state at it.
//! 2. The log is made durable up to that id (records must never be ahead of the log).
//! 3. Records and checkpoint are flushed, all or nothing. Only then the memory forgets the records and the log is
//!    purged: up to there where this member is alone, else up to the flush before.
//! 4. Revisions below the compact revision are pruned from the index and dropped from the record store only after a
//!    flush whose checkpoint knows that compact revision: a replay of the log after a crash never misses a record
//!    that it needs.
//!    It happens in slices, and after each the thread rests (see [`pace`](super::pace)). A flush is never held up by
//!    that, and while the medium has no room there is no rest.
//! 5. What older keys sealed is written anew, if the record store asks for it: first the log, after a flush, so that
//!    it is little; then the records, in the slices of reclaiming.
//! 6. When flushes are rare, the log gives back what it will not need soon, in slices as well.
//!
//! # A medium without room
//! What finds no room is no failure: it did not happen and is tried again. Once a second this thread looks for room;
//! while there is none, or the log waits for some, it flushes early, so that the log is let go, and reclaims what frees
//! more than it takes. As soon as there is room the alarm that kept the store from growing is cleared.
//!
//! A flush is due long before what is unflushed takes up the room that a flush surely finds, and nothing that grows
//! the store is taken beyond that room (see [`quota`](super::quota)).
//!
//! Any other failure stops the node; nothing is retried.

use super::counters::Counters;
use super::failure::Failure;
use super::pace::Pace;
use super::quota::Quota;
use super::values::ValueStore;
use crate::consensus::Consensus;
use crate::error::{Error, panic_text};
use crate::planted::{Bug, planted};
use crate::state::{State, StateReader};
use crate::storage::{Flush, StorageError};
use event_listener::Event;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::mem::take;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Keys whose index entries are pruned in one hold of the index lock.
const PRUNE_KEYS: usize = 64;
/// Dead revisions are handed to the record store in such crowds.
const DROP_REVISIONS: usize = 8192;
/// Bytes that one slice of reclaiming or rewriting copies.
const RECLAIM_BYTES: u64 = 256 << 10;
/// While a reader holds what is to go, another look is taken so often.
const RELEASE_INTERVAL: Duration = Duration::from_millis(20);
/// The log is purged, by way of a flush, once it is this large even if few records wait.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// How often the thread looks for room on the medium, and how soon a flush is due while there is none.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log is asked to give back space, at most.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);
/// It is asked so often after a flush: the last time nothing was written since the time before.
const TRIMS: u8 = 2;
/// The longest rest between two flushes that find no room.
const FLUSH_REST_MAX: Duration = Duration::from_secs(32);

/// Jobs that may wait; more are refused.
const JOBS_MAX: usize = 8;

/// Work that reads much. It calls what it is given every few hundred records: so flushes go on, and `false` tells it
/// to end early.
type Job = Box<dyn FnOnce(&mut dyn FnMut() -> bool) + Send>;

/// Requests to the maintenance thread, and its progress.
pub(super) struct Maintenance {
    values: Arc<ValueStore>,
    reader: StateReader,
    failure: Arc<Failure>,
    quota: Arc<Quota>,
    flush_bytes: usize,
    flush_interval: Duration,
    counters: Arc<Counters>,
    consensus: OnceLock<Arc<Consensus>>,
    requests: Mutex<Requests>,
    /// Held for each step that changes the record store. Taken before the state.
    turn: Mutex<()>,
    pace: Mutex<Pace>,
    wake: Condvar,
    /// Told whenever a compaction is physically done.
    reclaimed: Event,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Requests {
    jobs: Vec<Job>,
    compact: bool,
    rewrite: bool,
    /// Woken for a look at the sizes.
    look: bool,
    stop: bool,
    /// Whether the thread is at work.
    running: bool,
    /// The newest compact revision whose data is gone from the medium.
    reclaimed_revision: i64,
    /// When the oldest unflushed record came.
    dirty_since: Option<Instant>,
    /// A compaction found no room for its next step.
    postponed: bool,
    /// So did a rewriting.
    postponed_rewrite: bool,
    /// A flush found no room: until when none is tried, and how long that is.
    flush_rest: Option<(Instant, Duration)>,
    /// When the log is to give back space, and how often until the next flush.
    trim_due: Option<Instant>,
    trims: u8,
}

impl Requests {
    /// Whether it is time for the log to give back space.
    fn takes_trim(&mut self) -> bool {
        if self.trim_due.is_none_or(|due| Instant::now() < due) {
            return false;
        }
        self.trims = self.trims.saturating_sub(1);
        self.trim_due = (self.trims > 0).then(|| Instant::now() + TRIM_INTERVAL);
        true
    }

    /// When what is unflushed will be as old as `interval`, or the rest is over after a flush that found no room.
    fn flush_due(&self, interval: Duration) -> Option<Instant> {
        let aged = self.dirty_since?.checked_add(interval)?;
        Some(self.flush_rest.map_or(aged, |(until, _)| until.max(aged)))
    }

    /// Asks once more for what found no room.
    fn resume(&mut self) {
        self.compact |= take(&mut self.postponed);
        self.rewrite |= take(&mut self.postponed_rewrite);
    }
}

/// How far the compaction has come.
#[derive(Default)]
struct Compaction {
    /// The compact revision that was flushed.
    flushed: i64,
    /// Where the last pass over the index ended. While a reader holds everything back there is nothing to look for.
    pruned_to: i64,
    /// What was pruned is not all reclaimed.
    reclaims: bool,
}

/// What there is to do.
struct Work {
    jobs: Vec<Job>,
    compact: bool,
    rewrite: bool,
    stop: bool,
    /// Whether records have waited long enough for their flush.
    aged: bool,
}

impl Maintenance {
    /// Not yet running: [`start`](Self::start) needs consensus, which needs the machine, which needs this.
    pub(super) fn new(
        values: Arc<ValueStore>,
        reader: StateReader,
        failure: Arc<Failure>,
        quota: Arc<Quota>,
        flush_bytes: usize,
        flush_interval: Duration,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let reclaimed_revision = 0;
        Arc::new(Self {
            values,
            reader,
            failure,
            quota,
            flush_bytes,
            flush_interval,
            counters,
            consensus: OnceLock::new(),
            requests: Mutex::new(Requests { reclaimed_revision, ..Requests::default() }),
            turn: Mutex::new(()),
            pace: Mutex::new(Pace::new(Instant::now())),
            wake: Condvar::new(),
            reclaimed: Event::new(),
            thread: Mutex::new(None),
        })
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        self: &Arc<Self>,
        state: Arc<Mutex<State>>,
        consensus: Arc<Consensus>,
    ) -> Result<(), Error> {
        drop(self.consensus.set(consensus));
        self.requests.lock().running = true;
        let this = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("coffer-records".into())
            .spawn(move || this.run(&state))
            .map_err(|error| {
                self.requests.lock().running = false;
                Error::Fatal(format!("cannot start a thread: {error}"))
            })?;
        *self.thread.lock() = Some(thread);
        if self.reader.compact_revision() > 0 {
            self.compaction_requested(); // finish what an earlier life may have begun
        }
        self.rewrite_requested();
        Ok(())
    }

    /// Told by the apply thread after records were added.
    pub(super) fn records_added(&self) {
        let is_much = self.is_much_unflushed();
        let mut requests = self.requests.lock();
        let wakes = requests.dirty_since.is_none() || (is_much && !requests.look);
        requests.dirty_since.get_or_insert_with(Instant::now);
        requests.look |= is_much;
        drop(requests);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Told by the apply thread after the compact revision moved.
    pub(super) fn compaction_requested(&self) {
        self.requests.lock().compact = true;
        self.wake.notify_one();
    }

    /// Told when the record store may want to be rewritten.
    pub(super) fn rewrite_requested(&self) {
        if self.values.records().wants_rewrite() {
            self.requests.lock().rewrite = true;
            self.wake.notify_one();
        }
    }

    /// Waits until everything below `compact_revision` is gone from the medium.
    pub(super) async fn wait_reclaimed(&self, compact_revision: i64) -> Result<(), Error> {
        loop {
            let listener = self.reclaimed.listen();
            if self.requests.lock().reclaimed_revision >= compact_revision {
                return Ok(());
            }
            self.failure.check()?;
            if self.requests.lock().stop {
                return Err(Error::Stopped);
            }
            listener.await;
        }
    }

    /// Runs `job` on the maintenance thread. It is dropped unrun if the thread stops before.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] if many wait already.
    pub(super) fn submit(
        &self,
        job: impl FnOnce(&mut dyn FnMut() -> bool) + Send + 'static,
    ) -> Result<(), Error> {
        let mut requests = self.requests.lock();
        if requests.jobs.len() >= JOBS_MAX {
            return Err(Error::TooManyRequests);
        }
        if !requests.stop {
            requests.jobs.push(Box::new(job));
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Whether the thread runs, so that records that wait for a flush will get it.
    pub(super) fn makes_room(&self) -> bool {
        self.requests.lock().running && self.failure.get().is_none()
    }

    /// Waits for the end of the step that is under way, and holds back the next while the guard lives.
    pub(super) fn pause(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// Flushes what waits, then joins the thread. Idempotent.
    pub(super) fn stop(&self) {
        self.requests.lock().stop = true;
        self.wake.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            self.failure.set(Error::Fatal("the maintenance thread panicked".into()));
        }
        self.reclaimed.notify(usize::MAX);
    }

    fn run(&self, state: &Mutex<State>) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work(state)));
        let fault = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.into()),
            Err(panic) => {
                Some(Error::Fatal(format!("the maintenance thread panicked: {}", panic_text(&*panic))))
            }
        };
        if let Some(reason) = fault {
            tracing::error!(%reason, "background work on the records failed");
            self.failure.set(reason);
        }
        let mut requests = self.requests.lock();
        (requests.stop, requests.running) = (true, false);
        // Whoever waits for a job that will not run is told by its being dropped.
        let jobs = std::mem::take(&mut requests.jobs);
        drop(requests);
        drop(jobs);
        self.values.wake_waiters();
        self.reclaimed.notify(usize::MAX);
    }

    fn work(&self, state: &Mutex<State>) -> Result<(), StorageError> {
        let mut compaction = Compaction::default();
        let mut log_waits = false;
        self.values.records().recover_room()?;
        loop {
            let work = self.next_work();
            self.look_for_room()?;
            let compacts = work.compact && compaction.flushed < self.reader.compact_revision();
            if compacts || work.rewrite || work.stop || work.aged || log_waits || self.needs_flush() {
                match self.flush(state)? {
                    Some(flushed) => compaction.flushed = flushed,
                    None => self.requests.lock().postponed |= compacts,
                }
            }
            log_waits = self.quota.mind_full_log(log_waits);
            for job in work.jobs {
                self.do_job(state, job)?;
            }
            if work.stop {
                return Ok(());
            }
            if work.compact {
                self.compact(state, &mut compaction)?;
            }
            if work.rewrite {
                self.rewrite(state)?;
            }
            self.trim_log(state)?;
        }
    }

    /// Has what is missing set aside, and the alarm cleared once it is there.
    fn look_for_room(&self) -> Result<(), StorageError> {
        let records = self.values.records();
        self.values.weigh_room();
        let recover = || {
            let _turn = self.turn.lock();
            records.recover_room()
        };
        if !records.has_room() && recover()? {
            let mut requests = self.requests.lock();
            requests.flush_rest = None;
            requests.resume();
        }
        self.quota.look_again();
        Ok(())
    }

    fn do_job(&self, state: &Mutex<State>, job: Job) -> Result<(), StorageError> {
        let mut result = Ok(());
        job(&mut || match self.breathe(state) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                result = Err(error);
                false
            }
        });
        result
    }

    /// Waits for something to do, or for the next look for room.
    fn next_work(&self) -> Work {
        let next_look = Instant::now() + ROOM_INTERVAL;
        let flush_interval = match self.values.records().has_room() {
            true => self.flush_interval,
            false => self.flush_interval.min(ROOM_INTERVAL),
        };
        let mut requests = self.requests.lock();
        loop {
            let now = Instant::now();
            let aging = requests.flush_due(flush_interval);
            let (aged, looks) = (aging.is_some_and(|due| due <= now), next_look <= now);
            let asked = requests.look || requests.compact || requests.rewrite || requests.stop;
            if asked || aged || looks || !requests.jobs.is_empty() {
                requests.look = false;
                if looks {
                    requests.resume();
                }
                let (compact, rewrite) = (take(&mut requests.compact), take(&mut requests.rewrite));
                let jobs = take(&mut requests.jobs);
                return Work { jobs, compact, rewrite, stop: requests.stop, aged };
            }
            let deadline = aging.map_or(next_look, |aging| aging.min(next_look));
            self.wake.wait_until(&mut requests, deadline);
        }
    }

    /// Whether as much waits as one flush should take, or half of what it surely finds room for.
    fn is_much_unflushed(&self) -> bool {
        let unflushed = self.values.unflushed_bytes();
        unflushed >= self.flush_bytes || unflushed as u64 > self.values.flush_room_bytes() / 2
    }

    /// Whether there is much to flush, or somebody waits for that, or there is much log that a flush lets go.
    fn needs_flush(&self) -> bool {
        self.is_much_unflushed()
            || self.values.take_flush_wanted()
            || self.consensus.get().is_some_and(|consensus| consensus.log_bytes() > LOG_BYTES_MAX)
    }

    /// Flushes between two slices of long work if there is much to flush, so that writes need not wait for its end.
    /// Returns whether to go on with it.
    fn breathe(&self, state: &Mutex<State>) -> Result<bool, StorageError> {
        if self.is_much_unflushed() {
            self.flush(state)?;
        }
        Ok(!self.requests.lock().stop)
    }

    /// Rests after a slice of long work that took so long and copied so much, so that whoever else waits for the disk
    /// has a turn; flushes meanwhile if there is much to flush, and does the jobs that wait. Returns whether to go on.
    fn rest(&self, state: &Mutex<State>, took: Duration, copied_bytes: u64) -> Result<bool, StorageError> {
        let until = Instant::now() + self.pace.lock().rest(took, copied_bytes);
        while self.breathe(state)? {
            // Whoever wants a look at the records does not wait for the end of it all.
            let jobs = take(&mut self.requests.lock().jobs);
            for job in jobs {
                self.do_job(state, job)?;
            }
            let mut requests = self.requests.lock();
            if !self.values.records().has_room() || Instant::now() >= until {
                return Ok(!requests.stop);
            }
            if !requests.stop && requests.jobs.is_empty() && !take(&mut requests.look) {
                self.wake.wait_until(&mut requests, until);
            }
        }
        Ok(false)
    }

    /// One flush, as the module describes. Returns the compact revision that is durable now; `None` if there was no
    /// room for it.
    fn flush(&self, state: &Mutex<State>) -> Result<Option<i64>, StorageError> {
        {
            let mut requests = self.requests.lock();
            if requests.flush_rest.is_some_and(|(until, _)| Instant::now() < until) && !requests.stop {
                return Ok(None);
            }
            requests.dirty_since = None;
        }
        let Some(consensus) = self.consensus.get() else { return Ok(Some(0)) };
        let _turn = self.turn.lock();
        let Some(checkpoint) = state.lock().checkpoint() else { return Ok(Some(0)) };
        let records = self.values.unflushed_up_to(checkpoint.revision);
        let before = self.values.records().checkpoint();
        let stored = &before;
        if stored.as_ref().is_some_and(|stored| stored.applied >= checkpoint.applied) {
            return Ok(Some(stored.as_ref().map_or(0, |stored| stored.compact_revision)));
        }
        match consensus.log_barrier(checkpoint.applied) {
            Err(error) if error.is_no_room() => {
                self.rest_from_flushing(&error);
                return Ok(None);
            }
            durable => durable?,
        }
        if planted(Bug::PurgeBeforeFlush) {
            consensus.purge(checkpoint.applied);
        }
        let began = Instant::now();
        match self.values.records().flush(Flush { records: &records, checkpoint: &checkpoint }) {
            Err(error) if error.is_no_room() => {
                self.rest_from_flushing(&error);
                return Ok(None);
            }
            flushed => flushed?,
        }
        self.counters.flush.record(began.elapsed());
        let flushed_bytes = records.iter().map(|record| record.payload_bytes() as u64).sum();
        self.pace.lock().flushed(flushed_bytes, Instant::now());
        drop(records);
        {
            let mut requests = self.requests.lock();
            requests.flush_rest = None;
            requests.trims = TRIMS;
            requests.trim_due.get_or_insert_with(|| Instant::now() + TRIM_INTERVAL);
        }
        self.values.forget_up_to(checkpoint.revision);
        self.values.weigh_records();
        // Members that are a little behind get entries, as long as there is room for them, and no snapshot.
        let keeps_some = !consensus.is_sole_voter()
            && self.values.records().has_room()
            && consensus.log_bytes() <= 2 * LOG_BYTES_MAX;
        let purged = if keeps_some { before.map(|before| before.applied) } else { Some(checkpoint.applied) };
        if let Some(purged) = purged {
            consensus.purge(purged);
        }
        self.values.records().recover_room()?;
        self.values.weigh_room();
        // Flushed records are smaller than those in memory; and an alarm may have come after the last compaction.
        self.quota.look_again();
        Ok(Some(checkpoint.compact_revision))
    }

    /// A flush found no room: the next one waits, each time for longer.
    fn rest_from_flushing(&self, error: &StorageError) {
        let mut requests = self.requests.lock();
        let rest = requests.flush_rest.map_or(ROOM_INTERVAL, |(_, rest)| (rest * 2).min(FLUSH_REST_MAX));
        let now = Instant::now();
        requests.flush_rest = Some((now + rest, rest));
        requests.dirty_since.get_or_insert(now);
        drop(requests);
        tracing::warn!(%error, "records stay in memory and in the log until there is room");
    }

    /// Prunes the index up to the compact revision (or the oldest reader) and gives the space back.
    fn compact(&self, state: &Mutex<State>, compaction: &mut Compaction) -> Result<(), StorageError> {
        let flushed = compaction.flushed;
        let limit = self.reader.oldest_pin().map_or(flushed, |pin| pin.min(flushed));
        let began = Instant::now();
        if limit > compaction.pruned_to {
            if !self.prune(state, limit)? {
                return Ok(());
            }
            compaction.pruned_to = limit;
            compaction.reclaims = true;
        }
        if compaction.reclaims {
            if !self.reclaim(state)? {
                return Ok(());
            }
            compaction.reclaims = false;
            self.counters.compacted(began.elapsed());
        }
        let mut requests = self.requests.lock();
        if limit < flushed {
            // A reader still needs something: try again a little later.
            requests.compact = true;
            self.wake.wait_for(&mut requests, RELEASE_INTERVAL);
        } else {
            requests.reclaimed_revision = requests.reclaimed_revision.max(flushed);
            drop(requests);
            self.reclaimed.notify(usize::MAX);
        }
        Ok(())
    }

    /// Gives back the space of what was pruned. Returns whether that came to its end.
    fn reclaim(&self, state: &Mutex<State>) -> Result<bool, StorageError> {
        let records = self.values.records();
        let ended = loop {
            let began = Instant::now();
            let reclaimed = {
                let _turn = self.turn.lock();
                records.reclaim(RECLAIM_BYTES)
            };
            let copied_bytes = match reclaimed {
                Ok(progress) if !progress.more => break true,
                Ok(progress) => progress.copied_bytes,
                // What frees nothing is not worth the last room; what would is tried again.
                Err(error) if error.is_no_room() => {
                    let ended = records.has_room();
                    self.requests.lock().postponed |= !ended;
                    break ended;
                }
                Err(error) => return Err(error),
            };
            if !self.rest(state, began.elapsed(), copied_bytes)? {
                return Ok(false);
            }
        };
        self.values.weigh_records();
        self.look_for_room()?;
        // Less is set aside for less.
        let _turn = self.turn.lock();
        records.recover_room()?;
        Ok(ended)
    }

    /// Writes anew what older keys sealed, in slices, until log and record store ask for no more.
    fn rewrite(&self, state: &Mutex<State>) -> Result<(), StorageError> {
        match self.rewrite_slices(state) {
            Err(error) if error.is_no_room() => {
                tracing::warn!(%error, "what older keys sealed stays until there is room");
                self.requests.lock().postponed_rewrite = true;
                Ok(())
            }
            rewritten => rewritten,
        }
    }

    fn rewrite_slices(&self, state: &Mutex<State>) -> Result<(), StorageError> {
        let records = self.values.records();
        if let Some(consensus) = self.consensus.get() {
            let mut began = Instant::now();
            loop {
                let progress = consensus.rewrite_log(RECLAIM_BYTES)?;
                if !progress.more {
                    break;
                }
                // Most of what the log still holds goes with a flush, without being copied.
                self.flush(state)?;
                if !self.rest(state, began.elapsed(), progress.copied_bytes)? {
                    return Ok(());
                }
                began = Instant::now();
            }
        }
        let rewrite = || {
            let _turn = self.turn.lock();
            records.rewrite(RECLAIM_BYTES)
        };
        let mut began = Instant::now();
        loop {
            let progress = rewrite()?;
            if !progress.more {
                break;
            }
            if !self.rest(state, began.elapsed(), progress.copied_bytes)? {
                return Ok(());
            }
            began = Instant::now();
        }
        if records.wants_rewrite() {
            // A reader still holds something old: try again a little later.
            let mut requests = self.requests.lock();
            requests.rewrite = true;
            if !requests.stop {
                self.wake.wait_for(&mut requests, RELEASE_INTERVAL);
            }
        }
        Ok(())
    }

    /// Has the log give back space, if it is time for that.
    fn trim_log(&self, state: &Mutex<State>) -> Result<(), StorageError> {
        let Some(consensus) = self.consensus.get() else { return Ok(()) };
        if !self.requests.lock().takes_trim() {
            return Ok(());
        }
        let mut began = Instant::now();
        while consensus.trim_log()? {
            if !self.rest(state, began.elapsed(), 0)? {
                return Ok(());
            }
            began = Instant::now();
        }
        Ok(())
    }

    /// One pass over the index. Returns whether it came to the end.
    fn prune(&self, state: &Mutex<State>, limit: i64) -> Result<bool, StorageError> {
        let mut from = Some(bytes::Bytes::new());
        let mut dead = Vec::new();
        while let Some(start) = from {
            let began = Instant::now();
            from = self.reader.prune(&start, PRUNE_KEYS, limit, &mut dead);
            if dead.len() >= DROP_REVISIONS || from.is_none() {
                self.counters.records_compacted.add(dead.len() as u64);
                self.values.records().drop_revisions(&dead);
                dead.clear();
            }
            if !self.rest(state, began.elapsed(), 0)? {
                self.values.records().drop_revisions(&dead);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance").finish_non_exhaustive()
    }
}
