//! The state of one connection, shared by its reader, its flusher, its calls and whoever supervises it.

use super::output::Output;
use crate::ticker::Ticker;
use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use thiserror::Error;

/// Below this much, a connection is served even where the thread's budget is used up.
const ALWAYS_BYTES: usize = 64 * 1024;

/// What one connection may use. Bytes of a message are what it takes in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest frame until [`login`](Self::frame_bytes_max).
    pub frame_bytes_max_before_login: usize,
    /// Largest frame.
    pub frame_bytes_max: usize,
    /// Unsent bytes above which the connection is not read; 0 for never.
    pub output_soft_bytes: usize,
    /// Unsent bytes above which the connection is cut.
    pub output_hard_bytes: usize,
    /// Bytes of unfinished calls above which the connection is not read; 0 for never.
    pub in_flight_bytes_max: usize,
    /// Unfinished calls above which the connection is not read; 0 for never.
    pub in_flight_calls_max: usize,
    /// How long a frame may take from its first byte to its last.
    pub frame_timeout: Duration,
    /// How long a write may make no progress.
    pub stall_timeout: Duration,
}

/// What an unfinished call holds besides its message: measured at 2.1 to 2.6 kB.
pub(super) const CALL_BYTES: usize = 2500;

impl Limits {
    /// For a server that faces anyone.
    pub fn server() -> Self {
        Self {
            frame_bytes_max_before_login: 64 << 10,
            frame_bytes_max: 4 << 20,
            output_soft_bytes: 1 << 20,
            output_hard_bytes: 64 << 20,
            in_flight_bytes_max: 16 << 20,
            in_flight_calls_max: 4096,
            frame_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
        }
    }

    /// For a client: it always reads, and takes the large replies that it asked for.
    pub fn client() -> Self {
        Self {
            frame_bytes_max_before_login: 64 << 20,
            frame_bytes_max: 64 << 20,
            output_soft_bytes: 0,
            output_hard_bytes: 64 << 20,
            in_flight_bytes_max: 0,
            in_flight_calls_max: 0,
            frame_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(15),
        }
    }
}

/// Why a connection was ended by this side, or how the other side ended it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The peer asked for more than it takes.
    #[error("{bytes} bytes wait to be sent, more than the limit")]
    OutputOverflow {
        /// Bytes that waited.
        bytes: usize,
    },
    /// The peer takes nothing any more.
    #[error("the peer stopped reading")]
    WriteStalled,
    /// A frame began and did not end.
    #[error("a frame did not arrive in time")]
    FrameTimeout,
    /// A frame exceeds the limit.
    #[error("frame of {bytes} bytes exceeds the limit of {max}")]
    FrameTooLarge {
        /// What the frame's header announces.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are not a frame.
    #[error("malformed frame: {0}")]
    MalformedFrame(&'static str),
    /// The stream ended inside a frame.
    #[error("the peer closed the connection inside a frame")]
    Truncated,
    /// Nothing was heard for too long.
    #[error("nothing was heard from the peer for too long")]
    Idle,
    /// The peer did not log in.
    #[error("no login in time")]
    NoLogin,
    /// A call panicked here.
    #[error("internal error")]
    Panic,
    /// This side closed the connection.
    #[error("connection closed")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(String),
}

impl From<Fault> for capnp::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::FrameTooLarge { .. } | Fault::MalformedFrame(_) => capnp::Error::failed(fault.to_string()),
            _ => capnp::Error::disconnected(fault.to_string()),
        }
    }
}

/// What a connection has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Messages read.
    pub messages_in: u64,
    /// Messages queued for writing.
    pub messages_out: u64,
    /// Write calls.
    pub writes: u64,
}

/// Bytes that all connections of one thread may hold together, beyond a little for each.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Rc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    max: usize,
    used: Cell<usize>,
    waiters: RefCell<Vec<Waker>>,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self(Rc::new(BudgetState { max, used: Cell::new(0), waiters: RefCell::default() }))
    }

    fn add(&self, bytes: usize) {
        self.0.used.set(self.0.used.get() + bytes);
    }

    fn subtract(&self, bytes: usize) {
        self.0.used.set(self.0.used.get() - bytes);
        if self.0.used.get() < self.0.max && !self.0.waiters.borrow().is_empty() {
            self.0.waiters.take().into_iter().for_each(Waker::wake);
        }
    }

    fn is_exhausted(&self) -> bool {
        self.0.used.get() >= self.0.max
    }
}

/// A handle to a connection's state. Every clone is the same connection.
#[derive(Clone)]
pub(crate) struct Link(Rc<State>);

pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) ticker: Ticker,
    budget: Budget,
    pub(super) output: RefCell<Output>,
    frame_bytes_max: Cell<usize>,
    in_flight_bytes: Cell<usize>,
    in_flight_calls: Cell<usize>,
    /// Bytes arrived since the last look of [`Link::take_activity`].
    active: Cell<bool>,
    draining: Cell<bool>,
    fault: RefCell<Option<Fault>>,
    /// Set by capnp-rpc once it is done with the connection; resolved when the output is written.
    pub(super) closing: Cell<bool>,
    pub(super) closed: RefCell<Vec<oneshot::Sender<()>>>,
    reader: Cell<Option<Waker>>,
    /// Whether the reader waits for calls to end or output to leave. Waking it otherwise would cost a system call.
    reader_is_held: Cell<bool>,
    pub(super) flusher: Cell<Option<Waker>>,
    /// Calls that wait for room in the output.
    room: RefCell<Vec<Waker>>,
    next_words: Cell<u32>,
    pub(super) counters: Cell<Counters>,
}

impl Link {
    pub(crate) fn new(limits: Limits, ticker: Ticker, budget: Budget) -> Self {
        Self(Rc::new(State {
            limits,
            ticker,
            budget,
            output: RefCell::default(),
            frame_bytes_max: Cell::new(limits.frame_bytes_max_before_login),
            in_flight_bytes: Cell::new(0),
            in_flight_calls: Cell::new(0),
            active: Cell::new(false),
            draining: Cell::new(false),
            fault: RefCell::new(None),
            closing: Cell::new(false),
            closed: RefCell::default(),
            reader: Cell::new(None),
            reader_is_held: Cell::new(false),
            flusher: Cell::new(None),
            room: RefCell::default(),
            next_words: Cell::new(0),
            counters: Cell::default(),
        }))
    }

    pub(super) fn state(&self) -> &State {
        &self.0
    }

    /// Raises the frame limit: the peer has logged in.
    pub(crate) fn logged_in(&self) {
        self.0.frame_bytes_max.set(self.0.limits.frame_bytes_max);
    }

    /// Ends the connection for `fault`, unless it has ended already. What is queued is not written any more.
    pub(crate) fn fail(&self, fault: Fault) {
        self.0.fault.borrow_mut().get_or_insert(fault);
        wake(&self.0.reader);
        wake(&self.0.flusher);
        self.wake_room();
    }

    /// Records why the peer's input was refused. What is queued, the reason included, is still written.
    pub(super) fn refuse(&self, fault: Fault) -> capnp::Error {
        tracing::debug!(%fault, "connection refused");
        fault.into()
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.fault.borrow().clone()
    }

    /// Stops taking calls, and ends the connection once the begun ones are answered and the answers written.
    pub(crate) fn drain(&self) {
        self.0.draining.set(true);
        wake(&self.0.reader);
    }

    /// Whether bytes arrived since the last call.
    pub(crate) fn take_activity(&self) -> bool {
        self.0.active.take()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.0.counters.get()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.0.counters.get();
        change(&mut counters);
        self.0.counters.set(counters);
    }

    /// Sizes the first segment of the next outgoing message. Call it right before that message is begun.
    pub(crate) fn expect_words(&self, words: usize) {
        self.0.next_words.set(u32::try_from(words).unwrap_or(0));
    }

    pub(super) fn first_segment_words(&self, proposed: u32) -> u32 {
        match self.0.next_words.take() {
            // capnp-rpc proposes 1024 words for every call; most need a few dozen.
            0 => proposed.clamp(16, 128),
            words => words,
        }
    }

    /// Waits until little enough is unsent for another answer of unknown size. At once on a failed connection.
    pub(crate) async fn room(&self) {
        poll_fn(|cx| {
            let state = &self.0;
            let unsent = state.output.borrow().bytes();
            let soft = state.limits.output_soft_bytes;
            let full = (soft > 0 && unsent > soft) || (unsent > ALWAYS_BYTES && state.budget.is_exhausted());
            if !full || state.fault.borrow().is_some() {
                return Poll::Ready(());
            }
            state.room.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub(super) fn wake_room(&self) {
        if !self.0.room.borrow().is_empty() {
            self.0.room.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits for a fault only.
    pub(super) fn poll_fault(&self, cx: &mut Context<'_>) -> Poll<Fault> {
        match &*self.0.fault.borrow() {
            Some(fault) => Poll::Ready(fault.clone()),
            None => {
                self.0.reader.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// Waits until another message may be taken. `false`: none will ever be, the connection has drained.
    pub(super) fn poll_may_read(&self, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        let state = &self.0;
        state.reader_is_held.set(false);
        if let Some(fault) = self.fault() {
            return Poll::Ready(Err(fault));
        }
        if state.draining.get() && state.in_flight_calls.get() == 0 {
            return Poll::Ready(Ok(false));
        }
        if !state.draining.get() && !self.is_full() {
            return Poll::Ready(Ok(true));
        }
        state.reader.set(Some(cx.waker().clone()));
        state.reader_is_held.set(true);
        if !state.draining.get() && state.budget.is_exhausted() {
            state.budget.0.waiters.borrow_mut().push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether another message may be taken now.
    pub(super) fn may_read(&self) -> bool {
        !self.is_draining() && self.0.fault.borrow().is_none() && !self.is_full()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    fn is_full(&self) -> bool {
        let State { limits, in_flight_bytes, in_flight_calls, output, budget, .. } = &*self.0;
        let unsent = output.borrow().bytes();
        let above = |value: usize, max: usize| max > 0 && value > max;
        above(unsent, limits.output_soft_bytes)
            || above(in_flight_bytes.get() + 1, limits.in_flight_bytes_max)
            || above(in_flight_calls.get() + 1, limits.in_flight_calls_max)
            || (unsent + in_flight_bytes.get() > ALWAYS_BYTES && budget.is_exhausted())
    }

    pub(super) fn frame_bytes_max(&self) -> usize {
        self.0.frame_bytes_max.get()
    }

    pub(super) fn received(&self, bytes: usize) {
        self.0.active.set(true);
        self.count(|counters| counters.bytes_in += bytes as u64);
    }

    /// Charges the connection for a message until it is [released](Self::release).
    pub(super) fn charge(&self, bytes: usize) {
        self.0.in_flight_bytes.set(self.0.in_flight_bytes.get() + bytes);
        self.0.in_flight_calls.set(self.0.in_flight_calls.get() + 1);
        self.0.budget.add(bytes);
        self.count(|counters| counters.messages_in += 1);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.0.in_flight_bytes.set(self.0.in_flight_bytes.get() - bytes);
        self.0.in_flight_calls.set(self.0.in_flight_calls.get() - 1);
        self.0.budget.subtract(bytes);
        self.let_reader_go();
    }

    fn let_reader_go(&self) {
        if self.0.reader_is_held.get() {
            wake(&self.0.reader);
        }
    }

    /// Notes that the output grew.
    pub(super) fn queued(&self, bytes: usize) {
        self.0.budget.add(bytes);
        self.count(|counters| counters.messages_out += 1);
        let unsent = self.0.output.borrow().bytes();
        if unsent > self.0.limits.output_hard_bytes {
            self.fail(Fault::OutputOverflow { bytes: unsent });
        }
        wake(&self.0.flusher);
    }

    /// Notes that the output shrank.
    pub(super) fn sent(&self, bytes: usize) {
        self.0.budget.subtract(bytes);
        self.count(|counters| {
            counters.bytes_out += bytes as u64;
            counters.writes += 1;
        });
        let soft = self.0.limits.output_soft_bytes;
        if soft > 0 && self.0.output.borrow().bytes() <= soft {
            self.let_reader_go();
            self.wake_room();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.budget.subtract(self.output.borrow().bytes());
    }
}

pub(super) fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
