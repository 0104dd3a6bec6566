//! Entries on their way: several requests are sent before the first is answered.
//!
//! The stream of requests is polled where the answers are, on raft's thread, and dropped with them: raft begins a new
//! stream over the same log, and two at once would take each other's entries.
//!
//! # Invariants
//! - Answers come in the order of the requests, each once.
//! - Unanswered are at most [`REQUESTS_MAX`] requests and about [`BYTES_MAX`] of entries, and always one is sent.
//! - Silence while something is unanswered ends the stream with an error.

use async_channel::{Receiver, Sender};
use coffer_core::consensus::messages::{AppendRequest, AppendResponse};
use coffer_core::consensus::peers::PeerError;
use coffer_runtime::{Sleep, sleep};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

const REQUESTS_MAX: usize = 64;
const BYTES_MAX: usize = 8 << 20;

pub(super) type Answer = Result<AppendResponse, PeerError>;

/// The sending end of a lane's entries.
pub(super) struct Window {
    /// `None` once there are no more.
    requests: Option<BoxStream<'static, AppendRequest>>,
    sender: Option<Sender<AppendRequest>>,
    answers: Pin<Box<Receiver<Answer>>>,
    /// Of the unanswered requests.
    sizes: VecDeque<usize>,
    bytes: usize,
    patience: Duration,
    /// Runs while something is unanswered.
    silence: Option<Sleep>,
    ended: bool,
}

impl Window {
    /// Sends `requests` into `sender`, whose other end gives an answer for each to `answers`.
    pub(super) fn new(
        requests: BoxStream<'static, AppendRequest>,
        sender: Sender<AppendRequest>,
        answers: Receiver<Answer>,
        patience: Duration,
    ) -> Self {
        Self {
            requests: Some(requests),
            sender: Some(sender),
            answers: Box::pin(answers),
            sizes: VecDeque::new(),
            bytes: 0,
            patience,
            silence: None,
            ended: false,
        }
    }

    fn has_room(&self) -> bool {
        self.sizes.is_empty() || (self.sizes.len() < REQUESTS_MAX && self.bytes < BYTES_MAX)
    }

    fn send(&mut self, request: AppendRequest) {
        let size = crate::wire::peer::append_bytes(&request);
        self.sizes.push_back(size);
        self.bytes += size;
        self.silence.get_or_insert_with(|| sleep(self.patience));
        if let Some(sender) = &self.sender {
            // Where the other end has gone, the answers end too.
            let _ = sender.try_send(request);
        }
    }

    fn answered(&mut self, answer: &Answer) {
        let size = self.sizes.pop_front().unwrap_or(0);
        self.bytes -= size;
        self.silence = (!self.sizes.is_empty()).then(|| sleep(self.patience));
        self.ended = !matches!(answer, Ok(AppendResponse::Matched(_)));
    }

    fn fail(&mut self, reason: String) -> Poll<Option<Answer>> {
        self.ended = true;
        Poll::Ready(Some(Err(PeerError::NoAnswer(reason))))
    }
}

impl Stream for Window {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let this = &mut *self;
        if this.ended {
            // What is left of the requests belongs to raft again.
            (this.requests, this.sender) = (None, None);
            return Poll::Ready(None);
        }
        match this.answers.poll_next_unpin(cx) {
            Poll::Ready(Some(answer)) => {
                this.answered(&answer);
                return Poll::Ready(Some(answer));
            }
            Poll::Ready(None) if this.requests.is_some() || !this.sizes.is_empty() => {
                return this.fail("the connection ended".to_owned());
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        while this.has_room()
            && let Some(requests) = &mut this.requests
        {
            match requests.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => this.send(request),
                Poll::Ready(None) => (this.requests, this.sender) = (None, None),
                Poll::Pending => break,
            }
        }
        if this.requests.is_none() && this.sizes.is_empty() {
            this.ended = true;
            return Poll::Ready(None);
        }
        if let Some(silence) = &mut this.silence
            && Pin::new(silence).poll(cx).is_ready()
        {
            return this.fail(format!("nothing was heard for {:?}", this.patience));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_core::consensus::messages::Vote;
    use coffer_core::storage::{EntryKind, LogEntry, LogId};
    use futures_util::{FutureExt, stream};

    fn request(index: u64, bytes: usize) -> AppendRequest {
        let entry = LogEntry {
            id: LogId { term: 1, index },
            kind: EntryKind::Normal,
            payload: vec![0; bytes].into(),
        };
        AppendRequest { vote: Vote::default(), prev: None, entries: vec![entry], committed: None }
    }

    fn matched(index: u64) -> Answer {
        Ok(AppendResponse::Matched(Some(LogId { term: 1, index })))
    }

    #[test]
    fn several_requests_leave_before_the_first_answer_but_not_too_many() {
        let (sender, sent) = async_channel::unbounded();
        let (answer, answers) = async_channel::unbounded();
        let requests = stream::iter((0..1000).map(|index| request(index, 10))).boxed();
        let mut window = Window::new(requests, sender, answers, Duration::from_secs(60));
        assert!(window.next().now_or_never().is_none());
        assert_eq!(sent.len(), REQUESTS_MAX);
        for index in 0..1000 {
            assert!(sent.try_recv().is_ok());
            answer.try_send(matched(index)).expect("there is room");
            assert_eq!(window.next().now_or_never().flatten(), Some(matched(index)));
            let _ = window.next().now_or_never();
            assert!(sent.len() <= REQUESTS_MAX);
        }
        assert_eq!(window.next().now_or_never(), Some(None), "every request has its answer");
    }

    #[test]
    fn large_requests_fill_the_window_sooner_and_a_huge_one_still_leaves() {
        let (sender, sent) = async_channel::unbounded();
        let (_answer, answers) = async_channel::unbounded();
        let sizes = [3 * BYTES_MAX, 10, 10];
        let requests = stream::iter(sizes.map(|bytes| request(1, bytes))).boxed();
        let mut window = Window::new(requests, sender, answers, Duration::from_secs(60));
        assert!(window.next().now_or_never().is_none());
        assert_eq!(sent.len(), 1);
    }

    #[test]
    fn a_conflict_ends_the_stream_and_lets_the_requests_go() {
        let (sender, sent) = async_channel::unbounded();
        let (answer, answers) = async_channel::unbounded();
        let requests = stream::iter((0..3).map(|index| request(index, 10))).chain(stream::pending()).boxed();
        let mut window = Window::new(requests, sender, answers, Duration::from_secs(60));
        assert!(window.next().now_or_never().is_none());
        let conflict = Ok(AppendResponse::Conflict(LogId { term: 1, index: 0 }));
        answer.try_send(conflict.clone()).expect("there is room");
        assert_eq!(window.next().now_or_never(), Some(Some(conflict)));
        assert_eq!(window.next().now_or_never(), Some(None));
        while sent.try_recv().is_ok() {}
        assert!(sent.is_closed(), "the other end is told");
    }

    #[test]
    fn silence_is_an_error_only_while_something_is_unanswered() {
        coffer_runtime::block_on(async {
            let (sender, _sent) = async_channel::unbounded();
            let (answer, answers) = async_channel::unbounded();
            let requests = stream::iter([request(0, 10)]).chain(stream::pending()).boxed();
            let mut window = Window::new(requests, sender, answers, Duration::from_millis(20));
            assert!(window.next().now_or_never().is_none());
            answer.send(matched(0)).await.expect("the window is there");
            assert_eq!(window.next().await, Some(matched(0)));
            let idle = coffer_runtime::timeout(Duration::from_millis(60), window.next()).await;
            assert!(idle.is_err(), "nothing is owed");
            let (sender, _sent) = async_channel::unbounded();
            let (_answer, answers) = async_channel::unbounded();
            let requests = stream::iter([request(0, 10)]).chain(stream::pending()).boxed();
            let mut window = Window::new(requests, sender, answers, Duration::from_millis(20));
            assert!(matches!(window.next().await, Some(Err(PeerError::NoAnswer(_)))));
            assert_eq!(window.next().await, None);
        });
    }
}
