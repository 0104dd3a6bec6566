//! One confirmation of the leader for every read that waits.
//!
//! # Invariants
//! - A read is answered by a confirmation that began after the read did: one that comes while a confirmation is under way
//!   waits for the next.
//! - One confirmation is under way at a time.

use crate::Error;
use coffer_runtime::{Handle, sleep};
use futures_channel::oneshot;
use parking_lot::Mutex;
use std::future::Future;
use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where at least so many waited, the next round begins a little later: they come back one after the other, and the first of them
/// would have a round for itself.
const CROWD: usize = 4;
/// How much later: as long as the round took, and at most this.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// The reads that wait for the next confirmation.
#[derive(Default)]
pub(super) struct SharedBarrier {
    rounds: Mutex<Rounds>,
}

#[derive(Default)]
struct Rounds {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<(), Error>>>,
}

impl SharedBarrier {
    /// Waits for a confirmation that begins from now on. `confirm` makes one, on `executor`.
    pub(super) async fn wait<F, C>(self: &Arc<Self>, executor: &Handle, confirm: C) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + Send,
        C: Fn() -> F + Send + Sync + 'static,
    {
        let (sender, outcome) = oneshot::channel();
        let begins = {
            let mut rounds = self.rounds.lock();
            rounds.waiting.push(sender);
            !std::mem::replace(&mut rounds.running, true)
        };
        if begins {
            // Made here, so that it also ends the rounds of a task that never ran.
            let ends = Ends { barrier: Arc::clone(self), armed: true };
            executor.spawn(async move { ends.run(confirm).await });
        }
        // The executor has stopped if nobody answers.
        outcome.await.unwrap_or(Err(Error::Stopped))
    }
}

/// The rounds of one task. Lets go of everyone who waits when the task ends before its time: the executor stopped.
struct Ends {
    barrier: Arc<SharedBarrier>,
    armed: bool,
}

impl Ends {
    async fn run<F: Future<Output = Result<(), Error>>>(mut self, confirm: impl Fn() -> F) {
        loop {
            let waiting = {
                let mut rounds = self.barrier.rounds.lock();
                if rounds.waiting.is_empty() {
                    rounds.running = false;
                    self.armed = false;
                    return;
                }
                take(&mut rounds.waiting)
            };
            let (began, crowd) = (Instant::now(), waiting.len() >= CROWD);
            let outcome = confirm().await;
            for waiter in waiting {
                // The reader may have left.
                drop(waiter.send(outcome.clone()));
            }
            if crowd {
                sleep(began.elapsed().min(GATHER_MAX)).await;
            }
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.armed {
            let mut rounds = self.barrier.rounds.lock();
            rounds.running = false;
            rounds.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_runtime::{Executor, block_on};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_reader_gets_a_confirmation_that_began_after_it() {
        let executor = Executor::start("test", 2).unwrap();
        let (handle, barrier) = (executor.handle(), Arc::new(SharedBarrier::default()));
        let begun = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..200)
            .map(|_| {
                let (handle, barrier, begun) = (handle.clone(), barrier.clone(), begun.clone());
                executor.spawn(async move {
                    for _ in 0..20 {
                        let before = begun.load(Ordering::SeqCst);
                        let counter = begun.clone();
                        let confirm = move || {
                            counter.fetch_add(1, Ordering::SeqCst);
                            async {
                                coffer_runtime::yield_now().await;
                                Ok(())
                            }
                        };
                        barrier.wait(&handle, confirm).await.unwrap();
                        assert!(begun.load(Ordering::SeqCst) > before);
                    }
                })
            })
            .collect();
        for reader in readers {
            block_on(reader).unwrap();
        }
        assert!(begun.load(Ordering::SeqCst) < 200 * 20, "confirmations are shared");
        executor.shutdown();
    }

    #[test]
    fn readers_are_told_when_the_executor_stops() {
        let executor = Executor::start("test", 1).unwrap();
        let barrier = Arc::new(SharedBarrier::default());
        let handle = executor.handle();
        let reader = {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                block_on(barrier.wait(&handle, || async {
                    std::future::pending::<()>().await;
                    Ok(())
                }))
            })
        };
        while !barrier.rounds.lock().running || !barrier.rounds.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        executor.shutdown();
        assert_eq!(reader.join().unwrap(), Err(Error::Stopped));
    }
}
