//! Executors, timers, signals, listeners and streams: the only crate that names async-std.
//!
//! Two kinds of threads, because there are two kinds of work:
//!
//! - [`Executor`]: named threads for `Send` tasks that compute and pass messages (raft). Its owner starts it and joins it,
//!   it has its own timers, and it touches nothing global: a store that is closed leaves no thread behind.
//! - [`local`]: one thread for `!Send` tasks around sockets (Cap'n Proto connections), driven by async-io's reactor,
//!   which is one for the process and starts one helper thread at its first use.
//!
//! # What comes from where
//!
//! | Here | Built on | To move to smol |
//! |---|---|---|
//! | [`Executor`], [`Task`] | async-task and a condition variable | nothing: async-task is smol's |
//! | [`sleep`], [`timeout`] | the executor's own timers on its threads, async-io elsewhere | nothing |
//! | [`local`] | async-executor, async-io | nothing: both are smol's |
//! | [`net`] | **async-std**'s sockets over async-io | `smol::net` (async-net) has the same types |
//! | [`yield_now`] | **async-std** | `smol::future::yield_now` |
//! | [`signal`] | async-signal | nothing |
//! | [`unblock`] | a thread for each piece of work | nothing |
//!
//! async-std's own global executor is never started: nothing here calls `async_std::task::spawn` or its `block_on`.
//!
//! # Invariants
//!
//! - A task of an [`Executor`] is dropped at the latest when [`Executor::shutdown`] returns, and no thread of it runs then.
//! - A panic in a task ends that task, not its thread; whoever awaits the task is told.
#![forbid(unsafe_code)]

pub mod local;
pub mod net;

mod blocking;
mod executor;
mod signals;
mod time;

pub use blocking::unblock;
pub use executor::{Entered, Executor, Handle, Task, TaskError, park_on};
pub use local::block_on;
pub use signals::{Signal, SignalStream, signal};
pub use time::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout, timeout_at};

/// Lets the other tasks of this thread run first.
pub async fn yield_now() {
    async_std::task::yield_now().await;
}
