//! Serves a [`Node`] over Cap'n Proto.
//!
//! # Data path
//!
//! An acceptor hands each socket to one of a few connection threads, in turns. A connection lives on its thread:
//! decode -> core request -> node -> encode straight into the reply. Reads are answered on that thread without
//! crossing to another; writes wait for the node, which goes on with a begun proposal though the client leaves.
//!
//! # Invariants
//! - A connection can use only its [`Limits`](crate::net::Limits) and its share of its thread's budget.
//! - A panic in a call ends that connection only.
//! - What [`Server::shutdown`] leaves behind: no thread, no socket, no socket file.
//!
//! # What ends a connection
//! The peer, a fault of the transport, silence, no login in time; and shutdown, which first lets the begun calls be
//! answered.

mod accept;
mod config;
mod connection;
mod gate;
mod kv;
mod lease;
mod maintenance;
mod pace;
mod snapshot;
mod stats;
mod thread;
mod watch;

pub use config::{ServeError, ServerConfig};
pub use stats::ServerStats;

use crate::url;
use accept::Acceptor;
use coffer_core::node::Node;
use coffer_runtime::local::LocalThread;
use coffer_runtime::net::Listener;
use parking_lot::Mutex;
use stats::Stats;
use std::fmt;
use std::sync::Arc;
use thread::Job;

/// A running server. Dropping it shuts it down.
pub struct Server {
    local_urls: Vec<String>,
    stats: Arc<Stats>,
    jobs: Vec<async_channel::Sender<Job>>,
    threads: Mutex<Vec<LocalThread<()>>>,
}

impl Server {
    /// Listens on `urls` and serves `node` until [`shutdown`](Self::shutdown). The node is not shut down with it.
    ///
    /// # Errors
    /// A URL is not usable, cannot be listened on (the port is in use, forbidden), or no thread could be started.
    pub fn start(node: Node, urls: &[String], config: ServerConfig) -> Result<Server, ServeError> {
        let mut listeners = Vec::with_capacity(urls.len());
        let mut local_urls = Vec::with_capacity(urls.len());
        for url in urls {
            let failed = |source| ServeError::Listen { url: url.clone(), source };
            let listener = Listener::bind(&url::parse(url)?).map_err(failed)?;
            local_urls.push(url::format(&listener.local_address().map_err(failed)?));
            listeners.push(listener);
        }
        let stats = Arc::new(Stats::default());
        let config = Arc::new(config.completed(node.request_bytes_max(), local_urls.clone()));
        let (jobs, queues): (Vec<_>, Vec<_>) =
            (0..config.threads.max(1)).map(|_| async_channel::unbounded()).unzip();
        let mut acceptor =
            Some(Acceptor::new(listeners, jobs.clone(), config.connections_max, stats.clone()));
        let server = Server { local_urls, stats: stats.clone(), jobs, threads: Mutex::default() };
        for (index, queue) in queues.into_iter().enumerate() {
            let (node, config, stats) = (node.clone(), config.clone(), stats.clone());
            // The first thread accepts for all.
            let acceptor = acceptor.take();
            let thread = coffer_runtime::local::run(&format!("coffer-rpc-{index}"), move || {
                thread::main(node, config, stats, queue, acceptor)
            })
            .map_err(ServeError::Thread)?;
            server.threads.lock().push(thread);
        }
        Ok(server)
    }

    /// The URLs with the actual ports.
    pub fn local_urls(&self) -> &[String] {
        &self.local_urls
    }

    /// What the server does and has done.
    pub fn stats(&self) -> ServerStats {
        self.stats.read()
    }

    /// Stops accepting, lets begun requests end within the configured grace time, closes every connection and joins
    /// the threads. Idempotent; blocks.
    pub fn shutdown(&self) {
        for queue in &self.jobs {
            // A thread that has ended has nothing left to stop.
            let _ = queue.try_send(Job::Stop);
        }
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if let Err(error) = thread.join() {
                tracing::error!(%error, "a connection thread panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_urls", &self.local_urls).finish_non_exhaustive()
    }
}
