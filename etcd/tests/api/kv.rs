//! Keys and values.

use crate::support::Running;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::*;
use tonic::Code;

#[test]
fn what_is_put_is_read() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
        let put = PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
        let header = kv.put(put).await.unwrap().into_inner().header.unwrap();
        assert_eq!(header.revision, 2);
        let range = RangeRequest { key: "a".into(), ..Default::default() };
        let response = kv.range(range).await.unwrap().into_inner();
        assert_eq!((response.count, &response.kvs[0].value[..]), (1, &b"1"[..]));
    });
}

#[test]
fn errors_have_etcds_code_and_text() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
        let error = kv.put(PutRequest::default()).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::InvalidArgument, "etcdserver: key is not provided")
        );
        let future = RangeRequest { key: "a".into(), revision: 9, ..Default::default() };
        let error = kv.range(future).await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        );
    });
}
