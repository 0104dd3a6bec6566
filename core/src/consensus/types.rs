//! openraft's types for this store, and the way from them to what the log holds and back.
//!
//! The log holds plain Raft content: (term, index, kind, payload) and (term, vote, committed). The payload of a
//! membership entry:
//!
//! | Field | Encoding |
//! |---|---|
//! | format version | one byte, 1 |
//! | number of configurations | LEB128: 1, or 2 while a change is under way (joint consensus) |
//! | each: number of voters, then each voter's id ascending | LEB128 |
//! | number of members, then each: id ascending | LEB128 |
//! | each member's description | a byte string that only the node above and the transport read: [`crate::member`] |

use super::messages::Vote;
use super::runtime::RaftRuntime;
use super::snapshots::Content;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::member::Member;
use crate::storage::{EntryKind, HardState, LogEntry, LogId};
use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, Membership, OptionalSend};
use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

/// The types that openraft works with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Command;
    type R = ();
    type NodeId = u64;
    type Node = Description;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = RaftVote;
    type Payload = EntryPayload<Command, u64, Description>;
    type Entry = RaftEntry;
    type AsyncRuntime = RaftRuntime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(super) type RaftLeaderId = <leader_id_std::LeaderId<u64, u64> as openraft::vote::RaftLeaderId>::Committed;
pub(super) type RaftLogId = openraft::LogId<RaftLeaderId>;
pub(super) type RaftEntry = openraft::Entry<RaftLeaderId, EntryPayload<Command, u64, Description>>;
pub(super) type RaftVote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(super) type RaftMembership = Membership<u64, Description>;
pub(super) type RaftStoredMembership = openraft::StoredMembership<RaftLeaderId, u64, Description>;
pub(super) type RaftSnapshot<D = Content> = openraft::Snapshot<RaftLeaderId, u64, Description, D>;
pub(super) type RaftSnapshotMeta = openraft::SnapshotMeta<RaftLeaderId, u64, Description>;

const MEMBERSHIP_FORMAT: u8 = 1;

/// What the node above says of a member, so that the transport finds it. Opaque here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Description(pub(super) Bytes);

/// A batch of commands, opaque here. Its content never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Command(pub(super) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whom to tell the outcome of a proposal: called once, with `None` if raft dropped it without one.
pub(super) struct Answer<T> {
    tell: Option<Box<dyn FnOnce(Option<T>) + Send>>,
}

impl<T> Answer<T> {
    pub(super) fn new(tell: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)) }
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(mut self, outcome: T) {
        if let Some(tell) = self.tell.take() {
            tell(Some(outcome));
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(None);
        }
    }
}

pub(super) fn to_raft_id(id: LogId) -> RaftLogId {
    RaftLogId { leader_id: id.term.into(), index: id.index }
}

pub(super) fn to_log_id(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, index: id.index }
}

pub(super) fn to_log_entry(entry: RaftEntry) -> LogEntry {
    let id = to_log_id(&entry.log_id);
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new()),
        EntryPayload::Normal(Command(payload)) => (EntryKind::Normal, payload),
        EntryPayload::Membership(membership) => (EntryKind::Membership, encode_membership(&membership)),
    };
    LogEntry { id, kind, payload }
}

pub(super) fn to_raft_entry(entry: LogEntry) -> io::Result<RaftEntry> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Normal => EntryPayload::Normal(Command(entry.payload)),
        EntryKind::Membership => {
            EntryPayload::Membership(decode_membership(entry.payload).map_err(io::Error::other)?)
        }
    };
    Ok(RaftEntry { log_id: to_raft_id(entry.id), payload })
}

pub(super) fn to_hard_state(vote: &RaftVote) -> HardState {
    HardState {
        term: vote.leader_id.term,
        voted_for: Some(vote.leader_id.voted_for),
        vote_committed: vote.committed,
    }
}

pub(super) fn to_vote(state: HardState) -> Option<RaftVote> {
    let voted_for = state.voted_for?;
    Some(RaftVote {
        leader_id: leader_id_std::LeaderId { term: state.term, voted_for },
        committed: state.vote_committed,
    })
}

pub(super) fn from_vote(vote: &RaftVote) -> Vote {
    Vote { term: vote.leader_id.term, candidate: vote.leader_id.voted_for, committed: vote.committed }
}

pub(super) fn into_vote(vote: &Vote) -> RaftVote {
    RaftVote {
        leader_id: leader_id_std::LeaderId { term: vote.term, voted_for: vote.candidate },
        committed: vote.committed,
    }
}

pub(super) fn encode_membership(membership: &RaftMembership) -> Bytes {
    let mut encoder = Encoder::default();
    encoder.u8(MEMBERSHIP_FORMAT);
    encoder.u64(membership.get_joint_config().len() as u64);
    for voters in membership.get_joint_config() {
        encoder.u64(voters.len() as u64);
        voters.iter().for_each(|id| encoder.u64(*id));
    }
    let members: Vec<(u64, &Description)> = membership.nodes().map(|(id, node)| (*id, node)).collect();
    encoder.u64(members.len() as u64);
    for (id, description) in members {
        encoder.u64(id);
        encoder.bytes(&description.0);
    }
    encoder.finish()
}

/// The membership of a cluster that these found together, each with a vote: ascending by id, at least one.
pub(super) fn encode_founding_membership(members: &[Member]) -> Bytes {
    let mut encoder = Encoder::default();
    encoder.u8(MEMBERSHIP_FORMAT);
    encoder.u64(1);
    encoder.u64(members.len() as u64);
    members.iter().for_each(|member| encoder.u64(member.id));
    encoder.u64(members.len() as u64);
    for member in members {
        encoder.u64(member.id);
        encoder.bytes(&member.info.encode());
    }
    encoder.finish()
}

pub(super) fn decode_membership(payload: Bytes) -> Result<RaftMembership, Malformed> {
    let mut decoder = Decoder::new(payload);
    if decoder.u8()? != MEMBERSHIP_FORMAT {
        return Err(Malformed("unknown format of a membership"));
    }
    let mut configurations = Vec::new();
    for _ in 0..decoder.u64()? {
        let mut voters = BTreeSet::new();
        for _ in 0..decoder.u64()? {
            voters.insert(decoder.u64()?);
        }
        configurations.push(voters);
    }
    let mut members = BTreeMap::new();
    for _ in 0..decoder.u64()? {
        members.insert(decoder.u64()?, Description(decoder.bytes()?));
    }
    decoder.finish()?;
    Membership::new(configurations, members).map_err(|_| Malformed("a membership that cannot be"))
}

/// Whether `node_id` alone decides.
pub(super) fn is_sole_voter(membership: &RaftMembership, node_id: u64) -> bool {
    membership.voter_ids().eq([node_id])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::MemberInfo;

    /// Of every other member something is known.
    fn info(id: u64) -> MemberInfo {
        match id % 2 {
            0 => MemberInfo {
                name: format!("m{id}"),
                peer_urls: vec![format!("http://m{id}:7421")],
                client_urls: vec![format!("http://m{id}:7420")],
                wants_vote: true,
            },
            _ => MemberInfo::default(),
        }
    }

    fn membership(configurations: &[&[u64]], members: &[u64]) -> RaftMembership {
        let configurations = configurations.iter().map(|voters| voters.iter().copied().collect()).collect();
        let members: BTreeMap<u64, Description> =
            members.iter().map(|id| (*id, Description(info(*id).encode()))).collect();
        Membership::new(configurations, members).unwrap()
    }

    #[test]
    fn a_membership_survives_its_encoding() {
        for original in [
            membership(&[&[1]], &[1]),
            membership(&[&[1, 2, u64::MAX]], &[1, 2, 7, u64::MAX]),
            membership(&[&[1, 2], &[2, 3]], &[1, 2, 3]),
        ] {
            let encoded = encode_membership(&original);
            assert_eq!(decode_membership(encoded.clone()).unwrap(), original);
            for end in 0..encoded.len() {
                assert!(decode_membership(encoded.slice(..end)).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn who_founds_a_cluster_has_a_vote() {
        let member = |id| Member { id, info: info(id) };
        let alone = decode_membership(encode_founding_membership(&[member(7)])).unwrap();
        assert_eq!(alone, membership(&[&[7]], &[7]));
        assert!(is_sole_voter(&alone, 7));
        let three = decode_membership(encode_founding_membership(&[2, 5, 6].map(member))).unwrap();
        assert_eq!(three, membership(&[&[2, 5, 6]], &[2, 5, 6]));
        assert!(!is_sole_voter(&three, 2));
    }

    #[test]
    fn entries_survive_the_way_to_the_log_and_back() {
        let id = LogId { term: 3, index: 9 };
        for (kind, payload) in [
            (EntryKind::Blank, Bytes::new()),
            (EntryKind::Normal, Bytes::from_static(b"commands")),
            (EntryKind::Membership, encode_membership(&membership(&[&[5]], &[5, 6]))),
        ] {
            let entry = LogEntry { id, kind, payload };
            assert_eq!(to_log_entry(to_raft_entry(entry.clone()).unwrap()), entry);
        }
        let broken = LogEntry { id, kind: EntryKind::Membership, payload: Bytes::from_static(&[9]) };
        assert!(to_raft_entry(broken).is_err());
    }

    #[test]
    fn votes_survive_the_way_to_the_log_and_back() {
        let state = HardState { term: 4, voted_for: Some(8), vote_committed: true };
        assert_eq!(to_hard_state(&to_vote(state).unwrap()), state);
        assert_eq!(to_vote(HardState::default()), None);
    }

    #[test]
    fn a_sole_voter_is_alone_in_every_configuration() {
        assert!(is_sole_voter(&membership(&[&[1]], &[1, 2]), 1));
        assert!(!is_sole_voter(&membership(&[&[2]], &[1, 2]), 1));
        assert!(!is_sole_voter(&membership(&[&[1], &[1, 2]], &[1, 2]), 1));
    }
}
