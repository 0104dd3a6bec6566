//! What a server may use, and why it could not start.

use crate::net::Limits;
use crate::url::UrlError;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// How a server runs. Limits are per connection unless they say otherwise.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Connection threads.
    pub threads: usize,
    /// Connections at a time, over the whole server. More are refused as overloaded.
    pub connections_max: usize,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// Watch streams at a time.
    pub watch_streams_max: usize,
    /// Watchers at a time.
    pub watchers_max: usize,
    /// Range streams at a time.
    pub range_streams_max: usize,
    /// Snapshots at a time.
    pub snapshots_max: usize,
    /// How long a snapshot may wait for its client to ask for more.
    pub snapshot_timeout: Duration,
    /// Largest answer to `range`; larger ranges are streamed.
    pub reply_bytes_max: usize,
    /// Bytes that all connections of one thread may hold together: requests under way and unsent answers.
    pub thread_bytes_max: usize,
    /// The transport's limits. The largest frame is raised to fit the node's largest request.
    pub limits: Limits,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a client may be silent. Before that it is pinged, if it can be.
    pub idle_timeout: Duration,
    /// How long a request without a deadline may take.
    pub request_timeout: Duration,
    /// How long begun requests may take once the server shuts down.
    pub drain_timeout: Duration,
    /// URLs that clients are told of; empty for those that the server listens on.
    pub advertise_urls: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: (cores / 2).max(1),
            connections_max: 20_000,
            sessions_max: 16,
            watch_streams_max: 1024,
            watchers_max: 100_000,
            range_streams_max: 8,
            snapshots_max: 2,
            snapshot_timeout: Duration::from_secs(60),
            reply_bytes_max: 16 << 20,
            thread_bytes_max: 256 << 20,
            limits: Limits::server(),
            login_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            advertise_urls: Vec::new(),
        }
    }
}

impl ServerConfig {
    /// Fills in what follows from the node and the listeners.
    pub(super) fn completed(mut self, request_bytes_max: usize, local_urls: Vec<String>) -> Self {
        // A request somewhat over its limit is still read, so that it gets an answer instead of a closed connection.
        let needed = request_bytes_max + request_bytes_max / 2 + (64 << 10);
        self.limits.frame_bytes_max = self.limits.frame_bytes_max.max(needed);
        self.limits.in_flight_bytes_max = self.limits.in_flight_bytes_max.max(needed);
        if self.advertise_urls.is_empty() {
            self.advertise_urls = local_urls;
        }
        self
    }
}

/// Why a server could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A listen URL is not usable.
    #[error("listen URL {0}")]
    Url(#[from] UrlError),
    /// A listen URL cannot be bound.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// The URL.
        url: String,
        /// What the system says: in use, forbidden.
        source: io::Error,
    },
    /// The system refused a thread.
    #[error("cannot start a connection thread: {0}")]
    Thread(io::Error),
}
