//! The driver: takes requests, proposes, applies, serves reads, keeps the lease clock, flushes and compacts.
//!
//! # Threads
//! | thread | work |
//! |---|---|
//! | callers | checks, encoding of proposals, all reads, values of answers |
//! | raft, log writer, apply | [`crate::consensus`] |
//! | watch | [`crate::watch`] |
//! | records | flush, purge, prune, reclaim, hashing |
//! | leases | expiry and checkpoints, while this node leads |
//! | scrub | verification of what is stored, slowly; there from the first scrub on |
//!
//! # Invariants
//! - An acknowledged write is durable on a quorum and applied here.
//! - A linearizable read sees every write that was acknowledged before it began.
//! - A local fault stops the node: everyone who waits is told, and nothing is acknowledged any more.
//! - [`Node::shutdown`] joins every thread that [`Node::open`] started.

mod answers;
mod at_once;
mod block_cache;
mod config;
mod counters;
mod equality;
mod failure;
mod history;
mod leader_calls;
pub mod lease_clock;
mod leases;
mod machine;
mod maintenance;
mod member_snapshot;
mod members;
mod opening;
mod pace;
mod pages;
mod proposals;
mod quota;
mod range;
pub mod remains;
pub mod restore;
mod scrub;
mod snapshot_file;
mod snapshot_view;
pub mod soundness;
#[cfg(test)]
mod tests;
mod turns;
mod unflushed;
mod values;

pub use config::NodeConfig;
pub use counters::NodeMetrics;
pub use pages::{Pages, RANGE_BYTES_MAX};
pub use scrub::{SCRUB_RATE_BYTES, ScrubCounts, ScrubState, ScrubStatus};
pub use snapshot_file::SnapshotFile;
pub use snapshot_view::SnapshotView;

use crate::consensus::peers::{NoPeers, Peers};
use crate::consensus::{Consensus, ConsensusConfig, MemberChange, MemberError, Membership};
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::member::Member;
use crate::request::*;
use crate::revision::LeaseId;
use crate::state::check::{self, Limits};
use crate::state::{Command, KvHasher, Outcome, State, StateReader};
use crate::storage::{Log, Records};
use crate::watch::{WatchConfig, WatchHub, WatchStream};
use answers::Answering;
use counters::Counters;
use equality::Equality;
use failure::Failure;
use futures_channel::oneshot;
use history::NodeHistory;
use leader_calls::Question;
use leases::LeaseKeeper;
use machine::StateMachine;
use maintenance::Maintenance;
use parking_lot::Mutex;
use proposals::{Answered, Proposals};
use quota::Quota;
use scrub::Scrubber;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use values::ValueStore;

/// Time between two looks at who leads while the lead is handed over.
const TRANSFER_INTERVAL: Duration = Duration::from_millis(10);

/// One member of a store. Cheap to clone; every clone is the same node, which stops with the last of them.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: NodeConfig,
    limits: Limits,
    /// Locked while an entry is applied.
    state: Arc<Mutex<State>>,
    reader: StateReader,
    values: Arc<ValueStore>,
    proposals: Arc<Proposals>,
    quota: Arc<Quota>,
    equality: Arc<Equality>,
    consensus: Arc<Consensus>,
    hub: Arc<WatchHub>,
    leases: Arc<LeaseKeeper>,
    maintenance: Arc<Maintenance>,
    scrubber: Arc<Scrubber>,
    counters: Arc<Counters>,
    failure: Arc<Failure>,
    stopping: Mutex<bool>,
}

impl Node {
    /// Opens a member that is alone over its log and records: rebuilds the index from the key directory, replays the log
    /// from the records' checkpoint, and starts the threads. A fresh store founds a cluster of this one member.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Fatal`] if what is stored cannot be read; [`Error::Open`] if the store belongs to a
    /// cluster of several members, if the boot number is not above all earlier ones of this member, or if the system has
    /// no thread to give.
    pub fn open(config: NodeConfig, log: Box<dyn Log>, records: Arc<dyn Records>) -> Result<Node, Error> {
        Self::open_with(config, log, records, None)
    }

    /// As [`open`](Self::open), with a way to other members. A fresh store does as [`NodeConfig::founding`] says. Returns
    /// before there is a leader, unless this member decides alone.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except that there may be other members.
    pub fn open_among(
        config: NodeConfig,
        log: Box<dyn Log>,
        records: Arc<dyn Records>,
        peers: Arc<dyn Peers>,
    ) -> Result<Node, Error> {
        Self::open_with(config, log, records, Some(peers))
    }

    fn open_with(
        config: NodeConfig,
        mut log: Box<dyn Log>,
        records: Arc<dyn Records>,
        peers: Option<Arc<dyn Peers>>,
    ) -> Result<Node, Error> {
        opening::join_log_and_records(log.as_mut(), records.as_ref())?;
        let state = opening::load_state(records.as_ref())?;
        if peers.is_none() {
            opening::check_members(&config, &state)?;
        }
        opening::check_boot(&config, &state, log.as_ref())?;
        let reader = state.reader();
        let state = Arc::new(Mutex::new(state));
        let values = Arc::new(ValueStore::new(records, config.cache_bytes_max));
        let failure = Arc::new(Failure::default());
        let proposals = Proposals::new(
            config.member_id,
            config.boot,
            config.proposals_bytes_max,
            Arc::clone(values.records()),
        );
        let counters = Arc::new(Counters::default());
        let quota = Quota::new(
            config.quota_bytes,
            config.member_id,
            reader.clone(),
            Arc::clone(&values),
            Arc::clone(&proposals),
        );
        let maintenance = Maintenance::new(
            Arc::clone(&values),
            reader.clone(),
            Arc::clone(&failure),
            Arc::clone(&quota),
            config.flush_bytes,
            config.flush_interval,
            Arc::clone(&counters),
        );
        let history = Arc::new(NodeHistory {
            reader: reader.clone(),
            values: Arc::clone(&values),
            failure: Arc::clone(&failure),
        });
        let on_fault = {
            let failure = Arc::clone(&failure);
            move |fault| {
                failure.set(fault);
            }
        };
        let hub = Arc::new(WatchHub::start(history, watch_config(&config), on_fault)?);
        let leases = LeaseKeeper::new(reader.clone(), Arc::clone(&proposals), config.election_timeout);
        failure.on_set({
            // Weak, because what these hold leads to what holds the failure: the history, and consensus.
            let (proposals, leases) = (Arc::downgrade(&proposals), Arc::downgrade(&leases));
            let hub = Arc::downgrade(&hub);
            move |reason| {
                if let Some(proposals) = proposals.upgrade() {
                    proposals.abandon(reason.clone());
                }
                if let Some(leases) = leases.upgrade() {
                    leases.stop(reason.clone());
                }
                if let Some(hub) = hub.upgrade() {
                    hub.stop();
                }
            }
        });
        let equality = Equality::new(
            config.member_id,
            reader.clone(),
            Arc::clone(&hub),
            Arc::clone(&proposals),
            config.compare_interval,
        );
        let machine = StateMachine {
            state: Arc::clone(&state),
            reader: reader.clone(),
            values: Arc::clone(&values),
            proposals: Arc::clone(&proposals),
            hub: Arc::clone(&hub),
            leases: Arc::clone(&leases),
            maintenance: Arc::clone(&maintenance),
            counters: Arc::clone(&counters),
            failure: Arc::clone(&failure),
            equality: Arc::clone(&equality),
            unflushed_bytes_hard: config.unflushed_bytes_hard(),
        };
        let scrubber = Scrubber::new(
            log.reader(),
            Arc::clone(&values),
            Arc::clone(&failure),
            config.scrub_interval,
            config.scrub_rate_bytes,
        );
        let peers = peers.unwrap_or_else(|| Arc::new(NoPeers));
        let started = Consensus::start_among(consensus_config(&config), log, Box::new(machine), peers);
        let consensus = match started {
            Ok(consensus) => Arc::new(consensus),
            Err(error) => {
                hub.shutdown();
                return Err(error);
            }
        };
        let inner = Inner {
            limits: config.limits(),
            config,
            state,
            reader,
            values,
            proposals,
            quota,
            equality,
            consensus: Arc::clone(&consensus),
            hub,
            leases,
            maintenance,
            scrubber,
            counters,
            failure,
            stopping: Mutex::new(false),
        };
        inner.start()?;
        Ok(Node { inner: Arc::new(inner) })
    }

    /// Reads a range of keys.
    ///
    /// # Errors
    /// Bad requests, [`Error::Compacted`], [`Error::FutureRevision`], [`Error::NoLeader`]; a local fault.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        Ok(self.range_within(request, usize::MAX).await?.response)
    }

    /// Writes one key.
    ///
    /// # Errors
    /// Bad requests, [`Error::LeaseNotFound`], [`Error::TooManyRequests`], unknown outcomes.
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Error> {
        let (outcome, header, _answered) = self.propose(Command::Put(request)).await?;
        self.answering().put(outcome, header).await.map_err(|error| self.written(error))
    }

    /// Deletes a range of keys.
    ///
    /// # Errors
    /// Bad requests, [`Error::TooManyRequests`], unknown outcomes; [`Error::DoneAnswerTooLarge`] if the keys were deleted
    /// but what they held is too much for one answer.
    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        let (outcome, header, _answered) = self.propose(Command::DeleteRange(request)).await?;
        self.answering().delete_range(outcome, header).await.map_err(|error| self.written(error))
    }

    /// Compares, then runs one of two lists of operations, atomically. A txn of ranges only is a read.
    ///
    /// # Errors
    /// Bad requests, what its operations can fail with (then nothing was changed), unknown outcomes.
    /// [`Error::TxnTooLarge`] if it looks at too many keys, [`Error::AnswerTooLarge`] if it only reads, but too much;
    /// [`Error::DoneAnswerTooLarge`] if it was carried out, but reads too much.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        if request.is_read_only() {
            check::txn(&request, &self.inner.limits)?;
            return Box::pin(self.read_txn(request)).await;
        }
        let (outcome, header, _answered) = self.propose(Command::Txn(request)).await?;
        self.answering().txn(outcome, header).await.map_err(|error| self.written(error))
    }

    /// Drops history below a revision. Returns once that is decided, or with `physical` once it is done.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`], unknown outcomes.
    pub async fn compact(&self, request: CompactRequest) -> Result<CompactResponse, Error> {
        let (_, header, _) = self.propose(Command::Compact { revision: request.revision }).await?;
        if request.physical {
            self.inner.maintenance.wait_reclaimed(request.revision).await?;
        }
        Ok(CompactResponse { header })
    }

    /// Lets what older keys sealed be carried over in the background, if the record store was asked to
    /// ([`Records::wants_rewrite`]). What an earlier life left is gone on with
    /// at the start anyway.
    pub fn rewrite(&self) {
        self.inner.maintenance.rewrite_requested();
    }

    /// Begins to verify everything that is stored, slowly and beside everything else; or joins the scrub that is under
    /// way. `rate_bytes` are read in a second, by default as the node is configured. If damage is found the scrub goes on
    /// to its end, and then the node stops.
    ///
    /// # Errors
    /// The node has stopped, or the system has no thread to give.
    pub fn scrub(&self, rate_bytes: Option<u64>) -> Result<ScrubStatus, Error> {
        self.inner.scrubber.begin(rate_bytes)
    }

    /// How far the scrub is, or what the last one found.
    pub fn scrub_status(&self) -> ScrubStatus {
        self.inner.scrubber.look()
    }

    /// Ends the scrub that is under way. Returns how far it is; it ends a moment later.
    pub fn cancel_scrub(&self) -> ScrubStatus {
        self.inner.scrubber.cancel()
    }

    /// Creates a lease.
    ///
    /// # Errors
    /// [`Error::LeaseExists`], [`Error::LeaseTtlTooLarge`], unknown outcomes.
    pub async fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error> {
        let ttl_s = request.ttl_s.max(self.inner.config.lease_ttl_s_min());
        let chosen = request.id.is_none();
        loop {
            let id = if chosen { leases::random_id()? } else { request.id };
            match self.propose(Command::LeaseGrant { id, ttl_s }).await {
                Err(Error::LeaseExists) if chosen => continue,
                Err(error) => return Err(error),
                Ok((_, header, _)) => return Ok(LeaseGrantResponse { header, id, ttl_s }),
            }
        }
    }

    /// Ends a lease and deletes its keys in one revision.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], unknown outcomes.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<LeaseRevokeResponse, Error> {
        let (_, header, _) = self.propose(Command::LeaseRevoke { id }).await?;
        Ok(LeaseRevokeResponse { header })
    }

    /// Renews a lease, which the leader's clock counts, at any member. An unknown lease is no error: its TTL is 0.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; unknown outcomes while a checkpoint is cleared; [`Error::Unavailable`] with what the leader
    /// failed with.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseKeepAliveResponse, Error> {
        let ttl_s = self.ask_leader(Question::KeepAlive(id)).await?;
        self.inner.counters.leases_renewed.add(u64::from(ttl_s > 0));
        Ok(LeaseKeepAliveResponse { header: self.header(), id, ttl_s })
    }

    /// The rest of a lease's life. An unknown lease is no error: its TTL is -1.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; [`Error::Unavailable`].
    pub async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        self.read_barrier(false).await?;
        let (id, header) = (request.id, self.header());
        let Some(lease) = self.inner.reader.lease(id) else {
            return Ok(LeaseTimeToLiveResponse {
                header,
                id,
                ttl_s: -1,
                ..LeaseTimeToLiveResponse::default()
            });
        };
        let ttl_s = self.ask_leader(Question::TimeToLive(id)).await?;
        let keys = if request.keys { self.inner.reader.lease_keys(id) } else { Vec::new() };
        Ok(LeaseTimeToLiveResponse { header, id, ttl_s, granted_ttl_s: lease.ttl_s, keys })
    }

    /// All leases.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; a local fault.
    pub async fn lease_list(&self) -> Result<LeaseListResponse, Error> {
        self.read_barrier(false).await?;
        Ok(LeaseListResponse { header: self.header(), leases: self.inner.reader.leases() })
    }

    /// Hash over the content at `revision` (0 or less: the newest), equal to etcd's for equal content.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`]; a local fault.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Error> {
        self.inner.failure.check()?;
        let (sender, receiver) = oneshot::channel();
        let (reader, values) = (self.inner.reader.clone(), Arc::clone(&self.inner.values));
        self.inner.maintenance.submit(move |goes_on| {
            // The caller may have left.
            drop(sender.send(hash_content(&reader, &values, revision, goes_on)));
        })?;
        let (hash, compact_revision, hash_revision) = match receiver.await {
            Ok(result) => result?,
            Err(_) => return Err(self.inner.failure.get().unwrap_or(Error::Stopped)),
        };
        Ok(HashKvResponse { header: self.header(), hash, compact_revision, hash_revision })
    }

    /// Lists, raises or clears alarms.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; [`Error::InvalidArgument`] beyond thousands of alarms; unknown outcomes.
    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Error> {
        let raised = match request.action {
            AlarmAction::Get => {
                self.barrier().await?;
                let mut alarms = self.inner.reader.alarms();
                alarms.retain(|alarm| request.kind.is_none_or(|kind| alarm.kind == kind));
                return Ok(AlarmResponse { header: self.header(), alarms });
            }
            AlarmAction::Activate => true,
            AlarmAction::Deactivate => false,
        };
        let Some(kind) = request.kind else {
            return Ok(AlarmResponse { header: self.header(), alarms: Vec::new() });
        };
        let command = Command::Alarm { alarm: Alarm { member: request.member, kind }, raised };
        let (outcome, header, _) = self.propose(command).await?;
        let alarms = match outcome {
            Outcome::Alarm { alarm } => alarm.into_iter().collect(),
            other => return Err(answers::unexpected(&other)),
        };
        Ok(AlarmResponse { header, alarms })
    }

    /// Returns once everything that was acknowledged before the call is visible here.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; a local fault.
    pub async fn barrier(&self) -> Result<(), Error> {
        // Also where the content is served to nobody: what is said of the cluster is.
        self.inner.failure.check()?;
        self.inner.consensus.read_barrier().await
    }

    /// The alarms that are raised, of any member, as this one knows them. Waits for nothing.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.inner.reader.alarms()
    }

    /// Bytes in use at which this member takes nothing more that grows the store; 0 for no quota.
    pub fn quota_bytes(&self) -> u64 {
        self.inner.config.quota_bytes
    }

    /// Member id of the leader, as far as this member knows.
    pub fn leader(&self) -> Option<u64> {
        self.inner.consensus.leader()
    }

    /// The members of the cluster as this one knows them, ascending by id, each with whether it has a vote. Waits for
    /// nothing but an entry that is being applied.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is stored of them cannot be read.
    pub fn members(&self) -> Result<Vec<(Member, bool)>, Error> {
        opening::members(&self.inner.state.lock())
    }

    /// What a transport hands what other members say to.
    pub fn consensus(&self) -> &Arc<Consensus> {
        &self.inner.consensus
    }

    /// Who belongs to the cluster and who votes, as far as this member knows: the newest membership, committed or not.
    pub fn membership(&self) -> Membership {
        self.inner.consensus.membership()
    }

    /// Changes the membership, through the leader if that is another member. Ends when it is applied there, and here too
    /// unless this member lags.
    ///
    /// # Errors
    /// Why it was not changed, or that this is unknown.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), MemberError> {
        self.inner.consensus.change(change).await
    }

    /// Hands the lead over to `member`, a voter; ends once it leads. This member must lead.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; [`Error::InvalidArgument`] for one that has no vote; [`Error::Timeout`] if it does not lead
    /// within the time of an election.
    pub async fn move_leader(&self, member: u64) -> Result<(), Error> {
        let (consensus, own) = (&self.inner.consensus, self.inner.config.member_id);
        self.inner.failure.check()?;
        if consensus.leader() != Some(own) {
            return Err(Error::NotLeader);
        }
        if !consensus.membership().is_voter(member) {
            return Err(Error::InvalidArgument(format!("member {member:x} has no vote")));
        }
        let deadline = Instant::now() + self.inner.config.election_timeout * 3;
        if member != own {
            consensus.transfer_leader(member).await?;
        }
        while consensus.leader() != Some(member) {
            if Instant::now() >= deadline {
                return Err(Error::Timeout);
            }
            coffer_runtime::sleep(TRANSFER_INTERVAL).await;
        }
        Ok(())
    }

    /// Hands the lead over, if this member leads and another can: so that nobody has to wait for an election when it ends.
    /// Ends once another leads, or after an election timeout.
    pub async fn hand_over(&self) {
        let (consensus, own) = (&self.inner.consensus, self.inner.config.member_id);
        if self.inner.failure.check().is_err() || consensus.leader() != Some(own) {
            return;
        }
        let deadline = Instant::now() + self.inner.config.election_timeout;
        if let Err(error) = consensus.hand_over().await {
            return tracing::debug!(%error, "the lead could not be handed over");
        }
        while !consensus.is_sole_voter() && consensus.leader().is_none_or(|leader| leader == own) {
            if Instant::now() >= deadline {
                return tracing::warn!("nobody took over the lead in time");
            }
            coffer_runtime::sleep(TRANSFER_INTERVAL).await;
        }
    }

    /// Whether this member has no vote.
    pub fn is_learner(&self) -> bool {
        self.inner.consensus.is_learner()
    }

    /// A member's view of itself. Answered even while there is no leader.
    ///
    /// # Errors
    /// None today; kept fallible like every other request.
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        let inner = &self.inner;
        let consensus = inner.consensus.status();
        let records = inner.values.records().stats();
        let mut errors = Vec::new();
        if let Some(reason) = inner.failure.get() {
            errors.push(reason.to_string());
        } else if consensus.leader.is_none() {
            errors.push(Error::NoLeader.to_string());
        }
        let alarms = inner.reader.alarms();
        errors
            .extend(alarms.iter().map(|Alarm { member, kind }| format!("alarm {kind} of member {member:x}")));
        let db_size_bytes = records.disk_bytes + inner.consensus.log_bytes();
        Ok(StatusResponse {
            header: self.header(),
            version: env!("CARGO_PKG_VERSION").into(),
            db_size_bytes,
            db_size_in_use_bytes: inner.values.bytes_in_use().min(db_size_bytes),
            leader: consensus.leader.unwrap_or(0),
            raft_index: consensus.last.map_or(0, |id| id.index),
            raft_applied_index: consensus.applied.map_or(0, |id| id.index),
            raft_term: consensus.term,
            is_learner: consensus.is_learner,
            compact_revision: inner.reader.compact_revision(),
            keys: inner.reader.keys_live(),
            leases: inner.reader.lease_count() as u64,
            watchers: inner.hub.watchers() as u64,
            backend: inner.config.backend.clone(),
            sealed: inner.config.sealed,
            quota_bytes: inner.config.quota_bytes,
            alarms,
            errors,
        })
    }

    /// A stream of watchers.
    pub fn watch(&self) -> WatchStream {
        self.inner.hub.stream()
    }

    /// A header with the newest revision.
    pub fn header(&self) -> Header {
        self.header_at(self.inner.reader.revision())
    }

    /// The limits that requests are checked against.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Largest request in bytes.
    pub fn request_bytes_max(&self) -> usize {
        self.inner.config.request_bytes_max
    }

    /// How long members wait for a leader's sign of life.
    pub fn election_timeout(&self) -> Duration {
        self.inner.config.election_timeout
    }

    /// The fault that stopped the node, if one did; [`Error::Stopped`] after a shutdown.
    pub fn failed(&self) -> Option<Error> {
        self.inner.failure.get()
    }

    /// Resolves with the reason when the node stops, for a fault or by [`shutdown`](Self::shutdown).
    pub async fn stopped(&self) -> Error {
        self.inner.failure.wait().await
    }

    /// Stops everything and joins every thread. What waits in memory is flushed, so that the next start is quick.
    /// New proposals get [`Error::Stopped`]; those that were accepted get their outcome, or after two election
    /// timeouts without one are told that it is unknown. Idempotent; blocks.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }

    async fn read_barrier(&self, serializable: bool) -> Result<(), Error> {
        self.inner.check()?;
        if serializable { Ok(()) } else { self.inner.consensus.read_barrier().await }
    }

    /// As [`range`](Self::range), but the answer ends with `more` behind the pair that reaches `bytes_max`.
    async fn range_within(&self, request: RangeRequest, bytes_max: usize) -> Result<range::Read, Error> {
        check::range(&request)?;
        self.read_barrier(request.serializable).await?;
        self.inner.counters.ranges.add(1);
        let Inner { reader, values, .. } = &*self.inner;
        let read = range::read(reader, values, request, bytes_max, |revision| self.header_at(revision)).await;
        read.map_err(|error| self.inner.fault(error))
    }

    async fn read_txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.read_barrier(request.is_serializable()).await?;
        let Inner { reader, values, config, .. } = &*self.inner;
        // The whole history, because a range may name an old revision, and its values are read last.
        let _history = reader.pin_history();
        let pin = reader.pin();
        let header = self.header_at(pin.revision());
        let reading = Answering::read(reader, values, &request, pin.revision(), config.answer_bytes_max);
        let (outcome, mut answering) = reading.await.map_err(|error| self.inner.fault(error))?;
        self.inner.counters.read_txn(&outcome);
        answering.txn(outcome, header).await.map_err(|error| self.inner.fault(error))
    }

    fn answering(&self) -> Answering<'_> {
        let Inner { reader, values, config, .. } = &*self.inner;
        Answering::applied(reader, values, config.answer_bytes_max)
    }

    /// The error of a write that was applied, but whose answer can not be read.
    fn written(&self, error: Error) -> Error {
        match self.inner.fault(error) {
            // Or a snapshot of another member took away what the answer refers to.
            Error::Corrupt(_) | Error::Compacted { .. } => Error::OutcomeUnknown,
            Error::AnswerTooLarge | Error::TxnTooLarge => Error::DoneAnswerTooLarge,
            other => other,
        }
    }

    async fn propose(&self, command: Command) -> Result<(Outcome, Header, Answered), Error> {
        self.inner.failure.check()?;
        if !matches!(command, Command::Alarm { .. }) {
            self.inner.equality.check()?;
        }
        if self.inner.values.unflushed_bytes() > self.inner.config.unflushed_bytes_max(&command) {
            let has_room = self.inner.values.records().has_room();
            return Err(if has_room { Error::TooManyRequests } else { Error::NoSpace });
        }
        check::command(&command, &self.inner.limits)?;
        self.inner.quota.admit(&command).await?;
        let answered = self.inner.proposals.propose(command).await;
        if matches!(answered, Err(Error::NoSpace)) {
            // It was refused while it waited, before anybody had raised the alarm.
            Box::pin(self.inner.quota.raise()).await;
        }
        let mut answered = answered?;
        let header = self.header_at(answered.answer.revision);
        let outcome = std::mem::replace(&mut answered.answer.result, Err(Error::Canceled))?;
        Ok((outcome, header, answered))
    }

    fn header_at(&self, revision: i64) -> Header {
        Header {
            cluster_id: self.inner.config.cluster_id,
            member_id: self.inner.config.member_id,
            revision,
            raft_term: self.inner.consensus.term(),
        }
    }
}

impl Inner {
    /// Whether this member may serve anybody.
    fn check(&self) -> Result<(), Error> {
        self.failure.check()?;
        self.equality.check()
    }

    fn start(&self) -> Result<(), Error> {
        let failure = Arc::clone(&self.failure);
        self.consensus.on_failure(Box::new(move |reason| {
            failure.set(reason);
        }));
        let leases = Arc::clone(&self.leases);
        self.consensus.on_leadership(Box::new(move |term| leases.leadership(term)));
        let consensus = Arc::downgrade(&self.consensus);
        let (leases, equality) = (Arc::clone(&self.leases), Arc::clone(&self.equality));
        self.consensus.on_question(leader_calls::answerer(leases, equality, consensus));
        self.proposals.connect(Arc::clone(&self.consensus));
        self.maintenance.start(Arc::clone(&self.state), Arc::clone(&self.consensus))?;
        self.leases.start(Arc::clone(&self.failure))?;
        self.consensus.beside(Arc::clone(&self.equality).run(Arc::downgrade(&self.consensus)));
        self.scrubber.start()
    }

    fn shutdown(&self) {
        let mut stopping = self.stopping.lock();
        if std::mem::replace(&mut *stopping, true) {
            return;
        }
        self.proposals.refuse(Error::Stopped);
        if self.failure.get().is_none() {
            self.proposals.drain(self.config.election_timeout * 2);
        }
        self.leases.stop(Error::Stopped);
        self.scrubber.stop();
        self.maintenance.stop();
        self.consensus.shutdown();
        self.failure.set(Error::Stopped);
        // Only now, because it may have waited for an outcome that consensus could not get.
        self.leases.join();
        self.hub.shutdown();
    }

    /// Stops the node if a read met a local fault; passes every other error on.
    fn fault(&self, error: Error) -> Error {
        if matches!(error, Error::Fatal(_) | Error::Corrupt(_)) && self.failure.set(error.clone()) {
            tracing::error!(%error, "a read met a fault; the node stops");
        }
        error
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The hash, the compact revision and the revision that was hashed. Asks every few hundred records whether to go on.
fn hash_content(
    reader: &StateReader,
    values: &ValueStore,
    revision: i64,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(u32, i64, i64), Error> {
    let history = reader.pin_history();
    let compact_revision = history.revision();
    let at = reader.pin_at(revision)?.revision();
    let mut hasher = KvHasher::new(compact_revision, at);
    // Where no key is live, etcd leaves nothing out: it hashes what its compaction has kept.
    let is_empty = reader.count(&KeyRange::all(), at)? == 0;
    let shown_at = if is_empty { compact_revision } else { at };
    let (mut records, mut stopped) = (0u64, false);
    values.scan(0, at, &mut |record| {
        records += 1;
        if records.is_multiple_of(256) && !goes_on() {
            stopped = true;
            return ControlFlow::Break(());
        }
        let is_kept =
            || reader.get(&record.key, shown_at).is_some_and(|version| version.revision == record.revision);
        hasher.write(record, is_kept);
        ControlFlow::Continue(())
    })?;
    values.check_not_replaced(compact_revision)?;
    if stopped { Err(Error::Stopped) } else { Ok((hasher.finish(), compact_revision, at)) }
}

fn watch_config(config: &NodeConfig) -> WatchConfig {
    WatchConfig {
        progress_interval: config.watch_progress_interval,
        fragment_bytes: config.request_bytes_max,
        ..WatchConfig::default()
    }
}

fn consensus_config(config: &NodeConfig) -> ConsensusConfig {
    ConsensusConfig {
        node_id: config.member_id,
        heartbeat_interval: config.heartbeat_interval,
        election_timeout: config.election_timeout,
        patience: config.patience,
        founding: config.founding.clone(),
        ..ConsensusConfig::default()
    }
}
