//! Limits that a client meets as typed errors.

use crate::support::*;
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange};
use coffer_rpc::{Client, ClientConfig, ServerConfig};

#[test]
fn too_many_watchers_are_refused_one_by_one() {
    let world = World::with(ServerConfig { watchers_max: 3, ..quick() });
    let mut stream = world.client.watch();
    for _ in 0..5 {
        stream.create(WatchRequest::new(KeyRange::all())).unwrap();
    }
    let mut told = Vec::new();
    while told.len() < 5 {
        told.extend(
            wait(stream.next()).unwrap().into_iter().map(|response| (response.watch_ids[0], response.kind)),
        );
    }
    told.sort_by_key(|(id, _)| *id);
    let refused = WatchKind::Canceled { reason: Error::TooManyRequests, compact_revision: 0 };
    for (id, kind) in told {
        assert_eq!(kind, if id < 3 { WatchKind::Created } else { refused.clone() }, "{id}");
    }
    // A cancelled one makes room.
    stream.cancel(0);
    wait(stream.next()).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(std::time::Instant::now() < end, "no room was made");
        stream.create(WatchRequest::new(KeyRange::all())).unwrap();
        if wait(stream.next()).unwrap()[0].kind == WatchKind::Created {
            break;
        }
    }
}

#[test]
fn a_client_limits_its_own_calls() {
    let world = World::new();
    let config = ClientConfig { in_flight_max: 10, ..ClientConfig::new(world.server.local_urls()) };
    let client = wait(Client::connect(config)).unwrap();
    let puts = (0..200).map(|i| client.put(put_request(format!("{i}"), "v")));
    let outcomes = wait(futures_util::future::join_all(puts));
    assert!(outcomes.iter().any(Result::is_ok));
    assert!(outcomes.contains(&Err(Error::TooManyRequests)));
}
