//! Transactions. Nesting is limited by the depth that core allows, and by the reader's nesting limit before that.

use super::kv::*;
use super::{get_header, list_len, malformed, put_header};
use crate::schema::kv_capnp::{compare, txn_op, txn_op_response, txn_request, txn_response};
use bytes::Bytes;
use coffer_core::request::{
    Compare, CompareResult, CompareTarget, TxnOp, TxnOpResponse, TxnRequest, TxnResponse,
};
use coffer_core::{Error, LeaseId};

pub(crate) fn put_request(request: &TxnRequest, mut to: txn_request::Builder<'_>) {
    let mut compares = to.reborrow().init_compare(list_len(request.compare.len()));
    for (index, compare) in (0..).zip(&request.compare) {
        put_compare(compare, compares.reborrow().get(index));
    }
    put_ops(&request.success, to.reborrow().init_success(list_len(request.success.len())));
    put_ops(&request.failure, to.init_failure(list_len(request.failure.len())));
}

pub(crate) fn get_request(from: txn_request::Reader<'_>) -> Result<TxnRequest, Error> {
    Ok(TxnRequest {
        compare: from.get_compare().map_err(malformed)?.iter().map(get_compare).collect::<Result<_, _>>()?,
        success: from.get_success().map_err(malformed)?.iter().map(get_op).collect::<Result<_, _>>()?,
        failure: from.get_failure().map_err(malformed)?.iter().map(get_op).collect::<Result<_, _>>()?,
    })
}

fn put_compare(compare: &Compare, mut to: compare::Builder<'_>) {
    put_range(&compare.range, to.reborrow().init_range());
    to.set_result(match compare.result {
        CompareResult::Equal => compare::Result::Equal,
        CompareResult::Greater => compare::Result::Greater,
        CompareResult::Less => compare::Result::Less,
        CompareResult::NotEqual => compare::Result::NotEqual,
    });
    let mut target = to.init_target();
    match &compare.target {
        CompareTarget::Version(version) => target.set_version(*version),
        CompareTarget::Create(revision) => target.set_create(*revision),
        CompareTarget::Mod(revision) => target.set_mod(*revision),
        CompareTarget::Value(value) => target.set_value(value),
        CompareTarget::Lease(lease) => target.set_lease(lease.0),
    }
}

fn get_compare(from: compare::Reader<'_>) -> Result<Compare, Error> {
    Ok(Compare {
        range: from.get_range().and_then(get_range).map_err(malformed)?,
        result: match from.get_result() {
            Ok(compare::Result::Equal) => CompareResult::Equal,
            Ok(compare::Result::Greater) => CompareResult::Greater,
            Ok(compare::Result::Less) => CompareResult::Less,
            Ok(compare::Result::NotEqual) => CompareResult::NotEqual,
            Err(unknown) => {
                return Err(Error::InvalidArgument(format!("unknown compare result {}", unknown.0)));
            }
        },
        target: match from.get_target().which() {
            Ok(compare::target::Version(version)) => CompareTarget::Version(version),
            Ok(compare::target::Create(revision)) => CompareTarget::Create(revision),
            Ok(compare::target::Mod(revision)) => CompareTarget::Mod(revision),
            Ok(compare::target::Value(value)) => {
                CompareTarget::Value(Bytes::copy_from_slice(value.map_err(malformed)?))
            }
            Ok(compare::target::Lease(lease)) => CompareTarget::Lease(LeaseId(lease)),
            Err(unknown) => {
                return Err(Error::InvalidArgument(format!("unknown compare target {}", unknown.0)));
            }
        },
    })
}

fn put_ops(ops: &[TxnOp], mut to: capnp::struct_list::Builder<'_, txn_op::Owned>) {
    for (index, op) in (0..).zip(ops) {
        let to = to.reborrow().get(index);
        match op {
            TxnOp::Range(range) => put_range_request(range, to.init_range()),
            TxnOp::Put(put) => put_put_request(put, to.init_put()),
            TxnOp::DeleteRange(delete) => put_delete_range_request(delete, to.init_delete_range()),
            TxnOp::Txn(txn) => put_request(txn, to.init_txn()),
        }
    }
}

fn get_op(from: txn_op::Reader<'_>) -> Result<TxnOp, Error> {
    match from.which() {
        // As etcd does with an operation that holds nothing.
        Ok(txn_op::None(())) => Err(Error::KeyNotFound),
        Ok(txn_op::Range(range)) => Ok(TxnOp::Range(get_range_request(range.map_err(malformed)?)?)),
        Ok(txn_op::Put(put)) => Ok(TxnOp::Put(get_put_request(put.map_err(malformed)?)?)),
        Ok(txn_op::DeleteRange(delete)) => {
            Ok(TxnOp::DeleteRange(get_delete_range_request(delete.map_err(malformed)?)?))
        }
        Ok(txn_op::Txn(txn)) => Ok(TxnOp::Txn(get_request(txn.map_err(malformed)?)?)),
        Err(unknown) => Err(Error::InvalidArgument(format!("unknown txn operation {}", unknown.0))),
    }
}

pub(crate) fn put_response(response: &TxnResponse, mut to: txn_response::Builder<'_>) {
    put_header(&response.header, to.reborrow().init_header());
    to.set_succeeded(response.succeeded);
    let mut responses = to.init_responses(list_len(response.responses.len()));
    for (index, op) in (0..).zip(&response.responses) {
        let to = responses.reborrow().get(index);
        match op {
            TxnOpResponse::Range(range) => put_range_response(range, to.init_range()),
            TxnOpResponse::Put(put) => put_put_response(put, to.init_put()),
            TxnOpResponse::DeleteRange(delete) => put_delete_range_response(delete, to.init_delete_range()),
            TxnOpResponse::Txn(txn) => put_response(txn, to.init_txn()),
        }
    }
}

pub(crate) fn get_response(from: txn_response::Reader<'_>) -> capnp::Result<TxnResponse> {
    Ok(TxnResponse {
        header: get_header(from.get_header()?),
        succeeded: from.get_succeeded(),
        responses: from.get_responses()?.iter().map(get_op_response).collect::<capnp::Result<_>>()?,
    })
}

fn get_op_response(from: txn_op_response::Reader<'_>) -> capnp::Result<TxnOpResponse> {
    Ok(match from.which()? {
        txn_op_response::None(()) => {
            return Err(capnp::Error::failed("empty response of a txn operation".into()));
        }
        txn_op_response::Range(range) => TxnOpResponse::Range(get_range_response(range?)?),
        txn_op_response::Put(put) => TxnOpResponse::Put(get_put_response(put?)?),
        txn_op_response::DeleteRange(delete) => {
            TxnOpResponse::DeleteRange(get_delete_range_response(delete?)?)
        }
        txn_op_response::Txn(txn) => TxnOpResponse::Txn(get_response(txn?)?),
    })
}
