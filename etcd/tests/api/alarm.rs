//! Alarms and the quota.

use crate::support::{Channel, Running};
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::alarm_request::AlarmAction;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::server::ServerConfig;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

fn clients(channel: &Channel) -> (KvClient<Channel>, MaintenanceClient<Channel>) {
    let origin = channel.origin();
    (
        KvClient::with_origin(channel.clone(), origin.clone()),
        MaintenanceClient::with_origin(channel.clone(), origin),
    )
}

fn put(value_bytes: usize) -> PutRequest {
    PutRequest { key: "k".into(), value: vec![b'v'; value_bytes].into(), ..Default::default() }
}

async fn set(
    maintenance: &mut MaintenanceClient<Channel>,
    action: AlarmAction,
    member_id: u64,
    alarm: AlarmType,
) -> Vec<AlarmMember> {
    let request = AlarmRequest { action: action.into(), member_id, alarm: alarm.into() };
    let response = maintenance.alarm(request).await.unwrap().into_inner();
    assert!(response.header.unwrap().member_id > 0);
    response.alarms
}

fn told<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let error = result.unwrap_err();
    (error.code(), error.message().to_owned())
}

fn no_space() -> (Code, String) {
    (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".into())
}

#[test]
fn alarms_are_listed_raised_and_cleared() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let (mut kv, mut maintenance) = clients(&running.connect().await);
        let member = |member_id, alarm: AlarmType| AlarmMember { member_id, alarm: alarm.into() };
        let raised = member(10, AlarmType::Nospace);
        use AlarmAction::{Activate, Deactivate, Get};
        assert_eq!(set(&mut maintenance, Get, 0, AlarmType::None).await, []);
        assert_eq!(set(&mut maintenance, Activate, 10, AlarmType::None).await, []);
        for _ in 0..2 {
            assert_eq!(set(&mut maintenance, Activate, 10, AlarmType::Nospace).await, [raised]);
        }
        assert_eq!(set(&mut maintenance, Get, 0, AlarmType::None).await, [raised]);
        assert_eq!(set(&mut maintenance, Get, 0, AlarmType::Nospace).await, [raised]);
        assert_eq!(set(&mut maintenance, Get, 0, AlarmType::Corrupt).await, []);
        let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!(status.errors, ["memberID:10 alarm:NOSPACE "]);
        assert_eq!(told(kv.put(put(1)).await), no_space());
        let unknown = AlarmRequest { action: 1, member_id: 1, alarm: 9 };
        assert_eq!(told(maintenance.alarm(unknown).await).0, Code::InvalidArgument);
        assert_eq!(set(&mut maintenance, Deactivate, 10, AlarmType::Nospace).await, [raised]);
        assert_eq!(set(&mut maintenance, Deactivate, 10, AlarmType::Nospace).await, []);
        kv.put(put(1)).await.unwrap();
    });
}

#[test]
fn a_corrupt_cluster_is_read_and_not_written() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let (mut kv, mut maintenance) = clients(&running.connect().await);
        let revision = kv.put(put(1)).await.unwrap().into_inner().header.unwrap().revision;
        set(&mut maintenance, AlarmAction::Activate, 3, AlarmType::Corrupt).await;
        let corrupt = (Code::DataLoss, "etcdserver: corrupt cluster".to_owned());
        let key = || "k".into();
        assert_eq!(told(kv.put(put(1)).await), corrupt);
        let delete = DeleteRangeRequest { key: key(), ..Default::default() };
        assert_eq!(told(kv.delete_range(delete.clone()).await), corrupt);
        let op = RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) };
        let txn = TxnRequest { success: vec![op], ..Default::default() };
        assert_eq!(told(kv.txn(txn).await), corrupt);
        assert_eq!(told(kv.compact(CompactionRequest { revision, physical: false }).await), corrupt);
        let range = RangeRequest { key: key(), ..Default::default() };
        assert_eq!(kv.range(range).await.unwrap().into_inner().count, 1);
        set(&mut maintenance, AlarmAction::Deactivate, 3, AlarmType::Corrupt).await;
        kv.put(put(1)).await.unwrap();
    });
}

#[test]
fn a_full_store_says_so_until_a_compaction_has_made_room() {
    let node = NodeConfig { quota_bytes: 1 << 20, flush_bytes: 64 << 10, ..NodeConfig::default() };
    let running = Running::with(node, ServerConfig::default());
    coffer_runtime::block_on(async {
        let (mut kv, mut maintenance) = clients(&running.connect().await);
        let mut revision = 0;
        let refused = loop {
            match kv.put(put(10_000)).await {
                Ok(response) => revision = response.into_inner().header.unwrap().revision,
                Err(refused) => break refused,
            }
            assert!(revision < 300, "nothing ends this");
        };
        assert_eq!((refused.code(), refused.message().to_owned()), no_space());
        let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.db_size_quota, status.errors.len()), (1 << 20, 1));
        assert!(status.db_size_in_use <= 1 << 20 && status.db_size_in_use > 1 << 19);
        assert_eq!(told(kv.put(put(1)).await), no_space());
        kv.compact(CompactionRequest { revision, physical: true }).await.unwrap();
        let began = Instant::now();
        while !set(&mut maintenance, AlarmAction::Get, 0, AlarmType::None).await.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "the alarm stays");
        }
        kv.put(put(1)).await.unwrap();
    });
}
