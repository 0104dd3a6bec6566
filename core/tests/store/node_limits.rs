//! One request takes neither the memory nor the time of the others: through a whole node over the in-memory backend.

use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::*;
use coffer_core::state::TXN_LOOKS_MAX;
use coffer_core::storage::MemoryDisk;
use coffer_core::{Error, KeyRange};
use coffer_runtime::block_on;
use futures_util::future::{join_all, poll_fn};
use std::pin::pin;
use std::sync::Arc;

const KEYS: usize = 10_000;

fn open(config: NodeConfig) -> Node {
    let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
    Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens")
}

fn put(key: impl Into<String>, value: Vec<u8>) -> PutRequest {
    PutRequest { key: key.into().into(), value: value.into(), ..PutRequest::default() }
}

fn filled(config: NodeConfig, keys: usize, value_bytes: usize) -> Node {
    let node = open(config);
    block_on(async {
        let puts = (0..keys).map(|number| node.put(put(format!("k/{number:05}"), vec![b'v'; value_bytes])));
        join_all(puts).await.into_iter().for_each(|put| drop(put.expect("a put succeeds")));
    });
    node
}

fn all() -> RangeRequest {
    RangeRequest::new(KeyRange::prefix("k/"))
}

fn range(request: RangeRequest) -> TxnOp {
    TxnOp::Range(request)
}

fn txn(success: Vec<TxnOp>) -> TxnRequest {
    TxnRequest { success, ..TxnRequest::default() }
}

/// How often `work` let others have their turn, and what it came to.
fn turns<T>(work: impl Future<Output = T>) -> (usize, T) {
    let mut work = pin!(work);
    let mut polls = 0;
    let done = block_on(poll_fn(|context| {
        polls += 1;
        work.as_mut().poll(context)
    }));
    (polls, done)
}

#[test]
fn a_txn_that_asks_for_millions_of_keys_is_refused_and_changes_nothing() {
    let node = filled(NodeConfig::default(), KEYS, 5);
    let hostile = || vec![TxnOp::Txn(txn(vec![range(all()); 25])); 25];
    let revision = node.header().revision;
    assert_eq!(block_on(node.txn(txn(hostile()))), Err(Error::TxnTooLarge));
    for at in [0, 12, 25] {
        let mut writes = hostile();
        writes.insert(at, TxnOp::Put(put("k/x", vec![])));
        assert_eq!(block_on(node.txn(txn(writes))), Err(Error::TxnTooLarge));
    }
    assert_eq!(node.header().revision, revision);
    // At an old revision it is known later that it is too much, but no more is looked at either.
    let old = vec![range(RangeRequest { revision, ..all() }); 25];
    assert_eq!(block_on(node.txn(txn(old.clone()))), Err(Error::TxnTooLarge));
    let mut writes = old;
    writes.push(TxnOp::Put(put("x", vec![])));
    assert_eq!(block_on(node.txn(txn(writes))), Err(Error::DoneAnswerTooLarge));
    assert_eq!(node.header().revision, revision + 1);
}

#[test]
fn reading_and_writing_txns_may_look_at_as_much() {
    let node = filled(NodeConfig::default(), KEYS, 5);
    let looking_at = |keys: usize| {
        let mut ops = vec![range(all()); keys / KEYS];
        ops.push(range(RangeRequest { limit: (keys % KEYS) as i64, ..all() }));
        ops
    };
    let max = TXN_LOOKS_MAX as usize - 1;
    for (keys, fits) in [(max, true), (max + 2, false)] {
        let mut reads = looking_at(keys - 1);
        reads.push(range(RangeRequest::new(KeyRange::single("x"))));
        let mut writes = looking_at(keys - 1);
        writes.push(TxnOp::Put(put("x", vec![])));
        for request in [reads, writes] {
            let answer = block_on(node.txn(txn(request)));
            match answer {
                Ok(answer) => {
                    assert!(fits);
                    let TxnOpResponse::Range(first) = &answer.responses[0] else { panic!() };
                    assert_eq!((first.count, first.kvs.len()), (KEYS as i64, KEYS));
                }
                Err(error) => assert_eq!((error, fits), (Error::TxnTooLarge, false)),
            }
        }
    }
}

#[test]
fn an_answer_that_is_too_large_is_refused_and_a_write_says_that_it_was_made() {
    let config = NodeConfig { answer_bytes_max: 100_000, ..NodeConfig::default() };
    let node = filled(config, 30, 10_000);
    let some = |limit| range(RangeRequest { limit, ..all() });
    assert!(block_on(node.txn(txn(vec![some(4), some(5)]))).is_ok());
    assert_eq!(block_on(node.txn(txn(vec![some(4), some(7)]))), Err(Error::AnswerTooLarge));
    let mark = || TxnOp::Put(put("mark", vec![]));
    assert!(block_on(node.txn(txn(vec![mark(), some(9)]))).is_ok());
    let before = node.header().revision;
    assert_eq!(block_on(node.txn(txn(vec![mark(), some(11)]))), Err(Error::DoneAnswerTooLarge));
    assert_eq!(node.header().revision, before + 1, "it was made");
    let keys_only = range(RangeRequest { keys_only: true, ..all() });
    assert!(block_on(node.txn(txn(vec![keys_only, some(9)]))).is_ok(), "what is not read does not count");
    let delete = |start: &'static str, end: &'static str| DeleteRangeRequest {
        range: KeyRange::between(start, end),
        prev_kv: true,
    };
    let few = block_on(node.delete_range(delete("k/00000", "k/00009"))).unwrap();
    assert_eq!((few.deleted, few.prev_kvs.len()), (9, 9));
    assert_eq!(block_on(node.delete_range(delete("k/", "k0"))), Err(Error::DoneAnswerTooLarge));
    assert_eq!(block_on(node.range(all())).unwrap().count, 0, "they are gone");
    assert!(!Error::DoneAnswerTooLarge.is_retryable() && Error::DoneAnswerTooLarge.is_maybe_committed());
}

#[test]
fn long_requests_let_others_have_their_turn() {
    let node = filled(NodeConfig::default(), KEYS, 5);
    let few = KEYS / 4096;
    let sorted = RangeRequest { sort_target: SortTarget::Version, keys_only: true, ..all() };
    let by_value = RangeRequest { sort_target: SortTarget::Value, sort_order: SortOrder::Descend, ..all() };
    for (request, least) in [(sorted, 3 * few), (all(), KEYS / 300), (by_value, KEYS / 300)] {
        let (taken, answer) = turns(node.range(request));
        assert_eq!(answer.unwrap().count, KEYS as i64);
        assert!(taken >= least, "{taken} turns");
    }
    let compare = Compare {
        range: KeyRange::prefix("k/"),
        result: CompareResult::Equal,
        target: CompareTarget::Version(1),
    };
    let compares = TxnRequest { compare: vec![compare; 10], ..TxnRequest::default() };
    let (taken, answer) = turns(node.txn(compares));
    assert!(answer.unwrap().succeeded && taken >= 10 * few, "{taken} turns");
    let (taken, answer) = turns(node.txn(txn(vec![range(all()); 3])));
    assert!(answer.is_ok() && taken >= 3 * KEYS / 300, "{taken} turns");
    let writes = || txn(vec![TxnOp::Put(put("x", vec![])), range(all())]);
    let (taken, answer) = turns(node.txn(writes()));
    assert!(answer.is_ok() && taken >= KEYS / 300, "{taken} turns");
    let delete = DeleteRangeRequest { range: KeyRange::prefix("k/"), prev_kv: true };
    let (taken, answer) = turns(node.delete_range(delete));
    assert!(answer.unwrap().prev_kvs.len() == KEYS && taken >= KEYS / 300, "{taken} turns");
}
