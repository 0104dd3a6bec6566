//! Entries on their way: several requests are sent before the first is answered.
//!
//! The stream of requests is polled where the answers are, on raft's thread, and dropped with them: raft begins a new
//! stream over the same log, and two at once would take each other's entries.
//!
//! Raft sends a follower two requests for each entry of a single writer: the entry, and once a quorum has it a request
//! without entries, the *news* that it is committed. A message costs both sides a wake of two threads, more than all that
//! is done with it, so news waits up to [`NEWS_WAIT`] for entries, which bring the same commit index or a newer one. It does
//! not wait where it is awaited: by another answer, or by a member that asked this one something a short while ago ([`Asked`]).
//!
//! # Invariants
//! - Answers come in the order of the requests, each once.
//! - Unanswered are at most [`REQUESTS_MAX`] requests and about [`BYTES_MAX`] of entries, and always one is sent.
//! - News is answered only by the follower's answer to itself or to the request that it went with.
//! - The first request is sent at once: it may ask whether the follower's log matches.
//! - Silence while something is unanswered ends the stream with an error.

use super::asked::Asked;
use async_channel::{Receiver, Sender};
use coffer_core::consensus::messages::{AppendRequest, AppendResponse};
use coffer_core::consensus::peers::PeerError;
use coffer_core::storage::LogId;
use coffer_runtime::{Sleep, sleep};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

const REQUESTS_MAX: usize = 64;
const BYTES_MAX: usize = 8 << 20;
/// How long news waits for entries. A put of a single writer takes about half of it on one machine.
const NEWS_WAIT: Duration = Duration::from_millis(2);

pub(super) type Answer = Result<AppendResponse, PeerError>;

/// The sending end of a lane's entries.
pub(super) struct Window {
    member: u64,
    asked: Arc<Asked>,
    /// `None` once there are no more.
    requests: Option<BoxStream<'static, AppendRequest>>,
    sender: Option<Sender<AppendRequest>>,
    answers: Pin<Box<Receiver<Answer>>>,
    unanswered: VecDeque<Sent>,
    bytes: usize,
    news: Option<News>,
    /// Whether a request was sent.
    begun: bool,
    /// What is answered already: the answers to news, and to the request that it went with.
    ready: VecDeque<Answer>,
    patience: Duration,
    /// Runs while something is unanswered.
    silence: Option<Sleep>,
    ended: bool,
}

/// A request that has no answer yet.
struct Sent {
    bytes: usize,
    /// How often news went with it, and what the follower's log matches for that: where the entries follow on.
    news: usize,
    prev: Option<LogId>,
}

/// A request without entries, which waits.
struct News {
    request: AppendRequest,
    /// How many older ones it stands for.
    older: usize,
    wait: Sleep,
}

impl News {
    /// Whether `request` says all that this does.
    fn goes_with(&self, request: &AppendRequest) -> bool {
        let own = &self.request;
        own.vote == request.vote && own.prev == request.prev && own.committed <= request.committed
    }
}

impl Window {
    /// Sends `requests` to `member` into `sender`, whose other end gives an answer for each to `answers`.
    pub(super) fn new(
        member: u64,
        asked: Arc<Asked>,
        requests: BoxStream<'static, AppendRequest>,
        sender: Sender<AppendRequest>,
        answers: Receiver<Answer>,
        patience: Duration,
    ) -> Self {
        Self {
            member,
            asked,
            requests: Some(requests),
            sender: Some(sender),
            answers: Box::pin(answers),
            unanswered: VecDeque::new(),
            bytes: 0,
            news: None,
            begun: false,
            ready: VecDeque::new(),
            patience,
            silence: None,
            ended: false,
        }
    }

    fn has_room(&self) -> bool {
        let requests = self.unanswered.len() + usize::from(self.news.is_some());
        self.unanswered.is_empty() || (requests < REQUESTS_MAX && self.bytes < BYTES_MAX)
    }

    /// Sends a request, or keeps it for a while if it is news.
    fn take(&mut self, request: AppendRequest) {
        let mut kept = self.news.take();
        if let Some(news) = kept.take_if(|news| !news.goes_with(&request)) {
            self.send(news.request, news.older);
        }
        let older = kept.as_ref().map_or(0, |news| news.older + 1);
        if request.entries.is_empty() && self.begun && !request.is_awaited && !self.asked.lately(self.member)
        {
            let wait = kept.map_or_else(|| sleep(NEWS_WAIT), |news| news.wait);
            self.news = Some(News { request, older, wait });
        } else {
            self.send(request, older);
        }
    }

    fn send(&mut self, request: AppendRequest, news: usize) {
        let bytes = crate::wire::peer::append_bytes(&request);
        self.unanswered.push_back(Sent { bytes, news, prev: request.prev });
        self.bytes += bytes;
        self.begun = true;
        self.silence.get_or_insert_with(|| sleep(self.patience));
        if let Some(sender) = &self.sender {
            // Where the other end has gone, the answers end too.
            let _ = sender.try_send(request);
        }
    }

    /// Sends the news that has waited long enough, or all if `at_once`.
    fn send_news(&mut self, at_once: bool, cx: &mut Context<'_>) {
        let due = |news: &mut News| at_once || Pin::new(&mut news.wait).poll(cx).is_ready();
        if let Some(news) = self.news.take_if(due) {
            self.send(news.request, news.older);
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.ended = !matches!(answer, Ok(AppendResponse::Matched(_)));
        if let Some(sent) = self.unanswered.pop_front() {
            self.bytes -= sent.bytes;
            if !self.ended {
                self.ready.extend((0..sent.news).map(|_| Ok(AppendResponse::Matched(sent.prev))));
            }
        }
        self.silence = (!self.unanswered.is_empty()).then(|| sleep(self.patience));
        self.ready.push_back(answer);
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
        if let Some(answer) = this.ready.pop_front() {
            return Poll::Ready(Some(answer));
        }
        if this.ended {
            // What is left of the requests belongs to raft again.
            (this.requests, this.sender, this.news) = (None, None, None);
            return Poll::Ready(None);
        }
        loop {
            match this.answers.poll_next_unpin(cx) {
                Poll::Ready(Some(answer)) => this.answered(answer),
                Poll::Ready(None) if this.requests.is_some() || !this.unanswered.is_empty() => {
                    return this.fail("the connection ended".to_owned());
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
            if let Some(answer) = this.ready.pop_front() {
                return Poll::Ready(Some(answer));
            }
        }
        while this.has_room()
            && let Some(requests) = &mut this.requests
        {
            match requests.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => this.take(request),
                Poll::Ready(None) => {
                    this.send_news(true, cx);
                    (this.requests, this.sender) = (None, None);
                }
                Poll::Pending => break,
            }
        }
        this.send_news(false, cx);
        if this.requests.is_none() && this.unanswered.is_empty() {
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
        AppendRequest {
            vote: Vote::default(),
            prev: None,
            entries: vec![entry],
            committed: None,
            is_awaited: false,
        }
    }

    fn matched(index: u64) -> Answer {
        Ok(AppendResponse::Matched(Some(LogId { term: 1, index })))
    }

    /// News that what `request` before it brought is committed up to `committed`.
    fn news(index: u64, committed: u64) -> AppendRequest {
        let id = |index| Some(LogId { term: 1, index });
        AppendRequest { prev: id(index), entries: Vec::new(), committed: id(committed), ..request(index, 0) }
    }

    fn entries_after(index: u64, committed: u64) -> AppendRequest {
        AppendRequest { entries: request(index + 1, 10).entries, ..news(index, committed) }
    }

    fn make(
        requests: BoxStream<'static, AppendRequest>,
        sender: Sender<AppendRequest>,
        answers: Receiver<Answer>,
        patience: Duration,
    ) -> Window {
        Window::new(7, Arc::default(), requests, sender, answers, patience)
    }

    /// A window over requests that the test hands in one by one, what it sent, and the way for answers.
    struct Rig {
        requests: Sender<AppendRequest>,
        sent: Receiver<AppendRequest>,
        answer: Sender<Answer>,
        asked: Arc<Asked>,
        window: Window,
    }

    impl Rig {
        /// With one request behind it.
        fn begun() -> Self {
            let (requests, queue) = async_channel::unbounded();
            let (sender, sent) = async_channel::unbounded();
            let (answer, answers) = async_channel::unbounded();
            let asked = Arc::<Asked>::default();
            let patience = Duration::from_secs(60);
            let window = Window::new(7, asked.clone(), queue.boxed(), sender, answers, patience);
            let mut rig = Self { requests, sent, answer, asked, window };
            rig.ask(request(1, 10));
            assert_eq!(rig.sent.try_recv().ok(), Some(request(1, 10)));
            rig.answer.try_send(matched(1)).expect("the window is there");
            assert_eq!(rig.next(), Some(Some(matched(1))));
            rig
        }

        fn ask(&mut self, request: AppendRequest) {
            self.requests.try_send(request).expect("the window is there");
            assert_eq!(self.next(), None);
        }

        fn next(&mut self) -> Option<Option<Answer>> {
            self.window.next().now_or_never()
        }
    }

    #[test]
    fn news_goes_with_the_next_entries_and_is_answered_with_them() {
        let mut rig = Rig::begun();
        rig.ask(news(1, 0));
        rig.ask(news(1, 1));
        assert!(rig.sent.is_empty(), "it waits");
        rig.ask(entries_after(1, 1));
        assert_eq!(rig.sent.try_recv().ok(), Some(entries_after(1, 1)));
        assert!(rig.sent.is_empty(), "it was told with the entries");
        assert_eq!(rig.next(), None, "nothing is answered before the follower answers");
        rig.answer.try_send(matched(2)).expect("the window is there");
        for answer in [matched(1), matched(1), matched(2)] {
            assert_eq!(rig.next(), Some(Some(answer)));
        }
        assert_eq!(rig.next(), None);
    }

    #[test]
    fn news_that_entries_do_not_tell_goes_before_them() {
        let mut rig = Rig::begun();
        rig.ask(news(1, 1));
        let older = entries_after(1, 0);
        rig.ask(older.clone());
        let sent = [(); 2].map(|()| rig.sent.try_recv().ok());
        assert_eq!(sent, [Some(news(1, 1)), Some(older)]);
        for index in [1, 2] {
            rig.answer.try_send(matched(index)).expect("the window is there");
            assert_eq!(rig.next(), Some(Some(matched(index))));
        }
    }

    #[test]
    fn news_goes_alone_when_no_entries_come() {
        coffer_runtime::block_on(async {
            let mut rig = Rig::begun();
            rig.ask(news(1, 0));
            rig.ask(news(1, 1));
            let idle = coffer_runtime::timeout(20 * NEWS_WAIT, rig.window.next()).await;
            assert!(idle.is_err(), "nothing was answered");
            assert_eq!(rig.sent.try_recv().ok(), Some(news(1, 1)));
            rig.answer.try_send(matched(1)).expect("the window is there");
            let answers = [rig.next(), rig.next(), rig.next()];
            assert_eq!(answers, [Some(Some(matched(1))), Some(Some(matched(1))), None]);
        });
    }

    #[test]
    fn news_does_not_wait_at_the_end() {
        let mut rig = Rig::begun();
        rig.ask(news(1, 1));
        rig.requests.close();
        assert_eq!(rig.next(), None);
        assert_eq!(rig.sent.try_recv().ok(), Some(news(1, 1)));
        rig.answer.try_send(matched(1)).expect("the window is there");
        assert_eq!([rig.next(), rig.next()], [Some(Some(matched(1))), Some(None)]);
    }

    #[test]
    fn neither_the_first_request_nor_what_is_awaited_is_held_back() {
        let (sender, sent) = async_channel::unbounded();
        let (_answer, answers) = async_channel::unbounded();
        let requests = stream::iter([news(1, 1)]).chain(stream::pending()).boxed();
        let mut first = make(requests, sender, answers, Duration::from_secs(60));
        assert!(first.next().now_or_never().is_none());
        assert_eq!(sent.try_recv().ok(), Some(news(1, 1)));

        let mut rig = Rig::begun();
        rig.asked.by(8);
        rig.ask(news(1, 0));
        assert!(rig.sent.is_empty(), "another member has asked");
        rig.asked.by(7);
        rig.ask(news(1, 1));
        assert_eq!(rig.sent.try_recv().ok(), Some(news(1, 1)));

        let mut rig = Rig::begun();
        let awaited = AppendRequest { is_awaited: true, ..news(1, 1) };
        rig.ask(awaited.clone());
        assert_eq!(rig.sent.try_recv().ok(), Some(awaited));
    }

    #[test]
    fn news_that_went_with_refused_entries_is_not_answered() {
        let mut rig = Rig::begun();
        rig.ask(news(1, 1));
        rig.ask(entries_after(1, 1));
        let conflict = Ok(AppendResponse::Conflict(LogId { term: 1, index: 1 }));
        rig.answer.try_send(conflict.clone()).expect("the window is there");
        assert_eq!([rig.next(), rig.next()], [Some(Some(conflict)), Some(None)]);
    }

    #[test]
    fn several_requests_leave_before_the_first_answer_but_not_too_many() {
        let (sender, sent) = async_channel::unbounded();
        let (answer, answers) = async_channel::unbounded();
        let requests = stream::iter((0..1000).map(|index| request(index, 10))).boxed();
        let mut window = make(requests, sender, answers, Duration::from_secs(60));
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
        let mut window = make(requests, sender, answers, Duration::from_secs(60));
        assert!(window.next().now_or_never().is_none());
        assert_eq!(sent.len(), 1);
    }

    #[test]
    fn a_conflict_ends_the_stream_and_lets_the_requests_go() {
        let (sender, sent) = async_channel::unbounded();
        let (answer, answers) = async_channel::unbounded();
        let requests = stream::iter((0..3).map(|index| request(index, 10))).chain(stream::pending()).boxed();
        let mut window = make(requests, sender, answers, Duration::from_secs(60));
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
            let mut window = make(requests, sender, answers, Duration::from_millis(20));
            assert!(window.next().now_or_never().is_none());
            answer.send(matched(0)).await.expect("the window is there");
            assert_eq!(window.next().await, Some(matched(0)));
            let idle = coffer_runtime::timeout(Duration::from_millis(60), window.next()).await;
            assert!(idle.is_err(), "nothing is owed");
            let (sender, _sent) = async_channel::unbounded();
            let (_answer, answers) = async_channel::unbounded();
            let requests = stream::iter([request(0, 10)]).chain(stream::pending()).boxed();
            let mut window = make(requests, sender, answers, Duration::from_millis(20));
            assert!(matches!(window.next().await, Some(Err(PeerError::NoAnswer(_)))));
            assert_eq!(window.next().await, None);
        });
    }
}
