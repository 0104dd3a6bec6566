//! Listening sockets.

use super::{Address, Stream, TcpStream, UnixStream};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Connections that wait to be accepted; the system may cap it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Accepts TCP connections.
#[derive(Debug)]
pub struct TcpListener(async_std::net::TcpListener);

impl TcpListener {
    /// Listens on the first address of `host:port` that can be bound. Port 0 lets the system choose. Resolving a name
    /// blocks.
    ///
    /// # Errors
    /// The name is unknown, the port is in use, or binding is not allowed.
    pub fn bind(host_port: &str) -> io::Result<Self> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in host_port.to_socket_addrs()? {
            match listen(address) {
                Ok(listener) => return Ok(Self(listener.into())),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The next connection. A connection that broke before it was accepted is skipped.
    ///
    /// # Errors
    /// The process or system is out of descriptors or memory: wait a little before the next call.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let (stream, peer) = self.0.accept().await?;
            if let Ok(stream) = TcpStream::configure(stream) {
                return Ok((stream, peer));
            }
        }
    }

    /// The address, with the actual port.
    ///
    /// # Errors
    /// The system refused.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted daemon gets its port back although connections of its predecessor still linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts Unix connections. Dropping it removes the socket file.
#[derive(Debug)]
pub struct UnixListener {
    listener: async_std::os::unix::net::UnixListener,
    path: PathBuf,
    /// Device and inode of the socket file, so that a successor's is not removed.
    file: (u64, u64),
}

impl UnixListener {
    /// Listens on a socket file. One that a dead process left there is replaced.
    ///
    /// # Errors
    /// Somebody listens there (`AddrInUse`), another kind of file is in the way, or the folder is missing or forbidden.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = match bind_unix(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                fs::remove_file(path)?;
                bind_unix(path)?
            }
            outcome => outcome?,
        };
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { listener: listener.into(), path: path.to_owned(), file: (metadata.dev(), metadata.ino()) })
    }

    /// The next connection.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| UnixStream::new(stream))
    }

    /// The path of the socket file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // Failing leaves a stale file, which the next `bind` replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether `path` is a socket that nobody listens on.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A listener of either kind.
#[derive(Debug)]
pub enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Listens. Call it inside [`local::run`](crate::local::run) or [`block_on`](crate::block_on), or anywhere before.
    ///
    /// # Errors
    /// As [`TcpListener::bind`] and [`UnixListener::bind`].
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host_port) => TcpListener::bind(host_port).map(Self::Tcp),
            Address::Unix(path) => UnixListener::bind(path).map(Self::Unix),
        }
    }

    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<(Stream, Address)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (stream.into(), peer.into())),
            Self::Unix(listener) => listener
                .accept()
                .await
                .map(|stream| (stream.into(), Address::Unix(listener.path().to_owned()))),
        }
    }

    /// Where it listens, with the actual port.
    ///
    /// # Errors
    /// The system refused.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::from),
            Self::Unix(listener) => Ok(Address::Unix(listener.path().to_owned())),
        }
    }
}
