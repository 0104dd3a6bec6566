//! Requests of a lane of entries that have no answer yet, and answers that must wait for later ones.
//!
//! openraft counts an answer for every request that it has made up to the answer's entry: also for *news*, requests without
//! entries that say how far is committed, which it made after the follower had answered. It takes the time at which it made
//! the last of them for the follower's sign of life. A leader that stood still while another one was elected would so
//! believe an answer from before that election, and confirm a read that is stale.
//!
//! # Invariants
//! - Answers are handed over in the order of the requests, each once.
//! - An answer that is *late* is handed over only with the answer to the last request that it would count for. Late is what
//!   comes after a follower may have voted for somebody else: [`ConsensusConfig::vote_kept`] after its request was made, at the
//!   soonest. Before that only one to whom this leader offers the lead is elected, and then openraft confirms no reads.

#[cfg(doc)]
use super::config::ConsensusConfig;
use super::messages::{AppendRequest, AppendResponse};
use super::peers::PeerError;
#[cfg(coffer_planted)]
use crate::planted::{Bug, planted};
use crate::storage::LogId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::mem::take;
use std::time::{Duration, Instant};

pub(super) type Answer = Result<AppendResponse, PeerError>;

/// What a lane of entries owes openraft.
pub(super) struct Unanswered {
    /// When an answer to a request begins to be late.
    late_after: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Sent>,
    late: Vec<Answer>,
    no_more: bool,
    failed: bool,
    #[cfg(coffer_planted)]
    last: Option<LogId>,
}

struct Sent {
    at: Instant,
    prev: Option<LogId>,
    is_news: bool,
}

impl Sent {
    /// Whether openraft takes for an answer to this what matched up to `matched`.
    fn is_answered_by(&self, matched: Option<LogId>) -> bool {
        if self.is_news { matched >= self.prev } else { matched > self.prev }
    }
}

impl Unanswered {
    pub(super) fn new(late_after: Duration) -> Self {
        Self { late_after, state: Mutex::default() }
    }

    /// openraft has made a request.
    pub(super) fn begins(&self, request: &AppendRequest) {
        let mut state = self.state.lock();
        let is_news = request.entries.is_empty();
        state.requests.push_back(Sent { at: Instant::now(), prev: request.prev, is_news });
        #[cfg(coffer_planted)]
        {
            state.last = request.entries.last().map(|entry| entry.id).or(request.prev);
        }
    }

    /// There are no more requests.
    pub(super) fn no_more(&self) {
        self.state.lock().no_more = true;
    }

    /// What openraft is told now that this has come. What is not a match is the last answer, whatever else was sent; late answers
    /// before it are dropped: what they counted for will not be answered.
    pub(super) fn answered(&self, answer: Answer) -> Vec<Answer> {
        let mut state = self.state.lock();
        #[cfg(coffer_planted)]
        let answer = match state.last {
            Some(last) if planted(Bug::AckBeforeQuorum) && answer.is_err() => {
                Ok(AppendResponse::Matched(Some(last)))
            }
            _ => answer,
        };
        let Ok(AppendResponse::Matched(matched)) = answer else {
            state.failed = true;
            state.late.clear();
            return vec![answer];
        };
        let sent = state.requests.pop_front();
        let is_late = sent.is_some_and(|sent| sent.at.elapsed() >= self.late_after);
        let counts_for_next = state.requests.front().is_some_and(|next| next.is_answered_by(matched));
        state.late.push(answer);
        if is_late && counts_for_next {
            return Vec::new();
        }
        take(&mut state.late)
    }

    /// Whether the answers may end here.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state.lock();
        state.failed || (state.no_more && state.requests.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Vote;
    use super::*;
    use crate::storage::{EntryKind, LogEntry};

    const LATE_AFTER: Duration = Duration::from_millis(50);

    fn id(index: u64) -> LogId {
        LogId { term: 1, index }
    }

    /// That the log is committed up to `index`, its end.
    fn news(index: u64) -> AppendRequest {
        let at = Some(id(index));
        AppendRequest { vote: Vote::default(), prev: at, entries: Vec::new(), committed: at }
    }

    /// The entry after `index`.
    fn entry_after(index: u64) -> AppendRequest {
        let entry = LogEntry { id: id(index + 1), kind: EntryKind::Normal, payload: Default::default() };
        AppendRequest { entries: vec![entry], ..news(index) }
    }

    fn matched(index: u64) -> Answer {
        Ok(AppendResponse::Matched(Some(id(index))))
    }

    fn sent(requests: impl IntoIterator<Item = AppendRequest>) -> Unanswered {
        let unanswered = Unanswered::new(LATE_AFTER);
        requests.into_iter().for_each(|request| unanswered.begins(&request));
        unanswered
    }

    #[test]
    fn a_late_answer_waits_for_that_to_the_news_made_since() {
        let unanswered = sent([entry_after(1)]);
        std::thread::sleep(2 * LATE_AFTER);
        unanswered.begins(&news(2));
        assert_eq!(unanswered.answered(matched(2)), [], "the follower may follow another one by now");
        assert_eq!(unanswered.answered(matched(2)), [matched(2), matched(2)]);
    }

    #[test]
    fn late_answers_wait_for_the_last_of_several_news() {
        let unanswered = sent([entry_after(1), news(2)]);
        std::thread::sleep(2 * LATE_AFTER);
        unanswered.begins(&news(2));
        assert_eq!(unanswered.answered(matched(2)), []);
        assert_eq!(unanswered.answered(matched(2)), []);
        assert_eq!(unanswered.answered(matched(2)), [matched(2), matched(2), matched(2)]);
    }

    #[test]
    fn an_answer_that_counts_for_its_own_request_alone_waits_for_nothing() {
        let unanswered = sent([entry_after(1), entry_after(2)]);
        std::thread::sleep(2 * LATE_AFTER);
        assert_eq!(unanswered.answered(matched(2)), [matched(2)]);
        assert_eq!(unanswered.answered(matched(3)), [matched(3)]);
        let punctual = sent([entry_after(1), news(2)]);
        assert_eq!(punctual.answered(matched(2)), [matched(2)]);
    }

    #[test]
    fn a_late_answer_is_dropped_when_no_other_comes() {
        let unanswered = sent([entry_after(1), news(2)]);
        std::thread::sleep(2 * LATE_AFTER);
        assert_eq!(unanswered.answered(matched(2)), []);
        let higher = Ok(AppendResponse::HigherVote(Vote::default()));
        assert_eq!(unanswered.answered(higher.clone()), [higher]);
        assert!(unanswered.is_done());
    }

    #[test]
    fn all_is_done_once_every_request_has_its_answer() {
        let unanswered = sent([entry_after(1), entry_after(2)]);
        unanswered.answered(matched(2));
        unanswered.no_more();
        assert!(!unanswered.is_done());
        unanswered.answered(matched(3));
        assert!(unanswered.is_done());
    }
}
