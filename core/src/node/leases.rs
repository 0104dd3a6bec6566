//! The life of leases, while this node leads: keepalives, expiry and checkpoints.
//!
//! # Invariants
//! - A lease ends between its TTL and its TTL plus two election timeouts, never early.
//! - Expiry is proposed in small commands, a few at a time, so that a hundred thousand expiring leases never hold a
//!   put back.
//! - Once an expiry is proposed, keepalives of that lease wait for its outcome.
//! - A keepalive of a lease with a stored checkpoint clears the checkpoint through the log first, and waits for one
//!   that is on its way.

use super::failure::Failure;
use super::lease_clock::{LeaseClock, LeaseTerm};
use super::proposals::Proposals;
use crate::error::{Error, panic_text};
use crate::revision::LeaseId;
use crate::state::{Command, LeaseChange, StateReader};
use event_listener::Event;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Leases that one expiry or checkpoint command names.
const CHUNK: usize = 256;
/// How often one keepalive has a stored checkpoint cleared. Once is enough, unless the next checkpoint comes in between;
/// a clear without effect was one under a term that is over.
const CLEARS_MAX: usize = 3;
/// The longest rest between two looks at the clock.
const REST_MAX: Duration = Duration::from_millis(500);

/// The clock of all leases and the thread that acts on it.
pub(super) struct LeaseKeeper {
    reader: StateReader,
    proposals: Arc<Proposals>,
    election_timeout: Duration,
    inner: Mutex<Inner>,
    wake: Condvar,
    /// Told whenever leases change.
    changed: Event,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Inner {
    clock: LeaseClock,
    /// The term that this node leads, if it does.
    term: Option<u64>,
    /// Why no lease is looked after any more.
    stopped: Option<Error>,
}

impl LeaseKeeper {
    /// Not yet running; follows the state from the start.
    pub(super) fn new(
        reader: StateReader,
        proposals: Arc<Proposals>,
        election_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            reader,
            proposals,
            election_timeout,
            inner: Mutex::default(),
            wake: Condvar::new(),
            changed: Event::new(),
            thread: Mutex::new(None),
        })
    }

    /// Starts the thread. If it panics, the node stops: leases would not end any more.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(self: &Arc<Self>, failure: Arc<Failure>) -> Result<(), Error> {
        let this = Arc::clone(self);
        let work = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| this.run())) {
                failure.set(Error::Fatal(format!("the lease thread panicked: {}", panic_text(&*panic))));
            }
        };
        let thread =
            std::thread::Builder::new().name("coffer-leases".into()).spawn(work).map_err(Error::no_thread)?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Told when this node begins (`Some(term)`) or ceases to lead.
    pub(super) fn leadership(&self, term: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.term = term;
        match term {
            Some(_) => {
                let leases = self.reader.leases().into_iter().filter_map(|id| {
                    let lease = self.reader.lease(id)?;
                    Some(LeaseTerm { id, ttl_s: lease.ttl_s, remaining_s: lease.remaining_s })
                });
                inner.clock.promote(leases, Instant::now(), self.election_timeout);
            }
            None => inner.clock.demote(),
        }
        drop(inner);
        self.changed.notify(usize::MAX);
        self.wake.notify_one();
    }

    /// The term that this node leads, as far as the clock has heard.
    pub(super) fn term(&self) -> Option<u64> {
        self.inner.lock().term
    }

    /// Told by the apply thread what an entry did to leases.
    pub(super) fn changed(&self, changes: &[LeaseChange]) {
        if changes.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let rest_before = inner.clock.next_deadline();
        for change in changes {
            match *change {
                LeaseChange::Granted { id, ttl_s } => inner.clock.grant(id, ttl_s, now),
                LeaseChange::Removed { id } => inner.clock.remove(id),
                LeaseChange::Checkpointed { id, remaining_s } => inner.clock.checkpointed(id, remaining_s),
            }
        }
        let sooner = match (inner.clock.next_deadline(), rest_before) {
            (Some(now), Some(before)) => now < before,
            (Some(_), None) => true,
            _ => false,
        };
        drop(inner);
        self.changed.notify(usize::MAX);
        if sooner {
            self.wake.notify_one();
        }
    }

    /// Renews a lease and returns its TTL in seconds; 0 if there is no such lease.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; unknown outcomes while a checkpoint is cleared.
    pub(super) async fn renew(&self, id: LeaseId) -> Result<i64, Error> {
        let mut clears_left = CLEARS_MAX;
        loop {
            let listener = self.changed.listen();
            let needs_clear = {
                let mut inner = self.inner.lock();
                if let Some(reason) = &inner.stopped {
                    return Err(reason.clone());
                }
                let Some(term) = inner.term else { return Err(Error::NotLeader) };
                if inner.clock.is_expiring(id) || inner.clock.is_checkpointing(id) {
                    None
                } else if inner.clock.needs_checkpoint_clear(id) {
                    Some(term)
                } else {
                    return Ok(inner.clock.renew(id, Instant::now()).unwrap_or(0));
                }
            };
            match needs_clear {
                None => listener.await,
                // The log has seen a newer term, which the clock will hear of: a retry finds out who leads.
                Some(_) if clears_left == 0 => return Err(Error::NotLeader),
                Some(term) => {
                    clears_left -= 1;
                    let command = Command::LeaseCheckpoint { term, remaining: vec![(id, 0)] };
                    self.proposals.propose(command).await?.answer.result?;
                }
            }
        }
    }

    /// Whole seconds that a lease has left; `None` if there is no such lease.
    ///
    /// # Errors
    /// [`Error::NotLeader`].
    pub(super) fn remaining_s(&self, id: LeaseId) -> Result<Option<i64>, Error> {
        let inner = self.inner.lock();
        if inner.term.is_none() {
            return Err(Error::NotLeader);
        }
        let remaining = inner.clock.remaining(id, Instant::now());
        Ok(remaining.map(|remaining| i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Answers everyone who waits with `reason` and has the thread end, without waiting for it.
    pub(super) fn stop(&self, reason: Error) {
        self.inner.lock().stopped.get_or_insert(reason);
        self.changed.notify(usize::MAX);
        self.wake.notify_one();
    }

    /// Joins the thread, which was told to [`stop`](Self::stop) and whose proposals are answered. Idempotent.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().take();
        // A panic was told when it happened.
        drop(thread.map(JoinHandle::join));
    }

    fn run(&self) {
        let mut inner = self.inner.lock();
        while inner.stopped.is_none() {
            let now = Instant::now();
            let Some(term) = inner.term else {
                self.wake.wait(&mut inner);
                continue;
            };
            let due = inner.clock.due(now, CHUNK);
            let checkpoints =
                if due.is_empty() { inner.clock.checkpoints_due(now, CHUNK) } else { Vec::new() };
            if due.is_empty() && checkpoints.is_empty() {
                let deadline =
                    inner.clock.next_deadline().map_or(now + REST_MAX, |next| next.min(now + REST_MAX));
                self.wake.wait_until(&mut inner, deadline);
                continue;
            }
            drop(inner);
            if !due.is_empty() {
                self.expire(term, due);
            } else {
                self.checkpoint(term, checkpoints);
            }
            inner = self.inner.lock();
        }
    }

    /// Proposes the end of some leases and waits for it: one command at a time paces the rest.
    fn expire(&self, term: u64, due: Vec<LeaseId>) {
        let result = self.wait(Command::LeaseExpire { term, leases: due.clone() });
        if let Err(error) = result {
            tracing::warn!(%error, leases = due.len(), "leases could not be ended");
            let mut inner = self.inner.lock();
            // Under an alarm nothing happened, and nothing will until it is cleared.
            if error.is_retryable() || matches!(error, Error::Corrupt(_)) {
                inner.clock.expiry_failed(due);
                if inner.stopped.is_none() {
                    self.wake.wait_for(&mut inner, REST_MAX);
                }
            }
            // Otherwise they may have ended: nobody may renew them before this node has stopped, or has begun to lead
            // anew with all of its log applied.
        }
        self.changed.notify(usize::MAX);
    }

    fn checkpoint(&self, term: u64, remaining: Vec<(LeaseId, i64)>) {
        let result = self.wait(Command::LeaseCheckpoint { term, remaining: remaining.clone() });
        if let Err(error) = &result {
            tracing::warn!(%error, "leases could not be checkpointed");
        }
        let is_known = result.is_ok();
        self.inner.lock().clock.checkpoint_over(remaining, is_known);
        self.changed.notify(usize::MAX);
    }

    fn wait(&self, command: Command) -> Result<(), Error> {
        let answered = coffer_runtime::park_on(self.proposals.propose(command))?;
        answered.answer.result.map(drop)
    }
}

/// A positive lease id from the system's generator.
///
/// # Errors
/// The generator failed.
pub(super) fn random_id() -> Result<LeaseId, Error> {
    let id =
        getrandom::u64().map_err(|error| Error::Fatal(format!("the system's random generator: {error}")))?;
    Ok(LeaseId(((id >> 1) as i64).max(1)))
}

impl std::fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseKeeper").finish_non_exhaustive()
    }
}
