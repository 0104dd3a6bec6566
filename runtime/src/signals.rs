//! Signals that ask the process to stop or to read its configuration again.

use futures_util::{Stream, StreamExt};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A signal that the daemon obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM: stop.
    Terminate,
    /// SIGINT: stop.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Hangup,
}

/// From now on delivers SIGTERM, SIGINT and SIGHUP instead of letting them end the process.
///
/// # Errors
/// The system refused a handler.
pub fn signal() -> io::Result<SignalStream> {
    use async_signal::Signal as Os;
    Ok(SignalStream(async_signal::Signals::new([Os::Term, Os::Int, Os::Hup])?))
}

/// The stream of [`signal`]. Dropping it restores the former behaviour.
#[derive(Debug)]
pub struct SignalStream(async_signal::Signals);

impl Stream for SignalStream {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Signal>> {
        loop {
            return match self.0.poll_next_unpin(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(async_signal::Signal::Term))) => Poll::Ready(Some(Signal::Terminate)),
                Poll::Ready(Some(Ok(async_signal::Signal::Int))) => Poll::Ready(Some(Signal::Interrupt)),
                Poll::Ready(Some(Ok(async_signal::Signal::Hup))) => Poll::Ready(Some(Signal::Hangup)),
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
            };
        }
    }
}
