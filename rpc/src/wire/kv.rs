//! Range, put, delete range, compact.

use super::{copy_pair, get_header, get_key_value, get_key_values, malformed, put_header, put_key_value};
use super::{list_len, put_key_values};
use crate::schema::kv_capnp::*;
use bytes::Bytes;
use coffer_core::request::{
    CompactRequest, CompactResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, SortOrder, SortTarget,
};
use coffer_core::{Error, KeyRange, LeaseId};

pub(crate) fn put_range(range: &KeyRange, mut to: key_range::Builder<'_>) {
    to.set_key(range.start());
    to.set_end(&range.wire_end());
}

pub(crate) fn get_range(from: key_range::Reader<'_>) -> capnp::Result<KeyRange> {
    let end = Bytes::copy_from_slice(from.get_end()?);
    Ok(KeyRange::from_wire(Bytes::copy_from_slice(from.get_key()?), end))
}

pub(crate) fn put_range_request(request: &RangeRequest, mut to: range_request::Builder<'_>) {
    put_range(&request.range, to.reborrow().init_range());
    to.set_limit(request.limit);
    to.set_revision(request.revision);
    to.set_sort_order(match request.sort_order {
        SortOrder::None => range_request::SortOrder::None,
        SortOrder::Ascend => range_request::SortOrder::Ascend,
        SortOrder::Descend => range_request::SortOrder::Descend,
    });
    to.set_sort_target(match request.sort_target {
        SortTarget::Key => range_request::SortTarget::Key,
        SortTarget::Version => range_request::SortTarget::Version,
        SortTarget::Create => range_request::SortTarget::Create,
        SortTarget::Mod => range_request::SortTarget::Mod,
        SortTarget::Value => range_request::SortTarget::Value,
    });
    to.set_serializable(request.serializable);
    to.set_keys_only(request.keys_only);
    to.set_count_only(request.count_only);
    to.set_min_mod_revision(request.min_mod_revision);
    to.set_max_mod_revision(request.max_mod_revision);
    to.set_min_create_revision(request.min_create_revision);
    to.set_max_create_revision(request.max_create_revision);
}

pub(crate) fn get_range_request(from: range_request::Reader<'_>) -> Result<RangeRequest, Error> {
    let range = from.get_range().and_then(get_range).map_err(malformed)?;
    Ok(RangeRequest {
        range,
        limit: from.get_limit(),
        revision: from.get_revision(),
        sort_order: match from.get_sort_order() {
            Ok(range_request::SortOrder::None) => SortOrder::None,
            Ok(range_request::SortOrder::Ascend) => SortOrder::Ascend,
            Ok(range_request::SortOrder::Descend) => SortOrder::Descend,
            Err(capnp::NotInSchema(_)) => return Err(Error::InvalidSortOption),
        },
        sort_target: match from.get_sort_target() {
            Ok(range_request::SortTarget::Key) => SortTarget::Key,
            Ok(range_request::SortTarget::Version) => SortTarget::Version,
            Ok(range_request::SortTarget::Create) => SortTarget::Create,
            Ok(range_request::SortTarget::Mod) => SortTarget::Mod,
            Ok(range_request::SortTarget::Value) => SortTarget::Value,
            Err(capnp::NotInSchema(_)) => return Err(Error::InvalidSortOption),
        },
        serializable: from.get_serializable(),
        keys_only: from.get_keys_only(),
        count_only: from.get_count_only(),
        min_mod_revision: from.get_min_mod_revision(),
        max_mod_revision: from.get_max_mod_revision(),
        min_create_revision: from.get_min_create_revision(),
        max_create_revision: from.get_max_create_revision(),
    })
}

pub(crate) fn put_range_response(response: &RangeResponse, mut to: range_response::Builder<'_>) {
    put_header(&response.header, to.reborrow().init_header());
    to.set_more(response.more);
    to.set_count(response.count);
    put_key_values(&response.kvs, to.init_kvs(list_len(response.kvs.len())));
}

pub(crate) fn get_range_response(from: range_response::Reader<'_>) -> capnp::Result<RangeResponse> {
    Ok(RangeResponse {
        header: get_header(from.get_header()?),
        kvs: get_key_values(from.get_kvs()?)?,
        more: from.get_more(),
        count: from.get_count(),
    })
}

pub(crate) fn put_put_request(request: &PutRequest, mut to: put_request::Builder<'_>) {
    to.set_key(&request.key);
    to.set_value(&request.value);
    to.set_lease(request.lease.0);
    to.set_prev_kv(request.prev_kv);
    to.set_ignore_value(request.ignore_value);
    to.set_ignore_lease(request.ignore_lease);
}

pub(crate) fn get_put_request(from: put_request::Reader<'_>) -> Result<PutRequest, Error> {
    let (key, value) = copy_pair(from.get_key().map_err(malformed)?, from.get_value().map_err(malformed)?);
    Ok(PutRequest {
        key,
        value,
        lease: LeaseId(from.get_lease()),
        prev_kv: from.get_prev_kv(),
        ignore_value: from.get_ignore_value(),
        ignore_lease: from.get_ignore_lease(),
    })
}

pub(crate) fn put_put_response(response: &PutResponse, mut to: put_response::Builder<'_>) {
    put_header(&response.header, to.reborrow().init_header());
    if let Some(kv) = &response.prev_kv {
        put_key_value(kv, to.init_prev_kv());
    }
}

pub(crate) fn get_put_response(from: put_response::Reader<'_>) -> capnp::Result<PutResponse> {
    let prev_kv = if from.has_prev_kv() { Some(get_key_value(from.get_prev_kv()?)?) } else { None };
    Ok(PutResponse { header: get_header(from.get_header()?), prev_kv })
}

pub(crate) fn put_delete_range_request(
    request: &DeleteRangeRequest,
    mut to: delete_range_request::Builder<'_>,
) {
    to.set_prev_kv(request.prev_kv);
    put_range(&request.range, to.init_range());
}

pub(crate) fn get_delete_range_request(
    from: delete_range_request::Reader<'_>,
) -> Result<DeleteRangeRequest, Error> {
    let range = from.get_range().and_then(get_range).map_err(malformed)?;
    Ok(DeleteRangeRequest { range, prev_kv: from.get_prev_kv() })
}

pub(crate) fn put_delete_range_response(
    response: &DeleteRangeResponse,
    mut to: delete_range_response::Builder<'_>,
) {
    put_header(&response.header, to.reborrow().init_header());
    to.set_deleted(response.deleted);
    put_key_values(&response.prev_kvs, to.init_prev_kvs(list_len(response.prev_kvs.len())));
}

pub(crate) fn get_delete_range_response(
    from: delete_range_response::Reader<'_>,
) -> capnp::Result<DeleteRangeResponse> {
    Ok(DeleteRangeResponse {
        header: get_header(from.get_header()?),
        deleted: from.get_deleted(),
        prev_kvs: get_key_values(from.get_prev_kvs()?)?,
    })
}

pub(crate) fn put_compact_request(request: &CompactRequest, mut to: compact_request::Builder<'_>) {
    to.set_revision(request.revision);
    to.set_physical(request.physical);
}

pub(crate) fn get_compact_request(from: compact_request::Reader<'_>) -> CompactRequest {
    CompactRequest { revision: from.get_revision(), physical: from.get_physical() }
}

pub(crate) fn put_compact_response(response: &CompactResponse, to: compact_response::Builder<'_>) {
    put_header(&response.header, to.init_header());
}

pub(crate) fn get_compact_response(from: compact_response::Reader<'_>) -> capnp::Result<CompactResponse> {
    Ok(CompactResponse { header: get_header(from.get_header()?) })
}
