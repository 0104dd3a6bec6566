//! Transactions: conditions, then one of two lists of operations, atomically.

use crate::client::Client;
use bytes::Bytes;
use coffer_core::request::{
    self, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, TxnResponse,
};
use coffer_core::{Error, KeyRange, LeaseId};
use std::marker::PhantomData;

/// A transaction that is being put together. Made by [`Client::txn`].
///
/// All conditions must hold for the operations of [`then`](Self::then) to run; else those of
/// [`otherwise`](Self::otherwise) run. Either all operations of a list happen, in one revision, or none.
#[derive(Clone, Debug)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Txn {
    client: Client,
    request: TxnRequest,
}

impl Txn {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, request: TxnRequest::default() }
    }

    /// Adds conditions.
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.request.compare.extend(compares.into_iter().map(|compare| compare.0));
        self
    }

    /// Adds operations that run if all conditions hold.
    pub fn then(mut self, operations: impl IntoIterator<Item = TxnOp>) -> Self {
        self.request.success.extend(operations.into_iter().map(TxnOp::into_request));
        self
    }

    /// Adds operations that run if a condition does not hold.
    pub fn otherwise(mut self, operations: impl IntoIterator<Item = TxnOp>) -> Self {
        self.request.failure.extend(operations.into_iter().map(TxnOp::into_request));
        self
    }

    /// The request as it would be sent.
    pub fn into_request(self) -> TxnRequest {
        self.request
    }

    /// Runs it.
    ///
    /// # Errors
    /// Nothing was written, unless [`Error::is_maybe_committed`] says otherwise. Conditions that do not hold are
    /// no error: see [`TxnResponse::succeeded`].
    pub async fn commit(self) -> Result<TxnResponse, Error> {
        self.client.txn_request(self.request).await
    }
}

/// One condition of a transaction.
///
/// A key that does not exist has version, revisions and lease 0, and no value: a condition on its value never holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare(request::Compare);

/// A property of keys that awaits what it is compared with.
///
/// If it was made of a range the condition must hold for every key in it.
#[derive(Clone, Debug)]
#[must_use = "say what to compare with: equals, differs_from, above, below"]
pub struct Field<T> {
    range: KeyRange,
    target: fn(T) -> CompareTarget,
    kind: PhantomData<T>,
}

impl Compare {
    /// The key exists.
    pub fn exists(key: impl Into<Vec<u8>>) -> Self {
        Self::created(key).above(0)
    }

    /// The key does not exist.
    pub fn missing(key: impl Into<Vec<u8>>) -> Self {
        Self::created(key).equals(0)
    }

    /// The value of a key.
    pub fn value(key: impl Into<Vec<u8>>) -> Field<Bytes> {
        Field::new(single(key), CompareTarget::Value)
    }

    /// How often a key was written since it was created.
    pub fn version(key: impl Into<Vec<u8>>) -> Field<i64> {
        Field::new(single(key), CompareTarget::Version)
    }

    /// The revision at which a key was created.
    pub fn created(key: impl Into<Vec<u8>>) -> Field<i64> {
        Field::new(single(key), CompareTarget::Create)
    }

    /// The revision at which a key was last written.
    pub fn modified(key: impl Into<Vec<u8>>) -> Field<i64> {
        Field::new(single(key), CompareTarget::Mod)
    }

    /// The lease of a key.
    pub fn lease(key: impl Into<Vec<u8>>) -> Field<LeaseId> {
        Field::new(single(key), CompareTarget::Lease)
    }
}

impl<T> Field<T> {
    fn new(range: KeyRange, target: fn(T) -> CompareTarget) -> Self {
        Self { range, target, kind: PhantomData }
    }

    /// Asks it of every key in `range` instead.
    pub fn of_all(mut self, range: KeyRange) -> Self {
        self.range = range;
        self
    }

    /// It is this.
    pub fn equals(self, given: impl Into<T>) -> Compare {
        self.compare(CompareResult::Equal, given.into())
    }

    /// It is not this.
    pub fn differs_from(self, given: impl Into<T>) -> Compare {
        self.compare(CompareResult::NotEqual, given.into())
    }

    /// It is greater than this.
    pub fn above(self, given: impl Into<T>) -> Compare {
        self.compare(CompareResult::Greater, given.into())
    }

    /// It is less than this.
    pub fn below(self, given: impl Into<T>) -> Compare {
        self.compare(CompareResult::Less, given.into())
    }

    fn compare(self, result: CompareResult, given: T) -> Compare {
        Compare(request::Compare { range: self.range, result, target: (self.target)(given) })
    }
}

impl From<request::Compare> for Compare {
    fn from(compare: request::Compare) -> Self {
        Self(compare)
    }
}

/// One operation of a transaction. For options that have no method here, make it of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOp(request::TxnOp);

impl TxnOp {
    /// Writes a key.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (key.into().into(), value.into().into());
        Self::from(PutRequest { key, value, ..PutRequest::default() })
    }

    /// Writes a key that ends with a lease.
    pub fn put_with_lease(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: LeaseId) -> Self {
        let (key, value) = (key.into().into(), value.into().into());
        Self::from(PutRequest { key, value, lease, ..PutRequest::default() })
    }

    /// Reads a key.
    pub fn get(key: impl Into<Vec<u8>>) -> Self {
        Self::range(single(key))
    }

    /// Reads a range.
    pub fn range(range: KeyRange) -> Self {
        Self::from(RangeRequest::new(range))
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::delete_range(single(key))
    }

    /// Deletes a range.
    pub fn delete_range(range: KeyRange) -> Self {
        Self::from(DeleteRangeRequest { range, prev_kv: false })
    }

    /// Runs a transaction inside; its conditions look at the store as it was before the outer one.
    pub fn txn(txn: Txn) -> Self {
        Self(request::TxnOp::Txn(txn.into_request()))
    }

    pub(crate) fn into_request(self) -> request::TxnOp {
        self.0
    }
}

impl From<request::TxnOp> for TxnOp {
    fn from(operation: request::TxnOp) -> Self {
        Self(operation)
    }
}

impl From<PutRequest> for TxnOp {
    fn from(request: PutRequest) -> Self {
        Self(request::TxnOp::Put(request))
    }
}

impl From<RangeRequest> for TxnOp {
    fn from(request: RangeRequest) -> Self {
        Self(request::TxnOp::Range(request))
    }
}

impl From<DeleteRangeRequest> for TxnOp {
    fn from(request: DeleteRangeRequest) -> Self {
        Self(request::TxnOp::DeleteRange(request))
    }
}

fn single(key: impl Into<Vec<u8>>) -> KeyRange {
    KeyRange::single(key.into())
}
