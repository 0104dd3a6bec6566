//! Who may talk to whom: what both sides of a new connection check before anything else is said.
//!
//! # Invariants
//! - Messages of another cluster, of a removed member or of a second living process with a member's id never reach
//!   consensus.
//! - A member that is not known is let in, because it may have been added by an entry that this one has not seen yet; unless
//!   it was named by a membership that is older than one here without it: then it was removed. Ids are never used again.

use crate::schema::peer_capnp::{hello, refusal};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use thiserror::Error;

/// The versions that this program speaks. A version stands for the meaning of everything on the wire, and of what the entries
/// hold; members with different ones use the newest that both know.
pub(super) const PROTOCOLS: Protocols = Protocols { oldest: 1, newest: 1 };

/// Versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// The oldest of them.
    pub oldest: u32,
    /// The newest of them.
    pub newest: u32,
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// Who a member's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub member: u64,
    /// Drawn at the start of the process: tells two processes with one member id apart.
    pub boot: u64,
}

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no version of the protocol that both sides speak.
    #[error(
        "it speaks protocols {theirs}, and member {member:x} speaks {ours}: upgrade {}, one version at a time",
        outdated(.theirs, .ours)
    )]
    Protocol {
        /// The member that was asked.
        member: u64,
        /// What it speaks.
        ours: Protocols,
        /// What the side that asks speaks.
        theirs: Protocols,
    },
    /// The other side belongs to another cluster.
    #[error("cluster {theirs:x} is not cluster {ours:x}: check --initial-cluster and the peer URLs")]
    OtherCluster {
        /// The cluster of the side that was asked.
        ours: u64,
        /// The cluster of the side that asks.
        theirs: u64,
    },
    /// Somebody else listens there.
    #[error("member {wanted:x} was wanted, but member {found:x} listens there: check the peer URLs")]
    OtherMember {
        /// Whom the caller wanted.
        wanted: u64,
        /// Who listens.
        found: u64,
    },
    /// The member was removed from the cluster.
    #[error("member {0:x} was removed from the cluster: it must not come back under this id")]
    Removed(u64),
    /// Another process with the same member id is connected and answers.
    #[error("another process with the id of member {0:x} is alive: was its data directory copied?")]
    Twin(u64),
    /// The member is shutting down, or not serving yet.
    #[error("member {0:x} does not serve now")]
    Stopped(u64),
    /// The other side said no in a way that this version does not know.
    #[error("{0}")]
    Other(String),
}

/// Which of two sides without a common version is the older one.
fn outdated(asks: &Protocols, asked: &Protocols) -> &'static str {
    if asks.oldest > asked.newest { "the member that refuses" } else { "the member that is refused" }
}

impl Refusal {
    pub(super) fn put(&self, mut to: refusal::Builder<'_>) {
        to.set_reason(match self {
            Refusal::Protocol { .. } => refusal::Reason::Protocol,
            Refusal::OtherCluster { .. } => refusal::Reason::OtherCluster,
            Refusal::OtherMember { .. } => refusal::Reason::OtherMember,
            Refusal::Removed(_) => refusal::Reason::Removed,
            Refusal::Twin(_) => refusal::Reason::Twin,
            Refusal::Stopped(_) => refusal::Reason::Stopped,
            Refusal::Other(_) => refusal::Reason::Unknown,
        });
        to.set_message(self.to_string());
    }
}

/// What a hello says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hello {
    pub(super) protocols: Protocols,
    pub(super) from: Identity,
    pub(super) to: u64,
    /// One more than the index of the newest committed membership that names the speaker; 0 if it knows of none.
    pub(super) membership: u64,
}

impl Hello {
    pub(super) fn get(from: hello::Reader<'_>) -> Self {
        Self {
            protocols: Protocols { oldest: from.get_protocol_min().max(1), newest: from.get_protocol() },
            from: Identity { cluster: from.get_cluster_id(), member: from.get_from(), boot: from.get_boot() },
            to: from.get_to(),
            membership: from.get_membership(),
        }
    }

    /// The version that both sides use.
    pub(super) fn agree(&self, member: u64, ours: Protocols) -> Result<u32, Refusal> {
        let theirs = self.protocols;
        let common = theirs.newest.min(ours.newest);
        let is_known = common >= theirs.oldest.max(ours.oldest);
        if is_known { Ok(common) } else { Err(Refusal::Protocol { member, ours, theirs }) }
    }

    /// Whether `own` may listen to it, twins aside.
    pub(super) fn check(&self, own: &Identity, removed: &HashSet<u64>) -> Result<(), Refusal> {
        if self.from.cluster != own.cluster {
            return Err(Refusal::OtherCluster { ours: own.cluster, theirs: self.from.cluster });
        }
        if self.to != own.member {
            return Err(Refusal::OtherMember { wanted: self.to, found: own.member });
        }
        if removed.contains(&self.from.member) {
            return Err(Refusal::Removed(self.from.member));
        }
        if self.from.member == own.member {
            return Err(Refusal::Twin(own.member));
        }
        Ok(())
    }

    /// Whether the committed membership at an index, with these members, has removed the speaker.
    pub(super) fn check_membership(&self, index: u64, members: &BTreeSet<u64>) -> Result<(), Refusal> {
        let member = self.from.member;
        let is_removed = self.membership > 0 && index >= self.membership && !members.contains(&member);
        if is_removed { Err(Refusal::Removed(member)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_refused() {
        let own = Identity { cluster: 7, member: 1, boot: 100 };
        let from = Identity { cluster: 7, member: 2, boot: 200 };
        let sound = Hello { protocols: PROTOCOLS, from, to: 1, membership: 0 };
        let removed = HashSet::from([9]);
        assert_eq!(sound.check(&own, &removed), Ok(()));
        let check = |hello: Hello| hello.check(&own, &removed).unwrap_err();
        let other = Identity { cluster: 8, ..from };
        assert_eq!(check(Hello { from: other, ..sound }), Refusal::OtherCluster { ours: 7, theirs: 8 });
        assert_eq!(check(Hello { to: 3, ..sound }), Refusal::OtherMember { wanted: 3, found: 1 });
        assert_eq!(check(Hello { from: Identity { member: 9, ..from }, ..sound }), Refusal::Removed(9));
        assert_eq!(check(Hello { from: Identity { member: 1, ..from }, ..sound }), Refusal::Twin(1));
    }

    #[test]
    fn both_sides_use_the_newest_version_that_both_know() {
        let from = Identity { cluster: 7, member: 2, boot: 200 };
        let agreed = |theirs: [u32; 2], ours: [u32; 2]| {
            let [theirs, ours] = [theirs, ours].map(|[oldest, newest]| Protocols { oldest, newest });
            Hello { protocols: theirs, from, to: 1, membership: 0 }.agree(1, ours)
        };
        assert_eq!(agreed([1, 1], [1, 1]), Ok(1));
        assert_eq!(agreed([1, 2], [1, 1]), Ok(1));
        assert_eq!(agreed([1, 2], [2, 3]), Ok(2));
        let refused = |theirs, ours| agreed(theirs, ours).unwrap_err().to_string();
        assert_eq!(
            refused([2, 3], [1, 1]),
            "it speaks protocols 2 to 3, and member 1 speaks 1 to 1: upgrade the member that refuses, one version at a time"
        );
        assert!(
            refused([1, 1], [2, 2]).ends_with("upgrade the member that is refused, one version at a time")
        );
    }

    #[test]
    fn a_later_membership_without_a_member_has_removed_it() {
        let from = Identity { cluster: 7, member: 2, boot: 200 };
        let knows = |membership| Hello { protocols: PROTOCOLS, from, to: 1, membership };
        let (with, without) = (BTreeSet::from([1, 2]), BTreeSet::from([1]));
        // It knows the one at index 4.
        assert_eq!(knows(5).check_membership(5, &without), Err(Refusal::Removed(2)));
        assert_eq!(knows(5).check_membership(5, &with), Ok(()));
        // Added by what this side does not know yet, or by nothing that either side knows.
        assert_eq!(knows(5).check_membership(3, &without), Ok(()));
        assert_eq!(knows(0).check_membership(5, &without), Ok(()));
    }
}
