//! Leases.

use super::long::{End, UntilEnd};
use super::refusal;
use crate::front::{Front, read};
use crate::proto::etcdserverpb::lease_server::Lease;
use crate::proto::etcdserverpb::*;
use coffer_core::LeaseId;
use coffer_core::node::Node;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Keepalives of one stream that may be under way. They are answered in order.
const KEEP_ALIVES_AT_ONCE: usize = 64;

#[tonic::async_trait]
impl Lease for Front {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let response = self.write(self.node.lease_grant(request.into_inner().into())).await?;
        Ok(Response::new(response.into()))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let response = self.write(self.node.lease_revoke(LeaseId(request.into_inner().id))).await?;
        Ok(Response::new(response.into()))
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let end = End::new(self, request.metadata());
        let (node, limit) = (self.node.clone(), self.config.request_timeout);
        let answers = request
            .into_inner()
            .map(move |request| keep_alive(node.clone(), request, limit))
            .buffered(KEEP_ALIVES_AT_ONCE);
        Ok(Response::new(Box::pin(UntilEnd::new(answers, end))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let response = self.read(self.node.lease_time_to_live(request.into_inner().into())).await?;
        Ok(Response::new(response.into()))
    }

    async fn lease_leases(
        &self,
        _request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let response = self.read(self.node.lease_list()).await?;
        Ok(Response::new(response.into()))
    }
}

/// Renews a lease. The header is older than the renewal, so that no revision that a client is told with its lease alive
/// is one at which the lease had ended.
async fn keep_alive(
    node: Node,
    request: Result<LeaseKeepAliveRequest, Status>,
    limit: Duration,
) -> Result<LeaseKeepAliveResponse, Status> {
    let header = node.header();
    let request = request.map_err(refusal::of_message)?;
    let response = read(limit, node.lease_keep_alive(LeaseId(request.id))).await?;
    Ok(LeaseKeepAliveResponse { header: Some(header.into()), ..response.into() })
}
