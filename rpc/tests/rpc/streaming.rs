//! Ranges in pieces while connections break.

use crate::proxy::Proxy;
use crate::support::*;
use coffer_core::request::*;
use coffer_core::{Error, KeyRange, KeyValue};
use coffer_rpc::client::RangeStream;
use coffer_rpc::{Client, ClientConfig};
use std::time::{Duration, Instant};

const KEYS: usize = 4000;
/// The keys with their values are four times as much.
const CUT_AFTER: usize = 1 << 20;

/// Keys of 1 KiB, and a client that reaches the server through a proxy.
fn world() -> (World, Proxy, Client) {
    let world = World::new();
    let puts = (0..KEYS).map(|i| world.node.put(put_request(format!("k/{i:05}"), vec![1; 1 << 10])));
    for put in wait(futures_util::future::join_all(puts)) {
        put.unwrap();
    }
    let proxy = Proxy::new(&world.server.local_urls()[0]);
    let client = wait(Client::connect(ClientConfig::new([proxy.url.clone()]))).unwrap();
    (world, proxy, client)
}

fn request() -> RangeRequest {
    RangeRequest::new(KeyRange::prefix("k/"))
}

fn keys(kvs: &[KeyValue]) -> Vec<&[u8]> {
    kvs.iter().map(|kv| &kv.key[..]).collect()
}

/// Takes pieces until there is none, or an error.
fn rest(stream: &mut RangeStream) -> (Vec<KeyValue>, Result<(), Error>) {
    let mut kvs = Vec::new();
    loop {
        match wait(stream.next()) {
            Ok(Some(pairs)) => kvs.extend(pairs),
            Ok(None) => return (kvs, Ok(())),
            Err(error) => return (kvs, Err(error)),
        }
    }
}

#[test]
fn a_broken_stream_goes_on_where_it_was_at_its_revision() {
    let (world, proxy, client) = world();
    let whole = wait(world.node.range(request())).unwrap();
    proxy.cut_after(CUT_AFTER);
    let mut stream = client.range_stream(request());
    let mut kvs = wait(stream.next()).unwrap().unwrap();
    // What is written from now on is not in the range, before the cut and after it.
    wait(world.node.put(put_request("k/03999", "changed"))).unwrap();
    wait(world.node.put(put_request("k/03999/new", "added"))).unwrap();
    let (more, ended) = rest(&mut stream);
    assert_eq!(ended, Ok(()));
    assert!(proxy.has_cut());
    kvs.extend(more);
    assert_eq!(kvs, whole.kvs);
    let end = stream.end().unwrap();
    assert_eq!((end.count, end.more), (KEYS as i64, false));
}

#[test]
fn a_limit_holds_over_broken_connections() {
    let (world, proxy, client) = world();
    for (limit, more) in [(KEYS - 1, true), (KEYS, false), (KEYS + 1, false)] {
        let limited = RangeRequest { limit: limit as i64, ..request() };
        let whole = wait(world.node.range(limited.clone())).unwrap();
        proxy.cut_after(CUT_AFTER);
        let streamed = wait(client.range_stream(limited).collect()).unwrap();
        assert!(proxy.has_cut());
        assert_eq!(keys(&streamed.kvs), keys(&whole.kvs));
        assert_eq!((streamed.count, streamed.more), (KEYS as i64, more), "{limit}");
    }
}

#[test]
fn an_order_that_has_no_place_to_go_on_from_ends_with_an_error() {
    let (_world, proxy, client) = world();
    let sorted = RangeRequest { sort_target: SortTarget::Mod, sort_order: SortOrder::Descend, ..request() };
    proxy.cut_after(CUT_AFTER);
    let mut stream = client.range_stream(sorted.clone());
    let (kvs, ended) = rest(&mut stream);
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    assert!(proxy.has_cut());
    assert!((1..KEYS).contains(&kvs.len()), "{}", kvs.len());
    assert!(wait(stream.next()).is_err(), "nothing follows an error");
    assert_eq!(wait(client.range_stream(sorted).collect()).unwrap().kvs.len(), KEYS, "the client goes on");
}

#[test]
fn a_server_that_does_not_come_back_ends_a_stream_by_its_deadline() {
    let (world, _proxy, client) = world();
    let client = client.with_deadline(Duration::from_millis(300));
    let mut stream = client.range_stream(request());
    wait(stream.next()).unwrap().unwrap();
    world.server.shutdown();
    let begun = Instant::now();
    let (kvs, ended) = rest(&mut stream);
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    assert!(kvs.len() < KEYS);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
