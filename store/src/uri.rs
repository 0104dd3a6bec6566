//! Where a store is: `file:///dir`, `mem:`, `unix:///path`, `coffer://host:port,host:port`.
//!
//! `file:` takes parameters: `?backend=sqlite`, and what seals it: `&seal-key-file=/path` and so on, or `&unsealed`.

use crate::seal::Seal;
use coffer_backends::Backend;
use coffer_core::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port that clients are served on where none is named.
pub const DEFAULT_PORT: u16 = 7420;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// A directory, opened in this process.
    File {
        /// The directory.
        dir: PathBuf,
        /// The backend that the URI asks for, if any.
        backend: Option<Backend>,
        /// What the URI says about sealing, if anything.
        seal: Option<Seal>,
    },
    /// Memory of this process.
    Memory,
    /// Daemons, each of which can answer.
    Remote(Vec<Endpoint>),
}

/// Where one daemon listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// A name or an address; without brackets for IPv6.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Uri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text == "mem:" || text == "mem://" {
            return Ok(Self::Memory);
        }
        if let Some(rest) = text.strip_prefix("file:") {
            let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
            let Parameters { backend, seal } = Parameters::read(text, parameters)?;
            return Ok(Self::File { dir: absolute_path(text, path)?, backend, seal });
        }
        // Elsewhere a bare `host:port` will do; here it might as well be a misspelt path.
        match text.is_empty() || text.contains(":/") {
            true => Ok(Self::Remote(Endpoint::parse_list(text)?)),
            false => Err(invalid(text, NO_SCHEME)),
        }
    }
}

impl Endpoint {
    /// Reads a list separated by commas. Where an item names no scheme it is `coffer://`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that says what is wrong and what is expected.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(Self::from_str)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|endpoints| match endpoints.is_empty() {
                true => Err(invalid(text, "it names no endpoint")),
                false => Ok(endpoints),
            })
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(invalid(text, ABSOLUTE)),
            };
        }
        let authority = match text.split_once(":/") {
            Some(("coffer", rest)) => rest.strip_prefix('/').unwrap_or(rest),
            Some((scheme, _)) => {
                return Err(invalid(text, &format!("the scheme `{scheme}` is not known")));
            }
            None if text == "mem" || text.starts_with('/') || text.starts_with('.') => {
                return Err(invalid(text, NO_SCHEME));
            }
            None => text,
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) =
            split_host_port(authority).ok_or_else(|| invalid(text, "it has no port number"))?;
        let strange = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]%".contains(c);
        if host.is_empty() || host.contains(strange) {
            return Err(invalid(text, &format!("`{host}` is no host")));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

const NO_SCHEME: &str = "it has no scheme";
const ABSOLUTE: &str = "the path must be absolute, so that three slashes follow the scheme";

/// Splits `host:port`, `host`, `[v6]:port` and `[v6]`.
fn split_host_port(authority: &str) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => rest.is_empty().then_some((host, DEFAULT_PORT)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, DEFAULT_PORT)),
    }
}

/// The path of `file:///path`, percent-decoded. `rest` is what follows the scheme's colon.
fn absolute_path(uri: &str, rest: &str) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStringExt;
    let path = match rest.strip_prefix("//") {
        Some(path) => path.strip_prefix("localhost").unwrap_or(path),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(invalid(uri, ABSOLUTE));
    }
    if path.contains('#') {
        return Err(invalid(uri, "write `%3F` and `%23` for ? and # in a path"));
    }
    let bytes =
        percent_decode(path).ok_or_else(|| invalid(uri, "a `%` is not followed by two hex digits"))?;
    if bytes.contains(&0) {
        return Err(invalid(uri, "a path holds no zero byte"));
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// What follows the `?` of `file:///path?backend=sqlite&seal-key-file=/key`.
#[derive(Default)]
struct Parameters {
    backend: Option<Backend>,
    seal: Option<Seal>,
}

impl Parameters {
    fn read(uri: &str, text: &str) -> Result<Self, Error> {
        let mut read = Self::default();
        for parameter in text.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode(value)
                .ok_or_else(|| invalid(uri, "a `%` is not followed by two hex digits"))?;
            read.set(name, value).map_err(|reason| invalid(uri, &reason))?;
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        use std::os::unix::ffi::OsStringExt;
        let text = |value| {
            String::from_utf8(value).map_err(|_| format!("the value of the parameter `{name}` is not UTF-8"))
        };
        let path = |value: Vec<u8>| match value.first() {
            Some(b'/') => Ok(PathBuf::from(std::ffi::OsString::from_vec(value))),
            _ => Err(format!("the parameter `{name}` wants an absolute path")),
        };
        let seal = match name {
            "backend" => {
                return match self.backend.replace(text(value)?.parse()?) {
                    None => Ok(()),
                    Some(_) => Err("the parameter `backend` is given twice".into()),
                };
            }
            "seal-key-file" => Seal::KeyFile(path(value)?),
            "seal-passphrase-file" => Seal::PassphraseFile(path(value)?),
            "seal-command" => Seal::Command(text(value)?),
            "seal-kms-socket" => Seal::KmsSocket(text(value)?),
            "unsealed" => match &value[..] {
                b"" | b"true" => Seal::Unsealed,
                _ => return Err("the parameter `unsealed` takes no value".into()),
            },
            _ => {
                return Err(format!(
                    "the parameter `{name}` is not known, there are backend, seal-key-file, seal-passphrase-file, \
                     seal-command, seal-kms-socket and unsealed; write `%3F` and `%23` for ? and # in a path"
                ));
            }
        };
        match self.seal.replace(seal) {
            None => Ok(()),
            Some(_) => Err("it says more than once what seals the store: give one key".into()),
        }
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: u8| (byte as char).to_digit(16);
                (digit(bytes.next()?)? * 16 + digit(bytes.next()?)?) as u8
            }
            byte => byte,
        });
    }
    Some(decoded)
}

fn percent_encode(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'%' | b'?' | b'#' | b'&' | 0..=b' ' | 0x7f.. => write!(f, "%{byte:02X}")?,
            byte => write!(f, "{}", byte as char)?,
        }
    }
    Ok(())
}

fn invalid(uri: &str, reason: &str) -> Error {
    Error::InvalidArgument(format!(
        "`{uri}` names no store: {reason}; use file:///dir, mem:, unix:///path or coffer://host:port,host:port"
    ))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "coffer://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "coffer://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { dir, backend, seal } => {
                use std::os::unix::ffi::OsStrExt;
                f.write_str("file://")?;
                percent_encode(dir.as_os_str().as_bytes(), f)?;
                if let Some(backend) = backend {
                    write!(f, "?backend={backend}")?;
                }
                let (name, value) = match seal {
                    // What was not in a URI has no place in one.
                    None | Some(Seal::Passphrase(_) | Seal::PassphraseVariable(_)) => return Ok(()),
                    Some(Seal::Unsealed) => ("unsealed", None),
                    Some(Seal::KeyFile(path)) => ("seal-key-file", Some(path.as_os_str().as_bytes())),
                    Some(Seal::PassphraseFile(path)) => {
                        ("seal-passphrase-file", Some(path.as_os_str().as_bytes()))
                    }
                    Some(Seal::Command(line)) => ("seal-command", Some(line.as_bytes())),
                    Some(Seal::KmsSocket(endpoint)) => ("seal-kms-socket", Some(endpoint.as_bytes())),
                };
                f.write_str(if backend.is_some() { "&" } else { "?" })?;
                f.write_str(name)?;
                let Some(value) = value else { return Ok(()) };
                f.write_str("=")?;
                percent_encode(value, f)
            }
            Self::Memory => f.write_str("mem:"),
            Self::Remote(endpoints) => {
                for (i, endpoint) in endpoints.iter().enumerate() {
                    if i > 0 {
                        f.write_str(",")?;
                    }
                    endpoint.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port }
    }

    fn file(dir: &str, backend: Option<Backend>) -> Uri {
        Uri::File { dir: dir.into(), backend, seal: None }
    }

    #[test]
    fn every_kind_is_read_and_written_back() {
        for (text, uri, shown) in [
            ("mem:", Uri::Memory, "mem:"),
            ("file:///var/lib/a%20b", file("/var/lib/a b", None), "file:///var/lib/a%20b"),
            ("file:/var/lib", file("/var/lib", None), "file:///var/lib"),
            (
                "file:///a%3Fb?backend=sqlite",
                file("/a?b", Some(Backend::Sqlite)),
                "file:///a%3Fb?backend=sqlite",
            ),
            ("file:///a?backend=segment", file("/a", Some(Backend::Segment)), "file:///a?backend=segment"),
            (
                "unix:///run/c.sock",
                Uri::Remote(vec![Endpoint::Unix("/run/c.sock".into())]),
                "unix:///run/c.sock",
            ),
            (
                "coffer://a:1,b:2, [::1]:3",
                Uri::Remote(vec![tcp("a", 1), tcp("b", 2), tcp("::1", 3)]),
                "coffer://a:1,coffer://b:2,coffer://[::1]:3",
            ),
            (
                "coffer://a,coffer://b/",
                Uri::Remote(vec![tcp("a", 7420), tcp("b", 7420)]),
                "coffer://a:7420,coffer://b:7420",
            ),
        ] {
            assert_eq!(text.parse(), Ok(uri.clone()), "{text}");
            assert_eq!(uri.to_string(), shown);
            assert_eq!(shown.parse(), Ok(uri), "{shown}");
        }
    }

    #[test]
    fn what_seals_is_read_and_written_back() {
        for (text, seal) in [
            ("file:///a?unsealed", Seal::Unsealed),
            ("file:///a?seal-key-file=/k%20%26", Seal::KeyFile("/k &".into())),
            ("file:///a?seal-passphrase-file=/p", Seal::PassphraseFile("/p".into())),
            ("file:///a?seal-command=wrap%20--key%20k", Seal::Command("wrap --key k".into())),
            ("file:///a?seal-kms-socket=unix:///k.sock", Seal::KmsSocket("unix:///k.sock".into())),
        ] {
            let uri = Uri::File { dir: "/a".into(), backend: None, seal: Some(seal.clone()) };
            assert_eq!(text.parse(), Ok(uri.clone()), "{text}");
            assert_eq!(uri.to_string(), text);
            let both = Uri::File { dir: "/a".into(), backend: Some(Backend::Sqlite), seal: Some(seal) };
            assert_eq!(both.to_string().parse(), Ok(both), "{text}");
        }
    }

    #[test]
    fn endpoints_need_no_scheme() {
        let endpoints = Endpoint::parse_list("localhost:7, ,[::1]");
        assert_eq!(endpoints, Ok(vec![tcp("localhost", 7), tcp("::1", 7420)]));
    }

    #[test]
    fn what_is_no_uri_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "names no endpoint"),
            ("file://relative", "must be absolute"),
            ("file:///a?b=c", "parameter `b` is not known"),
            ("file:///a?seal-key-file=k", "wants an absolute path"),
            ("file:///a?seal-key-file=/k&unsealed", "give one key"),
            ("file:///a?unsealed=maybe", "takes no value"),
            ("file:///a?backend=tape", "there is no backend"),
            ("file:///a?backend=sqlite&backend=sqlite", "given twice"),
            ("file:///a#b", "write `%3F` and `%23`"),
            ("file:///a%2", "two hex digits"),
            ("unix://", "must be absolute"),
            ("/var/lib/coffer", "has no scheme"),
            ("localhost:7", "has no scheme"),
            ("http://a:2379", "scheme `http` is not known"),
            ("coffer://a:port", "no port number"),
            ("coffer://:7420", "is no host"),
            ("coffer://a:1,ftp://b", "scheme `ftp` is not known"),
        ] {
            let error = text.parse::<Uri>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains("use file:///dir"), "{error}");
        }
    }
}
