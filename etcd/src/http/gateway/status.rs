//! Errors as the gateway tells them: `{"code":…,"message":…}` with the HTTP status that belongs to the code.

use super::super::{Answer, text};
use ::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use serde_json::json;
use tonic::{Code, Status};

/// Why a request is answered with an error.
pub(super) struct Refusal {
    status: Status,
    /// Instead of the one that belongs to the code.
    http_status: Option<StatusCode>,
    /// Whether the answer would have been a stream.
    streams: bool,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, http_status: None, streams: false }
    }
}

impl Refusal {
    /// Of a body that was refused: it took too long, or there was no room for it.
    pub(super) fn of_body(status: Status) -> Self {
        let is_slow = status.code() == Code::DeadlineExceeded;
        Self { status, http_status: is_slow.then_some(StatusCode::REQUEST_TIMEOUT), streams: false }
    }

    /// Of a call that failed before its first message.
    pub(super) fn of_call(status: Status, streams: bool) -> Self {
        Self { status, http_status: None, streams }
    }

    /// The answer.
    pub(super) fn answer(&self) -> Answer {
        let status = self.http_status.unwrap_or_else(|| http_status(self.status.code()));
        let body = if self.streams { line(&self.status) } else { body(&self.status).into() };
        let mut answer = text(status, "application/json", body);
        if self.status.code() == Code::Unauthenticated
            && let Ok(challenge) = HeaderValue::from_str(self.status.message())
        {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

/// The last line of a stream that failed.
pub(super) fn line(status: &Status) -> Bytes {
    Bytes::from(format!("{{\"error\":{}}}\n", body(status)))
}

/// What gRPC in Go says of a message that is too large.
pub(super) fn too_large(bytes: usize, bytes_max: usize) -> Status {
    let text = format!("grpc: received message larger than max ({bytes} vs. {bytes_max})");
    Status::resource_exhausted(text)
}

fn body(status: &Status) -> String {
    format!(r#"{{"code":{},"message":{}}}"#, status.code() as i32, json!(status.message()))
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // nginx's word for a client that has left; there is no other.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
