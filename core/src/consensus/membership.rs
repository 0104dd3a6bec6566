//! Who belongs to the cluster, and how that changes: one step at a time, each a log entry, with joint consensus where
//! voters change.

use super::forwarder::Forwarder;
use super::types::{Description, RaftMembership};
use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

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
    /// The change may have happened, or yet happen.
    #[error("the outcome of the change is unknown")]
    Unknown,
    /// Refused for another reason.
    #[error("{0}")]
    Refused(String),
}

impl Forwarder {
    /// Changes the membership; this member must lead. Ends when the change is applied here.
    pub(super) async fn change_here(&self, change: MemberChange) -> Result<(), MemberError> {
        let now = self.membership();
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
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().into()
    }
}
