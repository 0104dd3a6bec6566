//! Builders of single requests: each is sent when it is awaited.

use crate::client::Client;
use crate::pages::Pages;
use coffer_core::request::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, SortOrder,
    SortTarget,
};
use coffer_core::{Error, KeyRange, KeyValue, LeaseId};
use futures_util::future::BoxFuture;
use std::future::IntoFuture;

/// Reads one key. Made by [`Client::get`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Get(Range);

impl Get {
    pub(crate) fn new(client: Client, key: Vec<u8>) -> Self {
        Self(Range::new(client, KeyRange::single(key)))
    }

    /// Reads as of this revision.
    pub fn revision(self, revision: i64) -> Self {
        Self(self.0.revision(revision))
    }

    /// Lets one member answer from what it has, which may be old.
    pub fn serializable(self) -> Self {
        Self(self.0.serializable())
    }
}

impl IntoFuture for Get {
    type Output = Result<Option<KeyValue>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.0.await?.kvs.into_iter().next()) })
    }
}

/// Reads a range of keys. Made by [`Client::range`]; await it for one answer, or read it in [`pages`](Self::pages).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Range {
    client: Client,
    request: RangeRequest,
}

impl Range {
    pub(crate) fn new(client: Client, range: KeyRange) -> Self {
        Self { client, request: RangeRequest::new(range) }
    }

    /// At most this many keys.
    pub fn limit(mut self, keys_max: i64) -> Self {
        self.request.limit = keys_max;
        self
    }

    /// Reads as of this revision.
    pub fn revision(mut self, revision: i64) -> Self {
        self.request.revision = revision;
        self
    }

    /// Lets one member answer from what it has, which may be old.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// Sorts. Any order but that of keys, ascending, reads the whole range first.
    pub fn sort(mut self, target: SortTarget, order: SortOrder) -> Self {
        self.request.sort_target = target;
        self.request.sort_order = order;
        self
    }

    /// Leaves values and leases out.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Only counts.
    pub fn count_only(mut self) -> Self {
        self.request.count_only = true;
        self
    }

    /// Only keys last written at or after this revision.
    pub fn modified_since(mut self, revision: i64) -> Self {
        self.request.min_mod_revision = revision;
        self
    }

    /// Only keys created at or after this revision.
    pub fn created_since(mut self, revision: i64) -> Self {
        self.request.min_create_revision = revision;
        self
    }

    /// Reads the range piece by piece, all of one revision, with bounded memory.
    pub fn pages(self) -> Pages {
        Pages::new(self.client, self.request)
    }
}

impl IntoFuture for Range {
    type Output = Result<RangeResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.range_request(self.request).await })
    }
}

/// Writes one key. Made by [`Client::put`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Put {
    client: Client,
    request: PutRequest,
}

impl Put {
    pub(crate) fn new(client: Client, key: Vec<u8>, value: Vec<u8>) -> Self {
        let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        Self { client, request }
    }

    /// Deletes the key when this lease ends.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        self.request.lease = lease;
        self
    }

    /// Answers with the pair before.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Keeps the lease that the key has.
    pub fn ignore_lease(mut self) -> Self {
        self.request.ignore_lease = true;
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<PutResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.put_request(self.request).await })
    }
}

/// Deletes keys. Made by [`Client::delete`] and [`Client::delete_range`]; await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Delete {
    client: Client,
    request: DeleteRangeRequest,
}

impl Delete {
    pub(crate) fn new(client: Client, range: KeyRange) -> Self {
        Self { client, request: DeleteRangeRequest { range, prev_kv: false } }
    }

    /// Answers with the pairs that were deleted.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }
}

impl IntoFuture for Delete {
    type Output = Result<DeleteRangeResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.delete_range_request(self.request).await })
    }
}
