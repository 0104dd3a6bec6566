//! Ranges, puts, deletions and compactions.

use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;
use coffer_core::request::*;
use coffer_core::{Error, KeyRange, KeyValue, LeaseId};

impl From<KeyValue> for mvccpb::KeyValue {
    fn from(kv: KeyValue) -> Self {
        Self {
            key: kv.key,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: kv.value,
            lease: kv.lease.0,
        }
    }
}

fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(Into::into).collect()
}

impl TryFrom<pb::RangeRequest> for RangeRequest {
    type Error = Error;

    /// As etcd checks it: first the key, then the sort.
    fn try_from(request: pb::RangeRequest) -> Result<Self, Error> {
        use pb::range_request::{SortOrder as Order, SortTarget as Target};
        if request.key.is_empty() {
            return Err(Error::EmptyKey);
        }
        let sort_order = match request.sort_order.try_into() {
            Ok(Order::None) => SortOrder::None,
            Ok(Order::Ascend) => SortOrder::Ascend,
            Ok(Order::Descend) => SortOrder::Descend,
            Err(_) => return Err(Error::InvalidSortOption),
        };
        let sort_target = match request.sort_target.try_into() {
            Ok(Target::Key) => SortTarget::Key,
            Ok(Target::Version) => SortTarget::Version,
            Ok(Target::Create) => SortTarget::Create,
            Ok(Target::Mod) => SortTarget::Mod,
            Ok(Target::Value) => SortTarget::Value,
            Err(_) => return Err(Error::InvalidSortOption),
        };
        Ok(Self {
            range: KeyRange::from_wire(request.key, request.range_end),
            limit: request.limit,
            revision: request.revision,
            sort_order,
            sort_target,
            serializable: request.serializable,
            keys_only: request.keys_only,
            count_only: request.count_only,
            min_mod_revision: request.min_mod_revision,
            max_mod_revision: request.max_mod_revision,
            min_create_revision: request.min_create_revision,
            max_create_revision: request.max_create_revision,
        })
    }
}

impl From<RangeResponse> for pb::RangeResponse {
    fn from(response: RangeResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            kvs: key_values(response.kvs),
            more: response.more,
            count: response.count,
        }
    }
}

impl From<pb::PutRequest> for PutRequest {
    fn from(request: pb::PutRequest) -> Self {
        Self {
            key: request.key,
            value: request.value,
            lease: LeaseId(request.lease),
            prev_kv: request.prev_kv,
            ignore_value: request.ignore_value,
            ignore_lease: request.ignore_lease,
        }
    }
}

impl From<PutResponse> for pb::PutResponse {
    fn from(response: PutResponse) -> Self {
        Self { header: Some(response.header.into()), prev_kv: response.prev_kv.map(Into::into) }
    }
}

impl From<pb::DeleteRangeRequest> for DeleteRangeRequest {
    fn from(request: pb::DeleteRangeRequest) -> Self {
        Self { range: KeyRange::from_wire(request.key, request.range_end), prev_kv: request.prev_kv }
    }
}

impl From<DeleteRangeResponse> for pb::DeleteRangeResponse {
    fn from(response: DeleteRangeResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            deleted: response.deleted,
            prev_kvs: key_values(response.prev_kvs),
        }
    }
}

impl From<pb::CompactionRequest> for CompactRequest {
    fn from(request: pb::CompactionRequest) -> Self {
        Self { revision: request.revision, physical: request.physical }
    }
}

impl From<CompactResponse> for pb::CompactionResponse {
    fn from(response: CompactResponse) -> Self {
        Self { header: Some(response.header.into()) }
    }
}
