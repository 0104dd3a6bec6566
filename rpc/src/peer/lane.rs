//! The sending ends on raft's thread. What they send is done on the peers' thread.

use super::asked::Asked;
use super::connection::{Connection, Connections};
use super::window::{Answer, Window};
use super::{Job, Thread};
use crate::schema::peer_capnp::Lane as WireLane;
use crate::wire::peer as wire;
use async_channel::{Receiver, Sender};
use bytes::Bytes;
use coffer_core::Error;
use coffer_core::consensus::messages::{
    AppendRequest, AppendResponse, TransferRequest, Vote, VoteRequest, VoteResponse,
};
use coffer_core::consensus::peers::{Caller, Lane, LaneKind, PeerError};
use coffer_core::consensus::snapshots::Snapshot;
use coffer_core::consensus::{MemberChange, MemberError, ProposeError};
use coffer_core::storage::LogId;
use coffer_runtime::unblock;
use futures_channel::oneshot;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::{BoxStream, FuturesOrdered, StreamExt};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Bytes of a snapshot that are sent at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A way to a member, for anyone who may send jobs to the peers' thread.
#[derive(Clone)]
struct Way {
    jobs: Sender<Job>,
    member: u64,
    /// What the membership said of the member when this was made. Raft keeps its lanes while it leads: see [`Way::connect`].
    description: Bytes,
    lane: WireLane,
}

impl Way {
    /// The connection to where the member is by what the newest membership says, or by what was said of it to begin with.
    async fn connect(self, thread: &Rc<Thread>) -> Result<Rc<Connection>, PeerError> {
        let newest = match self.lane {
            // Callers are made anew when the description changes, and each proposal of a follower comes by here.
            WireLane::Calls => None,
            _ => thread.service.description(self.member),
        };
        Connections::get(thread, self.member, &newest.unwrap_or(self.description), self.lane).await
    }

    /// Asks on the peers' thread, for at most `patience`. If whoever waits leaves, the question goes on.
    fn ask<T, F>(
        &self,
        patience: Duration,
        ask: impl FnOnce(Rc<Connection>) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T, PeerError>>
    where
        T: Send + 'static,
        F: Future<Output = capnp::Result<T>> + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let way = self.clone();
        let job: Job = Box::new(move |thread| {
            let thread = thread.clone();
            Box::pin(async move {
                let asked = async {
                    let connection = way.connect(&thread).await?;
                    ask(connection).await.map_err(no_answer)
                };
                let silent = || Err(PeerError::NoAnswer(format!("nothing was heard for {patience:?}")));
                let outcome = thread.ticker.limit(patience, asked).await.unwrap_or_else(silent);
                // Nobody waits any more if the outcome cannot be sent.
                let _ = sender.send(outcome);
            })
        });
        let sent = self.jobs.try_send(job).is_ok();
        Box::pin(async move {
            match answer.await {
                Ok(outcome) if sent => outcome,
                _ => Err(PeerError::Unreachable("this member is shutting down".to_owned())),
            }
        })
    }
}

fn no_answer(error: capnp::Error) -> PeerError {
    PeerError::NoAnswer(error.to_string())
}

/// A lane of consensus.
pub(super) struct Sending {
    way: Way,
    /// Votes and the transfer of the lead travel with the heartbeats, whatever the lane is for.
    urgent: Way,
    asked: Arc<Asked>,
}

impl Sending {
    pub(super) fn new(
        jobs: Sender<Job>,
        asked: Arc<Asked>,
        member: u64,
        description: Bytes,
        kind: LaneKind,
    ) -> Self {
        let lane = match kind {
            LaneKind::Entries => WireLane::Entries,
            LaneKind::Heartbeats => WireLane::Heartbeats,
            LaneKind::Snapshots => WireLane::Snapshots,
        };
        let way = Way { jobs, member, description, lane };
        Self { urgent: Way { lane: WireLane::Heartbeats, ..way.clone() }, way, asked }
    }
}

impl Lane for Sending {
    fn vote(
        &mut self,
        request: VoteRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<VoteResponse, PeerError>> {
        self.urgent.ask(patience, move |connection| async move {
            let mut call = connection.peer.vote_request();
            wire::put_vote_request(&request, call.get());
            wire::get_vote_answer(call.send().promise.await?.get()?)
        })
    }

    fn append(
        &mut self,
        requests: BoxStream<'static, AppendRequest>,
        patience: Duration,
    ) -> BoxStream<'_, Result<AppendResponse, PeerError>> {
        // Bounded by the window.
        let (sender, queue) = async_channel::unbounded();
        let (answer, answers) = async_channel::unbounded();
        let way = self.way.clone();
        let job: Job = Box::new(move |thread| {
            let thread = thread.clone();
            Box::pin(async move {
                match way.connect(&thread).await {
                    Ok(connection) => relay(&connection, queue, answer).await,
                    // The window has gone if it cannot be sent.
                    Err(error) => drop(answer.try_send(Err(error))),
                }
            })
        });
        // If it cannot be sent, the answers end, which is an error to the window.
        let _ = self.way.jobs.try_send(job);
        Window::new(self.way.member, self.asked.clone(), requests, sender, answers, patience).boxed()
    }

    fn snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vote, PeerError>> {
        let (sender, answer) = oneshot::channel();
        let way = self.way.clone();
        let job: Job = Box::new(move |thread| {
            let thread = thread.clone();
            Box::pin(async move {
                let sent = async {
                    let connection = way.connect(&thread).await?;
                    send_snapshot(&thread, &connection, vote, snapshot, patience).await
                };
                // Ends when whoever waits leaves: raft gave the transfer up.
                let mut sender = sender;
                let sent = select(Box::pin(sent), sender.cancellation());
                if let Either::Left((outcome, _)) = sent.await {
                    let _ = sender.send(outcome);
                }
            })
        });
        let _ = self.way.jobs.try_send(job);
        Box::pin(async move {
            answer
                .await
                .unwrap_or_else(|_| Err(PeerError::Unreachable("this member is shutting down".into())))
        })
    }

    fn transfer(
        &mut self,
        request: TransferRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(), PeerError>> {
        let told = self.urgent.ask(patience, move |connection| async move {
            let mut call = connection.peer.transfer_request();
            wire::put_transfer(&request, call.get());
            let answer = call.send().promise.await?;
            Ok(answer.get()?.get_refused()?.to_string()?)
        });
        Box::pin(async move {
            let refused = told.await?;
            if refused.is_empty() { Ok(()) } else { Err(PeerError::NoAnswer(refused)) }
        })
    }
}

/// Sends what the window gives and hands the answers back in order, until either side ends.
async fn relay(connection: &Connection, queue: Receiver<AppendRequest>, answers: Sender<Answer>) {
    let mut queue = Box::pin(queue);
    let mut pending = FuturesOrdered::new();
    let mut more = true;
    loop {
        enum Step {
            Send(AppendRequest),
            NoMore,
            Answered(Answer),
        }
        let step = poll_fn(|cx| {
            if let Poll::Ready(Some(answer)) = pending.poll_next_unpin(cx) {
                return Poll::Ready(Step::Answered(answer));
            }
            match more {
                true => queue.poll_next_unpin(cx).map(|request| request.map_or(Step::NoMore, Step::Send)),
                false => Poll::Pending,
            }
        });
        match step.await {
            Step::Send(request) => pending.push_back(append(connection, &request)),
            Step::NoMore if pending.is_empty() => return,
            Step::NoMore => more = false,
            Step::Answered(answer) => {
                let goes_on = matches!(answer, Ok(AppendResponse::Matched(_)));
                if answers.try_send(answer).is_err() || !goes_on || (!more && pending.is_empty()) {
                    return;
                }
            }
        }
    }
}

/// Begins the call at once, so that calls leave in order.
fn append(connection: &Connection, request: &AppendRequest) -> impl Future<Output = Answer> + 'static {
    connection.link.expect_words(wire::append_bytes(request) / 8);
    let mut call = connection.peer.append_request();
    wire::put_append(request, call.get());
    let promise = call.send().promise;
    async move {
        let answer = async { wire::get_append_answer(promise.await?.get()?) };
        answer.await.map_err(no_answer)
    }
}

/// Sends a snapshot chunk by chunk, each when the one before was taken.
async fn send_snapshot(
    thread: &Thread,
    connection: &Connection,
    vote: Vote,
    snapshot: Snapshot,
    patience: Duration,
) -> Result<Vote, PeerError> {
    let silent = || PeerError::NoAnswer(format!("a snapshot made no progress for {patience:?}"));
    let Snapshot { last, membership: (at, membership), mut content } = snapshot;
    let mut call = connection.peer.snapshot_request();
    let mut header = call.get();
    wire::put_vote(&vote, header.reborrow().init_vote());
    wire::put_id(Some(last), header.reborrow().init_last());
    wire::put_id(Some(at), header.reborrow().init_membership_at());
    header.set_membership(&membership);
    let begun = thread.ticker.limit(patience, call.send().promise).await.ok_or_else(silent)?;
    let sink = begun.and_then(|answer| answer.get()?.get_sink()).map_err(no_answer)?;
    let (mut bytes, mut sum) = (0u64, 0u32);
    loop {
        let read = unblock(move || {
            let chunk = content.next(CHUNK_BYTES);
            (content, chunk)
        });
        let failed = |error: String| PeerError::NoAnswer(format!("reading the snapshot: {error}"));
        let (rest, chunk) = read.await.map_err(|error| failed(error.to_string()))?;
        content = rest;
        let Some(chunk) = chunk.map_err(|error| failed(error.to_string()))? else { break };
        bytes += chunk.len() as u64;
        sum = crc32c::crc32c_append(sum, &chunk);
        let mut call = sink.write_request();
        call.get().set_chunk(&chunk);
        thread.ticker.limit(patience, call.send().promise).await.ok_or_else(silent)?.map_err(no_answer)?;
    }
    let mut call = sink.finish_request();
    call.get().set_bytes(bytes);
    call.get().set_crc32c(sum);
    // Installing takes as long as it takes; the connection's own pings notice a member that died meanwhile.
    let answer = call.send().promise.await.map_err(no_answer)?;
    let vote = answer.get().and_then(|answer| Ok(wire::get_vote(answer.get_vote()?)));
    vote.map_err(no_answer)
}

/// What a follower asks of the leader.
pub(super) struct Asking(Way);

impl Asking {
    pub(super) fn new(jobs: Sender<Job>, member: u64, description: Bytes) -> Self {
        Self(Way { jobs, member, description, lane: WireLane::Calls })
    }
}

impl Caller for Asking {
    fn read_index(&self, patience: Duration) -> BoxFuture<'_, Result<Result<LogId, Error>, PeerError>> {
        self.0.ask(patience, |connection| async move {
            let answer = connection.peer.read_index_request().send().promise.await?;
            wire::get_read_index(answer.get()?)
        })
    }

    fn propose(
        &self,
        payload: Bytes,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<LogId, ProposeError>, PeerError>> {
        self.0.ask(patience, move |connection| async move {
            connection.link.expect_words(payload.len() / 8 + 32);
            let mut call = connection.peer.propose_request();
            call.get().set_payload(&payload);
            wire::get_proposed(call.send().promise.await?.get()?)
        })
    }

    fn ask(&self, question: Bytes, patience: Duration) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        self.0.ask(patience, move |connection| async move {
            let mut call = connection.peer.ask_request();
            call.get().set_question(&question);
            let answer = call.send().promise.await?;
            let answer = answer.get()?;
            Ok(if answer.get_known() { Some(Bytes::copy_from_slice(answer.get_answer()?)) } else { None })
        })
    }

    fn change(
        &self,
        change: MemberChange,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<(), MemberError>, PeerError>> {
        self.0.ask(patience, move |connection| async move {
            let mut call = connection.peer.change_request();
            wire::put_change(&change, call.get());
            wire::get_changed(call.send().promise.await?.get()?)
        })
    }
}
