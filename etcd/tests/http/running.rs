//! A server over a node in memory.

use coffer_core::node::{Node, NodeConfig};
use coffer_core::storage::MemoryDisk;
use coffer_etcd::server::{Server, ServerConfig};
use std::sync::Arc;

/// A server with its node. Both stop when it is dropped.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) server: Server,
}

impl Running {
    /// Starts on a port that the system chooses.
    pub(crate) fn start() -> Self {
        Self::with(ServerConfig::default())
    }

    /// Starts with these settings.
    pub(crate) fn with(config: ServerConfig) -> Self {
        let (log, records) = MemoryDisk::default().open().unwrap();
        let node = Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).unwrap();
        let server = Server::start(node.clone(), &["http://127.0.0.1:0".into()], config).unwrap();
        Self { node, server }
    }

    /// `host:port` of the URL for clients.
    pub(crate) fn address(&self) -> String {
        address(&self.server.local_urls()[0])
    }
}

/// `host:port` of a URL.
pub(crate) fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.shutdown();
        self.node.shutdown();
    }
}
