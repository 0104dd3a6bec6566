//! gRPC: finds the service of a call, and does what is the same for all of them.
//!
//! The services are implemented on [`Front`], one file for each.

mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod long;
mod turns;
mod watch;

pub(crate) use watch::Encodings;

use crate::calls::CallBody;
use crate::convert::status;
use crate::front::Front;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::lease_server::LeaseServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::v3electionpb::election_server::ElectionServer;
use crate::proto::v3lockpb::lock_server::LockServer;
use ::http::{HeaderMap, Request, Response};
use coffer_core::Error;
use std::sync::Arc;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

/// Room beyond the largest request for what surrounds it in a message; etcd has the same.
const OVERHEAD_BYTES: usize = 512 << 10;

/// Whether a request is gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(::http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Bytes that a message of a client may have.
pub(crate) fn message_bytes_max(front: &Front) -> usize {
    front.node.request_bytes_max() + OVERHEAD_BYTES
}

/// Answers a call.
pub(crate) async fn call(front: &Arc<Front>, request: Request<CallBody>) -> Response<Body> {
    let asks_leader = request.headers().get(long::HAS_LEADER).is_some_and(|value| value == "true");
    if asks_leader && front.node.leader().is_none() {
        return status(Error::NoLeader).into_http();
    }
    let bytes_max = message_bytes_max(front);
    let service = request.uri().path().split('/').nth(1).unwrap_or_default();
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
        "etcdserverpb.KV" => serve!(KvServer),
        "etcdserverpb.Lease" => serve!(LeaseServer),
        "v3lockpb.Lock" => serve!(LockServer),
        "v3electionpb.Election" => serve!(ElectionServer),
        "grpc.health.v1.Health" => serve!(HealthServer),
        "etcdserverpb.Watch" => watch::call(front, request, bytes_max).await,
        unknown => Status::new(Code::Unimplemented, format!("unknown service {unknown}")).into_http(),
    }
}
