//! A store that keeps every event in memory: the double of the node's [`History`]; and readers with deadlines.

use crate::error::Error;
use crate::key_range::KeyRange;
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::state::Event;
use crate::watch::*;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One change of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(&'static str, Bytes),
    Delete(&'static str),
}

pub(super) fn put(key: &'static str, value: impl Into<Bytes>) -> Change {
    Change::Put(key, value.into())
}

pub(super) fn delete(key: &'static str) -> Change {
    Change::Delete(key)
}

#[derive(Debug)]
struct Content {
    events: BTreeMap<Revision, Event>,
    latest: BTreeMap<Bytes, Arc<Record>>,
    revision: i64,
    compact_revision: i64,
    /// Reads fail with this, if set.
    fault: Option<Error>,
    /// Compacts to here while the next scan is under way.
    compacts_while_scanned: Option<i64>,
}

impl Content {
    fn compact(&mut self, revision: i64) {
        self.compact_revision = revision;
        let mut latest = BTreeMap::new();
        for (at, event) in self.events.range(..Revision::first(revision + 1)) {
            latest.insert(event.record.key.clone(), *at);
        }
        self.events.retain(|at, event| {
            at.main >= revision || latest[&event.record.key] == *at && !event.record.tombstone
        });
    }
}

/// The store.
#[derive(Debug)]
pub(super) struct Store(Mutex<Content>);

impl Store {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Content {
            events: BTreeMap::new(),
            latest: BTreeMap::new(),
            revision: 1,
            compact_revision: 0,
            fault: None,
            compacts_while_scanned: None,
        })))
    }

    /// Applies a transaction and publishes its revision; returns its events.
    pub(super) fn commit(&self, changes: &[Change]) -> EventBatch {
        let mut content = self.0.lock();
        let main = content.revision + 1;
        let before = content.latest.clone();
        let mut events = Vec::new();
        for (sub, change) in changes.iter().enumerate() {
            let revision = Revision { main, sub: sub as u32 };
            let key = match change {
                Change::Put(key, _) | Change::Delete(key) => Bytes::from_static(key.as_bytes()),
            };
            let record = match change {
                Change::Put(_, value) => {
                    let latest = content.latest.get(&key);
                    Record {
                        revision,
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: latest.map_or(main, |latest| latest.create_revision),
                        version: latest.map_or(1, |latest| latest.version + 1),
                        lease: LeaseId::NONE,
                        tombstone: false,
                    }
                }
                Change::Delete(_) => Record::deletion(revision, key.clone()),
            };
            let record = Arc::new(record);
            match change {
                Change::Put(..) => content.latest.insert(key.clone(), record.clone()),
                Change::Delete(_) => content.latest.remove(&key),
            };
            let event = Event { record, prev: before.get(&key).map(|record| record.revision) };
            content.events.insert(revision, event.clone());
            events.push(event);
        }
        content.revision = main;
        EventBatch { revision: main, events }
    }

    /// Compacts: what is superseded at `revision` is gone at once, and tombstones below it as well.
    pub(super) fn compact(&self, revision: i64) {
        self.0.lock().compact(revision);
    }

    /// Compacts to `revision` just after the next scan has begun.
    pub(super) fn compact_while_scanned(&self, revision: i64) {
        self.0.lock().compacts_while_scanned = Some(revision);
    }

    pub(super) fn fail_reads(&self, fault: Error) {
        self.0.lock().fault = Some(fault);
    }
}

impl History for Store {
    fn published(&self) -> i64 {
        self.0.lock().revision
    }

    fn compact_revision(&self) -> i64 {
        self.0.lock().compact_revision
    }

    fn scan(
        &self,
        first: i64,
        last: i64,
        visit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let events: Vec<Event> = {
            let mut content = self.0.lock();
            if let Some(fault) = &content.fault {
                return Err(fault.clone());
            }
            if first < content.compact_revision {
                return Err(Error::Compacted { compact_revision: content.compact_revision });
            }
            if let Some(revision) = content.compacts_while_scanned.take() {
                content.compact(revision);
            }
            let window = Revision::first(first)..=Revision { main: last, sub: u32::MAX };
            content.events.range(window).map(|(_, event)| event.clone()).collect()
        };
        for event in events {
            if visit(event).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn record(&self, revision: Revision) -> Result<Option<Arc<Record>>, Error> {
        let content = self.0.lock();
        match &content.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(content.events.get(&revision).map(|event| event.record.clone())),
        }
    }
}

/// A store and the hub that tells of it.
pub(super) struct Rig {
    pub(super) store: Arc<Store>,
    pub(super) hub: WatchHub,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(WatchConfig::default())
    }

    pub(super) fn with(config: WatchConfig) -> Self {
        let store = Store::new();
        let hub = WatchHub::start(store.clone(), config, |fault| panic!("{fault}")).expect("a thread");
        Self { store, hub }
    }

    pub(super) fn commit(&self, changes: &[Change]) -> i64 {
        let batch = self.store.commit(changes);
        let revision = batch.revision;
        self.hub.publish(Arc::new(batch));
        revision
    }

    /// Commits `count` puts of one key, from the returned first revision on.
    pub(super) fn commit_many(&self, key: &'static str, count: usize, value_bytes: usize) -> i64 {
        let value = Bytes::from(vec![b'v'; value_bytes]);
        let first = self.store.published() + 1;
        for _ in 0..count {
            self.commit(&[put(key, value.clone())]);
        }
        first
    }

    /// Waits until the hub has seen everything that was committed.
    pub(super) fn settle(&self) {
        let mut reader = self.reader();
        reader.create(key("nobody writes this"));
        reader.sync();
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::of(&self.hub)
    }
}

pub(super) fn key(key: &'static str) -> WatchRequest {
    WatchRequest::new(KeyRange::single(key))
}

pub(super) fn prefix(prefix: &'static str) -> WatchRequest {
    WatchRequest::new(KeyRange::prefix(prefix))
}

pub(super) fn from(start_revision: i64, request: WatchRequest) -> WatchRequest {
    WatchRequest { start_revision, ..request }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Reads a stream one response at a time.
pub(super) struct Reader {
    pub(super) stream: WatchStream,
    ahead: std::vec::IntoIter<WatchResponse>,
}

impl Reader {
    pub(super) fn of(hub: &WatchHub) -> Self {
        Self { stream: hub.stream(), ahead: Vec::new().into_iter() }
    }

    /// The next response; `None` at the end of the stream. Fails if none comes in time.
    pub(super) fn next(&mut self) -> Option<WatchResponse> {
        match self.next_within(PATIENCE) {
            Some(next) => next,
            None => panic!("no response came"),
        }
    }

    /// As [`next`](Self::next); `None` if nothing comes within `time`.
    pub(super) fn next_within(&mut self, time: Duration) -> Option<Option<WatchResponse>> {
        if let Some(response) = self.ahead.next() {
            return Some(Some(response));
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let deadline = Instant::now() + time;
        loop {
            match self.stream.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(None) => return Some(None),
                Poll::Ready(Some(responses)) => {
                    self.ahead = responses.into_iter();
                    return Some(self.ahead.next());
                }
                Poll::Pending => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
    }

    /// The next response in words: `created 0 @1`, `0: put a=1 @2`, `progress -1 @2`, `canceled 0: ... @2`.
    pub(super) fn told(&mut self) -> String {
        self.next().map_or_else(|| "end".into(), |response| in_words(&response))
    }

    /// The next `count` responses in words.
    pub(super) fn told_many(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.told()).collect()
    }

    pub(super) fn create(&mut self, request: WatchRequest) -> i64 {
        let id = self.stream.create(request).unwrap();
        assert!(self.told().starts_with(&format!("created {id} @")));
        id
    }

    /// The first response at `revision` or later, in words. What comes before is skipped.
    pub(super) fn told_at(&mut self, revision: i64) -> String {
        loop {
            let response = self.next().expect("the stream goes on");
            if response.revision >= revision {
                return in_words(&response);
            }
        }
    }

    /// Reads what is queued; false if nothing is.
    pub(super) fn read_ready(&mut self) -> bool {
        self.next_within(Duration::ZERO).is_some()
    }

    /// Fails if anything but the answer to a progress request comes first; returns its revision.
    pub(super) fn sync(&mut self) -> i64 {
        self.stream.request_progress();
        let response = self.next().unwrap();
        assert_eq!((&response.kind, &response.watch_ids[..]), (&WatchKind::Progress, &[-1][..]));
        response.revision
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn in_words(response: &WatchResponse) -> String {
    let ids = response.watch_ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let revision = response.revision;
    match &response.kind {
        WatchKind::Created => format!("created {ids} @{revision}"),
        WatchKind::Progress => format!("progress {ids} @{revision}"),
        WatchKind::Canceled { reason, compact_revision } => {
            format!("canceled {ids}: {reason} ({compact_revision}) @{revision}")
        }
        WatchKind::Events { events, fragment } => {
            let events = events.iter().map(|event| {
                let record = &event.event.record;
                let prev =
                    event.prev_kv.as_ref().map_or(String::new(), |kv| format!(" was {}", text(&kv.value)));
                match record.tombstone {
                    true => format!("{} del {}{prev}", record.revision, text(&record.key)),
                    false => {
                        format!("{} put {}={}{prev}", record.revision, text(&record.key), text(&record.value))
                    }
                }
            });
            let more = if *fragment { " ..." } else { "" };
            format!("{ids}: {}{more} @{revision}", events.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Waits for what must become true.
pub(super) fn await_that(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::yield_now();
    }
}
