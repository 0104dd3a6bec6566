//! Keys and values.

use crate::convert::status;
use crate::front::Front;
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::*;
use std::pin::Pin;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Kv for Front {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner().try_into().map_err(status)?;
        let response = self.read(self.node.range(request)).await?;
        Ok(Response::new(response.into()))
    }

    type RangeStreamStream =
        Pin<Box<dyn futures_util::Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        _request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("unknown method RangeStream for service etcdserverpb.KV"))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let response = self.write(self.node.put(request.into_inner().into())).await?;
        Ok(Response::new(response.into()))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let response = self.write(self.node.delete_range(request.into_inner().into())).await?;
        Ok(Response::new(response.into()))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner().try_into().map_err(status)?;
        let response = self.write(self.node.txn(request)).await?;
        Ok(Response::new(response.into()))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let response = self.write(self.node.compact(request.into_inner().into())).await?;
        Ok(Response::new(response.into()))
    }
}
