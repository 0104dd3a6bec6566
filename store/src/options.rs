//! How a store is opened.

use crate::client::Client;
use crate::embedded;
use crate::keys::OpenStore;
use crate::seal::Seal;
use crate::uri::Uri;
use coffer_backends::Backend;
use coffer_core::Error;
use coffer_core::node::{Node, NodeConfig};
use std::time::Duration;

/// How a store is opened. `Options::default()` suits most.
///
/// Each option says what it is for; what does not apply to the kind of store that is opened is ignored.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) backend: Option<Backend>,
    pub(crate) seal: Option<Seal>,
    pub(crate) timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) request_bytes_max: usize,
    pub(crate) txn_ops_max: usize,
    pub(crate) quota_bytes: u64,
    pub(crate) watch_progress_interval: Duration,
    pub(crate) scrub_interval: Duration,
    pub(crate) scrub_rate_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        let node = NodeConfig::default();
        Self {
            create: true,
            backend: None,
            seal: None,
            timeout: Duration::from_secs(5),
            heartbeat_interval: node.heartbeat_interval,
            election_timeout: node.election_timeout,
            request_bytes_max: node.request_bytes_max,
            txn_ops_max: node.txn_ops_max,
            quota_bytes: node.quota_bytes,
            watch_progress_interval: node.watch_progress_interval,
            scrub_interval: node.scrub_interval,
            scrub_rate_bytes: node.scrub_rate_bytes,
        }
    }
}

impl Options {
    /// Whether a `file:` store is created where there is none. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The backend of a `file:` store: an existing one of another backend is refused, a new one gets it. Default: what
    /// is there, and [`Backend::Segment`] for a new store. A `?backend=` of the URI goes before it.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// What seals a `file:` store, or that nothing does. A sealed one opens with its key only, a store in the clear with
    /// [`Seal::Unsealed`] or without this; a new one is created only if this is said. A parameter of the URI goes before
    /// it. Default: unsaid.
    pub fn seal(mut self, seal: Seal) -> Self {
        self.seal = Some(seal);
        self
    }

    /// What [`seal`](Self::seal) was told.
    pub fn seal_said(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// Remote stores: how long one request may take, connecting included. Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Stores in this process: the leader's heartbeat. Default: 100 ms.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Stores in this process: how long followers wait for a leader. The shortest TTL of a lease is one and a half
    /// times this. Default: 1 s.
    pub fn election_timeout(mut self, timeout: Duration) -> Self {
        self.election_timeout = timeout;
        self
    }

    /// Stores in this process: the largest request in bytes. Default: 1.5 MiB.
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.request_bytes_max = bytes;
        self
    }

    /// Stores in this process: most operations in one list of a transaction. Default: 128.
    pub fn txn_ops_max(mut self, operations: usize) -> Self {
        self.txn_ops_max = operations;
        self
    }

    /// Stores in this process: bytes in use at which nothing more is taken that grows the store, until deletions and a
    /// compaction have made room; 0 for no quota. Default: 0.
    pub fn quota_bytes(mut self, bytes: u64) -> Self {
        self.quota_bytes = bytes;
        self
    }

    /// Stores in this process: how often an idle watch that asked for it is told of progress. Default: 10 min.
    pub fn watch_progress_interval(mut self, interval: Duration) -> Self {
        self.watch_progress_interval = interval;
        self
    }

    /// Stores in this process: how often everything that is stored is verified in the background; zero for never. What
    /// is damaged is named in the log, and stops the store as a read that meets it does. Default: never.
    pub fn scrub_interval(mut self, interval: Duration) -> Self {
        self.scrub_interval = interval;
        self
    }

    /// Stores in this process: bytes that such a verification reads in a second. Default: 8 MiB.
    pub fn scrub_rate_bytes(mut self, bytes: u64) -> Self {
        self.scrub_rate_bytes = bytes;
        self
    }

    /// Opens the store at `uri`.
    ///
    /// A store in this process is ready when this returns, a remote one is connected to; later it connects again, to
    /// whichever endpoint answers, whenever a connection is lost.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a URI that names no store; [`Error::Open`] for one that is in use, of another
    /// format, sealed with another key, or may not be opened; [`Error::Corrupt`] for one that is damaged; [`Error::Unavailable`] if no endpoint
    /// answers.
    pub async fn open(&self, uri: &str) -> Result<Client, Error> {
        self.open_uri(&uri.parse()?).await
    }

    /// As [`open`](Self::open), for a URI that was read already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_uri(&self, uri: &Uri) -> Result<Client, Error> {
        match uri {
            Uri::Remote(endpoints) => Client::remote(endpoints, self).await,
            Uri::File { .. } | Uri::Memory => Ok(Client::embedded(self.open_store(uri).await?)),
        }
    }

    /// Opens the node of a store in this process, for a daemon that serves it.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::InvalidArgument`] for a remote store.
    pub async fn open_node(&self, uri: &Uri) -> Result<Node, Error> {
        Ok(self.open_store(uri).await?.node)
    }

    /// Opens a store in this process.
    pub(crate) fn open_blocking(&self, uri: &Uri) -> Result<OpenStore, Error> {
        match uri {
            Uri::File { dir, backend, seal } => {
                let options = Self {
                    backend: backend.or(self.backend),
                    seal: seal.clone().or_else(|| self.seal.clone()),
                    ..self.clone()
                };
                embedded::open_directory(dir, &options)
            }
            Uri::Memory => Ok(OpenStore { node: embedded::open_memory(self)?, keys: None }),
            Uri::Remote(_) => Err(Error::InvalidArgument(format!("{uri} is not in this process"))),
        }
    }

    pub(crate) fn node_config(&self) -> NodeConfig {
        NodeConfig {
            heartbeat_interval: self.heartbeat_interval,
            election_timeout: self.election_timeout,
            request_bytes_max: self.request_bytes_max,
            txn_ops_max: self.txn_ops_max,
            quota_bytes: self.quota_bytes,
            watch_progress_interval: self.watch_progress_interval,
            scrub_interval: self.scrub_interval,
            scrub_rate_bytes: self.scrub_rate_bytes,
            ..NodeConfig::default()
        }
    }
}
