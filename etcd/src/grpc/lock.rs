//! Locks: whoever has the oldest key under the lock's name owns it.

use super::turns::{Place, Waited, unknown};
use crate::front::Front;
use crate::proto::v3lockpb::lock_server::Lock;
use crate::proto::v3lockpb::*;
use bytes::Bytes;
use coffer_core::KeyRange;
use coffer_core::request::DeleteRangeRequest;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Lock for Front {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let place = Place::take(self, &name, lease, Bytes::new()).await?;
        let Waited::Turn(header) = place.wait(self).await? else {
            return Err(Status::unknown("mutex: session is expired"));
        };
        let key = place.key.clone();
        place.keep();
        Ok(Response::new(LockResponse { header: Some(header.into()), key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let range = KeyRange::single(request.into_inner().key);
        let request = DeleteRangeRequest { range, prev_kv: false };
        let response = self.write(self.node.delete_range(request)).await.map_err(unknown)?;
        Ok(Response::new(UnlockResponse { header: Some(response.header.into()) }))
    }
}
