//! Ends a stream whose client does not read it.
//!
//! A stream of answers is asked for the next one only while the client has room for it, so it cannot notice by itself
//! that nobody asks any more. A task on the connection's thread looks now and then, and drops what the stream holds.

use coffer_runtime::local::spawn;
use coffer_runtime::sleep;
use futures_util::Stream;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;

/// `inner`, until nothing was asked of it for `patience`, or up to twice that.
pub(super) fn while_read<S, T>(inner: S, patience: Duration) -> WhileRead<T>
where
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    T: 'static,
{
    let shared = Arc::new(Mutex::new(Shared { inner: Some(Box::pin(inner) as Inner<T>), asked: true }));
    let watched = Arc::downgrade(&shared);
    spawn(async move {
        loop {
            sleep(patience).await;
            let Some(shared) = watched.upgrade() else { return };
            let mut shared = shared.lock();
            if !std::mem::take(&mut shared.asked) {
                shared.inner = None;
                return;
            }
        }
    });
    WhileRead { shared }
}

type Inner<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The stream of [`while_read`].
pub(super) struct WhileRead<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    /// `None` once nobody read it for too long.
    inner: Option<Inner<T>>,
    /// Whether an answer was asked for since the last look.
    asked: bool,
}

impl<T> Stream for WhileRead<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.shared.lock();
        shared.asked = true;
        match &mut shared.inner {
            Some(inner) => inner.as_mut().poll_next(cx),
            None => Poll::Ready(Some(Err(Status::aborted("the stream was not read for too long")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    /// Tells when it is dropped.
    struct Held(async_channel::Sender<()>);

    #[test]
    fn a_stream_that_nobody_reads_lets_go_of_what_it_holds() {
        coffer_runtime::block_on(async {
            let (held, dropped) = async_channel::bounded(1);
            let held = Held(held);
            let numbers = stream::iter(0..3).map(move |number| {
                assert!(!held.0.is_closed());
                Ok(number)
            });
            let mut reading = while_read(numbers, Duration::from_millis(20));
            assert_eq!(reading.next().await.unwrap().unwrap(), 0);
            // The channel closes when the stream is dropped, and nobody reads meanwhile.
            assert!(dropped.recv().await.is_err());
            let error = reading.next().await.unwrap().unwrap_err();
            assert_eq!(error.code(), tonic::Code::Aborted);
        });
    }
}
