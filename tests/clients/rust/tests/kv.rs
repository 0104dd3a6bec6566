//! Keys, ranges, transactions, compaction.

use coffer_clients_rust::{connect, refusal, soon};
use etcd_client::*;

#[tokio::test]
async fn puts_and_gets() {
    let mut client = connect().await;
    client.put("rust/put", "1", None).await.unwrap();
    let put = client.put("rust/put", "2", Some(PutOptions::new().with_prev_key())).await.unwrap();
    assert_eq!(put.prev_key().unwrap().value(), b"1");
    let got = client.get("rust/put", None).await.unwrap();
    let kv = &got.kvs()[0];
    assert_eq!((kv.value(), kv.version(), kv.mod_revision()), (&b"2"[..], 2, kv.create_revision() + 1));
    let old = GetOptions::new().with_revision(kv.create_revision());
    assert_eq!(client.get("rust/put", Some(old)).await.unwrap().kvs()[0].value(), b"1");
    let deleted = client.delete("rust/put", Some(DeleteOptions::new().with_prev_key())).await.unwrap();
    assert_eq!((deleted.deleted(), deleted.prev_kvs()[0].value()), (1, &b"2"[..]));
}

#[tokio::test]
async fn ranges() {
    let mut client = connect().await;
    for i in 0..10 {
        client.put(format!("rust/range/{i}"), (9 - i).to_string(), None).await.unwrap();
    }
    let mut keys = async |options: GetOptions| {
        let got = client.get("rust/range/", Some(options.with_prefix())).await.unwrap();
        let keys: String = got.kvs().iter().map(|kv| kv.key_str().unwrap().chars().last().unwrap()).collect();
        (keys, got.count(), got.more())
    };
    assert_eq!(keys(GetOptions::new()).await, ("0123456789".into(), 10, false));
    assert_eq!(keys(GetOptions::new().with_limit(3)).await, ("012".into(), 10, true));
    assert_eq!(
        keys(GetOptions::new().with_serializable().with_keys_only()).await,
        ("0123456789".into(), 10, false)
    );
    assert_eq!(keys(GetOptions::new().with_count_only()).await, ("".into(), 10, false));
    let by_value = GetOptions::new().with_sort(SortTarget::Value, SortOrder::Ascend).with_limit(2);
    assert_eq!(keys(by_value).await, ("98".into(), 10, true));
}

#[tokio::test]
async fn a_streamed_range_is_the_range() {
    let mut client = connect().await;
    let version = client.status().await.unwrap().version().to_owned();
    if version.starts_with("3.4.") || version.starts_with("3.5.") || version.starts_with("3.6.") {
        return; // came with 3.7
    }
    for i in 0..200 {
        client.put(format!("rust/stream/{i:03}"), vec![b'x'; 1024], None).await.unwrap();
    }
    let mut stream =
        client.kv_client().get_stream("rust/stream/", Some(GetOptions::new().with_prefix())).await.unwrap();
    let mut keys = Vec::new();
    while let Some(chunk) = soon(tokio_stream::StreamExt::next(&mut stream)).await {
        keys.extend(chunk.unwrap().kvs().iter().map(|kv| kv.key().to_owned()));
    }
    let whole = client.get("rust/stream/", Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(keys, whole.kvs().iter().map(|kv| kv.key().to_owned()).collect::<Vec<_>>());
    assert_eq!(keys.len(), 200);
}

#[tokio::test]
async fn transactions() {
    let mut client = connect().await;
    client.put("rust/txn/a", "1", None).await.unwrap();
    let inner = Txn::new()
        .when([Compare::version("rust/txn/b", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("rust/txn/b", "then", None)]);
    let txn = Txn::new()
        .when([
            Compare::value("rust/txn/a", CompareOp::Equal, "1"),
            Compare::create_revision("rust/txn/b", CompareOp::Equal, 0),
            Compare::lease("rust/txn/a", CompareOp::Equal, 0),
        ])
        .and_then([TxnOp::txn(inner), TxnOp::get("rust/txn/b", None), TxnOp::delete("rust/txn/a", None)])
        .or_else([TxnOp::put("rust/txn/b", "else", None)]);
    let first = client.txn(txn.clone()).await.unwrap();
    assert!(first.succeeded());
    let TxnOpResponse::Get(got) = &first.op_responses()[1] else { panic!("not a get") };
    assert_eq!(got.kvs()[0].value(), b"then");
    assert_eq!(got.kvs()[0].mod_revision(), first.header().unwrap().revision());
    assert!(!client.txn(txn).await.unwrap().succeeded());
    let twice = Txn::new().and_then([TxnOp::put("rust/x", "", None), TxnOp::put("rust/x", "", None)]);
    assert_eq!(
        refusal(client.txn(twice).await),
        (3, "etcdserver: duplicate key given in txn request".into())
    );
}

#[tokio::test]
async fn compaction() {
    let mut client = connect().await;
    let first = client.put("rust/compact", "1", None).await.unwrap().header().unwrap().revision();
    let second = client.put("rust/compact", "2", None).await.unwrap().header().unwrap().revision();
    client.compact(second, Some(CompactionOptions::new().with_physical())).await.unwrap();
    let below = client.get("rust/compact", Some(GetOptions::new().with_revision(first))).await;
    assert_eq!(refusal(below), (11, "etcdserver: mvcc: required revision has been compacted".into()));
    let future = client.get("rust/compact", Some(GetOptions::new().with_revision(second + 1_000_000))).await;
    assert_eq!(refusal(future), (11, "etcdserver: mvcc: required revision is a future revision".into()));
}

#[tokio::test]
async fn a_namespace_hides_its_prefix() {
    let mut client = connect().await;
    let mut inner = KvClientPrefix::new(client.kv_client(), "rust/space/".into());
    inner.put("a", "1", None).await.unwrap();
    let got = inner.get("", Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(got.kvs()[0].key(), b"a");
    assert_eq!(client.get("rust/space/a", None).await.unwrap().count(), 1);
}
