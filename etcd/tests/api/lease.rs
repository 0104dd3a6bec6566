//! Leases.

use crate::support::{Channel, Running, soon};
use crate::watching::Watching;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::proto::mvccpb::event::EventType;
use tonic::Code;

fn client(channel: &Channel) -> LeaseClient<Channel> {
    LeaseClient::with_origin(channel.clone(), channel.origin())
}

#[test]
fn a_lease_is_granted_renewed_listed_and_revoked_with_its_keys() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let (mut leases, mut kv) =
            (client(&channel), KvClient::with_origin(channel.clone(), channel.origin()));
        let granted = soon(leases.lease_grant(LeaseGrantRequest { ttl: 100, id: 0 })).await.unwrap();
        let LeaseGrantResponse { id, ttl, .. } = granted.into_inner();
        assert!(id > 0);
        assert_eq!(ttl, 100);
        let raised = soon(leases.lease_grant(LeaseGrantRequest { ttl: -5, id: 7 })).await.unwrap();
        assert_eq!((raised.get_ref().id, raised.get_ref().ttl), (7, 2));
        soon(kv.put(PutRequest { key: "k".into(), lease: id, ..Default::default() })).await.unwrap();
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let left = soon(leases.lease_time_to_live(request)).await.unwrap().into_inner();
        assert_eq!((left.granted_ttl, left.keys), (100, vec!["k".into()]));
        assert!((90..=100).contains(&left.ttl));
        let all = soon(leases.lease_leases(LeaseLeasesRequest {})).await.unwrap().into_inner();
        assert!(all.leases.iter().any(|lease| lease.id == id));
        let revoked = soon(leases.lease_revoke(LeaseRevokeRequest { id })).await.unwrap().into_inner();
        assert_eq!(revoked.header.unwrap().revision, 3);
        let range = soon(kv.range(RangeRequest { key: "k".into(), ..Default::default() })).await;
        assert_eq!(range.unwrap().into_inner().count, 0);
    });
}

#[test]
fn what_is_not_there_is_told_as_etcd_tells_it() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut leases = client(&channel);
        let request = LeaseTimeToLiveRequest { id: 99, keys: true };
        let left = soon(leases.lease_time_to_live(request)).await.unwrap().into_inner();
        assert_eq!((left.id, left.ttl, left.granted_ttl), (99, -1, 0));
        let errors = [
            soon(leases.lease_revoke(LeaseRevokeRequest { id: 99 })).await.unwrap_err(),
            soon(leases.lease_grant(LeaseGrantRequest { ttl: 9_000_000_001, id: 0 })).await.unwrap_err(),
        ];
        let texts = errors.each_ref().map(|error| (error.code(), error.message()));
        let expected = [
            (Code::NotFound, "etcdserver: requested lease not found"),
            (Code::OutOfRange, "etcdserver: too large lease TTL"),
        ];
        assert_eq!(texts, expected);
        soon(leases.lease_grant(LeaseGrantRequest { ttl: 9, id: 5 })).await.unwrap();
        let error = soon(leases.lease_grant(LeaseGrantRequest { ttl: 9, id: 5 })).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::FailedPrecondition, "etcdserver: lease already exists")
        );
    });
}

#[test]
fn pipelined_keepalives_are_answered_in_order_and_an_unknown_lease_has_no_time_left() {
    const LEASES: i64 = 500;
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut leases = client(&channel);
        for id in 1..=LEASES {
            soon(leases.lease_grant(LeaseGrantRequest { ttl: 50 + id, id })).await.unwrap();
        }
        let (requests, receiver) = async_channel::unbounded();
        let mut answers = soon(leases.lease_keep_alive(receiver)).await.unwrap().into_inner();
        for id in 1..=LEASES * 2 {
            requests.try_send(LeaseKeepAliveRequest { id }).unwrap();
        }
        for id in 1..=LEASES * 2 {
            let answer = soon(answers.message()).await.unwrap().unwrap();
            let ttl = if id <= LEASES { 50 + id } else { 0 };
            assert_eq!((answer.id, answer.ttl, answer.header.unwrap().revision), (id, ttl, 1));
        }
        requests.close();
        assert!(soon(answers.message()).await.unwrap().is_none(), "the client's end ends it");
    });
}

#[test]
fn a_lease_that_ends_deletes_its_keys() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
        soon(client(&channel).lease_grant(LeaseGrantRequest { ttl: 1, id: 3 })).await.unwrap();
        for key in ["a", "b"] {
            soon(kv.put(PutRequest { key: key.into(), lease: 3, ..Default::default() })).await.unwrap();
        }
        let mut watching = Watching::open(&channel).await;
        watching.create(WatchCreateRequest { range_end: vec![0].into(), ..Default::default() });
        assert!(watching.next().await.created);
        let events = watching.events(2).await;
        assert!(events.iter().all(|event| event.r#type() == EventType::Delete));
        assert_eq!(events[0].kv.as_ref().unwrap().mod_revision, events[1].kv.as_ref().unwrap().mod_revision);
    });
}

#[test]
fn a_server_that_stops_ends_keepalives() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let (_requests, receiver) = async_channel::unbounded();
        let mut answers = soon(client(&channel).lease_keep_alive(receiver)).await.unwrap().into_inner();
        let server = running.server.clone();
        let stopping = coffer_runtime::unblock(move || server.shutdown());
        let error = soon(answers.message()).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: server stopped"));
        drop((answers, channel));
        soon(stopping).await.unwrap();
    });
}
