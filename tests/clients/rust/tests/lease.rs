//! Leases, and the lock and election services, which are made of them on the server.

use coffer_clients_rust::{connect, refusal, soon};
use etcd_client::*;

#[tokio::test]
async fn a_lease_lives_and_ends() {
    let mut client = connect().await;
    let granted = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(4711))).await.unwrap();
    assert_eq!((granted.id(), granted.ttl()), (4711, 60));
    let twice = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(4711))).await;
    assert_eq!(refusal(twice), (9, "etcdserver: lease already exists".into()));
    client.put("rust/lease", "1", Some(PutOptions::new().with_lease(4711))).await.unwrap();
    let (mut keeper, mut renewals) = client.lease_keep_alive(4711).await.unwrap();
    keeper.keep_alive().await.unwrap();
    assert_eq!(soon(renewals.message()).await.unwrap().unwrap().ttl(), 60);
    let left =
        client.lease_time_to_live(4711, Some(LeaseTimeToLiveOptions::new().with_keys())).await.unwrap();
    assert_eq!((left.granted_ttl(), left.keys()), (60, &[b"rust/lease".to_vec()][..]));
    assert!((50..=60).contains(&left.ttl()));
    assert!(client.leases().await.unwrap().leases().iter().any(|lease| lease.id() == 4711));
    client.lease_revoke(4711).await.unwrap();
    assert_eq!(client.get("rust/lease", None).await.unwrap().count(), 0);
    assert_eq!(client.lease_time_to_live(4711, None).await.unwrap().ttl(), -1);
    assert_eq!(refusal(client.lease_revoke(4711).await), (5, "etcdserver: requested lease not found".into()));
}

#[tokio::test]
async fn a_lock_has_one_holder() {
    let mut client = connect().await;
    let lease = client.lease_grant(30, None).await.unwrap().id();
    let held = client.lock("rust/lock", Some(LockOptions::new().with_lease(lease))).await.unwrap();
    assert_eq!(held.key(), format!("rust/lock/{lease:x}").as_bytes());
    let again = client.lock("rust/lock", Some(LockOptions::new().with_lease(lease))).await.unwrap();
    assert_eq!(again.key(), held.key());
    let mut other = connect().await;
    let waiting = tokio::spawn(async move { other.lock("rust/lock", None).await });
    soon(async {
        let prefix = || Some(GetOptions::new().with_prefix().with_count_only());
        while client.get("rust/lock/", prefix()).await.unwrap().count() < 2 {}
    })
    .await;
    assert!(!waiting.is_finished());
    client.unlock(held.key()).await.unwrap();
    let second = soon(waiting).await.unwrap().unwrap();
    assert_ne!(second.key(), held.key());
    client.unlock(second.key()).await.unwrap();
}

#[tokio::test]
async fn an_election_has_one_leader() {
    let mut client = connect().await;
    assert_eq!(refusal(client.leader("rust/election").await), (2, "election: no leader".into()));
    let lease = client.lease_grant(30, None).await.unwrap().id();
    let won = client.campaign("rust/election", "one", lease).await.unwrap();
    let leader = won.leader().unwrap().clone();
    assert_eq!((leader.name(), leader.lease()), (&b"rust/election"[..], lease));
    let mut observed = client.observe("rust/election").await.unwrap();
    assert_eq!(soon(observed.message()).await.unwrap().unwrap().kv().unwrap().value(), b"one");
    client.proclaim("one again", Some(ProclaimOptions::new().with_leader(leader.clone()))).await.unwrap();
    assert_eq!(soon(observed.message()).await.unwrap().unwrap().kv().unwrap().value(), b"one again");
    let mut other = connect().await;
    let second = other.lease_grant(30, None).await.unwrap().id();
    let waiting = tokio::spawn(async move { other.campaign("rust/election", "two", second).await });
    client.resign(Some(ResignOptions::new().with_leader(leader.clone()))).await.unwrap();
    soon(waiting).await.unwrap().unwrap();
    assert_eq!(soon(observed.message()).await.unwrap().unwrap().kv().unwrap().value(), b"two");
    let lost = client.proclaim("late", Some(ProclaimOptions::new().with_leader(leader))).await;
    assert_eq!(refusal(lost), (2, "election: not leader".into()));
    assert_eq!(client.leader("rust/election").await.unwrap().kv().unwrap().value(), b"two");
}
