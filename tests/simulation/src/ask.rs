//! An action of a history, asked of a node.

use bytes::Bytes;
use coffer_core::node::Node;
use coffer_core::request::*;
use coffer_core::{Error, KeyRange, LeaseId};
use coffer_tests::chaos::history::*;
use coffer_tests::chaos::load::{pair_of, range_of};

fn put_request(key: &str, value: &str, lease: i64) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: full_value(value),
        lease: LeaseId(lease),
        prev_kv: true,
        ..PutRequest::default()
    }
}

/// What [`shortened`] was made of: values of nodes are their own names, large ones are padded.
fn full_value(value: &str) -> Bytes {
    match value.split_once('…').and_then(|(text, length)| Some((text, length.parse().ok()?))) {
        Some((text, length)) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(length, b'.');
            bytes.into()
        }
        None => Bytes::copy_from_slice(value.as_bytes()),
    }
}

fn step_request(step: &Step) -> TxnOp {
    match step {
        Step::Put { key, value } => TxnOp::Put(put_request(key, value, 0)),
        Step::Delete { key } => {
            TxnOp::DeleteRange(DeleteRangeRequest { range: KeyRange::single(key.clone()), prev_kv: true })
        }
        Step::Get { key } => TxnOp::Range(RangeRequest::new(KeyRange::single(key.clone()))),
    }
}

fn step_answer(response: &TxnOpResponse) -> StepAnswer {
    match response {
        TxnOpResponse::Put(put) => StepAnswer::Put { before: put.prev_kv.as_ref().map(pair_of) },
        TxnOpResponse::DeleteRange(deleted) => {
            StepAnswer::Delete { before: deleted.prev_kvs.iter().map(pair_of).collect() }
        }
        TxnOpResponse::Range(range) => StepAnswer::Get { pairs: range.kvs.iter().map(pair_of).collect() },
        TxnOpResponse::Txn(_) => StepAnswer::Get { pairs: Vec::new() },
    }
}

/// Asks, and gives the answer as histories have it.
///
/// # Errors
/// What the node answers.
pub async fn ask(node: &Node, action: &Action) -> Result<(Header, Answer), Error> {
    match action {
        Action::Put { key, value, lease } => {
            let response = node.put(put_request(key, value, *lease)).await?;
            Ok((response.header, Answer::Put { before: response.prev_kv.as_ref().map(pair_of) }))
        }
        Action::Delete { keys } => {
            let request = DeleteRangeRequest { range: range_of(keys), prev_kv: true };
            let response = node.delete_range(request).await?;
            let before = response.prev_kvs.iter().map(pair_of).collect();
            Ok((response.header, Answer::Delete { deleted: response.deleted, before }))
        }
        Action::Txn { when, then, otherwise } => {
            let compare = when.iter().map(|(key, revision)| Compare {
                range: KeyRange::single(key.clone()),
                result: CompareResult::Equal,
                target: CompareTarget::Mod(*revision),
            });
            let request = TxnRequest {
                compare: compare.collect(),
                success: then.iter().map(step_request).collect(),
                failure: otherwise.iter().map(step_request).collect(),
            };
            let response = node.txn(request).await?;
            let steps = response.responses.iter().map(step_answer).collect();
            Ok((response.header, Answer::Txn { succeeded: response.succeeded, steps }))
        }
        Action::Read { keys, serializable, revision } => {
            let request = RangeRequest {
                serializable: *serializable,
                revision: *revision,
                ..RangeRequest::new(range_of(keys))
            };
            let response = node.range(request).await?;
            Ok((response.header, Answer::Read { pairs: response.kvs.iter().map(pair_of).collect() }))
        }
        Action::Grant { lease, ttl_s } => {
            let request = LeaseGrantRequest { ttl_s: *ttl_s, id: LeaseId(*lease) };
            let response = node.lease_grant(request).await?;
            Ok((response.header, Answer::Lease { ttl_s: response.ttl_s }))
        }
        Action::KeepAlive { lease } => {
            let response = node.lease_keep_alive(LeaseId(*lease)).await?;
            Ok((response.header, Answer::Lease { ttl_s: response.ttl_s }))
        }
        Action::Revoke { lease } => {
            let response = node.lease_revoke(LeaseId(*lease)).await?;
            Ok((response.header, Answer::Done))
        }
        Action::Compact { revision } => {
            let request = CompactRequest { revision: *revision, physical: false };
            let response = node.compact(request).await?;
            Ok((response.header, Answer::Done))
        }
    }
}
