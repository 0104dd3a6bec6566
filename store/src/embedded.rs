//! Opens a node in this process: the one place that chooses a backend.

use crate::keys::{OpenStore, StoreKeys};
use crate::options::Options;
use crate::seal::Seal;
use coffer_backends::seal::{self, Keyring};
use coffer_backends::segment::{self, SegmentStore};
use coffer_backends::sqlite::{self, SqliteStore};
use coffer_backends::{Backend, Founding, Identity};
use coffer_core::Error;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::storage::{Log, MemoryDisk, Records};
use futures_channel::oneshot;
use std::path::Path;
use std::sync::Arc;

/// Opens the store in `dir`. Blocks until it is recovered.
pub(crate) fn open_directory(dir: &Path, options: &Options) -> Result<OpenStore, Error> {
    let medium = Medium::open(dir, options)?;
    let config = NodeConfig {
        cluster_id: medium.identity.cluster_id,
        member_id: medium.identity.member_id,
        boot: medium.identity.boot,
        backend: medium.backend.name().into(),
        sealed: medium.keyring.is_some(),
        ..options.node_config()
    };
    let keys = match medium.keyring {
        Some(keyring) => Some(seal::StoreKeys::of_open(dir, keyring)?),
        None => None,
    };
    let node = Node::open(config, medium.log, medium.records)?;
    let keys = keys.map(|keys| StoreKeys::of_open(keys, node.clone()));
    Ok(OpenStore { node, keys })
}

/// The medium of a store, open without a node.
pub(crate) struct Medium {
    pub(crate) log: Box<dyn Log>,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) identity: Identity,
    pub(crate) backend: Backend,
    /// The data keys, if it is sealed.
    pub(crate) keyring: Option<Arc<Keyring>>,
}

impl Medium {
    /// Opens what `dir` holds. A store that is created gets the backend of the options, or the default one.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_as(dir, options, None)
    }

    /// Opens what `dir` holds, or creates it as somebody's.
    pub(crate) fn open_as(dir: &Path, options: &Options, founding: Option<Founding>) -> Result<Self, Error> {
        let at_rest = Seal::at_rest(options.seal.as_ref())?;
        let create = options.create;
        let backend = match options.backend {
            Some(backend) => backend,
            // Whoever may not look into it is told by the opening.
            None => Backend::of(dir).ok().flatten().unwrap_or_default(),
        };
        Ok(match backend {
            Backend::Segment => {
                let options = segment::Options { create, founding, ..Default::default() };
                let SegmentStore { log, records, identity, keyring } =
                    SegmentStore::open(dir, at_rest, options)?;
                Self { log, records, identity, backend, keyring }
            }
            Backend::Sqlite => {
                let options = sqlite::Options { create, founding, ..Default::default() };
                let SqliteStore { log, records, identity, keyring } =
                    SqliteStore::open(dir, at_rest, &options)?;
                Self { log, records, identity, backend, keyring }
            }
        })
    }
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
pub(crate) fn random_id() -> Result<u64, Error> {
    let random = getrandom::u64().map_err(|error| Error::Fatal(format!("no random numbers: {error}")))?;
    Ok((random >> 1).max(1))
}
