//! The consumer's end of a watch stream, and the byte-bounded queue between it and the hub thread.
//!
//! # Invariants
//! - Only the hub thread pushes responses of watchers, so a watcher's `Created` is before its events and its
//!   cancellation after them, whatever the caller does meanwhile. Progress of a settled stream its consumer pushes.
//! - The hub pushes events only while the queue is below its bound, so a queue holds at most the bound, one
//!   step's responses of one watcher group, and control responses, whose number [`WatchStream::create`] limits.
//! - A watch id is in use from [`WatchStream::create`] until it was cancelled by either side.

use super::delivery::Queued;
use super::hub::{Control, Link};
use super::{WatchKind, WatchRequest, WatchResponse};
use crate::error::Error;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// About how many bytes one call of [`WatchStream::next`] takes from the queue.
const TAKE_BYTES: usize = 256 * 1024;

/// What the hub thread and the consumer share of one stream.
#[derive(Debug)]
pub(super) struct StreamShared {
    /// Bytes from which on the queue is full.
    bytes_max: usize,
    /// Bytes in the queue. The hub adds, the consumer subtracts, both under the queue's lock.
    bytes: AtomicUsize,
    queue: Mutex<Queue>,
    ids: Mutex<Ids>,
    /// The newest store revision at which progress was asked for and the hub not yet told; 0 for none.
    progress_asked: AtomicI64,
    /// Whether every watcher that the hub knows of is told of events as they happen, so that progress can be told
    /// without asking the hub. Set and cleared by the hub.
    settled: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    responses: VecDeque<Queued>,
    /// Whether the hub wants to be told when the queue has drained below half of its bound.
    parked: bool,
    closed: bool,
    waker: Option<Waker>,
}

/// Watch ids in use, each with the watcher's key, which is never reused.
#[derive(Debug, Default)]
struct Ids {
    used: HashMap<i64, u64>,
    next: i64,
}

impl StreamShared {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
            queue: Mutex::default(),
            ids: Mutex::default(),
            progress_asked: AtomicI64::new(0),
            settled: AtomicBool::new(false),
        }
    }

    /// Bytes that the queue holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the queue is full, given that `more` bytes are about to be pushed.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.bytes() + more >= self.bytes_max
    }

    /// Queues responses and wakes the consumer once.
    pub(super) fn push(&self, responses: &mut Vec<Queued>) {
        let bytes = responses.iter().map(|queued| queued.bytes).sum();
        let waker = {
            let mut queue = self.queue.lock();
            queue.responses.extend(responses.drain(..));
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks for [`Control::Drained`]. False, and nothing asked, if the queue is below half already.
    pub(super) fn park(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.parked = self.bytes() > self.bytes_max / 2;
        queue.parked
    }

    /// Ends the stream: what is queued can still be taken.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        if let Some(waker) = queue.waker.take() {
            drop(queue);
            waker.wake();
        }
    }

    /// Throws away what is queued; returns how many events that were.
    pub(super) fn discard(&self) -> usize {
        let mut queue = self.queue.lock();
        self.bytes.store(0, Ordering::Relaxed);
        queue.responses.drain(..).map(|queued| queued.events).sum()
    }

    /// Tells whether progress can be told without asking the hub. It is set once all that was delivered is queued, and
    /// cleared before the hub tells that it delivered what this stream did not get.
    pub(super) fn settle(&self, settled: bool) {
        self.settled.store(settled, Ordering::Release);
    }

    /// Queues progress at `revision`, in place of one that waits behind all events. False, and nothing queued, if the
    /// hub has meanwhile told of something newer: progress never goes back.
    fn push_progress(&self, revision: i64) -> bool {
        let mut queue = self.queue.lock();
        if let Some(last) = queue.responses.back_mut() {
            if last.response.revision > revision {
                return false;
            }
            if last.response.kind == WatchKind::Progress && last.response.watch_ids == [-1] {
                last.response.revision = revision;
                return true;
            }
        }
        let queued = Queued::control(vec![-1], revision, WatchKind::Progress);
        self.bytes.fetch_add(queued.bytes, Ordering::Relaxed);
        queue.responses.push_back(queued);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Takes the revision for which progress was asked since the last call.
    pub(super) fn take_progress_asked(&self) -> i64 {
        self.progress_asked.swap(0, Ordering::AcqRel)
    }

    /// Frees the id of a watcher that the hub cancelled, unless a newer watcher bears it.
    pub(super) fn release_id(&self, watch_id: i64, key: u64) {
        let mut ids = self.ids.lock();
        if ids.used.get(&watch_id) == Some(&key) {
            ids.used.remove(&watch_id);
        }
    }
}

impl Ids {
    /// Takes `wanted`, or if that is 0 the next id that is not in use, counting from 0.
    fn take(&mut self, wanted: i64, key: u64) -> Result<i64, Error> {
        let id = match wanted {
            0 => {
                while self.used.contains_key(&self.next) {
                    self.next += 1;
                }
                self.next += 1;
                self.next - 1
            }
            _ if self.used.contains_key(&wanted) => return Err(Error::DuplicateWatchId),
            _ => wanted,
        };
        self.used.insert(id, key);
        Ok(id)
    }
}

/// The watchers of one client, and the queue of what they have to be told.
///
/// Responses come in the order in which a client must see them. Dropping the stream cancels its watchers.
pub struct WatchStream {
    id: u64,
    shared: Arc<StreamShared>,
    link: Arc<Link>,
    /// Watchers whose `Created` was not taken yet.
    creates_unread: usize,
}

impl WatchStream {
    pub(super) fn new(id: u64, shared: Arc<StreamShared>, link: Arc<Link>) -> Self {
        Self { id, shared, link, creates_unread: 0 }
    }

    /// Adds a watcher and returns its id at once. Its first response is [`Created`](super::WatchKind::Created).
    ///
    /// A start revision that is compacted or negative is told by the stream, with a cancellation.
    ///
    /// # Errors
    /// [`Error::DuplicateWatchId`]; [`Error::EmptyWatchRange`]; [`Error::TooManyRequests`] while too many
    /// earlier creations were not read from the stream; [`Error::Stopped`].
    pub fn create(&mut self, request: WatchRequest) -> Result<i64, Error> {
        if request.range.is_empty() {
            return Err(Error::EmptyWatchRange);
        }
        if self.creates_unread >= self.link.config().unread_creates_max {
            return Err(Error::TooManyRequests);
        }
        let key = self.link.next_key();
        let watch_id = self.shared.ids.lock().take(request.watch_id, key)?;
        let published = self.link.published();
        let request = Box::new(WatchRequest { watch_id, ..request });
        if !self.link.send(Control::Create { stream: self.id, key, request, published }) {
            return Err(Error::Stopped);
        }
        self.creates_unread += 1;
        Ok(watch_id)
    }

    /// Removes a watcher; its last response is a cancellation. Unknown ids are ignored.
    pub fn cancel(&mut self, watch_id: i64) {
        let key = self.shared.ids.lock().used.remove(&watch_id);
        if let Some(key) = key {
            self.link.send(Control::Cancel { key });
        }
    }

    /// Asks for one progress response for the whole stream, delivered once every watcher is up to date.
    ///
    /// Its revision is at least the store's at this call. Requests that wait are answered together. As in etcd,
    /// a stream without watchers does not answer, and a watcher that starts in the future holds the answer back.
    pub fn request_progress(&mut self) {
        let published = self.link.published();
        // In this order: a stream that is settled afterwards has all that was delivered before.
        if self.link.delivered() >= published && self.is_settled() && self.shared.push_progress(published) {
            return;
        }
        if self.shared.progress_asked.fetch_max(published, Ordering::AcqRel) == 0 {
            self.link.send(Control::Progress { stream: self.id });
        }
    }

    /// Whether every watcher is told of events as they happen. The hub may not know the newest watchers.
    fn is_settled(&self) -> bool {
        self.creates_unread == 0
            && self.shared.settled.load(Ordering::Acquire)
            && !self.shared.ids.lock().used.is_empty()
    }

    /// The next responses, in order; `None` once the node has stopped and everything was taken.
    pub async fn next(&mut self) -> Option<Vec<WatchResponse>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for callers that poll. Only the latest caller's waker is kept.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<WatchResponse>>> {
        let mut queue = self.shared.queue.lock();
        if queue.responses.is_empty() {
            if queue.closed {
                return Poll::Ready(None);
            }
            if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                queue.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let (mut responses, mut bytes, mut events) = (Vec::new(), 0, 0);
        while bytes < TAKE_BYTES
            && let Some(queued) = queue.responses.pop_front()
        {
            bytes += queued.bytes;
            events += queued.events;
            responses.push(queued.response);
        }
        let left = self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        let drained = queue.parked && left <= self.shared.bytes_max / 2;
        queue.parked &= !drained;
        drop(queue);
        if drained {
            self.link.send(Control::Drained { stream: self.id });
        }
        self.link.taken(events);
        let created = |response: &&WatchResponse| matches!(response.kind, WatchKind::Created);
        self.creates_unread -= responses.iter().filter(created).count();
        Poll::Ready(Some(responses))
    }

    /// Bytes that wait in the queue.
    pub fn queued_bytes(&self) -> usize {
        self.shared.bytes()
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        if !self.link.send(Control::Close { stream: self.id }) {
            self.link.taken(self.shared.discard());
        }
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("id", &self.id)
            .field("queued_bytes", &self.queued_bytes())
            .finish()
    }
}
