//! A lock among all who know its name: each has a key of its own under it, and whose key is oldest holds it.

use coffer::request::{RangeRequest, SortOrder, SortTarget};
use coffer::{Client, Compare, Error, KeepAlive, KeyRange, LeaseId, TxnOp};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);

/// A lock that is held.
pub(crate) struct Lock {
    store: Client,
    lease: LeaseId,
    _keep_alive: KeepAlive,
    key: Vec<u8>,
    /// Grows from one holder to the next.
    pub(crate) fence: i64,
}

impl Lock {
    /// Waits for it.
    pub(crate) async fn take(store: &Client, name: &[u8]) -> Result<Self, Error> {
        let lease = store.lease_grant(TTL).await?.id;
        let keep_alive = store.keep_alive(lease)?;
        let prefix = [name, b"/"].concat();
        let key = [&prefix[..], format!("{:x}", lease.0).as_bytes()].concat();
        let put = TxnOp::put_with_lease(key.clone(), "", lease);
        let done = store.txn().when([Compare::missing(key.clone())]).then([put]).commit().await?;
        let lock =
            Self { store: store.clone(), lease, _keep_alive: keep_alive, key, fence: done.header.revision };
        while let Some((key, revision)) = lock.before(&prefix).await? {
            lock.wait_deleted(key, revision).await?;
        }
        Ok(lock)
    }

    /// Whose turn is right before ours, and when we looked.
    async fn before(&self, prefix: &[u8]) -> Result<Option<(Vec<u8>, i64)>, Error> {
        let request = RangeRequest {
            limit: 1,
            sort_target: SortTarget::Create,
            sort_order: SortOrder::Descend,
            max_create_revision: self.fence - 1,
            ..RangeRequest::new(KeyRange::prefix(prefix.to_vec()))
        };
        let found = self.store.range_request(request).await?;
        Ok(found.kvs.first().map(|kv| (kv.key.to_vec(), found.header.revision)))
    }

    async fn wait_deleted(&self, key: Vec<u8>, revision: i64) -> Result<(), Error> {
        let watch = self.store.watch(KeyRange::single(key)).no_put().from_revision(revision + 1);
        let mut watch = watch.start().await?;
        while watch.next().await.ok_or(Error::Stopped)??.events.is_empty() {}
        Ok(())
    }

    /// Writes if the lock is still ours; tells the revision.
    pub(crate) async fn put(&self, key: &[u8], value: Vec<u8>) -> Result<Option<i64>, Error> {
        let held = Compare::created(self.key.clone()).equals(self.fence);
        let done = self.store.txn().when([held]).then([TxnOp::put(key, value)]).commit().await?;
        Ok(done.succeeded.then_some(done.header.revision))
    }

    /// Gives it up.
    pub(crate) async fn release(self) -> Result<(), Error> {
        match self.store.lease_revoke(self.lease).await {
            // It was taken from us, which is as good.
            Err(Error::LeaseNotFound) => Ok(()),
            done => done.map(|_| ()),
        }
    }
}
