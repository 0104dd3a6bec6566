//! The way to the other members. A store of one member has none: every call answers "unreachable".
//!
//! Pre-vote is answered like every other call; openraft's default would count as a grant that nobody gave.

use super::types::{Description, RaftSnapshot, RaftVote, Types};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use std::future::Future;

/// Knows no peer.
pub(super) struct NoPeers;

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = UnknownPeer;

    async fn new_client(&mut self, target: u64, _node: &Description) -> UnknownPeer {
        UnknownPeer { target }
    }
}

/// A member that cannot be reached.
pub(super) struct UnknownPeer {
    target: u64,
}

impl UnknownPeer {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::from_string(format!("no way to member {:x}", self.target))
    }
}

impl RaftNetworkV2<Types> for UnknownPeer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: RaftVote,
        _snapshot: RaftSnapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(self.unreachable().into())
    }
}
