//! One call of `Watch`: takes the client's requests to a watch stream of the node, and its responses back.
//!
//! # Invariants
//! - Requests are read only while few creations are unanswered, so neither their answers nor the node's books grow
//!   with what a client sends.
//! - Once the client has closed its side, its watchers go on, as in etcd; they end with the call.

use super::codec::Reply;
use crate::convert::status;
use crate::front::Front;
use crate::grpc::long::End;
use crate::grpc::refusal;
use crate::proto::etcdserverpb as pb;
use coffer_core::Error;
use coffer_core::request::Header;
use coffer_core::watch::{WatchKind, WatchRequest, WatchResponse, WatchStream};
use futures_util::Stream;
use pb::watch_request::RequestUnion;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::{Code, Status};

/// The watch id of responses that are about no watcher.
const NO_WATCHER: i64 = -1;
/// Creations that may be unanswered before requests are left unread.
const UNANSWERED_MAX: u64 = 1024;
/// Requests that are taken in one go.
const REQUESTS_AT_ONCE: usize = 64;

/// A running call; the responses of its stream.
pub(super) struct Session<R> {
    front: Arc<Front>,
    /// `None` once the client has closed its side.
    requests: Option<R>,
    watchers: WatchStream,
    /// Responses of the node that were taken and not yet sent. Of the first one, `told` watchers have got theirs.
    taken: VecDeque<WatchResponse>,
    told: usize,
    /// The node's header when they were taken.
    header: Header,
    /// Creations that the node was asked for, and those of them that were answered.
    begun: u64,
    answered: u64,
    /// Refused creations, each with the number of creations begun before it.
    refused: VecDeque<(u64, String)>,
    end: End,
    ended: bool,
}

impl<R> Session<R>
where
    R: Stream<Item = Result<pb::WatchRequest, Status>> + Unpin,
{
    pub(super) fn new(front: Arc<Front>, requests: R, end: End) -> Self {
        Self {
            watchers: front.node.watch(),
            front,
            requests: Some(requests),
            taken: VecDeque::new(),
            told: 0,
            header: Header::default(),
            begun: 0,
            answered: 0,
            refused: VecDeque::new(),
            end,
            ended: false,
        }
    }

    /// Takes what the client has sent. Ready if there may be more.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        for _ in 0..REQUESTS_AT_ONCE {
            if self.begun - self.answered + self.refused.len() as u64 >= UNANSWERED_MAX {
                // The answers, which are on their way, wake this task.
                return Poll::Pending;
            }
            let Some(requests) = &mut self.requests else { return Poll::Pending };
            match Pin::new(requests).poll_next(cx) {
                Poll::Ready(Some(Ok(request))) => self.handle(request),
                Poll::Ready(Some(Err(error))) if error.code() == Code::Cancelled => {
                    return Poll::Ready(Err(Status::cancelled("etcdserver: watch canceled")));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(refusal::of_message(error))),
                Poll::Ready(None) => self.requests = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn handle(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request.into()),
            Some(RequestUnion::CancelRequest(request)) => self.watchers.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.watchers.request_progress(),
            // As in etcd, what is not known is passed over.
            None => {}
        }
    }

    fn create(&mut self, request: WatchRequest) {
        // A negative start is refused here, because it is not even created.
        let outcome = match request.start_revision {
            ..0 => Err(Error::Compacted { compact_revision: 0 }),
            _ => self.watchers.create(request),
        };
        match outcome {
            Ok(_) => self.begun += 1,
            Err(error) => self.refused.push_back((self.begun, reason(error))),
        }
    }

    /// The next response, of those that are here.
    fn next_reply(&mut self) -> Option<Reply> {
        if self.has_refusal() {
            let (_, cancel_reason) = self.refused.pop_front()?;
            let head = pb::WatchResponse {
                header: Some(self.front.node.header().into()),
                watch_id: NO_WATCHER,
                created: true,
                canceled: true,
                cancel_reason,
                ..Default::default()
            };
            return Some(Reply { head, events: None });
        }
        while let Some(response) = self.taken.front() {
            let Some(&watch_id) = response.watch_ids.get(self.told) else {
                self.taken.pop_front();
                self.told = 0;
                continue;
            };
            let header = Header { revision: response.revision, ..self.header };
            self.told += 1;
            // The last one takes the response, and with it its hold on the events.
            let reply = match self.told < response.watch_ids.len() {
                true => reply(header, watch_id, response.kind.clone()),
                false => {
                    self.told = 0;
                    reply(header, watch_id, self.taken.pop_front()?.kind)
                }
            };
            self.answered += u64::from(reply.head.created);
            return Some(reply);
        }
        None
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Status>> {
        loop {
            if let Some(reply) = self.next_reply() {
                return Poll::Ready(Ok(reply));
            }
            if let Poll::Ready(status) = self.end.poll(cx) {
                return Poll::Ready(Err(status));
            }
            let asked = self.poll_requests(cx)?;
            match self.watchers.poll_next(cx) {
                Poll::Ready(Some(responses)) => {
                    self.header = self.front.node.header();
                    self.taken.extend(responses);
                }
                Poll::Ready(None) => return Poll::Ready(Err(status(Error::Stopped))),
                Poll::Pending if asked.is_pending() && !self.has_refusal() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Whether every creation before the first refused one is answered.
    fn has_refusal(&self) -> bool {
        self.refused.front().is_some_and(|&(begun, _)| begun <= self.answered)
    }
}

impl<R> Stream for Session<R>
where
    R: Stream<Item = Result<pb::WatchRequest, Status>> + Unpin,
{
    type Item = Result<Reply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let reply = std::task::ready!(self.poll_reply(cx));
        self.ended = reply.is_err();
        Poll::Ready(Some(reply))
    }
}

/// The response of one watcher.
fn reply(header: Header, watch_id: i64, kind: WatchKind) -> Reply {
    let mut head = pb::WatchResponse { header: Some(header.into()), watch_id, ..Default::default() };
    let mut shared = None;
    match kind {
        WatchKind::Created => head.created = true,
        WatchKind::Progress => {}
        WatchKind::Events { events, fragment } => {
            head.fragment = fragment;
            shared = Some(events);
        }
        WatchKind::Canceled { reason: Error::Canceled, .. } => head.canceled = true,
        WatchKind::Canceled { compact_revision, .. } if compact_revision > 0 => {
            head.canceled = true;
            head.compact_revision = compact_revision;
            // etcd tells no revision here, and a client that resumes from the newest it was told of must not skip.
            head.header = Some(Header { revision: 0, ..header }.into());
        }
        WatchKind::Canceled { reason: error, .. } => {
            head.canceled = true;
            head.cancel_reason = reason(error);
        }
    }
    Reply { head, events: shared }
}

/// Why a watch was refused or cancelled, in etcd's words. Those of the watch stream itself have no prefix.
fn reason(error: Error) -> String {
    match error {
        Error::DuplicateWatchId | Error::EmptyWatchRange => error.to_string(),
        error => status(error).message().to_owned(),
    }
}
