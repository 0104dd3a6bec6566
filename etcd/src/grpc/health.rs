//! gRPC's health protocol: every service serves while the node does.

use super::long::{End, UntilEnd};
use crate::front::Front;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::*;
use coffer_core::node::Node;
use futures_util::{Stream, StreamExt, stream};
use std::future;
use std::pin::Pin;
use tonic::{Request, Response, Status};

/// The services whose health can be asked for; the empty name means the server.
const SERVICES: [&str; 10] = [
    "",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "v3lockpb.Lock",
    "v3electionpb.Election",
    "grpc.health.v1.Health",
];

#[tonic::async_trait]
impl Health for Front {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match SERVICES.contains(&&*request.get_ref().service) {
            true => Ok(Response::new(health(&self.node))),
            false => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Tells the health now, and again when it changes. A node that has failed does not come back.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let end = End::new(self, request.metadata());
        let is_known = SERVICES.contains(&&*request.get_ref().service);
        let now = match is_known {
            true => health(&self.node),
            false => response(ServingStatus::ServiceUnknown),
        };
        let is_serving = now.status() == ServingStatus::Serving;
        let node = self.node.clone();
        let changes = async move {
            match is_serving {
                true => drop(node.stopped().await),
                false => future::pending().await,
            }
            Ok(response(ServingStatus::NotServing))
        };
        let answers = stream::iter([Ok(now)]).chain(stream::once(changes)).chain(stream::pending());
        Ok(Response::new(Box::pin(UntilEnd::new(Box::pin(answers), end))))
    }
}

fn health(node: &Node) -> HealthCheckResponse {
    response(match node.failed() {
        None => ServingStatus::Serving,
        Some(_) => ServingStatus::NotServing,
    })
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
