//! Servers and clients for tests.

use crate::gate::Gate;
use bytes::Bytes;
use coffer_core::KeyRange;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::*;
use coffer_core::storage::MemoryDisk;
use coffer_rpc::{Client, ClientConfig, Server, ServerConfig};
use coffer_runtime::{block_on, timeout};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for anything that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn open_node() -> Node {
    let (log, records) = MemoryDisk::default().open().unwrap();
    Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).unwrap()
}

/// A node whose log writes only while the gate is open.
pub(crate) fn open_gated_node() -> (Node, Gate) {
    let (log, records) = MemoryDisk::default().open().unwrap();
    let gate = Gate::default();
    let node = Node::open(NodeConfig::default(), Box::new(gate.before(log)), Arc::new(records)).unwrap();
    (node, gate)
}

/// Quick timeouts: tests wait for them.
pub(crate) fn quick() -> ServerConfig {
    ServerConfig { threads: 2, drain_timeout: Duration::from_millis(500), ..ServerConfig::default() }
}

/// A node, its server, and a client.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) server: Server,
    pub(crate) client: Client,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(config: ServerConfig) -> Self {
        let node = open_node();
        let server = serve(&node, "coffer://127.0.0.1:0", config);
        let client = connect(&server);
        Self { node, server, client }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.shutdown();
        self.node.shutdown();
    }
}

pub(crate) fn serve(node: &Node, url: &str, config: ServerConfig) -> Server {
    Server::start(node.clone(), &[url.to_owned()], config).unwrap()
}

pub(crate) fn connect(server: &Server) -> Client {
    wait(Client::connect(ClientConfig::new(server.local_urls()))).unwrap()
}

/// Runs a future that has to end soon.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    block_on(timeout(PATIENCE, future)).expect("it ends in time")
}

/// Waits for a condition.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

/// A read that waits for nothing.
pub(crate) fn serializable(key: &'static str) -> RangeRequest {
    RangeRequest { serializable: true, ..RangeRequest::new(KeyRange::single(key)) }
}

pub(crate) fn put_request(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

pub(crate) fn put(client: &Client, key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutResponse {
    wait(client.put(put_request(key, value))).unwrap()
}

pub(crate) fn get(client: &Client, key: &'static str) -> Option<Bytes> {
    let response = wait(client.range(RangeRequest::new(KeyRange::single(key)))).unwrap();
    response.kvs.into_iter().next().map(|kv| kv.value)
}
