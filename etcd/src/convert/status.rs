//! Errors as etcd tells them. Clients match on the whole text, so it is part of the protocol.

use coffer_core::Error;
use tonic::{Code, Status};

/// The status of `error`.
pub(crate) fn status(error: Error) -> Status {
    let code = code(&error);
    let text = match &error {
        // A proposal that was begun and not seen to end is a timeout to etcd's clients, which then treat it as unknown.
        Error::OutcomeUnknown | Error::ConnectionLost => "etcdserver: request timed out".into(),
        Error::KeyTooLarge => "etcdserver: request is too large".into(),
        Error::Fatal(_) => "etcdserver: server stopped".into(),
        Error::Corrupt(_) => "etcdserver: corrupt cluster".into(),
        error => format!("etcdserver: {error}"),
    };
    Status::new(code, text)
}

fn code(error: &Error) -> Code {
    use Error::*;
    match error {
        EmptyKey | KeyNotFound | ValueProvided | LeaseProvided | TooManyOps | DuplicateKey
        | InvalidSortOption | RequestTooLarge | KeyTooLarge | InvalidArgument(_) | DuplicateWatchId
        | EmptyWatchRange => Code::InvalidArgument,
        Compacted { .. } | FutureRevision | LeaseTtlTooLarge => Code::OutOfRange,
        NoSpace | TooManyRequests | TxnTooLarge | AnswerTooLarge | DoneAnswerTooLarge => {
            Code::ResourceExhausted
        }
        LeaseNotFound => Code::NotFound,
        LeaseExists | NotLeader => Code::FailedPrecondition,
        Canceled => Code::Cancelled,
        Unsupported(_) => Code::Unimplemented,
        Corrupt(_) => Code::DataLoss,
        NoLeader | LeaderChanged | Timeout | OutcomeUnknown | ConnectionLost | Unavailable(_) | Stopped
        | Fatal(_) | Open(_) => Code::Unavailable,
        _ => Code::Unknown,
    }
}
