//! Replicated order of log entries: the only folder that names openraft.
//!
//! ```text
//! propose ─▶ raft thread ─▶ log thread (one write, one sync per group) ─▶ raft thread ─▶ apply thread ─▶ done
//! ```
//!
//! Nothing of openraft crosses this boundary: the rest of the store sees [`Consensus`], [`Machine`] and plain types.
//! `runtime` is openraft's view of our executors, `log_store` and `state_machine` are its views of the [`Log`] and
//! the [`Machine`], which live on threads of their own: `log_writer` and `applier`.
//!
//! # Invariants
//!
//! - A proposal is acknowledged after its entry is durable on a quorum and applied here.
//! - `purged <= flushed <= applied <= committed`, and none of them is ahead of the durable log of a sole voter.
//! - The first fault of raft, log or machine stops consensus for good: later calls answer with that fault, whatever was
//!   under way is *unknown*, and listeners are told once.
//! - The caller of [`Consensus::propose`] never waits: not for a lock that is held over I/O, and not for room.
//! - [`Consensus::shutdown`], or dropping it, leaves no thread and no task.
//!
//! # Crash behaviour
//!
//! After a crash the log holds a prefix of what was queued, with everything that was acknowledged. The machine starts
//! from its flushed records and gets the rest of the log again.
//!
//! # Peers
//!
//! `peers` and `messages` are what a transport sees; `network` sends for openraft, `unanswered` keeps what it owes openraft,
//! `inbound` takes what arrives, `forwarder` asks the leader on behalf of a follower, `membership` changes who belongs,
//! `snapshots` carries the content for members whose log begins too late.

mod applier;
mod barrier;
mod config;
mod contact;
mod counts;
mod forwarder;
mod health;
mod inbound;
mod leadership;
mod log_reader;
mod log_store;
mod log_writer;
mod membership;
mod network;
mod runtime;
mod state_machine;
mod types;
mod unanswered;
mod under_way;

pub mod conformance;
pub mod messages;
pub mod peers;
pub mod snapshots;

pub use config::{ConsensusConfig, Founding};
pub use counts::ConsensusCounts;
pub use health::FailureListener;
pub use leadership::LeadershipListener;
pub use membership::{MemberChange, MemberError, Membership};

use crate::Error;
use crate::codec::Malformed;
use crate::error::panic_text;
use crate::member::{Member, MemberInfo};
use crate::planted::{Bug, planted};
use crate::storage::{Log, LogEntry, LogId, RewriteProgress, StorageError};
use applier::Applier;
use barrier::SharedBarrier;
use bytes::Bytes;
use coffer_runtime::Executor;
use contact::Contact;
use counts::Counts;
use event_listener::Event;
use forwarder::Forwarder;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use health::Health;
use leadership::Leadership;
use log_store::LogStore;
use log_writer::LogWriter;
use network::Network;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::ClientWriteResult;
use openraft::{Raft, ServerState};
use parking_lot::Mutex;
use peers::{NoPeers, Peers};
use snapshots::{NoStaging, Snapshot, Staged, Staging};
use state_machine::{Flushed, StateMachine};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::IntoFuture;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use thiserror::Error;
use types::{
    Answer, Command, Description, RaftStoredMembership, Types, decode_membership, is_sole_voter, to_log_id,
    to_raft_id,
};
use unanswered::Reads;
use under_way::UnderWay;

/// The replicated state machine, as consensus drives it. Owned by the apply thread.
pub trait Machine: Send + 'static {
    /// The last entry that it has applied: at a start, the one that its records were flushed with.
    fn applied(&self) -> Option<LogId>;

    /// The payload of the last [membership](crate::storage::EntryKind::Membership) entry that it has applied.
    fn membership(&self) -> Option<(LogId, Bytes)>;

    /// Applies committed entries: in order, each once, the first one right after [`applied`](Self::applied).
    ///
    /// # Errors
    /// A local fault, which stops the node. A command that fails is no error here.
    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError>;

    /// Everything that it holds, as it is now, for a member that lags. `None` while it holds nothing. Must return soon:
    /// what is read, is read later.
    ///
    /// A machine of a store that stays alone is never asked, and keeps this and what follows as provided.
    ///
    /// # Errors
    /// A local fault, which stops the node.
    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(None)
    }

    /// Where snapshots that arrive are put. Asked for once, at the start.
    fn staging(&self) -> Arc<dyn Staging> {
        Arc::new(NoStaging)
    }

    /// Replaces everything by a snapshot that [`staging`](Self::staging) finished, all or nothing, durably.
    ///
    /// # Errors
    /// A local fault, which stops the node.
    fn install(&mut self, staged: Staged) -> Result<(), StorageError> {
        drop(staged);
        Err(NoStaging::refusal())
    }
}

/// Why a proposal was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another member leads, or none. The proposal was surely not appended.
    #[error("not leader")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<u64>,
    },
    /// Too much is under way. The proposal was surely not appended.
    #[error("too many proposals")]
    Overloaded,
    /// Consensus had stopped before, for this reason. The proposal was surely not appended.
    #[error(transparent)]
    Stopped(Error),
    /// It may or may not have been appended, and it may yet be applied.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader: None } => Self::NoLeader,
            ProposeError::NotLeader { leader: Some(_) } => Self::NotLeader,
            ProposeError::Overloaded => Self::TooManyRequests,
            ProposeError::Stopped(reason) => reason,
            ProposeError::Unknown => Self::OutcomeUnknown,
        }
    }
}

/// The payload of the membership entry with which `members` found a cluster: ascending by id, at least one.
pub(crate) fn founding_membership(members: &[Member]) -> Bytes {
    types::encode_founding_membership(members)
}

/// The ids of the members that the payload of a membership entry names.
pub(crate) fn ids_of(membership: Bytes) -> Result<BTreeSet<u64>, Malformed> {
    Ok(decode_membership(membership)?.nodes().map(|(id, _)| *id).collect())
}

/// The members that the payload of a membership entry names, ascending by id, each with whether it has a vote.
pub(crate) fn members_of(membership: Bytes) -> Result<Vec<(Member, bool)>, Malformed> {
    let membership = decode_membership(membership)?;
    let is_voter = |id| membership.voter_ids().any(|voter| voter == id);
    let member = |(id, description): (&u64, &Description)| {
        Ok((Member { id: *id, info: MemberInfo::decode(description.0.clone())? }, is_voter(*id)))
    };
    membership.nodes().map(member).collect()
}

/// Told the outcome of a proposal, once. Runs on the apply or raft thread: must return soon, must not call `shutdown`.
pub type ProposeDone = Box<dyn FnOnce(Result<(), ProposeError>) + Send>;

/// Answers a question of another member's; `None` if only the leader's machine can, and this member does not lead. Must not
/// block.
pub type Answerer = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Option<Bytes>> + Send + Sync>;

/// A look at where consensus stands.
#[derive(Clone, Debug)]
pub struct ConsensusStatus {
    /// This member.
    pub node_id: u64,
    /// The newest term that this member knows of.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<u64>,
    /// Whether this member leads and has applied the blank entry that begins its term.
    pub is_leader: bool,
    /// Whether this member has no vote.
    pub is_learner: bool,
    /// Whether this member alone decides.
    pub sole_voter: bool,
    /// The newest entry, durable or not.
    pub last: Option<LogId>,
    /// The newest entry that is durable here.
    pub log_durable: Option<LogId>,
    /// The newest entry known to be committed. At most `last`.
    pub committed: Option<LogId>,
    /// The newest entry that the machine has applied. At most `committed`.
    pub applied: Option<LogId>,
    /// Entries up to this one are gone.
    pub purged: Option<LogId>,
    /// The fault that stopped consensus.
    pub failed: Option<Error>,
}

/// One member's part in the consensus. Shared by reference; all calls from any thread.
pub struct Consensus {
    raft: Raft<Types, StateMachine>,
    executor: Executor,
    log: Arc<LogWriter>,
    applier: Arc<Applier>,
    flushed: Arc<Flushed>,
    leadership: Arc<Leadership>,
    health: Arc<Health>,
    counts: Arc<Counts>,
    under_way: Arc<UnderWay>,
    forwarder: Arc<Forwarder>,
    barrier: Arc<SharedBarrier>,
    contact: Arc<Contact>,
    staging: Arc<dyn Staging>,
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consensus").field("node_id", &self.leadership.node_id()).finish_non_exhaustive()
    }
}

impl Consensus {
    /// Starts consensus over an opened log and the machine restored from the flushed records.
    ///
    /// A fresh member founds a cluster or waits for one, as `config` says. A sole voter leads when this returns, and its
    /// machine has applied the whole log. Blocks meanwhile.
    ///
    /// # Errors
    /// Log and machine do not belong together; the log or the machine failed; the system refused a thread.
    pub fn start(
        config: ConsensusConfig,
        log: Box<dyn Log>,
        machine: Box<dyn Machine>,
    ) -> Result<Self, Error> {
        Self::start_among(config, log, machine, Arc::new(NoPeers))
    }

    /// As [`start`](Self::start), with a way to other members.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_among(
        config: ConsensusConfig,
        log: Box<dyn Log>,
        machine: Box<dyn Machine>,
        peers: Arc<dyn Peers>,
    ) -> Result<Self, Error> {
        let (state, applied) = (log.state(), machine.applied());
        check_continuity(&*log, applied)?;
        let membership = stored_membership(machine.membership())?;
        let fresh = state.last.is_none() && state.hard_state == Default::default() && applied.is_none();

        let health = Arc::new(Health::default());
        let leadership = Arc::new(Leadership::new(config.node_id));
        if let Some(id) = membership.log_id() {
            let sole = is_sole_voter(membership.membership(), config.node_id);
            leadership.membership_applied(id.index, sole);
        }
        let (cache, unapplied) = (config.log_cache_bytes, config.unapplied_bytes_max);
        let writer =
            LogWriter::start(log, applied, cache, unapplied, health.clone()).map_err(Error::no_thread)?;
        let writer = Arc::new(writer);
        if let Some(applied) = applied.filter(|applied| Some(*applied) > state.last) {
            // A snapshot was installed, and its purge was lost.
            writer.purge(applied);
        }
        let staging = machine.staging();
        let applier = Applier::start(machine, writer.clone(), leadership.clone(), health.clone());
        let applier = Arc::new(applier.map_err(Error::no_thread)?);
        let flushed = Arc::new(Flushed::new(applied, membership));
        let executor = Executor::start("coffer-raft", 1).map_err(Error::no_thread)?;

        let store = LogStore { writer: writer.clone(), leadership: leadership.clone() };
        let running = Arc::new(AtomicBool::new(false));
        let mut state_machine = StateMachine::new(applier.clone(), flushed.clone(), running.clone());
        let failed = |reason: String| health.fault().unwrap_or(Error::Fatal(reason));
        executor.block_on(state_machine.replay(&store)).map_err(|error| failed(error.to_string()))?;
        let reads = Reads::default();
        let network =
            Network { peers: peers.clone(), patience: config.election_timeout, reads: reads.clone() };
        let raft = Raft::new(config.node_id, Arc::new(config.to_raft()?), network, store, state_machine);
        let raft = executor.block_on(raft).map_err(|fatal| failed(fatal.to_string()))?;
        running.store(true, Ordering::Release);

        // Before that no other member stands for election.
        let silence_max = config.election_timeout * 13 / 10;
        let under_way = UnderWay::new(config.proposals_max, config.proposal_bytes_max);
        let forwarder = Forwarder {
            raft: raft.clone(),
            applier: applier.clone(),
            leadership: leadership.clone(),
            health: health.clone(),
            peers,
            callers: Mutex::default(),
            answerer: Mutex::default(),
            changed: Event::new(),
            reads,
            patience: config.patience,
            attempt: config.election_timeout * 2,
        };
        let consensus = Self {
            raft,
            executor,
            log: writer,
            applier,
            flushed,
            leadership,
            health,
            counts: Arc::default(),
            under_way: Arc::new(under_way),
            forwarder: Arc::new(forwarder),
            barrier: Arc::default(),
            contact: Arc::new(Contact::new(silence_max)),
            staging,
        };
        consensus.follow_raft();
        consensus.end_raft_with_fault();
        consensus.begin(fresh.then_some(config.founding))?;
        Ok(consensus)
    }

    /// Proposes an entry, through the leader if that is another member. Never blocks. `done` is told the outcome: `Ok`
    /// after the machine has applied it.
    ///
    /// Where other members have a say, the entry may come into the log more than once: the machine must apply what it
    /// holds once.
    pub fn propose(&self, payload: Bytes, done: ProposeDone) {
        if let Some(reason) = self.health.stopped() {
            return done(Err(ProposeError::Stopped(reason)));
        }
        let Some(permit) = UnderWay::enter(&self.under_way, payload.len()) else {
            return done(Err(ProposeError::Overloaded));
        };
        let health = self.health.clone();
        let tell = move |outcome| {
            drop(permit);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| done(outcome))) {
                health.fail(Error::Fatal(format!("a proposer panicked: {}", panic_text(&*panic))));
            }
        };
        if !self.leadership.reads_at_once() {
            // Told "unknown" if the executor drops the task.
            let mut tell = TellOnDrop(Some(tell));
            let forwarder = self.forwarder.clone();
            self.executor.spawn(async move {
                let outcome = forwarder.propose(payload).await;
                tell.tell(outcome);
            });
            return;
        }
        let (executor, forwarder, again) = (self.executor.handle(), self.forwarder.clone(), payload.clone());
        let answer = Answer::new(move |outcome: Option<ClientWriteResult<Types>>| {
            let failed = match Forwarder::outcome(outcome) {
                Ok(_) => return tell(Ok(())),
                Err(failed) => failed,
            };
            // This member does not decide alone any more, or was deposed.
            let mut tell = TellOnDrop(Some(tell));
            executor.spawn(async move { tell.tell(forwarder.propose_again(again, failed).await) });
        });
        // The queue has more room than there may be proposals, so that sending ends at once unless raft has stopped:
        // then dropping the message drops the answer, which tells "unknown".
        let sent = self.raft.write(Command(payload)).responder(answer).into_future().now_or_never();
        if sent.is_none() {
            tracing::debug!("raft takes no proposals");
        }
    }

    /// After this, what was acknowledged before the call is in the machine. Ends without waiting while this member leads
    /// and is the sole voter. Waits otherwise for the leader and a quorum, as long as the patience lasts. One
    /// confirmation serves all who wait.
    ///
    /// # Errors
    /// No leader that a quorum follows; consensus has stopped.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        if let Some(reason) = self.health.stopped() {
            return Err(reason);
        }
        if self.leadership.reads_at_once() {
            return Ok(());
        }
        let unconfirmed = match self.leadership.leads() {
            Some(_) => planted(Bug::LeaderReadsUnconfirmed),
            None => planted(Bug::FollowerReadsUnconfirmed),
        };
        if unconfirmed {
            return Ok(());
        }
        let began = Instant::now();
        let forwarder = self.forwarder.clone();
        let confirm = move || {
            let forwarder = forwarder.clone();
            async move { forwarder.confirm_read().await }
        };
        let outcome = self.barrier.wait(&self.executor.handle(), confirm).await;
        self.counts.barrier(began.elapsed(), outcome.is_err());
        match outcome {
            Err(Error::Stopped) => Err(self.health.stopped().unwrap_or(Error::Stopped)),
            outcome => outcome,
        }
    }

    /// Whether what is applied here is linearizable now, without asking anyone.
    pub fn reads_at_once(&self) -> bool {
        self.leadership.reads_at_once() && self.health.stopped().is_none()
    }

    /// The answer of the leader's machine to a question, wherever the leader is. It may be asked more than once.
    ///
    /// # Errors
    /// No leader that answers; consensus has stopped.
    pub async fn ask_leader(&self, question: Bytes) -> Result<Bytes, Error> {
        let forwarder = self.forwarder.clone();
        self.on_raft(async move { forwarder.ask(question).await }).await?
    }

    /// The answer of one member's machine to a question; `None` if it does not answer soon.
    pub async fn ask_member(&self, member: u64, question: Bytes) -> Option<Bytes> {
        let forwarder = self.forwarder.clone();
        self.on_raft(async move { forwarder.ask_member(member, question).await }).await.ok().flatten()
    }

    /// Runs `task` beside everything else, until it ends or consensus is shut down. It must not block.
    pub fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.executor.spawn(task));
    }

    /// From now on `answerer` answers what members ask of the leader's machine, while this one leads.
    pub fn on_question(&self, answerer: Answerer) {
        *self.forwarder.answerer.lock() = Some(answerer);
    }

    /// Who belongs to the cluster, as far as this member knows: the newest membership, committed or not.
    pub fn membership(&self) -> Membership {
        self.forwarder.membership()
    }

    /// The newest membership that is known to be committed: its index, and who belongs. `None` if there is none, or consensus
    /// has stopped.
    pub async fn committed_membership(&self) -> Option<(u64, BTreeSet<u64>)> {
        let raft = self.raft.clone();
        let look =
            async move { raft.with_raft_state(|state| state.membership_state.committed().clone()).await };
        let committed = self.on_raft(look).await.ok()?.ok()?;
        let index = committed.log_id().as_ref()?.index;
        Some((index, committed.membership().nodes().map(|(id, _)| *id).collect()))
    }

    /// Changes the membership, through the leader if that is another member. Ends when it is applied there, and here too
    /// unless this member lags.
    ///
    /// # Errors
    /// Why it was not changed, or that this is unknown.
    pub async fn change(&self, change: MemberChange) -> Result<(), MemberError> {
        let forwarder = self.forwarder.clone();
        let changed = self.on_raft(async move { forwarder.change(change).await });
        changed.await.unwrap_or(Err(MemberError::Unknown))
    }

    /// How far the log of each member is known to equal this one's. `None` unless this member leads.
    pub fn progress(&self) -> Option<BTreeMap<u64, Option<LogId>>> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let progress = metrics.replication.as_ref()?;
        Some(progress.iter().map(|(member, at)| (*member, at.as_ref().map(to_log_id))).collect())
    }

    /// Asks `member` to take over the lead. Returns when it was told; who leads shows in [`status`](Self::status).
    ///
    /// # Errors
    /// Consensus has stopped.
    pub async fn transfer_leader(&self, member: u64) -> Result<(), Error> {
        let raft = self.raft.clone();
        let told = self.on_raft(async move { raft.trigger().transfer_leader(member).await }).await?;
        told.map_err(|fatal| self.health.stopped().unwrap_or_else(|| Error::Fatal(fatal.to_string())))
    }

    /// Asks the voter that has most of the log to take over the lead, if this member leads and there is one. Returns when it was
    /// told.
    ///
    /// # Errors
    /// Consensus has stopped.
    pub async fn hand_over(&self) -> Result<(), Error> {
        let own = self.leadership.node_id();
        let (membership, progress) = (self.membership(), self.progress().unwrap_or_default());
        let voters = membership.members.keys().filter(|id| **id != own && membership.is_voter(**id));
        match voters.max_by_key(|id| progress.get(id).copied().flatten()) {
            Some(next) if self.leader() == Some(own) => self.transfer_leader(*next).await,
            _ => Ok(()),
        }
    }

    /// The newest term that this member knows of.
    pub fn term(&self) -> u64 {
        self.leadership.leads().unwrap_or_else(|| self.log.state().hard_state.term)
    }

    /// Whether this member alone decides.
    pub fn is_sole_voter(&self) -> bool {
        self.leadership.is_sole_voter()
    }

    /// Whether raft calls this member the leader of `term`. Nobody hears sooner than this that it was deposed.
    pub fn leads(&self, term: u64) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_leader == Some(self.leadership.node_id()) && metrics.vote.leader_id.term == term
    }

    /// The leader that this member knows of: one that was heard within an election timeout, and if that is this member, one
    /// that a quorum answered within it.
    pub fn leader(&self) -> Option<u64> {
        let own = self.leadership.node_id();
        if self.leadership.reads_at_once() {
            return Some(own);
        }
        let leader = self.raft.server_metrics().borrow_watched().current_leader?;
        let is_heard = if leader == own { self.is_followed() } else { self.contact.is_fresh() };
        is_heard.then_some(leader)
    }

    /// Whether a quorum answered this leader just now.
    fn is_followed(&self) -> bool {
        let acked = self.raft.data_metrics().borrow_watched().last_quorum_acked;
        acked.is_some_and(|acked| self.contact.covers(acked.into_inner()))
    }

    /// Whether this member has no vote.
    pub fn is_learner(&self) -> bool {
        self.leadership.leads().is_none()
            && self.raft.server_metrics().borrow_watched().state == ServerState::Learner
    }

    /// Where things stand.
    pub fn status(&self) -> ConsensusStatus {
        let leader = self.leader();
        // In this order nothing is reported ahead of what it must not be ahead of.
        let applied = self.applier.applied();
        let durable = self.log.durable();
        let log = self.log.state();
        ConsensusStatus {
            node_id: self.leadership.node_id(),
            term: log.hard_state.term,
            leader,
            is_leader: self.leadership.leads().is_some(),
            is_learner: self.is_learner(),
            sole_voter: self.leadership.is_sole_voter(),
            last: log.last,
            log_durable: durable,
            committed: log.committed.max(applied),
            applied,
            purged: log.purged,
            failed: self.health.fault(),
        }
    }

    /// Blocks until the log is durable up to `up_to`, an entry that was applied. For the thread that flushes records.
    ///
    /// # Errors
    /// The log failed or is closed.
    pub fn log_barrier(&self, up_to: LogId) -> Result<(), StorageError> {
        self.log.barrier(up_to)
    }

    /// Lets go of the log up to `up_to`, up to which the records are durable. Returns at once.
    pub fn purge(&self, up_to: LogId) {
        if self.flushed.advance(up_to) {
            let raft = self.raft.clone();
            self.executor.spawn(async move {
                // Fails only if raft has stopped. openraft purges once it knows of the new snapshot.
                let _ = raft.trigger().snapshot().await;
            });
        }
    }

    /// Has the log write anew some of what older keys sealed ([`Log::rewrite`]), and waits for it. For the thread that
    /// flushes records.
    ///
    /// # Errors
    /// The log failed or is closed.
    pub fn rewrite_log(&self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        self.log.rewrite(copy_bytes_max)
    }

    /// Has the log give back some space that it needs no more ([`Log::trim`]), and waits for it. Returns whether there
    /// is more. For the thread that flushes records.
    ///
    /// # Errors
    /// The log failed or is closed.
    pub fn trim_log(&self) -> Result<bool, StorageError> {
        self.log.trim()
    }

    /// Bytes of the log on its medium.
    pub fn log_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    /// Whether the log has no room on its medium: whatever is proposed now waits until it has some.
    pub fn log_is_full(&self) -> bool {
        self.log.is_full()
    }

    /// What was counted since the start.
    pub fn counts(&self) -> ConsensusCounts {
        self.counts.read(self.log.sync_durations())
    }

    /// From now on tells `listener` when this member begins and ceases to lead, beginning with how it is now.
    pub fn on_leadership(&self, listener: LeadershipListener) {
        self.leadership.listen(listener);
    }

    /// Tells `listener` the fault that stops consensus, once; at once if it has happened. Never after a shutdown.
    pub fn on_failure(&self, listener: FailureListener) {
        self.health.on_failure(listener);
    }

    /// Stops consensus and joins every thread that it started. Blocks; idempotent. What is under way becomes unknown.
    ///
    /// Not from a `done`, a listener or the machine: they run on threads that this waits for.
    pub fn shutdown(&self) {
        self.health.stop();
        self.leadership.elected(None);
        self.leadership.forget_listeners();
        // It may hold what owns us.
        let answerer = self.forwarder.answerer.lock().take();
        drop(answerer);
        self.executor.shutdown();
        self.applier.shutdown();
        self.log.shutdown();
    }

    /// Ends raft with the first fault, whoever met it: a member that serves nobody must not go on as the leader.
    fn end_raft_with_fault(&self) {
        let (raft, executor) = (self.raft.clone(), self.executor.handle());
        self.health.on_failure(Box::new(move |_| {
            // It may have ended by itself.
            executor.spawn(async move { drop(raft.shutdown().await) });
        }));
    }

    /// Follows who leads and whether raft still runs.
    fn follow_raft(&self) {
        let mut metrics = self.raft.server_metrics();
        let all = self.raft.metrics();
        let (leadership, health, counts) =
            (self.leadership.clone(), self.health.clone(), self.counts.clone());
        let forwarder = self.forwarder.clone();
        self.executor.spawn(async move {
            let mut leader = None;
            loop {
                {
                    let now = metrics.borrow_and_update();
                    if now.current_leader.is_some() && now.current_leader != leader {
                        leader = now.current_leader;
                        counts.leader_changed();
                    }
                    let leads = now.state == ServerState::Leader && now.vote.committed;
                    let found = &now.membership_config;
                    if let Some(id) = found.log_id() {
                        let sole = is_sole_voter(found.membership(), leadership.node_id());
                        leadership.membership_found(id.index, sole);
                    }
                    leadership.elected(leads.then_some(now.vote.leader_id.term));
                }
                health.poke();
                forwarder.changed.notify(usize::MAX);
                if metrics.changed().await.is_err() {
                    break;
                }
            }
            leadership.elected(None);
            let reason = match &all.borrow_watched().running_state {
                Err(fatal) => fatal.to_string(),
                Ok(()) => "raft panicked".to_owned(),
            };
            health.fail(Error::Fatal(reason));
        });
    }

    /// Founds the cluster if it is new, and takes the lead if nobody else can.
    fn begin(&self, founding: Option<Founding>) -> Result<(), Error> {
        let node_id = self.leadership.node_id();
        let raft = self.raft.clone();
        let begun = self.executor.spawn(async move {
            let voters =
                raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect());
            let voters: Vec<u64> = voters.await.map_err(|error| error.to_string())?;
            if let Some(founding) = founding {
                let founders = match founding {
                    Founding::Alone => BTreeMap::from([(node_id, Bytes::new())]),
                    Founding::With(founders) => founders,
                    Founding::Join => return Ok(false),
                };
                let alone = founders.keys().eq([&node_id]);
                let founders: BTreeMap<u64, Description> =
                    founders.into_iter().map(|(id, description)| (id, Description(description))).collect();
                raft.initialize(founders).await.map_err(|error| error.to_string())?;
                return Ok(alone);
            } else if voters == [node_id] {
                raft.trigger().elect(false).await.map_err(|error| error.to_string())?;
            } else {
                return Ok(false);
            }
            Ok::<bool, String>(true)
        });
        let failed = |reason: String| self.health.fault().unwrap_or(Error::Fatal(reason));
        let leads =
            self.executor.block_on(begun).map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        if leads {
            // Everything before the blank entry of the own term is applied with it.
            self.health.wait_until(|| self.leadership.reads_at_once())?;
        }
        Ok(())
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Tells an outcome, once: "unknown" if nobody else did.
struct TellOnDrop<F: FnOnce(Result<(), ProposeError>)>(Option<F>);

impl<F: FnOnce(Result<(), ProposeError>)> TellOnDrop<F> {
    fn tell(&mut self, outcome: Result<(), ProposeError>) {
        if let Some(tell) = self.0.take() {
            tell(outcome);
        }
    }
}

impl<F: FnOnce(Result<(), ProposeError>)> Drop for TellOnDrop<F> {
    fn drop(&mut self) {
        self.tell(Err(ProposeError::Unknown));
    }
}

/// Checks that the log continues what the machine holds. The machine may be ahead, where a snapshot was installed and the
/// power went before the log was purged: whoever installs a snapshot has saved its leader's term in the log before.
fn check_continuity(log: &dyn Log, applied: Option<LogId>) -> Result<(), Error> {
    let state = log.state();
    let place = |id: Option<LogId>| match id {
        Some(id) => format!("index {} of term {}", id.index, id.term),
        None => "its beginning".to_owned(),
    };
    if state.purged > applied {
        return Err(Error::Corrupt(format!(
            "the log begins after {}, but the records end at {}: records are missing",
            place(state.purged),
            place(applied)
        )));
    }
    if applied > state.last && applied.is_some_and(|applied| applied.term > state.hard_state.term) {
        return Err(Error::Corrupt(format!(
            "the log ends at {}, but the records hold {}: log entries are missing",
            place(state.last),
            place(applied)
        )));
    }
    Ok(())
}

fn stored_membership(membership: Option<(LogId, Bytes)>) -> Result<RaftStoredMembership, Error> {
    let Some((id, payload)) = membership else { return Ok(RaftStoredMembership::default()) };
    let membership = decode_membership(payload)
        .map_err(|malformed| Error::Corrupt(format!("the membership in the records: {malformed}")))?;
    Ok(RaftStoredMembership::new(Some(to_raft_id(id)), membership))
}
