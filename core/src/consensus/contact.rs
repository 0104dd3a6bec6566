//! When this member last heard of its leader: who leads is known only as long as the leader makes itself heard.
//!
//! Raft by itself goes on naming the last leader where no quorum can elect another: a member asks beforehand whether it
//! would be elected, and changes nothing while it would not.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// When a leader was last heard.
pub(super) struct Contact {
    heard: Mutex<Option<Instant>>,
    silence_max: Duration,
}

impl Contact {
    /// A leader that is silent for longer than `silence_max` is none.
    pub(super) fn new(silence_max: Duration) -> Self {
        Self { heard: Mutex::default(), silence_max }
    }

    /// The leader of this term sent something, and was accepted.
    pub(super) fn hear(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Whether a leader was heard just now.
    pub(super) fn is_fresh(&self) -> bool {
        self.heard.lock().is_some_and(|heard| self.covers(heard))
    }

    /// Whether what was heard then still counts.
    pub(super) fn covers(&self, heard: Instant) -> bool {
        heard.elapsed() <= self.silence_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_the_contact() {
        let never = Contact::new(Duration::from_secs(3600));
        assert!(!never.is_fresh());
        never.hear();
        assert!(never.is_fresh());
        let short = Contact::new(Duration::from_millis(1));
        short.hear();
        std::thread::sleep(Duration::from_millis(5));
        assert!(!short.is_fresh());
        short.hear();
        assert!(short.covers(Instant::now()));
    }
}
