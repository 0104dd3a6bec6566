//! Keys and values.

use super::long::{End, UntilEnd};
use super::{admission, range_stream};
use crate::convert::{self, status};
use crate::front::Front;
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::*;
use coffer_core::node::{Pages, RANGE_BYTES_MAX};
use std::pin::Pin;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Kv for Front {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        admission::range(&self.node, request.serializable)?;
        let request = request.try_into().map_err(status)?;
        let whole = Pages::whole(self.node.clone(), request, RANGE_BYTES_MAX);
        let response = self.read(whole).await?;
        Ok(Response::new(response.into()))
    }

    type RangeStreamStream =
        Pin<Box<dyn futures_util::Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let end = End::new(self, request.metadata());
        let request = request.into_inner().try_into().map_err(status)?;
        let chunks = range_stream::chunks(&self.node, request, self.config.request_timeout)?;
        Ok(Response::new(Box::pin(UntilEnd::new(Box::pin(chunks), end))))
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
        let request = convert::txn(request.into_inner(), self.node.limits()).map_err(status)?;
        let response = self.write(self.node.txn(request)).await?;
        Ok(Response::new(response.into()))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let request: coffer_core::request::CompactRequest = request.into_inner().into();
        let compaction = self.node.compact(request);
        let response = match request.physical {
            // However long it takes, as in etcd.
            true => compaction.await.map_err(status)?,
            false => self.write(compaction).await?,
        };
        Ok(Response::new(response.into()))
    }
}
