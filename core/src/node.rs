//! The driver: takes requests, proposes, applies, serves reads, keeps the lease clock, flushes and compacts.

pub mod lease_clock;

use crate::error::Error;
use crate::request::*;
use crate::revision::LeaseId;
use crate::storage::{Log, Records};
use crate::watch::WatchStream;
use std::sync::Arc;
use std::time::Duration;

/// How a node runs. Every limit is in the unit that its name ends with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Identity of the cluster; random, non-zero, made at creation.
    pub cluster_id: u64,
    /// Identity of this member; random, non-zero, made at creation.
    pub member_id: u64,
    /// The process life: larger at every start.
    pub boot: u64,
    /// Leader's heartbeat.
    pub heartbeat_interval: Duration,
    /// Followers' patience.
    pub election_timeout: Duration,
    /// Largest request.
    pub request_bytes_max: usize,
    /// Most operations in one list of a txn.
    pub txn_ops_max: usize,
    /// How often an idle watcher that asked for it is told of progress.
    pub watch_progress_interval: Duration,
    /// Name of the backend, for status.
    pub backend: String,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            cluster_id: 1,
            member_id: 1,
            boot: 1,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            request_bytes_max: 1536 * 1024,
            txn_ops_max: 128,
            watch_progress_interval: Duration::from_secs(600),
            backend: "memory".into(),
        }
    }
}

/// One member of a store. Cheap to clone; every clone is the same node.
#[derive(Clone, Debug)]
pub struct Node {}

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Node {
    pub fn open(_config: NodeConfig, _log: Box<dyn Log>, _records: Arc<dyn Records>) -> Result<Node, Error> {
        unimplemented!()
    }
    pub async fn range(&self, _request: RangeRequest) -> Result<RangeResponse, Error> {
        unimplemented!()
    }
    pub async fn put(&self, _request: PutRequest) -> Result<PutResponse, Error> {
        unimplemented!()
    }
    pub async fn delete_range(&self, _request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        unimplemented!()
    }
    pub async fn txn(&self, _request: TxnRequest) -> Result<TxnResponse, Error> {
        unimplemented!()
    }
    pub async fn compact(&self, _request: CompactRequest) -> Result<CompactResponse, Error> {
        unimplemented!()
    }
    pub async fn lease_grant(&self, _request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error> {
        unimplemented!()
    }
    pub async fn lease_revoke(&self, _id: LeaseId) -> Result<LeaseRevokeResponse, Error> {
        unimplemented!()
    }
    pub async fn lease_keep_alive(&self, _id: LeaseId) -> Result<LeaseKeepAliveResponse, Error> {
        unimplemented!()
    }
    pub async fn lease_time_to_live(
        &self,
        _request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        unimplemented!()
    }
    pub async fn lease_list(&self) -> Result<LeaseListResponse, Error> {
        unimplemented!()
    }
    /// Hash at `revision`; 0 or less for the newest.
    pub async fn hash_kv(&self, _revision: i64) -> Result<HashKvResponse, Error> {
        unimplemented!()
    }
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        unimplemented!()
    }
    /// A stream of watchers.
    pub fn watch(&self) -> WatchStream {
        unimplemented!()
    }
    /// A header with the newest revision.
    pub fn header(&self) -> Header {
        unimplemented!()
    }
    /// Largest request in bytes.
    pub fn request_bytes_max(&self) -> usize {
        unimplemented!()
    }
    /// The fault that stopped the node, if one did.
    pub fn failed(&self) -> Option<Error> {
        unimplemented!()
    }
    /// Resolves with the reason when the node stops, for a fault or by [`shutdown`](Self::shutdown).
    pub async fn stopped(&self) -> Error {
        unimplemented!()
    }
    /// Stops everything and joins every thread. Idempotent; blocks.
    pub fn shutdown(&self) {
        unimplemented!()
    }
}
