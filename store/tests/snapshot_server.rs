//! A server lets go of snapshots that nobody asks for, and makes so many at a time: over a sealed store in a directory.

use coffer::{Error, Options, Seal, Uri, block_on};
use coffer_core::request::PutRequest;
use coffer_rpc::{Client, ClientConfig, Server, ServerConfig};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// More than a client takes ahead of its user: the server waits for it.
const PUTS: usize = 24;
const VALUE_BYTES: usize = 256 << 10;

struct World {
    node: coffer_core::node::Node,
    server: Server,
    client: Client,
    _dir: TempDir,
}

impl World {
    fn new(config: ServerConfig) -> Self {
        let dir = TempDir::new().expect("a directory");
        let key = dir.path().join("key");
        fs::write(&key, "07".repeat(32)).expect("written");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("set");
        let options = Options::default().seal(Seal::KeyFile(key));
        let uri: Uri = format!("file://{}", dir.path().join("store").display()).parse().expect("a URI");
        let node = block_on(options.open_store(&uri)).expect("a store").node;
        for number in 0..PUTS {
            let (key, value) = (format!("key/{number}"), vec![number as u8; VALUE_BYTES]);
            let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
            block_on(node.put(put)).expect("a put");
        }
        let server =
            Server::start(node.clone(), &["coffer://127.0.0.1:0".to_owned()], config).expect("a server");
        let client = block_on(Client::connect(ClientConfig::new(server.local_urls()))).expect("a client");
        Self { node, server, client, _dir: dir }
    }

    /// One that does not wait long for room.
    fn hurried(&self) -> Client {
        self.client.with_deadline(Duration::from_millis(500))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.shutdown();
        self.node.shutdown();
    }
}

/// All that is left of a snapshot: how many bytes, and how it ends.
async fn rest(mut snapshot: coffer_rpc::client::Snapshot) -> (usize, Result<(), Error>) {
    let mut bytes = 0;
    loop {
        match snapshot.next().await {
            Ok(Some(piece)) => bytes += piece.len(),
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

#[test]
fn so_many_snapshots_are_made_at_a_time() {
    let world = World::new(ServerConfig { snapshots_max: 2, ..ServerConfig::default() });
    block_on(async {
        let first = world.client.snapshot().await.expect("a snapshot");
        let second = world.client.snapshot().await.expect("a snapshot");
        let refused = world.hurried().snapshot().await.map(|_| ());
        assert_eq!(refused, Err(Error::TooManyRequests));
        // Another connection has its own.
        let config = ClientConfig::new(world.server.local_urls());
        let other = Client::connect(config).await.expect("a client");
        drop(other.snapshot().await.expect("a snapshot"));
        // One that nobody wants any more makes room, and so does one that is over.
        drop(second);
        let third = world.client.snapshot().await.expect("there is room");
        let (bytes, end) = rest(first).await;
        assert_eq!(end, Ok(()));
        assert!(bytes > PUTS * VALUE_BYTES, "{bytes} bytes");
        let fourth = world.client.snapshot().await.expect("there is room");
        for snapshot in [third, fourth] {
            assert_eq!(rest(snapshot).await.1, Ok(()));
        }
    });
}

#[test]
fn a_snapshot_that_nobody_asks_for_ends() {
    let timeout = Duration::from_millis(200);
    let config = ServerConfig { snapshots_max: 1, snapshot_timeout: timeout, ..ServerConfig::default() };
    let world = World::new(config);
    block_on(async {
        // Its client has it and takes nothing: the server sends what fits into the client's hands, and then waits.
        let begun = Instant::now();
        let idle = world.client.snapshot().await.expect("a snapshot");
        let refused = world.client.with_deadline(Duration::from_millis(1)).snapshot().await.map(|_| ());
        if begun.elapsed() < timeout {
            refused.expect_err("the first is under way");
        }
        let end = Instant::now() + PATIENCE;
        while let Err(error) = world.hurried().snapshot().await {
            assert_eq!(error, Error::TooManyRequests);
            assert!(Instant::now() < end, "the server holds on to it");
        }
        assert!(begun.elapsed() >= timeout, "it was given its time");
        let (bytes, end) = rest(idle).await;
        assert!(bytes < PUTS * VALUE_BYTES, "it is not whole: {bytes} bytes");
        assert!(
            matches!(&end, Err(Error::InvalidArgument(reason)) if reason.contains("has ended")),
            "{end:?}"
        );
    });
}
