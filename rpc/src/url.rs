//! Where servers listen and clients connect: `coffer://host:port` and `unix:///path`.

use coffer_runtime::net::Address;
use std::path::PathBuf;
use thiserror::Error;

/// The port of `coffer://host` without one.
pub const DEFAULT_PORT: u16 = 7420;

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
///
/// # Errors
/// Another scheme, or no host or path.
pub fn parse(url: &str) -> Result<Address, UrlError> {
    let error = |reason| UrlError { url: url.to_owned(), reason };
    if let Some(path) = url.strip_prefix("unix://") {
        if !path.starts_with('/') {
            return Err(error("a socket file needs an absolute path: unix:///run/coffer.sock"));
        }
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let Some(host_port) = url.strip_prefix("coffer://") else {
        return Err(error("expected coffer://host:port or unix:///path"));
    };
    let host_port = host_port.trim_end_matches('/');
    let has_port = host_port.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if has_port => (host, Some(port)),
        _ => (host_port, None),
    };
    if host.is_empty() || host.contains(['/', '@', '?']) || (host.contains(':') && !host.starts_with('[')) {
        return Err(error("expected a host name or address, an IPv6 address in brackets"));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => Err(error("the port is not a number up to 65535")),
        Some(_) => Ok(Address::Tcp(host_port.to_owned())),
        None => Ok(Address::Tcp(format!("{host}:{DEFAULT_PORT}"))),
    }
}

/// The URL of `address`.
pub fn format(address: &Address) -> String {
    match address {
        Address::Tcp(host_port) => format!("coffer://{host_port}"),
        Address::Unix(path) => format!("unix://{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_addresses() {
        for (url, address) in [
            ("coffer://127.0.0.1:7000", Address::Tcp("127.0.0.1:7000".into())),
            ("coffer://node-1", Address::Tcp("node-1:7420".into())),
            ("coffer://[::1]:7000/", Address::Tcp("[::1]:7000".into())),
            ("coffer://[::1]", Address::Tcp("[::1]:7420".into())),
            ("unix:///run/coffer.sock", Address::Unix("/run/coffer.sock".into())),
        ] {
            assert_eq!(parse(url), Ok(address), "{url}");
        }
        for url in [
            "http://a:1",
            "coffer://",
            "coffer://:1",
            "coffer://a:x",
            "coffer://a:70000",
            "unix://a",
            "coffer://::1:3",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
