//! URLs as etcd accepts them in its flags.

use std::net::IpAddr;

/// Reads URLs separated by commas, sorted and each once. The error is etcd's.
pub(crate) fn read(text: &str) -> Result<Vec<String>, String> {
    read_checked(text, check)
}

/// As [`read`], of other members: they may be reached by Coffer's own schemes as well.
pub(crate) fn read_peers(text: &str) -> Result<Vec<String>, String> {
    read_checked(text, |url| {
        let own =
            url.strip_prefix("coffer").filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
        match own {
            Some(rest) => check(&format!("http{rest}")),
            None => check(url),
        }
    })
}

fn read_checked(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    // etcd takes an empty value for none at all.
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = Vec::new();
    for url in text.split(',').map(str::trim) {
        check(url)?;
        urls.push(url.to_owned());
    }
    urls.sort();
    urls.dedup();
    Ok(urls)
}

fn check(url: &str) -> Result<(), String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return match url.starts_with("unix:/") || url.starts_with("unixs:/") {
            true => Ok(()),
            false => Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
        };
    };
    match scheme {
        "http" | "https" => {
            let (host_port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if split_host_port(host_port).is_none() {
                return Err(format!("URL address does not have the form \"host:port\": {url}"));
            }
            match path.is_empty() {
                true => Ok(()),
                false => Err(format!("URL must not contain a path: {url}")),
            }
        }
        "unix" | "unixs" if rest.is_empty() => Err(format!("URL names no socket file: {url}")),
        "unix" | "unixs" => Ok(()),
        _ => Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
}

/// Whether one can listen there: an address, no name but `localhost`.
pub(crate) fn check_bind(url: &str) -> Result<(), String> {
    let Some((host, port)) = host_and_port(url) else { return Ok(()) };
    if port.parse::<u16>().is_err() {
        return Err(format!("invalid port in URL for binding ({url})"));
    }
    match host == "localhost" || host.parse::<IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(format!("expected IP in URL for binding ({url})")),
    }
}

/// Whether others can come there: any host.
pub(crate) fn check_host(url: &str) -> Result<(), String> {
    match host_and_port(url) {
        Some(("", _)) => Err(format!("unexpected empty host ({url})")),
        _ => Ok(()),
    }
}

/// The URL to listen on for `url`: Go takes the IPv4 address of `localhost`, whatever else it has.
pub(crate) fn to_bind(url: &str) -> String {
    match url.strip_prefix("http://localhost:") {
        Some(port) => format!("http://127.0.0.1:{port}"),
        None => url.to_owned(),
    }
}

pub(crate) fn is_encrypted(url: &str) -> bool {
    url.starts_with("https:") || url.starts_with("unixs:")
}

/// Host and port of an `http(s)://` URL.
fn host_and_port(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme.starts_with("http") { split_host_port(rest) } else { None }
}

/// Splits `host:port`, an IPv6 address in brackets.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inner) => Some((inner.strip_suffix(']')?, port)),
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_accepts_is_accepted() {
        let urls = read("http://b:2, http://[::1]:3,unix:///run/e.sock,unix:/e,https://a:1,http://b:2");
        let expected = ["http://[::1]:3", "http://b:2", "https://a:1", "unix:///run/e.sock", "unix:/e"];
        assert_eq!(urls, Ok(expected.map(String::from).to_vec()));
        assert_eq!(read(""), Ok(Vec::new()));
    }

    #[test]
    fn what_etcd_refuses_is_refused_in_its_words() {
        for (text, error) in [
            ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
            ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
            ("http://a", "URL address does not have the form \"host:port\": http://a"),
            ("http://::1:2", "URL address does not have the form \"host:port\": http://::1:2"),
            ("http://a:1/", "URL must not contain a path: http://a:1/"),
            ("http://a:1,", "URL scheme must be http, https, unix, or unixs: "),
        ] {
            assert_eq!(read(text), Err(error.into()));
        }
        assert_eq!(
            check_bind("http://etcd.example:1"),
            Err("expected IP in URL for binding (http://etcd.example:1)".into())
        );
        assert_eq!(
            check_bind("http://0.0.0.0:99999"),
            Err("invalid port in URL for binding (http://0.0.0.0:99999)".into())
        );
        assert_eq!(check_host("http://:1"), Err("unexpected empty host (http://:1)".into()));
    }

    #[test]
    fn one_listens_on_addresses_and_localhost() {
        for url in ["http://localhost:1", "http://0.0.0.0:0", "http://[::]:1", "unix:///e", "unix://e:1"] {
            assert_eq!(check_bind(url), Ok(()), "{url}");
        }
        assert_eq!(check_host("http://etcd.example:1"), Ok(()));
        assert_eq!(to_bind("http://localhost:2379"), "http://127.0.0.1:2379");
        assert_eq!(to_bind("http://[::1]:2379"), "http://[::1]:2379");
    }
}
