//! Random writes, compactions, consumers and watchers: whatever happens, each watcher is told of exactly the
//! events of its range from its start on, in order, in whole revisions, and progress is never ahead of them.

use super::store::*;
use crate::state::Event;
use crate::watch::engine::Engine;
use crate::watch::hub::{Control, Link};
use crate::watch::stream::StreamShared;
use crate::watch::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

const KEYS: [&str; 5] = ["a", "aa", "ab", "b", "c"];
const STREAMS: usize = 3;
const QUEUE_BYTES: usize = 3000;
const RING_BYTES: usize = 4000;

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<(usize, Option<u8>)>),
    Pump,
    Create { stream: usize, range: u8, start: Start, flags: u8 },
    Cancel { stream: usize, nth: usize },
    Read { stream: usize },
    AskProgress { stream: usize },
    Compact { back: i64 },
    Replace { stream: usize },
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Now,
    Back(i64),
    Ahead(i64),
}

fn op() -> impl Strategy<Value = Op> {
    let change = (0..KEYS.len(), prop::option::weighted(0.8, any::<u8>()));
    let start = prop_oneof![
        3 => Just(Start::Now),
        3 => (0i64..30).prop_map(Start::Back),
        1 => (1i64..6).prop_map(Start::Ahead),
    ];
    prop_oneof![
        12 => prop::collection::vec(change, 1..5).prop_map(Op::Commit),
        8 => Just(Op::Pump),
        4 => (0..STREAMS, any::<u8>(), start, any::<u8>())
            .prop_map(|(stream, range, start, flags)| Op::Create { stream, range, start, flags }),
        1 => (0..STREAMS, any::<usize>()).prop_map(|(stream, nth)| Op::Cancel { stream, nth }),
        5 => (0..STREAMS).prop_map(|stream| Op::Read { stream }),
        2 => (0..STREAMS).prop_map(|stream| Op::AskProgress { stream }),
        1 => (0i64..20).prop_map(|back| Op::Compact { back }),
        1 => (0..STREAMS).prop_map(|stream| Op::Replace { stream }),
    ]
}

/// What the test knows of a watcher.
#[derive(Debug)]
struct Told {
    request: WatchRequest,
    first: i64,
    created: bool,
    /// Events received.
    seen: usize,
    /// Whether a fragment is open.
    open: bool,
    canceled: bool,
}

struct Client {
    stream: WatchStream,
    watchers: BTreeMap<i64, Told>,
    /// The revision of the latest answer to a request for progress.
    answered: i64,
}

struct World {
    store: std::sync::Arc<Store>,
    link: std::sync::Arc<Link>,
    engine: Engine,
    /// All events ever, whatever is compacted.
    log: Vec<Event>,
    clients: Vec<Client>,
    streams: u64,
    compacted: bool,
}

impl World {
    fn new() -> Self {
        let store = Store::new();
        let config = WatchConfig {
            ring_bytes: RING_BYTES,
            stream_queue_bytes: QUEUE_BYTES,
            fragment_bytes: 400,
            catch_up_revisions: 7,
            catch_up_bytes: 1500,
            ..WatchConfig::default()
        };
        let link = std::sync::Arc::new(Link::new(store.clone(), config));
        let engine = Engine::new(link.clone(), store.clone());
        let mut world =
            Self { store, link, engine, log: vec![], clients: vec![], streams: 0, compacted: false };
        for _ in 0..STREAMS {
            let client = world.client();
            world.clients.push(client);
        }
        world
    }

    fn client(&mut self) -> Client {
        let shared = std::sync::Arc::new(StreamShared::new(QUEUE_BYTES));
        self.streams += 1;
        self.link.send(Control::Open { stream: self.streams, shared: shared.clone() });
        let stream = WatchStream::new(self.streams, shared, self.link.clone());
        Client { stream, watchers: BTreeMap::new(), answered: 0 }
    }

    fn pump(&mut self) {
        let work = self.link.take(true, None).unwrap();
        self.engine.run(work, Instant::now());
        for client in &self.clients {
            // One response of one group may exceed the bound; control responses are small.
            let control = 250 * (client.watchers.len() + 2);
            assert!(client.stream.queued_bytes() <= QUEUE_BYTES + 4 * RING_BYTES + control);
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Commit(changes) => {
                let changes: Vec<Change> = changes
                    .into_iter()
                    .map(|(key, value)| match value {
                        Some(value) => put(KEYS[key], vec![value; value as usize]),
                        None => delete(KEYS[key]),
                    })
                    .collect();
                let batch = self.store.commit(&changes);
                self.log.extend(batch.events.iter().cloned());
                self.link.publish(std::sync::Arc::new(batch));
            }
            Op::Pump => self.pump(),
            Op::Create { stream, range, start, flags } => self.create(stream, range, start, flags),
            Op::Cancel { stream, nth } => {
                let client = &mut self.clients[stream];
                if !client.watchers.is_empty() {
                    let id = *client.watchers.keys().nth(nth % client.watchers.len()).unwrap();
                    client.stream.cancel(id);
                }
            }
            Op::Read { stream } => {
                self.read(stream);
            }
            Op::AskProgress { stream } => {
                self.clients[stream].stream.request_progress();
            }
            Op::Compact { back } => {
                let revision = self.store.published() - back;
                if revision > self.store.compact_revision() {
                    self.store.compact(revision);
                    self.compacted = true;
                }
            }
            Op::Replace { stream } => {
                let client = self.client();
                self.clients[stream] = client;
            }
        }
    }

    fn create(&mut self, stream: usize, range: u8, start: Start, flags: u8) {
        let key = KEYS[range as usize % KEYS.len()];
        let range = match range % 4 {
            0 => KeyRange::single(key),
            1 => KeyRange::prefix(key),
            2 => KeyRange::from(key),
            _ => KeyRange::all(),
        };
        let published = self.store.published();
        let start_revision = match start {
            Start::Now => 0,
            Start::Back(back) => (published - back).max(1),
            Start::Ahead(ahead) => published + ahead,
        };
        let request = WatchRequest {
            start_revision,
            no_put: flags & 7 == 0,
            no_delete: flags & 7 == 1,
            prev_kv: flags & 16 != 0,
            fragment: flags & 32 != 0,
            ..WatchRequest::new(range)
        };
        let first = if start_revision == 0 { published + 1 } else { start_revision };
        let client = &mut self.clients[stream];
        let id = client.stream.create(request.clone()).unwrap();
        let told = Told { request, first, created: false, seen: 0, open: false, canceled: false };
        assert!(client.watchers.insert(id, told).is_none(), "ids are not reused here");
    }

    /// Takes what is queued once; false if nothing is.
    fn read(&mut self, stream: usize) -> bool {
        let client = &mut self.clients[stream];
        let Poll::Ready(responses) = client.stream.poll_next(&mut Context::from_waker(Waker::noop())) else {
            return false;
        };
        for response in responses.unwrap() {
            check(client, &response, &self.log, self.compacted);
        }
        true
    }

    /// Lets everything happen that can.
    fn settle(&mut self) {
        let mut busy = true;
        while busy {
            self.pump();
            busy = self.engine.is_busy();
            for stream in 0..STREAMS {
                busy |= self.read(stream);
            }
        }
    }

    /// Compares with what must have happened once everything has.
    fn finish(mut self) {
        self.settle();
        let published = self.store.published();
        for client in &mut self.clients {
            client.answered = 0;
            client.stream.request_progress();
        }
        self.settle();
        for client in &self.clients {
            let mut active = client.watchers.values().filter(|told| !told.canceled).peekable();
            let answers =
                active.peek().is_some() && active.all(|told| told.request.start_revision <= published);
            assert_eq!(client.answered, if answers { published } else { 0 });
            for (id, told) in &client.watchers {
                assert!(told.created && !told.open, "{id}: {told:?}");
                if !told.canceled {
                    assert_eq!(told.seen, wanted(told, &self.log).count(), "{id}: {told:?}");
                }
            }
        }
    }
}

fn wanted<'a>(told: &'a Told, log: &'a [Event]) -> impl Iterator<Item = &'a Event> {
    log.iter().filter(|event| {
        let record = &event.record;
        let dropped = if record.tombstone { told.request.no_delete } else { told.request.no_put };
        record.revision.main >= told.first && told.request.range.contains(&record.key) && !dropped
    })
}

fn check(client: &mut Client, response: &WatchResponse, log: &[Event], compacted: bool) {
    if response.watch_ids == [-1] {
        assert_eq!(response.kind, WatchKind::Progress);
        client.answered = response.revision;
        for told in client.watchers.values().filter(|told| told.created && !told.canceled) {
            check_progress(told, response.revision, log);
        }
        return;
    }
    for id in &response.watch_ids {
        let told = client.watchers.get_mut(id).unwrap();
        assert!(!told.canceled, "{id} was cancelled before");
        assert_eq!(told.created, response.kind != WatchKind::Created);
        match &response.kind {
            WatchKind::Created => told.created = true,
            WatchKind::Progress => check_progress(told, response.revision, log),
            WatchKind::Events { events, fragment } => {
                check_events(told, events, *fragment, log, compacted);
                assert!(response.revision >= events.last().unwrap().event.record.revision.main);
            }
            WatchKind::Canceled { compact_revision, .. } => {
                assert!(!told.open && *compact_revision >= 0);
                told.canceled = true;
            }
        }
    }
}

fn check_progress(told: &Told, revision: i64, log: &[Event]) {
    let due = wanted(told, log).filter(|event| event.record.revision.main <= revision).count();
    assert!(due <= told.seen, "progress at {revision} is ahead of {told:?}");
    assert!(
        revision >= told.request.start_revision,
        "progress at {revision} is before the start of {told:?}"
    );
}

fn check_events(told: &mut Told, events: &[WatchEvent], fragment: bool, log: &[Event], compacted: bool) {
    assert!(!fragment || told.request.fragment);
    for (got, event) in events.iter().zip(wanted(told, log).skip(told.seen)) {
        assert_eq!(&got.event, event);
        let record = &event.record;
        let creates = !record.tombstone && record.create_revision == record.revision.main;
        let prev = event.prev.filter(|_| told.request.prev_kv && !creates);
        let expected = prev.map(|at| log.iter().find(|event| event.record.revision == at).unwrap());
        match &got.prev_kv {
            Some(kv) => assert_eq!(*kv, expected.unwrap().record.key_value()),
            None => assert!(expected.is_none() || compacted),
        }
    }
    let last = events.last().unwrap().event.record.revision;
    told.seen += events.len();
    told.open = fragment;
    let following = wanted(told, log).nth(told.seen - 1).unwrap();
    assert_eq!(following.record.revision, last, "more than was wanted");
    if !fragment && let Some(following) = wanted(told, log).nth(told.seen) {
        assert!(following.record.revision.main > last.main, "a revision was split");
    }
}

#[test]
fn an_answer_is_not_older_than_the_question() {
    let mut world = World::new();
    world.create(0, 0, Start::Now, 2);
    world.pump();
    let mut batches = Vec::new();
    for _ in 0..2 {
        batches.push(world.store.commit(&[put("c", "1")]));
        world.run(Op::AskProgress { stream: 0 });
        world.pump();
        world.read(0);
        assert_eq!(world.clients[0].answered, 0, "the hub has not seen the revision");
    }
    for batch in batches {
        let revision = batch.revision;
        world.link.publish(batch.into());
        world.pump();
        world.read(0);
        assert_eq!(std::mem::take(&mut world.clients[0].answered), revision);
        world.pump();
        world.read(0);
        assert_eq!(world.clients[0].answered, 0, "each question is answered once");
    }
}

proptest! {
    #[test]
    fn every_watcher_is_told_of_exactly_its_events(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.finish();
    }
}
