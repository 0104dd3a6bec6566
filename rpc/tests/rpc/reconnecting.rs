//! Lost connections, other endpoints, deadlines.

use crate::support::*;
use coffer_core::request::*;
use coffer_core::{Error, ErrorGroup, KeyRange};
use coffer_rpc::{Client, ClientConfig};
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
    assert!(begun.elapsed() < Duration::from_secs(4));
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

/// Passes bytes between a client and a server until told to stop.
struct Proxy {
    url: String,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Proxy {
    fn new(to: &str) -> Self {
        let to = to.strip_prefix("coffer://").unwrap().to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("coffer://{}", listener.local_addr().unwrap());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(server) = std::net::TcpStream::connect(&to) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let stopped = stopped.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 << 10];
                        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
                            // A stopped proxy swallows what comes: the network is gone and nobody is told.
                            let swallow = stopped.load(std::sync::atomic::Ordering::Relaxed);
                            if !swallow && std::io::Write::write_all(&mut to, &buffer[..bytes]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { url, stop }
    }
}

#[test]
fn a_silent_network_is_noticed_and_outcomes_are_unknown() {
    let world = World::new();
    let proxy = Proxy::new(&world.server.local_urls()[0]);
    let config = ClientConfig {
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_millis(200),
        ..ClientConfig::new([proxy.url.clone(), world.server.local_urls()[0].clone()])
    };
    let client = wait(Client::connect(config)).unwrap();
    put(&client, "k", "1");
    proxy.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let begun = Instant::now();
    let short = client.with_deadline(Duration::from_millis(100));
    assert_eq!(wait(short.put(put_request("k", "2"))), Err(Error::OutcomeUnknown));
    let read = wait(short.range(RangeRequest::new(KeyRange::all())));
    assert_eq!(read, Err(Error::Timeout));
    // A patient write learns that the connection is lost; a patient read is answered by another endpoint.
    assert_eq!(wait(client.put(put_request("k", "3"))), Err(Error::ConnectionLost));
    assert_eq!(get(&client, "k").unwrap(), "1");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
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
