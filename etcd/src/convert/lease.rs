//! Leases.

use crate::proto::etcdserverpb as pb;
use coffer_core::LeaseId;
use coffer_core::request::*;

impl From<pb::LeaseGrantRequest> for LeaseGrantRequest {
    fn from(request: pb::LeaseGrantRequest) -> Self {
        Self { ttl_s: request.ttl, id: LeaseId(request.id) }
    }
}

impl From<LeaseGrantResponse> for pb::LeaseGrantResponse {
    fn from(response: LeaseGrantResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            id: response.id.0,
            ttl: response.ttl_s,
            error: String::new(),
        }
    }
}

impl From<LeaseRevokeResponse> for pb::LeaseRevokeResponse {
    fn from(response: LeaseRevokeResponse) -> Self {
        Self { header: Some(response.header.into()) }
    }
}

impl From<LeaseKeepAliveResponse> for pb::LeaseKeepAliveResponse {
    fn from(response: LeaseKeepAliveResponse) -> Self {
        Self { header: Some(response.header.into()), id: response.id.0, ttl: response.ttl_s }
    }
}

impl From<pb::LeaseTimeToLiveRequest> for LeaseTimeToLiveRequest {
    fn from(request: pb::LeaseTimeToLiveRequest) -> Self {
        Self { id: LeaseId(request.id), keys: request.keys }
    }
}

impl From<LeaseTimeToLiveResponse> for pb::LeaseTimeToLiveResponse {
    fn from(response: LeaseTimeToLiveResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            id: response.id.0,
            ttl: response.ttl_s,
            granted_ttl: response.granted_ttl_s,
            keys: response.keys,
        }
    }
}

impl From<LeaseListResponse> for pb::LeaseLeasesResponse {
    fn from(response: LeaseListResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            leases: response.leases.into_iter().map(|lease| pb::LeaseStatus { id: lease.0 }).collect(),
        }
    }
}
