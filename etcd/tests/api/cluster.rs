//! The list of members.

use crate::support::{Channel, Running};
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::server::ServerConfig;
use tonic::{Code, Status};

fn start() -> Running {
    let config = ServerConfig {
        member_name: "alone".into(),
        advertise_client_urls: vec!["coffer://a:7420".into(), "http://a:2379".into()],
        advertise_peer_urls: vec!["http://a:2380".into()],
        ..ServerConfig::default()
    };
    Running::with(NodeConfig { member_id: 77, cluster_id: 5, ..NodeConfig::default() }, config)
}

fn client(channel: &Channel) -> ClusterClient<Channel> {
    ClusterClient::with_origin(channel.clone(), channel.origin())
}

fn told<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let error = result.unwrap_err();
    (error.code(), error.message().to_owned())
}

#[test]
fn the_one_member_is_listed() {
    let running = start();
    coffer_runtime::block_on(async {
        let mut cluster = client(&running.connect().await);
        for linearizable in [false, true] {
            let list = cluster.member_list(MemberListRequest { linearizable }).await.unwrap().into_inner();
            let member = Member {
                id: 77,
                name: "alone".into(),
                peer_ur_ls: vec!["http://a:2380".into()],
                client_ur_ls: vec!["http://a:2379".into()],
                is_learner: false,
            };
            assert_eq!(list.members, [member]);
            let header = list.header.unwrap();
            assert_eq!((header.cluster_id, header.member_id, header.revision), (5, 77, 0));
        }
    });
}

#[test]
fn listened_urls_are_listed_where_none_are_advertised() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut cluster = client(&running.connect().await);
        let list = cluster.member_list(MemberListRequest::default()).await.unwrap().into_inner();
        assert_eq!(list.members[0].client_ur_ls, running.server.local_urls());
    });
}

#[test]
fn changes_are_checked_before_they_are_made() {
    let running = start();
    coffer_runtime::block_on(async {
        let mut cluster = client(&running.connect().await);
        let bad_urls = (Code::InvalidArgument, "etcdserver: given member URLs are invalid".to_owned());
        let not_found = (Code::NotFound, "etcdserver: member not found".to_owned());
        let add = |urls: &[&str]| MemberAddRequest {
            peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            is_learner: true,
        };
        assert_eq!(told(cluster.member_add(add(&[])).await), bad_urls);
        assert_eq!(told(cluster.member_add(add(&["http://b:1", "b"])).await), bad_urls);
        let exists = (Code::FailedPrecondition, "etcdserver: Peer URLs already exists".to_owned());
        assert_eq!(told(cluster.member_add(add(&["http://a:2380"])).await), exists);
        let no_peers = told(cluster.member_add(add(&["http://b:2380"])).await);
        assert_eq!(no_peers.0, Code::FailedPrecondition);
        assert!(no_peers.1.contains("--listen-peer-urls"), "{}", no_peers.1);
        assert_eq!(told(cluster.member_remove(MemberRemoveRequest { id: 1 }).await), not_found);
        assert_eq!(
            told(cluster.member_remove(MemberRemoveRequest { id: 77 }).await),
            (
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members".into()
            )
        );
        let update = |id, url: &str| MemberUpdateRequest { id, peer_ur_ls: vec![url.into()] };
        assert_eq!(told(cluster.member_update(update(1, "x")).await), not_found);
        assert_eq!(told(cluster.member_update(update(77, "x")).await), bad_urls);
        let updated = cluster.member_update(update(77, "http://b:1")).await.unwrap().into_inner();
        assert_eq!(updated.members[0].peer_ur_ls, ["http://b:1"]);
        assert_eq!(told(cluster.member_add(add(&["http://b:1"])).await), exists, "it is known to all");
        assert_eq!(told(cluster.member_promote(MemberPromoteRequest { id: 1 }).await), not_found);
        assert_eq!(
            told(cluster.member_promote(MemberPromoteRequest { id: 77 }).await),
            (Code::FailedPrecondition, "etcdserver: can only promote a learner member".into())
        );
    });
}
