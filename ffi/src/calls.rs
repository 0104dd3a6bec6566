//! How calls run: on the caller's thread, or on the store's, for a completion queue.

use crate::answer::{Answer, Target};
use crate::completions::{Outcome, Post, QUEUES, Queue};
use crate::failure::Failure;
use crate::flight::{Enlisted, Flight, Flights};
use crate::handles::Poison;
use crate::input::{flags, optional};
use crate::queue::{COFFER_COMPLETION_CALL, coffer_call, until};
use crate::status::{COFFER_OK, coffer_status};
use coffer::{Client, Executor};
use futures_util::FutureExt;
use std::ffi::CStr;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A store as calls use it, and what outlives its handle: watches, iterators, keepers.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) client: Client,
    /// One thread, for calls with a queue and for the timers of all.
    pub(crate) executor: Executor,
    /// What is under way.
    pub(crate) flights: Arc<Flights>,
    /// How long a call may take of which nothing is said.
    pub(crate) timeout: Option<Duration>,
    pub(crate) poison: Poison,
    /// Whether it is in another process.
    pub(crate) is_remote: bool,
    /// For tests of this crate: the function that is to panic.
    pub(crate) panics_in: Option<String>,
}

/// What a call can have done when it ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that anybody sees.
    Reads,
    /// A change.
    Changes,
}

/// How one call is made.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) deadline: Option<Instant>,
    pub(crate) queue: Option<(Arc<Queue>, u64)>,
}

impl Call {
    /// Reads how a call is to be made; `timeout` is for one that says nothing.
    ///
    /// # Safety
    /// As [`optional`].
    pub(crate) unsafe fn read(call: *const coffer_call, timeout: Option<Duration>) -> Result<Self, Failure> {
        let default = || timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // SAFETY: the caller's contract is the same.
        let Some(call) = (unsafe { optional(call) })? else {
            return Ok(Self { deadline: default(), queue: None });
        };
        flags(call.flags, 0)?;
        let deadline = if call.timeout_ms == 0 { default() } else { until(call.timeout_ms) };
        let queue = match call.queue.id {
            0 => None,
            id => Some((QUEUES.get(id)?, call.tag)),
        };
        Ok(Self { deadline, queue })
    }
}

impl Core {
    /// Panics where a test wants it.
    pub(crate) fn rehearse(&self, context: &CStr) {
        if let Some(function) = &self.panics_in {
            assert!(function.as_bytes() != context.to_bytes(), "on purpose");
        }
    }

    /// Makes a call: waits for its answer and hands it to `target`, or lets it come to the call's queue.
    pub(crate) fn perform(
        self: &Arc<Self>,
        context: &'static CStr,
        call: Call,
        effect: Effect,
        target: Target,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<coffer_status, Failure> {
        match call.queue {
            None => {
                self.rehearse(context);
                let (status, answer) = self.wait(call.deadline, effect, work)?;
                target.fill(answer)?;
                Ok(status)
            }
            Some((queue, tag)) => {
                let flight = Arc::new(Flight::default());
                let post =
                    queue.accept(COFFER_COMPLETION_CALL, tag, context, &flight, effect == Effect::Changes)?;
                let core = Arc::clone(self);
                let work = async move {
                    core.rehearse(context);
                    work.await
                };
                self.submit(flight, post, call.deadline, effect, work);
                Ok(COFFER_OK)
            }
        }
    }

    /// Waits for `work` on this thread.
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        effect: Effect,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let flight = Arc::new(Flight::default());
        let _enlisted = self.flights.enlist(0, &flight);
        let done = self.executor.block_on(flight.run(deadline, work));
        done.unwrap_or_else(|(stop, begun)| Err(stop.failure(begun && effect == Effect::Changes)))
    }

    /// Has `work` run on the store's thread.
    fn submit(
        &self,
        flight: Arc<Flight>,
        post: Post,
        deadline: Option<Instant>,
        effect: Effect,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let enlisted = self.flights.enlist(0, &flight);
        let poison = self.poison.clone();
        self.spawn(enlisted, async move {
            let work = AssertUnwindSafe(work).catch_unwind();
            post.last(match flight.run(deadline, work).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(panic)) => {
                    poison.set();
                    Err(Failure::panicked(&*panic))
                }
                Err((stop, begun)) => Err(stop.failure(begun && effect == Effect::Changes)),
            });
        });
    }

    /// Starts a task on the store's thread, which counts as under way until it is over.
    pub(crate) fn spawn(&self, enlisted: Enlisted, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.executor.spawn(async move {
            task.await;
            drop(enlisted);
        }));
    }
}

/// An answer that is no failure.
pub(crate) fn ok(answer: Answer) -> Outcome {
    Ok((COFFER_OK, answer))
}
