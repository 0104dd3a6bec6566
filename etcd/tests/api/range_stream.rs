//! Ranges chunk by chunk.

use crate::support::{Channel, Running};
use bytes::Bytes;
use coffer_core::node::NodeConfig;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::server::ServerConfig;
use tonic::Code;

fn client(channel: &Channel) -> KvClient<Channel> {
    KvClient::with_origin(channel.clone(), channel.origin())
}

async fn put(kv: &mut KvClient<Channel>, key: String, value: Vec<u8>) -> i64 {
    let request = PutRequest { key: key.into(), value: value.into(), ..Default::default() };
    kv.put(request).await.unwrap().into_inner().header.unwrap().revision
}

async fn chunks(kv: &mut KvClient<Channel>, request: RangeRequest) -> Vec<RangeResponse> {
    let mut stream = kv.range_stream(request).await.unwrap().into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        chunks.push(chunk.range_response.unwrap());
    }
    chunks
}

fn all() -> RangeRequest {
    RangeRequest { key: "k/".into(), range_end: "k0".into(), ..Default::default() }
}

#[test]
fn all_chunks_together_are_the_range() {
    let small = NodeConfig { request_bytes_max: 4096, ..NodeConfig::default() };
    let running = Running::with(small, ServerConfig::default());
    coffer_runtime::block_on(async {
        let mut kv = client(&running.connect().await);
        for number in 0..300 {
            put(&mut kv, format!("k/{number:04}"), vec![b'v'; number]).await;
        }
        let single = RangeRequest { key: "k/0100".into(), ..Default::default() };
        let nothing = RangeRequest { key: "x".into(), range_end: "y".into(), ..Default::default() };
        let mut requests = vec![
            all(),
            RangeRequest { keys_only: true, ..all() },
            RangeRequest { count_only: true, ..all() },
            RangeRequest { count_only: true, limit: 3, ..all() },
            RangeRequest { revision: 101, ..all() },
            RangeRequest { serializable: true, ..all() },
            RangeRequest { sort_order: SortOrder::Ascend.into(), ..all() },
            RangeRequest { range_end: "\0".into(), ..all() },
            single,
            nothing,
        ];
        requests.extend([1, 9, 10, 11, 250, 299, 300, 301].map(|limit| RangeRequest { limit, ..all() }));
        for request in requests {
            let whole = kv.range(request.clone()).await.unwrap().into_inner();
            let chunks = chunks(&mut kv, request.clone()).await;
            let (last, others) = chunks.split_last().expect("at least one chunk");
            assert!(others.iter().all(|chunk| chunk.header.is_none() && !chunk.more && chunk.count == 0));
            assert!(others.iter().all(|chunk| !chunk.kvs.is_empty()), "{request:?}");
            assert!(chunks[0].kvs.len() <= 10, "{request:?}");
            let merged = RangeResponse {
                kvs: chunks.iter().flat_map(|chunk| chunk.kvs.clone()).collect(),
                ..last.clone()
            };
            assert_eq!(merged, whole, "{request:?}");
            let bytes = |chunk: &RangeResponse| chunk.kvs.iter().map(|kv| kv.value.len()).sum::<usize>();
            assert!(chunks.iter().all(|chunk| bytes(chunk) < 4096 + 300));
        }
        assert!(chunks(&mut kv, all()).await.len() > 10);
    });
}

/// As in etcd, which looks at the target only where an order is asked for.
#[test]
fn a_target_without_an_order_is_no_order() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut kv = client(&running.connect().await);
        for number in (0..30).rev() {
            put(&mut kv, format!("k/{number:02}"), vec![]).await;
        }
        let request = RangeRequest { sort_target: SortTarget::Mod.into(), ..all() };
        let chunks = chunks(&mut kv, request).await;
        assert!(chunks.len() > 1);
        let keys: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.kvs).map(|kv| kv.key.clone()).collect();
        assert!(keys.is_sorted() && keys.len() == 30, "{keys:?}");
    });
}

#[test]
fn what_needs_the_whole_range_first_is_refused() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut kv = client(&running.connect().await);
        let sorts = "RangeStream does not support custom sort orders";
        let filters = "RangeStream does not support revision filters";
        let empty = "etcdserver: key is not provided";
        let order = |order: SortOrder, target: SortTarget| RangeRequest {
            sort_order: order.into(),
            sort_target: target.into(),
            ..all()
        };
        for (request, code, text) in [
            (order(SortOrder::Descend, SortTarget::Key), Code::Unimplemented, sorts),
            (order(SortOrder::Ascend, SortTarget::Value), Code::Unimplemented, sorts),
            (RangeRequest { min_mod_revision: 1, ..all() }, Code::Unimplemented, filters),
            (RangeRequest { max_mod_revision: 1, ..all() }, Code::Unimplemented, filters),
            (RangeRequest { min_create_revision: 1, ..all() }, Code::Unimplemented, filters),
            (RangeRequest { max_create_revision: 1, ..all() }, Code::Unimplemented, filters),
            (RangeRequest::default(), Code::InvalidArgument, empty),
            (RangeRequest { sort_order: 9, ..Default::default() }, Code::InvalidArgument, empty),
            (
                RangeRequest { sort_target: 9, ..all() },
                Code::InvalidArgument,
                "etcdserver: invalid sort option",
            ),
        ] {
            let refused = kv.range_stream(request.clone()).await.unwrap_err();
            assert_eq!((refused.code(), refused.message()), (code, text), "{request:?}");
        }
        let future = RangeRequest { revision: 99, ..all() };
        let mut stream = kv.range_stream(future).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap_err().code(), Code::OutOfRange);
    });
}

/// The last chunks can only be missing because the server has not read them ahead of a client that does not read.
#[test]
fn a_compaction_ends_the_range_of_a_slow_reader() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut kv = client(&channel);
        for number in 0..40 {
            put(&mut kv, format!("k/{number:02}"), vec![number; 1 << 20]).await;
        }
        let mut stream = kv.range_stream(all()).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap().range_response.unwrap();
        assert_eq!(first.kvs[0].key, Bytes::from("k/00"));
        let mut other = client(&running.connect().await);
        let revision = put(&mut other, "k/00".into(), vec![]).await;
        let compaction = CompactionRequest { revision, physical: true };
        other.compact(compaction).await.unwrap();
        let mut read = first.kvs.len();
        let ended = loop {
            match stream.message().await {
                Ok(chunk) => read += chunk.unwrap().range_response.unwrap().kvs.len(),
                Err(ended) => break ended,
            }
        };
        assert_eq!(
            (ended.code(), ended.message()),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        );
        assert!(read < 30, "{read} MiB were read ahead of the client");
    });
}

#[test]
fn all_chunks_show_the_revision_of_the_first() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let mut kv = client(&running.connect().await);
        for number in 0..20 {
            put(&mut kv, format!("k/{number:02}"), vec![number; 1 << 20]).await;
        }
        let mut stream = kv.range_stream(all()).await.unwrap().into_inner();
        let mut chunks = vec![stream.message().await.unwrap().unwrap().range_response.unwrap()];
        let mut other = client(&running.connect().await);
        for number in 0..20 {
            put(&mut other, format!("k/{number:02}"), b"later".to_vec()).await;
        }
        while let Some(chunk) = stream.message().await.unwrap() {
            chunks.push(chunk.range_response.unwrap());
        }
        assert!(chunks.iter().flat_map(|chunk| &chunk.kvs).all(|kv| kv.value.len() == 1 << 20));
        let last = chunks.last().unwrap();
        assert_eq!((last.count, last.header.as_ref().unwrap().revision), (20, 21));
    });
}
