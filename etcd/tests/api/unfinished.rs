//! Requests that are begun and never become whole.

use crate::raw::{framed, head};
use crate::support::{Channel, Running, soon};
use bytes::Bytes;
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::watch_client::WatchClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::server::ServerConfig;
use coffer_runtime::local::{LocalTask, spawn};
use futures_util::StreamExt;
use futures_util::future::select_all;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use std::convert::Infallible;
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

const PUT: &str = "/etcdserverpb.KV/Put";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const TIMEOUT: Duration = Duration::from_millis(200);

/// A call whose body is sent piece by piece. Dropping `pieces` ends the body.
struct Begun {
    pieces: async_channel::Sender<Bytes>,
    answer: LocalTask<Status>,
}

fn begin(channel: &Channel, path: &str) -> Begun {
    let (pieces, receiver) = async_channel::bounded::<Bytes>(1);
    let body = StreamBody::new(receiver.map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
    let request = head(channel, path).body(Body::new(body)).unwrap();
    let mut channel = channel.clone();
    let answer = spawn(async move {
        let response = channel.call(request).await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        let collected = response.into_body().collect().await.unwrap();
        collected.trailers().and_then(Status::from_header_map).expect("a status at the end")
    });
    Begun { pieces, answer }
}

fn put(bytes: usize) -> Bytes {
    let put = PutRequest { key: "k".into(), value: vec![0; bytes].into(), ..Default::default() };
    framed(&put.encode_to_vec())
}

fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[test]
fn unfinished_requests_have_their_share_of_memory_and_finished_ones_give_it_back() {
    // The share is at least one of the largest bodies of the gateway: 4 MiB.
    let config = ServerConfig { connection_bodies_bytes_max: 0, ..ServerConfig::default() };
    let running = Running::with(NodeConfig::default(), config);
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let large = put(1_500_000);
        let (last, most) = (large.slice(large.len() - 1..), large.slice(..large.len() - 1));
        let mut begun: Vec<Begun> = (0..3).map(|_| begin(&channel, PUT)).collect();
        for call in &begun {
            soon(call.pieces.send(most.clone())).await.unwrap();
        }
        // Which of them finds no room depends on how their pieces meet on the connection.
        let (refused, at, _) = soon(select_all(begun.iter_mut().map(|call| &mut call.answer))).await;
        begun.remove(at);
        let refused = refused.unwrap();
        assert_eq!(told(&refused), (Code::ResourceExhausted, "etcdserver: too many requests"));

        // Another connection has a share of its own.
        let other = begin(&running.connect().await, PUT);
        soon(other.pieces.send(large.clone())).await.unwrap();
        drop(other.pieces);
        assert_eq!(soon(other.answer).await.unwrap().code(), Code::Ok);

        for call in begun {
            soon(call.pieces.send(last.clone())).await.unwrap();
            drop(call.pieces);
            assert_eq!(soon(call.answer).await.unwrap().code(), Code::Ok);
        }
        for _ in 0..5 {
            let call = begin(&channel, PUT);
            soon(call.pieces.send(large.clone())).await.unwrap();
            drop(call.pieces);
            assert_eq!(soon(call.answer).await.unwrap().code(), Code::Ok);
        }
    });
}

#[test]
fn a_request_that_does_not_become_whole_is_refused_in_time() {
    let config = ServerConfig { body_timeout: TIMEOUT, ..ServerConfig::default() };
    let running = Running::with(NodeConfig::default(), config);
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let too_long = (Code::DeadlineExceeded, "the body of the request took too long");
        let whole = put(3);
        // Nothing of it, a part, and all of it without its end.
        for bytes in [0, 3, whole.len()] {
            let call = begin(&channel, PUT);
            soon(call.pieces.send(whole.slice(..bytes))).await.unwrap();
            assert_eq!(told(&soon(call.answer).await.unwrap()), too_long, "{bytes} bytes");
        }
        assert_eq!(running.node.header().revision, 1, "nothing was put");
        let watch = begin(&channel, WATCH);
        soon(watch.pieces.send(whole.slice(..3))).await.unwrap();
        assert_eq!(told(&soon(watch.answer).await.unwrap()), too_long);
    });
}

#[test]
fn a_stream_of_requests_has_as_long_as_it_lasts() {
    let config = ServerConfig { body_timeout: TIMEOUT, ..ServerConfig::default() };
    let running = Running::with(NodeConfig::default(), config);
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let create = WatchCreateRequest { key: "k".into(), ..Default::default() };
        let create = WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
        let (requests, receiver) = async_channel::unbounded();
        requests.try_send(create).unwrap();
        let mut client = WatchClient::with_origin(channel.clone(), channel.origin());
        let mut watch = soon(client.watch(receiver)).await.unwrap().into_inner();
        assert!(soon(watch.message()).await.unwrap().unwrap().created);
        for _ in 0..3 {
            let late = begin(&channel, PUT);
            assert_eq!(soon(late.answer).await.unwrap().code(), Code::DeadlineExceeded);
        }
        let call = begin(&channel, PUT);
        soon(call.pieces.send(put(3))).await.unwrap();
        drop(call.pieces);
        assert_eq!(soon(call.answer).await.unwrap().code(), Code::Ok);
        assert_eq!(soon(watch.message()).await.unwrap().unwrap().events.len(), 1);
    });
}
