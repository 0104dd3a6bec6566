//! Proposals that wait for the log, and callers that wait for their outcome.
//!
//! Proposals that arrive while others are on their way to the disk wait here and then travel together: one log entry
//! carries them all. One entry of ours is in flight, or a few if what waits fills more: a lone proposal leaves at once
//! and a crowd is merged, so that the cost of an entry (some wakes, a write and a sync) is shared by many.
//!
//! # Invariants
//! - Sequences are handed out, encoded and applied in one order.
//! - Every waiter is answered exactly once: by [`answer`](Proposals::answer), or by the failure of its entry.
//! - What waits is bounded by bytes; beyond the bound callers are told to come back.
//! - While the medium has no room nothing that grows the store leaves the queue, and nothing enters it while the log
//!   itself waits for room that no flush makes: at most what was in flight then has to wait with it.

use crate::consensus::{Consensus, ProposeError};
use crate::error::Error;
use crate::metrics::Counter;
use crate::state::{Answer, Command, Proposal, ReadPin, RequestId, cost_bytes, encode_batch, encoded_bytes};
use crate::storage::Records;
use futures_channel::oneshot;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Full log entries of this member that may be on their way at once.
const IN_FLIGHT_MAX: usize = 4;
/// A log entry is closed once it holds this many bytes of proposals.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// What a proposal costs beside its payload.
const PROPOSAL_OVERHEAD_BYTES: usize = 128;
/// Turns of its executor that a proposal waits at most for others to leave with it.
const GATHER_TURNS_MAX: usize = 8;

/// An answer, with a pin that keeps readable what it refers to.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// Held until the caller has read the values.
    pub(super) _pin: Option<Arc<ReadPin>>,
}

type Waiter = oneshot::Sender<Result<Answered, Error>>;

/// The queue of one node.
pub(super) struct Proposals {
    member: u64,
    boot: u64,
    bytes_max: usize,
    records: Arc<dyn Records>,
    /// The log waits for room, and a flush has made none.
    stuck: AtomicBool,
    queue: Mutex<Queue>,
    /// Told when nothing waits and nothing is on its way.
    drained: Condvar,
    failed: Counter,
    consensus: OnceLock<Arc<Consensus>>,
}

#[derive(Default)]
struct Queue {
    /// Not yet in an entry, with their cost in bytes.
    waiting: VecDeque<(Proposal, usize)>,
    /// The cost of what is waiting.
    waiting_bytes: usize,
    /// The cost of what is waiting or in flight.
    bytes: usize,
    in_flight: usize,
    /// Whether some thread is sending entries now: one at a time, so that entries leave in order.
    dispatching: bool,
    /// Waiters by sequence, from `first` on. `None` once answered.
    waiters: VecDeque<Option<Waiter>>,
    first: u64,
    stopped: Option<Error>,
}

impl Proposals {
    /// An empty queue for one process life of a member. `records` say whether there is room.
    pub(super) fn new(member: u64, boot: u64, bytes_max: usize, records: Arc<dyn Records>) -> Arc<Self> {
        let queue = Mutex::new(Queue { first: 1, ..Queue::default() });
        let (drained, failed) = (Condvar::new(), Counter::default());
        Arc::new(Self {
            member,
            boot,
            bytes_max,
            records,
            stuck: AtomicBool::new(false),
            queue,
            drained,
            failed,
            consensus: OnceLock::new(),
        })
    }

    /// Connects the queue with consensus. Before that nothing can be proposed.
    pub(super) fn connect(&self, consensus: Arc<Consensus>) {
        // Connected once, by the node's opening.
        drop(self.consensus.set(consensus));
    }

    /// Proposes a command and waits for its outcome. Dropping the future does not cancel the proposal; one that is
    /// kept without being polled may hold it back until another proposal or the end of an entry takes it along.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`], [`Error::NoSpace`] and [`Error::Stopped`] before anything happened; what the
    /// proposal's entry failed with otherwise. A command's own failure is in the answer.
    pub(super) async fn propose(self: &Arc<Self>, command: Command) -> Result<Answered, Error> {
        let receiver = self.enqueue(command)?;
        self.gather().await;
        receiver.await.unwrap_or(Err(Error::OutcomeUnknown))
    }

    /// Proposes a command whose outcome nobody waits for. Returns at once; it is lost if the queue is full or closed.
    pub(super) fn send(self: &Arc<Self>, command: Command) {
        if self.enqueue(command).is_ok() {
            self.dispatch();
        }
    }

    /// Lets other tasks of this thread add their proposals until no more come, and sends what waits. No timer: a lone
    /// proposal waits for one turn. While no entry may leave there is nothing to do: the end of one on its way sends.
    async fn gather(self: &Arc<Self>) {
        let mut before = self.queue.lock().ready();
        if before == 0 {
            return;
        }
        // Also if the caller drops the future on the way.
        let _sends = DispatchOnDrop(self);
        for _ in 0..GATHER_TURNS_MAX {
            coffer_runtime::yield_now().await;
            let ready = self.queue.lock().ready();
            if ready <= before {
                return;
            }
            before = ready;
        }
    }

    fn enqueue(&self, command: Command) -> Result<oneshot::Receiver<Result<Answered, Error>>, Error> {
        let cost = encoded_bytes(&command) + PROPOSAL_OVERHEAD_BYTES;
        let (sender, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        if let Some(reason) = &queue.stopped {
            return Err(reason.clone());
        }
        if self.is_stuck() {
            return Err(Error::NoSpace);
        }
        if queue.bytes + cost > self.bytes_max {
            return Err(Error::TooManyRequests);
        }
        let sequence = queue.first + queue.waiters.len() as u64;
        let id = RequestId { member: self.member, boot: self.boot, sequence };
        queue.waiters.push_back(Some(sender));
        queue.waiting.push_back((Proposal { id, command }, cost));
        queue.waiting_bytes += cost;
        queue.bytes += cost;
        Ok(receiver)
    }

    /// Sends what waits while entries may leave.
    fn dispatch(self: &Arc<Self>) {
        let Some(consensus) = self.consensus.get() else { return };
        if std::mem::replace(&mut self.queue.lock().dispatching, true) {
            return; // whoever dispatches looks again before it ends
        }
        loop {
            if !self.records.has_room() {
                self.turn_away(|command| cost_bytes(command) > 0);
            }
            let Some((batch, cost)) = self.queue.lock().take_entry_or_rest() else { return };
            let sequences = match (batch.first(), batch.last()) {
                (Some(first), Some(last)) => first.id.sequence..=last.id.sequence,
                _ => continue,
            };
            let this = Arc::clone(self);
            let done = move |result: Result<(), ProposeError>| {
                {
                    let mut queue = this.queue.lock();
                    queue.in_flight -= 1;
                    queue.bytes -= cost;
                    if queue.is_drained() {
                        this.drained.notify_all();
                    }
                }
                // Who was not told although the entry is applied here was told nothing because a snapshot brought it.
                let error = result.map_or_else(Error::from, |()| Error::OutcomeUnknown);
                let unanswered = this.queue.lock().unanswered(sequences);
                for sequence in unanswered {
                    this.complete(sequence, Err(error.clone()));
                }
                this.dispatch();
            };
            consensus.propose(encode_batch(&batch), Box::new(done));
        }
    }

    /// Whether the log waits for room that no flush makes.
    fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire) && self.log_is_full()
    }

    /// Whether the log waits for room.
    pub(super) fn log_is_full(&self) -> bool {
        self.consensus.get().is_some_and(|consensus| consensus.log_is_full())
    }

    /// Told that the log waits for room although what could be flushed was: refuses everything that waits for the
    /// log, and what comes, as long as it waits.
    pub(super) fn turn_away_from_full_log(&self) {
        self.stuck.store(true, Ordering::Release);
        if self.is_stuck() {
            self.turn_away(|_| true);
        }
    }

    /// Told that the log has room, or may get some.
    pub(super) fn log_goes_on(&self) {
        self.stuck.store(false, Ordering::Release);
    }

    /// The cost of what waits or is in flight.
    pub(super) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// No more than this waits or is in flight.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Refuses those that wait and are `chosen`, for lack of room.
    fn turn_away(&self, chosen: impl Fn(&Command) -> bool) {
        let mut refused = Vec::new();
        {
            let mut queue = self.queue.lock();
            for (proposal, cost) in std::mem::take(&mut queue.waiting) {
                if !chosen(&proposal.command) {
                    queue.waiting.push_back((proposal, cost));
                    continue;
                }
                queue.waiting_bytes -= cost;
                queue.bytes -= cost;
                refused.extend(queue.take_waiter(proposal.id.sequence));
            }
            if queue.is_drained() {
                self.drained.notify_all();
            }
        }
        self.failed.add(refused.len() as u64);
        for waiter in refused {
            // The caller may have left.
            drop(waiter.send(Err(Error::NoSpace)));
        }
    }

    /// Passes applied answers on, those of this process life. `pin` tells what to hold for an answer.
    pub(super) fn answer(&self, answers: Vec<Answer>, pin: impl Fn(&Answer) -> Option<Arc<ReadPin>>) {
        let mine = |answer: &Answer| (answer.id.member, answer.id.boot) == (self.member, self.boot);
        let mut waiters = Vec::with_capacity(answers.len());
        {
            let mut queue = self.queue.lock();
            for answer in answers.into_iter().filter(mine) {
                waiters.extend(queue.take_waiter(answer.id.sequence).map(|waiter| (waiter, answer)));
            }
        }
        for (waiter, answer) in waiters {
            let pin = pin(&answer);
            // The caller may have left; the command has happened all the same.
            drop(waiter.send(Ok(Answered { answer, _pin: pin })));
        }
    }

    fn complete(&self, sequence: u64, result: Result<Answered, Error>) {
        let waiter = self.queue.lock().take_waiter(sequence);
        if let Some(waiter) = waiter {
            self.failed.add(u64::from(result.is_err()));
            // The caller may have left; the command has happened all the same.
            drop(waiter.send(result));
        }
    }

    /// How many have no outcome yet, and how many failed since the start.
    pub(super) fn counts(&self) -> (u64, u64) {
        let pending = self.queue.lock().waiters.iter().flatten().count();
        (pending as u64, self.failed.get())
    }

    /// Refuses new proposals with `reason`; those on their way still get their outcome.
    pub(super) fn refuse(&self, reason: Error) {
        self.queue.lock().stopped.get_or_insert(reason);
    }

    /// Waits until everything that was accepted has its outcome, or for `patience`.
    pub(super) fn drain(self: &Arc<Self>, patience: Duration) {
        self.dispatch();
        let deadline = Instant::now() + patience;
        let mut queue = self.queue.lock();
        while !queue.is_drained() && !self.drained.wait_until(&mut queue, deadline).timed_out() {}
    }

    /// Fails everything that still waits: those in an entry with an unknown outcome, the others with `reason`.
    pub(super) fn abandon(&self, reason: Error) {
        let (unsent, sent) = {
            let mut queue = self.queue.lock();
            queue.stopped.get_or_insert(reason.clone());
            let waiting = std::mem::take(&mut queue.waiting);
            queue.bytes -= std::mem::take(&mut queue.waiting_bytes);
            let mut unsent = Vec::new();
            for (proposal, _) in &waiting {
                unsent.extend(queue.take_waiter(proposal.id.sequence));
            }
            queue.first += queue.waiters.len() as u64;
            self.drained.notify_all();
            (unsent, std::mem::take(&mut queue.waiters))
        };
        for waiter in unsent {
            drop(waiter.send(Err(reason.clone())));
        }
        for waiter in sent.into_iter().flatten() {
            drop(waiter.send(Err(Error::OutcomeUnknown)));
        }
    }
}

impl Queue {
    fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }

    /// [`take_entry`](Self::take_entry), or the end of dispatching in the same step.
    fn take_entry_or_rest(&mut self) -> Option<(Vec<Proposal>, usize)> {
        let entry = self.take_entry();
        self.dispatching = entry.is_some();
        entry
    }

    /// Takes the proposals of the next entry and their cost, if one may leave now.
    fn take_entry(&mut self) -> Option<(Vec<Proposal>, usize)> {
        if self.ready() == 0 {
            return None;
        }
        let mut batch = Vec::with_capacity(self.waiting.len());
        let mut cost = 0;
        while let Some((_, next)) = self.waiting.front() {
            if !batch.is_empty() && cost + next > ENTRY_BYTES_MAX {
                break;
            }
            if let Some((proposal, next)) = self.waiting.pop_front() {
                cost += next;
                batch.push(proposal);
            }
        }
        self.in_flight += 1;
        self.waiting_bytes -= cost;
        Some((batch, cost))
    }

    /// How many proposals wait, if an entry may leave now; else 0.
    fn ready(&self) -> usize {
        let full = self.waiting_bytes >= ENTRY_BYTES_MAX;
        let may_leave = self.in_flight == 0 || (full && self.in_flight < IN_FLIGHT_MAX);
        if may_leave { self.waiting.len() } else { 0 }
    }

    /// Those of `sequences` that may still wait.
    fn unanswered(&self, sequences: RangeInclusive<u64>) -> RangeInclusive<u64> {
        self.first.max(*sequences.start())..=*sequences.end()
    }

    fn take_waiter(&mut self, sequence: u64) -> Option<Waiter> {
        let position = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let waiter = self.waiters.get_mut(position)?.take();
        while let Some(None) = self.waiters.front() {
            self.waiters.pop_front();
            self.first += 1;
        }
        waiter
    }
}

/// Sends what waits when it goes out of scope.
struct DispatchOnDrop<'a>(&'a Arc<Proposals>);

impl Drop for DispatchOnDrop<'_> {
    fn drop(&mut self) {
        self.0.dispatch();
    }
}

impl std::fmt::Debug for Proposals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let queue = self.queue.lock();
        f.debug_struct("Proposals")
            .field("waiting", &queue.waiting.len())
            .field("in_flight", &queue.in_flight)
            .field("bytes", &queue.bytes)
            .finish_non_exhaustive()
    }
}
