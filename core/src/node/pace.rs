//! How fast background work copies: so slowly that puts hardly notice, and not more slowly than what comes in leaves
//! something to copy.
//!
//! Under a steady load as much dies as comes in. To give back one byte, a store copies one where it rewrites what is half
//! dead, and a few where it keeps to less; and some more to keep its files few. So the bound is three times what was flushed
//! lately, and never lower than [`COPY_BYTES_PER_S`].

use std::time::{Duration, Instant};

/// Bytes that may be copied in a second, however little comes in.
pub(super) const COPY_BYTES_PER_S: u64 = 4 << 20;
/// The longest rest between two slices.
const REST_MAX: Duration = Duration::from_millis(500);
/// Flushes are counted for so long at least.
const WINDOW: Duration = Duration::from_secs(1);

/// The bound on copying, and what it follows.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: u64,
    /// Flushed since then.
    flushed_bytes: u64,
    since: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { bytes_per_s: COPY_BYTES_PER_S, flushed_bytes: 0, since: now }
    }

    /// Learns of a flush of so many bytes.
    pub(super) fn flushed(&mut self, bytes: u64, now: Instant) {
        self.flushed_bytes = self.flushed_bytes.saturating_add(bytes);
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let per_s = self.flushed_bytes as f64 / elapsed.as_secs_f64();
            self.bytes_per_s = COPY_BYTES_PER_S.max((3.0 * per_s) as u64);
            (self.flushed_bytes, self.since) = (0, now);
        }
    }

    /// How long to rest after a slice that took so long and copied so much: at least as long as it worked.
    pub(super) fn rest(&self, took: Duration, copied_bytes: u64) -> Duration {
        let share = Duration::from_secs_f64(copied_bytes as f64 / self.bytes_per_s as f64);
        took.max(share).min(REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_quiet_store_copies_at_the_lowest_bound() {
        let pace = Pace::new(Instant::now());
        assert_eq!(pace.rest(Duration::ZERO, COPY_BYTES_PER_S / 4), Duration::from_millis(250));
        assert_eq!(pace.rest(Duration::from_millis(3), 0), Duration::from_millis(3));
        assert_eq!(pace.rest(Duration::from_secs(9), 100 * MIB), REST_MAX);
    }

    #[test]
    fn the_bound_follows_what_comes_in_and_falls_again() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        pace.flushed(16 * MIB, began + Duration::from_millis(500));
        assert_eq!(pace.bytes_per_s, COPY_BYTES_PER_S, "too short a time to tell");
        pace.flushed(16 * MIB, began + Duration::from_millis(2000));
        assert_eq!(pace.bytes_per_s, 48 * MIB);
        pace.flushed(MIB, began + Duration::from_millis(30_000));
        assert_eq!(pace.bytes_per_s, COPY_BYTES_PER_S);
    }
}
