//! How a client runs.

use crate::net::Limits;
use crate::url;
use coffer_core::Error;
use coffer_runtime::net::Address;
use std::time::Duration;

/// How a client runs.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `coffer://host:port` or `unix:///path`, tried in turns. No connection is made to more than one at a time.
    pub endpoints: Vec<String>,
    /// How long a call may take, retries included.
    pub deadline: Duration,
    /// How long making a connection to one endpoint may take, login included.
    pub connect_timeout: Duration,
    /// Silence after which the server is pinged.
    pub ping_interval: Duration,
    /// How long after that the server may stay silent.
    pub ping_timeout: Duration,
    /// Calls under way at a time; more fail with [`Error::TooManyRequests`].
    pub in_flight_max: usize,
    /// Program and version, for the operator of the server.
    pub name: String,
    /// The transport's limits.
    pub limits: Limits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            endpoints: vec![format!("coffer://127.0.0.1:{}", url::DEFAULT_PORT)],
            deadline: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            in_flight_max: 16 * 1024,
            name: concat!("coffer/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::client(),
        }
    }
}

impl ClientConfig {
    /// The default configuration with these endpoints.
    pub fn new<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        Self { endpoints: endpoints.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub(super) fn addresses(&self) -> Result<Vec<Address>, Error> {
        if self.endpoints.is_empty() {
            return Err(Error::InvalidArgument("no endpoints given".into()));
        }
        let parse = |url: &String| {
            url::parse(url).map_err(|error| Error::InvalidArgument(format!("endpoint {error}")))
        };
        self.endpoints.iter().map(parse).collect()
    }
}
