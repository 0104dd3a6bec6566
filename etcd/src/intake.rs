//! How much of requests that are not yet whole the server holds, and for how long.
//!
//! # Data path
//! A connection has a [`Share`] of the server's [`Intake`]; each of its bodies has a [`Hold`], which grows with what has
//! come and is given back when the request is whole: what becomes of it then is bounded by the queue of proposals.
//!
//! # Invariants
//! - What all bodies hold together is no more than the server's limit, and what those of a connection hold no more than
//!   its share. A body that finds no room is refused. It can not wait: what it leaves unread takes the flow control
//!   window of its connection, without which the bodies that hold the room would never become whole.
//! - Nobody holds anything for longer than the body timeout after they have stopped to be whole.

use crate::convert::status;
use crate::outgo::Outgo;
use coffer_core::Error;
use coffer_runtime::{Sleep, sleep};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tonic::Status;

/// What a whole server holds.
#[derive(Debug)]
pub(crate) struct Intake {
    room: Room,
    share_bytes_max: usize,
    body_timeout: Duration,
}

impl Intake {
    /// Room for `bytes_max`, of which a connection may take `share_bytes_max`.
    pub(crate) fn new(bytes_max: usize, share_bytes_max: usize, body_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { room: Room::new(bytes_max), share_bytes_max, body_timeout })
    }

    /// The share of a new connection.
    pub(crate) fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { intake: self.clone(), room: Room::new(self.share_bytes_max), outgo: Arc::default() })
    }
}

/// What the bodies of a connection hold, and its answers.
#[derive(Debug)]
pub(crate) struct Share {
    intake: Arc<Intake>,
    room: Room,
    pub(crate) outgo: Arc<Outgo>,
}

/// What one body holds, until dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    share: Arc<Share>,
    bytes: usize,
    /// When patience ends; set once there was something to wait for.
    due: Option<Sleep>,
}

impl Hold {
    /// Nothing yet.
    pub(crate) fn new(share: &Arc<Share>) -> Self {
        Self { share: share.clone(), bytes: 0, due: None }
    }

    /// The share that it is a part of.
    pub(crate) fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Holds `bytes` from now on.
    ///
    /// # Errors
    /// There is no room for more than before.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Status> {
        let (share, server) = (&self.share.room, &self.share.intake.room);
        if let Some(more) = bytes.checked_sub(self.bytes) {
            if !share.take(more) {
                return Err(status(Error::TooManyRequests));
            }
            if !server.take(more) {
                share.give(more);
                return Err(status(Error::TooManyRequests));
            }
        } else {
            share.give(self.bytes - bytes);
            server.give(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Gives everything back: the body is whole, or a message in it. What may come next has all the time again.
    pub(crate) fn settle(&mut self) {
        self.due = None;
        if self.bytes > 0 {
            self.share.room.give(self.bytes);
            self.share.intake.room.give(self.bytes);
            self.bytes = 0;
        }
    }

    /// More time from now on.
    pub(crate) fn restart_clock(&mut self) {
        self.due = None;
    }

    /// Asked whenever more has to come: the refusal, once it was waited for too long.
    pub(crate) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let due = self.due.get_or_insert_with(|| sleep(self.share.intake.body_timeout));
        ready!(Pin::new(due).poll(cx));
        Poll::Ready(Status::deadline_exceeded("the body of the request took too long"))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.settle();
    }
}

#[derive(Debug)]
struct Room {
    used: AtomicUsize,
    bytes_max: usize,
}

impl Room {
    fn new(bytes_max: usize) -> Self {
        Self { used: AtomicUsize::new(0), bytes_max }
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn used(intake: &Intake) -> usize {
        intake.room.used.load(Ordering::Relaxed)
    }

    #[test]
    fn a_share_and_the_whole_are_limits_and_everything_comes_back() {
        let intake = Intake::new(100, 60, Duration::from_secs(1));
        let (one, other) = (intake.share(), intake.share());
        let (mut first, mut second, mut third) = (Hold::new(&one), Hold::new(&one), Hold::new(&other));
        first.resize(50).unwrap();
        second.resize(10).unwrap();
        let refused = second.resize(11).unwrap_err();
        let text = "etcdserver: too many requests";
        assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, text));
        third.resize(40).unwrap();
        assert!(third.resize(41).is_err(), "the share has room, the server has none");
        assert_eq!(used(&intake), 100, "who is refused takes nothing more");
        first.resize(20).unwrap();
        third.resize(60).unwrap();
        second.settle();
        drop((first, third));
        assert_eq!(used(&intake), 0);
        second.resize(60).unwrap();
        drop(second);
        assert_eq!((used(&intake), one.room.used.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn patience_ends_unless_something_became_whole() {
        let patience = Duration::from_millis(30);
        let intake = Intake::new(100, 100, patience);
        coffer_runtime::block_on(async {
            let mut hold = Hold::new(&intake.share());
            let first = coffer_runtime::timeout(patience / 10, overdue(&mut hold)).await;
            assert!(first.is_err(), "it has only begun");
            hold.settle();
            let began = std::time::Instant::now();
            assert_eq!(overdue(&mut hold).await.code(), Code::DeadlineExceeded);
            assert!(began.elapsed() >= patience);
        });
    }

    async fn overdue(hold: &mut Hold) -> Status {
        std::future::poll_fn(|cx| hold.poll_overdue(cx)).await
    }
}
