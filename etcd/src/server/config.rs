//! How the server runs, and why it could not start.

use super::url::UrlError;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Most calls at a time on one connection, whatever is configured: each takes some memory though nothing of it has come.
/// A client with more waits with them, as HTTP/2 has it.
pub const STREAMS_MAX: u32 = 20_000;

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Connection threads.
    pub threads: usize,
    /// Connections at a time, over the whole server. More are closed at once.
    pub connections_max: usize,
    /// Calls at a time on one connection. More than [`STREAMS_MAX`] count as that many.
    pub concurrent_streams_max: u32,
    /// How often an idle connection is pinged; `None` for never.
    pub keepalive_interval: Option<Duration>,
    /// How long the answer to a ping may take.
    pub keepalive_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long begun requests may take once the server shuts down.
    pub drain_timeout: Duration,
    /// Name of this member, for the list of members.
    pub member_name: String,
    /// URLs that clients are told of; empty for those that the server listens on.
    pub advertise_client_urls: Vec<String>,
    /// URLs of this member for other members, for the list of members.
    pub advertise_peer_urls: Vec<String>,
    /// Whether this member listens to others, so that members can be added.
    pub has_peers: bool,
    /// Learners that etcd's API lets a cluster have at once. One that waits for its vote is none.
    pub learners_max: u64,
    /// Whether the JSON gateway under `/v3/` is served.
    pub gateway: bool,
    /// More URLs to listen on, for plain HTTP and its JSON gateway only. If there is one, the others serve gRPC only.
    pub listen_http_urls: Vec<String>,
    /// More URLs to listen on, for metrics and health only.
    pub listen_metrics_urls: Vec<String>,
    /// Origins whose scripts may read what plain HTTP answers; `*` or none for all.
    pub cors: Vec<String>,
    /// Hosts that plain HTTP may be asked for, against DNS rebinding; `*` or none for all.
    pub host_whitelist: Vec<String>,
    /// How long the body of a request may take; of a stream of requests, each of them once it has begun.
    pub body_timeout: Duration,
    /// Bytes of requests that are not yet whole, over the whole server; at least one of the largest fits. More are
    /// refused.
    pub bodies_bytes_max: usize,
    /// The same, of one connection.
    pub connection_bodies_bytes_max: usize,
    /// How long a client may leave a snapshot unread.
    pub unread_timeout: Duration,
    /// Whether the durations of calls are measured, for `/metrics`.
    pub extensive_metrics: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: (cores / 2).max(1),
            connections_max: 20_000,
            concurrent_streams_max: STREAMS_MAX,
            keepalive_interval: Some(Duration::from_secs(2 * 60 * 60)),
            keepalive_timeout: Duration::from_secs(20),
            // etcd's: five seconds and two election timeouts.
            request_timeout: Duration::from_secs(7),
            drain_timeout: Duration::from_secs(5),
            member_name: "default".into(),
            advertise_client_urls: Vec::new(),
            advertise_peer_urls: Vec::new(),
            has_peers: false,
            learners_max: 1,
            gateway: true,
            listen_http_urls: Vec::new(),
            listen_metrics_urls: Vec::new(),
            cors: vec!["*".into()],
            host_whitelist: vec!["*".into()],
            body_timeout: Duration::from_secs(60),
            bodies_bytes_max: 256 << 20,
            connection_bodies_bytes_max: 64 << 20,
            unread_timeout: Duration::from_secs(60),
            extensive_metrics: false,
        }
    }
}

impl ServerConfig {
    /// Fills in what follows from the listeners.
    pub(super) fn completed(mut self, local_urls: &[String]) -> Self {
        if self.advertise_client_urls.is_empty() {
            self.advertise_client_urls = local_urls.to_vec();
        }
        self
    }
}

/// Why a server could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The URL is not usable.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The address cannot be listened on.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// The URL.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// The system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}
