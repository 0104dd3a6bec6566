//! What the watch hub costs per event: 10,000 watchers on a key each, and 1,000 on one prefix.
//!
//! One JSON line a run. `hub_ns` is the processor time of the hub's own thread, which is what an event costs the
//! server before anything is encoded; consumers take responses from their queues on another thread.
#![allow(clippy::print_stdout)] // The lines are the product.

use bytes::Bytes;
use clap::Parser;
use coffer_core::error::Error;
use coffer_core::state::Event;
use coffer_core::watch::{EventBatch, History, WatchConfig, WatchHub, WatchKind, WatchRequest, WatchStream};
use coffer_core::{KeyRange, LeaseId, Record, Revision};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    /// Events a run.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Runs of each scenario.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// How watchers and events are arranged.
struct Scenario {
    name: &'static str,
    watchers: usize,
    streams: usize,
    /// Whether every watcher has a key of its own; else all share one prefix.
    own_keys: bool,
    /// Events in a published batch, a revision each.
    batch: usize,
    /// Whether a batch is published only after the one before was delivered, so that the hub merges none.
    paced: bool,
}

const fn keys(watchers: usize, streams: usize, batch: usize, paced: bool) -> Scenario {
    Scenario { name: "keys", watchers, streams, own_keys: true, batch, paced }
}

const fn prefix(watchers: usize, streams: usize, batch: usize, paced: bool) -> Scenario {
    Scenario { name: "prefix", watchers, streams, own_keys: false, batch, paced }
}

const SCENARIOS: [Scenario; 9] = [
    keys(10_000, 100, 1, true),
    keys(10_000, 100, 10, true),
    keys(10_000, 100, 10, false),
    keys(10_000, 10_000, 10, false),
    keys(10, 10, 10, false),
    prefix(1_000, 100, 1, true),
    prefix(1_000, 100, 10, true),
    prefix(1_000, 100, 10, false),
    prefix(1_000, 1_000, 10, true),
];

#[derive(Serialize)]
struct Line {
    scenario: &'static str,
    watchers: usize,
    streams: usize,
    batch: usize,
    paced: bool,
    events: usize,
    delivered: u64,
    lagged: bool,
    wall_ms: u128,
    hub_ns_per_event: f64,
    hub_ns_per_delivered: f64,
    load_average: String,
}

/// A history that only knows how far it is: nobody here needs the past.
struct NoPast(AtomicI64);

impl History for NoPast {
    fn published(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
    fn compact_revision(&self) -> i64 {
        0
    }
    fn scan(&self, _: i64, _: i64, _: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<(), Error> {
        Err(Error::Unsupported("this run must not read history".into()))
    }
    fn record(&self, _: Revision) -> Result<Option<Arc<Record>>, Error> {
        Ok(None)
    }
}

fn main() {
    let options = Options::parse();
    for scenario in &SCENARIOS {
        for _ in 0..options.runs {
            let line = run(scenario, &options);
            println!("{}", serde_json::to_string(&line).expect("numbers and strings serialise"));
        }
    }
}

fn run(scenario: &Scenario, options: &Options) -> Line {
    let history = Arc::new(NoPast(AtomicI64::new(1)));
    let hub = WatchHub::start(history.clone(), WatchConfig::default(), |fault| panic!("{fault}"))
        .expect("a thread");
    let streams = streams(&hub, scenario);
    let fanout = if scenario.own_keys { 1 } else { scenario.watchers };
    // A prefix event is delivered many times: as many deliveries are enough.
    let events = (options.events / fanout.min(10)).next_multiple_of(scenario.batch);
    let batches = batches(scenario, options, events);
    let stop = Arc::new(AtomicBool::new(false));
    let for_consumer = stop.clone();
    let consumer = std::thread::spawn(move || consume(streams, &for_consumer));

    let ahead = if scenario.paced { 0 } else { 200 };
    let hub_before = hub_cpu();
    let began = Instant::now();
    for (n, batch) in batches.into_iter().enumerate() {
        history.0.store(batch.revision, Ordering::Release);
        hub.publish(batch);
        let published = (n + 1) * scenario.batch * fanout;
        // The apply thread is slower than this loop: keep hub and consumer busy, but do not run away from them.
        wait(|| {
            let counters = hub.counters();
            let undelivered = published - counters.events_delivered as usize;
            undelivered <= ahead * fanout && counters.pending_events <= 2000 * fanout
        });
    }
    wait(|| hub.counters().events_delivered as usize == events * fanout);
    let wall = began.elapsed();
    let hub_ns = (hub_cpu() - hub_before) as f64;
    let lagged = hub.counters().lagging > 0;
    stop.store(true, Ordering::Release);
    consumer.thread().unpark();
    consumer.join().expect("the consumer does not panic");
    let delivered = hub.counters().events_delivered;
    hub.shutdown();
    Line {
        scenario: scenario.name,
        watchers: scenario.watchers,
        streams: scenario.streams,
        batch: scenario.batch,
        paced: scenario.paced,
        events,
        delivered,
        lagged,
        wall_ms: wall.as_millis(),
        hub_ns_per_event: (hub_ns / events as f64).round(),
        hub_ns_per_delivered: (hub_ns / delivered as f64 * 10.0).round() / 10.0,
        load_average: load_average(),
    }
}

/// Waits for a condition that becomes true soon.
fn wait(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "the hub stands still");
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Streams with their watchers, whose creation has been read.
fn streams(hub: &WatchHub, scenario: &Scenario) -> Vec<WatchStream> {
    let mut streams: Vec<WatchStream> = (0..scenario.streams).map(|_| hub.stream()).collect();
    for n in 0..scenario.watchers {
        let range = if scenario.own_keys { KeyRange::single(key(n)) } else { KeyRange::prefix(&b"key-"[..]) };
        streams[n % scenario.streams].create(WatchRequest::new(range)).expect("the range is not empty");
    }
    let mut created = 0;
    while created < scenario.watchers {
        for stream in &mut streams {
            if let Poll::Ready(Some(responses)) = stream.poll_next(&mut Context::from_waker(Waker::noop())) {
                created += responses.iter().filter(|response| response.kind == WatchKind::Created).count();
            }
        }
    }
    streams
}

fn key(n: usize) -> Bytes {
    format!("key-{n:06}").into()
}

fn batches(scenario: &Scenario, options: &Options, events: usize) -> Vec<Arc<EventBatch>> {
    let value = Bytes::from(vec![b'v'; options.value_bytes]);
    let event = |n: usize| {
        let revision = Revision::first(n as i64 + 2);
        let record = Record {
            revision,
            // Spread over the keys without order.
            key: key((n * 7919) % scenario.watchers),
            value: value.clone(),
            create_revision: revision.main,
            version: 1,
            lease: LeaseId::NONE,
            tombstone: false,
        };
        Event { record: Arc::new(record), prev: None }
    };
    (0..events / scenario.batch)
        .map(|n| {
            let events: Vec<Event> = (0..scenario.batch).map(|i| event(n * scenario.batch + i)).collect();
            Arc::new(EventBatch { revision: ((n + 1) * scenario.batch) as i64 + 1, events })
        })
        .collect()
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Takes what comes on any stream, as a connection thread does.
fn consume(mut streams: Vec<WatchStream>, stop: &AtomicBool) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    while !stop.load(Ordering::Acquire) {
        for stream in &mut streams {
            while let Poll::Ready(Some(responses)) = stream.poll_next(&mut context) {
                drop(responses);
            }
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Nanoseconds that the hub's thread has run on a processor.
fn hub_cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists threads");
    let of_hub = |dir: &PathBuf| {
        std::fs::read_to_string(dir.join("comm")).is_ok_and(|comm| comm.trim() == "coffer-watch")
    };
    let hub = tasks.flatten().map(|task| task.path()).find(of_hub).expect("the hub has a thread");
    let times = std::fs::read_to_string(hub.join("schedstat")).expect("Linux accounts for threads");
    times.split(' ').next().and_then(|ns| ns.parse().ok()).expect("the first field is nanoseconds")
}

fn load_average() -> String {
    let line = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
