//! Watch: one stream of the watch hub for each call.
//!
//! # Data path
//! client's requests -> [`session`] -> the node's watch stream -> [`session`] -> [`codec`] -> HTTP/2. The session is
//! polled only as HTTP/2 lets it send, and it reads requests only while it is polled: a client that does not read is
//! held back by the flow control of its own connection, and costs the watch stream's bounded queue.
//!
//! # Invariants
//! - Events that many watchers share are encoded once, on however many streams they are sent ([`encodings`]).
//! - Creations are answered in the order in which they were asked for, the refused among them.

mod codec;
mod encodings;
mod session;

pub(crate) use encodings::Encodings;

use super::long::End;
use crate::front::Front;
use crate::proto::etcdserverpb as pb;
use ::http::{Request as HttpRequest, Response as HttpResponse};
use codec::WatchCodec;
use http_body::Body as HttpBody;
use session::Session;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status, Streaming};

/// Answers a call of the service `etcdserverpb.Watch`.
pub(super) async fn call<B>(
    front: &Arc<Front>,
    request: HttpRequest<B>,
    bytes_max: usize,
) -> HttpResponse<Body>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    if request.uri().path() != "/etcdserverpb.Watch/Watch" {
        return Status::new(Code::Unimplemented, "unknown method for service etcdserverpb.Watch").into_http();
    }
    Grpc::new(WatchCodec(front.clone()))
        .max_decoding_message_size(bytes_max)
        .streaming(Watch(front.clone()), request)
        .await
}

/// Opens sessions.
struct Watch(Arc<Front>);

impl Service<Request<Streaming<pb::WatchRequest>>> for Watch {
    type Response = Response<Session<Streaming<pb::WatchRequest>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        let end = End::new(&self.0, request.metadata());
        ready(Ok(Response::new(Session::new(self.0.clone(), request.into_inner(), end))))
    }
}
