//! What an executor promises: results, timers, panics that stay inside, and a shutdown that leaves nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use coffer_runtime::{Executor, TaskError, sleep, timeout, yield_now};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Threads of this process that bear `name`.
fn threads_named(name: &str) -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim_end() == name)
        .count()
}

/// Waits until no thread bears `name`: one that was joined leaves /proc a moment later.
fn wait_until_gone(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while threads_named(name) > 0 {
        assert!(Instant::now() < deadline, "{} threads {name} are left", threads_named(name));
        std::thread::yield_now();
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_task_runs_and_answers() {
    for threads in [1, 4] {
        let executor = Executor::start("answers", threads).unwrap();
        let tasks: Vec<_> = (0..1000_u64)
            .map(|n| {
                executor.spawn(async move {
                    yield_now().await;
                    n
                })
            })
            .collect();
        let sum = executor.block_on(async move {
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, 499_500);
    }
}

#[test]
fn tasks_spawn_tasks_on_their_own_executor() {
    let executor = Executor::start("nested", 2).unwrap();
    let name = executor.spawn(async {
        let task =
            Executor::current().unwrap().spawn(async { std::thread::current().name().map(str::to_owned) });
        task.await.unwrap()
    });
    assert_eq!(executor.block_on(name), Ok(Some("nested".to_owned())));
    assert!(Executor::current().is_none());
}

#[test]
fn a_panic_ends_the_task_and_not_the_thread() {
    let executor = Executor::start("panics", 1).unwrap();
    let broken = executor.spawn(async { panic!("on purpose") });
    let outcome: Result<(), _> = executor.block_on(broken);
    assert_eq!(outcome, Err(TaskError::Panicked("on purpose".into())));
    assert_eq!(executor.block_on(executor.spawn(async { 1 })), Ok(1));
}

#[test]
fn timers_end_in_order_and_not_early() {
    let executor = Executor::start("timers", 1).unwrap();
    let (sender, receiver) = async_channel::unbounded();
    for ms in [30_u64, 10, 20] {
        let sender = sender.clone();
        executor.spawn(async move {
            let begin = Instant::now();
            sleep(Duration::from_millis(ms)).await;
            assert!(begin.elapsed() >= Duration::from_millis(ms));
            sender.send(ms).await.unwrap();
        });
    }
    let order: Vec<u64> = (0..3).map(|_| receiver.recv_blocking().unwrap()).collect();
    assert_eq!(order, [10, 20, 30]);
}

#[test]
fn a_timeout_ends_a_future_that_does_not() {
    let executor = Executor::start("timeout", 1).unwrap();
    let late = executor.spawn(timeout(Duration::from_millis(5), pending::<()>()));
    assert!(executor.block_on(late).unwrap().is_err());
    let early = executor.spawn(timeout(Duration::from_secs(60), async { 1 }));
    assert_eq!(executor.block_on(early), Ok(Ok(1)));
    assert!(coffer_runtime::block_on(timeout(Duration::from_millis(5), pending::<()>())).is_err());
}

#[test]
fn shutdown_drops_every_task_and_joins_every_thread() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let executor = Executor::start("shuts-down", 3).unwrap();
    // A thread names itself once it runs.
    let deadline = Instant::now() + Duration::from_secs(60);
    while threads_named("shuts-down") < 3 {
        assert!(Instant::now() < deadline, "three threads start");
        std::thread::yield_now();
    }
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let guard = CountDrop(dropped.clone());
        tasks.push(executor.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        }));
        let guard = CountDrop(dropped.clone());
        tasks.push(executor.spawn(async move {
            let _guard = guard;
            sleep(Duration::from_secs(3600)).await;
        }));
    }
    let handle = executor.handle();
    executor.shutdown();
    executor.shutdown();
    assert_eq!(dropped.load(Ordering::SeqCst), 200);
    wait_until_gone("shuts-down");
    for task in tasks {
        assert_eq!(executor.block_on(task), Err(TaskError::Dropped));
    }
    assert_eq!(executor.block_on(handle.spawn(async {})), Err(TaskError::Dropped));
}

#[test]
fn a_detached_task_runs_on_and_a_cancelled_one_does_not() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let executor = Executor::start("detached", 1).unwrap();
    let (sender, receiver) = async_channel::bounded(1);
    drop(executor.spawn(async move {
        yield_now().await;
        sender.send(5).await.unwrap();
    }));
    assert_eq!(receiver.recv_blocking(), Ok(5));

    let guard = CountDrop(dropped.clone());
    let task = executor.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    executor.block_on(task.cancel());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn many_executors_come_and_go() {
    for _ in 0..1000 {
        let executor = Executor::start("come-and-go", 2).unwrap();
        let task = executor.spawn(async { sleep(Duration::from_micros(1)).await });
        assert_eq!(executor.block_on(task), Ok(()));
    }
    wait_until_gone("come-and-go");
}
