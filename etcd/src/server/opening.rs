//! Watches over the first bytes of a connection, by which the version of HTTP is known.
//!
//! hyper has timers for what comes after them; without one for these, whoever connects and is silent keeps a connection
//! for ever.

use coffer_runtime::sleep;
use futures_io::{AsyncRead, AsyncWrite};
use std::cell::Cell;
use std::future::pending;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Bytes after which the version is known: the preface of HTTP/2, or less than that of a request in HTTP/1.
const OPENING_BYTES: usize = 24;

/// How much of its opening a client has sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Opening {
    bytes: Rc<Cell<usize>>,
}

impl Opening {
    /// The stream, counted.
    pub(super) fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched { stream, opening: self.clone() }
    }

    /// Ends if the opening is not there after `patience`, and else never.
    pub(super) async fn is_overdue(&self, patience: Duration) {
        sleep(patience).await;
        if self.bytes.get() >= OPENING_BYTES {
            pending::<()>().await;
        }
    }
}

/// A stream whose first bytes are counted.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    opening: Opening,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let seen = &self.opening.bytes;
        seen.set(seen.get().saturating_add(bytes));
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_runtime::timeout;
    use futures_util::AsyncReadExt;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[test]
    fn only_who_is_silent_is_overdue() {
        coffer_runtime::block_on(async {
            let silent = Opening::default();
            let mut some = silent.watch(&b"PRI * HT"[..]);
            some.read_to_end(&mut Vec::new()).await.unwrap();
            silent.is_overdue(PATIENCE).await;

            let opened = Opening::default();
            let mut all = opened.watch(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
            all.read_to_end(&mut Vec::new()).await.unwrap();
            assert!(timeout(PATIENCE * 5, opened.is_overdue(PATIENCE)).await.is_err());
        });
    }
}
