//! Who may ask over plain HTTP: hosts against DNS rebinding, origins for scripts in browsers.

use crate::server::ServerConfig;
use ::http::{HeaderMap, HeaderValue, Request, header};

/// What is written to let a script of this origin read the answer.
pub(super) type Origin = Option<HeaderValue>;

/// Checks the host, and tells which origin is allowed.
///
/// # Errors
/// The host is not in the list: what to tell of it.
pub(super) fn check<B>(config: &ServerConfig, request: &Request<B>) -> Result<Origin, String> {
    let host = host(request);
    if !is_listed(&config.host_whitelist, host) {
        tracing::warn!(host, "refused an HTTP request for an unknown host");
        return Err(rebinding_refused(host));
    }
    if is_listed(&config.cors, "*") {
        return Ok(Some(HeaderValue::from_static("*")));
    }
    let origin = request.headers().get(header::ORIGIN);
    let origin = origin.filter(|origin| origin.to_str().is_ok_and(|origin| is_listed(&config.cors, origin)));
    Ok(origin.cloned())
}

/// Adds what a browser wants to see.
pub(super) fn allow(origin: Origin, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static("accept, content-type, authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
}

/// An empty list, and one with a star, has everything.
fn is_listed(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|listed| listed == "*" || listed == name)
}

/// The host that is asked for, without the port.
fn host<B>(request: &Request<B>) -> &str {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    without_port(host.unwrap_or_default())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
                Some(address) => address,
                None if name.contains(':') => host,
                None => name,
            }
        }
        _ => host,
    }
}

/// etcd's words.
fn rebinding_refused(host: &str) -> String {
    format!(
        r#"
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist {host:?}

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).

"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_no_part_of_the_host() {
        for (host, name) in [
            ("a.example:2379", "a.example"),
            ("a.example", "a.example"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:2379", "::1"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(without_port(host), name, "{host}");
        }
    }
}
