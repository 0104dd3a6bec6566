//! A remote store leaves no socket behind when it is closed, whatever of it was under way. Alone in its process: it counts
//! descriptors.

use coffer::{Client, KeyRange, Options, TxnOp, Uri, block_on};
use coffer_rpc::server::{Server, ServerConfig};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}

/// Leaves a range before its end, and a watch.
async fn use_all_of(url: &str) {
    let store: Client = Options::default().open(url).await.expect("it opens");
    let mut pages = store.range(KeyRange::all()).pages();
    pages.next().await.expect("a page").expect("there are keys");
    let watch = store.watch(KeyRange::all()).from_revision(1).start().await.expect("a watch");
    store.close().await;
    drop((pages, watch));
}

#[test]
fn a_closed_store_leaves_no_socket_behind() {
    let node = block_on(Options::default().open_node(&Uri::Memory)).expect("a node");
    let listen = ["coffer://127.0.0.1:0".to_owned()];
    let server = Server::start(node.clone(), &listen, ServerConfig::default()).expect("a server");
    let url = server.local_urls()[0].clone();
    block_on(async {
        let store = Options::default().open(&url).await.expect("it opens");
        // More than a client takes ahead of its user.
        for number in 0..64 {
            let put = TxnOp::put(format!("key/{number}"), vec![0; 256 << 10]);
            store.txn().then([put]).commit().await.expect("a put");
        }
        store.close().await;
        use_all_of(&url).await; // what stays for the process's life is there now
    });
    // The ends of the client and of the server of one connection may still be there: of one, not of eight.
    let before = descriptors() + 2;
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..8 {
        block_on(use_all_of(&url));
    }
    while descriptors() > before {
        assert!(Instant::now() < deadline, "{} descriptors, then {}", before, descriptors());
        std::thread::yield_now();
    }
    server.shutdown();
    node.shutdown();
}
