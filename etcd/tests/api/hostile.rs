//! Requests that no client of good will sends. None of them ends the server.

use crate::raw::{call, framed, head, refusal};
use crate::support::{Channel, Running};
use bytes::{BufMut, Bytes};
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::server::ServerConfig;
use coffer_runtime::timeout;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use prost::Message;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use std::time::Duration;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;

const SEED: u64 = 7;
/// Longer than any answer takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A method, and whether its answers may go on for ever.
struct Method {
    path: String,
    streams: bool,
}

/// Every method of every service.
fn methods() -> Vec<Method> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let files = ["rpc.proto", "lock.proto", "election.proto", "health.proto"];
    let descriptors = protox::compile(files, [directory]).unwrap();
    let services = descriptors.file.iter().flat_map(|file| {
        file.service.iter().map(move |service| (format!("{}.{}", file.package(), service.name()), service))
    });
    services
        .flat_map(|(name, service)| {
            service.method.iter().map(move |method| Method {
                path: format!("/{name}/{}", method.name()),
                streams: method.server_streaming(),
            })
        })
        .collect()
}

/// Valid messages of many kinds, to be mutated.
fn corpus() -> Vec<Vec<u8>> {
    let range = RangeRequest {
        key: "key".into(),
        range_end: "kez".into(),
        limit: 3,
        revision: 1,
        sort_order: 1,
        sort_target: 2,
        keys_only: true,
        min_mod_revision: 1,
        ..Default::default()
    };
    let put = PutRequest { key: "key".into(), value: "value".into(), prev_kv: true, ..Default::default() };
    let delete = DeleteRangeRequest { key: "key".into(), range_end: "kez".into(), prev_kv: true };
    let op = |request| RequestOp { request: Some(request) };
    let inner = TxnRequest {
        success: vec![op(request_op::Request::RequestDeleteRange(delete.clone()))],
        ..Default::default()
    };
    let compare = Compare {
        result: 1,
        target: 3,
        key: "key".into(),
        range_end: "kez".into(),
        target_union: Some(compare::TargetUnion::Value("value".into())),
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![
            op(request_op::Request::RequestRange(range.clone())),
            op(request_op::Request::RequestTxn(inner)),
        ],
        failure: vec![op(request_op::Request::RequestPut(put.clone()))],
    };
    let watch = WatchRequest {
        request_union: Some(watch_request::RequestUnion::CreateRequest(WatchCreateRequest {
            key: "key".into(),
            range_end: "kez".into(),
            start_revision: 1,
            filters: vec![0, 1],
            prev_kv: true,
            watch_id: 4,
            ..Default::default()
        })),
    };
    vec![
        range.encode_to_vec(),
        put.encode_to_vec(),
        delete.encode_to_vec(),
        txn.encode_to_vec(),
        watch.encode_to_vec(),
        CompactionRequest { revision: 1, physical: true }.encode_to_vec(),
        LeaseGrantRequest { ttl: 60, id: 3 }.encode_to_vec(),
        AlarmRequest { action: 1, member_id: 2, alarm: 1 }.encode_to_vec(),
        MemberAddRequest { peer_ur_ls: vec!["http://a:1".into()], is_learner: true }.encode_to_vec(),
        DowngradeRequest { action: 1, version: "3.6".into() }.encode_to_vec(),
    ]
}

fn random_bytes(rng: &mut SmallRng, bytes_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=bytes_max)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A message of the corpus with some bytes changed, lost or added.
fn mutated(rng: &mut SmallRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut message = corpus.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..=message.len());
        match rng.random_range(0..4) {
            0 if at < message.len() => message[at] = rng.random(),
            1 if at < message.len() => message[at] ^= 1 << rng.random_range(0..8),
            2 => message.truncate(at),
            _ => drop(message.splice(at..at, random_bytes(rng, 4))),
        }
    }
    message
}

fn body(rng: &mut SmallRng, corpus: &[Vec<u8>]) -> Bytes {
    match rng.random_range(0..6) {
        // No frame, or one that promises anything.
        0 => random_bytes(rng, 100).into(),
        1 => framed(&random_bytes(rng, 200)),
        // Many in one call, as only streams take them.
        2 => {
            let messages = (0..3).map(|_| framed(&mutated(rng, corpus)));
            messages.collect::<Vec<_>>().concat().into()
        }
        _ => framed(&mutated(rng, corpus)),
    }
}

async fn send(channel: &Channel, method: &Method, body: Bytes) {
    // What waits for something ends by this.
    let request = head(channel, &method.path).header("grpc-timeout", "300m");
    let request = request.body(Body::new(Full::new(body.clone()))).unwrap();
    let answer = async {
        let response = channel.clone().call(request).await.unwrap();
        if !method.streams {
            response.into_body().collect().await.unwrap();
        }
    };
    let ended = timeout(PATIENCE, answer).await;
    assert!(ended.is_ok(), "{} does not answer {:02x?} (seed {SEED})", method.path, &body[..]);
}

#[test]
fn no_bytes_end_the_server() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let methods = methods();
        assert!(methods.len() >= 51, "{} methods", methods.len());
        let corpus = corpus();
        let mut rng = SmallRng::seed_from_u64(SEED);
        for method in &methods {
            let bodies: Vec<Bytes> = (0..40).map(|_| body(&mut rng, &corpus)).collect();
            join_all(bodies.into_iter().map(|body| send(&channel, method, body))).await;
        }
        assert_eq!(running.node.failed(), None);
        // On the same connection, and on a new one.
        for channel in [channel, running.connect().await] {
            let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
            let range = RangeRequest { key: "key".into(), ..Default::default() };
            kv.range(range).await.unwrap();
        }
    });
}

/// A txn that holds a txn that holds a txn.
fn nested(depth: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 1..depth {
        for tag in [0x22, 0x12] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(message.len() as u64, &mut outer);
            outer.put_slice(&message);
            message = outer;
        }
    }
    message
}

#[test]
fn deep_txns_are_refused_as_too_many_operations() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let txn = "/etcdserverpb.KV/Txn";
        let (_, fine) = call(&channel, head(&channel, txn), framed(&nested(40))).await;
        assert_eq!(fine.code(), Code::Ok, "{fine}");
        let too_many = (Code::InvalidArgument, "etcdserver: too many operations in txn request".to_owned());
        for depth in [60, 128, 1000, 10_000] {
            assert_eq!(refusal(&channel, txn, &nested(depth)).await, too_many, "{depth}");
        }
    });
}

#[test]
fn large_messages_are_refused_as_grpc_go_does() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let limit = running.node.request_bytes_max() + (512 << 10);
        let put = |bytes: usize| {
            PutRequest { key: "k".into(), value: vec![0; bytes].into(), ..Default::default() }.encode_to_vec()
        };
        let path = "/etcdserverpb.KV/Put";
        let message = put(limit + 1);
        let (found, text) = (message.len(), "grpc: received message larger than max");
        assert_eq!(
            refusal(&channel, path, &message).await,
            (Code::ResourceExhausted, format!("{text} ({found} vs. {limit})"))
        );
        assert_eq!(
            refusal(&channel, path, &put(running.node.request_bytes_max())).await,
            (Code::InvalidArgument, "etcdserver: request is too large".into())
        );
        assert_eq!(refusal(&channel, path, &put(1)).await, (Code::Ok, String::new()));
    });
}

#[test]
fn what_is_no_message_is_an_internal_error() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let (code, text) = refusal(&channel, "/etcdserverpb.KV/Put", b"\xff\xff\xff").await;
        assert_eq!(code, Code::Internal);
        assert!(text.starts_with("grpc: failed to unmarshal the received message: "), "{text}");
    });
}

#[test]
fn unknown_methods_and_services_are_named() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        for (path, text) in [
            ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
            ("/etcdserverpb.Auth/x", "unknown method x for service etcdserverpb.Auth"),
            ("/etcdserverpb.Nothing/Range", "unknown service etcdserverpb.Nothing"),
            ("/nothing", "malformed method name: \"/nothing\""),
        ] {
            assert_eq!(refusal(&channel, path, b"").await, (Code::Unimplemented, text.to_owned()));
        }
    });
}

#[test]
fn metadata_is_checked_before_anything_is_done() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let put = PutRequest { key: "k".into(), ..Default::default() }.encode_to_vec();
        let path = "/etcdserverpb.KV/Put";
        for (name, value, code, text) in [
            (
                "client-api-version",
                &b"\xff\xfe"[..],
                Code::InvalidArgument,
                "etcdserver: invalid client api version",
            ),
            ("grpc-timeout", b"soon", Code::Internal, "malformed grpc-timeout: soon"),
        ] {
            let request = head(&channel, path).header(name, value);
            let (_, status) = call(&channel, request, framed(&put)).await;
            assert_eq!((status.code(), status.message()), (code, text));
        }
        assert_eq!(running.node.header().revision, 1, "nothing was put");
        let request = head(&channel, path)
            .header("client-api-version", "3.7")
            .header("hasleader", "true")
            .header("grpc-timeout", "1H");
        let (_, status) = call(&channel, request, framed(&put)).await;
        assert_eq!(status.code(), Code::Ok);
    });
}

#[test]
fn odd_txns_are_told_what_etcd_finds_first() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
        let op = |request| RequestOp { request: Some(request) };
        let put = |key: &'static str| {
            op(request_op::Request::RequestPut(PutRequest { key: key.into(), ..Default::default() }))
        };
        let range = |key: &'static str, sort_order| {
            let request = RangeRequest { key: key.into(), sort_order, ..Default::default() };
            op(request_op::Request::RequestRange(request))
        };
        let nothing = || RequestOp { request: None };
        let success = |success| TxnRequest { success, ..Default::default() };
        let compare = |key: &'static str, result, target| Compare {
            result,
            target,
            key: key.into(),
            ..Default::default()
        };
        let empty = "etcdserver: key is not provided";
        let not_found = "etcdserver: key not found";
        let too_many = "etcdserver: too many operations in txn request";
        let duplicate = "etcdserver: duplicate key given in txn request";
        let sort = "etcdserver: invalid sort option";
        let txn = |request| op(request_op::Request::RequestTxn(request));
        for (request, text) in [
            (success(vec![nothing()]), not_found),
            (success(vec![put("a"), put("a"), nothing()]), not_found),
            (success(vec![put(""), nothing()]), empty),
            (success(vec![nothing(), put("")]), not_found),
            (success(vec![nothing(); 129]), too_many),
            (success(vec![range("", 9)]), empty),
            (success(vec![range("a", 9)]), sort),
            (success(vec![range("a", 9), put("a"), put("a")]), sort),
            (success(vec![put("a"), put("a")]), duplicate),
            (success(vec![txn(success(vec![nothing()])), put("")]), not_found),
            (success(vec![txn(success(vec![put("a"); 128]))]), too_many),
            (
                TxnRequest {
                    compare: vec![compare("a", 9, 9), compare("", 0, 0)],
                    ..success(vec![nothing()])
                },
                empty,
            ),
            (TxnRequest { compare: vec![compare("a", 9, 0)], ..success(vec![nothing()]) }, not_found),
            (TxnRequest { failure: vec![nothing()], ..success(vec![put("")]) }, empty),
        ] {
            let refused = kv.txn(request.clone()).await.unwrap_err();
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::InvalidArgument, text),
                "{} compares, {} operations",
                request.compare.len(),
                request.success.len()
            );
        }
        for unknown in [compare("a", 9, 0), compare("a", 0, 9)] {
            let request = TxnRequest { compare: vec![unknown], ..success(vec![put("a")]) };
            assert_eq!(kv.txn(request).await.unwrap_err().code(), Code::InvalidArgument);
        }
        assert_eq!(running.node.header().revision, 1, "nothing was put");
    });
}

#[test]
fn answers_that_are_too_large_are_resource_exhausted_and_say_what_was_done() {
    let running = Running::with(
        NodeConfig { answer_bytes_max: 1000, ..NodeConfig::default() },
        ServerConfig::default(),
    );
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
        for key in ["k/1", "k/2"] {
            let put = PutRequest { key: key.into(), value: vec![0; 1000].into(), ..Default::default() };
            kv.put(put).await.unwrap();
        }
        let range = RangeRequest { key: "k/".into(), range_end: "k0".into(), ..Default::default() };
        let op = |request| RequestOp { request: Some(request) };
        let reads = op(request_op::Request::RequestRange(range));
        let put = PutRequest { key: "x".into(), ..Default::default() };
        let writes = op(request_op::Request::RequestPut(put));
        let txn = |success| TxnRequest { success, ..Default::default() };
        let read = kv.txn(txn(vec![reads.clone()])).await.unwrap_err();
        let text = "etcdserver: answer is too large: ask for fewer keys at a time";
        assert_eq!((read.code(), read.message()), (Code::ResourceExhausted, text));
        let written = kv.txn(txn(vec![writes, reads])).await.unwrap_err();
        let text =
            "etcdserver: done, but the answer is too large: the change was made and must not be repeated";
        assert_eq!((written.code(), written.message()), (Code::ResourceExhausted, text));
        let all = RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
        assert_eq!(kv.range(all).await.unwrap().into_inner().count, 3, "a range has a bound of its own");
    });
}
