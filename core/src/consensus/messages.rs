//! What members say to each other to keep their logs equal, as plain data: the transport gives them a wire format.
//!
//! The rules are Raft's (Ongaro 2014): a [`Vote`] orders leaders and candidates, an [`AppendRequest`] carries the entry
//! before its entries so that logs cannot diverge unseen.

use crate::storage::{LogEntry, LogId};

/// Who leads a term, or asks to. Ordered by term, then committed ones last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The member that leads it or asks to.
    pub candidate: u64,
    /// Whether a quorum has granted it: a leader's vote.
    pub committed: bool,
}

/// Asks for a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// The term that the candidate wants to lead.
    pub vote: Vote,
    /// The end of its log.
    pub last: Option<LogId>,
    /// Only a question: whether the vote would be granted. Nobody's term moves.
    pub pre_vote: bool,
    /// The former leader asked the candidate to take over, so that its lease holds nobody back.
    pub transfer: bool,
}

/// The answer to a [`VoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteResponse {
    /// The newest vote that the answering member knows.
    pub vote: Vote,
    /// Whether it is granted.
    pub granted: bool,
    /// The end of the answering member's log.
    pub last: Option<LogId>,
}

/// Entries for the log of a follower; none for a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRequest {
    /// The leader's vote.
    pub vote: Vote,
    /// The entry right before `entries`.
    pub prev: Option<LogId>,
    /// Entries without a gap.
    pub entries: Vec<LogEntry>,
    /// Up to where the cluster has committed.
    pub committed: Option<LogId>,
    /// Another answer waits for the one to this: it is not to be held back. For the sending end alone, and not sent.
    pub is_awaited: bool,
}

/// The answer to an [`AppendRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResponse {
    /// The log is durable and equal to the leader's up to here.
    Matched(Option<LogId>),
    /// The follower's log has no such entry: the leader must begin further back.
    Conflict(LogId),
    /// The follower knows of a newer leader or candidate.
    HigherVote(Vote),
}

/// The leader hands over to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRequest {
    /// The vote of the leader that hands over.
    pub from: Vote,
    /// Who is to lead.
    pub to: u64,
    /// The end of the leader's log: who is to lead needs it first.
    pub last: Option<LogId>,
}
