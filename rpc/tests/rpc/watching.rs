//! Watching over the network, over breaking connections too.

use crate::support::*;
use coffer_core::request::*;
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange};
use coffer_rpc::client::WatchStream;

/// Waits for `count` events and returns their mod revisions; other responses are skipped.
fn revisions(stream: &mut WatchStream, count: usize) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        for response in wait(stream.next()).expect("the stream goes on") {
            if let WatchKind::Events { events, .. } = response.kind {
                seen.extend(events.iter().map(|event| event.event.record.revision.main));
            }
        }
    }
    seen
}

fn next_one(stream: &mut WatchStream) -> coffer_core::watch::WatchResponse {
    let mut responses = wait(stream.next()).expect("the stream goes on");
    assert_eq!(responses.len(), 1, "{responses:?}");
    responses.remove(0)
}

#[test]
fn events_come_with_what_was_asked_for() {
    let world = World::new();
    put(&world.client, "k", "1");
    let mut stream = world.client.watch();
    let id =
        stream.create(WatchRequest { prev_kv: true, ..WatchRequest::new(KeyRange::single("k")) }).unwrap();
    assert_eq!(id, 0);
    let created = next_one(&mut stream);
    assert_eq!((created.watch_ids, created.revision, created.kind), (vec![0], 2, WatchKind::Created));
    put(&world.client, "k", "2");
    put(&world.client, "other", "2");
    wait(world.client.delete_range(DeleteRangeRequest { range: KeyRange::single("k"), prev_kv: false }))
        .unwrap();
    let mut events = Vec::new();
    while events.len() < 2 {
        for response in wait(stream.next()).unwrap() {
            let WatchKind::Events { events: list, fragment: false } = response.kind else { panic!() };
            events.extend(list.iter().cloned());
        }
    }
    let (put, delete) = (&events[0], &events[1]);
    assert_eq!((&put.event.record.value[..], put.event.record.version), (&b"2"[..], 2));
    assert_eq!(put.prev_kv.as_ref().unwrap().value, "1");
    assert!(delete.event.record.tombstone);
    assert_eq!(delete.prev_kv.as_ref().unwrap().value, "2");

    stream.request_progress();
    let progress = next_one(&mut stream);
    assert_eq!((progress.watch_ids, progress.kind, progress.revision), (vec![-1], WatchKind::Progress, 5));

    assert_eq!(stream.create(WatchRequest { watch_id: 7, ..WatchRequest::new(KeyRange::all()) }), Ok(7));
    assert_eq!(next_one(&mut stream).watch_ids, [7]);
    let again = WatchRequest { watch_id: 7, ..WatchRequest::new(KeyRange::all()) };
    assert_eq!(stream.create(again.clone()), Err(Error::DuplicateWatchId));
    assert_eq!(stream.create(WatchRequest::new(KeyRange::between("b", "a"))), Err(Error::EmptyWatchRange));
    stream.cancel(7);
    let canceled = next_one(&mut stream);
    assert_eq!(canceled.kind, WatchKind::Canceled { reason: Error::Canceled, compact_revision: 0 });
    assert_eq!(stream.create(again), Ok(7));
}

#[test]
fn history_and_compaction() {
    let world = World::new();
    for i in 0..100 {
        put(&world.client, format!("k{i}"), vec![1u8; 5000]);
    }
    let mut stream = world.client.watch();
    stream.create(WatchRequest { start_revision: 2, ..WatchRequest::new(KeyRange::prefix("k")) }).unwrap();
    assert_eq!(revisions(&mut stream, 100), (2..102).collect::<Vec<_>>());
    wait(world.client.compact(CompactRequest { revision: 50, physical: false })).unwrap();
    let mut stream = world.client.watch();
    stream.create(WatchRequest { start_revision: 2, ..WatchRequest::new(KeyRange::prefix("k")) }).unwrap();
    let canceled = loop {
        let responses = wait(stream.next()).unwrap();
        if let Some(canceled) = responses.into_iter().find(|r| matches!(r.kind, WatchKind::Canceled { .. })) {
            break canceled;
        }
    };
    let WatchKind::Canceled { reason, compact_revision } = canceled.kind else { panic!() };
    assert_eq!((reason, compact_revision), (Error::Compacted { compact_revision: 50 }, 50));
}

#[test]
fn a_watch_survives_servers_coming_and_going() {
    let node = open_node();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("unix://{}/coffer.sock", folder.path().display());
    let server = serve(&node, &url, quick());
    let client = connect(&server);
    let mut stream = client.watch();
    stream.create(WatchRequest::new(KeyRange::all())).unwrap();
    stream.create(WatchRequest { prev_kv: true, ..WatchRequest::new(KeyRange::prefix("k")) }).unwrap();
    let mut created = 0;
    while created < 2 {
        created += wait(stream.next()).unwrap().len();
    }
    drop(server);
    let mut expected = Vec::new();
    for round in 0..4 {
        for i in 0..25 {
            let done = wait(node.put(put_request(format!("k{i}"), format!("{round}")))).unwrap();
            expected.push(done.header.revision);
        }
        let server = serve(&node, &url, quick());
        for i in 0..25 {
            let done = wait(node.put(put_request(format!("k{i}"), format!("{round}")))).unwrap();
            expected.push(done.header.revision);
        }
        if round % 2 == 0 {
            // Cut somewhere in the middle of the delivery.
            drop(server);
            continue;
        }
        let mut seen = [Vec::new(), Vec::new()];
        while seen.iter().any(|seen| seen.len() < expected.len()) {
            for response in wait(stream.next()).unwrap() {
                let WatchKind::Events { events, .. } = response.kind else {
                    panic!("told twice: {:?}", response.kind)
                };
                for id in response.watch_ids {
                    seen[id as usize].extend(events.iter().map(|event| event.event.record.revision.main));
                }
            }
        }
        assert_eq!(seen, [expected.clone(), expected.clone()]);
        expected.clear();
        drop(server);
    }
    node.shutdown();
}

#[test]
fn a_resume_below_the_compact_revision_is_told() {
    let node = open_node();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("unix://{}/coffer.sock", folder.path().display());
    let server = serve(&node, &url, quick());
    let client = connect(&server);
    let mut stream = client.watch();
    stream.create(WatchRequest::new(KeyRange::all())).unwrap();
    assert_eq!(next_one(&mut stream).kind, WatchKind::Created);
    drop(server);
    for _ in 0..10 {
        wait(node.put(put_request("k", "v"))).unwrap();
    }
    wait(node.compact(CompactRequest { revision: 8, physical: false })).unwrap();
    let server = serve(&node, &url, quick());
    let canceled = next_one(&mut stream);
    assert_eq!(
        canceled.kind,
        WatchKind::Canceled { reason: Error::Compacted { compact_revision: 8 }, compact_revision: 8 }
    );
    drop(server);
    node.shutdown();
}

#[test]
fn a_watcher_that_does_not_read_slows_nobody_and_catches_up() {
    let world = World::new();
    let mut slow = world.client.watch();
    slow.create(WatchRequest::new(KeyRange::all())).unwrap();
    let mut quick = world.client.watch();
    quick.create(WatchRequest::new(KeyRange::all())).unwrap();
    assert_eq!(next_one(&mut quick).kind, WatchKind::Created);
    let puts = (0..3000).map(|i| world.client.put(put_request(format!("k{i}"), vec![5u8; 2000])));
    for done in wait(futures_util::future::join_all(puts)) {
        done.unwrap();
    }
    assert_eq!(revisions(&mut quick, 3000), (2..3002).collect::<Vec<_>>());
    assert_eq!(revisions(&mut slow, 3000), (2..3002).collect::<Vec<_>>());
}
