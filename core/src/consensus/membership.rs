//! Who belongs to the cluster, and how that changes: one step at a time, each a log entry, with joint consensus where
//! voters change.
//!
//! # Invariants
//! - A change after which no majority of the voters would be alive is refused, as is a vote for a learner that lacks the
//!   log: it would have everybody wait for it.

use super::forwarder::{Forwarder, RETRY_INTERVAL};
use super::types::{Description, RaftMembership};
use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use thiserror::Error;

/// Entries that a learner may lack when it gets its vote.
const LAG_MAX: u64 = 1000;

/// Who votes, and who belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The voters; two sets while a change is under way, and then a majority of each decides.
    pub voters: Vec<BTreeSet<u64>>,
    /// Everyone, voters and learners, with what the node above says of them.
    pub members: BTreeMap<u64, Bytes>,
}

impl Membership {
    /// Whether `member` has a vote.
    pub fn is_voter(&self, member: u64) -> bool {
        self.voters.iter().any(|voters| voters.contains(&member))
    }
}

impl From<&RaftMembership> for Membership {
    fn from(membership: &RaftMembership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, node)| (*id, node.0.clone())).collect(),
        }
    }
}

/// One change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a member that gets the log but has no vote.
    AddLearner {
        /// Its id, never used before.
        member: u64,
        /// What the transport needs to find it.
        description: Bytes,
    },
    /// Gives a learner a vote.
    Promote {
        /// Its id.
        member: u64,
    },
    /// Removes a voter or a learner.
    Remove {
        /// Its id.
        member: u64,
    },
    /// Changes what is said of a member.
    Describe {
        /// Its id.
        member: u64,
        /// What the transport needs to find it.
        description: Bytes,
    },
}

/// Why the membership was not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Nobody leads, or the leader is not known.
    #[error("no leader")]
    NoLeader,
    /// Another member leads. Nothing was changed.
    #[error("not leader")]
    NotLeader,
    /// Another change is not finished.
    #[error("another change of the membership is under way")]
    InProgress,
    /// No such member.
    #[error("member not found")]
    NotFound,
    /// The member exists already, perhaps in another role.
    #[error("member exists already")]
    Exists,
    /// It is the last voter.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// Too few of the voters that there would be answer the leader.
    #[error("unhealthy cluster: no majority of the voters that there would be is alive")]
    Unhealthy,
    /// The learner lacks too much of the log, or does not answer.
    #[error("can only promote a learner member which is in sync with leader")]
    NotInSync,
    /// The change may have happened, or yet happen.
    #[error("the outcome of the change is unknown")]
    Unknown,
    /// Refused for another reason.
    #[error("{0}")]
    Refused(String),
}

impl Forwarder {
    /// Waits until the members are as fit as the change needs them, but no longer than for one attempt.
    async fn wait_fit(&self, now: &Membership, change: &MemberChange) -> Result<(), MemberError> {
        let deadline = Instant::now() + self.attempt;
        loop {
            let fit = self.check_fit(now, change);
            if fit.is_ok() || Instant::now() >= deadline {
                return fit;
            }
            coffer_runtime::sleep(RETRY_INTERVAL).await;
        }
    }

    fn check_fit(&self, now: &Membership, change: &MemberChange) -> Result<(), MemberError> {
        let mut voters: BTreeSet<u64> = now.voters.iter().flatten().copied().collect();
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        // Raft says itself that this member does not lead.
        let (Some(heard), Some(progress)) = (&metrics.heartbeat, &metrics.replication) else { return Ok(()) };
        let is_alive = |member: &u64| {
            let heard = heard.get(member).and_then(Option::as_ref);
            *member == self.leadership.node_id() || heard.is_some_and(|at| at.elapsed() < self.attempt)
        };
        match change {
            MemberChange::Promote { member } => {
                let last = metrics.last_log.as_ref().map_or(0, |id| id.index);
                let matched = progress.get(member).and_then(Option::as_ref);
                if !is_alive(member) || matched.is_none_or(|matched| matched.index + LAG_MAX < last) {
                    return Err(MemberError::NotInSync);
                }
                voters.insert(*member);
            }
            MemberChange::Remove { member } if voters.remove(member) => {}
            _ => return Ok(()),
        }
        let alive = voters.iter().filter(|member| is_alive(member)).count();
        if alive > voters.len() / 2 { Ok(()) } else { Err(MemberError::Unhealthy) }
    }

    /// Changes the membership; this member must lead. Ends when the change is applied here.
    pub(super) async fn change_here(&self, change: MemberChange) -> Result<(), MemberError> {
        let now = self.membership();
        let needed = change.clone();
        let changes = match change {
            MemberChange::AddLearner { member, .. } if now.members.contains_key(&member) => {
                return Err(MemberError::Exists);
            }
            MemberChange::AddLearner { member, description } => {
                ChangeMembers::AddNodes(BTreeMap::from([(member, Description(description))]))
            }
            MemberChange::Promote { member } if !now.members.contains_key(&member) => {
                return Err(MemberError::NotFound);
            }
            MemberChange::Promote { member } if now.is_voter(member) => return Err(MemberError::Exists),
            MemberChange::Promote { member } => ChangeMembers::AddVoterIds(BTreeSet::from([member])),
            MemberChange::Remove { member } if !now.members.contains_key(&member) => {
                return Err(MemberError::NotFound);
            }
            MemberChange::Remove { member } if !now.is_voter(member) => {
                ChangeMembers::RemoveNodes(BTreeSet::from([member]))
            }
            MemberChange::Remove { member } if now.voters.iter().any(|voters| voters.len() == 1) => {
                tracing::warn!(member, "the last voter cannot be removed");
                return Err(MemberError::LastVoter);
            }
            MemberChange::Remove { member } => ChangeMembers::RemoveVoters(BTreeSet::from([member])),
            MemberChange::Describe { member, .. } if !now.members.contains_key(&member) => {
                return Err(MemberError::NotFound);
            }
            MemberChange::Describe { member, description } => {
                ChangeMembers::SetNodes(BTreeMap::from([(member, Description(description))]))
            }
        };
        self.wait_fit(&now, &needed).await?;
        // A voter that goes does not stay as a learner.
        match self.raft.change_membership(changes, false).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error)) => Err(match error {
                ClientWriteError::ForwardToLeader(_) => MemberError::NotLeader,
                ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                    MemberError::InProgress
                }
                ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(_)) => {
                    MemberError::NotFound
                }
                ClientWriteError::ChangeMembershipError(error) => MemberError::Refused(error.to_string()),
                // It may have been appended.
                _ => MemberError::Unknown,
            }),
            Err(RaftError::Fatal(_)) => Err(MemberError::Unknown),
        }
    }

    /// The newest membership that this member knows of, committed or not.
    pub(super) fn membership(&self) -> Membership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().into()
    }
}
