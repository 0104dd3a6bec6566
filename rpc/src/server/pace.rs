//! Paces what the watch streams of one thread send, so that events that come in quick succession share messages.
//!
//! An event that many streams want costs a message for each, and a message costs as much as dozens of events in it,
//! for the client too. Time is cut into rounds. In a round each stream sends once without waiting, and what it has to
//! send then waits for the next round. A round lasts [`MESSAGE_TIME`] for each message sent in it: the more streams
//! there are, the more is gathered between two messages of one. A lone event, and all events while few streams are
//! active, leave at once.

use coffer_runtime::sleep_until;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a message adds to its round: a few times what it costs.
const MESSAGE_TIME: Duration = Duration::from_micros(50);
/// Rounds shorter than this hold nobody up.
const ROUND_MIN: Duration = Duration::from_millis(1);
/// No round is longer, so that no event waits longer.
const ROUND_MAX: Duration = Duration::from_millis(5);

/// The rounds of one thread.
pub(super) struct Pace {
    began: Cell<Instant>,
    number: Cell<u64>,
    sent: Cell<u32>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { began: Cell::new(Instant::now()), number: Cell::new(1), sent: Cell::new(0) }
    }

    /// Notes that a message is sent, and returns the round that it belongs to.
    pub(super) fn sent(&self) -> u64 {
        self.sent.set(self.sent.get().saturating_add(1));
        self.number.get()
    }

    /// Waits until a stream may send whose last message was of round `last`.
    pub(super) async fn turn(&self, last: u64) {
        while let Some(end) = self.end_for(last, Instant::now()) {
            sleep_until(end).await;
        }
    }

    /// The end of the round at `now` that a stream has to wait for; `None` if it may send.
    fn end_for(&self, last: u64, now: Instant) -> Option<Instant> {
        let length = (MESSAGE_TIME * self.sent.get()).min(ROUND_MAX);
        let end = self.began.get() + length;
        if end <= now {
            self.began.set(now);
            self.number.set(self.number.get() + 1);
            self.sent.set(0);
        }
        (last == self.number.get() && length >= ROUND_MIN).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round that began at the returned time, in which `streams` streams have sent once.
    fn round(streams: u32) -> (Pace, Instant, u64) {
        let pace = Pace::new();
        let began = pace.began.get();
        let number = (0..streams).map(|_| pace.sent()).last().expect("somebody has sent");
        (pace, began, number)
    }

    #[test]
    fn few_streams_never_wait() {
        let (pace, began, number) = round(19);
        assert_eq!(pace.end_for(number, began), None);
    }

    #[test]
    fn who_has_sent_waits_for_the_end_of_the_round_and_others_do_not() {
        let (pace, began, number) = round(40);
        let end = began + Duration::from_millis(2);
        assert_eq!(pace.end_for(number, began), Some(end));
        assert_eq!(pace.end_for(number - 1, began), None);
        // Another message makes the round longer.
        assert_eq!(pace.sent(), number);
        assert_eq!(pace.end_for(number, end), Some(end + MESSAGE_TIME));
        assert_eq!(pace.end_for(number, end + MESSAGE_TIME), None);
    }

    #[test]
    fn a_round_ends_however_many_send() {
        let (pace, began, number) = round(100_000);
        assert_eq!(pace.end_for(number, began), Some(began + ROUND_MAX));
        assert_eq!(pace.end_for(number, began + ROUND_MAX), None);
        // Whoever sends then is in a new one.
        assert_eq!(pace.sent(), number + 1);
    }
}
