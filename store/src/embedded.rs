//! Opens a node in this process: the one place that chooses a backend.

use crate::options::Options;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{self, SegmentStore};
use coffer_core::Error;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::storage::MemoryDisk;
use futures_channel::oneshot;
use std::path::Path;
use std::sync::Arc;

/// Opens the store in `dir`. Blocks until it is recovered.
pub(crate) fn open_directory(dir: &Path, options: &Options) -> Result<Node, Error> {
    let store = open_segments(dir, options.create)?;
    let config = NodeConfig {
        cluster_id: store.identity.cluster_id,
        member_id: store.identity.member_id,
        boot: store.identity.boot,
        backend: "segment".into(),
        ..options.node_config()
    };
    Node::open(config, store.log, store.records)
}

/// Opens the medium of the store in `dir`, without a node.
pub(crate) fn open_segments(dir: &Path, create: bool) -> Result<SegmentStore, Error> {
    Ok(SegmentStore::open(dir, AtRest::Unsealed, segment::Options { create, ..Default::default() })?)
}

/// Opens a new store in memory.
pub(crate) fn open_memory(options: &Options) -> Result<Node, Error> {
    let (log, records) = MemoryDisk::new().open()?;
    let config = NodeConfig {
        cluster_id: random_id()?,
        member_id: random_id()?,
        boot: 1,
        backend: "memory".into(),
        ..options.node_config()
    };
    Node::open(config, Box::new(log), Arc::new(records))
}

/// Runs blocking work on a thread of its own and waits for it without blocking the executor.
pub(crate) async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // The receiver is gone if the caller no longer waits; then the result is dropped here.
            let _ = sender.send(work());
        })
        .map_err(|error| Error::Fatal(format!("cannot start a thread: {error}")))?;
    receiver.await.map_err(|_| Error::Fatal(format!("thread {name} panicked")))
}

/// A random number that is neither zero nor negative when it is read as signed.
fn random_id() -> Result<u64, Error> {
    let random = getrandom::u64().map_err(|error| Error::Fatal(format!("no random numbers: {error}")))?;
    Ok((random >> 1).max(1))
}
