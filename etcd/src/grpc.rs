//! gRPC: finds the service of a call, and does what is the same for all of them.
//!
//! The services are implemented on [`Front`], one file for each.

mod admission;
mod auth;
mod cluster;
mod deadline;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod long;
mod maintenance;
mod range_stream;
mod refusal;
mod turns;
mod unread;
mod watch;

pub(crate) use deadline::read as deadline;
pub(crate) use watch::Encodings;

use crate::calls::CallBody;
use crate::front::Front;
use crate::proto::etcdserverpb::auth_server::AuthServer;
use crate::proto::etcdserverpb::cluster_server::ClusterServer;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::lease_server::LeaseServer;
use crate::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::v3electionpb::election_server::ElectionServer;
use crate::proto::v3lockpb::lock_server::LockServer;
use ::http::{HeaderMap, Request, Response};
use coffer_core::node::Node;
use std::sync::Arc;
use tonic::body::Body;
use tonic::codegen::Service;

/// Room beyond the largest request for what surrounds it in a message; etcd has the same.
const OVERHEAD_BYTES: usize = 512 << 10;

/// Whether a request is gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(::http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Bytes that a message of a client may have.
pub(crate) fn message_bytes_max(node: &Node) -> usize {
    node.request_bytes_max() + OVERHEAD_BYTES
}

/// Answers a call.
pub(crate) async fn call(front: &Arc<Front>, request: Request<CallBody>) -> Response<Body> {
    // Kept for what is said of it later: a cheap clone.
    let uri = request.uri().clone();
    let admitted = admission::call(&front.node, uri.path(), request.headers());
    match admitted.and_then(|()| deadline::of(request.headers())) {
        Ok(deadline) => refusal::reword(uri.path(), deadline::bound(deadline, serve(front, request)).await),
        Err(refused) => refused.into_http(),
    }
}

async fn serve(front: &Arc<Front>, request: Request<CallBody>) -> Response<Body> {
    let bytes_max = message_bytes_max(&front.node);
    let uri = request.uri().clone();
    let service = refusal::split(uri.path()).map(|(service, _)| service);
    macro_rules! serve {
        ($server:ident) => {{
            let mut server = $server::from_arc(front.clone()).max_decoding_message_size(bytes_max);
            match server.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }};
    }
    match service {
        Some("etcdserverpb.Auth") => serve!(AuthServer),
        Some("etcdserverpb.Cluster") => serve!(ClusterServer),
        Some("etcdserverpb.KV") => serve!(KvServer),
        Some("etcdserverpb.Lease") => serve!(LeaseServer),
        Some("etcdserverpb.Maintenance") => serve!(MaintenanceServer),
        Some("etcdserverpb.Watch") => watch::call(front, request, bytes_max).await,
        Some("grpc.health.v1.Health") => serve!(HealthServer),
        Some("v3electionpb.Election") => serve!(ElectionServer),
        Some("v3lockpb.Lock") => serve!(LockServer),
        _ => refusal::unknown_service(uri.path()).into_http(),
    }
}
