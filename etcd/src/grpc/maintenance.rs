//! Sizes, hashes, snapshots, alarms, and what etcd's operators expect to be there.

use super::long::{End, UntilEnd};
use super::unread::while_read;
use crate::convert::status;
use crate::front::Front;
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::*;
use crate::snapshot::{self, SnapshotChunk};
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
use coffer_core::Error;
use futures_util::StreamExt;
use std::pin::Pin;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

/// Where clients that want to know find whose etcd this is.
const OWN_VERSION_HEADER: &str = "coffer-version";

#[tonic::async_trait]
impl Maintenance for Front {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner().try_into().map_err(status)?;
        let response = self.write(self.node.alarm(request)).await?;
        Ok(Response::new(response.into()))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let own = self.node.status().await.map_err(status)?;
        let version = MetadataValue::try_from(own.version.as_str());
        let fault = self.node.failed().map(|reason| status(reason).message().to_owned());
        let mut response = Response::new(StatusResponse {
            version: ETCD_VERSION.into(),
            storage_version: ETCD_CLUSTER_VERSION.into(),
            ..own.into()
        });
        response.get_mut().errors.extend(fault);
        if let Ok(version) = version {
            response.metadata_mut().insert(OWN_VERSION_HEADER, version);
        }
        Ok(response)
    }

    /// Space is given back while the store runs: there is nothing to do.
    async fn defragment(
        &self,
        _request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, _request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        // However long it takes, as in etcd.
        let response = self.node.hash_kv(0).await.map_err(status)?;
        Ok(Response::new(HashResponse { header: Some(response.header.into()), hash: response.hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let response = self.node.hash_kv(request.into_inner().revision).await.map_err(status)?;
        Ok(Response::new(response.into()))
    }

    type SnapshotStream = Pin<Box<dyn futures_util::Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let end = End::new(self, request.metadata());
        let snapshot = snapshot::stream(&self.node).await.map_err(status)?;
        let responses = snapshot.into_stream().map(|chunk| {
            let SnapshotChunk { remaining_bytes, blob } = chunk.map_err(status)?;
            let version = snapshot::STORAGE_VERSION.into();
            Ok(SnapshotResponse { header: None, remaining_bytes, blob, version })
        });
        // It holds back what a compaction would give back, so nobody may hold it for ever.
        let responses = while_read(responses, self.config.unread_timeout);
        Ok(Response::new(Box::pin(UntilEnd::new(responses, end))))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        match self.node.move_leader(request.into_inner().target_id).await {
            Ok(()) => Ok(Response::new(MoveLeaderResponse { header: None })),
            Err(Error::InvalidArgument(_)) => {
                Err(Status::failed_precondition("etcdserver: bad leader transferee"))
            }
            Err(error) => Err(status(error)),
        }
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        use downgrade_request::DowngradeAction as Action;
        let request = request.into_inner();
        match request.action.try_into() {
            Ok(Action::Validate) => check_downgrade(&request.version)?,
            Ok(Action::Enable) => {
                check_downgrade(&request.version)?;
                return Err(Status::failed_precondition(
                    "etcdserver: this is Coffer: its store has no older version to go back to",
                ));
            }
            // None is ever under way; etcd answers so too, and only logs that there is nothing to cancel.
            Ok(Action::Cancel) => {}
            Err(_) => return Err(Status::unknown("etcdserver: unknown method")),
        }
        self.read(self.node.barrier()).await?;
        let [major, minor] = cluster_version();
        let version = format!("{major}.{minor}");
        Ok(Response::new(DowngradeResponse { header: Some(self.node.header().into()), version }))
    }
}

fn cluster_version() -> [u64; 2] {
    major_minor(ETCD_CLUSTER_VERSION).unwrap_or_default()
}

/// A downgrade goes back by one minor version.
fn check_downgrade(target: &str) -> Result<(), Status> {
    let target = major_minor(target)
        .or_else(|| major_minor(&format!("{target}.0")))
        .ok_or_else(|| Status::invalid_argument("etcdserver: wrong downgrade target version format"))?;
    let [major, minor] = cluster_version();
    match target == [major, minor.wrapping_sub(1)] {
        true => Ok(()),
        false => Err(Status::invalid_argument("etcdserver: invalid downgrade target version")),
    }
}

/// The first two numbers of `major.minor.patch`, whatever build or pre-release follows.
fn major_minor(version: &str) -> Option<[u64; 2]> {
    let release = version.split(['+', '-']).next().unwrap_or_default();
    let parts: Vec<u64> = release.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [major, minor, _] = parts[..] else { return None };
    Some([major, minor])
}
