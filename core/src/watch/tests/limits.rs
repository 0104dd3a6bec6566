//! Consumers that do not read, rings that overflow, and callers that ask for too much.

use super::store::*;
use crate::error::Error;
use crate::watch::*;
use std::time::Instant;

const QUEUE_BYTES: usize = 64 * 1024;

fn small() -> Rig {
    Rig::with(WatchConfig { stream_queue_bytes: QUEUE_BYTES, ..WatchConfig::default() })
}

/// The revisions that a watcher is told of until `last`.
fn revisions(reader: &mut Reader, id: i64, last: i64) -> Vec<i64> {
    let mut revisions = Vec::new();
    while revisions.last() != Some(&last) {
        let response = reader.next().unwrap();
        let WatchKind::Events { events, .. } = &response.kind else { panic!("{response:?}") };
        if response.watch_ids.contains(&id) {
            revisions.extend(events.iter().map(|event| event.event.record.revision.main));
        }
    }
    revisions
}

#[test]
fn a_consumer_that_does_not_read_is_bounded_delays_nobody_and_catches_up() {
    let rig = small();
    let (mut slow, mut quick) = (rig.reader(), rig.reader());
    slow.create(prefix("a"));
    slow.create(key("b"));
    quick.create(prefix("a"));
    for _ in 0..50 {
        let first = rig.commit_many("a", 20, 1000);
        let told = revisions(&mut quick, 0, first + 19);
        assert_eq!(told, Vec::from_iter(first..first + 20));
        assert!(slow.stream.queued_bytes() <= QUEUE_BYTES + 30_000, "{}", slow.stream.queued_bytes());
    }
    await_that(|| rig.hub.counters().lagging == 1);
    assert_eq!(revisions(&mut slow, 0, 1001), Vec::from_iter(2..1002));
    slow.sync();
    await_that(|| rig.hub.counters().lagging == 0);
    rig.commit(&[put("b", "1")]);
    assert_eq!(slow.told(), "1: 1002.0 put b=1 @1002");
}

#[test]
fn a_consumer_that_fell_behind_a_compaction_is_told() {
    let rig = small();
    let mut slow = rig.reader();
    slow.create(key("a"));
    slow.create(key("b"));
    rig.commit_many("a", 1000, 1000);
    await_that(|| rig.hub.counters().lagging == 1);
    rig.store.compact(1001);
    let mut last = 1;
    let canceled = loop {
        let response = slow.next().unwrap();
        match response.kind {
            WatchKind::Events { events, .. } => {
                for event in events.iter() {
                    assert_eq!(event.event.record.revision.main, last + 1);
                    last += 1;
                }
            }
            kind => break (response.watch_ids, kind),
        }
    };
    let reason = Error::Compacted { compact_revision: 1001 };
    assert_eq!(canceled, (vec![0], WatchKind::Canceled { reason, compact_revision: 1001 }));
    assert!(last < 1001);
    assert_eq!(slow.create(WatchRequest { watch_id: 0, ..key("c") }), 2);
    assert_eq!(slow.sync(), 1001);
}

#[test]
fn one_revision_larger_than_the_queue_is_delivered_whole() {
    let rig = small();
    let mut reader = rig.reader();
    reader.create(prefix("a"));
    let value = "v".repeat(QUEUE_BYTES);
    rig.commit(&[put("a1", value.clone()), put("a2", value.clone()), put("a3", value)]);
    let WatchKind::Events { events, fragment: false } = reader.next().unwrap().kind else { panic!("events") };
    assert_eq!(events.len(), 3);
}

#[test]
fn an_overflowing_ring_turns_to_history() {
    let rig = Rig::with(WatchConfig { ring_bytes: 2000, ..WatchConfig::default() });
    let mut reader = rig.reader();
    reader.create(key("a"));
    let first = rig.commit_many("a", 2000, 500);
    assert_eq!(revisions(&mut reader, 0, first + 1999), Vec::from_iter(first..first + 2000));
}

#[test]
fn unread_creations_are_bounded() {
    let rig = Rig::with(WatchConfig { unread_creates_max: 10, ..WatchConfig::default() });
    let mut reader = rig.reader();
    for _ in 0..10 {
        reader.stream.create(key("a")).unwrap();
    }
    assert_eq!(reader.stream.create(key("a")), Err(Error::TooManyRequests));
    reader.told_many(10);
    assert_eq!(reader.create(key("a")), 10);
}

#[test]
fn unread_progress_requests_do_not_pile_up() {
    let rig = small();
    let mut reader = rig.reader();
    reader.create(key("a"));
    for _ in 0..100_000 {
        reader.stream.request_progress();
    }
    assert!(reader.stream.queued_bytes() <= QUEUE_BYTES + 1000);
    while reader.read_ready() {}
    rig.commit(&[put("a", "1")]);
    assert_eq!(reader.told_at(2), "0: 2.0 put a=1 @2");
}

#[test]
fn many_watchers_on_one_slow_stream_catch_up_together() {
    let rig = small();
    let mut slow = rig.reader();
    let keys: Vec<&'static str> = (0..200).map(|n| &*format!("k{n}").leak()).collect();
    for &name in &keys {
        slow.stream.create(key(name)).unwrap();
    }
    for _ in 0..20 {
        for &name in &keys {
            rig.commit(&[put(name, "v".repeat(100))]);
        }
    }
    let mut told = vec![Vec::new(); keys.len()];
    let deadline = Instant::now() + PATIENCE;
    while told.iter().any(|revisions| revisions.len() < 20) {
        assert!(Instant::now() < deadline);
        let response = slow.next().unwrap();
        if let WatchKind::Events { events, .. } = &response.kind {
            let revisions = events.iter().map(|event| event.event.record.revision.main);
            told[response.watch_ids[0] as usize].extend(revisions);
        }
    }
    for (n, revisions) in told.into_iter().enumerate() {
        assert_eq!(revisions, Vec::from_iter((0..20).map(|round| 2 + n as i64 + round * 200)));
    }
}

#[test]
fn consumers_on_threads_of_their_own_miss_nothing() {
    const REVISIONS: i64 = 20_000;
    let config = WatchConfig { ring_bytes: 50_000, stream_queue_bytes: 20_000, ..WatchConfig::default() };
    let rig = Rig::with(config);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (rig, mut reader) = (&rig, rig.reader());
            scope.spawn(move || {
                for round in 0..10 {
                    let start = if round % 2 == n % 2 { 0 } else { (rig.store.published() / 2).max(2) };
                    let id = reader.stream.create(from(start, prefix("k"))).unwrap();
                    let target = if round == 9 { REVISIONS + 1 } else { rig.store.published() };
                    read_without_gap(&mut reader, id, start, target);
                    reader.stream.cancel(id);
                }
            });
        }
        for _ in 0..REVISIONS {
            rig.commit(&[put("k", "v")]);
        }
    });
}

/// Reads until `target` was told of to a watcher that wants every revision.
fn read_without_gap(reader: &mut Reader, id: i64, start: i64, target: i64) {
    let mut next = start;
    loop {
        let response = reader.next().unwrap();
        if response.watch_ids != [id] {
            continue;
        }
        match response.kind {
            WatchKind::Events { events, .. } => {
                for event in events.iter() {
                    let main = event.event.record.revision.main;
                    assert!(main == next || next == 0, "{main} instead of {next}");
                    next = main + 1;
                }
            }
            WatchKind::Created if start == 0 => next = response.revision + 1,
            kind => assert_eq!(kind, WatchKind::Created),
        }
        if next > target {
            return;
        }
    }
}

#[test]
fn a_stream_can_move_to_another_thread() {
    fn is_send<T: Send + 'static>() {}
    is_send::<WatchStream>();
    is_send::<WatchHub>();
}
