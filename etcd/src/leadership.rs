//! Ends the long streams of callers that asked for a leader (metadata `hasleader: true`) when there is none for long.
//!
//! As etcd does, and for its reason: to reconnect costs a client much more than to wait for an election, so a stream
//! ends only after three election timeouts without a leader, while a new call is refused at once.

use event_listener::{Event, EventListener};
use std::time::Duration;

/// Looks without a leader, one each election timeout, after which streams end.
const LOOKS_MAX: u32 = 3;

/// Tells streams that the leader has been gone for long.
#[derive(Debug, Default)]
pub(crate) struct Leadership {
    lost: Event,
}

impl Leadership {
    /// Asks whether there is a leader once in each `election_timeout`, until dropped.
    pub(crate) async fn monitor(&self, election_timeout: Duration, has_leader: impl Fn() -> bool) {
        let mut looks = 0;
        loop {
            coffer_runtime::sleep(election_timeout).await;
            looks = if has_leader() { 0 } else { looks + 1 };
            if looks >= LOOKS_MAX {
                self.lost.notify(usize::MAX);
            }
        }
    }

    /// Resolves when the leader has been gone for long.
    pub(crate) fn lost(&self) -> EventListener {
        self.lost.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{Either, select};
    use std::cell::Cell;
    use std::pin::pin;

    #[test]
    fn streams_end_after_three_looks_in_a_row_without_a_leader() {
        let leadership = Leadership::default();
        let lost = leadership.lost();
        let looks = Cell::new(0);
        // Twice without a leader, once with one, and none ever after.
        let has_leader = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        let monitor = pin!(leadership.monitor(Duration::from_millis(1), has_leader));
        let ended = coffer_runtime::block_on(async { select(monitor, lost).await });
        assert!(matches!(ended, Either::Right(_)));
        assert_eq!(looks.get(), 6);
    }
}
