//! Tasks of one thread.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use coffer_runtime::local::{run, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn what_the_main_future_wakes_runs_for_a_moment_and_then_all_is_dropped() {
    let (turns, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (took, held) = (turns.clone(), dropped.clone());
    struct Counts(Arc<AtomicU32>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let thread = run("main", move || async move {
        let (sender, wakes) = async_channel::bounded::<()>(1);
        let held_by_task = Counts(held.clone());
        spawn(async move {
            let _held = held_by_task;
            while wakes.recv().await.is_ok() {}
            took.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        });
        let held_by_other = Counts(held);
        spawn(async move {
            let _held = held_by_other;
            // Wakes itself for ever.
            loop {
                coffer_runtime::yield_now().await;
            }
        });
        coffer_runtime::yield_now().await;
        drop(sender);
    });
    thread.unwrap().join().unwrap();
    assert_eq!(turns.load(Ordering::SeqCst), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}
