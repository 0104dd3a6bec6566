//! Connected sockets. Clones share one connection: one task may read while another writes.

use super::Address;
use futures_io::{AsyncRead, AsyncWrite, IoSlice, IoSliceMut};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// A TCP connection.
#[derive(Clone, Debug)]
pub struct TcpStream(async_std::net::TcpStream);

impl TcpStream {
    /// Connects to `host:port`, trying every address that the name has.
    ///
    /// # Errors
    /// The name is unknown, or no address answers. There is no deadline: see [`timeout`](crate::timeout).
    pub async fn connect(host_port: &str) -> io::Result<Self> {
        // Literal addresses need no resolver, which would cost a thread.
        let stream = match host_port.parse::<SocketAddr>() {
            Ok(address) => {
                async_io::Async::<std::net::TcpStream>::connect(address).await?.into_inner()?.into()
            }
            Err(_) => connect_by_name(host_port.to_owned()).await?,
        };
        Self::configure(stream)
    }

    pub(super) fn configure(stream: async_std::net::TcpStream) -> io::Result<Self> {
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        Ok(Self(stream))
    }

    /// The address of this end.
    ///
    /// # Errors
    /// The system refused.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

async fn connect_by_name(host_port: String) -> io::Result<async_std::net::TcpStream> {
    let addresses = crate::unblock(move || std::net::ToSocketAddrs::to_socket_addrs(&host_port))
        .await
        .map_err(io::Error::other)??;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match async_io::Async::<std::net::TcpStream>::connect(address).await {
            Ok(stream) => return Ok(stream.into_inner()?.into()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A Unix connection.
#[derive(Clone, Debug)]
pub struct UnixStream(async_std::os::unix::net::UnixStream);

impl UnixStream {
    /// Connects to the socket file at `path`.
    ///
    /// # Errors
    /// There is no such file, or nobody listens.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self(async_std::os::unix::net::UnixStream::connect(path).await?))
    }

    /// Two connected streams.
    ///
    /// # Errors
    /// The system refused.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = async_std::os::unix::net::UnixStream::pair()?;
        Ok((Self(one), Self(other)))
    }

    pub(super) fn new(stream: async_std::os::unix::net::UnixStream) -> Self {
        Self(stream)
    }
}

/// A connection of either kind.
#[derive(Clone, Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// As [`TcpStream::connect`] and [`UnixStream::connect`].
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host_port) => TcpStream::connect(host_port).await.map(Self::Tcp),
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// Ends one or both directions for every clone: pending reads and writes return.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.0.shutdown(how),
            Self::Unix(stream) => stream.0.shutdown(how),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

/// What all the sockets below are.
trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

impl TcpStream {
    fn socket(&mut self) -> Pin<&mut dyn Socket> {
        Pin::new(&mut self.0)
    }
}

impl UnixStream {
    fn socket(&mut self) -> Pin<&mut dyn Socket> {
        Pin::new(&mut self.0)
    }
}

impl Stream {
    fn socket(&mut self) -> Pin<&mut dyn Socket> {
        match self {
            Self::Tcp(stream) => stream.socket(),
            Self::Unix(stream) => stream.socket(),
        }
    }
}

/// Reads and writes through the type's `socket`.
macro_rules! read_and_write {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_read(context, buffer)
            }

            fn poll_read_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_read_vectored(context, buffers)
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_write(context, buffer)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.socket().poll_write_vectored(context, buffers)
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.socket().poll_flush(context)
            }

            fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.socket().poll_close(context)
            }
        }
    };
}

read_and_write!(TcpStream);
read_and_write!(UnixStream);
read_and_write!(Stream);
