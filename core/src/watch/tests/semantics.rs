//! Golden stories: ids, starts, filters, pairs before, cancellation, fragments. As etcd tells them.

use super::store::*;
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::watch::*;
use std::time::Duration;

#[test]
fn a_watcher_is_told_of_its_keys_only_and_from_now_on() {
    let rig = Rig::new();
    rig.commit(&[put("a", "0")]);
    let mut reader = rig.reader();
    assert_eq!(reader.stream.create(key("a")).unwrap(), 0);
    rig.commit(&[put("a", "1")]);
    assert_eq!(reader.told_many(2), ["created 0 @2", "0: 3.0 put a=1 @3"]);
    rig.commit(&[put("b", "2")]);
    rig.commit(&[put("c", "3"), delete("a")]);
    assert_eq!(reader.told(), "0: 5.1 del a @5");
    assert_eq!(reader.sync(), 5);
}

#[test]
fn ids_count_from_zero_and_skip_chosen_ones() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    assert_eq!(reader.create(key("a")), 0);
    assert_eq!(reader.create(WatchRequest { watch_id: 1, ..key("a") }), 1);
    assert_eq!(reader.create(WatchRequest { watch_id: -7, ..key("a") }), -7);
    assert_eq!(reader.create(key("a")), 2);
    let again = reader.stream.create(WatchRequest { watch_id: 1, ..key("b") });
    assert_eq!(again, Err(Error::DuplicateWatchId));
    reader.stream.cancel(1);
    assert_eq!(reader.told(), "canceled 1: request canceled (0) @1");
    assert_eq!(reader.create(WatchRequest { watch_id: 1, ..key("b") }), 1);
    assert_eq!(rig.reader().create(key("a")), 0, "every stream counts for itself");
}

#[test]
fn an_empty_range_is_refused() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    for range in [KeyRange::between("b", "a"), KeyRange::between("a", "a")] {
        assert_eq!(reader.stream.create(WatchRequest::new(range)), Err(Error::EmptyWatchRange));
    }
    assert_eq!(reader.create(key("a")), 0, "no id was lost");
}

#[test]
fn a_start_in_the_past_replays_history_then_goes_on_live() {
    let rig = Rig::new();
    for n in 2..=6 {
        rig.commit(&[put(if n % 2 == 0 { "a" } else { "b" }, n.to_string())]);
    }
    rig.settle();
    let mut reader = rig.reader();
    reader.create(from(4, prefix("a")));
    assert_eq!(reader.told(), "0: 4.0 put a=4; 6.0 put a=6 @6");
    rig.commit(&[put("a", "7")]);
    assert_eq!(reader.told(), "0: 7.0 put a=7 @7");
    let mut early = rig.reader();
    early.create(from(1, key("b")));
    assert_eq!(early.told(), "0: 3.0 put b=3; 5.0 put b=5 @7");
}

#[test]
fn what_happens_while_there_is_no_stream_is_history() {
    let rig = Rig::new();
    for round in 0..3 {
        let first = 2 + 4 * round;
        rig.commit(&[put("a", "before")]);
        rig.commit(&[put("a", "last before")]);
        let (mut now, mut early) = (rig.reader(), rig.reader());
        now.create(key("a"));
        early.create(from(first, key("a")));
        rig.commit(&[put("a", "live")]);
        assert_eq!(now.told(), format!("0: {}.0 put a=live @{0}", first + 2));
        let mut told = vec![];
        while told.iter().all(|line: &String| !line.contains("live")) {
            told.push(early.told());
        }
        let told = told.join(" ");
        for (revision, value) in [(first, "before"), (first + 1, "last before"), (first + 2, "live")] {
            let change = format!("{revision}.0 put a={value}");
            assert_eq!(told.matches(&change).count(), 1, "{change}: {told}");
        }
        drop((now, early));
        rig.commit(&[put("a", "after")]);
    }
}

#[test]
fn a_start_in_the_future_hides_everything_before_it() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(from(4, key("a")));
    for n in 2..=5 {
        rig.commit(&[put("a", n.to_string())]);
    }
    let told = reader.told();
    assert!(told.starts_with("0: 4.0 put a=4"), "{told}");
    if !told.contains("5.0") {
        assert_eq!(reader.told(), "0: 5.0 put a=5 @5");
    }
}

#[test]
fn a_negative_start_is_compacted() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(from(-1, key("a")));
    assert_eq!(reader.told(), "canceled 0: mvcc: required revision has been compacted (0) @1");
    reader.create(from(-1, WatchRequest { watch_id: 5, ..key("a") }));
    assert!(reader.told().starts_with("canceled 5"));
    reader.create(WatchRequest { watch_id: 5, ..key("a") });
}

#[test]
fn a_start_below_the_compact_revision_is_compacted_and_at_it_is_not() {
    let rig = Rig::new();
    for n in 2..=6 {
        rig.commit(&[put("a", n.to_string())]);
    }
    rig.settle();
    rig.store.compact(4);
    let mut reader = rig.reader();
    reader.create(from(3, key("a")));
    assert_eq!(reader.told(), "canceled 0: mvcc: required revision has been compacted (4) @6");
    reader.create(from(4, key("a")));
    assert_eq!(reader.told(), "1: 4.0 put a=4; 5.0 put a=5; 6.0 put a=6 @6");
}

#[test]
fn a_compaction_while_history_is_read_is_noticed() {
    let rig = Rig::new();
    for n in 2..=6 {
        rig.commit(&[put("a", n.to_string())]);
    }
    rig.settle();
    rig.store.compact_while_scanned(5);
    let mut reader = rig.reader();
    reader.create(from(3, key("a")));
    assert_eq!(reader.told(), "canceled 0: mvcc: required revision has been compacted (5) @6");
}

#[test]
fn filters_drop_events_and_an_empty_rest_is_not_sent() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(WatchRequest { no_put: true, ..prefix("a") });
    reader.create(WatchRequest { no_delete: true, ..prefix("a") });
    reader.create(WatchRequest { no_put: true, no_delete: true, ..prefix("a") });
    rig.commit(&[put("a", "1"), put("ab", "1")]);
    assert_eq!(reader.told(), "1: 2.0 put a=1; 2.1 put ab=1 @2");
    rig.commit(&[delete("a"), put("ab", "2")]);
    let mut told = reader.told_many(2);
    told.sort();
    assert_eq!(told, ["0: 3.0 del a @3", "1: 3.1 put ab=2 @3"]);
    assert_eq!(reader.sync(), 3);
}

#[test]
fn the_pair_before_is_the_one_before_the_transaction_and_not_told_of_creations() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(WatchRequest { prev_kv: true, ..key("a") });
    let story = [
        (vec![put("a", "1")], "0: 2.0 put a=1 @2"),
        (vec![put("a", "2")], "0: 3.0 put a=2 was 1 @3"),
        (vec![delete("a")], "0: 4.0 del a was 2 @4"),
        (vec![put("a", "3")], "0: 5.0 put a=3 @5"),
        (vec![delete("a"), put("a", "4")], "0: 6.0 del a was 3; 6.1 put a=4 @6"),
    ];
    for (changes, told) in story {
        rig.commit(&changes);
        assert_eq!(reader.told(), told);
    }
    rig.store.compact(4);
    let mut late = rig.reader();
    late.create(from(5, WatchRequest { prev_kv: true, ..key("a") }));
    assert_eq!(late.told(), "0: 5.0 put a=3; 6.0 del a was 3; 6.1 put a=4 @6");
}

#[test]
fn a_compacted_pair_before_is_left_out() {
    let rig = Rig::new();
    rig.commit(&[put("a", "1")]);
    rig.commit(&[put("a", "2")]);
    rig.store.compact(3);
    let mut reader = rig.reader();
    reader.create(from(3, WatchRequest { prev_kv: true, ..key("a") }));
    assert_eq!(reader.told(), "0: 3.0 put a=2 @3");
}

#[test]
fn identical_watchers_of_a_stream_share_a_response_and_all_streams_share_the_events() {
    let rig = Rig::new();
    let (mut one, mut two) = (rig.reader(), rig.reader());
    one.create(prefix("a"));
    one.create(key("a"));
    one.create(prefix("a"));
    two.create(prefix("a"));
    rig.commit(&[put("a", "1")]);
    let mut told = one.told_many(2);
    told.sort();
    assert_eq!(told, ["0,2: 2.0 put a=1 @2", "1: 2.0 put a=1 @2"]);
    two.told();
    one.stream.cancel(1);
    one.told();
    rig.commit(&[put("a", "2")]);
    let (first, second) = (one.next().unwrap(), two.next().unwrap());
    let (WatchKind::Events { events: first, .. }, WatchKind::Events { events: second, .. }) =
        (&first.kind, &second.kind)
    else {
        panic!("both are events");
    };
    assert!(std::sync::Arc::ptr_eq(first, second));
}

#[test]
fn after_its_cancellation_a_watcher_is_told_nothing() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    let id = reader.create(key("a"));
    rig.commit(&[put("a", "1")]);
    assert_eq!(reader.told(), "0: 2.0 put a=1 @2");
    reader.stream.cancel(id);
    reader.stream.cancel(99);
    assert_eq!(reader.told(), "canceled 0: request canceled (0) @2");
    rig.commit(&[put("a", "2")]);
    assert_eq!(reader.create(key("a")), 1);
    rig.commit(&[put("a", "3")]);
    assert_eq!(reader.told(), "1: 4.0 put a=3 @4");
}

#[test]
fn a_large_revision_is_cut_only_for_those_who_allow_it() {
    let rig = Rig::with(WatchConfig { fragment_bytes: 1000, ..WatchConfig::default() });
    let mut reader = rig.reader();
    reader.create(prefix("a"));
    reader.create(WatchRequest { fragment: true, ..prefix("a") });
    let value = "v".repeat(300);
    let changes: Vec<_> = ["a1", "a2", "a3", "a4", "a5"].map(|key| put(key, value.clone())).into();
    rig.commit(&changes);
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let response = reader.next().unwrap();
        let WatchKind::Events { events, fragment } = response.kind else { panic!("events") };
        sizes.push((response.watch_ids[0], events.len(), fragment));
    }
    sizes.sort_by_key(|&(id, ..)| id);
    assert_eq!(sizes, [(0, 5, false), (1, 2, true), (1, 2, true), (1, 1, false)]);
    rig.commit(&[put("a1", value)]);
    for _ in 0..2 {
        assert!(reader.told().ends_with(" @3"), "a small response is whole");
    }
}

#[test]
fn a_gap_between_batches_is_read_from_history() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(key("a"));
    rig.store.commit(&[put("a", "1")]);
    rig.commit(&[put("a", "2")]);
    assert_eq!(reader.told(), "0: 2.0 put a=1; 3.0 put a=2 @3");
    rig.store.commit(&[put("a", "3")]);
    rig.store.commit(&[put("a", "4")]);
    rig.hub.jump_to(5);
    assert_eq!(reader.told(), "0: 4.0 put a=3; 5.0 put a=4 @5");
}

#[test]
fn a_history_that_cannot_be_read_cancels_with_the_reason() {
    let rig = Rig::new();
    rig.commit(&[put("a", "1")]);
    rig.settle();
    rig.store.fail_reads(Error::Corrupt("segment 1".into()));
    let mut reader = rig.reader();
    reader.create(from(2, key("a")));
    assert_eq!(reader.told(), "canceled 0: corrupt: segment 1 (0) @2");
    reader.create(WatchRequest { prev_kv: true, ..key("a") });
    rig.commit(&[put("a", "2")]);
    assert_eq!(reader.told(), "canceled 1: corrupt: segment 1 (0) @3");
}

#[test]
fn shutdown_ends_streams_after_what_was_queued() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(key("a"));
    rig.commit(&[put("a", "1")]);
    assert_eq!(reader.told(), "0: 2.0 put a=1 @2");
    let waiting = std::thread::spawn(move || (reader.next_within(Duration::from_secs(10)), reader));
    rig.hub.shutdown();
    let (ended, mut reader) = waiting.join().unwrap();
    assert_eq!(ended, Some(None));
    assert_eq!(reader.stream.create(key("a")), Err(Error::Stopped));
    assert_eq!(rig.reader().told(), "end");
    rig.hub.shutdown();
    rig.hub.publish(EventBatch { revision: 3, events: vec![] }.into());
}

/// A history that breaks an invariant of ours.
struct Broken;

impl History for Broken {
    fn published(&self) -> i64 {
        5
    }
    fn compact_revision(&self) -> i64 {
        0
    }
    fn scan(
        &self,
        _: i64,
        _: i64,
        _: &mut dyn FnMut(crate::state::Event) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        panic!("this panic is part of a test")
    }
    fn record(&self, _: Revision) -> Result<Option<std::sync::Arc<Record>>, Error> {
        Ok(None)
    }
}

#[test]
fn streams_end_if_the_hub_thread_panics() {
    let (sender, faults) = std::sync::mpsc::channel();
    let on_fault = move |fault| sender.send(fault).unwrap();
    let hub = WatchHub::start(std::sync::Arc::new(Broken), WatchConfig::default(), on_fault).unwrap();
    let mut reader = Reader::of(&hub);
    reader.stream.create(from(2, key("a"))).unwrap();
    while reader.told() != "end" {}
    let fault = faults.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert!(matches!(&fault, Error::Fatal(text) if text.contains("part of a test")), "{fault}");
    assert_eq!(Reader::of(&hub).told(), "end");
    assert_eq!(reader.stream.create(key("a")), Err(Error::Stopped));
    hub.shutdown();
}

#[test]
fn dropping_a_stream_removes_its_watchers() {
    let rig = Rig::new();
    let mut other = rig.reader();
    other.create(key("a"));
    let mut reader = rig.reader();
    for _ in 0..10 {
        reader.create(key("a"));
    }
    rig.commit(&[put("a", "1")]);
    other.told();
    await_that(|| rig.hub.counters().watchers == 11);
    drop(reader);
    // A settled stream answers for its progress itself, so that no answer tells how far the hub has come.
    let left = WatchCounters { streams: 1, watchers: 1, lagging: 0, pending_events: 0, events_delivered: 11 };
    await_that(|| rig.hub.counters() == left);
}
