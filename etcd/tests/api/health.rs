//! gRPC's health protocol.

use crate::support::{Running, soon};
use coffer_etcd::proto::health::HealthCheckRequest;
use coffer_etcd::proto::health::health_check_response::ServingStatus;
use coffer_etcd::proto::health::health_client::HealthClient;
use tonic::Code;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[test]
fn every_service_serves_until_the_node_stops() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut health = HealthClient::with_origin(channel.clone(), channel.origin());
        for service in ["", "etcdserverpb.KV", "v3lockpb.Lock"] {
            let response = soon(health.check(of(service))).await.unwrap().into_inner();
            assert_eq!(response.status(), ServingStatus::Serving);
        }
        let error = soon(health.check(of("other"))).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::NotFound, "unknown service"));
        let mut changes = soon(health.watch(of(""))).await.unwrap().into_inner();
        let mut unknown = soon(health.watch(of("other"))).await.unwrap().into_inner();
        let first = soon(changes.message()).await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        let first = soon(unknown.message()).await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
        let node = running.node.clone();
        coffer_runtime::unblock(move || node.shutdown()).await.unwrap();
        let next = soon(changes.message()).await.unwrap().unwrap();
        assert_eq!(next.status(), ServingStatus::NotServing);
        let response = soon(health.check(of("etcdserverpb.KV"))).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::NotServing);
    });
}
