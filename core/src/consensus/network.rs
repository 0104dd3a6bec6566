//! openraft's network over [`Peers`]: plain messages out, answers back.

use super::messages::{AppendRequest, AppendResponse, TransferRequest, VoteRequest, VoteResponse};
use super::peers::{Lane, LaneKind, PeerError, Peers};
use super::snapshots::{Content, Snapshot};
use super::types::{
    Description, RaftSnapshot, RaftVote, Types, encode_membership, from_vote, into_vote, to_log_entry,
    to_log_id, to_raft_id,
};
use super::unanswered::{Reads, Unanswered};
use crate::storage::LogId;
use futures_util::future::{Either, ready, select};
use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest as RaftVoteRequest,
    VoteResponse as RaftVoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long one step of a snapshot may take: much longer than a heartbeat, because the other side writes and syncs it.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(30);

/// Makes openraft's clients.
pub(super) struct Network {
    pub(super) peers: Arc<dyn Peers>,
    /// How long a follower may be silent on a lane: beyond it the lane has failed.
    pub(super) patience: Duration,
    /// The reads that this member confirms.
    pub(super) reads: Reads,
}

impl Network {
    fn client(&self, target: u64, node: &Description, kind: LaneKind) -> Client {
        let lane = self.peers.lane(target, &node.0, kind);
        Client { lane, patience: self.patience, reads: self.reads.clone() }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    /// For entries, and one for each vote or transfer: those must not wait behind entries.
    async fn new_client(&mut self, target: u64, node: &Description) -> Client {
        self.client(target, node, LaneKind::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Description) -> Client {
        self.client(target, node, LaneKind::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Description) -> Client {
        self.client(target, node, LaneKind::Snapshots)
    }
}

/// One lane, as openraft sees it.
pub(super) struct Client {
    lane: Box<dyn Lane>,
    patience: Duration,
    reads: Reads,
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Content;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let requests = stream::iter([from_append(request)]).boxed();
        match self.lane.append(requests, self.patience).next().await {
            Some(Ok(response)) => Ok(into_append_response(response).into()),
            Some(Err(error)) => Err(rpc_error(error)),
            None => Err(rpc_error(PeerError::NoAnswer("the stream of answers ended".to_owned()))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut input = input;
            // Nobody is asked before there is a request. openraft makes one out of entries that it reads and, after a failure,
            // of a rest: a member that cannot be reached would end the stream before either, again and again, and leave
            // behind a read of the log each time.
            let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
            let input = stream::iter([first]).chain(input);
            let unanswered = Arc::new(Unanswered::new(self.reads.clone()));
            let (sent, ended) = (unanswered.clone(), unanswered.clone());
            let requests = input.map(move |request| sent.begins(from_append(request)));
            let requests = requests.chain(stream::poll_fn(move |_| {
                ended.no_more();
                Poll::Ready(None)
            }));
            let heard = unanswered.clone();
            let answers = self.lane.append(requests.boxed(), self.patience);
            let answers = answers.flat_map(move |answer| stream::iter(heard.answered(answer)));
            let answers = answers.map(|answer| answer.map(into_append_response).map_err(rpc_error));
            // openraft takes the end of the answers for the end of the work and goes on at once: a lane that ends too
            // early must be an error, after which it waits.
            let rest = stream::iter([()]).filter_map(move |()| {
                let broken = || rpc_error(PeerError::Unreachable("the lane ended early".to_owned()));
                ready((!unanswered.is_done()).then(|| Err(broken())))
            });
            Ok(answers.chain(rest).boxed())
        })
    }

    async fn vote(
        &mut self,
        request: RaftVoteRequest<Types>,
        option: RPCOption,
    ) -> Result<RaftVoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(request, option, false).await
    }

    async fn pre_vote(
        &mut self,
        request: RaftVoteRequest<Types>,
        option: RPCOption,
    ) -> Result<RaftVoteResponse<Types>, RPCError<Types>> {
        self.ask_for_vote(request, option, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let patience = self.patience.max(SNAPSHOT_PATIENCE);
        let sent = self.lane.snapshot(from_vote(&vote), outgoing(snapshot)?, patience);
        match select(pin!(cancel), sent).await {
            Either::Left((closed, _)) => Err(closed.into()),
            Either::Right((answer, _)) => match answer {
                Ok(vote) => Ok(SnapshotResponse { vote: into_vote(&vote) }),
                Err(error) => {
                    // openraft tries again and says nothing.
                    tracing::warn!(%error, "a snapshot could not be sent; trying again");
                    Err(rpc_error(error).into())
                }
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = TransferRequest {
            from: from_vote(request.from_leader()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(to_log_id),
        };
        self.lane.transfer(request, option.hard_ttl()).await.map_err(rpc_error)?;
        Ok(Ok(()))
    }
}

impl Client {
    async fn ask_for_vote(
        &mut self,
        request: RaftVoteRequest<Types>,
        option: RPCOption,
        pre_vote: bool,
    ) -> Result<RaftVoteResponse<Types>, RPCError<Types>> {
        let request = VoteRequest {
            vote: from_vote(&request.vote),
            last: request.last_log_id.as_ref().map(to_log_id),
            pre_vote,
            transfer: request.leadership_transfer,
        };
        let answer = self.lane.vote(request, option.soft_ttl()).await.map_err(rpc_error)?;
        Ok(into_vote_response(answer))
    }
}

/// What a snapshot that raft wants to be sent holds.
fn outgoing(snapshot: RaftSnapshot) -> Result<Snapshot, StreamingError<Types>> {
    let broken = |reason: &str| StreamingError::from(Unreachable::from_string(reason.to_owned()));
    let last = snapshot.meta.last_log_id.as_ref().map(to_log_id);
    let last = last.ok_or_else(|| broken("there is nothing to send"))?;
    let membership = &snapshot.meta.last_membership;
    let at = membership.log_id().as_ref().map(to_log_id).unwrap_or_default();
    let Content::Outgoing(content) = snapshot.snapshot else {
        return Err(broken("the snapshot has no content"));
    };
    Ok(Snapshot { last, membership: (at, encode_membership(membership.membership())), content })
}

fn rpc_error(error: PeerError) -> RPCError<Types> {
    match error {
        PeerError::Unreachable(reason) => Unreachable::from_string(reason).into(),
        PeerError::NoAnswer(reason) => NetworkError::from_string(reason).into(),
    }
}

fn from_append(request: AppendEntriesRequest<Types>) -> AppendRequest {
    AppendRequest {
        vote: from_vote(&request.vote),
        prev: request.prev_log_id.as_ref().map(to_log_id),
        entries: request.entries.into_iter().map(to_log_entry).collect(),
        committed: request.leader_commit.as_ref().map(to_log_id),
        is_awaited: false,
    }
}

fn into_append_response(response: AppendResponse) -> StreamAppendResult<Types> {
    match response {
        AppendResponse::Matched(id) => Ok(id.map(to_raft_id)),
        AppendResponse::Conflict(id) => Err(StreamAppendError::Conflict(to_raft_id(id))),
        AppendResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(into_vote(&vote))),
    }
}

fn into_vote_response(response: VoteResponse) -> RaftVoteResponse<Types> {
    let last: Option<LogId> = response.last;
    RaftVoteResponse::new(into_vote(&response.vote), last.map(to_raft_id), response.granted)
}

#[cfg(test)]
mod tests {
    use super::super::peers::NoPeers;
    use super::*;
    use futures_util::FutureExt;

    /// openraft rests after a failure where it makes the next request: a stream that fails before that is begun anew at once.
    #[test]
    fn a_member_that_cannot_be_reached_fails_no_stream_before_its_first_request() {
        let lane = NoPeers.lane(2, &bytes::Bytes::new(), LaneKind::Entries);
        let mut client = Client { lane, patience: Duration::from_secs(60), reads: Reads::default() };
        let (sender, requests) = async_channel::unbounded();
        let option = || RPCOption::new(Duration::from_secs(60));
        {
            let mut begun = client.stream_append(requests.boxed(), option());
            assert!(begun.as_mut().now_or_never().is_none(), "there is no request");
            let request = AppendEntriesRequest {
                vote: into_vote(&Default::default()),
                prev_log_id: None,
                entries: Vec::new(),
                leader_commit: None,
            };
            sender.try_send(request).expect("awaited");
            let mut answers = begun.now_or_never().expect("there is a request").expect("a stream");
            assert!(matches!(answers.next().now_or_never(), Some(Some(Err(RPCError::Unreachable(_))))));
        }
        let mut answers = client
            .stream_append(stream::empty(), option())
            .now_or_never()
            .expect("it ends")
            .expect("a stream");
        assert!(answers.next().now_or_never().expect("it ends").is_none());
    }
}
