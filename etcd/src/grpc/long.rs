//! What ends a long stream besides its client: the server stops, or the leader is gone.

use crate::convert::status;
use crate::front::Front;
use coffer_core::Error;
use event_listener::EventListener;
use futures_util::Stream;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The metadata by which a caller asks to be told when there is no leader.
pub(crate) const HAS_LEADER: &str = "hasleader";

/// Waits for the end of a long stream.
pub(crate) struct End {
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    leaderless: Option<EventListener>,
}

impl End {
    /// The end of a stream that was asked for with `metadata`.
    pub(crate) fn new(front: &Front, metadata: &MetadataMap) -> Self {
        let stop = front.stop.clone();
        let asks = metadata.get(HAS_LEADER).is_some_and(|value| value == "true");
        Self {
            stop: Box::pin(async move { stop.wait().await }),
            leaderless: asks.then(|| front.leadership.lost()),
        }
    }

    /// Why the stream ends, once it does.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(status(Error::Stopped));
        }
        match &mut self.leaderless {
            Some(listener) => Pin::new(listener).poll(cx).map(|()| status(Error::NoLeader)),
            None => Poll::Pending,
        }
    }
}

/// A stream of answers that ends with the status of its [`End`], or after its own first error.
pub(crate) struct UntilEnd<S> {
    inner: S,
    end: End,
    ended: bool,
}

impl<S> UntilEnd<S> {
    pub(crate) fn new(inner: S, end: End) -> Self {
        Self { inner, end, ended: false }
    }
}

impl<S, T> Stream for UntilEnd<S>
where
    S: Stream<Item = Result<T, Status>> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let next = match this.end.poll(cx) {
            Poll::Ready(status) => Poll::Ready(Some(Err(status))),
            Poll::Pending => Pin::new(&mut this.inner).poll_next(cx),
        };
        this.ended = matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}
