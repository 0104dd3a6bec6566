//! Errors and their stable codes.

use crate::schema::types_capnp::error::{self, Code};
use coffer_core::Error;

/// The code of `error`.
pub(crate) fn code(error: &Error) -> Code {
    match error {
        Error::EmptyKey => Code::EmptyKey,
        Error::KeyNotFound => Code::KeyNotFound,
        Error::ValueProvided => Code::ValueProvided,
        Error::LeaseProvided => Code::LeaseProvided,
        Error::TooManyOps => Code::TooManyOps,
        Error::TxnTooLarge => Code::TxnTooLarge,
        Error::AnswerTooLarge => Code::ReplyTooLarge,
        Error::DoneAnswerTooLarge => Code::DoneAnswerTooLarge,
        Error::DuplicateKey => Code::DuplicateKey,
        Error::InvalidSortOption => Code::InvalidSortOption,
        Error::Compacted { .. } => Code::Compacted,
        Error::FutureRevision => Code::FutureRevision,
        Error::LeaseNotFound => Code::LeaseNotFound,
        Error::LeaseExists => Code::LeaseExists,
        Error::LeaseTtlTooLarge => Code::LeaseTtlTooLarge,
        Error::RequestTooLarge => Code::RequestTooLarge,
        Error::KeyTooLarge => Code::KeyTooLarge,
        Error::DuplicateWatchId => Code::DuplicateWatchId,
        Error::EmptyWatchRange => Code::EmptyWatchRange,
        Error::InvalidArgument(_) => Code::InvalidArgument,
        Error::Unsupported(_) => Code::Unsupported,
        Error::Canceled => Code::Canceled,
        Error::Open(_) => Code::Open,
        Error::NoSpace => Code::NoSpace,
        Error::TooManyRequests => Code::TooManyRequests,
        Error::NoLeader => Code::NoLeader,
        Error::NotLeader => Code::NotLeader,
        Error::Timeout => Code::Timeout,
        Error::Unavailable(_) => Code::Unavailable,
        Error::Stopped => Code::Stopped,
        Error::LeaderChanged => Code::LeaderChanged,
        Error::OutcomeUnknown => Code::OutcomeUnknown,
        Error::ConnectionLost => Code::ConnectionLost,
        Error::Fatal(_) => Code::Fatal,
        Error::Corrupt(_) => Code::Corrupt,
        _ => Code::Unknown,
    }
}

/// The text that goes along: the detail where a variant has one, else what it says.
fn message(error: &Error) -> String {
    match error {
        Error::InvalidArgument(detail)
        | Error::Unsupported(detail)
        | Error::Open(detail)
        | Error::Unavailable(detail)
        | Error::Fatal(detail)
        | Error::Corrupt(detail) => detail.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn put(error: &Error, mut to: error::Builder<'_>) {
    to.set_code(code(error));
    to.set_message(message(error));
    if let Error::Compacted { compact_revision } = error {
        to.set_compact_revision(*compact_revision);
    }
}

/// The error that was sent. `None` for [`Code::ReplyTooLarge`], which is [`Error::AnswerTooLarge`] unless the client can
/// read the answer in pieces.
pub(crate) fn get(from: error::Reader<'_>) -> capnp::Result<Option<Error>> {
    let detail = || -> capnp::Result<String> { Ok(from.get_message()?.to_string()?) };
    Ok(Some(match from.get_code() {
        Ok(Code::EmptyKey) => Error::EmptyKey,
        Ok(Code::KeyNotFound) => Error::KeyNotFound,
        Ok(Code::ValueProvided) => Error::ValueProvided,
        Ok(Code::LeaseProvided) => Error::LeaseProvided,
        Ok(Code::TooManyOps) => Error::TooManyOps,
        Ok(Code::TxnTooLarge) => Error::TxnTooLarge,
        Ok(Code::DoneAnswerTooLarge) => Error::DoneAnswerTooLarge,
        Ok(Code::DuplicateKey) => Error::DuplicateKey,
        Ok(Code::InvalidSortOption) => Error::InvalidSortOption,
        Ok(Code::Compacted) => Error::Compacted { compact_revision: from.get_compact_revision() },
        Ok(Code::FutureRevision) => Error::FutureRevision,
        Ok(Code::LeaseNotFound) => Error::LeaseNotFound,
        Ok(Code::LeaseExists) => Error::LeaseExists,
        Ok(Code::LeaseTtlTooLarge) => Error::LeaseTtlTooLarge,
        Ok(Code::RequestTooLarge) => Error::RequestTooLarge,
        Ok(Code::KeyTooLarge) => Error::KeyTooLarge,
        Ok(Code::DuplicateWatchId) => Error::DuplicateWatchId,
        Ok(Code::EmptyWatchRange) => Error::EmptyWatchRange,
        Ok(Code::InvalidArgument) => Error::InvalidArgument(detail()?),
        Ok(Code::Unsupported) => Error::Unsupported(detail()?),
        Ok(Code::Canceled) => Error::Canceled,
        Ok(Code::Open) => Error::Open(detail()?),
        Ok(Code::NoSpace) => Error::NoSpace,
        Ok(Code::TooManyRequests) => Error::TooManyRequests,
        Ok(Code::NoLeader) => Error::NoLeader,
        Ok(Code::NotLeader) => Error::NotLeader,
        Ok(Code::Timeout) => Error::Timeout,
        Ok(Code::Unavailable) => Error::Unavailable(detail()?),
        Ok(Code::Stopped) => Error::Stopped,
        Ok(Code::LeaderChanged) => Error::LeaderChanged,
        Ok(Code::OutcomeUnknown) => Error::OutcomeUnknown,
        Ok(Code::ConnectionLost) => Error::ConnectionLost,
        Ok(Code::Fatal) => Error::Fatal(detail()?),
        Ok(Code::Corrupt) => Error::Corrupt(detail()?),
        Ok(Code::ReplyTooLarge) => return Ok(None),
        // A code of a later version: what it asks of the caller is not known either.
        Ok(Code::Unknown) | Err(capnp::NotInSchema(_)) => Error::OutcomeUnknown,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(error: &Error) -> Option<Error> {
        let mut message = capnp::message::Builder::new_default();
        put(error, message.init_root());
        get(message.get_root_as_reader().expect("it was just written")).expect("it is well formed")
    }

    #[test]
    fn what_is_too_much_is_told_apart() {
        for error in [Error::TxnTooLarge, Error::DoneAnswerTooLarge, Error::TooManyOps] {
            assert_eq!(sent(&error), Some(error));
        }
        assert_eq!(sent(&Error::AnswerTooLarge), None, "to be read in pieces");
    }
}
