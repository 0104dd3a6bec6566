//! Listening, limits of connections, shutdown.

use crate::support::*;
use coffer_core::Error;
use coffer_rpc::{Client, ClientConfig, ServeError, Server, ServerConfig};
use std::time::{Duration, Instant};

#[test]
fn one_server_on_several_urls() {
    let node = open_node();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coffer.sock");
    let urls = ["coffer://127.0.0.1:0".to_owned(), format!("unix://{}", path.display())];
    let server = Server::start(node.clone(), &urls, quick()).unwrap();
    assert!(!server.local_urls()[0].ends_with(":0"));
    for url in server.local_urls() {
        let client = wait(Client::connect(ClientConfig::new([url.clone()]))).unwrap();
        put(&client, url.clone(), "v");
    }
    server.shutdown();
    assert!(!path.exists());
    server.shutdown();
    node.shutdown();
}

#[test]
fn urls_that_cannot_be_served_are_named() {
    let node = open_node();
    let server = serve(&node, "coffer://127.0.0.1:0", quick());
    let start = |url: &str| Server::start(node.clone(), &[url.to_owned()], quick()).map(drop);
    let taken = &server.local_urls()[0];
    let error = start(taken).unwrap_err();
    assert!(matches!(&error, ServeError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(taken) && error.to_string().contains("in use"), "{error}");
    assert!(matches!(start("http://127.0.0.1:0"), Err(ServeError::Url(_))));
    assert!(matches!(start("unix:///nowhere/at/all.sock"), Err(ServeError::Listen { .. })));
    drop(server);
    node.shutdown();
}

#[test]
fn a_socket_file_left_by_a_dead_server_is_replaced() {
    let node = open_node();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coffer.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = serve(&node, &format!("unix://{}", path.display()), quick());
    put(&connect(&server), "k", "v");
    let taken = Server::start(node.clone(), server.local_urls(), quick());
    assert!(matches!(taken, Err(ServeError::Listen { .. })), "a living server keeps its file");
    put(&connect(&server), "k", "v");
    drop(server);
    node.shutdown();
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let world = World::with(ServerConfig { connections_max: 2, ..quick() });
    let _second = connect(&world.server);
    let third = wait(Client::connect(ClientConfig::new(world.server.local_urls())));
    assert!(matches!(third, Err(Error::Unavailable(_))), "{third:?}");
    assert!(world.server.stats().refused >= 1);
    put(&world.client, "k", "v");
}

#[test]
fn shutdown_closes_idle_connections_at_once() {
    let world = World::with(ServerConfig { drain_timeout: Duration::from_secs(60), ..quick() });
    put(&world.client, "k", "v");
    let mut stream = world.client.watch();
    stream.create(coffer_core::watch::WatchRequest::new(coffer_core::KeyRange::all())).unwrap();
    wait(stream.next()).unwrap();
    let begun = Instant::now();
    world.server.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(world.server.stats().connections, 0);
    assert_eq!(world.server.stats().panics, 0);
}

#[test]
fn many_clients_share_a_thread() {
    let world = World::new();
    let thread = coffer_rpc::client::ClientThread::start().unwrap();
    let clients: Vec<_> = (0..50)
        .map(|_| wait(Client::connect_on(&thread, ClientConfig::new(world.server.local_urls()))).unwrap())
        .collect();
    let puts = clients.iter().enumerate().map(|(i, client)| client.put(put_request(format!("{i}"), "v")));
    for done in wait(futures_util::future::join_all(puts)) {
        done.unwrap();
    }
    drop((clients, thread));
    until("the connections' end", || world.server.stats().connections == 1);
    put(&world.client, "k", "v");
}
