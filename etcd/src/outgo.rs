//! What a connection is still to send: calls under way, and answers that its client does not take.
//!
//! # Data path
//! HTTP/2 takes a piece of an answer out of its body before the client has room for it, so the body cannot know whether
//! it was sent. The piece itself can: it shrinks as it is sent.
//!
//! # Invariants
//! - A connection that has sent nothing for the patience of its server, though it has something to send, is closed by
//!   whoever serves it.
//! - While more than its limit is unsent and nothing moves, new calls of a connection are refused before anything is
//!   done: what its client does not read is bounded.

use coffer_runtime::sleep;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Smaller pieces are not followed: they cost no more than the stream that they are sent on.
const FOLLOWED_BYTES: usize = 4 << 10;
/// Unsent bytes of a connection with which it is not asked for more while its client takes nothing.
const UNSENT_BYTES_MAX: usize = 64 << 20;
/// Unsent bytes with which it is not asked for more, whatever its client takes.
const UNSENT_BYTES_LIMIT: usize = 1 << 30;
/// How long a client may take nothing while it is asked for more.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether calls are under way, while a connection ends.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What one connection is still to send.
#[derive(Debug, Default)]
pub(crate) struct Outgo {
    /// Calls that end by themselves, until their answer is sent.
    calls: AtomicUsize,
    unsent_bytes: AtomicUsize,
    /// When something was sent, or began to wait, for the last time.
    moved: Mutex<Option<Instant>>,
}

impl Outgo {
    /// A call that ends by itself, unlike a stream, is under way until the last clone of this is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Arc<UnderWay> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Arc::new(UnderWay(self.clone()))
    }

    /// Follows a piece of `bytes`, if it is worth it.
    pub(crate) fn follow(self: &Arc<Self>, bytes: usize) -> Option<Unsent> {
        (bytes >= FOLLOWED_BYTES).then(|| {
            if self.unsent_bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
                *self.moved.lock() = Some(Instant::now());
            }
            Unsent { outgo: self.clone(), bytes }
        })
    }

    /// Whether so much is unsent that nothing more should be asked for.
    pub(crate) fn is_clogged(&self) -> bool {
        let unsent = self.unsent_bytes.load(Ordering::Relaxed);
        unsent > UNSENT_BYTES_LIMIT || (unsent > UNSENT_BYTES_MAX && self.paused() > PAUSE_MAX)
    }

    /// Ends once nothing was sent for `patience`, or up to twice that, though there was something to send.
    pub(crate) async fn is_stuck(&self, patience: Duration) {
        loop {
            sleep(patience).await;
            if self.paused() >= patience {
                return;
            }
        }
    }

    /// Ends once no call is under way but streams.
    pub(crate) async fn only_streams(&self) {
        while self.calls.load(Ordering::Relaxed) > 0 {
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// How long nothing was sent; nothing if there is nothing to send.
    fn paused(&self) -> Duration {
        match self.unsent_bytes.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => self.moved.lock().map_or(Duration::ZERO, |moved| moved.elapsed()),
        }
    }
}

/// A call that ends by itself, until dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Outgo>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is unsent of a piece, until dropped.
#[derive(Debug)]
pub(crate) struct Unsent {
    outgo: Arc<Outgo>,
    bytes: usize,
}

impl Unsent {
    /// Some of it was sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.outgo.unsent_bytes.fetch_sub(bytes, Ordering::Relaxed);
        *self.outgo.moved.lock() = Some(Instant::now());
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.outgo.unsent_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_runtime::{block_on, timeout};

    const PATIENCE: Duration = Duration::from_millis(20);

    #[test]
    fn only_who_is_to_send_and_does_not_is_stuck() {
        let outgo = Arc::new(Outgo::default());
        block_on(async {
            assert!(timeout(PATIENCE * 5, outgo.is_stuck(PATIENCE)).await.is_err(), "nothing is to be sent");
            assert!(outgo.follow(10).is_none(), "not worth it");
            let mut large = outgo.follow(1 << 20).unwrap();
            outgo.is_stuck(PATIENCE).await;
            large.sent(1000);
            assert!(outgo.paused() < Duration::from_secs(10));
            drop(large);
            assert_eq!(outgo.unsent_bytes.load(Ordering::Relaxed), 0);
            assert!(timeout(PATIENCE * 5, outgo.is_stuck(PATIENCE)).await.is_err(), "everything was sent");
        });
    }

    #[test]
    fn what_is_far_too_much_clogs_a_connection() {
        let outgo = Arc::new(Outgo::default());
        let some = outgo.follow(UNSENT_BYTES_LIMIT).unwrap();
        assert!(!outgo.is_clogged(), "it has only begun to wait");
        *outgo.moved.lock() = Instant::now().checked_sub(PAUSE_MAX * 2);
        assert!(outgo.is_clogged());
        let mut more = outgo.follow(FOLLOWED_BYTES).unwrap();
        more.sent(1);
        assert!(outgo.is_clogged(), "although something moves");
        drop(some);
        assert!(!outgo.is_clogged());
    }

    #[test]
    fn calls_are_under_way_until_their_last_piece_is_gone() {
        let outgo = Arc::new(Outgo::default());
        block_on(async {
            let call = outgo.begin();
            let piece = call.clone();
            drop(call);
            assert!(timeout(LOOK_INTERVAL * 3, outgo.only_streams()).await.is_err());
            drop(piece);
            outgo.only_streams().await;
        });
    }
}
