//! What other members ask of this one. The transport calls it for requests of members of the same cluster.

use super::messages::{AppendRequest, AppendResponse, TransferRequest, Vote, VoteRequest, VoteResponse};
use super::snapshots::{Content, Staged, Staging};
use super::types::{
    RaftSnapshot, RaftSnapshotMeta, RaftStoredMembership, Types, decode_membership, from_vote, into_vote,
    to_log_id, to_raft_entry, to_raft_id,
};
use super::under_way::UnderWay;
use super::{Consensus, MemberChange, MemberError, ProposeError};
use crate::Error;
use crate::planted::{Bug, planted};
use crate::storage::LogId;
use bytes::Bytes;
use coffer_runtime::TaskError;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest as RaftVoteRequest,
};
use std::future::Future;
use std::sync::Arc;

/// Answers that may wait for the transport to take them.
const ANSWERS_MAX: usize = 64;

impl Consensus {
    /// Another member asks for the vote of this one.
    ///
    /// # Errors
    /// Consensus has stopped.
    pub async fn vote(&self, request: VoteRequest) -> Result<VoteResponse, Error> {
        let mut asked = RaftVoteRequest::new(into_vote(&request.vote), request.last.map(to_raft_id));
        asked.leadership_transfer = request.transfer;
        if planted(Bug::StaleCandidate) {
            asked.last_log_id = asked.last_log_id.max(self.log.state().last.map(to_raft_id));
        }
        let raft = self.raft.clone();
        let answer = self.on_raft(async move {
            if request.pre_vote { raft.pre_vote(asked).await } else { raft.vote(asked).await }
        });
        let answer = answer.await?.map_err(|error| self.stopped_by(error))?;
        Ok(VoteResponse {
            vote: from_vote(&answer.vote),
            granted: answer.vote_granted,
            last: answer.last_log_id.as_ref().map(to_log_id),
        })
    }

    /// A leader sends entries, or shows that it lives. Each request gets its answer, in order; several may be under
    /// way. The answers end after a conflict, a higher vote or an error.
    pub fn append(
        &self,
        requests: impl Stream<Item = AppendRequest> + Send + 'static,
    ) -> BoxStream<'static, Result<AppendResponse, Error>> {
        let (sender, answers) = async_channel::bounded(ANSWERS_MAX);
        let raft = self.raft.clone();
        let (health, contact) = (self.health.clone(), self.contact.clone());
        // On the raft thread, because openraft spawns.
        self.executor.spawn(async move {
            let malformed = Arc::new(parking_lot::Mutex::new(None));
            let requests = {
                let malformed = malformed.clone();
                requests.scan((), move |(), request| {
                    let decoded = into_append(request).map_err(|error| *malformed.lock() = Some(error));
                    futures_util::future::ready(decoded.ok())
                })
            };
            let mut appended = std::pin::pin!(raft.stream_append(requests));
            while let Some(outcome) = appended.next().await {
                if matches!(outcome, Ok(Ok(_) | Err(StreamAppendError::Conflict(_)))) {
                    contact.hear();
                }
                let answer = match outcome {
                    Ok(Ok(matched)) => Ok(AppendResponse::Matched(matched.as_ref().map(to_log_id))),
                    Ok(Err(StreamAppendError::Conflict(at))) => Ok(AppendResponse::Conflict(to_log_id(&at))),
                    Ok(Err(StreamAppendError::HigherVote(vote))) => {
                        Ok(AppendResponse::HigherVote(from_vote(&vote)))
                    }
                    Err(_) => Err(health.stopped().unwrap_or(Error::Stopped)),
                };
                if sender.send(answer).await.is_err() {
                    return; // the transport has gone
                }
            }
            let malformed = malformed.lock().take();
            if let Some(error) = malformed {
                // The transport may have gone.
                let _ = sender.send(Err(Error::InvalidArgument(format!("a log entry: {error}")))).await;
            }
        });
        answers.boxed()
    }

    /// Where a snapshot that arrives is put.
    pub fn staging(&self) -> &Arc<dyn Staging> {
        &self.staging
    }

    /// Installs a snapshot that was staged whole, unless its leader has been deposed. Says which vote holds now.
    ///
    /// # Errors
    /// The membership makes no sense; consensus has stopped.
    pub async fn install(
        &self,
        vote: Vote,
        last: LogId,
        membership: (LogId, Bytes),
        staged: Staged,
    ) -> Result<Vote, Error> {
        let (at, payload) = membership;
        let membership = decode_membership(payload)
            .map_err(|error| Error::InvalidArgument(format!("a snapshot's membership: {error}")))?;
        let meta = RaftSnapshotMeta {
            last_log_id: Some(to_raft_id(last)),
            last_membership: RaftStoredMembership::new(Some(to_raft_id(at)), membership),
        };
        let snapshot = RaftSnapshot { meta, snapshot: Content::Incoming(staged) };
        let raft = self.raft.clone();
        let installed =
            self.on_raft(async move { raft.install_full_snapshot(into_vote(&vote), snapshot).await }).await?;
        let installed = installed.map_err(|fatal: Fatal<Types>| self.stopped_by(RaftError::Fatal(fatal)))?;
        Ok(from_vote(&installed.vote))
    }

    /// The leader hands over, to this member or another. If to this one, it stands for election once it has the log.
    ///
    /// # Errors
    /// The offer came too late or the log is not here yet; consensus has stopped.
    pub async fn transferred(&self, request: TransferRequest) -> Result<(), Error> {
        let offered =
            TransferLeaderRequest::new(into_vote(&request.from), request.to, request.last.map(to_raft_id));
        let raft = self.raft.clone();
        let taken = self.on_raft(async move { raft.handle_transfer_leader(offered).await }).await?;
        let taken = taken.map_err(|fatal| self.stopped_by(RaftError::Fatal(fatal)))?;
        taken.map_err(|refused| Error::Unavailable(refused.to_string()))
    }

    /// The entry that a linearizable read anywhere must see applied. This member must lead.
    ///
    /// # Errors
    /// It does not lead, or no quorum says so.
    pub async fn read_index(&self) -> Result<LogId, Error> {
        let forwarder = self.forwarder.clone();
        self.on_raft(async move { forwarder.read_index_here().await }).await?
    }

    /// Proposes what another member was asked for. This member must lead. Ends when the entry is applied here.
    ///
    /// # Errors
    /// As for [`propose`](Self::propose).
    pub async fn propose_for(&self, payload: Bytes) -> Result<LogId, ProposeError> {
        if let Some(reason) = self.health.stopped() {
            return Err(ProposeError::Stopped(reason));
        }
        let permit = UnderWay::enter(&self.under_way, payload.len()).ok_or(ProposeError::Overloaded)?;
        let forwarder = self.forwarder.clone();
        let proposed = self.on_raft(async move {
            let outcome = forwarder.propose_here(payload).await;
            drop(permit);
            outcome
        });
        proposed.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Answers what another member asks of this one's machine; `None` if only the leader's knows, and this member does not
    /// lead.
    ///
    /// # Errors
    /// Consensus has stopped.
    pub async fn answer(&self, question: Bytes) -> Result<Option<Bytes>, Error> {
        let forwarder = self.forwarder.clone();
        self.on_raft(async move { forwarder.answer(question).await }).await
    }

    /// Changes the membership. This member must lead.
    ///
    /// # Errors
    /// Why it was not changed, or that this is unknown.
    pub async fn change_for(&self, change: MemberChange) -> Result<(), MemberError> {
        let forwarder = self.forwarder.clone();
        let changed = self.on_raft(async move { forwarder.change_here(change).await });
        changed.await.unwrap_or(Err(MemberError::Unknown))
    }

    /// Runs a future on the raft thread, where openraft's timers are. Leaving the call does not end it.
    pub(super) async fn on_raft<F>(&self, future: F) -> Result<F::Output, Error>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let ended = self.executor.spawn(future).await;
        ended.map_err(|error: TaskError| match self.health.stopped() {
            Some(reason) => reason,
            None => Error::Fatal(error.to_string()),
        })
    }

    fn stopped_by(&self, error: RaftError<Types>) -> Error {
        self.health.stopped().unwrap_or_else(|| Error::Fatal(error.to_string()))
    }
}

fn into_append(request: AppendRequest) -> std::io::Result<AppendEntriesRequest<Types>> {
    Ok(AppendEntriesRequest {
        vote: into_vote(&request.vote),
        prev_log_id: request.prev.map(to_raft_id),
        entries: request.entries.into_iter().map(to_raft_entry).collect::<Result<_, _>>()?,
        leader_commit: request.committed.map(to_raft_id),
    })
}
