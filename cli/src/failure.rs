//! Why the program did not succeed: one line on stderr and an exit code.

use coffer::{Error, ErrorGroup};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

/// What the program exits with. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It failed, and the same will fail again.
    Failed = 1,
    /// The command line, the environment, a file or the input is wrong.
    Usage = 2,
    /// Nothing happened; it may work later.
    Unavailable = 3,
    /// A change may or may not have happened.
    OutcomeUnknown = 4,
    /// Stored data is damaged.
    Corrupt = 5,
}

impl Exit {
    /// The one with this code.
    pub(crate) fn of(code: u8) -> Self {
        let all = [Self::Usage, Self::Unavailable, Self::OutcomeUnknown, Self::Corrupt];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Failed)
    }
}

/// Why the program did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    /// Whether the reader of our output went away, which is no failure of ours.
    quiet: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), quiet: false }
    }

    /// The caller gave something that can not work.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file could not be read or written.
    pub(crate) fn file(doing: &str, path: impl Display, error: &io::Error) -> Self {
        Self::new(Exit::Failed, format_args!("cannot {doing} {path}: {error}"))
    }

    /// A request that changes something failed. Unlike `From<Error>` a node that stopped leaves the outcome unknown.
    pub(crate) fn of_change(error: Error) -> Self {
        let mut failure = Self::from(error.clone());
        if error.is_maybe_committed() {
            failure.exit = Exit::OutcomeUnknown;
        }
        failure
    }

    /// What the program is to exit with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The same failure, told with what was being done.
    pub(crate) fn context(mut self, doing: impl Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The same failure with more to say.
    pub(crate) fn note(mut self, note: impl Display) -> Self {
        self.message = format!("{}; {note}", self.message);
        self
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if self.quiet {
            return ExitCode::SUCCESS;
        }
        let line = self.message.replace('\n', " ");
        // Nothing is left to try if stderr is gone as well.
        let _ = writeln!(io::stderr(), "Error: {line}");
        ExitCode::from(self.exit as u8)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.group() {
            ErrorGroup::Retry => Exit::Unavailable,
            ErrorGroup::OutcomeUnknown => Exit::OutcomeUnknown,
            ErrorGroup::RepairData => Exit::Corrupt,
            _ => Exit::Failed,
        };
        match advice(&error) {
            Some(advice) => Self::new(exit, error).note(advice),
            None => Self::new(exit, error),
        }
    }
}

/// A failure to write to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { exit: Exit::Failed, message: format!("cannot write the output: {error}"), quiet }
    }
}

/// What to do about an error whose text does not say it.
fn advice(error: &Error) -> Option<String> {
    let text = match error {
        Error::EmptyKey => "give a key that is not empty, or --prefix for every key",
        Error::KeyNotFound => {
            "it must exist for --ignore-value and --ignore-lease: put it without them first"
        }
        Error::TooManyOps => "split the transaction, or raise the server's --max-txn-ops",
        Error::DoneAnswerTooLarge => "read what is needed, in parts",
        Error::DuplicateKey => "write each key once in a transaction",
        Error::Compacted { compact_revision } if *compact_revision > 0 => {
            return Some(format!("the oldest revision that can be read is {compact_revision}"));
        }
        Error::FutureRevision => "`coffer status` shows the newest revision",
        Error::NoSpace => {
            "delete what is not needed and compact, free space on the disk of the store, or raise the quota"
        }
        Error::LeaseNotFound => "it may have expired: `coffer lease list` shows what there is",
        Error::LeaseTtlTooLarge => "the longest TTL is 9000000000 seconds",
        Error::RequestTooLarge => "split it, or raise the server's --max-request-bytes",
        Error::TooManyRequests => "the server is overloaded: try again later",
        Error::NoLeader | Error::NotLeader => "try again once the cluster has a leader",
        Error::Timeout => "nothing was changed: try again, or raise --command-timeout",
        Error::OutcomeUnknown | Error::ConnectionLost | Error::LeaderChanged => {
            "the change may or may not have happened: read before trying again"
        }
        Error::Unavailable(_) => {
            "is `coffer serve` running there? --endpoints or COFFER_ENDPOINTS names another place"
        }
        Error::Stopped => "it is shutting down: try again later",
        Error::Open(text) if text.contains("is in use") => {
            "stop that process, or use the store through it with --endpoints"
        }
        Error::Corrupt(_) => "restore the store from a backup, or move the damaged member aside",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_group_of_the_error() {
        for (error, exit) in [
            (Error::EmptyKey, Exit::Failed),
            (Error::Open("x is in use by process 7".into()), Exit::Failed),
            (Error::Unavailable("refused".into()), Exit::Unavailable),
            (Error::Timeout, Exit::Unavailable),
            (Error::OutcomeUnknown, Exit::OutcomeUnknown),
            (Error::ConnectionLost, Exit::OutcomeUnknown),
            (Error::Corrupt("f at 3".into()), Exit::Corrupt),
            (Error::Fatal("fsync".into()), Exit::Failed),
        ] {
            assert_eq!(Failure::from(error.clone()).exit, exit, "{error}");
        }
        assert_eq!(Failure::of_change(Error::Fatal("fsync".into())).exit, Exit::OutcomeUnknown);
        assert_eq!(Failure::of_change(Error::Timeout).exit, Exit::Unavailable);
    }
}
