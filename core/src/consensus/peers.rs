//! The way to the other members, as consensus needs it. A transport implements it.
//!
//! # What a transport must keep
//! - What is sent on one lane arrives in order, and answers come back in order. A lane that lost something fails.
//! - Lanes do not delay each other: a snapshot or a full window of entries never holds a heartbeat back.
//! - It keeps trying by itself: a lane is made once, and fails call by call while its member cannot be reached.
//! - It speaks to the member it was asked for, of the same cluster, or to nobody.

use super::messages::{AppendRequest, AppendResponse, TransferRequest, Vote, VoteRequest, VoteResponse};
use super::snapshots::Snapshot;
use super::{MemberChange, MemberError, ProposeError};
use crate::Error;
use crate::storage::LogId;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why a member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// There is no connection: the next try may wait.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The connection broke or the answer did not come in time. The request may have been carried out.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// What a lane is for. Each gets its own way, so that none waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// Log entries.
    Entries,
    /// Heartbeats, votes and the transfer of the lead.
    Heartbeats,
    /// Snapshots.
    Snapshots,
}

/// Knows how to reach members.
pub trait Peers: Send + Sync + 'static {
    /// A lane to `member`, whose description in the membership is `description`. Connects when it is used.
    fn lane(&self, member: u64, description: &Bytes, kind: LaneKind) -> Box<dyn Lane>;

    /// A handle for what a follower asks of the leader.
    fn caller(&self, member: u64, description: &Bytes) -> Arc<dyn Caller>;
}

/// One way to one member.
pub trait Lane: Send + Sync + 'static {
    /// Asks for a vote.
    fn vote(
        &mut self,
        request: VoteRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<VoteResponse, PeerError>>;

    /// Sends requests as they come, several before the first answer, and gives their answers in order. The stream
    /// ends with the requests, or after the first error, conflict or higher vote. `patience` is for each answer. Requests
    /// are to be taken where the answers are polled, not beside it.
    fn append(
        &mut self,
        requests: BoxStream<'static, AppendRequest>,
        patience: Duration,
    ) -> BoxStream<'_, Result<AppendResponse, PeerError>>;

    /// Sends a snapshot and ends when it is installed. `patience` is for each sign of progress.
    fn snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vote, PeerError>>;

    /// Hands over the lead.
    fn transfer(
        &mut self,
        request: TransferRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(), PeerError>>;
}

/// What a member asks of the leader. Calls may be made at once from several tasks.
pub trait Caller: Send + Sync + 'static {
    /// The index that a linearizable read has to see applied.
    fn read_index(&self, patience: Duration) -> BoxFuture<'_, Result<Result<LogId, Error>, PeerError>>;

    /// Has the leader propose `payload`; ends when the leader has applied it, with where it lies.
    fn propose(
        &self,
        payload: Bytes,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<LogId, ProposeError>, PeerError>>;

    /// Asks the leader what only its machine knows; `None` if it does not lead. It may be asked again.
    fn ask(&self, question: Bytes, patience: Duration) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>>;

    /// Has the leader change the membership; ends when it has applied the change.
    fn change(
        &self,
        change: MemberChange,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<(), MemberError>, PeerError>>;
}

/// Of a store that stays alone: knows nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

fn nobody(member: u64) -> PeerError {
    PeerError::Unreachable(format!("no way to member {member:x}: this store was opened without a network"))
}

impl Peers for NoPeers {
    fn lane(&self, member: u64, _description: &Bytes, _kind: LaneKind) -> Box<dyn Lane> {
        Box::new(Nobody(member))
    }

    fn caller(&self, member: u64, _description: &Bytes) -> Arc<dyn Caller> {
        Arc::new(Nobody(member))
    }
}

/// A member that cannot be reached.
struct Nobody(u64);

impl Lane for Nobody {
    fn vote(&mut self, _: VoteRequest, _: Duration) -> BoxFuture<'_, Result<VoteResponse, PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }

    fn append(
        &mut self,
        _: BoxStream<'static, AppendRequest>,
        _: Duration,
    ) -> BoxStream<'_, Result<AppendResponse, PeerError>> {
        Box::pin(futures_util::stream::once(async { Err(nobody(self.0)) }))
    }

    fn snapshot(&mut self, _: Vote, _: Snapshot, _: Duration) -> BoxFuture<'_, Result<Vote, PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }

    fn transfer(&mut self, _: TransferRequest, _: Duration) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }
}

impl Caller for Nobody {
    fn read_index(&self, _: Duration) -> BoxFuture<'_, Result<Result<LogId, Error>, PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }

    fn propose(
        &self,
        _: Bytes,
        _: Duration,
    ) -> BoxFuture<'_, Result<Result<LogId, ProposeError>, PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }

    fn ask(&self, _: Bytes, _: Duration) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }

    fn change(
        &self,
        _: MemberChange,
        _: Duration,
    ) -> BoxFuture<'_, Result<Result<(), MemberError>, PeerError>> {
        Box::pin(async { Err(nobody(self.0)) })
    }
}
