//! A watch stream as a client holds it, and writes to watch.

use crate::support::{Channel, soon};
use async_channel::Sender;
use coffer_etcd::proto::etcdserverpb::kv_client::KvClient;
use coffer_etcd::proto::etcdserverpb::watch_client::WatchClient;
use coffer_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use coffer_etcd::proto::etcdserverpb::*;
use coffer_etcd::proto::mvccpb::Event;
use tonic::{Request, Status, Streaming};

/// An open watch stream.
pub(crate) struct Watching {
    pub(crate) requests: Sender<WatchRequest>,
    pub(crate) responses: Streaming<WatchResponse>,
}

impl Watching {
    pub(crate) async fn open(channel: &Channel) -> Self {
        Self::open_with(channel, |_| ()).await.unwrap()
    }

    /// Opens a stream; `prepare` may add metadata.
    pub(crate) async fn open_with<F>(channel: &Channel, prepare: F) -> Result<Self, Status>
    where
        F: FnOnce(&mut Request<async_channel::Receiver<WatchRequest>>),
    {
        let mut client = WatchClient::with_origin(channel.clone(), channel.origin());
        let (requests, receiver) = async_channel::unbounded();
        let mut request = Request::new(receiver);
        prepare(&mut request);
        let responses = soon(client.watch(request)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    pub(crate) fn send(&self, request: RequestUnion) {
        self.requests.try_send(WatchRequest { request_union: Some(request) }).unwrap();
    }

    pub(crate) fn create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    pub(crate) fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub(crate) fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// The next response.
    pub(crate) async fn next(&mut self) -> WatchResponse {
        soon(self.responses.message()).await.unwrap().unwrap()
    }

    /// Why the stream ends, which it does now.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            match soon(self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }

    /// Creates a watcher of a prefix and waits until it is there.
    pub(crate) async fn watch_prefix(&mut self, prefix: &str) -> WatchResponse {
        self.create(of_prefix(prefix));
        let created = self.next().await;
        assert!(created.created && !created.canceled, "{created:?}");
        created
    }

    /// The next `count` events of any watcher.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.events);
        }
        assert_eq!(events.len(), count);
        events
    }
}

/// A watch of every key that begins with `prefix`.
pub(crate) fn of_prefix(prefix: &str) -> WatchCreateRequest {
    let mut range_end = prefix.as_bytes().to_vec();
    *range_end.last_mut().unwrap() += 1;
    WatchCreateRequest { key: prefix.to_owned().into(), range_end: range_end.into(), ..Default::default() }
}

/// Puts a pair; returns its revision.
pub(crate) async fn put(channel: &Channel, key: &str, value: &str) -> i64 {
    let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
    let request =
        PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() };
    soon(kv.put(request)).await.unwrap().into_inner().header.unwrap().revision
}

/// Deletes a key; returns the store's revision.
pub(crate) async fn delete(channel: &Channel, key: &str) -> i64 {
    let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
    let request = DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
    soon(kv.delete_range(request)).await.unwrap().into_inner().header.unwrap().revision
}

/// Compacts the history below `revision`.
pub(crate) async fn compact(channel: &Channel, revision: i64) {
    let mut kv = KvClient::with_origin(channel.clone(), channel.origin());
    soon(kv.compact(CompactionRequest { revision, physical: false })).await.unwrap();
}
