//! Which members wait for this one: they answer their clients only once they know how far is committed.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a member that asked is expected to ask again.
const ASKS_AGAIN: Duration = Duration::from_secs(1);

/// When members last forwarded a proposal to this one, asked it for a read index or for a change.
#[derive(Default)]
pub(super) struct Asked(Mutex<HashMap<u64, Instant>>);

impl Asked {
    /// Now `member` has. Those that have not for long are forgotten.
    pub(super) fn by(&self, member: u64) {
        let mut asked = self.0.lock();
        asked.retain(|_, at| at.elapsed() < ASKS_AGAIN);
        asked.insert(member, Instant::now());
    }

    /// Whether `member` has, a short while ago.
    pub(super) fn lately(&self, member: u64) -> bool {
        self.0.lock().get(&member).is_some_and(|at| at.elapsed() < ASKS_AGAIN)
    }
}
