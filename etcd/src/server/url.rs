//! Where the server listens: `http://host:port` and `unix:///path`.

use coffer_runtime::net::Address;
use std::path::PathBuf;
use thiserror::Error;

/// A URL that this crate can not use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{url}: {reason}")]
pub struct UrlError {
    /// What was given.
    pub url: String,
    /// What is wrong with it, and what would be right.
    pub reason: &'static str,
}

/// The address that `url` names.
pub(super) fn parse(url: &str) -> Result<Address, UrlError> {
    let error = |reason| UrlError { url: url.to_owned(), reason };
    if let Some(path) = url.strip_prefix("unix://") {
        if !path.starts_with('/') {
            return Err(error("a socket file needs an absolute path: unix:///run/etcd.sock"));
        }
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let Some(host_port) = url.strip_prefix("http://") else {
        return Err(error("expected http://host:port or unix:///path"));
    };
    let host_port = host_port.trim_end_matches('/');
    match host_port.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(Address::Tcp(host_port.to_owned()))
        }
        _ => Err(error("expected a host and a port up to 65535: http://127.0.0.1:2379")),
    }
}

/// The URL of `address`.
pub(super) fn format(address: &Address) -> String {
    match address {
        Address::Tcp(host_port) => format!("http://{host_port}"),
        Address::Unix(path) => format!("unix://{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_can_be_listened_on() {
        for (url, expected) in [
            ("http://127.0.0.1:2379", Address::Tcp("127.0.0.1:2379".into())),
            ("http://[::1]:0/", Address::Tcp("[::1]:0".into())),
            ("unix:///run/etcd.sock", Address::Unix("/run/etcd.sock".into())),
        ] {
            assert_eq!(parse(url).as_ref(), Ok(&expected), "{url}");
        }
        for url in
            ["", "http://", "http://host", "http://:1", "http://a:70000", "unix://x", "https://a:1", "a:1"]
        {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
