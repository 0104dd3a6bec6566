//! Judges a history: what was promised to clients and watchers, and was it kept?
//!
//! Revisions give the order of all writes, so that nothing has to be searched for: the history of the first watcher is
//! replayed (`timeline`), each confirmed write must be what happened at its revision, each revision that no confirmed
//! write explains must be a write of unknown outcome or the end of a lease (`writes`), reads must show the state at their
//! revision, and nobody may see less than what was seen before he asked, or more than what was asked by then (`order`).
//!
//! # Invariants
//! - A sound history has no violation: whatever is allowed in doubt is allowed here.
//! - The time a check takes grows with the history, not with its square.

mod leases;
mod model;
mod order;
mod reads;
mod rest;
mod timeline;
mod watches;
mod writes;

use super::history::History;
use std::fmt;

/// What a broken promise is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A confirmed write is not in the history.
    LostWrite,
    /// A write happened more than once.
    DoubledWrite,
    /// A write that was said to have failed happened.
    FailedWriteHappened,
    /// A change that nobody asked for.
    Unexplained,
    /// A write answered something else than what it did.
    WrongAnswer,
    /// A read or a write did not see what was seen before it began.
    Stale,
    /// Somebody saw what nobody had asked for yet.
    Future,
    /// A read showed what never was.
    WrongRead,
    /// Revisions are missing, or pairs in the history do not follow from each other.
    BrokenHistory,
    /// A watcher was not told of a change.
    WatchGap,
    /// A watcher was told twice.
    WatchDuplicate,
    /// A watcher was told in another order.
    WatchOrder,
    /// A revision was split over responses.
    WatchSplit,
    /// A watcher was told something else than what happened.
    WatchWrong,
    /// A watcher was told of progress ahead of changes.
    WatchProgress,
    /// A watcher was told another pair than the one before.
    WatchBefore,
    /// A lease ended before its time.
    LeaseEarly,
    /// A lease ended after its time.
    LeaseLate,
    /// A lease was renewed after its end.
    LeaseRevived,
    /// Members hold different things at rest.
    Divergence,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// What was seen.
    pub text: String,
}

impl Violation {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Revisions that were explained.
    pub revisions: u64,
    /// Reads and unchanging writes that were compared.
    pub reads: u64,
    /// Changes that watchers were told of and that were compared.
    pub changes: u64,
    /// Leases whose end was timed.
    pub leases: u64,
}

/// Judges a history.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let timeline = timeline::Timeline::of(history, &mut verdict);
    let floor = order::Floor::of(history);
    let calls = writes::check(history, &timeline, &floor, &mut verdict);
    reads::check(history, &timeline, &floor, &calls, &mut verdict);
    watches::check(history, &timeline, &calls, &mut verdict);
    leases::check(history, &timeline, &mut verdict);
    rest::check(history, &timeline, &mut verdict);
    verdict
}
