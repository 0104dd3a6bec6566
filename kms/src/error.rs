//! What can go wrong with a plugin.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why a plugin did not do what it was asked.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The endpoint is no unix socket.
    #[error("{endpoint:?} is no endpoint of a plugin: write unix:///path/of/the.sock")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The socket cannot be connected to.
    #[error("cannot be reached: {0}")]
    Unreachable(#[source] Arc<io::Error>),
    /// It did not answer in time.
    #[error("gave no answer within {0:?}")]
    Late(Duration),
    /// It is connected and does not speak gRPC, or went away.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// It refused.
    #[error("refused to {call} ({code:?}): {message}")]
    Refused {
        /// What it was asked to do.
        call: &'static str,
        /// gRPC's code.
        code: tonic::Code,
        /// Its reason.
        message: String,
    },
    /// Its answer breaks the rules of the API.
    #[error("its answer {0}")]
    Answer(String),
    /// It says that it is not well.
    #[error("is not healthy: {0}")]
    Unhealthy(String),
}
