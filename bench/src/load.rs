//! Callers that repeat one operation, and what they counted meanwhile.

use bytes::Bytes;
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Tells the callers what counts.
#[derive(Debug, Default)]
pub struct Phase {
    measuring: AtomicBool,
    ended: AtomicBool,
}

impl Phase {
    /// From here on operations count.
    pub fn measure(&self) {
        self.measuring.store(true, Ordering::Release);
    }

    /// From here on operations do not count, but go on.
    pub fn pause(&self) {
        self.measuring.store(false, Ordering::Release);
    }

    /// Callers end with their current operation.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// What callers did while it counted.
#[derive(Debug)]
pub struct Tally {
    /// Microseconds of each successful operation, up to a minute, in three digits.
    pub latencies: Histogram<u64>,
    /// Operations that succeeded.
    pub ops: u64,
    /// Operations that failed.
    pub errors: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3);
        let latencies = latencies.expect("the bounds are ordered and three digits are allowed");
        Self { latencies, ops: 0, errors: 0 }
    }
}

impl Tally {
    /// Adds what another counted.
    pub fn add(&mut self, other: &Tally) {
        self.latencies.add(&other.latencies).expect("all tallies have the same bounds");
        self.ops += other.ops;
        self.errors += other.errors;
    }
}

/// Something that repeats an operation.
pub trait Caller {
    /// Why an operation failed.
    type Error;

    /// One operation.
    fn operation(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Repeats a caller's operation until the phase ends.
pub async fn repeat<C: Caller>(mut caller: C, phase: Arc<Phase>) -> Tally {
    let mut tally = Tally::default();
    while !phase.ended.load(Ordering::Acquire) {
        let began = Instant::now();
        let result = caller.operation().await;
        if !phase.measuring.load(Ordering::Acquire) {
            continue;
        }
        match result {
            Ok(()) => {
                tally.ops += 1;
                tally.latencies.saturating_record(began.elapsed().as_micros() as u64);
            }
            Err(_) => tally.errors += 1,
        }
    }
    tally
}

/// Key `number`: a thousand share a prefix, as Kubernetes' do.
pub fn key(number: u64) -> Bytes {
    format!("/registry/pods/ns-{:04}/web-{number:012}", number / 1000).into()
}

/// A value that does not compress, the same in every run.
pub fn value(bytes: usize) -> Bytes {
    let mut random = SmallRng::seed_from_u64(1);
    (0..bytes).map(|_| random.random::<u8>()).collect()
}
