//! hyper's time and tasks, on our runtime.

use coffer_runtime::local::spawn;
use hyper::rt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// Starts tasks on the connection's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalTasks;

impl<F> rt::Executor<F> for LocalTasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// The clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer;

struct Sleep(coffer_runtime::Sleep);

impl rt::Timer for Timer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(coffer_runtime::sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(coffer_runtime::sleep_until(deadline)))
    }
}

impl rt::Sleep for Sleep {}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}
