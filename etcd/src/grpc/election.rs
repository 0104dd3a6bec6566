//! Elections: whoever has the oldest key under the election's name leads, and the key's value is what it proclaims.

mod observer;

use super::long::{End, UntilEnd};
use super::turns::{self, Place, Waited, created_at, oldest, removal, unknown};
use crate::front::Front;
use crate::proto::v3electionpb::election_server::Election;
use crate::proto::v3electionpb::*;
use bytes::Bytes;
use coffer_core::LeaseId;
use coffer_core::request::{Header, PutRequest, TxnOp, TxnRequest};
use futures_util::{Stream, stream};
use observer::Observer;
use std::pin::Pin;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Election for Front {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let CampaignRequest { name, lease, value } = request.into_inner();
        let place = Place::take(self, &name, lease, value.clone()).await?;
        if place.found.as_ref().is_some_and(|found| found.value != value) {
            proclaim(self, &place.key, place.revision, place.lease, value).await?;
        }
        let Waited::Turn(_) = place.wait(self).await? else { return Err(not_leader()) };
        let leader = LeaderKey { name, key: place.key.clone(), rev: place.revision, lease: place.lease.0 };
        let header = Some(place.header.into());
        place.keep();
        Ok(Response::new(CampaignResponse { header, leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(no_leader_field)?;
        let lease = match LeaseId(leader.lease) {
            LeaseId::NONE => turns::session(self).await?,
            lease => lease,
        };
        let header = proclaim(self, &leader.key, leader.rev, lease, value).await?;
        Ok(Response::new(ProclaimResponse { header: Some(header.into()) }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let prefix = turns::prefix(&request.into_inner().name);
        let response = self.read(self.node.range(oldest(&prefix))).await.map_err(unknown)?;
        let Some(kv) = response.kvs.into_iter().next() else {
            return Err(Status::unknown("election: no leader"));
        };
        Ok(Response::new(LeaderResponse { header: Some(response.header.into()), kv: Some(kv.into()) }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let end = End::new(self, request.metadata());
        let prefix = turns::prefix(&request.into_inner().name);
        let observer = Observer::new(self.node.clone(), prefix, self.config.request_timeout);
        let leaders = Box::pin(stream::try_unfold(observer, Observer::next));
        Ok(Response::new(Box::pin(UntilEnd::new(leaders, end))))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let leader = request.into_inner().leader.ok_or_else(no_leader_field)?;
        let removal = removal(&leader.key, leader.rev);
        let response = self.write(self.node.txn(removal)).await.map_err(unknown)?;
        Ok(Response::new(ResignResponse { header: Some(response.header.into()) }))
    }
}

/// Changes what the leader with this key proclaims.
async fn proclaim(
    front: &Front,
    key: &Bytes,
    revision: i64,
    lease: LeaseId,
    value: Bytes,
) -> Result<Header, Status> {
    let put = PutRequest { key: key.clone(), value, lease, ..Default::default() };
    let txn = TxnRequest {
        compare: vec![created_at(key, revision)],
        success: vec![TxnOp::Put(put)],
        failure: Vec::new(),
    };
    let response = front.write(front.node.txn(txn)).await.map_err(unknown)?;
    if response.succeeded { Ok(response.header) } else { Err(not_leader()) }
}

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn no_leader_field() -> Status {
    Status::unknown("\"leader\" field must be provided")
}
