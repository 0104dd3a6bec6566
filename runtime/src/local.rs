//! One thread for tasks that are not `Send`, driven by async-io's reactor: what Cap'n Proto connections live on.
//!
//! # Invariants
//!
//! - Tasks that [`spawn`] started are dropped, on their own thread, when the main future of that thread ends. Before that
//!   those that can run do so for a moment, so that they close what they hold.

use crate::executor::panic_text;
use crate::{TaskError, executor};
use async_executor::LocalExecutor;
use futures_util::FutureExt;
use std::cell::RefCell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// How long tasks run after the main future at most: some wake each other for ever.
const LAST_MOMENT: Duration = Duration::from_millis(100);

thread_local! {
    static CURRENT: RefCell<Option<Rc<LocalExecutor<'static>>>> = const { RefCell::new(None) };
}

/// Starts a thread called `name` that runs the future made by `main`, and whatever that [spawns](spawn), until it ends.
///
/// # Errors
/// The system refused a thread.
pub fn run<M, F, T>(name: &str, main: M) -> io::Result<LocalThread<T>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T>,
    T: Send + 'static,
{
    let thread =
        thread::Builder::new().name(name.to_owned()).spawn(move || block_on(async { main().await }))?;
    Ok(LocalThread { thread })
}

/// Runs `future` and what it [spawns](spawn) on the calling thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let tasks = Rc::new(LocalExecutor::new());
    let _entered = Entered { previous: CURRENT.replace(Some(tasks.clone())) };
    let output = async_io::block_on(tasks.run(future));
    let ended = Instant::now();
    while ended.elapsed() < LAST_MOMENT && tasks.try_tick() {}
    output
}

struct Entered {
    previous: Option<Rc<LocalExecutor<'static>>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // What is replaced is dropped here, outside of the thread-local's borrow: its tasks may spawn while they are dropped.
        drop(CURRENT.replace(self.previous.take()));
    }
}

/// Starts a task on this thread.
///
/// # Panics
/// If the thread is not inside [`run`] or [`block_on`].
pub fn spawn<F>(future: F) -> LocalTask<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let tasks = CURRENT.with_borrow(Clone::clone).expect("spawn is called inside local::run or block_on");
    let future = AssertUnwindSafe(future).catch_unwind();
    let task =
        tasks.spawn(async move { future.await.map_err(|panic| TaskError::Panicked(panic_text(&*panic))) });
    LocalTask { task: Some(task.fallible()) }
}

/// Whether this thread is inside [`run`] or [`block_on`], so that [`spawn`] can be called.
pub fn is_inside() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// A thread that [`run`] started.
pub struct LocalThread<T> {
    thread: JoinHandle<T>,
}

impl<T> fmt::Debug for LocalThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalThread").field("name", &self.thread.thread().name()).finish()
    }
}

impl<T> LocalThread<T> {
    /// Waits for the thread's end.
    ///
    /// # Errors
    /// Its main future panicked.
    pub fn join(self) -> Result<T, TaskError> {
        self.thread.join().map_err(|panic| TaskError::Panicked(executor::panic_text(&*panic)))
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// The result of a task of this thread. Dropping it lets the task run on.
#[derive(Debug)]
pub struct LocalTask<T> {
    /// `None` once it was detached or cancelled.
    task: Option<async_executor::FallibleTask<Result<T, TaskError>>>,
}

impl<T> LocalTask<T> {
    /// Drops the task's future and waits until that happened.
    pub async fn cancel(mut self) {
        if let Some(task) = self.task.take() {
            task.cancel().await;
        }
    }

    /// Drops the task's future soon.
    pub fn abort(mut self) {
        drop(self.task.take());
    }
}

impl<T> Future for LocalTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.task {
            Some(task) => {
                Pin::new(task).poll(context).map(|outcome| outcome.unwrap_or(Err(TaskError::Dropped)))
            }
            None => Poll::Ready(Err(TaskError::Dropped)),
        }
    }
}

impl<T> Drop for LocalTask<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}
