//! Finds the leader for what only a leader can do, and tries again until there is one or patience ends.
//!
//! # Invariants
//! - A proposal may be sent more than once: its commands carry ids, of which the state machine applies each once. So a
//!   lost answer or a leader that fell is no reason to give up.
//! - "Surely not appended" is said only if no attempt may have been.
//! - A read's index comes from a leader that was confirmed by a quorum after the read began.

use super::applier::Applier;
use super::health::Health;
use super::leadership::Leadership;
use super::peers::{Caller, Peers};
use super::state_machine::StateMachine;
use super::types::{Answer, Command, Types, to_log_id};
use super::unanswered::Reads;
use super::{Answerer, MemberChange, MemberError, ProposeError};
use crate::Error;
use crate::planted::{Bug, planted};
use crate::storage::LogId;
use bytes::Bytes;
use coffer_runtime::timeout_at;
use event_listener::Event;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResult;
use openraft::{Raft, ReadPolicy};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before another look for a leader, if nothing is heard of one before.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Knows who leads and how to ask them.
pub(super) struct Forwarder {
    pub(super) raft: Raft<Types, StateMachine>,
    pub(super) applier: Arc<Applier>,
    pub(super) leadership: Arc<Leadership>,
    pub(super) health: Arc<Health>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) callers: Mutex<HashMap<u64, KnownCaller>>,
    /// Answers questions that only the leader can.
    pub(super) answerer: Mutex<Option<Answerer>>,
    /// Told whenever raft reports a change of leader or membership.
    pub(super) changed: Event,
    /// The reads that this member confirms while it leads.
    pub(super) reads: Reads,
    /// How long a request looks for a leader.
    pub(super) patience: Duration,
    /// How long one attempt waits for another member's answer.
    pub(super) attempt: Duration,
}

/// How to ask a member, and the description of it that this was made from.
type KnownCaller = (Bytes, Arc<dyn Caller>);

/// Who leads.
enum Leader {
    This,
    Other(u64, Arc<dyn Caller>),
}

impl Forwarder {
    /// Has a leader propose `payload`. Ends once it is applied here.
    pub(super) async fn propose(&self, payload: Bytes) -> Result<(), ProposeError> {
        self.propose_until(payload, Instant::now() + self.patience, false).await
    }

    /// As [`propose`](Self::propose), after an attempt that `failed`.
    pub(super) async fn propose_again(
        &self,
        payload: Bytes,
        failed: ProposeError,
    ) -> Result<(), ProposeError> {
        let appended = failed == ProposeError::Unknown;
        if let Some(reason) = self.health.stopped() {
            return Err(if appended { failed } else { ProposeError::Stopped(reason) });
        }
        self.propose_until(payload, Instant::now() + self.patience, appended).await
    }

    /// `appended` is whether an attempt before may have been.
    async fn propose_until(
        &self,
        payload: Bytes,
        deadline: Instant,
        mut appended: bool,
    ) -> Result<(), ProposeError> {
        loop {
            let changed = self.changed.listen();
            let leader = self.leader();
            let id = leader.as_ref().map(|leader| self.id(leader));
            let outcome = match leader {
                None => Err(ProposeError::NotLeader { leader: None }),
                Some(Leader::This) => {
                    let proposed = timeout_at(deadline, self.propose_here(payload.clone())).await;
                    proposed.unwrap_or(Err(ProposeError::Unknown))
                }
                Some(Leader::Other(leader, caller)) => {
                    let left = self.attempt.min(deadline.saturating_duration_since(Instant::now()));
                    // Whether it got there is open.
                    let proposed = self.while_leads(leader, caller.propose(payload.clone(), left)).await;
                    proposed.and_then(Result::ok).unwrap_or(Err(ProposeError::Unknown))
                }
            };
            match outcome {
                Ok(at) => {
                    let applied = timeout_at(deadline, self.applier.wait_applied(at.index)).await;
                    return applied.map_err(|_| ProposeError::Unknown);
                }
                Err(ProposeError::NotLeader { .. }) => {}
                Err(ProposeError::Unknown) => appended = true,
                Err(refused) if !appended => return Err(refused),
                Err(_) => {}
            }
            if let Some(reason) = self.health.stopped() {
                return Err(if appended { ProposeError::Unknown } else { ProposeError::Stopped(reason) });
            }
            // Until there is news of a leader, or for a little while.
            let _ = timeout_at(deadline.min(Instant::now() + RETRY_INTERVAL), changed).await;
            if Instant::now() >= deadline {
                return Err(match appended {
                    true => ProposeError::Unknown,
                    false => ProposeError::NotLeader { leader: id },
                });
            }
        }
    }

    /// Proposes at this member, which must lead. Says where the entry lies once it is applied here.
    pub(super) async fn propose_here(&self, payload: Bytes) -> Result<LogId, ProposeError> {
        let (sender, outcome) = oneshot::channel();
        let answer = Answer::new(move |outcome: Option<ClientWriteResult<Types>>| {
            // Nobody waits any more if the outcome cannot be sent.
            drop(sender.send(outcome));
        });
        // Fails only if raft has stopped: then the answer was dropped, which tells "unknown".
        let _ = self.raft.write(Command(payload)).responder(answer).into_future().await;
        Self::outcome(outcome.await.ok().flatten())
    }

    /// What raft says of a proposal, if anything.
    pub(super) fn outcome(said: Option<ClientWriteResult<Types>>) -> Result<LogId, ProposeError> {
        match said {
            Some(Ok(written)) => Ok(to_log_id(&written.log_id)),
            Some(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            // Every other error, and none at all, leaves it open whether the entry was appended.
            Some(Err(_)) | None => Err(ProposeError::Unknown),
        }
    }

    /// Ends once this member has applied everything that was acknowledged before the call.
    pub(super) async fn confirm_read(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            let changed = self.changed.listen();
            let (index, asked) = match self.leader() {
                None => (Err(Error::NoLeader), None),
                Some(Leader::This) => {
                    let asked = timeout_at(deadline, self.read_index_here()).await;
                    (asked.unwrap_or(Err(Error::NoLeader)), None)
                }
                Some(Leader::Other(leader, caller)) => {
                    let left = self.attempt.min(deadline.saturating_duration_since(Instant::now()));
                    let asked = self.while_leads(leader, caller.read_index(left)).await;
                    (asked.and_then(Result::ok).unwrap_or(Err(Error::NoLeader)), Some(leader))
                }
            };
            match index {
                Ok(_) if planted(Bug::ReadBeforeApply) => return Ok(()),
                Ok(at) => {
                    let applied = timeout_at(deadline, self.applier.wait_applied(at.index)).await;
                    return applied.map_err(|_| Error::Timeout);
                }
                Err(error) => tracing::debug!(%error, ?asked, "the leader is not confirmed"),
            }
            if let Some(reason) = self.health.stopped() {
                return Err(reason);
            }
            let _ = timeout_at(deadline.min(Instant::now() + RETRY_INTERVAL), changed).await;
            if Instant::now() >= deadline {
                return Err(Error::NoLeader);
            }
        }
    }

    /// The answer of whoever leads to a question of the machine's.
    pub(super) async fn ask(&self, question: Bytes) -> Result<Bytes, Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            let changed = self.changed.listen();
            let answer = match self.leader() {
                None => None,
                Some(Leader::This) => {
                    timeout_at(deadline, self.answer(question.clone())).await.unwrap_or_default()
                }
                Some(Leader::Other(leader, caller)) => {
                    let left = self.attempt.min(deadline.saturating_duration_since(Instant::now()));
                    let asked = self.while_leads(leader, caller.ask(question.clone(), left)).await;
                    asked.and_then(Result::ok).flatten()
                }
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if let Some(reason) = self.health.stopped() {
                return Err(reason);
            }
            let _ = timeout_at(deadline.min(Instant::now() + RETRY_INTERVAL), changed).await;
            if Instant::now() >= deadline {
                return Err(Error::NoLeader);
            }
        }
    }

    /// The answer of one member's machine; `None` if it does not give one in time.
    pub(super) async fn ask_member(&self, member: u64, question: Bytes) -> Option<Bytes> {
        if member == self.leadership.node_id() {
            return self.answer(question).await;
        }
        let caller = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            self.caller(member, &metrics.membership_config.membership().get_node(&member)?.0)
        };
        caller.ask(question, self.attempt).await.ok().flatten()
    }

    /// The answer of this member's machine; `None` if it cannot give one.
    pub(super) async fn answer(&self, question: Bytes) -> Option<Bytes> {
        let answerer = self.answerer.lock().clone()?;
        answerer(question).await
    }

    /// The index that a linearizable read must see, from this member as the leader, confirmed by a quorum.
    pub(super) async fn read_index_here(&self) -> Result<LogId, Error> {
        self.reads.begin();
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((id, _)) => Ok(to_log_id(id.log_id())),
            Err(RaftError::APIError(error)) => Err(match error {
                LinearizableReadError::ForwardToLeader(forward) => {
                    forward.leader_id.map_or(Error::NoLeader, |_| Error::NotLeader)
                }
                LinearizableReadError::QuorumNotEnough(_) => Error::NoLeader,
            }),
            Err(RaftError::Fatal(_)) => Err(self.health.stopped().unwrap_or(Error::Stopped)),
        }
    }

    /// Has the leader change the membership. Ends once the change is applied there, and here too unless this member lags.
    /// Asked once, as soon as there is a leader: whoever asks knows what to do about a failure.
    pub(super) async fn change(&self, change: MemberChange) -> Result<(), MemberError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let changed = self.changed.listen();
            match self.leader() {
                Some(Leader::This) => {
                    let changed = timeout_at(deadline, self.change_here(change)).await;
                    return changed.unwrap_or(Err(MemberError::Unknown));
                }
                Some(Leader::Other(_, caller)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    // One that has gone hears of nothing more.
                    let leaves = change == MemberChange::Remove { member: self.leadership.node_id() };
                    caller.change(change, left).await.unwrap_or(Err(MemberError::Unknown))?;
                    if !leaves {
                        // So that whoever looks here sees it. It has happened, even if this member lags.
                        let _ = timeout_at(deadline, self.confirm_read()).await;
                    }
                    return Ok(());
                }
                None if self.health.stopped().is_some() => return Err(MemberError::NoLeader),
                None => {}
            }
            let _ = timeout_at(deadline.min(Instant::now() + RETRY_INTERVAL), changed).await;
            if Instant::now() >= deadline {
                return Err(MemberError::NoLeader);
            }
        }
    }

    /// The answer of a leader; `None` as soon as this member knows that it leads no longer. Who waited for the answer of
    /// one that died would lose the time until that times out.
    async fn while_leads<T>(&self, leader: u64, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        loop {
            let changed = self.changed.listen();
            if self.raft.server_metrics().borrow_watched().current_leader != Some(leader) {
                return None;
            }
            if let Either::Left((answer, _)) = select(answer.as_mut(), changed).await {
                return Some(answer);
            }
        }
    }

    fn id(&self, leader: &Leader) -> u64 {
        match leader {
            Leader::This => self.leadership.node_id(),
            Leader::Other(id, _) => *id,
        }
    }

    /// The leader that this member knows of, if it also knows how to ask it.
    fn leader(&self) -> Option<Leader> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        if leader == self.leadership.node_id() {
            return Some(Leader::This);
        }
        let description = &metrics.membership_config.membership().get_node(&leader)?.0;
        Some(Leader::Other(leader, self.caller(leader, description)))
    }

    /// How to ask a member that the membership describes in this way.
    fn caller(&self, member: u64, description: &Bytes) -> Arc<dyn Caller> {
        let mut callers = self.callers.lock();
        match callers.get(&member) {
            Some((known, caller)) if known == description => caller.clone(),
            _ => {
                let caller = self.peers.caller(member, description);
                callers.insert(member, (description.clone(), caller.clone()));
                caller
            }
        }
    }
}
