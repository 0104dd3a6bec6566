//! Work that blocks, away from threads that must not.

use crate::executor::panic_text;
use crate::{Task, TaskError};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` on a thread of a shared pool. Its threads end by themselves after half a second without work.
///
/// Dropping the task does not stop work that has begun.
pub fn unblock<T, F>(work: F) -> Task<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Task::from_pool(blocking::unblock(move || {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| TaskError::Panicked(panic_text(&*panic)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on;

    #[test]
    fn answers_and_reports_a_panic() {
        assert_eq!(block_on(unblock(|| 7)), Ok(7));
        let outcome: Result<(), _> = block_on(unblock(|| panic!("broken")));
        assert_eq!(outcome, Err(TaskError::Panicked("broken".into())));
    }
}
