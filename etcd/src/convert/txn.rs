//! Transactions.

use crate::proto::etcdserverpb as pb;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::check::{self, Limits};
use coffer_core::{Error, KeyRange, LeaseId};
use pb::compare::{CompareResult as Relation, CompareTarget as Target, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

/// The txn that was asked for.
///
/// # Errors
/// What etcd finds first in it. Whether a key is put twice is not looked at: the node does that.
pub(crate) fn txn(request: pb::TxnRequest, limits: &Limits) -> Result<TxnRequest, Error> {
    check_in_order(&request, limits, limits.txn_ops_max)?;
    request.try_into()
}

/// Checks a txn in etcd's order, list by list, what has no meaning among the rest.
fn check_in_order(request: &pb::TxnRequest, limits: &Limits, ops_left: usize) -> Result<(), Error> {
    let used = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(ops_left) = ops_left.checked_sub(used) else { return Err(Error::TooManyOps) };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => drop(RangeRequest::try_from(range.clone())?),
            Some(Request::RequestPut(put)) => check::put(&put.clone().into(), limits)?,
            Some(Request::RequestDeleteRange(delete)) => check::delete_range(&delete.clone().into())?,
            Some(Request::RequestTxn(nested)) => check_in_order(nested, limits, ops_left)?,
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

impl TryFrom<pb::TxnRequest> for TxnRequest {
    type Error = Error;

    fn try_from(request: pb::TxnRequest) -> Result<Self, Error> {
        Ok(Self {
            compare: request.compare.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            success: request.success.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            failure: request.failure.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<pb::Compare> for Compare {
    type Error = Error;

    fn try_from(compare: pb::Compare) -> Result<Self, Error> {
        let result = match compare.result.try_into() {
            Ok(Relation::Equal) => CompareResult::Equal,
            Ok(Relation::Greater) => CompareResult::Greater,
            Ok(Relation::Less) => CompareResult::Less,
            Ok(Relation::NotEqual) => CompareResult::NotEqual,
            Err(_) => return Err(Error::InvalidArgument(format!("compare result {}", compare.result))),
        };
        // As in etcd, a union that does not belong to the target counts as absent, and an absent one as zero.
        let target = match (compare.target.try_into(), compare.target_union) {
            (Ok(Target::Version), Some(TargetUnion::Version(version))) => CompareTarget::Version(version),
            (Ok(Target::Version), _) => CompareTarget::Version(0),
            (Ok(Target::Create), Some(TargetUnion::CreateRevision(rev))) => CompareTarget::Create(rev),
            (Ok(Target::Create), _) => CompareTarget::Create(0),
            (Ok(Target::Mod), Some(TargetUnion::ModRevision(revision))) => CompareTarget::Mod(revision),
            (Ok(Target::Mod), _) => CompareTarget::Mod(0),
            (Ok(Target::Value), Some(TargetUnion::Value(value))) => CompareTarget::Value(value),
            (Ok(Target::Value), _) => CompareTarget::Value(Bytes::new()),
            (Ok(Target::Lease), Some(TargetUnion::Lease(lease))) => CompareTarget::Lease(LeaseId(lease)),
            (Ok(Target::Lease), _) => CompareTarget::Lease(LeaseId::NONE),
            (Err(_), _) => return Err(Error::InvalidArgument(format!("compare target {}", compare.target))),
        };
        Ok(Self { range: KeyRange::from_wire(compare.key, compare.range_end), result, target })
    }
}

impl TryFrom<pb::RequestOp> for TxnOp {
    type Error = Error;

    fn try_from(op: pb::RequestOp) -> Result<Self, Error> {
        Ok(match op.request {
            Some(Request::RequestRange(request)) => Self::Range(request.try_into()?),
            Some(Request::RequestPut(request)) => Self::Put(request.into()),
            Some(Request::RequestDeleteRange(request)) => Self::DeleteRange(request.into()),
            Some(Request::RequestTxn(request)) => Self::Txn(request.try_into()?),
            None => return Err(Error::KeyNotFound),
        })
    }
}

impl From<TxnResponse> for pb::TxnResponse {
    fn from(response: TxnResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            succeeded: response.succeeded,
            responses: response.responses.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<TxnOpResponse> for pb::ResponseOp {
    fn from(response: TxnOpResponse) -> Self {
        let response = match response {
            TxnOpResponse::Range(response) => Response::ResponseRange(response.into()),
            TxnOpResponse::Put(response) => Response::ResponsePut(response.into()),
            TxnOpResponse::DeleteRange(response) => Response::ResponseDeleteRange(response.into()),
            TxnOpResponse::Txn(response) => Response::ResponseTxn(response.into()),
        };
        Self { response: Some(response) }
    }
}
