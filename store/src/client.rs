//! One client for every kind of store.

use crate::embedded;
use crate::keep_alive::{KeepAlive, Keeper};
use crate::keys::{OpenStore, StoreKeys};
use crate::kv::{Delete, Get, Put, Range};
use crate::options::Options;
use crate::txn::Txn;
use crate::uri::Endpoint;
use crate::watch::WatchBuilder;
use bytes::Bytes;
use coffer_core::node::Node;
use coffer_core::request::{
    CompactRequest, CompactResponse, DeleteRangeRequest, DeleteRangeResponse, HashKvResponse, Header,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseListResponse, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, MemberRequest, MembersResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, StatusResponse, TxnRequest, TxnResponse,
};
use coffer_core::{Error, KeyRange, KeyValue, LeaseId};
use coffer_rpc::client as rpc;
use parking_lot::RwLock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An open store. Cheap to clone; every clone is the same store. May be used from any thread.
///
/// Requests run at once and side by side; a request that was sent runs to its end even if nobody waits for it.
/// A request that fails says by [`Error::group`] what to do: `OutcomeUnknown` means that a change may have happened.
///
/// Ends with [`close`](Self::close), or when the last clone is dropped, which blocks the dropping thread until
/// the store is closed.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    keeper: Keeper,
    /// Of a sealed store in this process, until it is closed.
    keys: RwLock<Option<Arc<StoreKeys>>>,
}

/// Where requests go. Clones are the same place.
#[derive(Clone)]
pub(crate) enum Place {
    /// Into this process.
    Embedded(Arc<Handle<Node>>),
    /// Over a connection.
    Remote(Arc<Handle<rpc::Client>>),
}

/// What can be closed for every clone of a client, and is gone once its last user is done.
pub(crate) struct Handle<T> {
    open: RwLock<Option<T>>,
    closed: async_channel::Sender<()>,
    on_close: async_channel::Receiver<()>,
}

impl<T: Clone> Handle<T> {
    fn new(open: T) -> Arc<Self> {
        let (closed, on_close) = async_channel::bounded(1);
        Arc::new(Self { open: RwLock::new(Some(open)), closed, on_close })
    }

    /// What is open, unless it was closed.
    pub(crate) fn get(&self) -> Result<T, Error> {
        self.open.read().clone().ok_or(Error::Stopped)
    }

    /// A channel on which nothing ever comes, and that closes when this is closed.
    pub(crate) fn on_close(&self) -> async_channel::Receiver<()> {
        self.on_close.clone()
    }

    fn close(&self) -> Option<T> {
        self.closed.close();
        self.open.write().take()
    }
}

/// Calls the same method on whichever place it is.
macro_rules! at {
    ($place:expr, $($call:tt)+) => {
        match $place {
            Place::Embedded(node) => node.get()?.$($call)+.await,
            Place::Remote(client) => client.get()?.$($call)+.await,
        }
    };
}

impl Place {
    pub(crate) async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseKeepAliveResponse, Error> {
        at!(self, lease_keep_alive(id))
    }

    /// Stops it and joins its threads. Blocks; idempotent.
    fn shutdown(&self) {
        match self {
            Self::Embedded(node) => {
                if let Some(node) = node.close() {
                    node.shutdown();
                }
            }
            // The connection, and the thread behind it, end with their last user.
            Self::Remote(client) => drop(client.close()),
        }
    }
}

impl Client {
    pub(crate) fn embedded(store: OpenStore) -> Self {
        Self::new(Place::Embedded(Handle::new(store.node)), store.keys)
    }

    pub(crate) async fn remote(endpoints: &[Endpoint], options: &Options) -> Result<Self, Error> {
        let config = rpc::ClientConfig {
            deadline: options.timeout,
            connect_timeout: options.timeout.min(Duration::from_secs(2)),
            ..rpc::ClientConfig::new(endpoints.iter().map(Endpoint::to_string))
        };
        let client = rpc::Client::connect(config).await?;
        Ok(Self::new(Place::Remote(Handle::new(client)), None))
    }

    fn new(place: Place, keys: Option<StoreKeys>) -> Self {
        let keeper = Keeper::new(place.clone());
        Self { inner: Arc::new(Inner { place, keeper, keys: RwLock::new(keys.map(Arc::new)) }) }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.inner.place
    }

    /// Reads one key: `store.get("k").await` gives it, or `None`.
    pub fn get(&self, key: impl Into<Vec<u8>>) -> Get {
        Get::new(self.clone(), key.into())
    }

    /// One key as it is now, if that takes no waiting and nothing is in its way; else `None`, and [`get`](Self::get) tells.
    /// The quickest way to a key of a store in this process. May read the disk.
    pub fn get_at_once(&self, key: &[u8]) -> Option<(Header, Option<KeyValue>)> {
        match self.place() {
            Place::Embedded(node) => node.open.read().as_ref()?.get_at_once(key),
            Place::Remote(_) => None,
        }
    }

    /// Reads a range of keys, in one answer or in pages.
    pub fn range(&self, range: KeyRange) -> Range {
        Range::new(self.clone(), range)
    }

    /// Writes one key.
    pub fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Put {
        Put::new(self.clone(), key.into(), value.into())
    }

    /// Deletes one key.
    pub fn delete(&self, key: impl Into<Vec<u8>>) -> Delete {
        Delete::new(self.clone(), KeyRange::single(key.into()))
    }

    /// Deletes a range of keys, in one revision.
    pub fn delete_range(&self, range: KeyRange) -> Delete {
        Delete::new(self.clone(), range)
    }

    /// Begins a transaction.
    pub fn txn(&self) -> Txn {
        Txn::new(self.clone())
    }

    /// Watches a range of keys.
    pub fn watch(&self, range: KeyRange) -> WatchBuilder {
        WatchBuilder::new(self.clone(), range)
    }

    /// Reads as the request says.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn range_request(&self, mut request: RangeRequest) -> Result<RangeResponse, Error> {
        request.range = every_key(request.range);
        at!(self.place(), range(request))
    }

    /// Writes as the request says.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put_request(&self, request: PutRequest) -> Result<PutResponse, Error> {
        at!(self.place(), put(request))
    }

    /// Deletes as the request says.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_range_request(
        &self,
        mut request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Error> {
        request.range = every_key(request.range);
        at!(self.place(), delete_range(request))
    }

    /// Runs the transaction that the request describes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn txn_request(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        at!(self.place(), txn(request))
    }

    /// Makes revisions below `revision` unreadable and lets their space be reclaimed in the background.
    ///
    /// # Errors
    /// [`Error::Compacted`] if it is done already, [`Error::FutureRevision`].
    pub async fn compact(&self, revision: i64) -> Result<CompactResponse, Error> {
        self.compact_request(CompactRequest { revision, physical: false }).await
    }

    /// Compacts as the request says.
    ///
    /// # Errors
    /// As [`compact`](Self::compact).
    pub async fn compact_request(&self, request: CompactRequest) -> Result<CompactResponse, Error> {
        at!(self.place(), compact(request))
    }

    /// Creates a lease that lives for `ttl`, in whole seconds rounded up; the store may raise it to its minimum.
    ///
    /// # Errors
    /// [`Error::LeaseTtlTooLarge`].
    pub async fn lease_grant(&self, ttl: Duration) -> Result<LeaseGrantResponse, Error> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl_s = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.lease_grant_request(LeaseGrantRequest { ttl_s, id: LeaseId::NONE }).await
    }

    /// Creates a lease as the request says.
    ///
    /// # Errors
    /// [`Error::LeaseTtlTooLarge`], [`Error::LeaseExists`].
    pub async fn lease_grant_request(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error> {
        at!(self.place(), lease_grant(request))
    }

    /// Ends a lease and deletes its keys, in one revision.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`].
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<LeaseRevokeResponse, Error> {
        at!(self.place(), lease_revoke(id))
    }

    /// Renews a lease once. An unknown lease is no error: its TTL is 0.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseKeepAliveResponse, Error> {
        self.place().lease_keep_alive(id).await
    }

    /// Renews a lease in the background for as long as the handle lives.
    ///
    /// # Errors
    /// The background thread cannot be started.
    pub fn keep_alive(&self, id: LeaseId) -> Result<KeepAlive, Error> {
        self.inner.keeper.keep(id)
    }

    /// What is left of a lease, and its keys if they are asked for. An unknown lease is no error: its TTL is -1.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        at!(self.place(), lease_time_to_live(request))
    }

    /// All leases.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lease_list(&self) -> Result<LeaseListResponse, Error> {
        at!(self.place(), lease_list())
    }

    /// A hash over the store's content up to `revision` (0 for the newest), equal to etcd's for equal content.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`].
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Error> {
        at!(self.place(), hash_kv(revision))
    }

    /// How the member that answers sees itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        at!(self.place(), status())
    }

    /// Who belongs to the cluster, with who leads it: as of now if `linearizable`, else as the member that answers knows it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn member_list(&self, linearizable: bool) -> Result<MembersResponse, Error> {
        at!(self.place(), member_list(linearizable))
    }

    /// Changes who belongs to the cluster, or who leads it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what makes no sense; unknown outcomes.
    pub async fn member_change(&self, request: MemberRequest) -> Result<MembersResponse, Error> {
        at!(self.place(), member_change(request))
    }

    /// The keys of the store, if this process has it open and it is sealed.
    pub fn keys(&self) -> Option<Arc<StoreKeys>> {
        self.inner.keys.read().clone()
    }

    /// Closes the store for every clone: what was begun is finished, every thread ends, a directory is free for
    /// another process. Later requests fail with [`Error::Stopped`]. May be called twice.
    pub async fn close(&self) {
        let inner = self.inner.clone();
        let closed = embedded::on_thread("coffer-close", move || inner.shutdown()).await;
        if closed.is_err() {
            // No thread to be had: then close on this one.
            self.inner.shutdown();
        }
    }

    /// As [`close`](Self::close), on this thread, which it blocks.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Inner {
    fn shutdown(&self) {
        self.keeper.shutdown();
        self.place.shutdown();
        drop(self.keys.write().take());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.inner.place {
            Place::Embedded(_) => "embedded",
            Place::Remote(_) => "remote",
        };
        f.debug_struct("Client").field("place", &place).finish()
    }
}

/// `KeyRange::all()` starts with the empty key, which no request may carry: the first real key is one zero byte.
fn every_key(range: KeyRange) -> KeyRange {
    match range.start().is_empty() && range.wire_end() == b"\0"[..] {
        true => KeyRange::from(Bytes::from_static(b"\0")),
        false => range,
    }
}
