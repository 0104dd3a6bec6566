//! Calls made byte by byte.

use crate::support::Channel;
use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http::request::Builder;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

/// The head of a call.
pub(crate) fn head(channel: &Channel, path: &str) -> Builder {
    let uri = format!("{}{}", channel.origin().to_string().trim_end_matches('/'), path);
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers")
}

/// A message with its length before it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// Sends `body` and reads the answer to its end: what its messages hold, and its status.
pub(crate) async fn call(channel: &Channel, head: Builder, body: Bytes) -> (Bytes, Status) {
    let request = head.body(Body::new(Full::new(body))).unwrap();
    let response = channel.clone().call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return (Bytes::new(), status);
    }
    let collected = response.into_body().collect().await.unwrap();
    let status = collected.trailers().and_then(Status::from_header_map).expect("a status at the end");
    (collected.to_bytes(), status)
}

/// As [`call`], of one message, for its code and text.
pub(crate) async fn refusal(channel: &Channel, path: &str, message: &[u8]) -> (Code, String) {
    let (_, status) = call(channel, head(channel, path), framed(message)).await;
    (status.code(), status.message().to_owned())
}
