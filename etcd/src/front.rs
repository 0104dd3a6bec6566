//! What every call of the front shares.

use crate::calls::Calls;
use crate::convert::status;
use crate::grpc::Encodings;
use crate::http::HealthCounts;
use crate::intake::Intake;
use crate::leadership::Leadership;
use crate::server::ServerConfig;
use async_channel::Receiver;
use coffer_core::Error;
use coffer_core::node::Node;
use coffer_runtime::timeout;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// The node and the settings of the surface. The gRPC services are implemented on it, one file for each.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) node: Node,
    pub(crate) config: ServerConfig,
    pub(crate) stop: Stop,
    pub(crate) leadership: Leadership,
    pub(crate) encodings: Encodings,
    pub(crate) calls: Calls,
    pub(crate) health: HealthCounts,
    pub(crate) intake: Arc<Intake>,
}

impl Front {
    /// Runs a request that changes nothing, until its deadline.
    pub(crate) async fn read<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Status> {
        read(self.config.request_timeout, work).await
    }

    /// Runs a request that changes something: after its deadline nobody knows whether it did.
    pub(crate) async fn write<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Status> {
        let outcome = timeout(self.config.request_timeout, work).await.unwrap_or(Err(Error::OutcomeUnknown));
        outcome.map_err(status)
    }
}

/// Runs a request that changes nothing, for no longer than `limit`.
pub(crate) async fn read<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Status> {
    timeout(limit, work).await.unwrap_or(Err(Error::Timeout)).map_err(status)
}

/// Tells long streams that the server is stopping. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Receiver<Infallible>);

impl Stop {
    /// The signal that the holder of the sender's end gives by dropping it.
    pub(crate) fn new(receiver: Receiver<Infallible>) -> Self {
        Self(receiver)
    }

    /// Waits until the server stops.
    pub(crate) async fn wait(&self) {
        // Nothing is ever sent: the channel only closes.
        while self.0.recv().await.is_ok() {}
    }
}
