//! The queue behind a handle: completions that wait, the descriptor that tells of them, and the calls that are to bring more.
//!
//! # Invariants
//! - The descriptor is readable exactly while a completion waits: both change under one lock.
//! - Every call that was accepted posts one completion, whatever becomes of its task: [`Post`] sees to it.
//! - What waits is bounded: so many calls may be under way or unread, and a watch waits when some of its completions do.

use crate::answer::Answer;
use crate::error::{self, coffer_error};
use crate::failure::Failure;
use crate::flight::{Enlisted, Flight, Flights, Stop};
use crate::handles::{Kind, Table};
use crate::queue::coffer_completion;
use crate::result::coffer_result;
use crate::status::{COFFER_BAD_HANDLE, COFFER_TOO_MANY_REQUESTS, coffer_status};
use futures_util::task::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

pub(crate) static QUEUES: Table<Arc<Queue>> = Table::new(Kind::Queue);

/// Calls that may be under way with a queue, and completions that may wait in it.
const CALLS_MAX: usize = 1 << 16;
/// Completions of one watch that may wait.
const WINDOW: usize = 8;

/// A completion queue.
#[derive(Debug)]
pub(crate) struct Queue {
    ready: Mutex<Ready>,
    arrived: Condvar,
    event: OwnedFd,
    /// What is under way.
    pub(crate) flights: Arc<Flights>,
}

#[derive(Debug, Default)]
struct Ready {
    waiting: VecDeque<Completion>,
    closed: bool,
}

/// What a call came to.
pub(crate) type Outcome = Result<(coffer_status, Answer), Failure>;

/// Something that came to a queue.
#[derive(Debug)]
pub(crate) struct Completion {
    kind: u32,
    tag: u64,
    last: bool,
    context: &'static CStr,
    outcome: Outcome,
    /// Of a watch: lets it go on.
    _permit: Option<Permit>,
}

impl Completion {
    /// In the shape of the interface; the error and the result are the caller's from now on.
    pub(crate) fn hand_over(self) -> coffer_completion {
        let outcome = self.outcome.and_then(|(status, answer)| Ok((status, answer.hand_over()?)));
        let (status, result, error) = match outcome {
            Ok((status, result)) => (status, result, 0),
            Err(failure) => (failure.status, coffer_result::EMPTY, error::tell(self.context, failure)),
        };
        coffer_completion {
            size: size_of::<coffer_completion>() as u32,
            kind: self.kind,
            tag: self.tag,
            status,
            last: u32::from(self.last),
            error: coffer_error { id: error },
            result,
        }
    }
}

impl Queue {
    pub(crate) fn new() -> Result<Self, Failure> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Failure::system("make a descriptor", error))?;
        Ok(Self { ready: Mutex::default(), arrived: Condvar::new(), event, flights: Arc::default() })
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.event.as_raw_fd()
    }

    /// Accepts a call, which may make a change or not: what is returned posts its completions.
    pub(crate) fn accept(
        self: &Arc<Self>,
        kind: u32,
        tag: u64,
        context: &'static CStr,
        flight: &Arc<Flight>,
        changes: bool,
    ) -> Result<Post, Failure> {
        if self.flights.count() + self.ready.lock().waiting.len() >= CALLS_MAX {
            return Err(Failure::plain(COFFER_TOO_MANY_REQUESTS, "too many calls wait in the queue"));
        }
        let enlisted = self.flights.enlist(tag, flight);
        let flight = Arc::clone(flight);
        let queue = Arc::clone(self);
        Ok(Post { queue, kind, tag, context, flight, changes, over: false, _enlisted: enlisted })
    }

    fn push(&self, completion: Completion) {
        let mut ready = self.ready.lock();
        if ready.closed {
            // What it holds is wiped outside of the lock.
            drop(ready);
            return drop(completion);
        }
        if ready.waiting.is_empty() {
            // Room for one is always there: it is taken whenever the queue empties.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
        ready.waiting.push_back(completion);
        drop(ready);
        self.arrived.notify_one();
    }

    /// The next completion; `None` if none came in time.
    pub(crate) fn next(&self, until: Option<Instant>) -> Result<Option<Completion>, Failure> {
        let mut ready = self.ready.lock();
        loop {
            if ready.closed {
                return Err(Failure::plain(COFFER_BAD_HANDLE, "the queue was closed"));
            }
            if let Some(completion) = ready.waiting.pop_front() {
                if ready.waiting.is_empty() {
                    let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
                }
                return Ok(Some(completion));
            }
            match until {
                None => self.arrived.wait(&mut ready),
                Some(until) => {
                    if self.arrived.wait_until(&mut ready, until).timed_out() && ready.waiting.is_empty() {
                        return if ready.closed { continue } else { Ok(None) };
                    }
                }
            }
        }
    }

    /// Ends all that is under way, and waits until nobody uses it.
    pub(crate) fn close(self: Arc<Self>) {
        let waiting = {
            let mut ready = self.ready.lock();
            ready.closed = true;
            std::mem::take(&mut ready.waiting)
        };
        drop(waiting);
        self.arrived.notify_all();
        self.flights.stop_all(Stop::Canceled);
        self.flights.wait_until_empty();
        wait_until_alone(&self);
    }
}

/// Waits until nobody else holds it. Whoever does is about to leave.
pub(crate) fn wait_until_alone<T>(shared: &Arc<T>) {
    let mut pause = Duration::from_micros(1);
    while Arc::strong_count(shared) > 1 {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
}

/// Posts the completions of one call. If it is dropped before the last one, because its task was, that one says so.
#[derive(Debug)]
pub(crate) struct Post {
    queue: Arc<Queue>,
    kind: u32,
    tag: u64,
    context: &'static CStr,
    flight: Arc<Flight>,
    /// Whether the call may make a change.
    changes: bool,
    over: bool,
    _enlisted: Enlisted,
}

impl Post {
    /// The last completion.
    pub(crate) fn last(mut self, outcome: Outcome) {
        self.over = true;
        self.push(outcome, None);
    }

    /// One of several.
    pub(crate) fn one(&self, outcome: Outcome, permit: Permit) {
        self.push(outcome, Some(permit));
    }

    /// No completion, and none to come.
    pub(crate) fn none(mut self) {
        self.over = true;
    }

    fn push(&self, outcome: Outcome, permit: Option<Permit>) {
        let Self { kind, tag, context, over, .. } = *self;
        self.queue.push(Completion { kind, tag, last: over, context, outcome, _permit: permit });
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if !self.over {
            self.over = true;
            let stop = self.flight.stopped().unwrap_or(Stop::StoreClosed);
            self.push(Err(stop.failure(self.changes)), None);
        }
    }
}

/// How many completions of a watch may wait.
#[derive(Debug, Default)]
pub(crate) struct Window {
    waiting: AtomicUsize,
    waker: AtomicWaker,
}

/// A place in the window, given back when the completion is taken.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Window>);

impl Window {
    /// Waits for a place.
    pub(crate) async fn enter(self: &Arc<Self>) -> Permit {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            match self.waiting.load(Ordering::Acquire) < WINDOW {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        // One task enters, so that the place is still there.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Permit(Arc::clone(self))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.waker.wake();
    }
}
