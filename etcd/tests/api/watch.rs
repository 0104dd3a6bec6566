//! What a watcher is told, and how.

use crate::support::{Running, soon};
use crate::watching::{Watching, compact, delete, of_prefix, put};
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::proto::mvccpb::event::EventType;
use coffer_etcd::server::ServerConfig;
use std::time::{Duration, Instant};
use tonic::Code;

#[test]
fn events_come_with_the_pair_before_and_the_headers_revision() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.create(WatchCreateRequest { prev_kv: true, ..of_prefix("a") });
        let created = watching.next().await;
        assert_eq!((created.watch_id, created.header.unwrap().revision), (0, 1));
        assert_eq!(put(&channel, "a", "1").await, 2);
        put(&channel, "b", "not watched").await;
        put(&channel, "a", "2").await;
        delete(&channel, "a").await;
        let mut events = Vec::new();
        while events.len() < 3 {
            let response = watching.next().await;
            let header = response.header.unwrap();
            assert_ne!((header.cluster_id, header.member_id, header.raft_term), (0, 0, 0));
            let last = response.events.last().unwrap().kv.as_ref().unwrap().mod_revision;
            assert!(header.revision >= last);
            events.extend(response.events);
        }
        let told: Vec<_> = events
            .iter()
            .map(|event| {
                let kv = event.kv.as_ref().unwrap();
                let prev = event.prev_kv.as_ref().map(|prev| &prev.value[..]);
                (event.r#type(), kv.mod_revision, kv.version, &kv.value[..], prev)
            })
            .collect();
        assert_eq!(
            told,
            [
                (EventType::Put, 2, 1, &b"1"[..], None),
                (EventType::Put, 4, 2, b"2", Some(&b"1"[..])),
                (EventType::Delete, 5, 0, b"", Some(b"2")),
            ]
        );
    });
}

#[test]
fn a_watch_that_starts_in_the_past_is_told_of_everything_since() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        for n in 0..5 {
            put(&channel, "k", &n.to_string()).await;
        }
        let mut watching = Watching::open(&channel).await;
        watching.create(WatchCreateRequest { start_revision: 3, watch_id: 70, ..of_prefix("k") });
        let created = watching.next().await;
        assert_eq!((created.watch_id, created.created), (70, true));
        put(&channel, "k", "5").await;
        let events = watching.events(5).await;
        let values: Vec<_> = events.iter().map(|event| event.kv.as_ref().unwrap().value.clone()).collect();
        assert_eq!(values, ["1", "2", "3", "4", "5"]);
    });
}

#[test]
fn refusals_are_created_and_canceled_at_once_in_their_place() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        put(&channel, "k", "v").await;
        let mut watching = Watching::open(&channel).await;
        let inverted = WatchCreateRequest { key: "b".into(), range_end: "a".into(), ..Default::default() };
        watching.create(WatchCreateRequest { watch_id: 5, ..of_prefix("k") });
        watching.create(WatchCreateRequest { watch_id: 5, ..of_prefix("k") });
        watching.create(inverted);
        watching.create(of_prefix("k"));
        watching.create(WatchCreateRequest { start_revision: -3, ..of_prefix("k") });
        let mut told = Vec::new();
        for _ in 0..5 {
            let response = watching.next().await;
            assert!(response.created);
            assert_eq!((response.header.unwrap().revision, response.compact_revision), (2, 0));
            told.push((response.watch_id, response.canceled, response.cancel_reason));
        }
        let refused = |reason: &str| (-1, true, reason.to_owned());
        assert_eq!(
            told,
            [
                (5, false, String::new()),
                refused("mvcc: duplicate watch ID provided on the WatchStream"),
                refused("mvcc: watcher range is empty"),
                (0, false, String::new()),
                refused("etcdserver: mvcc: required revision has been compacted"),
            ]
        );
    });
}

#[test]
fn a_compacted_start_is_created_and_then_canceled() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        for _ in 0..4 {
            put(&channel, "k", "v").await;
        }
        compact(&channel, 4).await;
        let mut watching = Watching::open(&channel).await;
        watching.create(WatchCreateRequest { start_revision: 2, ..of_prefix("k") });
        let created = watching.next().await;
        assert_eq!((created.created, created.canceled, created.watch_id), (true, false, 0));
        assert_eq!(created.header.unwrap().revision, 5);
        let canceled = watching.next().await;
        assert_eq!((canceled.created, canceled.canceled, canceled.watch_id), (false, true, 0));
        assert_eq!((canceled.compact_revision, &canceled.cancel_reason[..]), (4, ""));
        assert_eq!(canceled.header.unwrap().revision, 0, "as etcd's");
        watching.create(WatchCreateRequest { start_revision: 4, ..of_prefix("k") });
        assert!(watching.next().await.created);
        assert_eq!(watching.events(2).await.len(), 2);
    });
}

#[test]
fn what_is_canceled_is_told_once_and_no_more_events_come() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.watch_prefix("a").await;
        watching.watch_prefix("a").await;
        watching.cancel(0);
        let canceled = watching.next().await;
        assert_eq!((canceled.watch_id, canceled.canceled, &canceled.cancel_reason[..]), (0, true, ""));
        assert_eq!(canceled.header.unwrap().revision, 1);
        watching.cancel(0);
        watching.cancel(99);
        put(&channel, "a", "v").await;
        let response = watching.next().await;
        assert_eq!((response.watch_id, response.events.len()), (1, 1));
    });
}

#[test]
fn filters_and_empty_keys_are_etcds() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        // Put is 0, delete is 1; what is not known is no filter.
        for (id, filters) in [(1, vec![0]), (2, vec![1]), (3, vec![0, 1]), (4, vec![9, -1])] {
            let request = WatchCreateRequest { watch_id: id, filters, ..of_prefix("k") };
            watching.create(request);
            assert_eq!(watching.next().await.watch_id, id);
        }
        let everything = WatchCreateRequest { watch_id: 5, range_end: vec![0].into(), ..Default::default() };
        watching.create(everything);
        assert_eq!(watching.next().await.watch_id, 5);
        put(&channel, "k", "v").await;
        delete(&channel, "k").await;
        let mut told = Vec::new();
        while told.len() < 6 {
            let response = watching.next().await;
            told.extend(response.events.iter().map(|event| (response.watch_id, event.r#type())));
        }
        told.sort();
        let (put, delete) = (EventType::Put, EventType::Delete);
        assert_eq!(told, [(1, delete), (2, put), (4, put), (4, delete), (5, put), (5, delete)]);
    });
}

#[test]
fn progress_is_told_at_once_and_never_ahead_of_events() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.watch_prefix("a").await;
        watching.watch_prefix("b").await;
        for n in 0..20 {
            let revision = put(&channel, if n % 2 == 0 { "a" } else { "b" }, "v").await;
            put(&channel, "other", "v").await;
            watching.ask_progress();
            let event = watching.next().await;
            assert_eq!(event.events[0].kv.as_ref().unwrap().mod_revision, revision);
            let progress = watching.next().await;
            assert_eq!((progress.watch_id, progress.events.len(), progress.created), (-1, 0, false));
            assert_eq!(progress.header.unwrap().revision, revision + 1);
        }
    });
}

#[test]
fn idle_watchers_are_told_of_progress_each_on_their_own() {
    let node = NodeConfig { watch_progress_interval: Duration::from_millis(100), ..NodeConfig::default() };
    let running = Running::with(node, ServerConfig::default());
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.watch_prefix("a").await;
        watching.create(WatchCreateRequest { progress_notify: true, ..of_prefix("a") });
        assert!(watching.next().await.created);
        put(&channel, "b", "v").await;
        for _ in 0..2 {
            let progress = watching.next().await;
            assert_eq!((progress.watch_id, progress.events.len()), (1, 0));
            assert!((1..=2).contains(&progress.header.unwrap().revision));
        }
    });
}

#[test]
fn a_large_transaction_is_cut_for_who_allows_it() {
    let running = Running::with(
        NodeConfig { request_bytes_max: 64 << 10, ..NodeConfig::default() },
        ServerConfig::default(),
    );
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        for n in 0..6 {
            put(&channel, &format!("k{n}"), &"v".repeat(40 << 10)).await;
        }
        // The pairs before count too, so a transaction of small size makes large events.
        let mut kv = kv_client::KvClient::with_origin(channel.clone(), channel.origin());
        watching.create(WatchCreateRequest { fragment: true, prev_kv: true, ..of_prefix("k") });
        assert!(watching.next().await.created);
        let request = DeleteRangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        soon(kv.delete_range(request)).await.unwrap();
        let mut fragments = Vec::new();
        loop {
            let response = watching.next().await;
            assert_eq!(response.header.as_ref().unwrap().revision, 8);
            fragments.push(response.events.len());
            if !response.fragment {
                break;
            }
        }
        assert!(fragments.len() > 1, "{fragments:?}");
        assert_eq!(fragments.iter().sum::<usize>(), 6);
    });
}

#[test]
fn a_client_that_closes_its_side_is_still_told() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.watch_prefix("a").await;
        watching.requests.close();
        for n in 0..3 {
            put(&channel, "a", &n.to_string()).await;
            assert_eq!(watching.events(1).await[0].kv.as_ref().unwrap().value, n.to_string());
        }
    });
}

#[test]
fn a_client_that_leaves_takes_its_watchers_with_it() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.watch_prefix("a").await;
        assert_eq!(running.node.status().await.unwrap().watchers, 1);
        drop(watching);
        soon(async {
            while running.node.status().await.unwrap().watchers > 0 {
                // The node tells of its watchers when it looks at them anew.
                put(&channel, "a", "v").await;
            }
        })
        .await;
    });
}

#[test]
fn a_stream_that_asks_for_a_leader_runs_while_there_is_one() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let prepared = Watching::open_with(&channel, |request| {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        });
        let mut watching = prepared.await.unwrap();
        watching.watch_prefix("a").await;
        put(&channel, "a", "v").await;
        assert_eq!(watching.events(1).await.len(), 1);
    });
}

#[test]
fn a_server_that_stops_ends_open_watches_promptly() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Vec::new();
        for _ in 0..50 {
            let mut one = Watching::open(&channel).await;
            one.watch_prefix("a").await;
            watching.push(one);
        }
        let started = Instant::now();
        let stopping = coffer_runtime::unblock({
            let server = running.server.clone();
            move || server.shutdown()
        });
        for one in &mut watching {
            let status = one.end().await;
            assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
        }
        drop((watching, channel));
        soon(stopping).await.unwrap();
        assert!(started.elapsed() < ServerConfig::default().drain_timeout, "{:?}", started.elapsed());
    });
}

#[test]
fn a_node_that_stops_ends_its_watches() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.watch_prefix("a").await;
        let node = running.node.clone();
        coffer_runtime::unblock(move || node.shutdown()).await.unwrap();
        let status = watching.end().await;
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
    });
}
