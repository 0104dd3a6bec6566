//! Leases.

use super::{get_header, list_len, put_header};
use crate::schema::lease_capnp::*;
use bytes::Bytes;
use coffer_core::LeaseId;
use coffer_core::request::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseListResponse, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

pub(crate) fn put_grant_request(request: &LeaseGrantRequest, mut to: lease_grant_request::Builder<'_>) {
    to.set_ttl(request.ttl_s);
    to.set_id(request.id.0);
}

pub(crate) fn get_grant_request(from: lease_grant_request::Reader<'_>) -> LeaseGrantRequest {
    LeaseGrantRequest { ttl_s: from.get_ttl(), id: LeaseId(from.get_id()) }
}

pub(crate) fn put_grant_response(response: &LeaseGrantResponse, mut to: lease_grant_response::Builder<'_>) {
    to.set_id(response.id.0);
    to.set_ttl(response.ttl_s);
    put_header(&response.header, to.init_header());
}

pub(crate) fn get_grant_response(
    from: lease_grant_response::Reader<'_>,
) -> capnp::Result<LeaseGrantResponse> {
    Ok(LeaseGrantResponse {
        header: get_header(from.get_header()?),
        id: LeaseId(from.get_id()),
        ttl_s: from.get_ttl(),
    })
}

pub(crate) fn put_revoke_response(response: &LeaseRevokeResponse, to: lease_revoke_response::Builder<'_>) {
    put_header(&response.header, to.init_header());
}

pub(crate) fn get_revoke_response(
    from: lease_revoke_response::Reader<'_>,
) -> capnp::Result<LeaseRevokeResponse> {
    Ok(LeaseRevokeResponse { header: get_header(from.get_header()?) })
}

pub(crate) fn put_keep_alive_response(
    response: &LeaseKeepAliveResponse,
    mut to: lease_keep_alive_response::Builder<'_>,
) {
    to.set_id(response.id.0);
    to.set_ttl(response.ttl_s);
    put_header(&response.header, to.init_header());
}

pub(crate) fn get_keep_alive_response(
    from: lease_keep_alive_response::Reader<'_>,
) -> capnp::Result<LeaseKeepAliveResponse> {
    Ok(LeaseKeepAliveResponse {
        header: get_header(from.get_header()?),
        id: LeaseId(from.get_id()),
        ttl_s: from.get_ttl(),
    })
}

pub(crate) fn put_time_to_live_request(
    request: &LeaseTimeToLiveRequest,
    mut to: lease_time_to_live_request::Builder<'_>,
) {
    to.set_id(request.id.0);
    to.set_keys(request.keys);
}

pub(crate) fn get_time_to_live_request(
    from: lease_time_to_live_request::Reader<'_>,
) -> LeaseTimeToLiveRequest {
    LeaseTimeToLiveRequest { id: LeaseId(from.get_id()), keys: from.get_keys() }
}

pub(crate) fn put_time_to_live_response(
    response: &LeaseTimeToLiveResponse,
    mut to: lease_time_to_live_response::Builder<'_>,
) {
    put_header(&response.header, to.reborrow().init_header());
    to.set_id(response.id.0);
    to.set_ttl(response.ttl_s);
    to.set_granted_ttl(response.granted_ttl_s);
    let mut keys = to.init_keys(list_len(response.keys.len()));
    for (index, key) in (0..).zip(&response.keys) {
        keys.set(index, key);
    }
}

pub(crate) fn get_time_to_live_response(
    from: lease_time_to_live_response::Reader<'_>,
) -> capnp::Result<LeaseTimeToLiveResponse> {
    Ok(LeaseTimeToLiveResponse {
        header: get_header(from.get_header()?),
        id: LeaseId(from.get_id()),
        ttl_s: from.get_ttl(),
        granted_ttl_s: from.get_granted_ttl(),
        keys: from
            .get_keys()?
            .iter()
            .map(|key| Ok(Bytes::copy_from_slice(key?)))
            .collect::<capnp::Result<_>>()?,
    })
}

pub(crate) fn put_list_response(response: &LeaseListResponse, mut to: lease_list_response::Builder<'_>) {
    put_header(&response.header, to.reborrow().init_header());
    let mut leases = to.init_leases(list_len(response.leases.len()));
    for (index, lease) in (0..).zip(&response.leases) {
        leases.set(index, lease.0);
    }
}

pub(crate) fn get_list_response(from: lease_list_response::Reader<'_>) -> capnp::Result<LeaseListResponse> {
    Ok(LeaseListResponse {
        header: get_header(from.get_header()?),
        leases: from.get_leases()?.iter().map(LeaseId).collect(),
    })
}
