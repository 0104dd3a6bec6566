//! Taking turns, the recipe of locks and elections: everyone puts a key of their own under one prefix, attached to a
//! lease; the oldest of these keys has the turn, and each waits for the one before its own to go.
//!
//! The keys are etcd's (`name/` and the lease in hexadecimal), so that clients which do the same by themselves, as etcd's
//! own do, take turns with callers of these services.
//!
//! # Invariants
//! - A caller that leaves while it waits, or whose wait fails, leaves no key behind; nor the lease, if it was made for it.
//!   Where the node has no room for that it is tried again while the lease lives.
//! - A turn is told only of a key that is still there.

use crate::convert::status;
use crate::front::Front;
use bytes::Bytes;
use coffer_core::node::Node;
use coffer_core::request::*;
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange, KeyValue, LeaseId};
use coffer_runtime::{local, sleep};
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use std::pin::pin;
use std::time::Duration;
use tonic::Status;

/// TTL of a lease that is made for a caller who brings none, in seconds.
const SESSION_TTL_S: i64 = 60;

/// How long an undo waits that the node has no room for, at first and at most.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// A caller's key under the prefix of a name. Removed when dropped before it is [kept](Self::keep).
pub(super) struct Place {
    pub(super) key: Bytes,
    /// The key's create revision.
    pub(super) revision: i64,
    pub(super) lease: LeaseId,
    /// Of the transaction that put or found the key.
    pub(super) header: Header,
    /// The pair, where the lease had a key before.
    pub(super) found: Option<KeyValue>,
    prefix: Bytes,
    /// Whether it was the oldest from the start.
    is_first: bool,
    undo: UndoOnDrop,
}

/// What ended a wait.
pub(super) enum Waited {
    /// The turn has come.
    Turn(Header),
    /// The key is gone: its lease has ended.
    Expired,
}

impl Place {
    /// Puts the key of `lease` (0 for a new one) under `name`, unless it is there.
    pub(super) async fn take(front: &Front, name: &[u8], lease: i64, value: Bytes) -> Result<Place, Status> {
        let mut undo = UndoOnDrop { node: front.node.clone(), undo: None };
        let lease = match LeaseId(lease) {
            LeaseId::NONE => {
                let lease = session(front).await?;
                undo.undo = Some(Undo::Lease(lease));
                lease
            }
            lease => lease,
        };
        let (prefix, key) = (prefix(name), key(name, lease));
        if undo.undo.is_none() {
            // The caller may leave while the transaction is under way: whatever it creates is newer than this.
            let created = Created::After(front.node.header().revision);
            undo.undo = Some(Undo::Key(key.clone(), created, lease));
        }
        let oldest = || TxnOp::Range(oldest(&prefix));
        let put = PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let own = RangeRequest::new(KeyRange::single(key.clone()));
        let txn = TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![TxnOp::Put(put), oldest()],
            failure: vec![TxnOp::Range(own), oldest()],
        };
        let TxnResponse { header, succeeded, responses } =
            front.write(front.node.txn(txn)).await.map_err(unknown)?;
        let [own, oldest] = pairs(responses);
        let found = own.filter(|_| !succeeded);
        let revision = found.as_ref().map_or(header.revision, |kv| kv.create_revision);
        if let Some(Undo::Key(_, created, _)) = &mut undo.undo {
            *created = Created::At(revision);
        }
        let is_first = oldest.is_none_or(|oldest| oldest.create_revision == revision);
        Ok(Place { key, revision, lease, header, found, prefix, is_first, undo })
    }

    /// Waits until no older key is left.
    pub(super) async fn wait(&self, front: &Front) -> Result<Waited, Status> {
        if self.is_first {
            return Ok(Waited::Turn(self.header));
        }
        match select(pin!(self.wait_older(front)), pin!(front.stop.wait())).await {
            Either::Left((waited, _)) => waited.map_err(unknown),
            Either::Right(((), _)) => Err(status(Error::Stopped)),
        }
    }

    async fn wait_older(&self, front: &Front) -> Result<Waited, Status> {
        loop {
            let older = RangeRequest {
                limit: 1,
                sort_target: SortTarget::Create,
                sort_order: SortOrder::Descend,
                max_create_revision: self.revision - 1,
                ..RangeRequest::new(KeyRange::prefix(self.prefix.clone()))
            };
            let own = RangeRequest::new(KeyRange::single(self.key.clone()));
            let txn =
                TxnRequest { success: vec![TxnOp::Range(own), TxnOp::Range(older)], ..TxnRequest::default() };
            let TxnResponse { header, responses, .. } = front.read(front.node.txn(txn)).await?;
            let [own, older] = pairs(responses);
            if own.is_none_or(|own| own.create_revision != self.revision) {
                return Ok(Waited::Expired);
            }
            let Some(older) = older else { return Ok(Waited::Turn(header)) };
            deletion(&front.node, [&older.key, &self.key], header.revision).await.map_err(status)?;
        }
    }

    /// Leaves the key in its place.
    pub(super) fn keep(mut self) {
        self.undo.undo = None;
    }
}

/// The prefix of all keys that wait for `name`.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of `lease` under `name`.
fn key(name: &[u8], lease: LeaseId) -> Bytes {
    let sign = if lease.0 < 0 { "-" } else { "" };
    let hex = format!("/{sign}{:x}", lease.0.unsigned_abs());
    [name, hex.as_bytes()].concat().into()
}

/// Finds the oldest key under `prefix`.
pub(super) fn oldest(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        limit: 1,
        sort_target: SortTarget::Create,
        sort_order: SortOrder::Ascend,
        ..RangeRequest::new(KeyRange::prefix(prefix.clone()))
    }
}

/// Holds if `key` was created at `revision`; 0 for "is not there".
pub(super) fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        range: KeyRange::single(key.clone()),
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision),
    }
}

/// Deletes `key` if it was created at `revision`.
pub(super) fn removal(key: &Bytes, revision: i64) -> TxnRequest {
    removal_if(key, created_at(key, revision))
}

fn removal_if(key: &Bytes, compare: Compare) -> TxnRequest {
    let delete = DeleteRangeRequest { range: KeyRange::single(key.clone()), prev_kv: false };
    TxnRequest { compare: vec![compare], success: vec![TxnOp::DeleteRange(delete)], failure: Vec::new() }
}

/// A lease for a caller who brings none. Nobody keeps it alive but the caller, as in etcd.
pub(super) async fn session(front: &Front) -> Result<LeaseId, Status> {
    let request = LeaseGrantRequest { ttl_s: SESSION_TTL_S, id: LeaseId::NONE };
    Ok(front.write(front.node.lease_grant(request)).await.map_err(unknown)?.id)
}

/// etcd's lock and election services are clients of its store: they pass on the text of its errors, but not the code.
pub(super) fn unknown(error: Status) -> Status {
    Status::unknown(error.message())
}

/// The first pairs of two answers; `None` where one is not a range, or finds nothing.
fn pairs(responses: Vec<TxnOpResponse>) -> [Option<KeyValue>; 2] {
    let mut pairs = responses.into_iter().map(|response| match response {
        TxnOpResponse::Range(response) => response.kvs.into_iter().next(),
        _ => None,
    });
    [pairs.next().flatten(), pairs.next().flatten()]
}

/// Waits until one of `keys` is deleted after `revision`, or history is compacted beyond that.
async fn deletion(node: &Node, keys: [&Bytes; 2], revision: i64) -> Result<(), Error> {
    let mut stream = node.watch();
    for key in keys {
        let request = WatchRequest {
            start_revision: revision + 1,
            no_put: true,
            ..WatchRequest::new(KeyRange::single(key.clone()))
        };
        stream.create(request)?;
    }
    while let Some(responses) = stream.next().await {
        for response in responses {
            match response.kind {
                WatchKind::Events { .. } => return Ok(()),
                WatchKind::Canceled { reason: Error::Compacted { .. }, .. } => return Ok(()),
                WatchKind::Canceled { reason, .. } => return Err(reason),
                WatchKind::Created | WatchKind::Progress => {}
            }
        }
    }
    Err(Error::Stopped)
}

/// Removes what a caller would leave behind, when dropped.
struct UndoOnDrop {
    node: Node,
    undo: Option<Undo>,
}

enum Undo {
    /// A key of a lease, if it was created then.
    Key(Bytes, Created, LeaseId),
    /// A lease that was made for the caller, and with it the key.
    Lease(LeaseId),
}

/// When a key was created.
enum Created {
    At(i64),
    After(i64),
}

impl Created {
    /// Holds for a `key` that was created then.
    fn compare(&self, key: &Bytes) -> Compare {
        match *self {
            Self::At(revision) => created_at(key, revision),
            Self::After(revision) => Compare { result: CompareResult::Greater, ..created_at(key, revision) },
        }
    }
}

impl Undo {
    async fn attempt(&self, node: &Node) -> Result<(), Error> {
        match self {
            Self::Key(key, created, _) => node.txn(removal_if(key, created.compare(key))).await.map(drop),
            Self::Lease(lease) => node.lease_revoke(*lease).await.map(drop),
        }
    }

    fn lease(&self) -> LeaseId {
        match self {
            Self::Key(_, _, lease) | Self::Lease(lease) => *lease,
        }
    }

    /// Whether the lease is there yet. With it the key goes by itself.
    async fn is_needed(&self, node: &Node) -> bool {
        let request = LeaseTimeToLiveRequest { id: self.lease(), keys: false };
        node.failed().is_none() && node.lease_time_to_live(request).await.map_or(true, |left| left.ttl_s >= 0)
    }

    /// Goes on until it is done, or there is nothing left to do, or the node has stopped. What has begun and was not
    /// seen to end is not begun again.
    async fn carry_out(self, node: Node) {
        let mut pause = RETRY_PAUSE_MIN;
        while let Err(error) = self.attempt(&node).await {
            let is_over = !error.is_retryable() || matches!(error, Error::Stopped);
            if is_over || !self.is_needed(&node).await {
                if !matches!(error, Error::LeaseNotFound) {
                    tracing::warn!(%error, "the key of a caller who left stays until its lease ends");
                }
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

impl Drop for UndoOnDrop {
    fn drop(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        let mut undoing = Box::pin(undo.carry_out(self.node.clone()));
        // Polled once, a proposal is on its way, and goes on though nobody waits for it: not even a thread that ends.
        if undoing.as_mut().now_or_never().is_none() && local::is_inside() {
            local::spawn(undoing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_core::node::NodeConfig;
    use coffer_core::storage::MemoryDisk;
    use std::sync::Arc;

    #[test]
    fn what_the_node_has_no_room_for_is_undone_later() {
        let (log, records) = MemoryDisk::default().open().expect("an empty disk opens");
        let config = NodeConfig { proposals_bytes_max: 600, ..NodeConfig::default() };
        let node = Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens");
        coffer_runtime::block_on(async {
            let lease = LeaseId(7);
            node.lease_grant(LeaseGrantRequest { ttl_s: 600, id: lease }).await.expect("a lease");
            let key = Bytes::from("l/7");
            let count = async || {
                let range = RangeRequest::new(KeyRange::single(key.clone()));
                node.range(range).await.expect("a read").count
            };
            // What is proposed and not polled again takes the room of others, until the end of the entry before takes
            // it along. That end may come after the answer: then once more.
            let (undo, waiting) = loop {
                let put = PutRequest { key: key.clone(), lease, ..PutRequest::default() };
                let created = match node.put(put).await {
                    Ok(put) => Created::At(put.header.revision),
                    // What the round before left there is on its way yet.
                    Err(error) => {
                        assert_eq!(error, Error::TooManyRequests);
                        coffer_runtime::yield_now().await;
                        continue;
                    }
                };
                let large =
                    PutRequest { key: "k".into(), value: vec![0; 300].into(), ..PutRequest::default() };
                let mut waiting = Box::pin(node.put(large));
                assert!(waiting.as_mut().now_or_never().is_none());
                let undo = Undo::Key(key.clone(), created, lease);
                match undo.attempt(&node).await {
                    Ok(()) => assert_eq!(count().await, 0),
                    refused => {
                        assert_eq!(refused, Err(Error::TooManyRequests));
                        break (undo, waiting);
                    }
                }
            };
            assert_eq!(count().await, 1);
            drop(UndoOnDrop { node: node.clone(), undo: Some(undo) });
            drop(waiting);
            let undone = async {
                while count().await > 0 {
                    coffer_runtime::yield_now().await;
                }
            };
            coffer_runtime::timeout(Duration::from_secs(30), undone).await.expect("it is undone");
        });
        node.shutdown();
    }

    #[test]
    fn keys_are_those_of_etcds_clients() {
        assert_eq!(prefix(b"name"), "name/");
        assert_eq!(key(b"name", LeaseId(0x2040_a1fe_a869_7604)), "name/2040a1fea8697604");
        assert_eq!(key(b"", LeaseId(7)), "/7");
        assert_eq!(key(b"a", LeaseId(-1)), "a/-1");
        assert_eq!(key(b"a", LeaseId(i64::MIN)), "a/-8000000000000000");
    }
}
