//! Why a call fails, until it is told to the caller.

use crate::status::{self, coffer_status};
use coffer::Error;
use std::any::Any;
use std::borrow::Cow;

/// A status that is a failure, and what can be said beyond it. Holds neither keys nor values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: coffer_status,
    pub(crate) message: Cow<'static, str>,
    pub(crate) compact_revision: i64,
}

impl Failure {
    /// One whose text is known beforehand.
    pub(crate) fn plain(status: coffer_status, message: &'static str) -> Self {
        Self { status, message: Cow::Borrowed(message), compact_revision: 0 }
    }

    /// One whose text was put together.
    pub(crate) fn text(status: coffer_status, message: impl Into<String>) -> Self {
        Self { status, message: Cow::Owned(message.into()), compact_revision: 0 }
    }

    /// An argument that has no meaning.
    pub(crate) fn argument(message: &'static str) -> Self {
        Self::plain(status::COFFER_INVALID_ARGUMENT, message)
    }

    /// What a caught panic said.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::text(status::COFFER_PANICKED, format!("panicked: {}", text.unwrap_or("without a text")))
    }

    /// A refused system call.
    pub(crate) fn system(doing: &str, error: impl Into<std::io::Error>) -> Self {
        Self::text(status::COFFER_NO_RESOURCES, format!("cannot {doing}: {}", error.into()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let compact_revision = match error {
            Error::Compacted { compact_revision } => compact_revision,
            _ => 0,
        };
        Self { compact_revision, ..Self::text(status::status_of(&error), error.to_string()) }
    }
}
