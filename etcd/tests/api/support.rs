//! A server over a node in memory, and clients of it.

use coffer_core::node::{Node, NodeConfig};
use coffer_core::storage::MemoryDisk;
use coffer_etcd::server::{Server, ServerConfig};
use coffer_runtime::local::spawn;
use coffer_runtime::net::TcpStream;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use smol_hyper::rt::FuturesIo;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::Service;

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what should happen soon.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    coffer_runtime::timeout(PATIENCE, work).await.expect("it should have happened by now")
}

/// A server with its node. Both stop when it is dropped.
pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) server: Arc<Server>,
}

impl Running {
    /// Starts on a port that the system chooses.
    pub(crate) fn start() -> Self {
        Self::with(NodeConfig::default(), ServerConfig::default())
    }

    /// Starts with these settings.
    pub(crate) fn with(node: NodeConfig, server: ServerConfig) -> Self {
        let (log, records) = MemoryDisk::default().open().unwrap();
        let node = Node::open(node, Box::new(log), Arc::new(records)).unwrap();
        let server = Server::start(node.clone(), &["http://127.0.0.1:0".into()], server).unwrap();
        Self { node, server: Arc::new(server) }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.server.local_urls()[0].trim_start_matches("http://").to_owned()
    }

    /// A new connection, to be used inside of `coffer_runtime::block_on`.
    pub(crate) async fn connect(&self) -> Channel {
        let stream = TcpStream::connect(&self.address()).await.unwrap();
        let (sender, connection) = http2::handshake(LocalTasks, FuturesIo::new(stream)).await.unwrap();
        spawn(connection);
        Channel { sender, origin: self.server.local_urls()[0].parse().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.shutdown();
        self.node.shutdown();
    }
}

/// One connection, for the generated clients: `KvClient::with_origin(channel.clone(), channel.origin())`.
#[derive(Clone)]
pub(crate) struct Channel {
    sender: http2::SendRequest<Body>,
    origin: Uri,
}

impl Channel {
    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, future: F) {
        spawn(future);
    }
}
