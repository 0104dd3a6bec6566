//! What is asked in plain HTTP, over version 1 or 2.

use crate::front::Front;
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
use ::http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;
use tonic::body::Body;

/// Answers a request.
pub(crate) async fn call(_front: &Arc<Front>, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/version" => {
            let version = json!({
                "etcdserver": ETCD_VERSION,
                "etcdcluster": ETCD_CLUSTER_VERSION,
                "storage": ETCD_CLUSTER_VERSION,
            });
            text(StatusCode::OK, "application/json", version.to_string())
        }
        _ => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into()),
    }
}

/// A whole answer.
fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
