//! Waiting for a time.
//!
//! On the threads of an [`Executor`] a timer lives in that executor; elsewhere in async-io's reactor.

use crate::{Executor, Handle};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Ends after `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Ends at `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    let clock = match Executor::current() {
        Some(executor) => Clock::Own { executor, key: None },
        None => Clock::Reactor(async_io::Timer::at(deadline)),
    };
    Sleep { deadline, clock }
}

/// Gives `future` until `duration` from now.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    timeout_at(Instant::now() + duration, future)
}

/// Gives `future` until `deadline`. A future that is ready at the deadline wins.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future: Box::pin(future), sleep: sleep_until(deadline) }
}

/// The future of [`sleep`].
pub struct Sleep {
    deadline: Instant,
    clock: Clock,
}

enum Clock {
    Own {
        executor: Handle,
        /// The timer in the executor, once polled.
        key: Option<u64>,
    },
    Reactor(async_io::Timer),
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        match &mut self.clock {
            Clock::Own { executor, key } => {
                if Instant::now() >= deadline {
                    return Poll::Ready(());
                }
                *key = Some(executor.set_timer(deadline, *key, context.waker()));
                Poll::Pending
            }
            Clock::Reactor(timer) => Pin::new(timer).poll(context).map(|_| ()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Clock::Own { executor, key: Some(key) } = &self.clock {
            executor.clear_timer(self.deadline, *key);
        }
    }
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("deadline passed")]
pub struct Elapsed;

/// The future of [`timeout`].
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("sleep", &self.sleep).finish_non_exhaustive()
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Elapsed))
    }
}
