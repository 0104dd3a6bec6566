//! Watches: every change of a range of keys, in order, once, from any revision that is still readable.

use crate::client::{Client, Place};
use coffer_core::watch::{WatchEvent, WatchKind, WatchRequest, WatchResponse, WatchStream};
use coffer_core::{Error, KeyRange, KeyValue};
use coffer_rpc::client as rpc;
use futures_util::future::{self, Either};
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::pin::pin;

/// What a watch asks for. Made by [`Client::watch`].
#[derive(Clone, Debug)]
#[must_use = "nothing is watched until it is started"]
pub struct WatchBuilder {
    client: Client,
    request: WatchRequest,
}

impl WatchBuilder {
    pub(crate) fn new(client: Client, range: KeyRange) -> Self {
        Self { client, request: WatchRequest::new(range) }
    }

    /// Begins with the changes of this revision. Without it, with what happens after the start.
    pub fn from_revision(mut self, revision: i64) -> Self {
        self.request.start_revision = revision;
        self
    }

    /// Delivers the pair before each change.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Delivers an empty [`Update`] now and then while nothing happens.
    pub fn progress_notify(mut self) -> Self {
        self.request.progress_notify = true;
        self
    }

    /// Leaves puts out.
    pub fn no_put(mut self) -> Self {
        self.request.no_put = true;
        self
    }

    /// Leaves deletes out.
    pub fn no_delete(mut self) -> Self {
        self.request.no_delete = true;
        self
    }

    /// Lets large revisions come in several updates: see [`Update::fragment`].
    pub fn fragments(mut self) -> Self {
        self.request.fragment = true;
        self
    }

    /// Starts it. What happens after this returned is delivered.
    ///
    /// # Errors
    /// [`Error::Compacted`] if the first revision is no longer readable, [`Error::EmptyWatchRange`].
    pub async fn start(self) -> Result<Watch, Error> {
        let next_revision = self.request.start_revision;
        let (source, on_close) = match self.client.place() {
            Place::Embedded(node) => {
                let mut stream = node.get()?.watch();
                stream.create(self.request)?;
                (Source::Embedded(stream), node.on_close())
            }
            Place::Remote(client) => {
                let mut stream = client.get()?.watch();
                stream.create(self.request)?;
                (Source::Remote(stream), client.on_close())
            }
        };
        let mut watch = Watch {
            source: Some(source),
            on_close,
            ready: VecDeque::new(),
            next_revision,
            _client: self.client,
        };
        watch.created().await?;
        Ok(watch)
    }
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    /// `None` once it has ended.
    source: Option<Source>,
    /// Closes with the store.
    on_close: async_channel::Receiver<()>,
    /// Received and not yet taken.
    ready: VecDeque<WatchResponse>,
    /// The first revision of which not everything was taken.
    next_revision: i64,
    /// Keeps the store open for as long as it is watched.
    _client: Client,
}

#[derive(Debug)]
enum Source {
    Embedded(WatchStream),
    Remote(rpc::WatchStream),
}

/// Changes of one or more whole revisions, or the news that there were none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Every change up to this revision has been delivered, this update included, unless it is a `fragment`.
    pub revision: i64,
    /// The changes, in order; none in a mere progress report.
    pub events: Vec<Event>,
    /// More changes of `revision` come with the next update: only of a watch that asked for
    /// [`fragments`](WatchBuilder::fragments).
    pub fragment: bool,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it is now; of a deleted one only the key and `mod_revision`.
    pub kv: KeyValue,
    /// The pair before, if it was asked for, existed and is still readable.
    pub prev_kv: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, or its lease ended.
    Delete,
}

impl Event {
    /// Whether the key did not exist before.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.kv.create_revision == self.kv.mod_revision
    }
}

impl Watch {
    /// The next changes; `None` after the end. A remote watch survives lost connections without loss or repetition.
    ///
    /// Nothing is lost if the future is dropped before it is ready.
    ///
    /// # Errors
    /// The last item says why the watch ended, unless it ended with the store: [`Error::Compacted`] if it fell
    /// behind a compaction.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        loop {
            let response = self.response().await?;
            match response.kind {
                WatchKind::Created => {}
                WatchKind::Events { events, fragment } => {
                    self.delivered(if fragment { response.revision - 1 } else { response.revision });
                    let events = events.iter().map(Event::from).collect();
                    return Some(Ok(Update { revision: response.revision, events, fragment }));
                }
                WatchKind::Progress => {
                    let (revision, events) = (response.revision, Vec::new());
                    self.delivered(revision);
                    return Some(Ok(Update { revision, events, fragment: false }));
                }
                WatchKind::Canceled { reason, .. } => {
                    self.source = None;
                    return Some(Err(reason));
                }
            }
        }
    }

    /// The revision that another watch [begins](WatchBuilder::from_revision) with to go on where this one is. Also after its
    /// end.
    pub fn next_revision(&self) -> i64 {
        self.next_revision
    }

    fn delivered(&mut self, revision: i64) {
        self.next_revision = self.next_revision.max(revision.saturating_add(1));
    }

    /// Asks for an empty [`Update`] as soon as everything that has happened is delivered.
    pub fn request_progress(&mut self) {
        match &mut self.source {
            Some(Source::Embedded(stream)) => stream.request_progress(),
            Some(Source::Remote(stream)) => stream.request_progress(),
            None => {}
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> + Send {
        stream::unfold(self, |mut watch| async move { Some((watch.next().await?, watch)) })
    }

    /// Waits for the confirmation that the watch exists.
    async fn created(&mut self) -> Result<(), Error> {
        match self.response().await {
            Some(WatchResponse { kind: WatchKind::Created, revision, .. }) => match self.ready.front() {
                // One that can not begin where it should ends in the same breath.
                Some(WatchResponse { kind: WatchKind::Canceled { reason, .. }, .. }) => Err(reason.clone()),
                _ => {
                    if self.next_revision <= 0 {
                        self.delivered(revision);
                    }
                    Ok(())
                }
            },
            Some(WatchResponse { kind: WatchKind::Canceled { reason, .. }, .. }) => Err(reason),
            Some(other) => {
                self.ready.push_front(other);
                Ok(())
            }
            None => Err(Error::Stopped),
        }
    }

    async fn response(&mut self) -> Option<WatchResponse> {
        while self.ready.is_empty() {
            let more = match self.source.as_mut()? {
                Source::Embedded(stream) => unless_closed(stream.next(), &self.on_close).await,
                Source::Remote(stream) => unless_closed(stream.next(), &self.on_close).await,
            };
            match more {
                Some(responses) => self.ready.extend(responses),
                None => self.source = None,
            }
        }
        self.ready.pop_front()
    }
}

/// What `next` gives, or nothing as soon as the store is closed.
async fn unless_closed<T>(
    next: impl Future<Output = Option<T>>,
    on_close: &async_channel::Receiver<()>,
) -> Option<T> {
    match future::select(pin!(next), pin!(on_close.recv())).await {
        Either::Left((next, _)) => next,
        Either::Right(_) => None,
    }
}

impl From<&WatchEvent> for Event {
    fn from(delivered: &WatchEvent) -> Self {
        let record = &delivered.event.record;
        let kind = if record.tombstone { EventKind::Delete } else { EventKind::Put };
        Self { kind, kv: record.key_value(), prev_kv: delivered.prev_kv.clone() }
    }
}
