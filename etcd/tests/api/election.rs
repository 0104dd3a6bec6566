//! Elections.

use crate::support::{Channel, Running, soon};
use coffer_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use coffer_etcd::proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};
use coffer_etcd::proto::v3electionpb::election_client::ElectionClient;
use coffer_etcd::proto::v3electionpb::*;
use coffer_runtime::local::{LocalTask, spawn};
use tonic::{Code, Status};

fn client(channel: &Channel) -> ElectionClient<Channel> {
    ElectionClient::with_origin(channel.clone(), channel.origin())
}

fn candidate(lease: i64, value: &'static str) -> CampaignRequest {
    CampaignRequest { name: "e".into(), lease, value: value.into() }
}

fn named() -> LeaderRequest {
    LeaderRequest { name: "e".into() }
}

async fn grant(channel: &Channel, id: i64) {
    let mut leases = LeaseClient::with_origin(channel.clone(), channel.origin());
    soon(leases.lease_grant(LeaseGrantRequest { ttl: 100, id })).await.unwrap();
}

fn campaign(
    channel: &Channel,
    lease: i64,
    value: &'static str,
) -> LocalTask<Result<CampaignResponse, Status>> {
    let channel = channel.clone();
    spawn(async move {
        soon(client(&channel).campaign(candidate(lease, value))).await.map(|response| response.into_inner())
    })
}

#[test]
fn leadership_passes_from_one_candidate_to_the_next_and_observers_see_it() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut elections = client(&channel);
        for lease in [1, 2, 3] {
            grant(&channel, lease).await;
        }
        let mut observed = soon(elections.observe(named())).await.unwrap().into_inner();
        let first = soon(campaign(&channel, 1, "one")).await.unwrap().unwrap().leader.unwrap();
        assert_eq!((&first.key[..], first.lease, first.rev), (&b"e/1"[..], 1, 2));
        let seen = async |observed: &mut tonic::Streaming<LeaderResponse>| {
            let kv = soon(observed.message()).await.unwrap().unwrap().kv.unwrap();
            (kv.key, kv.value)
        };
        assert_eq!(seen(&mut observed).await, ("e/1".into(), "one".into()));
        let second = campaign(&channel, 2, "two");
        // A change of what is proclaimed is seen, and does not end the leadership.
        let request = ProclaimRequest { leader: Some(first.clone()), value: "uno".into() };
        soon(elections.proclaim(request)).await.unwrap();
        assert_eq!(seen(&mut observed).await, ("e/1".into(), "uno".into()));
        let leader = soon(elections.leader(named())).await.unwrap().into_inner().kv.unwrap();
        assert_eq!((leader.key, leader.value), ("e/1".into(), "uno".into()));
        soon(elections.resign(ResignRequest { leader: Some(first.clone()) })).await.unwrap();
        let second = soon(second).await.unwrap().unwrap().leader.unwrap();
        assert_eq!(seen(&mut observed).await, ("e/2".into(), "two".into()));
        let third = campaign(&channel, 3, "three");
        // The former leader can not speak any more.
        let request = ProclaimRequest { leader: Some(first), value: "uno".into() };
        let error = soon(elections.proclaim(request)).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unknown, "election: not leader"));
        // A leader whose lease ends is none any more.
        let mut leases = LeaseClient::with_origin(channel.clone(), channel.origin());
        soon(leases.lease_revoke(LeaseRevokeRequest { id: second.lease })).await.unwrap();
        soon(third).await.unwrap().unwrap();
        assert_eq!(seen(&mut observed).await, ("e/3".into(), "three".into()));
    });
}

#[test]
fn a_candidate_that_campaigns_again_changes_its_value() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        grant(&channel, 1).await;
        let first = soon(campaign(&channel, 1, "a")).await.unwrap().unwrap().leader.unwrap();
        let again = soon(campaign(&channel, 1, "b")).await.unwrap().unwrap().leader.unwrap();
        assert_eq!(first, again);
        let leader = soon(client(&channel).leader(named())).await.unwrap().into_inner().kv.unwrap();
        assert_eq!((leader.create_revision, leader.value), (first.rev, "b".into()));
    });
}

#[test]
fn a_candidate_that_leaves_is_out_of_the_race() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        for lease in [1, 2, 3] {
            grant(&channel, lease).await;
        }
        let first = soon(campaign(&channel, 1, "one")).await.unwrap().unwrap().leader.unwrap();
        let other = running.connect().await;
        let second = campaign(&other, 2, "two");
        let node = running.node.clone();
        let keys = async |count| {
            soon(async {
                while node.status().await.unwrap().keys != count {
                    coffer_runtime::yield_now().await
                }
            })
            .await
        };
        keys(2).await;
        second.abort();
        keys(1).await;
        let third = campaign(&channel, 3, "three");
        keys(2).await;
        soon(client(&channel).resign(ResignRequest { leader: Some(first) })).await.unwrap();
        let third = soon(third).await.unwrap().unwrap().leader.unwrap();
        assert_eq!(third.key, "e/3");
    });
}

#[test]
fn errors_are_etcds() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut elections = client(&channel);
        let errors = [
            soon(elections.leader(named())).await.unwrap_err(),
            soon(elections.proclaim(ProclaimRequest::default())).await.unwrap_err(),
            soon(elections.resign(ResignRequest::default())).await.unwrap_err(),
            soon(elections.campaign(candidate(77, "v"))).await.unwrap_err(),
            soon(
                elections
                    .proclaim(ProclaimRequest { leader: Some(LeaderKey::default()), ..Default::default() }),
            )
            .await
            .unwrap_err(),
        ];
        let texts = errors.each_ref().map(|error| {
            assert_eq!(error.code(), Code::Unknown);
            error.message()
        });
        let expected = [
            "election: no leader",
            "\"leader\" field must be provided",
            "\"leader\" field must be provided",
            "etcdserver: requested lease not found",
            "etcdserver: key is not provided",
        ];
        assert_eq!(texts, expected);
    });
}
