//! Serves a [`Node`] to etcd's clients.
//!
//! # Data path
//! An acceptor hands each socket to one of a few connection threads, in turns. A connection lives on its thread, and so
//! do its calls: reads are answered there without crossing to another, writes wait for the node, which goes on with a
//! begun proposal though the client leaves. One port serves gRPC and plain HTTP: the first bytes tell them apart.
//!
//! # Invariants
//! - A panic in a call ends that call's stream only.
//! - What [`Server::shutdown`] leaves behind: no thread, no socket, no socket file.

mod accept;
mod config;
mod connection;
mod opening;
mod thread;
mod timer;
mod url;

pub use config::{STREAMS_MAX, ServeError, ServerConfig};
pub use url::UrlError;

use crate::calls::Calls;
use crate::front::{Front, Stop};
use crate::grpc::Encodings;
use crate::http::{self, HealthCounts};
use crate::intake::Intake;
use crate::leadership::Leadership;
use accept::Acceptor;
use coffer_core::node::Node;
use coffer_runtime::local::LocalThread;
use coffer_runtime::net::Listener;
use connection::Surface;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// A running server. Dropping it shuts it down.
pub struct Server {
    local_urls: Vec<String>,
    local_http_urls: Vec<String>,
    local_metrics_urls: Vec<String>,
    /// Dropped to stop.
    running: Mutex<Option<async_channel::Sender<Infallible>>>,
    threads: Mutex<Vec<LocalThread<()>>>,
}

impl Server {
    /// Listens on `urls` (`http://host:port`, `unix:///path`) and serves `node` until [`shutdown`](Self::shutdown).
    /// The node is not shut down with it.
    ///
    /// # Errors
    /// A URL is not usable, cannot be listened on (the port is in use, forbidden), or no thread could be started.
    pub fn start(node: Node, urls: &[String], config: ServerConfig) -> Result<Server, ServeError> {
        let surface = if config.listen_http_urls.is_empty() { Surface::All } else { Surface::Grpc };
        let mut listeners = Vec::new();
        let local_urls = listen(urls, surface, &mut listeners)?;
        let local_http_urls = listen(&config.listen_http_urls, Surface::Http, &mut listeners)?;
        let local_metrics_urls = listen(&config.listen_metrics_urls, Surface::Metrics, &mut listeners)?;
        let (running, stopped) = async_channel::bounded(1);
        let config = config.completed(&local_urls);
        let (queues, receivers): (Vec<_>, Vec<_>) =
            (0..config.threads.max(1)).map(|_| async_channel::unbounded()).unzip();
        let mut acceptor = Some(Acceptor::new(listeners, queues, config.connections_max));
        let body_bytes_max = http::body_bytes_max(&node);
        let front = Arc::new(Front {
            calls: Calls::new(config.extensive_metrics),
            health: HealthCounts::default(),
            intake: Intake::new(
                config.bodies_bytes_max.max(body_bytes_max),
                config.connection_bodies_bytes_max.max(body_bytes_max),
                config.body_timeout,
            ),
            node,
            config,
            stop: Stop::new(stopped),
            leadership: Leadership::default(),
            encodings: Encodings::default(),
        });
        let server = Server {
            local_urls,
            local_http_urls,
            local_metrics_urls,
            running: Mutex::new(Some(running)),
            threads: Mutex::default(),
        };
        for (index, queue) in receivers.into_iter().enumerate() {
            let front = front.clone();
            // The first thread accepts for all.
            let acceptor = acceptor.take();
            let thread = coffer_runtime::local::run(&format!("coffer-etcd-{index}"), move || {
                thread::main(front, queue, acceptor)
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

    /// Those of [`listen_http_urls`](ServerConfig::listen_http_urls) with the actual ports.
    pub fn local_http_urls(&self) -> &[String] {
        &self.local_http_urls
    }

    /// Those of [`listen_metrics_urls`](ServerConfig::listen_metrics_urls) with the actual ports.
    pub fn local_metrics_urls(&self) -> &[String] {
        &self.local_metrics_urls
    }

    /// Stops accepting, ends watches and other long streams, lets begun requests end within the configured grace time,
    /// closes every connection and joins the threads. Idempotent; blocks.
    pub fn shutdown(&self) {
        drop(self.running.lock().take());
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if let Err(error) = thread.join() {
                tracing::error!(%error, "a connection thread panicked");
            }
        }
    }
}

/// Listens on `urls`, and gives them with the actual ports.
fn listen(
    urls: &[String],
    surface: Surface,
    listeners: &mut Vec<(Listener, Surface)>,
) -> Result<Vec<String>, ServeError> {
    let mut local_urls = Vec::with_capacity(urls.len());
    for url in urls {
        let failed = |source| ServeError::Listen { url: url.clone(), source };
        let listener = Listener::bind(&url::parse(url)?).map_err(failed)?;
        local_urls.push(url::format(&listener.local_address().map_err(failed)?));
        listeners.push((listener, surface));
    }
    Ok(local_urls)
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
