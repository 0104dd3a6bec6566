//! Delivers events to watchers without ever slowing the state machine.
//!
//! # Data path
//! The apply thread publishes each batch of events to the [`WatchHub`]; the hub's one thread matches it with
//! watchers and fills one queue per [`WatchStream`]; surfaces take responses from there. What a watcher missed,
//! because it started in the past or its consumer is slow, is read from [`History`] in small steps.
//!
//! # Invariants
//! - A watcher is told of exactly the events of its range from its start on, in order, each once, one revision
//!   never split over responses (unless it asked for fragments); or it is cancelled and told why.
//! - Progress is never ahead of an event.
//! - A consumer that does not read costs a queue that is bounded by bytes, and delays nobody.
//! - Matching costs the same for ten watchers as for ten thousand that do not want the event; watchers that want
//!   the same share the events.
//!
//! Nothing here survives a crash, and nothing has to: clients resume from the revision that they saw last.

mod delivery;
mod engine;
mod hub;
mod interval_tree;
mod matcher;
mod stream;

pub use hub::{WatchConfig, WatchCounters, WatchHub};
pub use stream::WatchStream;

use crate::error::Error;
use crate::key_range::KeyRange;
use crate::record::{KeyValue, Record};
use crate::revision::Revision;
use crate::state::Event;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The past, as the hub thread reads it. The node implements it.
pub trait History: Send + Sync + 'static {
    /// The newest revision that readers see.
    fn published(&self) -> i64;

    /// The compact revision; 0 if nothing was ever compacted. Watches may start there but not below, so every
    /// event at exactly this revision can still be scanned, deletions included.
    fn compact_revision(&self) -> i64;

    /// Visits the events of the revisions `first..=last` in order, until `visit` breaks. `last` is published.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `first` lies below the compact revision; whatever the medium fails with.
    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// The record at `revision`; `None` if it is compacted away.
    ///
    /// # Errors
    /// Whatever the medium fails with.
    fn record(&self, revision: Revision) -> Result<Option<Arc<Record>>, Error>;
}

/// What a watcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub range: KeyRange,
    /// The first revision to deliver; 0 for "from now on".
    pub start_revision: i64,
    /// Whether to report progress while nothing happens.
    pub progress_notify: bool,
    /// Drop puts.
    pub no_put: bool,
    /// Drop deletes.
    pub no_delete: bool,
    /// Deliver the pair before each change.
    pub prev_kv: bool,
    /// The id to use on this stream; 0 lets the stream choose.
    pub watch_id: i64,
    /// Whether a large revision may be split over several responses.
    pub fragment: bool,
}

impl WatchRequest {
    /// Watches `range` from now on.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            start_revision: 0,
            progress_notify: false,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            watch_id: 0,
            fragment: false,
        }
    }
}

/// Events of whole revisions, in order, shared by everyone who wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The last revision in the batch.
    pub revision: i64,
    /// The events.
    pub events: Vec<Event>,
}

/// One event as delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The change.
    pub event: Event,
    /// The pair before, if asked for, present and not compacted away.
    pub prev_kv: Option<KeyValue>,
}

/// What a stream delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchResponse {
    /// The watchers of the stream that this is for: identical ones share it. `[-1]` for the stream as a whole.
    pub watch_ids: Vec<i64>,
    /// The store revision for the response's header. For progress: every event up to it was delivered before.
    pub revision: i64,
    /// What happened.
    pub kind: WatchKind,
}

/// The kinds of [`WatchResponse`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum WatchKind {
    Created,
    Events {
        events: Arc<[WatchEvent]>,
        /// Whether more of the same revision follows.
        fragment: bool,
    },
    Progress,
    Canceled {
        /// Why; [`Error::Canceled`] where the watcher itself asked.
        reason: Error,
        /// The compact revision where that is the reason, else 0.
        compact_revision: i64,
    },
}

#[cfg(test)]
mod tests;
