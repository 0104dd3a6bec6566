//! How many words messages take, so that each is built in one allocation. Estimates err on the large side.

use coffer_core::KeyValue;
use coffer_core::request::{CompareTarget, RangeResponse, TxnOp, TxnOpResponse, TxnRequest, TxnResponse};
use coffer_core::watch::{WatchKind, WatchResponse};

/// Room for the RPC frame, the union around an answer, its header and its scalars.
pub(crate) const FRAME_WORDS: usize = 48;
const KEY_VALUE_WORDS: usize = 6;
const OP_WORDS: usize = 24;

/// Words of a byte string.
pub(crate) fn bytes(len: usize) -> usize {
    len.div_ceil(8)
}

pub(crate) fn key_value(kv: &KeyValue) -> usize {
    KEY_VALUE_WORDS + bytes(kv.key.len()) + bytes(kv.value.len())
}

pub(crate) fn key_values(kvs: &[KeyValue]) -> usize {
    1 + kvs.iter().map(key_value).sum::<usize>()
}

pub(crate) fn range_response(response: &RangeResponse) -> usize {
    FRAME_WORDS + key_values(&response.kvs)
}

pub(crate) fn txn_response(response: &TxnResponse) -> usize {
    let op = |op: &TxnOpResponse| match op {
        TxnOpResponse::Range(range) => range_response(range),
        TxnOpResponse::Put(put) => OP_WORDS + put.prev_kv.as_ref().map_or(0, key_value),
        TxnOpResponse::DeleteRange(delete) => OP_WORDS + key_values(&delete.prev_kvs),
        TxnOpResponse::Txn(txn) => txn_response(txn),
    };
    FRAME_WORDS + response.responses.iter().map(op).sum::<usize>()
}

pub(crate) fn txn_request(request: &TxnRequest) -> usize {
    let op = |op: &TxnOp| {
        OP_WORDS
            + match op {
                TxnOp::Range(range) => bytes(range.range.start().len()) + bytes(range.range.wire_end().len()),
                TxnOp::Put(put) => bytes(put.key.len()) + bytes(put.value.len()),
                TxnOp::DeleteRange(delete) => {
                    bytes(delete.range.start().len()) + bytes(delete.range.wire_end().len())
                }
                TxnOp::Txn(txn) => txn_request(txn),
            }
    };
    let compares = request.compare.iter().map(|compare| {
        let value = if let CompareTarget::Value(value) = &compare.target { value.len() } else { 0 };
        OP_WORDS + bytes(compare.range.start().len()) + bytes(compare.range.wire_end().len()) + bytes(value)
    });
    let ops = request.success.iter().chain(&request.failure).map(op);
    FRAME_WORDS + compares.sum::<usize>() + ops.sum::<usize>()
}

pub(crate) fn watch_response(response: &WatchResponse) -> usize {
    let events = match &response.kind {
        WatchKind::Events { events, .. } => events
            .iter()
            .map(|event| {
                let record = &event.event.record;
                4 + KEY_VALUE_WORDS
                    + bytes(record.key.len())
                    + bytes(record.value.len())
                    + event.prev_kv.as_ref().map_or(0, key_value)
            })
            .sum(),
        _ => 16,
    };
    8 + response.watch_ids.len() + events
}
