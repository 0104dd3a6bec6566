//! The watch hub: one thread that takes events from the apply thread and requests from streams.
//!
//! # Data path
//! apply thread ─ [`WatchHub::publish`] ─▶ ring ─▶ hub thread ─▶ one queue per stream ─▶ consumers.
//!
//! # Invariants
//! - `publish` takes one short lock and never waits for the hub thread. The ring is bounded by bytes: what does
//!   not fit pushes out the oldest, and the watchers that have not seen it read it from [`History`].
//! - Batches are taken in order; the hub's revision never goes back.
//!
//! Nothing here is durable. After a crash clients resume from the revision that they saw last.

use super::engine::Engine;
use super::stream::{StreamShared, WatchStream};
use super::{EventBatch, History, WatchRequest, delivery};
use crate::error::{Error, panic_text};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most bytes of events that the hub thread matches before it delivers them.
const STEP_BYTES: usize = 1024 * 1024;

/// Limits and times of a [`WatchHub`].
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// Bytes of events that wait for the hub thread. Older ones are read from history instead.
    pub ring_bytes: usize,
    /// Bytes of responses that wait in one stream before its watchers fall back to history.
    pub stream_queue_bytes: usize,
    /// How often an idle watcher that asked for it is told of progress; at least 100 ms are kept. Up to a tenth
    /// is added at random so that streams do not all report at once.
    pub progress_interval: Duration,
    /// From what size on a response is cut for watchers that allow fragments.
    pub fragment_bytes: usize,
    /// Most revisions read from history in one step.
    pub catch_up_revisions: i64,
    /// About how many bytes of history are read in one step. A revision is never cut.
    pub catch_up_bytes: usize,
    /// Most creations whose `Created` was not read yet, per stream.
    pub unread_creates_max: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 16 * 1024 * 1024,
            stream_queue_bytes: 4 * 1024 * 1024,
            progress_interval: Duration::from_secs(600),
            fragment_bytes: 1536 * 1024,
            catch_up_revisions: 1000,
            catch_up_bytes: 256 * 1024,
            unread_creates_max: 16 * 1024,
        }
    }
}

/// What the hub holds and did, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounters {
    /// Open streams.
    pub streams: usize,
    /// Watchers on them.
    pub watchers: usize,
    /// Watchers that read history because they started in the past or their stream was full.
    pub lagging: usize,
    /// Events in queues, times the watchers that they are for.
    pub pending_events: usize,
    /// Events queued since the start, times the watchers that they were for.
    pub events_delivered: u64,
}

/// Delivers published events to the watchers of any number of streams.
pub struct WatchHub {
    link: Arc<Link>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WatchHub {
    /// Starts the hub thread. Events up to `history.published()` are history to it.
    ///
    /// If the thread panics, every stream ends, no event is delivered any more, and `on_fault` is told.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        history: Arc<dyn History>,
        config: WatchConfig,
        on_fault: impl FnOnce(Error) + Send + 'static,
    ) -> Result<WatchHub, Error> {
        let link = Arc::new(Link::new(history.clone(), config));
        let for_thread = link.clone();
        let work = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&for_thread, history))) {
                on_fault(Error::Fatal(format!("the watch thread panicked: {}", panic_text(&*panic))));
            }
        };
        let thread =
            std::thread::Builder::new().name("coffer-watch".into()).spawn(work).map_err(Error::no_thread)?;
        Ok(WatchHub { link, thread: Mutex::new(Some(thread)) })
    }

    /// Hands over events once their last revision is published. For the apply thread: never blocks.
    ///
    /// Batches are whole revisions in ascending order. A gap between two batches is read from history.
    pub fn publish(&self, batch: Arc<EventBatch>) {
        self.link.publish(batch);
    }

    /// Tells that the state was replaced by a newer one, at `revision`: watchers resume from history.
    pub fn jump_to(&self, revision: i64) {
        self.link.jump_to(revision);
    }

    /// A stream without watchers. After [`shutdown`](Self::shutdown) it is one that has ended.
    pub fn stream(&self) -> WatchStream {
        let id = self.link.next_stream.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(StreamShared::new(self.link.config.stream_queue_bytes));
        if !self.link.send(Control::Open { stream: id, shared: shared.clone() }) {
            shared.close();
        }
        WatchStream::new(id, shared, self.link.clone())
    }

    /// From now on cancels all watchers, and those that come, with `reason`; takes them again with `None`.
    pub fn refuse(&self, reason: Option<Error>) {
        // Nobody is served any more if there is no thread.
        self.link.send(Control::Refuse { reason });
    }

    /// Number of watchers.
    pub fn watchers(&self) -> usize {
        self.counters().watchers
    }

    /// What the hub holds and did.
    pub fn counters(&self) -> WatchCounters {
        self.link.counters.read()
    }

    /// Ends every stream soon, without waiting for it: what was published before may not be delivered any more.
    pub fn stop(&self) {
        self.link.stop();
    }

    /// Ends every stream and joins the thread. Idempotent.
    pub fn shutdown(&self) {
        self.link.stop();
        if let Some(thread) = self.thread.lock().take() {
            // A panic was told when it happened.
            let _ = thread.join();
        }
        let history = self.link.history.lock().take();
        // Dropped outside of the lock: it may be the last hold on the store.
        drop(history);
    }
}

impl Drop for WatchHub {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for WatchHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchHub").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// The hub thread: live events first, then one step of catching up, then sleep if nothing is left.
fn run(link: &Arc<Link>, history: Arc<dyn History>) {
    // Streams must end even if this thread panics, or their consumers would wait for ever.
    let _stop = StopOnDrop(link);
    let mut engine = Engine::new(link.clone(), history);
    while let Some(work) = link.take(engine.is_busy(), engine.next_tick()) {
        engine.run(work, Instant::now());
    }
}

struct StopOnDrop<'a>(&'a Link);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
        let controls = std::mem::take(&mut self.0.inbox.lock().controls);
        for control in controls {
            if let Control::Open { shared, .. } = control {
                shared.close();
            }
        }
    }
}

/// What streams ask of the hub thread.
#[derive(Debug)]
pub(super) enum Control {
    Open {
        stream: u64,
        shared: Arc<StreamShared>,
    },
    Create {
        stream: u64,
        key: u64,
        request: Box<WatchRequest>,
        /// The store's revision when it was asked.
        published: i64,
    },
    Cancel {
        key: u64,
    },
    Progress {
        stream: u64,
    },
    /// The queue of a parked stream fell below half.
    Drained {
        stream: u64,
    },
    Close {
        stream: u64,
    },
    /// No watcher is served, for this reason.
    Refuse {
        reason: Option<Error>,
    },
}

/// What the hub thread takes in one go.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) controls: Vec<Control>,
    /// Events up to this revision are not in any batch any more.
    pub(super) lost: i64,
    pub(super) batches: Vec<Arc<EventBatch>>,
}

/// What the hub, its thread and the streams share.
pub(super) struct Link {
    /// Gone once the hub has shut down, so that a stream that outlives it does not hold the store open.
    history: Mutex<Option<Arc<dyn History>>>,
    config: WatchConfig,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    next_stream: AtomicU64,
    next_key: AtomicU64,
    /// All events up to here are in the queues of the streams that are settled.
    delivered: AtomicI64,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Inbox {
    /// Open, or to be opened by one of `controls`.
    streams: usize,
    controls: Vec<Control>,
    ring: VecDeque<(Arc<EventBatch>, usize)>,
    ring_bytes: usize,
    lost: i64,
    stopped: bool,
}

impl Inbox {
    /// Lets go of all events up to `revision`.
    fn leave_to_history(&mut self, revision: i64) {
        self.ring.clear();
        self.ring_bytes = 0;
        self.lost = revision;
    }

    fn is_empty(&self) -> bool {
        self.controls.is_empty() && self.ring.is_empty() && self.lost == 0
    }
}

impl Link {
    pub(super) fn new(history: Arc<dyn History>, config: WatchConfig) -> Self {
        Self {
            history: Mutex::new(Some(history)),
            config,
            inbox: Mutex::default(),
            wake: Condvar::new(),
            next_stream: AtomicU64::new(0),
            next_key: AtomicU64::new(0),
            delivered: AtomicI64::new(0),
            counters: Counters::default(),
        }
    }

    pub(super) fn config(&self) -> &WatchConfig {
        &self.config
    }

    /// The newest revision; 0 once the hub has shut down.
    pub(super) fn published(&self) -> i64 {
        self.history.lock().as_ref().map_or(0, |history| history.published())
    }

    /// The revision up to which settled streams have all of their events.
    pub(super) fn delivered(&self) -> i64 {
        self.delivered.load(Ordering::Acquire)
    }

    /// Told by the hub thread, once what it delivered is in the queues and streams that lag are not settled any more.
    pub(super) fn set_delivered(&self, revision: i64) {
        self.delivered.store(revision, Ordering::Release);
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A number for a new watcher.
    pub(super) fn next_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// Passes a request to the hub thread. False if there is none any more.
    pub(super) fn send(&self, control: Control) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.stopped {
            return false;
        }
        match control {
            Control::Open { .. } => inbox.streams += 1,
            Control::Close { .. } => inbox.streams -= 1,
            _ => {}
        }
        inbox.controls.push(control);
        drop(inbox);
        self.wake.notify_one();
        true
    }

    /// Counts events that a consumer took.
    pub(super) fn taken(&self, events: usize) {
        self.counters.pending_events.fetch_sub(events, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, batch: Arc<EventBatch>) {
        let mut inbox = self.inbox.lock();
        if inbox.stopped {
            return;
        }
        if inbox.streams == 0 {
            // The thread is not woken: whoever comes begins after this, or with history.
            inbox.leave_to_history(batch.revision);
            return;
        }
        let bytes = batch.events.iter().map(delivery::event_bytes).sum();
        inbox.ring.push_back((batch, bytes));
        inbox.ring_bytes += bytes;
        while inbox.ring_bytes > self.config.ring_bytes
            && let Some((dropped, bytes)) = inbox.ring.pop_front()
        {
            inbox.ring_bytes -= bytes;
            inbox.lost = dropped.revision;
        }
        drop(inbox);
        self.wake.notify_one();
    }

    fn jump_to(&self, revision: i64) {
        self.inbox.lock().leave_to_history(revision);
        self.wake.notify_one();
    }

    fn stop(&self) {
        self.inbox.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Waits for work unless the caller is busy; `None` once stopped. Events are taken up to a step's worth.
    pub(super) fn take(&self, busy: bool, until: Option<Instant>) -> Option<Work> {
        let mut inbox = self.inbox.lock();
        while !busy && inbox.is_empty() && !inbox.stopped {
            match until {
                None => self.wake.wait(&mut inbox),
                Some(until) if self.wake.wait_until(&mut inbox, until).timed_out() => break,
                Some(_) => {}
            }
        }
        if inbox.stopped {
            return None;
        }
        let mut work = Work {
            controls: std::mem::take(&mut inbox.controls),
            lost: std::mem::take(&mut inbox.lost),
            batches: Vec::new(),
        };
        let mut taken = 0;
        while taken < STEP_BYTES
            && let Some((batch, bytes)) = inbox.ring.pop_front()
        {
            inbox.ring_bytes -= bytes;
            taken += bytes;
            work.batches.push(batch);
        }
        Some(work)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("config", &self.config).finish_non_exhaustive()
    }
}

/// [`WatchCounters`] as they are kept. The hub thread writes all but `pending_events`' decrease.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) streams: AtomicUsize,
    pub(super) watchers: AtomicUsize,
    pub(super) lagging: AtomicUsize,
    pub(super) pending_events: AtomicUsize,
    pub(super) events_delivered: AtomicU64,
}

impl Counters {
    fn read(&self) -> WatchCounters {
        WatchCounters {
            streams: self.streams.load(Ordering::Relaxed),
            watchers: self.watchers.load(Ordering::Relaxed),
            lagging: self.lagging.load(Ordering::Relaxed),
            pending_events: self.pending_events.load(Ordering::Relaxed),
            events_delivered: self.events_delivered.load(Ordering::Relaxed),
        }
    }
}
