//! The deadlines of one thread, behind one timer.
//!
//! A request has a deadline and nearly always ends before it. A timer of the reactor for each would cost more than
//! the request, so deadlines are slots in a table that is looked through when the earliest one is due, at most every
//! [`RESOLUTION`]. A deadline never fires early, and up to one resolution late.
//!
//! # Invariants
//! - `next_scan` is no later than the earliest waiting deadline (or `None` if none waits).
//! - A slot is freed by the drop of its [`Deadline`], and only by that.

use coffer_runtime::{Sleep, sleep_until};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How late a deadline may fire.
pub(crate) const RESOLUTION: Duration = Duration::from_millis(10);

/// Makes deadlines. Every clone is the same ticker; [`run`](Self::run) has to be polled on the same thread.
#[derive(Clone, Default)]
pub(crate) struct Ticker(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    next_scan: Option<Instant>,
    runner: Option<Waker>,
}

struct Slot {
    at: Instant,
    waker: Option<Waker>,
    passed: bool,
}

/// Resolves once its time has come.
pub(crate) struct Deadline {
    ticker: Ticker,
    slot: usize,
}

impl Ticker {
    /// A deadline at `at`.
    pub(crate) fn at(&self, at: Instant) -> Deadline {
        let mut table = self.0.borrow_mut();
        let entry = Some(Slot { at, waker: None, passed: false });
        let slot = match table.free.pop() {
            Some(slot) => {
                table.slots[slot] = entry;
                slot
            }
            None => {
                table.slots.push(entry);
                table.slots.len() - 1
            }
        };
        if table.next_scan.is_none_or(|next| at < next) {
            table.next_scan = Some(at);
            if let Some(runner) = table.runner.take() {
                runner.wake();
            }
        }
        Deadline { ticker: self.clone(), slot }
    }

    /// A deadline `after` from now.
    pub(crate) fn after(&self, after: Duration) -> Deadline {
        self.at(Instant::now() + after)
    }

    /// Runs `future`, at most until `at`; `None` if it was cut off.
    pub(crate) async fn within<F: Future>(&self, at: Instant, future: F) -> Option<F::Output> {
        self.race(future, || self.at(at)).await
    }

    /// Runs `future`, at most for `time` from when it first waits; `None` if it was cut off.
    pub(crate) async fn limit<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        self.race(future, || self.after(time)).await
    }

    async fn race<F: Future>(&self, future: F, make: impl Fn() -> Deadline) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            // Only what really waits takes a slot.
            let deadline = deadline.get_or_insert_with(&make);
            Pin::new(deadline).poll(cx).map(|()| None)
        })
        .await
    }

    /// Fires deadlines, for ever.
    pub(crate) async fn run(self) {
        let mut timer: Option<(Instant, Sleep)> = None;
        poll_fn(|cx| {
            loop {
                let Some(next) = self.0.borrow().next_scan else {
                    self.0.borrow_mut().runner = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                let timer = match &mut timer {
                    Some((at, timer)) if *at == next => timer,
                    _ => &mut timer.insert((next, sleep_until(next))).1,
                };
                if Pin::new(timer).poll(cx).is_pending() {
                    self.0.borrow_mut().runner = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                self.0.borrow_mut().scan(Instant::now());
            }
        })
        .await
    }
}

impl Table {
    /// Fires what is due at `now` and sets the time of the next look.
    fn scan(&mut self, now: Instant) {
        let mut earliest: Option<Instant> = None;
        for slot in self.slots.iter_mut().flatten().filter(|slot| !slot.passed) {
            if slot.at <= now {
                slot.passed = true;
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            } else if earliest.is_none_or(|at| slot.at < at) {
                earliest = Some(slot.at);
            }
        }
        self.next_scan = earliest.map(|at| at.max(now + RESOLUTION));
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut table = self.ticker.0.borrow_mut();
        match &mut table.slots[self.slot] {
            Some(slot) if !slot.passed => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut table = self.ticker.0.borrow_mut();
        table.slots[self.slot] = None;
        table.free.push(self.slot);
    }
}
