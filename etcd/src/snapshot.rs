//! Snapshots in etcd's own format, both ways: what `etcdctl snapshot save` gets, and what a store is made from that
//! comes from etcd.
//!
//! # Data path
//! Out: a [pinned view](coffer_core::node::SnapshotView) of the node -> rows of etcd's schema -> a bbolt file, laid out
//! from the sizes of its rows and then made page by page -> [`SnapshotStream`]. In: a bbolt file -> [`EtcdFile`] ->
//! records for [`restore`](coffer_core::node::restore).
//!
//! # The schema
//! | bucket | key | value |
//! |---|---|---|
//! | `key` | revision: main (8 bytes, big-endian) `_` sub (8 bytes), and `t` if it is a deletion | `mvccpb.KeyValue`; of a deletion the key alone |
//! | `lease` | id (8 bytes, big-endian) | `leasepb.Lease` |
//! | `meta` | `consistent_index`, `term`, `confState`, `storageVersion`, `scheduledCompactRev`, `finishedCompactRev` | |
//! | `members`, `members_removed`, `cluster` | of the Raft cluster | replaced by whoever restores |
//! | `auth`, `authUsers`, `authRoles`, `alarm` | | |
//!
//! # Invariants
//! - The length of a stream is known before its first byte.
//! - HashKV over the rows of the `key` bucket is the node's own.
//! - Nothing is kept in the clear on our disk: what is streamed exists in memory, a piece at a time.

mod checksum;
mod export;
mod hash;
mod import;
mod schema;

pub use checksum::Checksum;
pub use export::{SnapshotChunk, SnapshotStream, stream};
pub use hash::RowsHash;
pub use import::{Auth, EtcdFile, Rows};
pub use schema::STORAGE_VERSION;
