//! Locks.

use crate::support::{Channel, Running, soon};
use crate::watching::put;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::proto::v3lockpb::lock_client::LockClient;
use coffer_etcd::proto::v3lockpb::*;
use coffer_runtime::local::spawn;
use std::cell::RefCell;
use std::rc::Rc;
use tonic::Code;

fn client(channel: &Channel) -> LockClient<Channel> {
    LockClient::with_origin(channel.clone(), channel.origin())
}

fn of(name: &str, lease: i64) -> LockRequest {
    LockRequest { name: name.to_owned().into(), lease }
}

async fn grant(channel: &Channel, id: i64, ttl: i64) {
    let mut leases = LeaseClient::with_origin(channel.clone(), channel.origin());
    soon(leases.lease_grant(LeaseGrantRequest { ttl, id })).await.unwrap();
}

/// How many keys wait for or own the lock `name`.
async fn waiting(channel: &Channel, name: &str) -> i64 {
    let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
    let request = RangeRequest {
        key: format!("{name}/").into(),
        range_end: format!("{name}0").into(),
        count_only: true,
        ..Default::default()
    };
    soon(kv.range(request)).await.unwrap().into_inner().count
}

async fn until_waiting(channel: &Channel, name: &str, count: i64) {
    soon(async { while waiting(channel, name).await != count {} }).await;
}

#[test]
fn twenty_contenders_get_the_lock_one_by_one_in_the_order_in_which_they_came() {
    const CONTENDERS: i64 = 20;
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        grant(&channel, 100, 100).await;
        let owned = soon(client(&channel).lock(of("l", 100))).await.unwrap().into_inner();
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut contenders = Vec::new();
        for lease in 1..=CONTENDERS {
            grant(&channel, lease, 100).await;
            let (channel, order) = (running.connect().await, order.clone());
            contenders.push(spawn(async move {
                let mut locks = client(&channel);
                let locked = soon(locks.lock(of("l", lease))).await.unwrap().into_inner();
                assert_eq!(locked.key, format!("l/{lease:x}"));
                order.borrow_mut().push(lease);
                // Whoever else got the lock meanwhile would show in the order.
                let before = order.borrow().len();
                let revision = put(&channel, "held", "v").await;
                assert!(revision > locked.header.unwrap().revision);
                assert_eq!(order.borrow().len(), before);
                soon(locks.unlock(UnlockRequest { key: locked.key })).await.unwrap();
            }));
            until_waiting(&running.connect().await, "l", lease + 1).await;
        }
        assert!(order.borrow().is_empty());
        soon(client(&channel).unlock(UnlockRequest { key: owned.key })).await.unwrap();
        for contender in contenders {
            contender.await.unwrap();
        }
        assert_eq!(*order.borrow(), (1..=CONTENDERS).collect::<Vec<_>>());
        assert_eq!(waiting(&channel, "l").await, 0);
    });
}

#[test]
fn the_same_lease_locks_again_without_waiting() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut locks = client(&channel);
        grant(&channel, 9, 100).await;
        let first = soon(locks.lock(of("l", 9))).await.unwrap().into_inner();
        let again = soon(locks.lock(of("l", 9))).await.unwrap().into_inner();
        assert_eq!(first.key, again.key);
        assert_eq!(waiting(&channel, "l").await, 1);
    });
}

#[test]
fn a_caller_without_a_lease_is_given_one_of_a_minute() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let locked = soon(client(&channel).lock(of("l", 0))).await.unwrap().into_inner();
        let key = String::from_utf8(locked.key.to_vec()).unwrap();
        let id = i64::from_str_radix(key.strip_prefix("l/").unwrap(), 16).unwrap();
        let mut leases = LeaseClient::with_origin(channel.clone(), channel.origin());
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let left = soon(leases.lease_time_to_live(request)).await.unwrap().into_inner();
        assert_eq!((left.granted_ttl, left.keys), (60, vec![locked.key]));
    });
}

#[test]
fn a_caller_that_leaves_while_it_waits_leaves_nothing_behind() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        grant(&channel, 1, 100).await;
        grant(&channel, 2, 100).await;
        let owned = soon(client(&channel).lock(of("l", 1))).await.unwrap().into_inner();
        let leases = running.node.status().await.unwrap().leases;
        for lease in [2, 0] {
            let other = running.connect().await;
            let waits = spawn(async move { client(&other).lock(of("l", lease)).await.map(drop) });
            until_waiting(&channel, "l", 2).await;
            waits.abort();
            until_waiting(&channel, "l", 1).await;
        }
        assert_eq!(running.node.status().await.unwrap().leases, leases, "the lease made for the caller");
        soon(client(&channel).unlock(UnlockRequest { key: owned.key })).await.unwrap();
        soon(client(&channel).lock(of("l", 2))).await.unwrap();
    });
}

#[test]
fn a_caller_that_leaves_at_any_moment_leaves_nothing_behind() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let (channel, leaving) = (running.connect().await, running.connect().await);
        grant(&channel, 1000, 1000).await;
        soon(client(&channel).lock(of("l", 1000))).await.unwrap();
        for lease in 1..=200 {
            grant(&channel, lease, 1000).await;
            let mut locks = client(&leaving);
            let call = spawn(async move { drop(locks.lock(of("l", lease)).await) });
            // From before the call is sent to after the key is put.
            for _ in 0..lease % 50 {
                coffer_runtime::yield_now().await;
            }
            call.cancel().await;
        }
        until_waiting(&channel, "l", 1).await;
    });
}

#[test]
fn a_lock_is_free_when_its_lease_ends_and_who_waits_with_an_ended_lease_is_told() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        for (lease, ttl) in [(1, 100), (2, 1), (3, 100)] {
            grant(&channel, lease, ttl).await;
        }
        soon(client(&channel).lock(of("l", 1))).await.unwrap();
        let error = soon(client(&channel).lock(of("l", 2))).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unknown, "mutex: session is expired"));
        let next = spawn({
            let channel = channel.clone();
            async move { soon(client(&channel).lock(of("l", 3))).await.map(drop) }
        });
        until_waiting(&channel, "l", 2).await;
        let mut leases = LeaseClient::with_origin(channel.clone(), channel.origin());
        soon(leases.lease_revoke(LeaseRevokeRequest { id: 1 })).await.unwrap();
        soon(next).await.unwrap().unwrap();
        assert_eq!(waiting(&channel, "l").await, 1);
    });
}

#[test]
fn errors_are_etcds() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut locks = client(&channel);
        let errors = [
            soon(locks.lock(of("l", 77))).await.unwrap_err(),
            soon(locks.unlock(UnlockRequest::default())).await.unwrap_err(),
        ];
        let texts = errors.each_ref().map(|error| (error.code(), error.message()));
        let expected = [
            (Code::Unknown, "etcdserver: requested lease not found"),
            (Code::Unknown, "etcdserver: key is not provided"),
        ];
        assert_eq!(texts, expected);
    });
}

#[test]
fn a_server_that_stops_tells_who_waits() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        soon(client(&channel).lock(of("l", 0))).await.unwrap();
        let waits = spawn({
            let channel = channel.clone();
            async move { client(&channel).lock(of("l", 0)).await.unwrap_err() }
        });
        until_waiting(&channel, "l", 2).await;
        drop(channel);
        let server = running.server.clone();
        let stopping = coffer_runtime::unblock(move || server.shutdown());
        let error = soon(waits).await.unwrap();
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: server stopped"));
        soon(stopping).await.unwrap();
    });
}
