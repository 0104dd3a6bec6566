//! HashKV straight from the rows of the `key` bucket, as etcd computes it: CRC-32C over the bucket's name, then over
//! key and value of each row that counts.
//!
//! Of the rows up to the compact revision those count that are their key's newest and no deletion. Where no key is left
//! at all, etcd leaves nothing out, and hashes what its compaction has kept: what was visible at the compact revision.
//! (The same is computed from records in [`coffer_core::state::KvHasher`]. This is an independent account of it.)

use super::schema;
use bytes::Bytes;
use coffer_core::revision::Revision;
use coffer_core::storage::StorageError;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// HashKV of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsHash {
    /// The hash.
    pub hash: u32,
    /// The revision that was hashed, the newest.
    pub revision: i64,
    /// The oldest readable revision; 0 if the history was never compacted.
    pub compact_revision: i64,
}

/// A row that is a record.
#[derive(Clone, Debug)]
pub(super) struct RecordRow {
    pub(super) revision: Revision,
    pub(super) tombstone: bool,
    /// The user's key.
    pub(super) key: Bytes,
    pub(super) row: (Bytes, Bytes),
}

/// Computes the hash; `rows` gives the same rows, in their order, each time. Memory is a few words for each key.
pub(super) fn hash<I>(
    revision: i64,
    compact_revision: i64,
    rows: impl Fn() -> I,
) -> Result<RowsHash, StorageError>
where
    I: Iterator<Item = Result<RecordRow, StorageError>>,
{
    let kept = if compact_revision > 0 { kept(compact_revision, rows())? } else { HashSet::new() };
    let mut crc = crc32c::crc32c(schema::KEY.as_bytes());
    for row in rows() {
        let RecordRow { revision: at, tombstone, row: (key, value), .. } = row?;
        if at.main > revision || (at.main <= compact_revision && (tombstone || !kept.contains(&at))) {
            continue;
        }
        crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &key), &value);
    }
    Ok(RowsHash { hash: crc, revision, compact_revision })
}

/// Which rows up to the compact revision count.
fn kept(
    compact_revision: i64,
    rows: impl Iterator<Item = Result<RecordRow, StorageError>>,
) -> Result<HashSet<Revision>, StorageError> {
    // Keys by two hashes of them: equal ones of different keys would show as a wrong HashKV, and never will.
    let (first, second) = (RandomState::new(), RandomState::new());
    let mut compacted: HashMap<(u64, u64), Visible> = HashMap::new();
    let mut later: HashMap<(u64, u64), bool> = HashMap::new();
    for row in rows {
        let RecordRow { revision, tombstone, key, .. } = row?;
        let key = (first.hash_one(&key), second.hash_one(&key));
        if revision.main <= compact_revision {
            compacted.insert(key, Visible { revision, tombstone });
        } else {
            later.insert(key, !tombstone);
        }
    }
    let visible = compacted.into_iter().filter(|(_, visible)| !visible.tombstone);
    let visible: Vec<_> = visible.map(|(key, visible)| (key, visible.revision)).collect();
    let newest = |(key, revision): &((u64, u64), Revision)| (!later.contains_key(key)).then_some(*revision);
    let kept: HashSet<Revision> = visible.iter().filter_map(newest).collect();
    let is_empty = kept.is_empty() && !later.values().any(|live| *live);
    Ok(if is_empty { visible.into_iter().map(|(_, revision)| revision).collect() } else { kept })
}

/// What a key shows at the compact revision.
struct Visible {
    revision: Revision,
    tombstone: bool,
}
