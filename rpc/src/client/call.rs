//! The calls: encode, send, decode. Each sends before it first returns, so that calls go out in order.

use super::connection::{Answer, Connection};
use crate::schema::kv_capnp::range_sink;
use crate::schema::maintenance_capnp::{members_result, snapshot_stream};
use crate::schema::types_capnp;
use crate::wire::{self, size};
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::storage::SnapshotHead;
use coffer_core::{Error, LeaseId};

/// What the server says. Of replies that are too large to send only [`range`] knows another way to get them.
fn refused<T>(error: capnp::Result<types_capnp::error::Reader<'_>>) -> capnp::Result<Result<T, Error>> {
    Ok(Err(wire::error::get(error?)?.unwrap_or(Error::AnswerTooLarge)))
}

/// `None` if the answer is too large for one message.
pub(super) fn range(
    to: &Connection,
    request: &RangeRequest,
    ms: u32,
) -> impl Answer<Option<RangeResponse>> + use<> {
    use crate::schema::kv_capnp::range_result::Which;
    let keys = request.range.start().len() + request.range.wire_end().len();
    to.link.expect_words(size::FRAME_WORDS + size::bytes(keys));
    let mut call = to.kv.range_request();
    wire::kv::put_range_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(Some(wire::kv::get_range_response(ok?)?))),
            Which::Err(error) => Ok(wire::error::get(error?)?.map_or(Ok(None), Err)),
        }
    }
}

pub(super) fn range_stream(
    to: &Connection,
    request: &RangeRequest,
    sink: range_sink::Client,
) -> impl Answer<RangeResponse> + use<> {
    use crate::schema::kv_capnp::range_result::Which;
    let mut call = to.kv.range_stream_request();
    let mut params = call.get();
    wire::kv::put_range_request(request, params.reborrow().init_request());
    params.set_sink(sink);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.get_result()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::kv::get_range_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn put(to: &Connection, request: &PutRequest, ms: u32) -> impl Answer<PutResponse> + use<> {
    use crate::schema::kv_capnp::put_result::Which;
    let words = size::bytes(request.key.len()) + size::bytes(request.value.len());
    to.link.expect_words(size::FRAME_WORDS + words);
    let mut call = to.kv.put_request();
    wire::kv::put_put_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::kv::get_put_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn delete_range(
    to: &Connection,
    request: &DeleteRangeRequest,
    ms: u32,
) -> impl Answer<DeleteRangeResponse> + use<> {
    use crate::schema::kv_capnp::delete_range_result::Which;
    let mut call = to.kv.delete_range_request();
    wire::kv::put_delete_range_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::kv::get_delete_range_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn txn(to: &Connection, request: &TxnRequest, ms: u32) -> impl Answer<TxnResponse> + use<> {
    use crate::schema::kv_capnp::txn_result::Which;
    to.link.expect_words(size::txn_request(request));
    let mut call = to.kv.txn_request();
    wire::txn::put_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::txn::get_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn compact(
    to: &Connection,
    request: &CompactRequest,
    ms: u32,
) -> impl Answer<CompactResponse> + use<> {
    use crate::schema::kv_capnp::compact_result::Which;
    let mut call = to.kv.compact_request();
    wire::kv::put_compact_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::kv::get_compact_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn lease_grant(
    to: &Connection,
    request: &LeaseGrantRequest,
    ms: u32,
) -> impl Answer<LeaseGrantResponse> + use<> {
    use crate::schema::lease_capnp::lease_grant_result::Which;
    let mut call = to.lease.grant_request();
    wire::lease::put_grant_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::lease::get_grant_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn lease_revoke(
    to: &Connection,
    id: LeaseId,
    ms: u32,
) -> impl Answer<LeaseRevokeResponse> + use<> {
    use crate::schema::lease_capnp::lease_revoke_result::Which;
    let mut call = to.lease.revoke_request();
    call.get().set_id(id.0);
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::lease::get_revoke_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn lease_keep_alive(
    to: &Connection,
    id: LeaseId,
    ms: u32,
) -> impl Answer<LeaseKeepAliveResponse> + use<> {
    use crate::schema::lease_capnp::lease_keep_alive_result::Which;
    let mut call = to.lease.keep_alive_request();
    call.get().set_id(id.0);
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::lease::get_keep_alive_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn lease_keep_alive_many(
    to: &Connection,
    ids: &[LeaseId],
    ms: u32,
) -> impl Answer<Vec<Result<LeaseKeepAliveResponse, Error>>> + use<> {
    use crate::schema::lease_capnp::lease_keep_alive_many_result::Which;
    use crate::schema::lease_capnp::lease_keep_alive_result;
    to.link.expect_words(size::FRAME_WORDS + ids.len());
    let mut call = to.lease.keep_alive_many_request();
    call.get().set_deadline_ms(ms);
    let mut list = call.get().init_ids(wire::list_len(ids.len()));
    for (index, id) in (0..).zip(ids) {
        list.set(index, id.0);
    }
    let promise = call.send().promise;
    async move {
        let response = promise.await?;
        let results = match response.get()?.which()? {
            Which::Ok(ok) => ok?.get_results()?,
            Which::Err(error) => return refused(error),
        };
        let one = |result: lease_keep_alive_result::Reader<'_>| match result.which()? {
            lease_keep_alive_result::Ok(ok) => Ok(Ok(wire::lease::get_keep_alive_response(ok?)?)),
            lease_keep_alive_result::Err(error) => refused(error),
        };
        Ok(Ok(results.iter().map(one).collect::<capnp::Result<_>>()?))
    }
}

pub(super) fn lease_time_to_live(
    to: &Connection,
    request: &LeaseTimeToLiveRequest,
    ms: u32,
) -> impl Answer<LeaseTimeToLiveResponse> + use<> {
    use crate::schema::lease_capnp::lease_time_to_live_result::Which;
    let mut call = to.lease.time_to_live_request();
    wire::lease::put_time_to_live_request(request, call.get());
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::lease::get_time_to_live_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn lease_list(to: &Connection, ms: u32) -> impl Answer<LeaseListResponse> + use<> {
    use crate::schema::lease_capnp::lease_list_result::Which;
    let mut call = to.lease.list_request();
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::lease::get_list_response(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn hash_kv(to: &Connection, revision: i64, ms: u32) -> impl Answer<HashKvResponse> + use<> {
    use crate::schema::maintenance_capnp::hash_kv_result::Which;
    let mut call = to.maintenance.hash_kv_request();
    call.get().set_revision(revision);
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::maintenance::get_hash_kv(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

/// What a snapshot says of itself, and where its bytes are to be had.
pub(super) fn snapshot(
    to: &Connection,
    ms: u32,
) -> impl Answer<(SnapshotHead, snapshot_stream::Client)> + use<> {
    use crate::schema::maintenance_capnp::snapshot_result::Which;
    let mut call = to.maintenance.snapshot_request();
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => {
                let ok = ok?;
                Ok(Ok((wire::maintenance::get_snapshot_head(ok), ok.get_stream()?)))
            }
            Which::Err(error) => refused(error),
        }
    }
}

/// The next bytes of a snapshot; none at its end.
pub(super) fn snapshot_bytes(stream: &snapshot_stream::Client) -> impl Answer<Bytes> + use<> {
    use crate::schema::maintenance_capnp::snapshot_chunk::Which;
    let promise = stream.next_request().send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Bytes(bytes) => Ok(Ok(Bytes::copy_from_slice(bytes?))),
            Which::End(()) => Ok(Ok(Bytes::new())),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn status(to: &Connection, ms: u32) -> impl Answer<StatusResponse> + use<> {
    use crate::schema::maintenance_capnp::status_result::Which;
    let mut call = to.maintenance.status_request();
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move {
        match promise.await?.get()?.which()? {
            Which::Ok(ok) => Ok(Ok(wire::maintenance::get_status(ok?)?)),
            Which::Err(error) => refused(error),
        }
    }
}

pub(super) fn member_list(
    to: &Connection,
    linearizable: bool,
    ms: u32,
) -> impl Answer<MembersResponse> + use<> {
    let mut call = to.cluster.list_request();
    call.get().set_linearizable(linearizable);
    call.get().set_deadline_ms(ms);
    let promise = call.send().promise;
    async move { members(promise.await?.get()?) }
}

pub(super) fn member_change(
    to: &Connection,
    request: &MemberRequest,
    ms: u32,
) -> impl Answer<MembersResponse> + use<> {
    let mut call = to.cluster.change_request();
    call.get().set_deadline_ms(ms);
    wire::maintenance::put_member_request(request, call.get());
    let promise = call.send().promise;
    async move { members(promise.await?.get()?) }
}

fn members(result: members_result::Reader<'_>) -> capnp::Result<Result<MembersResponse, Error>> {
    match result.which()? {
        members_result::Which::Ok(ok) => Ok(Ok(wire::maintenance::get_members(ok?)?)),
        members_result::Which::Err(error) => refused(error),
    }
}
