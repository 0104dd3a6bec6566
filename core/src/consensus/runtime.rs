//! openraft's view of our executors: what it needs of a runtime, over [`coffer_runtime`].
//!
//! A task that openraft spawns runs on the current [`Executor`]: the raft thread of the store that spawned it. Timers
//! live on that thread as well, so several stores share nothing and a closed one leaves nothing.

mod mpsc;
mod watch;

use coffer_runtime::{Elapsed, Executor, Sleep, Task, TaskError, Timeout};
use openraft_rt::{AsyncRuntime, OptionalSend};
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

/// The runtime of the raft task.
pub(super) struct RaftRuntime {
    executor: Executor,
}

impl fmt::Debug for RaftRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RaftRuntime")
    }
}

impl AsyncRuntime for RaftRuntime {
    type JoinError = TaskError;
    type JoinHandle<T: OptionalSend + 'static> = Task<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = rand::rngs::ThreadRng;
    type Mpsc = mpsc::Mpsc;
    type Watch = watch::Watch;
    type Oneshot = Oneshot;
    type Mutex<T: OptionalSend + 'static> = Mutex<T>;

    fn spawn<T>(future: T) -> Task<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Executor::current().expect("raft spawns only on its executor or inside its block_on").spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        coffer_runtime::sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        coffer_runtime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        coffer_runtime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Timeout<F> {
        coffer_runtime::timeout_at(deadline, future)
    }

    fn is_panic(error: &TaskError) -> bool {
        matches!(error, TaskError::Panicked(_))
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        rand::rng()
    }

    fn new(threads: usize) -> Self {
        Self { executor: Executor::start("raft-suite", threads).expect("a test can start threads") }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.executor.block_on(future)
    }
}

pub(super) struct Oneshot;

pub(super) struct OneshotSender<T>(futures_channel::oneshot::Sender<T>);

impl openraft_rt::Oneshot for Oneshot {
    type Sender<T: OptionalSend> = OneshotSender<T>;
    type Receiver<T: OptionalSend> = futures_channel::oneshot::Receiver<T>;
    type ReceiverError = futures_channel::oneshot::Canceled;

    fn channel<T: OptionalSend>() -> (Self::Sender<T>, Self::Receiver<T>) {
        let (sender, receiver) = futures_channel::oneshot::channel();
        (OneshotSender(sender), receiver)
    }
}

impl<T: OptionalSend> openraft_rt::OneshotSender<T> for OneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

pub(super) struct Mutex<T>(async_lock::Mutex<T>);

impl<T: OptionalSend + 'static> openraft_rt::Mutex<T> for Mutex<T> {
    type Guard<'a> = async_lock::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(async_lock::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + OptionalSend {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::RaftRuntime;

    #[test]
    fn passes_the_suite_of_openraft() {
        openraft_rt::testing::Suite::<RaftRuntime>::test_all();
    }
}
