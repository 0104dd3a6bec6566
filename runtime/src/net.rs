//! Listeners and streams over TCP and Unix sockets.
//!
//! Every TCP stream has `TCP_NODELAY` and notices a dead peer by itself: keepalive after 10 s of silence, every 3 s,
//! 3 times; data that stays unacknowledged for 15 s breaks the connection.

mod listener;
mod stream;

pub use listener::{Listener, TcpListener, UnixListener};
pub use stream::{Stream, TcpStream, UnixStream};

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a listener listens or a stream connects to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`, a name or an address; port 0 lets the system choose when listening.
    Tcp(String),
    /// The path of a socket file.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host_port) => f.write_str(host_port),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.to_string())
    }
}
