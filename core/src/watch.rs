//! Delivers events to watchers without ever slowing the state machine.

use crate::error::Error;
use crate::key_range::KeyRange;
use crate::record::KeyValue;
use crate::state::Event;
use std::sync::Arc;

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
#[allow(missing_docs)]
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

/// The watchers of one client, and the queue of what they have to be told.
#[derive(Debug)]
pub struct WatchStream {}

impl WatchStream {
    /// Adds a watcher and returns its id.
    ///
    /// # Errors
    /// [`Error::DuplicateWatchId`], [`Error::EmptyWatchRange`]; a compacted start is told by the stream instead.
    pub fn create(&mut self, _request: WatchRequest) -> Result<i64, Error> {
        unimplemented!()
    }

    /// Removes a watcher; its last response is a cancellation. Unknown ids are ignored.
    pub fn cancel(&mut self, _watch_id: i64) {
        unimplemented!()
    }

    /// Asks for one progress response for the whole stream, delivered once every watcher is up to date.
    pub fn request_progress(&mut self) {
        unimplemented!()
    }

    /// The next responses, in order; `None` once the node has stopped.
    pub async fn next(&mut self) -> Option<Vec<WatchResponse>> {
        unimplemented!()
    }
}
