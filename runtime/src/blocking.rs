//! Work that blocks, away from threads that must not.

use crate::executor::panic_text;
use crate::{Task, TaskError};
use futures_channel::oneshot;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

/// Runs `work` on a thread of its own, which has ended when the task is ready: no pool keeps threads for later.
///
/// Dropping the task does not stop the work; its thread ends with it.
pub fn unblock<T, F>(work: F) -> Task<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Task::on_thread(OnThread::start(work))
}

/// Work on a thread of its own.
#[derive(Debug)]
pub(crate) struct OnThread<T> {
    outcome: oneshot::Receiver<Result<T, TaskError>>,
    /// `None` once it was joined, or if there was none to be had: then the outcome says so.
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> OnThread<T> {
    fn start(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, outcome) = oneshot::channel();
        let run = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            // Nobody may wait for it.
            let _ = sender.send(done.map_err(|panic| TaskError::Panicked(panic_text(&*panic))));
        };
        match thread::Builder::new().name("coffer-blocking".into()).spawn(run) {
            Ok(thread) => Self { outcome, thread: Some(thread) },
            Err(error) => {
                let (sender, outcome) = oneshot::channel();
                let _ = sender.send(Err(TaskError::NoThread(error.to_string())));
                Self { outcome, thread: None }
            }
        }
    }
}

impl<T> Future for OnThread<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(outcome) = Pin::new(&mut self.outcome).poll(context) else { return Poll::Pending };
        if let Some(thread) = self.thread.take() {
            // The outcome was the last that it had to do. What panics in it is caught.
            let _ = thread.join();
        }
        Poll::Ready(outcome.unwrap_or(Err(TaskError::Dropped)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{block_on, park_on};

    #[test]
    fn answers_and_reports_a_panic() {
        assert_eq!(block_on(unblock(|| 7)), Ok(7));
        let outcome: Result<(), _> = block_on(unblock(|| panic!("broken")));
        assert_eq!(outcome, Err(TaskError::Panicked("broken".into())));
    }

    #[test]
    fn works_on_after_its_task_was_dropped() {
        let (sender, receiver) = std::sync::mpsc::channel();
        drop(unblock(move || sender.send(7)));
        assert_eq!(receiver.recv(), Ok(7));
    }

    #[test]
    fn cancelling_waits_for_what_has_begun() {
        let (sender, receiver) = std::sync::mpsc::channel();
        park_on(unblock(move || sender.send(7)).cancel());
        assert_eq!(receiver.try_recv(), Ok(7));
    }
}
