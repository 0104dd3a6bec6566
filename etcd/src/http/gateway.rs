//! The JSON gateway: every method of etcd's API as a POST under `/v3/`.
//!
//! # Data path
//! JSON -> [`table`] -> a request of gRPC -> the same services as every other call -> its messages -> JSON. Streams
//! come back as one JSON object per line. A call of the gateway is checked, limited and counted as one of gRPC.
//!
//! # Invariants
//! - A body is read no further than its limit, and no longer than its time. Nesting is bounded.
//! - Nothing of a client's JSON reaches a service unless all of the message was understood; fields that are not known
//!   are passed over, as etcd does.

mod head;
mod json;
mod messages;
mod requests;
mod status;
mod table;

use super::Answer;
use crate::calls::{self, CallBody, Received};
use crate::front::Front;
use crate::grpc;
use crate::intake::{Hold, Share};
use ::http::{HeaderValue, Method, Request, Response, header};
use bytes::{Bytes, BytesMut};
use coffer_core::node::Node;
use coffer_runtime::timeout_at;
use futures_util::stream::try_unfold;
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use messages::Messages;
use requests::Requests;
use status::Refusal;
use std::sync::Arc;
use std::time::Instant;
use table::{Binding, Shape};
use tonic::Status;
use tonic::body::Body;

/// A body may be this many times as large as the message in it: bytes are longer in base64, and text may be escaped.
const BODY_PER_MESSAGE: usize = 2;

/// Bytes that a body may have.
pub(crate) fn body_bytes_max(node: &Node) -> usize {
    grpc::message_bytes_max(node) * BODY_PER_MESSAGE
}

/// A path of the gateway, with its method if it has one.
pub(super) struct Place(Option<Binding>);

/// The place that `path` names, if it is in the gateway. The gateway's old path means the same.
pub(super) fn find(path: &str) -> Option<Place> {
    match path.strip_prefix("/v3beta/") {
        Some(rest) => Some(Place(table::find(&format!("/v3/{rest}")))),
        None => path.starts_with("/v3/").then(|| Place(table::find(path))),
    }
}

/// Answers a request for `place`.
pub(super) async fn call(
    front: &Arc<Front>,
    share: &Arc<Share>,
    place: Place,
    request: Request<Incoming>,
) -> Answer {
    match perform(front, share, place, request).await {
        Ok(answer) => answer,
        Err(refused) => refused.answer(),
    }
}

async fn perform(
    front: &Arc<Front>,
    share: &Arc<Share>,
    place: Place,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let Some(binding) = place.0 else {
        return Err(Status::not_found("Not Found").into());
    };
    let upgrade = request.headers().get(header::UPGRADE);
    if upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        let hint = "upgrades to WebSocket are not supported: POST the requests as the body, one JSON object after the other";
        return Err(Status::unimplemented(hint).into());
    }
    if request.method() != Method::POST {
        return Err(Status::unimplemented("Method Not Allowed").into());
    }
    let invalid = |text: &str| Status::invalid_argument(format!("invalid grpc-timeout: {text}"));
    let deadline = grpc::deadline(request.headers(), invalid)?;
    let message_bytes_max = grpc::message_bytes_max(&front.node);
    let mut call = Request::new(());
    *call.method_mut() = Method::POST;
    *call.uri_mut() = ::http::Uri::from_static(binding.path);
    head::pass_on(request.headers(), call.headers_mut());
    let body = match binding.shape {
        Shape::Bidirectional => {
            let (body, hold) = (request.into_body(), Hold::new(share));
            Body::new(Requests::new(body, hold, binding.to_message, message_bytes_max))
        }
        Shape::Unary | Shape::ServerStream => {
            let body = read(share, request, body_bytes_max(&front.node)).await?;
            let message = (binding.to_message)(&body)?;
            if message.len() > message_bytes_max {
                return Err(status::too_large(message.len(), message_bytes_max).into());
            }
            Body::new(Full::new(messages::framed(&message)))
        }
    };
    let answer = finish(front, binding, call.map(|()| CallBody::made(body)), deadline);
    match deadline {
        None => answer.await,
        Some(deadline) => timeout_at(deadline, answer)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded").into())),
    }
}

/// Makes the call, and gives its answer or, of a stream, its first message and then the others.
async fn finish(
    front: &Arc<Front>,
    binding: Binding,
    call: Request<CallBody>,
    deadline: Option<Instant>,
) -> Result<Answer, Refusal> {
    let streams = !matches!(binding.shape, Shape::Unary);
    let refused = |status| Refusal::of_call(status, streams);
    let mut messages = Messages::new(calls::answer(front, call).await, deadline);
    let first = messages.next().await.map_err(refused)?;
    if !streams {
        let Some(message) = first else {
            return Err(Status::internal("a call ended without an answer").into());
        };
        // The status comes behind the message.
        messages.next().await.map_err(refused)?;
        let json = (binding.to_json)(message)?;
        return Ok(success(Body::new(Full::new(Bytes::from(json)))));
    }
    let Some(first) = first else { return Ok(success(Body::empty())) };
    let first = line(&binding, first);
    let rest = try_unfold((messages, Some(first)), move |(mut messages, first)| async move {
        let line = match first {
            Some(line) => line,
            None => match messages.next().await {
                Ok(None) => return Ok::<_, Status>(None),
                Ok(Some(message)) => line(&binding, message),
                Err(status) => {
                    let line = status::line(&status);
                    messages.finish();
                    line
                }
            },
        };
        Ok(Some((Frame::data(line), (messages, None))))
    });
    Ok(success(Body::new(StreamBody::new(rest))))
}

/// One message of a stream.
fn line(binding: &Binding, message: Bytes) -> Bytes {
    match (binding.to_json)(message) {
        Ok(json) => {
            let mut line = BytesMut::with_capacity(json.len() + 12);
            line.extend_from_slice(br#"{"result":"#);
            line.extend_from_slice(&json);
            line.extend_from_slice(b"}\n");
            line.freeze()
        }
        Err(status) => status::line(&status),
    }
}

fn success(body: Body) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("grpc-metadata-content-type", HeaderValue::from_static("application/grpc"));
    answer
}

/// Reads a whole body.
async fn read(share: &Arc<Share>, request: Request<Incoming>, bytes_max: usize) -> Result<Bytes, Refusal> {
    let told =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(told) = told.filter(|told| *told > bytes_max) {
        return Err(status::too_large(told, bytes_max).into());
    }
    let body = Limited::new(Received::new(request.into_body(), share), bytes_max).collect();
    match body.await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(status::too_large(bytes_max + 1, bytes_max).into())
        }
        Err(error) => Err(match error.downcast::<Status>() {
            Ok(refused) => Refusal::of_body(*refused),
            Err(error) => Status::invalid_argument(error.to_string()).into(),
        }),
    }
}
