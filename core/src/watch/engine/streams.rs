//! What the hub thread knows of each stream.

use crate::watch::delivery::Queued;
use crate::watch::hub::Counters;
use crate::watch::stream::StreamShared;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// One stream, as the hub thread sees it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) shared: Arc<StreamShared>,
    /// Keys of its watchers.
    pub(super) watchers: BTreeSet<u64>,
    /// Watchers that read history, by the next revision that they need.
    pub(super) behind: BTreeSet<(i64, u64)>,
    /// Whether the stream was full and its consumer has not drained it below half since.
    pub(super) parked: bool,
    /// Whether it waits for its turn to read history.
    pub(super) queued: bool,
    /// Store revisions below which no progress may be told, by watcher; those reached are dropped when met.
    pub(super) unreached: BTreeSet<(i64, u64)>,
    /// The store revisions at which the first and the latest open request for progress was made; 0 for none.
    pub(super) progress_asked: (i64, i64),
    /// Watchers that want to be told of progress while idle.
    pub(super) notify: BTreeSet<u64>,
    /// When they are told next.
    pub(super) tick: Option<Instant>,
    /// The engine's step at the last tick.
    pub(super) tick_step: u64,
    /// Responses of the current step, and their bytes.
    outbox: Vec<Queued>,
    outbox_bytes: usize,
}

impl Stream {
    fn new(shared: Arc<StreamShared>) -> Self {
        Self {
            shared,
            watchers: BTreeSet::new(),
            behind: BTreeSet::new(),
            parked: false,
            queued: false,
            unreached: BTreeSet::new(),
            progress_asked: (0, 0),
            notify: BTreeSet::new(),
            tick: None,
            tick_step: 0,
            outbox: Vec::new(),
            outbox_bytes: 0,
        }
    }

    /// Whether no more events may be queued.
    pub(super) fn is_full(&self) -> bool {
        self.shared.is_full(self.outbox_bytes)
    }

    /// Whether every watcher has been told of everything up to `delivered`.
    pub(super) fn is_up_to_date(&mut self, delivered: i64) -> bool {
        while let Some(&(required, key)) = self.unreached.first()
            && required <= delivered
        {
            self.unreached.remove(&(required, key));
        }
        self.behind.is_empty() && self.unreached.is_empty()
    }
}

/// All open streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: HashMap<u64, Stream>,
    /// Streams with something in their outbox.
    dirty: Vec<u64>,
}

impl Streams {
    pub(super) fn open(&mut self, id: u64, shared: Arc<StreamShared>) {
        self.all.insert(id, Stream::new(shared));
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Stream> {
        self.all.remove(&id)
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Stream> {
        self.all.get_mut(&id)
    }

    /// Puts a response in the stream's outbox, full or not.
    pub(super) fn push(&mut self, id: u64, queued: Queued) {
        if let Some(stream) = self.all.get_mut(&id) {
            if stream.outbox.is_empty() {
                self.dirty.push(id);
            }
            stream.outbox_bytes += queued.bytes;
            stream.outbox.push(queued);
        }
    }

    /// Hands every outbox to its consumer, waking each once.
    pub(super) fn flush(&mut self, counters: &Counters) {
        for id in self.dirty.drain(..) {
            let Some(stream) = self.all.get_mut(&id) else { continue };
            let events: usize = stream.outbox.iter().map(|queued| queued.events).sum();
            counters.pending_events.fetch_add(events, Ordering::Relaxed);
            counters.events_delivered.fetch_add(events as u64, Ordering::Relaxed);
            stream.shared.push(&mut stream.outbox);
            stream.outbox_bytes = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for stream in self.all.values() {
            stream.shared.close();
        }
    }
}
