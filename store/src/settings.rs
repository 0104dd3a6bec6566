//! Options by the names that flags, environment and configuration have for them, for surfaces that pass text.

use crate::options::Options;
use crate::seal::Seal;
use crate::{byte_count, duration};
use coffer_core::Error;
use std::path::PathBuf;
use std::time::Duration;

/// The largest request that can be allowed.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Options {
    /// What [`set`](Self::set) knows.
    pub const NAMES: [&str; 17] = [
        "backend",
        "create",
        "seal-key-file",
        "seal-passphrase-file",
        "seal-passphrase",
        "seal-command",
        "seal-kms-socket",
        "unsealed",
        "quota-backend-bytes",
        "max-request-bytes",
        "max-txn-ops",
        "heartbeat-interval",
        "election-timeout",
        "watch-progress-notify-interval",
        "scrub-interval",
        "scrub-rate",
        "command-timeout",
    ];

    /// Sets the option that bears this name, as a flag or a key of a configuration file would. Only one of them can say
    /// what seals a store. Whether several go together, [`check`](Self::check) says.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], with what is known or what was expected.
    pub fn set(self, name: &str, value: &str) -> Result<Self, Error> {
        self.try_set(name, value)
            .map_err(|reason| Error::InvalidArgument(format!("option `{name}`: {reason}")))
    }

    fn try_set(mut self, name: &str, value: &str) -> Result<Self, String> {
        match name {
            "backend" => self.backend = Some(value.parse()?),
            "create" => self.create = truth(value)?,
            "seal-key-file" => return self.sealed(Seal::KeyFile(path(value)?)),
            "seal-passphrase-file" => return self.sealed(Seal::PassphraseFile(path(value)?)),
            "seal-passphrase" => {
                return self.sealed(Seal::Passphrase(value.as_bytes().to_vec().into()));
            }
            "seal-command" => return self.sealed(Seal::Command(value.into())),
            "seal-kms-socket" => return self.sealed(Seal::KmsSocket(value.into())),
            "unsealed" => {
                if truth(value)? {
                    return self.sealed(Seal::Unsealed);
                }
            }
            "quota-backend-bytes" => self.quota_bytes = bytes_or_none(value)?,
            "max-request-bytes" => {
                self.request_bytes_max = usize::try_from(byte_count::parse(value)?).unwrap_or(usize::MAX);
            }
            "max-txn-ops" => {
                self.txn_ops_max = value.parse().map_err(|_| format!("`{value}` is no number"))?;
            }
            "heartbeat-interval" => self.heartbeat_interval = millis(value)?,
            "election-timeout" => self.election_timeout = millis(value)?,
            "watch-progress-notify-interval" => self.watch_progress_interval = duration::parse(value)?,
            "scrub-interval" => self.scrub_interval = duration::parse(value)?,
            "scrub-rate" => self.scrub_rate_bytes = byte_count::parse(value)?,
            "command-timeout" => {
                let timeout = duration::parse(value)?;
                self.timeout = if timeout.is_zero() { FOR_EVER } else { timeout };
            }
            _ => return Err(format!("it is not known; there are {}", Self::NAMES.join(", "))),
        }
        Ok(self)
    }

    fn sealed(mut self, seal: Seal) -> Result<Self, String> {
        match self.seal.replace(seal) {
            None => Ok(self),
            Some(_) => Err("another option says what seals the store: give one key, or `unsealed`".into()),
        }
    }

    /// Whether a store can work with this.
    ///
    /// # Errors
    /// What does not fit, by the names that [`set`](Self::set) knows.
    pub fn check(&self) -> Result<(), String> {
        let millis = |duration: Duration| duration.as_millis();
        if self.heartbeat_interval.is_zero() {
            return Err("heartbeat-interval must be at least 1 ms".into());
        }
        if self.election_timeout < self.heartbeat_interval.saturating_mul(5) {
            return Err(format!(
                "election-timeout is {} ms; it must be at least 5 times heartbeat-interval, {} ms",
                millis(self.election_timeout),
                millis(self.heartbeat_interval.saturating_mul(5))
            ));
        }
        if self.election_timeout > Duration::from_secs(50) {
            return Err(format!(
                "election-timeout is {} ms; it must be at most 50000 ms",
                millis(self.election_timeout)
            ));
        }
        if self.txn_ops_max == 0 {
            return Err("max-txn-ops must be at least 1".into());
        }
        if !(1024..=REQUEST_BYTES_MAX).contains(&self.request_bytes_max) {
            return Err(format!(
                "max-request-bytes is {}; it must be from 1024 to {REQUEST_BYTES_MAX}",
                self.request_bytes_max
            ));
        }
        if self.watch_progress_interval < Duration::from_millis(100) {
            return Err("watch-progress-notify-interval must be at least 100ms".into());
        }
        Ok(())
    }
}

/// A timeout that nobody lives to see, and that clocks can still add to now.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn truth(value: &str) -> Result<bool, String> {
    match value {
        "true" | "" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{value}` is neither true nor false")),
    }
}

fn path(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() { Err("it names no file".into()) } else { Ok(value.into()) }
}

fn millis(value: &str) -> Result<Duration, String> {
    let millis = value.parse().map_err(|_| format!("`{value}` is no number of milliseconds"))?;
    Ok(Duration::from_millis(millis))
}

fn bytes_or_none(value: &str) -> Result<u64, String> {
    if value == "0" { Ok(0) } else { byte_count::parse(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_backends::Backend;

    fn set(options: &[(&str, &str)]) -> Result<Options, Error> {
        options.iter().try_fold(Options::default(), |options, (name, value)| options.set(name, value))
    }

    #[test]
    fn every_name_sets_what_it_names() {
        let options = set(&[
            ("backend", "sqlite"),
            ("create", "false"),
            ("seal-key-file", "key"),
            ("unsealed", "false"),
            ("quota-backend-bytes", "2GiB"),
            ("max-request-bytes", "1MiB"),
            ("max-txn-ops", "7"),
            ("heartbeat-interval", "10"),
            ("election-timeout", "100"),
            ("watch-progress-notify-interval", "1s"),
            ("scrub-interval", "1h"),
            ("scrub-rate", "1MiB"),
            ("command-timeout", "250ms"),
        ]);
        let options = options.expect("all are known");
        assert_eq!(options.check(), Ok(()));
        assert_eq!((options.backend, options.create), (Some(Backend::Sqlite), false));
        assert_eq!(options.seal, Some(Seal::KeyFile("key".into())));
        assert_eq!((options.quota_bytes, options.request_bytes_max), (2 << 30, 1 << 20));
        assert_eq!((options.txn_ops_max, options.heartbeat_interval.as_millis()), (7, 10));
        assert_eq!((options.election_timeout.as_millis(), options.timeout.as_millis()), (100, 250));
        assert_eq!((options.watch_progress_interval.as_secs(), options.scrub_interval.as_secs()), (1, 3600));
        assert_eq!(options.scrub_rate_bytes, 1 << 20);
    }

    #[test]
    fn every_name_that_is_listed_is_known() {
        for name in Options::NAMES {
            let refused = Options::default().set(name, "\u{1}");
            assert!(
                !matches!(&refused, Err(Error::InvalidArgument(text)) if text.contains("not known")),
                "{name}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_name() {
        for (options, expected) in [
            (&[("colour", "red")][..], "option `colour`: it is not known; there are backend"),
            (&[("backend", "tape")], "option `backend`"),
            (&[("create", "perhaps")], "neither true nor false"),
            (&[("max-txn-ops", "-1")], "`-1` is no number"),
            (&[("quota-backend-bytes", "much")], "is no number of bytes"),
            (&[("election-timeout", "1s")], "no number of milliseconds"),
            (&[("scrub-interval", "often")], "is no duration"),
            (&[("seal-key-file", "")], "it names no file"),
            (&[("seal-key-file", "k"), ("unsealed", "true")], "another option says"),
        ] {
            match set(options) {
                Err(Error::InvalidArgument(text)) => assert!(text.contains(expected), "{text}"),
                other => panic!("{options:?}: {other:?}"),
            }
        }
        let text = set(&[("max-txn-ops", "0")]).expect("a number").check().expect_err("none at all");
        assert!(text.contains("max-txn-ops"), "{text}");
    }
}
