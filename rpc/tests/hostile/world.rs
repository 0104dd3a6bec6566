//! The server under attack, and the client that has to be served meanwhile.

use bytes::Bytes;
use coffer_core::KeyRange;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{PutRequest, RangeRequest};
use coffer_core::storage::MemoryDisk;
use coffer_rpc::net::Limits;
use coffer_rpc::{Client, ClientConfig, Server, ServerConfig};
use coffer_runtime::{block_on, timeout};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) server: Server,
    client: Client,
    _alone: MutexGuard<'static, ()>,
}

/// Patience short enough to wait for.
pub(crate) fn impatient() -> ServerConfig {
    let limits = Limits {
        frame_timeout: Duration::from_millis(1000),
        stall_timeout: Duration::from_millis(1500),
        ..Limits::server()
    };
    ServerConfig {
        threads: 1,
        limits,
        login_timeout: Duration::from_millis(1500),
        idle_timeout: Duration::from_millis(1000),
        drain_timeout: Duration::from_millis(500),
        ..ServerConfig::default()
    }
}

impl World {
    pub(crate) fn new(config: ServerConfig) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, records) = MemoryDisk::default().open().unwrap();
        let node = Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).unwrap();
        let server = Server::start(node.clone(), &["coffer://127.0.0.1:0".to_owned()], config).unwrap();
        let client = wait(Client::connect(ClientConfig::new(server.local_urls()))).unwrap();
        let world = Self { node, server, client, _alone: alone };
        world.others_are_served();
        world
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> String {
        self.server.local_urls()[0].strip_prefix("coffer://").unwrap().to_owned()
    }

    /// A raw connection to the server.
    pub(crate) fn attack(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(crate) fn store(&self, key: &'static str, value: impl Into<Bytes>) {
        let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        wait(self.client.put(put)).unwrap();
    }

    /// The ordinary client gets its answers, soon.
    pub(crate) fn others_are_served(&self) {
        let begun = Instant::now();
        self.store("ordinary", "value");
        let range = RangeRequest::new(KeyRange::single("ordinary"));
        assert_eq!(wait(self.client.range(range)).unwrap().kvs[0].value, "value");
        assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    }

    /// Every connection but the ordinary client's is gone.
    pub(crate) fn only_the_ordinary_client_is_left(&self) {
        until("the end of the other connections", || self.server.stats().connections == 1);
        assert_eq!(self.server.stats().panics, 0);
        self.others_are_served();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.shutdown();
        self.node.shutdown();
    }
}

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    block_on(timeout(Duration::from_secs(20), future)).expect("it ends in time")
}

pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

/// Waits until the server has closed `stream` and returns how many bytes it had sent.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return total,
            Ok(bytes) => total += bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return total,
            Err(error) => panic!("the server did not close the connection: {error}"),
        }
    }
}

/// Resident memory of this process.
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A reproducible source of bytes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
