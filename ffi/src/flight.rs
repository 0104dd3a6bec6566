//! Calls that are under way, and what ends them early: a deadline, a cancellation, the end of a store or a queue.
//!
//! # Invariants
//! - Whoever is told to stop ends with an outcome of its own: exactly one, that of the call if it was quicker.
//! - A change that had begun when it was told to stop may have happened, and its outcome says so.

use crate::failure::Failure;
use crate::status::{COFFER_CANCELED, COFFER_END, COFFER_OUTCOME_UNKNOWN, COFFER_STOPPED, COFFER_TIMEOUT};
use coffer::{Sleep, sleep_until};
use futures_util::task::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

/// Why a call ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    /// Its time is up.
    Deadline = 1,
    /// The caller said so.
    Canceled = 2,
    /// Its store was closed.
    StoreClosed = 3,
    /// Its own handle was closed.
    Closed = 4,
}

impl Stop {
    /// What a call fails with that may have made a change, or surely has not.
    pub(crate) fn failure(self, may_have_happened: bool) -> Failure {
        let (status, message) = match self {
            Self::Deadline if may_have_happened => {
                (COFFER_OUTCOME_UNKNOWN, "the time was up, outcome unknown")
            }
            Self::Canceled if may_have_happened => (COFFER_OUTCOME_UNKNOWN, "canceled, outcome unknown"),
            Self::StoreClosed if may_have_happened => {
                (COFFER_OUTCOME_UNKNOWN, "the store was closed, outcome unknown")
            }
            Self::Closed if may_have_happened => (COFFER_OUTCOME_UNKNOWN, "closed, outcome unknown"),
            Self::Deadline => (COFFER_TIMEOUT, "the time was up"),
            Self::Canceled => (COFFER_CANCELED, "canceled"),
            Self::StoreClosed => (COFFER_STOPPED, "the store was closed"),
            Self::Closed => (COFFER_END, "closed"),
        };
        Failure::plain(status, message)
    }
}

/// One call that is under way, as others see it. One task waits in it at a time.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    stop: AtomicU8,
    nudged: AtomicBool,
    waker: AtomicWaker,
}

impl Flight {
    /// Tells it to end; the first reason counts.
    pub(crate) fn stop(&self, reason: Stop) {
        let _ = self.stop.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    /// Has it look up from its work.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Why it is to end, if it is.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Deadline),
            2 => Some(Stop::Canceled),
            3 => Some(Stop::StoreClosed),
            _ => Some(Stop::Closed),
        }
    }

    /// Waits until it is to end, or was nudged since the last time (`None`).
    pub(crate) async fn told(&self) -> Option<Stop> {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            match self.stopped() {
                Some(stop) => Poll::Ready(Some(stop)),
                None if self.nudged.swap(false, Ordering::AcqRel) => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for `work` until its time is up or it is told to end; looks at it once at least.
    pub(crate) async fn wait_until<F: Future>(
        &self,
        until: Option<Instant>,
        work: F,
    ) -> Result<F::Output, Stop> {
        let mut work = pin!(work);
        let mut sleep: Option<Sleep> = None;
        std::future::poll_fn(|context: &mut Context<'_>| {
            self.waker.register(context.waker());
            if let Some(stop) = self.stopped() {
                return Poll::Ready(Err(stop));
            }
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let Some(until) = until else { return Poll::Pending };
            let sleep = sleep.get_or_insert_with(|| sleep_until(until));
            Pin::new(sleep).poll(context).map(|()| Err(Stop::Deadline))
        })
        .await
    }

    /// Runs `work` until it is done, its time is up or it is told to end: then with why, and whether it had begun. Timers
    /// are those of the executor that this runs in.
    pub(crate) async fn run<F: Future>(
        &self,
        deadline: Option<Instant>,
        work: F,
    ) -> Result<F::Output, (Stop, bool)> {
        let mut work = pin!(work);
        let mut sleep: Option<Sleep> = None;
        let mut begun = false;
        std::future::poll_fn(|context: &mut Context<'_>| {
            self.waker.register(context.waker());
            if let Some(stop) = self.stopped() {
                return Poll::Ready(Err((stop, begun)));
            }
            if let (false, Some(deadline)) = (begun, deadline)
                && deadline <= Instant::now()
            {
                return Poll::Ready(Err((Stop::Deadline, false)));
            }
            begun = true;
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let Some(deadline) = deadline else { return Poll::Pending };
            let sleep = sleep.get_or_insert_with(|| sleep_until(deadline));
            Pin::new(sleep).poll(context).map(|()| Err((Stop::Deadline, true)))
        })
        .await
    }
}

/// The calls that are under way somewhere, by tag.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    calls: Mutex<Calls>,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Calls {
    by_tag: BTreeMap<(u64, u64), Arc<Flight>>,
    number: u64,
    /// Why nobody may begin any more.
    over: Option<Stop>,
}

impl Flights {
    /// Adds a call, which is on the list until what this returns is dropped. It is told to end at once if all are.
    pub(crate) fn enlist(self: &Arc<Self>, tag: u64, flight: &Arc<Flight>) -> Enlisted {
        let mut calls = self.calls.lock();
        calls.number += 1;
        let key = (tag, calls.number);
        calls.by_tag.insert(key, Arc::clone(flight));
        if let Some(stop) = calls.over {
            flight.stop(stop);
        }
        Enlisted { flights: Arc::clone(self), key }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().by_tag.len()
    }

    /// Tells all with this tag to end. Returns whether there were any.
    pub(crate) fn stop_tag(&self, tag: u64, reason: Stop) -> bool {
        let calls = self.calls.lock();
        let tagged: Vec<_> =
            calls.by_tag.range((tag, 0)..=(tag, u64::MAX)).map(|(_, flight)| Arc::clone(flight)).collect();
        drop(calls);
        tagged.iter().for_each(|flight| flight.stop(reason));
        !tagged.is_empty()
    }

    /// Tells all to end, and every later one too.
    pub(crate) fn stop_all(&self, reason: Stop) {
        let mut calls = self.calls.lock();
        calls.over.get_or_insert(reason);
        let all: Vec<_> = calls.by_tag.values().cloned().collect();
        drop(calls);
        all.iter().for_each(|flight| flight.stop(reason));
    }

    /// Waits until none is left.
    pub(crate) fn wait_until_empty(&self) {
        let mut calls = self.calls.lock();
        while !calls.by_tag.is_empty() {
            self.emptied.wait(&mut calls);
        }
    }
}

/// A call's place on the list.
#[derive(Debug)]
pub(crate) struct Enlisted {
    flights: Arc<Flights>,
    key: (u64, u64),
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        let mut calls = self.flights.calls.lock();
        calls.by_tag.remove(&self.key);
        if calls.by_tag.is_empty() {
            self.flights.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer::{Executor, park_on};
    use std::future::pending;
    use std::time::Duration;

    #[test]
    fn a_call_ends_by_itself_or_by_whoever_is_first() {
        let flight = Flight::default();
        assert_eq!(park_on(flight.run(None, async { 7 })), Ok(7));
        let executor = Executor::start("flight", 1).expect("a thread");
        let soon = Some(Instant::now() + Duration::from_millis(20));
        assert_eq!(executor.block_on(flight.run(soon, pending::<()>())), Err((Stop::Deadline, true)));
        assert_eq!(executor.block_on(flight.run(soon, async {})), Err((Stop::Deadline, false)));
        let flights = Arc::new(Flights::default());
        let flight = Arc::new(Flight::default());
        let enlisted = flights.enlist(7, &flight);
        assert!(!flights.stop_tag(8, Stop::Canceled) && flights.stop_tag(7, Stop::Canceled));
        assert_eq!(park_on(flight.run(None, pending::<()>())), Err((Stop::Canceled, false)));
        flights.stop_all(Stop::StoreClosed);
        assert_eq!(flight.stopped(), Some(Stop::Canceled), "the first reason counts");
        drop(enlisted);
        flights.wait_until_empty();
        let late = Arc::new(Flight::default());
        let _enlisted = flights.enlist(7, &late);
        assert_eq!(late.stopped(), Some(Stop::StoreClosed));
    }

    #[test]
    fn a_nudge_is_heard_once() {
        let flight = Flight::default();
        flight.nudge();
        assert_eq!(park_on(flight.told()), None);
        flight.stop(Stop::Closed);
        assert_eq!(park_on(flight.told()), Some(Stop::Closed));
    }

    #[test]
    fn what_may_have_happened_is_not_denied() {
        for stop in [Stop::Deadline, Stop::Canceled, Stop::StoreClosed, Stop::Closed] {
            assert_eq!(stop.failure(true).status, COFFER_OUTCOME_UNKNOWN);
            assert_ne!(stop.failure(false).status, COFFER_OUTCOME_UNKNOWN);
        }
    }
}
