//! Requests that no sound client makes: they are passed over or end their own stream, never more.

use crate::support::{Channel, Running, soon};
use crate::watching::{Watching, of_prefix, put};
use bytes::Bytes;
use coffer_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use coffer_etcd::proto::etcdserverpb::*;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;

/// Calls `path` with these messages.
async fn post(channel: &Channel, path: &str, messages: &[&[u8]]) -> http::Response<Incoming> {
    let mut body = Vec::new();
    for message in messages {
        body.push(0);
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(*message);
    }
    let request = Request::post(format!("{}{path}", channel.origin().to_string().trim_end_matches('/')))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(Bytes::from(body))))
        .unwrap();
    soon(channel.clone().call(request)).await.unwrap()
}

#[test]
fn unknown_and_empty_requests_are_passed_over() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut watching = Watching::open(&channel).await;
        watching.requests.try_send(WatchRequest { request_union: None }).unwrap();
        watching.cancel(i64::MIN);
        watching.cancel(-1);
        watching.ask_progress();
        for watch_id in [i64::MAX, i64::MIN, -7] {
            watching.create(WatchCreateRequest { watch_id, ..of_prefix("k") });
            assert_eq!(watching.next().await.watch_id, watch_id);
        }
        watching.create(WatchCreateRequest { start_revision: i64::MAX, ..of_prefix("k") });
        assert_eq!(watching.next().await.watch_id, 0);
        put(&channel, "k", "v").await;
        let mut told: Vec<i64> = Vec::new();
        while told.len() < 3 {
            told.push(watching.next().await.watch_id);
        }
        told.sort();
        assert_eq!(told, [i64::MIN, -7, i64::MAX]);
        for watch_id in [i64::MAX, i64::MIN, -7, 0] {
            watching.cancel(watch_id);
            watching.cancel(watch_id);
            let response = watching.next().await;
            assert_eq!((response.watch_id, response.canceled), (watch_id, true));
        }
    });
}

#[test]
fn an_unknown_member_of_the_union_is_passed_over() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        // Field 9 of two bytes, where the union's fields are 1 to 3; then a creation.
        let unknown = [0x4a, 2, 1, 2];
        let create = Some(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 6, ..of_prefix("k") }));
        let create = WatchRequest { request_union: create }.encode_to_vec();
        let mut response = post(&channel, "/etcdserverpb.Watch/Watch", &[&unknown, &create]).await;
        let frame = soon(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
        let created = WatchResponse::decode(&frame[5..]).unwrap();
        assert_eq!((created.watch_id, created.created, created.canceled), (6, true, false));
    });
}

#[test]
fn what_can_not_be_decoded_ends_its_stream_only() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut sound = Watching::open(&channel).await;
        sound.watch_prefix("k").await;
        let response = post(&channel, "/etcdserverpb.Watch/Watch", &[&[0xff; 20]]).await;
        let trailers = soon(response.into_body().collect()).await.unwrap().trailers().cloned().unwrap();
        assert_eq!(trailers["grpc-status"], "13");
        let unknown = post(&channel, "/etcdserverpb.Watch/Other", &[]).await;
        assert_eq!(unknown.headers()["grpc-status"], "12");
        put(&channel, "k", "v").await;
        assert_eq!(sound.events(1).await.len(), 1);
    });
}
