//! Named threads that run `Send` tasks and keep their own timers.
//!
//! One lock guards the run queue, the timers and the list of live tasks. A thread without work waits on a condition
//! variable until a task is woken or the earliest timer is due, so an idle executor costs nothing but its timers.
//! An executor of one thread takes its whole queue at once: one lock per round, however many tasks were woken.
//!
//! # Invariants
//!
//! - A waker that is called after [`Executor::shutdown`] drops its task instead of queueing it.
//! - No waker is called and no task is dropped while the lock is held.

use crate::blocking::OnThread;
use async_task::{FallibleTask, Runnable};
use futures_util::FutureExt;
use parking_lot::{Condvar, Mutex};
use slab::Slab;
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;
use std::{fmt, io, mem};
use thiserror::Error;

thread_local! {
    /// The executor that `spawn`, `sleep` and `timeout` of this thread use.
    static CURRENT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Threads that run tasks. The owner joins them with [`shutdown`](Self::shutdown) or by dropping it.
#[derive(Debug)]
pub struct Executor {
    handle: Handle,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Executor {
    /// Starts `threads` threads (at least one) that bear `name`.
    ///
    /// # Errors
    /// The system refused a thread; those that were started are joined.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            take_all: threads == 1,
        });
        let executor = Self { handle: Handle(shared), threads: Mutex::new(Vec::with_capacity(threads)) };
        for _ in 0..threads {
            let handle = executor.handle.clone();
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || handle.work())?;
            executor.threads.lock().push(thread);
        }
        Ok(executor)
    }

    /// The executor whose thread this is, or that was [entered](Handle::enter) on this thread.
    pub fn current() -> Option<Handle> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// A handle for spawning from elsewhere. It does not keep the threads alive.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts a task.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// Runs `future` on the calling thread, with this executor as the current one.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _entered = self.handle.enter();
        park_on(future)
    }

    /// Stops the threads after the tasks that they are running return, drops every task, and joins. Idempotent.
    ///
    /// Called on one of the executor's own threads, it joins all but that one.
    pub fn shutdown(&self) {
        self.handle.0.state.lock().stopping = true;
        self.handle.0.work.notify_all();
        let threads = mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.thread().id() != thread::current().id() {
                // A panic of a task is caught inside it, so the thread has nothing to report.
                let _ = thread.join();
            }
        }
        self.handle.0.drop_tasks();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Spawns onto an [`Executor`] that someone else owns.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// Starts a task. After the executor's shutdown the task is dropped at once.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let shared = &self.0;
        let mut state = shared.state.lock();
        let entry = state.live.vacant_entry();
        let forget = Forget { shared: shared.clone(), key: entry.key() };
        let future = async move {
            let _forget = forget;
            AssertUnwindSafe(future)
                .catch_unwind()
                .await
                .map_err(|panic| TaskError::Panicked(panic_text(&*panic)))
        };
        let schedule = {
            let shared = shared.clone();
            move |runnable| shared.schedule(runnable)
        };
        let (runnable, task) = async_task::spawn(future, schedule);
        entry.insert(runnable.waker());
        drop(state);
        runnable.schedule();
        Task { inner: Inner::Spawned(Some(task.fallible())) }
    }

    /// Makes this the current executor of the calling thread until the guard is dropped.
    pub fn enter(&self) -> Entered {
        Entered { previous: CURRENT.replace(Some(self.clone())), not_send: std::marker::PhantomData }
    }

    /// What a thread of the executor does.
    fn work(self) {
        let _entered = self.enter();
        let mut batch = VecDeque::new();
        while self.0.next(&mut batch) {
            for runnable in batch.drain(..) {
                runnable.run();
            }
        }
    }

    /// Registers or renews a timer. Returns its key.
    pub(crate) fn set_timer(&self, at: Instant, key: Option<u64>, waker: &Waker) -> u64 {
        let mut state = self.0.state.lock();
        let key = key.unwrap_or_else(|| {
            state.timers_made += 1;
            state.timers_made
        });
        let earliest = state.timers.first_key_value().is_none_or(|(first, _)| (at, key) < *first);
        let replaced = state.timers.insert((at, key), waker.clone());
        let idle = state.idle > 0;
        drop(state);
        drop(replaced);
        if earliest && idle {
            self.0.work.notify_one();
        }
        key
    }

    /// Forgets a timer that is no longer awaited.
    pub(crate) fn clear_timer(&self, at: Instant, key: u64) {
        let removed = self.0.state.lock().timers.remove(&(at, key));
        drop(removed);
    }
}

/// Restores the thread's former executor when dropped. Made by [`Handle::enter`].
#[derive(Debug)]
#[must_use]
pub struct Entered {
    previous: Option<Handle>,
    not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.previous.take());
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    #[error("task panicked: {0}")]
    Panicked(String),
    /// Its executor was shut down first.
    #[error("task was dropped by its executor")]
    Dropped,
    /// The system has no thread for it.
    #[error("the system refuses a thread: {0}")]
    NoThread(String),
}

/// The result of a task to come. Dropping it lets the task run on.
#[derive(Debug)]
pub struct Task<T> {
    inner: Inner<T>,
}

#[derive(Debug)]
enum Inner<T> {
    /// `None` once it was detached or cancelled.
    Spawned(Option<FallibleTask<Result<T, TaskError>>>),
    OnThread(OnThread<T>),
}

impl<T> Task<T> {
    pub(crate) fn on_thread(work: OnThread<T>) -> Self {
        Self { inner: Inner::OnThread(work) }
    }

    /// Drops the task's future at its next suspension point and waits until that happened. Work that blocks has none, and
    /// is waited for.
    pub async fn cancel(mut self) {
        match &mut self.inner {
            Inner::Spawned(task) => {
                if let Some(task) = task.take() {
                    task.cancel().await;
                }
            }
            Inner::OnThread(work) => drop(work.await),
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Spawned(Some(task)) => {
                Pin::new(task).poll(context).map(|outcome| outcome.unwrap_or(Err(TaskError::Dropped)))
            }
            Inner::OnThread(work) => Pin::new(work).poll(context),
            Inner::Spawned(None) => Poll::Ready(Err(TaskError::Dropped)),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Inner::Spawned(task) = &mut self.inner {
            task.take().into_iter().for_each(FallibleTask::detach);
        }
    }
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Whether one thread may take the whole queue: there is no other.
    take_all: bool,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Runnable>,
    timers: BTreeMap<(Instant, u64), Waker>,
    timers_made: u64,
    /// Every task that has not ended, so that a shutdown can reach those that wait.
    live: Slab<Waker>,
    /// Threads that wait, and how many of them were called and have not come yet.
    idle: usize,
    called: usize,
    stopping: bool,
    closed: bool,
}

impl Shared {
    fn schedule(&self, runnable: Runnable) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return drop(runnable);
        }
        state.ready.push_back(runnable);
        let call = state.idle > state.called;
        if call {
            state.called += 1;
        }
        drop(state);
        if call {
            self.work.notify_one();
        }
    }

    /// Waits for work and moves it to `batch`; `false` when the executor stops.
    fn next(&self, batch: &mut VecDeque<Runnable>) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return false;
            }
            if !state.timers.is_empty() {
                let due = state.take_due();
                if !due.is_empty() {
                    drop(state);
                    due.into_iter().for_each(Waker::wake);
                    state = self.state.lock();
                    continue;
                }
            }
            if self.take_all {
                mem::swap(&mut state.ready, batch);
            } else {
                batch.extend(state.ready.pop_front());
            }
            if !batch.is_empty() {
                return true;
            }
            state.idle += 1;
            match state.timers.first_key_value() {
                Some(((at, _), _)) => {
                    let at = *at;
                    self.work.wait_until(&mut state, at);
                }
                None => self.work.wait(&mut state),
            }
            state.idle -= 1;
            state.called = state.called.saturating_sub(1);
        }
    }

    /// Drops every task. Tasks that wait are reached through their wakers: waking one queues it here.
    fn drop_tasks(&self) {
        loop {
            let mut state = self.state.lock();
            let ready = mem::take(&mut state.ready);
            let live: Vec<Waker> = state.live.iter().map(|(_, waker)| waker.clone()).collect();
            let timers = mem::take(&mut state.timers);
            if ready.is_empty() && live.is_empty() {
                state.closed = true;
                return;
            }
            drop(state);
            drop(timers);
            drop(ready);
            if live.len() == 1 && Executor::current().is_some_and(|current| std::ptr::eq(&*current.0, self)) {
                // Only the task that called `shutdown` is left; it ends when it returns.
                self.state.lock().closed = true;
                return;
            }
            live.into_iter().for_each(Waker::wake);
        }
    }
}

impl State {
    fn take_due(&mut self) -> Vec<Waker> {
        let now = Instant::now();
        let mut due = Vec::new();
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }
}

/// Takes a task off the list of live ones when its future ends or is dropped.
struct Forget {
    shared: Arc<Shared>,
    key: usize,
}

impl Drop for Forget {
    fn drop(&mut self) {
        let waker = self.shared.state.lock().live.try_remove(self.key);
        drop(waker);
    }
}

/// Runs `future` on this thread, which parks in between. Drives no reactor: for futures that others wake.
pub fn park_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic without a text".to_owned()
    }
}
