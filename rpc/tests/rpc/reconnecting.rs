//! Lost connections, other endpoints, deadlines.

use crate::proxy::Proxy;
use crate::support::*;
use coffer_core::request::*;
use coffer_core::{Error, ErrorGroup, KeyRange};
use coffer_rpc::{Client, ClientConfig, ServerConfig};
use futures_util::FutureExt;
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn nobody_there_is_said_at_once() {
    let begun = Instant::now();
    let config = ClientConfig::new(["coffer://127.0.0.1:1", "unix:///nowhere/coffer.sock"]);
    let error = wait(Client::connect(config)).unwrap_err();
    assert_eq!(error.group(), ErrorGroup::Retry);
    let Error::Unavailable(text) = error else { panic!("{error:?}") };
    assert!(text.contains("unix:///nowhere/coffer.sock"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let error = wait(Client::connect(ClientConfig::new(["http://127.0.0.1:1"]))).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    let error = wait(Client::connect(ClientConfig::new(Vec::<String>::new()))).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
}

#[test]
fn the_next_endpoint_takes_over() {
    let node = open_node();
    let first = serve(&node, "coffer://127.0.0.1:0", quick());
    let second = serve(&node, "coffer://127.0.0.1:0", quick());
    let endpoints = [&first, &second].map(|server| server.local_urls()[0].clone());
    let client = wait(Client::connect(ClientConfig::new(endpoints))).unwrap();
    put(&client, "k", "1");
    drop(first);
    assert_eq!(get(&client, "k").unwrap(), "1");
    put(&client, "k", "2");
    assert_eq!(get(&client, "k").unwrap(), "2");
    drop(second);
    let client = client.with_deadline(Duration::from_millis(300));
    let error = wait(client.put(put_request("k", "3"))).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_) | Error::ConnectionLost), "{error:?}");
    let error = wait(client.put(put_request("k", "3"))).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    node.shutdown();
}

#[test]
fn a_server_that_says_nothing_meets_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("coffer://{}", listener.local_addr().unwrap());
    let silent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink);
        sink.len()
    });
    let config = ClientConfig { connect_timeout: Duration::from_millis(200), ..ClientConfig::new([url]) };
    let error = wait(Client::connect(config)).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(silent.join().unwrap() > 0);
}

#[test]
fn a_silent_network_is_noticed_and_outcomes_are_unknown() {
    let world = World::new();
    let proxy = Proxy::new(&world.server.local_urls()[0]);
    let config = ClientConfig {
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(1),
        ..ClientConfig::new([proxy.url.clone(), world.server.local_urls()[0].clone()])
    };
    let client = wait(Client::connect(config)).unwrap();
    put(&client, "k", "1");
    proxy.fall_silent();
    let begun = Instant::now();
    let short = client.with_deadline(Duration::from_millis(100));
    assert_eq!(wait(short.put(put_request("k", "2"))), Err(Error::OutcomeUnknown));
    let read = wait(short.range(RangeRequest::new(KeyRange::all())));
    assert_eq!(read, Err(Error::Timeout));
    // A patient write learns that the connection is lost; a patient read is answered by another endpoint.
    assert_eq!(wait(client.put(put_request("k", "3"))), Err(Error::ConnectionLost));
    assert_eq!(get(&client, "k").unwrap(), "1");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_put_goes_on_after_its_client_left() {
    let (node, gate) = open_gated_node();
    let server = serve(&node, "coffer://127.0.0.1:0", quick());
    let client = connect(&server);
    put(&client, "before", "1");
    gate.close();
    let mut put = Box::pin(client.put(put_request("k", "v")));
    assert!((&mut put).now_or_never().is_none());
    until("the put at the log", || gate.waiting());
    drop(put);
    drop(client);
    until("the end of the connection", || server.stats().connections == 0);
    assert_eq!(wait(node.range(serializable("k"))).unwrap().count, 0, "the log is held up");
    gate.open();
    until("the put", || wait(node.range(serializable("k"))).unwrap().count == 1);
    server.shutdown();
    node.shutdown();
}

#[test]
fn a_server_that_takes_no_more_connections_is_asked_again() {
    let node = open_node();
    let first = serve(&node, "coffer://127.0.0.1:0", quick());
    let full = serve(&node, "coffer://127.0.0.1:0", ServerConfig { connections_max: 1, ..quick() });
    let occupant = connect(&full);
    let endpoints = [&first, &full].map(|server| server.local_urls()[0].clone());
    let client = wait(Client::connect(ClientConfig::new(endpoints))).unwrap();
    put(&client, "k", "1");
    drop(first);
    let reading = std::thread::spawn(move || get(&client, "k"));
    until("two refusals", || full.stats().refused >= 2);
    drop(occupant);
    assert_eq!(reading.join().unwrap().unwrap(), "1");
    drop(full);
    node.shutdown();
}

#[test]
fn requests_under_way_at_shutdown_are_answered() {
    let world = World::new();
    let puts: Vec<_> = (0..500)
        .map(|i| {
            let client = world.client.clone();
            std::thread::spawn(move || wait(client.put(put_request(format!("k{i}"), "v"))))
        })
        .collect();
    until("a put", || world.node.header().revision > 20);
    world.server.shutdown();
    let outcomes: Vec<_> = puts.into_iter().map(|put| put.join().unwrap()).collect();
    let stored = wait(world.node.range(RangeRequest::new(KeyRange::all()))).unwrap();
    for (i, outcome) in outcomes.iter().enumerate() {
        let key = format!("k{i}");
        let is_stored = stored.kvs.iter().any(|kv| kv.key == key.as_bytes());
        match outcome {
            Ok(_) => assert!(is_stored, "{key} was acknowledged"),
            Err(Error::Unavailable(_)) => assert!(!is_stored, "{key} surely did not happen"),
            Err(error) => assert!(error.is_maybe_committed(), "{error:?}"),
        }
    }
}
