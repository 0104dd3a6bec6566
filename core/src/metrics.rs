//! Counters and histograms for whoever watches a running node. Counting is wait-free and shares no cache line between
//! threads that count often; reading adds the parts up, and is for a scrape every few seconds.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Lanes of a [`Counter`]. More threads than this share.
pub const LANES: usize = 8;

/// The lane of the calling thread.
pub fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    LANE.with(|lane| *lane)
}

/// Counts up, from any thread.
#[derive(Debug, Default)]
pub struct Counter([Lane; LANES]);

/// Alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0[lane()].0.fetch_add(count, Ordering::Relaxed);
    }

    /// What was added since the start.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|lane| lane.0.load(Ordering::Relaxed)).sum()
    }
}

/// Counts durations by how long they were. For what happens at most some ten thousand times a second.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is beyond the last.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

/// A [`Histogram`] as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Upper bounds, inclusive, ascending.
    pub bounds: &'static [Duration],
    /// How many were within each bound and beyond the one before; last, how many were beyond all.
    pub counts: Vec<u64>,
    /// All durations together.
    pub sum: Duration,
}

/// From one millisecond to eight seconds, each twice the one before: what etcd uses for its disk.
pub const DISK_BOUNDS: &[Duration] = &{
    let mut bounds = [Duration::ZERO; 14];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = Duration::from_millis(1 << i);
        i += 1;
    }
    bounds
};

impl Histogram {
    /// Empty.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_ns: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// A look at it. Sum and counts may differ by what is being recorded.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bound_that_is_not_below_it() {
        let histogram = Histogram::new(DISK_BOUNDS);
        for ms in [0, 1, 2, 3, 8192, 8193] {
            histogram.record(Duration::from_millis(ms));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(snapshot.sum, Duration::from_millis(1 + 2 + 3 + 8192 + 8193));
    }

    #[test]
    fn lanes_add_up() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * LANES {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(2)));
            }
        });
        assert_eq!(counter.get(), 2 * LANES as u64 * 2000);
    }
}
