//! Limits that a client meets as typed errors.

use crate::support::*;
use coffer_core::request::{DeleteRangeRequest, PutRequest, RangeRequest, TxnOp, TxnRequest};
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange};
use coffer_rpc::{Client, ClientConfig, ServerConfig};
use std::time::Duration;

#[test]
fn too_many_watchers_are_refused_one_by_one() {
    let world = World::with(ServerConfig { watchers_max: 3, ..quick() });
    let mut stream = world.client.watch();
    for _ in 0..5 {
        stream.create(WatchRequest::new(KeyRange::all())).unwrap();
    }
    let mut told = Vec::new();
    while told.len() < 5 {
        told.extend(
            wait(stream.next()).unwrap().into_iter().map(|response| (response.watch_ids[0], response.kind)),
        );
    }
    told.sort_by_key(|(id, _)| *id);
    let refused = WatchKind::Canceled { reason: Error::TooManyRequests, compact_revision: 0 };
    for (id, kind) in told {
        assert_eq!(kind, if id < 3 { WatchKind::Created } else { refused.clone() }, "{id}");
    }
    // A cancelled one makes room.
    stream.cancel(0);
    wait(stream.next()).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(std::time::Instant::now() < end, "no room was made");
        stream.create(WatchRequest::new(KeyRange::all())).unwrap();
        if wait(stream.next()).unwrap()[0].kind == WatchKind::Created {
            break;
        }
    }
}

#[test]
fn a_client_limits_its_own_calls() {
    let world = World::new();
    let config = ClientConfig { in_flight_max: 10, ..ClientConfig::new(world.server.local_urls()) };
    let client = wait(Client::connect(config)).unwrap();
    let puts = (0..200).map(|i| client.put(put_request(format!("{i}"), "v")));
    let outcomes = wait(futures_util::future::join_all(puts));
    assert!(outcomes.iter().any(Result::is_ok));
    assert!(outcomes.contains(&Err(Error::TooManyRequests)));
}

#[test]
fn a_range_in_pieces_waits_for_its_turn() {
    let world = World::with(ServerConfig { range_streams_max: 1, ..quick() });
    let puts = (0..4000).map(|i| world.node.put(put_request(format!("k/{i:05}"), vec![1; 1 << 10])));
    for put in wait(futures_util::future::join_all(puts)) {
        put.unwrap();
    }
    let all = || RangeRequest::new(KeyRange::all());
    let mut first = world.client.range_stream(all());
    wait(first.next()).unwrap().unwrap();
    let hurried = world.client.with_deadline(Duration::from_secs(2));
    let refused = wait(hurried.range_stream(all()).collect());
    assert_eq!(refused, Err(Error::TooManyRequests), "while the first is not taken");
    let second = world.client.range_stream(all());
    drop(first);
    assert_eq!(wait(second.collect()).unwrap().kvs.len(), 4000);
}

#[test]
fn a_txn_that_asks_for_too_much_is_told_so() {
    let world = World::new();
    let puts = (0..2000).map(|number| world.node.put(put_request(format!("k/{number:04}"), "v")));
    assert!(wait(futures_util::future::join_all(puts)).iter().all(Result::is_ok));
    let ranges = |count| TxnRequest {
        success: vec![TxnOp::Range(RangeRequest::new(KeyRange::prefix("k/"))); count],
        ..TxnRequest::default()
    };
    assert!(wait(world.client.txn(ranges(100))).is_ok());
    assert_eq!(wait(world.client.txn(ranges(101))), Err(Error::TxnTooLarge));
}

#[test]
fn a_txn_and_a_deletion_whose_answers_are_too_large_are_told_so() {
    let world = World::new();
    for number in 0..34 {
        let put =
            PutRequest { value: vec![b'v'; 1 << 20].into(), ..put_request(format!("k/{number:02}"), "") };
        wait(world.node.put(put)).unwrap();
    }
    let all = KeyRange::prefix("k/");
    let read =
        TxnRequest { success: vec![TxnOp::Range(RangeRequest::new(all.clone()))], ..TxnRequest::default() };
    assert_eq!(wait(world.client.txn(read)), Err(Error::AnswerTooLarge));
    assert_eq!(wait(world.client.range(RangeRequest::new(all.clone()))).unwrap().kvs.len(), 34, "in pieces");
    let delete = DeleteRangeRequest { range: all.clone(), prev_kv: true };
    assert_eq!(wait(world.client.delete_range(delete)), Err(Error::DoneAnswerTooLarge));
    assert_eq!(wait(world.client.range(RangeRequest::new(all))).unwrap().count, 0);
}
