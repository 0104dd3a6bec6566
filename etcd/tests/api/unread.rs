//! Answers that their client does not take, and the end of the server.

use crate::support::{Channel, Running, soon};
use crate::watching::Watching;
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::server::ServerConfig;
use prost::Message;
use std::time::Duration;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;

fn kv(channel: &Channel) -> KvClient<Channel> {
    KvClient::with_origin(channel.clone(), channel.origin())
}

/// Puts more than a client of hyper takes without being read: 2 MiB of a stream.
async fn put_much(running: &Running) {
    let mut kv = kv(&running.connect().await);
    for number in 0..8 {
        let value = vec![b'v'; 1 << 20].into();
        kv.put(PutRequest { key: format!("k{number}").into(), value, ..Default::default() }).await.unwrap();
    }
}

#[test]
fn a_watch_that_is_not_read_does_not_hold_the_server_up() {
    // Longer than the test waits for anything.
    let config = ServerConfig { drain_timeout: Duration::from_secs(600), ..ServerConfig::default() };
    let running = Running::with(NodeConfig::default(), config);
    coffer_runtime::block_on(async {
        let mut stuck = Watching::open(&running.connect().await).await;
        stuck.watch_prefix("k").await;
        put_much(&running).await;
        let mut reading = Watching::open(&running.connect().await).await;
        reading.watch_prefix("else").await;
        let server = running.server.clone();
        let stopping = coffer_runtime::unblock(move || server.shutdown());
        let told = soon(reading.responses.message()).await.unwrap_err();
        assert_eq!((told.code(), told.message()), (Code::Unavailable, "etcdserver: server stopped"));
        soon(stopping).await.unwrap();
        // Until now it held its place.
        drop(stuck);
    });
}

#[test]
fn a_request_that_is_under_way_is_answered_though_the_server_stops() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        put_much(&running).await;
        let mut channel = running.connect().await;
        let range = RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        let request = crate::raw::head(&channel, "/etcdserverpb.KV/Range");
        let body = http_body_util::Full::new(crate::raw::framed(&range.encode_to_vec()));
        let response = soon(channel.call(request.body(Body::new(body)).unwrap())).await.unwrap();
        let server = running.server.clone();
        let stopping = coffer_runtime::unblock(move || server.shutdown());
        // It listens no more: it is about to end.
        while coffer_runtime::net::TcpStream::connect(&running.address()).await.is_ok() {
            coffer_runtime::yield_now().await;
        }
        let answer = soon(http_body_util::BodyExt::collect(response.into_body())).await.unwrap();
        assert!(answer.to_bytes().len() > 8 << 20);
        drop(channel);
        soon(stopping).await.unwrap();
    });
}

#[test]
fn a_connection_that_takes_nothing_is_closed() {
    let config = ServerConfig { unread_timeout: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::with(NodeConfig::default(), config);
    coffer_runtime::block_on(async {
        put_much(&running).await;
        let mut channel = running.connect().await;
        let idle = running.connect().await;
        let range = RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        let request = crate::raw::head(&channel, "/etcdserverpb.KV/Range");
        let body = http_body_util::Full::new(crate::raw::framed(&range.encode_to_vec()));
        let response = soon(channel.call(request.body(Body::new(body)).unwrap())).await.unwrap();
        let small = || RangeRequest { key: "none".into(), ..Default::default() };
        soon(async { while kv(&channel).range(small()).await.is_ok() {} }).await;
        let cut = soon(http_body_util::BodyExt::collect(response.into_body())).await;
        assert!(cut.is_err(), "the rest of the answer never comes");
        // Who is to take nothing is not closed, and who reads gets everything.
        kv(&idle).range(small()).await.unwrap();
        let whole = kv(&idle).max_decoding_message_size(usize::MAX).range(range).await.unwrap();
        assert_eq!(whole.into_inner().kvs.len(), 8);
    });
}
