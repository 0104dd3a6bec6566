//! What consensus counts for metrics.

use crate::metrics::HistogramSnapshot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A read barrier that takes longer is counted as slow.
const SLOW_BARRIER: Duration = Duration::from_millis(500);

/// What consensus counted since its start.
#[derive(Clone, Debug)]
pub struct ConsensusCounts {
    /// How often another leader was seen.
    pub leader_changes: u64,
    /// Read barriers that failed.
    pub barriers_failed: u64,
    /// Read barriers that took longer than half a second.
    pub barriers_slow: u64,
    /// One write and sync of the log each.
    pub log_sync: HistogramSnapshot,
}

/// The counters behind it. Barriers that end at once are not counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    leader_changes: AtomicU64,
    barriers_failed: AtomicU64,
    barriers_slow: AtomicU64,
}

impl Counts {
    /// Another leader was seen.
    pub(super) fn leader_changed(&self) {
        self.leader_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// A read barrier took `duration`.
    pub(super) fn barrier(&self, duration: Duration, failed: bool) {
        if failed {
            self.barriers_failed.fetch_add(1, Ordering::Relaxed);
        }
        if duration > SLOW_BARRIER {
            self.barriers_slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A look at them.
    pub(super) fn read(&self, log_sync: HistogramSnapshot) -> ConsensusCounts {
        ConsensusCounts {
            leader_changes: self.leader_changes.load(Ordering::Relaxed),
            barriers_failed: self.barriers_failed.load(Ordering::Relaxed),
            barriers_slow: self.barriers_slow.load(Ordering::Relaxed),
            log_sync,
        }
    }
}
