//! Between the messages of etcd's API and the requests of the core. Values and keys are shared, never copied.

mod kv;
mod lease;
mod maintenance;
mod status;
mod txn;
mod watch;

pub(crate) use status::status;
pub(crate) use txn::txn;
pub(crate) use watch::encode_events;

use crate::proto::etcdserverpb as pb;
use coffer_core::request::Header;

impl From<Header> for pb::ResponseHeader {
    fn from(header: Header) -> Self {
        Self {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision,
            raft_term: header.raft_term,
        }
    }
}
