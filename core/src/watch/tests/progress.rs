//! Golden stories of progress.

use super::store::*;
use crate::watch::*;
use std::time::Duration;

/// The shortest interval that the hub keeps.
const INTERVAL: Duration = Duration::from_millis(100);

fn quick() -> Rig {
    Rig::with(WatchConfig { progress_interval: INTERVAL, ..WatchConfig::default() })
}

fn notified(request: WatchRequest) -> WatchRequest {
    WatchRequest { progress_notify: true, ..request }
}

#[test]
fn on_demand_progress_comes_after_the_events_before_it() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(key("a"));
    reader.create(key("b"));
    rig.commit(&[put("a", "1")]);
    rig.commit(&[put("c", "1")]);
    reader.stream.request_progress();
    assert!(reader.told().starts_with("0: 2.0 put a=1"));
    assert_eq!(reader.told(), "progress -1 @3");
}

#[test]
fn on_demand_progress_waits_for_watchers_that_read_history() {
    let rig = Rig::with(WatchConfig { catch_up_revisions: 1, ..WatchConfig::default() });
    rig.commit_many("a", 50, 10);
    rig.settle();
    let mut reader = rig.reader();
    reader.stream.create(from(2, key("a"))).unwrap();
    reader.stream.create(key("b")).unwrap();
    reader.stream.request_progress();
    let told = reader.told_many(53);
    assert_eq!(told[52], "progress -1 @51");
}

#[test]
fn a_settled_stream_answers_without_the_hub() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.create(key("a"));
    rig.commit(&[put("c", "1")]);
    assert_eq!(reader.sync(), 2);
    // Another reader's answer comes from a later step, so the one that settled this stream is over.
    rig.settle();
    rig.hub.stop();
    reader.stream.request_progress();
    reader.stream.request_progress();
    assert_eq!(reader.told(), "progress -1 @2");
    assert_eq!(reader.told(), "end", "requests that wait are answered together");
}

#[test]
fn a_stream_that_falls_behind_is_not_settled_until_it_has_caught_up() {
    let config = WatchConfig { stream_queue_bytes: 2000, catch_up_revisions: 1, ..WatchConfig::default() };
    let rig = Rig::with(config);
    let mut reader = rig.reader();
    reader.create(key("a"));
    assert_eq!(reader.sync(), 1);
    rig.commit_many("a", 40, 500);
    rig.settle();
    reader.stream.request_progress();
    let mut events = 0;
    while let Some(response) = reader.next() {
        match &response.kind {
            WatchKind::Events { events: more, .. } => events += more.len(),
            kind => {
                assert_eq!((kind, response.revision), (&WatchKind::Progress, 41));
                break;
            }
        }
    }
    assert_eq!(events, 40, "progress is behind every event before it");
}

#[test]
fn a_stream_without_watchers_does_not_answer() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    reader.stream.request_progress();
    reader.create(key("a"));
    assert_eq!(reader.sync(), 1, "one answer, to the second request");
    assert!(reader.next_within(Duration::ZERO).is_none());
}

#[test]
fn a_future_start_holds_on_demand_progress_back() {
    let rig = Rig::new();
    let mut reader = rig.reader();
    let waiting = reader.create(from(4, key("a")));
    reader.create(key("b"));
    reader.stream.request_progress();
    rig.commit(&[put("b", "2")]);
    assert_eq!(reader.told(), "1: 2.0 put b=2 @2");
    rig.commit(&[put("a", "3")]);
    rig.commit(&[put("x", "4")]);
    assert_eq!(reader.told(), "progress -1 @4");
    let far = reader.create(from(1000, key("a")));
    reader.stream.request_progress();
    reader.stream.cancel(far);
    reader.stream.cancel(waiting);
    let told = reader.told_many(3);
    assert!(told.contains(&"progress -1 @4".to_string()), "{told:?}");
}

#[test]
fn idle_watchers_are_told_and_others_are_not() {
    let rig = quick();
    let mut reader = rig.reader();
    reader.create(notified(key("a")));
    reader.create(key("b"));
    reader.create(notified(key("c")));
    assert_eq!(reader.told(), "progress 0,2 @1");
    rig.commit(&[put("x", "1")]);
    assert_eq!(reader.told_at(2), "progress 0,2 @2");
}

#[test]
fn a_watcher_that_was_told_of_events_is_skipped_once() {
    let rig = quick();
    let mut reader = rig.reader();
    reader.create(notified(key("a")));
    reader.create(notified(key("b")));
    assert_eq!(reader.told(), "progress 0,1 @1");
    rig.commit(&[put("a", "1")]);
    assert_eq!(reader.told_at(2), "0: 2.0 put a=1 @2");
    assert_eq!(reader.told(), "progress 1 @2");
    assert_eq!(reader.told(), "progress 0,1 @2");
}

#[test]
fn a_future_start_is_not_told_of_progress_below_it() {
    let rig = quick();
    let mut reader = rig.reader();
    reader.create(notified(from(3, key("a"))));
    reader.create(notified(key("b")));
    assert_eq!(reader.told(), "progress 1 @1");
    rig.commit(&[put("x", "2")]);
    assert_eq!(reader.told_at(2), "progress 1 @2");
    rig.commit(&[put("x", "3")]);
    assert_eq!(reader.told_at(3), "progress 0,1 @3");
}
