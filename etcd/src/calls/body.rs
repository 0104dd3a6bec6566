//! Bodies of calls that count what passes.

use super::chunk::Chunk;
use super::{Call, Lane, Received};
use crate::outgo::{Outgo, UnderWay};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::{Code, Status};

/// What a client sends: from a socket, or made by the JSON gateway.
#[derive(Debug)]
pub(crate) struct CallBody {
    source: Source,
    lane: Option<Arc<Lane>>,
}

#[derive(Debug)]
enum Source {
    Socket(Received),
    Made(Body),
}

impl CallBody {
    /// What a made request sends.
    pub(crate) fn made(body: Body) -> Self {
        Self { source: Source::Made(body), lane: None }
    }

    /// What the connection that it comes from is to send; `None` for a made one.
    pub(super) fn outgo(&self) -> Option<Arc<Outgo>> {
        match &self.source {
            Source::Socket(body) => Some(body.share().outgo.clone()),
            Source::Made(_) => None,
        }
    }

    pub(super) fn counted(self, lane: Option<Arc<Lane>>) -> Self {
        Self { lane, ..self }
    }

    /// Of a call that takes a stream of requests: each of them is to be whole, and not all of the body.
    pub(super) fn of_messages(self) -> Self {
        match self.source {
            Source::Socket(body) => Self { source: Source::Socket(body.of_messages()), ..self },
            Source::Made(_) => self,
        }
    }
}

impl From<Received> for CallBody {
    fn from(body: Received) -> Self {
        Self { source: Source::Socket(body), lane: None }
    }
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = match &mut self.source {
            Source::Socket(body) => ready!(Pin::new(body).poll_frame(cx)),
            Source::Made(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into))
            }
        };
        if let (Some(lane), Some(Ok(frame))) = (&self.lane, &frame)
            && let Some(data) = frame.data_ref()
        {
            lane.received_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Socket(body) => body.is_end_stream(),
            Source::Made(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Socket(body) => body.size_hint(),
            Source::Made(body) => body.size_hint(),
        }
    }
}

/// What an answer keeps of the connection that it goes to; nothing if who made the request takes the answer.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// Where it is followed whether it is taken.
    outgo: Option<Arc<Outgo>>,
    /// Held until it is sent.
    under_way: Option<Arc<UnderWay>>,
}

impl Sending {
    /// Of an answer that goes to the connection of `outgo`.
    pub(crate) fn new(outgo: &Arc<Outgo>) -> Self {
        Self { outgo: Some(outgo.clone()), under_way: Some(outgo.begin()) }
    }

    /// Of a stream of answers, which is not waited for when the connection ends.
    pub(super) fn stream(outgo: &Arc<Outgo>) -> Self {
        Self { outgo: Some(outgo.clone()), under_way: None }
    }

    fn chunk(&self, data: Bytes) -> Chunk {
        let unsent = self.outgo.as_ref().and_then(|outgo| outgo.follow(data.len()));
        Chunk::new(data, unsent, self.under_way.clone())
    }
}

/// What a client gets.
#[derive(Debug)]
pub(crate) struct Reply {
    body: Body,
    call: Option<Call>,
    sending: Sending,
}

impl Reply {
    /// What is no call.
    pub(crate) fn plain(body: Body, sending: Sending) -> Self {
        // Streams are what is not all there at once.
        let sending = if body.size_hint().exact().is_some() { sending } else { Sending::default() };
        Self { body, call: None, sending }
    }
}

/// The answer to `call`.
pub(super) fn reply(mut call: Option<Call>, sending: Sending, response: Response<Body>) -> Response<Reply> {
    // An answer without a body has its status in its head.
    if let (Some(call), Some(code)) = (&mut call, code(response.headers())) {
        call.code = code;
    }
    response.map(|body| Reply { body, call, sending })
}

/// The code that headers or trailers tell. No more is read of them: this is on the way of every call.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

impl HttpBody for Reply {
    type Data = Chunk;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(call) = &mut this.call {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        call.lane.sent_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        call.code = code(trailers).unwrap_or(Code::Unknown);
                    }
                }
                Some(Err(status)) => call.code = status.code(),
                None => {}
            }
        }
        let chunk = |data| this.sending.chunk(data);
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
