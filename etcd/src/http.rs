//! What is asked in plain HTTP, over version 1 or 2.
//!
//! # Data path
//! [`access`] (host and origin) -> by path: [`gateway`] (`/v3/`), [`health`], [`metrics`], `/version`. A listener for
//! metrics serves health and metrics only, to whoever asks.

mod access;
mod gateway;
mod health;
mod metrics;

pub(crate) use gateway::body_bytes_max;
pub(crate) use health::HealthCounts;

use crate::front::Front;
use crate::intake::Share;
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;
use tonic::body::Body;

/// What a client gets: whole, or of the gateway's streams piece by piece.
pub(crate) type Answer = Response<Body>;

/// Answers a request on a URL for clients.
pub(crate) async fn call(front: &Arc<Front>, share: &Arc<Share>, request: Request<Incoming>) -> Answer {
    let origin = match access::check(&front.config, &request) {
        Ok(origin) => origin,
        Err(refused) => return plain(StatusCode::MISDIRECTED_REQUEST, refused),
    };
    let mut answer = match *request.method() {
        Method::OPTIONS => Response::new(Body::empty()),
        _ => route(front, share, request).await,
    };
    access::allow(origin, answer.headers_mut());
    answer
}

/// Answers a request on a URL for metrics.
pub(crate) async fn call_metrics(front: &Arc<Front>, request: Request<Incoming>) -> Answer {
    observe(front, &request).await.unwrap_or_else(not_found)
}

/// Answers what is not gRPC where nothing else is served.
pub(crate) fn only_grpc() -> Answer {
    let hint = "this URL serves gRPC only\n";
    plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, hint.into())
}

async fn route(front: &Arc<Front>, share: &Arc<Share>, request: Request<Incoming>) -> Answer {
    if front.config.gateway
        && let Some(place) = gateway::find(request.uri().path())
    {
        return gateway::call(front, share, place, request).await;
    }
    if request.uri().path() == "/version" {
        return version(request.method());
    }
    observe(front, &request).await.unwrap_or_else(not_found)
}

/// Answers what is asked to watch over the member.
async fn observe(front: &Arc<Front>, request: &Request<Incoming>) -> Option<Answer> {
    match request.uri().path() {
        "/metrics" => Some(metrics::answer(front)),
        _ => health::answer(front, request).await,
    }
}

fn version(method: &Method) -> Answer {
    if method != Method::GET {
        return only_get();
    }
    // In etcd's order, which a map would not keep.
    let version = format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_CLUSTER_VERSION}","storage":"{ETCD_CLUSTER_VERSION}"}}"#
    );
    text(StatusCode::OK, "application/json", version)
}

fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "404 page not found\n".into())
}

/// The answer to another method where only GET is allowed.
fn only_get() -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".into());
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    answer
}

/// A text that no browser takes for anything else.
fn plain(status: StatusCode, body: String) -> Answer {
    let mut answer = text(status, "text/plain; charset=utf-8", body);
    let no_sniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
    answer
}

/// A whole answer.
fn text(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Answer {
    let mut answer = Response::new(Body::new(Full::new(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
