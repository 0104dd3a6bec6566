//! Many watchers, and a client that does not read.

use crate::support::{Channel, Running, soon};
use crate::watching::{Watching, delete, of_prefix, put};
use coffer_etcd::proto::etcdserverpb::*;
use futures_util::future::join_all;
use std::collections::HashMap;
use tonic::Code;

const WATCHERS: usize = 1000;
const CHANGES: i64 = 30;

/// Changes keys under `k/`, among changes of others; returns the revisions of the former.
async fn change(channel: &Channel) -> Vec<i64> {
    let mut revisions = Vec::new();
    for n in 0..CHANGES {
        let key = format!("k/{}", n % 7);
        revisions.push(match n % 5 {
            4 => delete(channel, &format!("k/{}", (n - 1) % 7)).await,
            _ => put(channel, &key, &n.to_string()).await,
        });
        put(channel, "other", "v").await;
    }
    revisions
}

fn revisions(response: &WatchResponse) -> impl Iterator<Item = i64> + '_ {
    response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision)
}

#[test]
fn a_thousand_watchers_of_one_stream_get_every_event_once_in_order() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        for _ in 0..WATCHERS {
            watching.create(of_prefix("k/"));
        }
        for id in 0..WATCHERS {
            let created = watching.next().await;
            assert_eq!((created.watch_id, created.created, created.canceled), (id as i64, true, false));
        }
        let expected = change(&channel).await;
        let mut told: HashMap<i64, Vec<i64>> = HashMap::new();
        let mut left = WATCHERS * expected.len();
        while left > 0 {
            let response = watching.next().await;
            left -= response.events.len();
            told.entry(response.watch_id).or_default().extend(revisions(&response));
        }
        assert_eq!(told.len(), WATCHERS);
        for (id, revisions) in told {
            assert_eq!(revisions, expected, "watcher {id}");
        }
    });
}

#[test]
fn a_thousand_streams_get_every_event_once_in_order() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut channels = Vec::new();
        for _ in 0..20 {
            channels.push(running.connect().await);
        }
        let mut streams = Vec::new();
        for n in 0..WATCHERS {
            let mut watching = Watching::open(&channels[n % channels.len()]).await;
            watching.watch_prefix("k/").await;
            streams.push(watching);
        }
        let expected = change(&channels[0]).await;
        let told = join_all(streams.iter_mut().map(|watching| async {
            let mut told = Vec::new();
            while told.len() < expected.len() {
                told.extend(revisions(&watching.next().await));
            }
            told
        }));
        for told in soon(told).await {
            assert_eq!(told, expected);
        }
    });
}

#[test]
fn a_client_that_reads_late_misses_nothing() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut late = Watching::open(&running.connect().await).await;
        late.watch_prefix("k").await;
        let mut expected = Vec::new();
        let value = "v".repeat(256 << 10);
        for n in 0..100 {
            expected.push(put(&channel, &format!("k{}", n % 3), &value).await);
        }
        let mut told = Vec::new();
        while told.len() < expected.len() {
            told.extend(revisions(&late.next().await));
        }
        assert_eq!(told, expected);
    });
}

#[test]
fn a_client_that_does_not_read_costs_a_bounded_queue() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut idle = Watching::open(&running.connect().await).await;
        idle.watch_prefix("k").await;
        let value = "v".repeat(256 << 10);
        for n in 0..200 {
            put(&channel, &format!("k{}", n % 3), &value).await;
        }
        // Once the node has stopped, only what was on its way to the client still comes.
        let node = running.node.clone();
        coffer_runtime::unblock(move || node.shutdown()).await.unwrap();
        let mut bytes = 0;
        let status = loop {
            match soon(idle.responses.message()).await {
                Ok(Some(response)) => {
                    let kvs = response.events.iter().filter_map(|event| event.kv.as_ref());
                    bytes += kvs.map(|kv| kv.value.len()).sum::<usize>();
                }
                Ok(None) => panic!("the stream ended without a reason"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: server stopped"));
        assert!(bytes > 0);
        assert!(bytes < 12 << 20, "{bytes} of 50 MiB were queued");
    });
}

#[test]
fn a_flood_of_requests_is_held_back_and_answered_in_order() {
    const REQUESTS: usize = 30_000;
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        for n in 0..REQUESTS {
            match n % 3 {
                0 => watching.create(of_prefix("k")),
                1 => watching.create(WatchCreateRequest { start_revision: -1, ..of_prefix("k") }),
                _ => watching.cancel((n / 3) as i64),
            }
        }
        let (mut created, mut canceled) = (0, 0);
        while created < REQUESTS / 3 * 2 || canceled < REQUESTS / 3 {
            let response = watching.next().await;
            match (response.created, response.canceled) {
                (true, is_refused) => {
                    let expected = if is_refused { -1 } else { created as i64 / 2 };
                    assert_eq!((response.watch_id, is_refused), (expected, created % 2 == 1));
                    created += 1;
                }
                (false, true) => canceled += 1,
                (false, false) => panic!("{response:?}"),
            }
        }
        put(&channel, "k", "v").await;
        watching.watch_prefix("k").await;
    });
}
