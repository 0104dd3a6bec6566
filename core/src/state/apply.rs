//! The state machine itself: log entries in, answers and events out.
//!
//! # Crash behaviour
//! None of its own. After a restart it is restored from the last [`Checkpoint`] and the log is applied again from
//! there; applying the same entries again gives the same state, answers and events.

use super::alarms::{Alarms, Members};
use super::chain::Chain;
use super::key_index::KeyIndex;
use super::lessor::Lessor;
use super::range::{Indexed, STEP_KEYS};
use super::reader::Shared;
use super::windows::Windows;
use super::writer::Writer;
use super::{Answer, Applied, Command, LeaseChange, Outcome, Proposal, Values, checkpoint, command, txn};
use crate::codec::Malformed;
use crate::error::Error;
use crate::planted::{Bug, planted};
use crate::request::{DeleteRangeRequest, PutRequest, TxnRequest};
use crate::revision::{LeaseId, Revision};
use crate::storage::{Checkpoint, LogId, StorageError};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

/// The replicated state, owned by the apply thread.
#[derive(Debug)]
pub struct State {
    shared: Arc<Shared>,
    applied: Option<LogId>,
    membership: Option<(LogId, Bytes)>,
    /// Whom that names.
    members: Members,
    windows: Windows,
    chain: Chain,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// The state of a fresh store.
    pub fn new() -> Self {
        let index = Indexed::new(KeyIndex::new(), Revision::FRESH);
        Self {
            shared: Arc::new(Shared::new(index, Lessor::default(), Alarms::default(), Revision::FRESH, 0)),
            applied: None,
            membership: None,
            members: Members::default(),
            windows: Windows::default(),
            chain: Chain::default(),
        }
    }

    /// The state that `checkpoint` describes. `index` holds the records that belong to it; the keys that it shows as
    /// attached are attached to their leases.
    ///
    /// # Errors
    /// The checkpoint is not one, or does not fit the index.
    pub fn restore(checkpoint: &Checkpoint, index: KeyIndex) -> Result<Self, Malformed> {
        let parts = checkpoint::decode(&checkpoint.state)?;
        let mut lessor = parts.lessor;
        checkpoint::attach_keys(&mut lessor, &index)?;
        let index = Indexed::new(index, checkpoint.revision);
        let (revision, compact_revision) = (checkpoint.revision, checkpoint.compact_revision);
        let shared = Shared::new(index, lessor, parts.alarms, revision, compact_revision);
        Ok(Self {
            shared: Arc::new(shared),
            applied: Some(checkpoint.applied),
            members: parts
                .membership
                .as_ref()
                .map_or_else(Members::default, |(_, payload)| Members::of(payload)),
            membership: parts.membership,
            windows: parts.windows,
            // Before version 2 nothing was counted.
            chain: parts.chain.unwrap_or_else(|| Chain::behind(checkpoint.applied)),
        })
    }

    /// Takes over everything of `next`, which nobody reads yet and which goes on from what this holds. Readers of this
    /// state read `next` from now on.
    ///
    /// # Panics
    /// If somebody reads `next` already.
    pub fn replace(&mut self, next: State) {
        let Self { shared, applied, membership, members, windows, chain } = next;
        let shared = Arc::into_inner(shared).expect("nobody reads a state that was only just restored");
        self.shared.replace(shared);
        (self.applied, self.membership, self.members) = (applied, membership, members);
        (self.windows, self.chain) = (windows, chain);
    }

    /// The hash of what was applied.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// The last log entry that was applied.
    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The newest membership configuration and the log entry that carried it.
    pub fn membership(&self) -> Option<(LogId, Bytes)> {
        self.membership.clone()
    }

    /// The newest process life of `member` that an applied proposal came from.
    pub fn newest_boot(&self, member: u64) -> Option<u64> {
        self.windows.newest_boot(member)
    }

    /// The state that has no revisions, as of the last applied entry; `None` while nothing was applied.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        Some(Checkpoint {
            applied: self.applied?,
            revision: self.shared.published(),
            compact_revision: self.shared.compacted(),
            state: checkpoint::encode(
                &self.shared.lessor.read(),
                &self.windows,
                self.membership.as_ref(),
                &self.shared.alarms.read(),
                self.chain,
            ),
        })
    }

    /// Takes note of an entry without content.
    pub fn apply_blank(&mut self, id: LogId) {
        self.chain.blank(id);
        self.applied = Some(id);
    }

    /// Takes a membership configuration. The alarms that members who have left had raised for themselves leave with them: nobody
    /// else would clear them.
    pub fn apply_membership(&mut self, id: LogId, payload: Bytes) {
        self.chain.membership(id, &payload);
        self.members = Members::of(&payload);
        self.shared.alarms.write().keep_own_of(&self.members);
        self.membership = Some((id, payload));
        self.applied = Some(id);
    }

    /// Applies a batch of proposals.
    ///
    /// Answers name records by revision, also by old ones that a txn asked for. Whoever will read them holds a
    /// [`super::ReadPin`] of the history that was taken before this call, so that pruning leaves them in place however
    /// soon a compaction follows.
    ///
    /// # Errors
    /// The batch is not one, or `values` failed. The state is then of no use any more.
    pub fn apply(&mut self, id: LogId, batch: Bytes, values: &dyn Values) -> Result<Applied, StorageError> {
        let proposals = command::decode_batch(batch).map_err(|malformed| damaged(id, malformed))?;
        let mut applied = Applied {
            answers: Vec::with_capacity(proposals.len()),
            events: Vec::with_capacity(proposals.len()),
            ..Applied::default()
        };
        for Proposal { id: request, command } in proposals {
            let result = if self.windows.admit(request) {
                let (shared, members) = (&*self.shared, &self.members);
                Step { shared, members, term: id.term, values, applied: &mut applied }.take(command)?
            } else {
                Err(Error::OutcomeUnknown)
            };
            applied.answers.push(Answer { id: request, revision: self.shared.published(), result });
        }
        self.chain.batch(id, &applied);
        self.applied = Some(id);
        Ok(applied)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Applying one command.
struct Step<'a> {
    shared: &'a Shared,
    members: &'a Members,
    term: u64,
    values: &'a dyn Values,
    applied: &'a mut Applied,
}

impl Step<'_> {
    fn take(mut self, command: Command) -> Result<Result<Outcome, Error>, StorageError> {
        if let Err(refused) = self.shared.alarms.read().admit(&command) {
            return Ok(Err(refused));
        }
        Ok(match command {
            Command::Put(request) => return self.put(request),
            Command::DeleteRange(request) => Ok(self.delete_range(&request)),
            Command::Txn(request) => return self.txn(request),
            Command::Compact { revision } => self.compact(revision),
            Command::LeaseGrant { id, ttl_s } => self.grant(id, ttl_s),
            Command::LeaseRevoke { id } => self.revoke(id, true).map(|()| Outcome::LeaseRevoke),
            Command::LeaseExpire { term, leases } => Ok(self.expire(term, leases)),
            Command::LeaseCheckpoint { term, remaining } => Ok(self.checkpoint(term, remaining)),
            Command::Alarm { alarm, raised } => {
                let alarm = self.shared.alarms.write().set(alarm, raised);
                alarm.map(|alarm| Outcome::Alarm { alarm })
            }
            // On its way when the member was removed.
            Command::Differs { member } | Command::Quota { member, .. } if !self.members.may_name(member) => {
                Ok(Outcome::Alarm { alarm: None })
            }
            Command::Differs { member } => {
                let alarm = self.shared.alarms.write().set_by_comparison(member);
                alarm.map(|alarm| Outcome::Alarm { alarm })
            }
            Command::Quota { member, full } => {
                let alarm = self.shared.alarms.write().set_by_quota(member, full);
                alarm.map(|alarm| Outcome::Alarm { alarm })
            }
        })
    }

    fn put(self, request: PutRequest) -> Result<Result<Outcome, Error>, StorageError> {
        if let Err(error) = txn::lease_exists(self.shared, request.lease) {
            return Ok(Err(error));
        }
        let mut writer = Writer::new(self.shared, self.values, &mut self.applied.events);
        let needs_key = request.ignore_value || request.ignore_lease;
        if needs_key && writer.latest(&request.key).is_none() {
            return Ok(Err(Error::KeyNotFound));
        }
        let outcome = txn::put(&mut writer, request, self.values)?;
        writer.publish();
        Ok(Ok(outcome))
    }

    fn delete_range(self, request: &DeleteRangeRequest) -> Outcome {
        let mut writer = Writer::new(self.shared, self.values, &mut self.applied.events);
        let outcome = txn::delete_range(&mut writer, request);
        writer.publish();
        outcome
    }

    fn txn(self, request: TxnRequest) -> Result<Result<Outcome, Error>, StorageError> {
        let mut writer = Writer::new(self.shared, self.values, &mut self.applied.events);
        let outcome = txn::write(self.shared, &mut writer, request, self.values)?;
        writer.publish();
        Ok(outcome)
    }

    /// Unlike etcd, which takes 0 once on a store that was never compacted, 0 and less are always refused.
    fn compact(self, revision: i64) -> Result<Outcome, Error> {
        let compact_revision = self.shared.compacted();
        if revision <= compact_revision {
            return Err(Error::Compacted { compact_revision });
        }
        if revision > self.shared.published() {
            return Err(Error::FutureRevision);
        }
        self.shared.compact(revision);
        self.applied.compacted = Some(revision);
        Ok(Outcome::Compact)
    }

    fn grant(self, id: LeaseId, ttl_s: i64) -> Result<Outcome, Error> {
        if id.is_none() {
            return Err(Error::LeaseNotFound);
        }
        if ttl_s > super::check::LEASE_TTL_MAX_S {
            return Err(Error::LeaseTtlTooLarge);
        }
        if !self.shared.lessor.write().grant(id, ttl_s) {
            return Err(Error::LeaseExists);
        }
        self.applied.leases.push(LeaseChange::Granted { id, ttl_s });
        Ok(Outcome::LeaseGrant { id, ttl_s })
    }

    /// Deletes the keys of a lease at one revision, and the lease with them.
    fn revoke(&mut self, id: LeaseId, takes_revision: bool) -> Result<(), Error> {
        if self.shared.lessor.read().get(id).is_none() {
            return Err(Error::LeaseNotFound);
        }
        let mut writer = Writer::new(self.shared, self.values, &mut self.applied.events);
        let mut last: Option<Bytes> = None;
        loop {
            let keys = self.shared.lessor.read().keys(id, last.as_deref(), STEP_KEYS);
            for key in &keys {
                writer.delete(key.clone());
            }
            last = keys.last().cloned();
            if last.is_none() {
                break;
            }
        }
        self.shared.lessor.write().remove(id);
        if takes_revision {
            writer.publish();
        }
        self.applied.leases.push(LeaseChange::Removed { id });
        Ok(())
    }

    /// Each lease goes at a revision of its own, as if it were revoked. One that is gone already is passed over.
    fn expire(&mut self, term: u64, leases: Vec<LeaseId>) -> Outcome {
        if term == self.term {
            for id in leases {
                // The only error is that the lease is gone already.
                let _ = self.revoke(id, !planted(Bug::ExpiryWithoutRevision));
            }
        }
        Outcome::LeaseExpire
    }

    fn checkpoint(&mut self, term: u64, remaining: Vec<(LeaseId, i64)>) -> Outcome {
        if term == self.term {
            let mut lessor = self.shared.lessor.write();
            for (id, remaining_s) in remaining {
                if let Some(remaining_s) = lessor.checkpoint(id, remaining_s) {
                    self.applied.leases.push(LeaseChange::Checkpointed { id, remaining_s });
                }
            }
        }
        Outcome::LeaseCheckpoint
    }
}

fn damaged(id: LogId, malformed: Malformed) -> StorageError {
    StorageError::Corrupt {
        path: PathBuf::from(format!("log entry {} of term {}", id.index, id.term)),
        offset: 0,
        expected: "a batch of proposals".into(),
        found: malformed.to_string(),
    }
}
