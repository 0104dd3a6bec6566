//! Bodies of calls that count what passes.

use super::{Call, Lane};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
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
    Socket(Incoming),
    Made(Body),
}

impl CallBody {
    /// What a made request sends.
    pub(crate) fn made(body: Body) -> Self {
        Self { source: Source::Made(body), lane: None }
    }

    pub(super) fn counted(self, lane: Option<Arc<Lane>>) -> Self {
        Self { lane, ..self }
    }
}

impl From<Incoming> for CallBody {
    fn from(body: Incoming) -> Self {
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
            Source::Socket(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(Into::into))
            }
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

/// What a client gets.
#[derive(Debug)]
pub(crate) struct Reply {
    body: Body,
    call: Option<Call>,
}

impl From<Body> for Reply {
    /// What is no call.
    fn from(body: Body) -> Self {
        Self { body, call: None }
    }
}

/// The answer to `call`.
pub(super) fn reply(mut call: Option<Call>, response: Response<Body>) -> Response<Reply> {
    // An answer without a body has its status in its head.
    if let (Some(call), Some(code)) = (&mut call, code(response.headers())) {
        call.code = code;
    }
    response.map(|body| Reply { body, call })
}

/// The code that headers or trailers tell. No more is read of them: this is on the way of every call.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let Some(call) = &mut this.call else { return Poll::Ready(frame) };
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
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
