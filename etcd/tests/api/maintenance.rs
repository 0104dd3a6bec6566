//! Status, hashes and what operators ask for.

use crate::support::{Channel, Running};
use coffer_etcd::proto::etcdserverpb::downgrade_request::DowngradeAction;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use coffer_etcd::proto::etcdserverpb::*;
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

fn client(channel: &Channel) -> MaintenanceClient<Channel> {
    MaintenanceClient::with_origin(channel.clone(), channel.origin())
}

fn told<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let error = result.unwrap_err();
    (error.code(), error.message().to_owned())
}

async fn fill(channel: &Channel, count: usize) {
    let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
    for number in 0..count {
        let request = PutRequest { key: format!("{number}").into(), ..Default::default() };
        kv.put(request).await.unwrap();
    }
}

#[test]
fn status_speaks_as_etcd_3_7() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        fill(&channel, 3).await;
        let response = client(&channel).status(StatusRequest {}).await.unwrap();
        let own = response.metadata().get("coffer-version").unwrap().to_str().unwrap().to_owned();
        assert_eq!(own, env!("CARGO_PKG_VERSION"));
        let status = response.into_inner();
        assert_eq!((&status.version[..], &status.storage_version[..]), ("3.7.1", "3.7.0"));
        let header = status.header.unwrap();
        assert_eq!((header.revision, status.leader), (4, header.member_id));
        assert_eq!(status.raft_term, header.raft_term);
        assert!(status.raft_applied_index >= 3 && status.raft_index >= status.raft_applied_index);
        assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);
        assert_eq!((status.db_size_quota, status.is_learner), (0, false));
        assert_eq!(status.downgrade_info.map(|info| info.enabled), Some(false));
        assert_eq!(status.errors, [""; 0]);
    });
}

#[test]
fn hashes_are_those_of_the_content() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        fill(&channel, 5).await;
        let mut maintenance = client(&channel);
        let hash = |revision| HashKvRequest { revision };
        let newest = maintenance.hash_kv(hash(0)).await.unwrap().into_inner();
        assert_eq!((newest.hash_revision, newest.compact_revision), (6, -1));
        let same = maintenance.hash_kv(hash(6)).await.unwrap().into_inner();
        let older = maintenance.hash_kv(hash(5)).await.unwrap().into_inner();
        assert_eq!(newest.hash, same.hash);
        assert_ne!(newest.hash, older.hash);
        let whole = maintenance.hash(HashRequest {}).await.unwrap().into_inner();
        assert_eq!((whole.hash, whole.header.unwrap().revision), (newest.hash, 6));
        let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
        kv.compact(CompactionRequest { revision: 4, physical: true }).await.unwrap();
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        let future = "etcdserver: mvcc: required revision is a future revision";
        assert_eq!(told(maintenance.hash_kv(hash(3)).await), (Code::OutOfRange, compacted.into()));
        assert_eq!(told(maintenance.hash_kv(hash(7)).await), (Code::OutOfRange, future.into()));
    });
}

#[test]
fn a_snapshot_is_a_file_and_its_checksum() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        fill(&channel, 500).await;
        let mut stream = client(&channel).snapshot(SnapshotRequest {}).await.unwrap().into_inner();
        let mut responses = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            assert_eq!((&response.version[..], response.header.is_some()), ("3.6.0", false));
            responses.push(response);
        }
        let checksum = responses.pop().unwrap();
        let file_bytes: usize = responses.iter().map(|response| response.blob.len()).sum();
        assert!(file_bytes > 20_000 && file_bytes.is_multiple_of(512), "{file_bytes}");
        let mut sent = 0;
        let mut hasher = Sha256::new();
        for response in &responses {
            sent += response.blob.len();
            assert_eq!(response.remaining_bytes as usize, file_bytes - sent);
            assert!(response.blob.len() <= 32 << 10);
            hasher.update(&response.blob);
        }
        assert_eq!((&checksum.blob[..], checksum.remaining_bytes), (&hasher.finalize()[..], 0));
    });
}

#[test]
fn leadership_stays_where_it_is() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut maintenance = client(&running.connect().await);
        let own = running.node.header().member_id;
        maintenance.move_leader(MoveLeaderRequest { target_id: own }).await.unwrap();
        let other = maintenance.move_leader(MoveLeaderRequest { target_id: own + 1 }).await;
        assert_eq!(told(other), (Code::FailedPrecondition, "etcdserver: bad leader transferee".into()));
    });
}

#[test]
fn a_defragmentation_has_nothing_to_do() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        fill(&channel, 3).await;
        client(&channel).defragment(DefragmentRequest {}).await.unwrap();
        assert_eq!(running.node.header().revision, 4);
    });
}

#[test]
fn downgrades_are_checked_and_refused() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut maintenance = client(&running.connect().await);
        use DowngradeAction::{Cancel, Enable, Validate};
        let request = |action: DowngradeAction, version: &str| DowngradeRequest {
            action: action.into(),
            version: version.into(),
        };
        for (action, version) in
            [(Validate, "3.6"), (Validate, "3.6.0"), (Validate, "3.6.9-rc.1"), (Cancel, "")]
        {
            let response = maintenance.downgrade(request(action, version)).await.unwrap().into_inner();
            assert_eq!(response.version, "3.7", "{version}");
            assert!(response.header.is_some());
        }
        let format = "etcdserver: wrong downgrade target version format";
        let target = "etcdserver: invalid downgrade target version";
        for action in [Validate, Enable] {
            for (version, text) in [
                ("", format),
                ("3", format),
                ("v3.6", format),
                ("3.6.0.1", format),
                ("3.6.x", format),
                ("3.5", target),
                ("3.7", target),
                ("4.6", target),
            ] {
                let refused = maintenance.downgrade(request(action, version)).await;
                assert_eq!(told(refused), (Code::InvalidArgument, text.into()), "{version}");
            }
        }
        assert_eq!(told(maintenance.downgrade(request(Enable, "3.6")).await).0, Code::FailedPrecondition);
        let unknown = DowngradeRequest { action: 9, version: "3.6".into() };
        assert_eq!(
            told(maintenance.downgrade(unknown).await),
            (Code::Unknown, "etcdserver: unknown method".into())
        );
    });
}
