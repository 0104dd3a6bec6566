//! The daemon's settings, complete and checked.

use super::config::{LogLevel, Partial, ServeOptions};
use crate::duration;
use crate::failure::Failure;
use coffer::{DEFAULT_PORT, Endpoint};
use std::path::PathBuf;
use std::time::Duration;

/// The daemon's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_client_urls: Vec<Endpoint>,
    /// Empty for where it listens.
    pub(crate) advertise_client_urls: Vec<Endpoint>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) max_txn_ops: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) watch_progress_notify_interval: Duration,
    pub(crate) log_level: LogLevel,
}

impl Settings {
    /// Collects the settings from all sources and checks them.
    pub(crate) fn load(options: ServeOptions) -> Result<Self, Failure> {
        let file = match &options.config {
            Some(path) => Partial::read(path)?,
            None => Partial::default(),
        };
        Self::complete(options.flags.or(file)).map_err(Failure::usage)
    }

    fn complete(given: Partial) -> Result<Self, String> {
        let name = given.name.unwrap_or_else(|| "default".into());
        let settings = Self {
            data_dir: absolute(given.data_dir.unwrap_or_else(|| format!("{name}.coffer").into()))?,
            listen_client_urls: match given.listen_client_urls {
                Some(urls) => endpoints("listen-client-urls", &urls)?,
                None => vec![Endpoint::Tcp { host: "127.0.0.1".into(), port: DEFAULT_PORT }],
            },
            advertise_client_urls: match given.advertise_client_urls {
                Some(urls) => endpoints("advertise-client-urls", &urls)?,
                None => Vec::new(),
            },
            heartbeat_interval: Duration::from_millis(given.heartbeat_interval.unwrap_or(100)),
            election_timeout: Duration::from_millis(given.election_timeout.unwrap_or(1000)),
            max_txn_ops: given.max_txn_ops.unwrap_or(128),
            max_request_bytes: given.max_request_bytes.unwrap_or(1536 * 1024),
            watch_progress_notify_interval: match given.watch_progress_notify_interval {
                Some(text) => duration::parse(&text)
                    .map_err(|reason| format!("watch-progress-notify-interval: {reason}"))?,
                None => Duration::from_secs(600),
            },
            log_level: given.log_level.unwrap_or_default(),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let millis = |duration: Duration| duration.as_millis();
        if self.heartbeat_interval.is_zero() {
            return Err("heartbeat-interval must be at least 1 ms".into());
        }
        if self.election_timeout < self.heartbeat_interval * 5 {
            return Err(format!(
                "election-timeout is {} ms; it must be at least 5 times heartbeat-interval, {} ms",
                millis(self.election_timeout),
                millis(self.heartbeat_interval * 5)
            ));
        }
        if self.election_timeout > Duration::from_secs(50) {
            return Err(format!(
                "election-timeout is {} ms; it must be at most 50000 ms",
                millis(self.election_timeout)
            ));
        }
        if self.max_txn_ops == 0 {
            return Err("max-txn-ops must be at least 1".into());
        }
        if !(1024..=REQUEST_BYTES_MAX).contains(&self.max_request_bytes) {
            return Err(format!(
                "max-request-bytes is {}; it must be from 1024 to {REQUEST_BYTES_MAX}",
                self.max_request_bytes
            ));
        }
        if self.watch_progress_notify_interval < Duration::from_millis(100) {
            return Err("watch-progress-notify-interval must be at least 100ms".into());
        }
        Ok(())
    }
}

/// The largest request that can be allowed.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

fn absolute(dir: PathBuf) -> Result<PathBuf, String> {
    if dir.as_os_str().is_empty() {
        return Err("data-dir is empty".into());
    }
    std::path::absolute(&dir).map_err(|error| format!("data-dir {}: {error}", dir.display()))
}

fn endpoints(setting: &str, urls: &[String]) -> Result<Vec<Endpoint>, String> {
    let mut endpoints = Vec::new();
    for url in urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty()) {
        if !url.starts_with("coffer://") && !url.starts_with("unix:") {
            return Err(format!("{setting}: `{url}` must begin with coffer:// or unix://"));
        }
        let endpoint: Endpoint = url.parse().map_err(|error| format!("{setting}: {error}"))?;
        if endpoints.contains(&endpoint) && !matches!(endpoint, Endpoint::Tcp { port: 0, .. }) {
            return Err(format!("{setting}: `{url}` is given twice"));
        }
        endpoints.push(endpoint);
    }
    match endpoints.is_empty() {
        true => Err(format!("{setting} names no URL")),
        false => Ok(endpoints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_etcd() {
        let settings = Settings::complete(Partial::default()).unwrap();
        assert!(settings.data_dir.is_absolute() && settings.data_dir.ends_with("default.coffer"));
        assert_eq!(settings.listen_client_urls[0].to_string(), "coffer://127.0.0.1:7420");
        assert_eq!((settings.max_txn_ops, settings.max_request_bytes), (128, 1_572_864));
    }

    #[test]
    fn what_can_not_work_is_refused() {
        let none = Partial::default;
        for (given, reason) in [
            (Partial { heartbeat_interval: Some(0), ..none() }, "at least 1 ms"),
            (
                Partial { heartbeat_interval: Some(300), ..none() },
                "at least 5 times heartbeat-interval, 1500 ms",
            ),
            (Partial { election_timeout: Some(60_000), ..none() }, "at most 50000 ms"),
            (Partial { max_txn_ops: Some(0), ..none() }, "max-txn-ops"),
            (Partial { max_request_bytes: Some(7), ..none() }, "max-request-bytes is 7"),
            (
                Partial { watch_progress_notify_interval: Some("often".into()), ..none() },
                "`often` is no duration",
            ),
            (Partial { watch_progress_notify_interval: Some("1ms".into()), ..none() }, "at least 100ms"),
            (Partial { data_dir: Some("".into()), ..none() }, "data-dir is empty"),
            (
                Partial { listen_client_urls: Some(vec!["http://a:1".into()]), ..none() },
                "must begin with coffer://",
            ),
            (Partial { listen_client_urls: Some(vec!["coffer://a:x".into()]), ..none() }, "no port number"),
            (Partial { listen_client_urls: Some(vec!["".into()]), ..none() }, "names no URL"),
            (
                Partial {
                    listen_client_urls: Some(vec!["coffer://a:1".into(), "coffer://a:1".into()]),
                    ..none()
                },
                "given twice",
            ),
        ] {
            let error = Settings::complete(given).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
