//! The rows of etcd's buckets.

use bytes::{Bytes, BytesMut};
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::state::LeaseInfo;
use coffer_core::storage::DirectoryEntry;
use coffer_core::{KeyValue, Record};
use prost::Message;
use prost::encoding::encoded_len_varint;

use crate::proto::mvccpb;

/// The version of etcd's schema that snapshots bear: 3.4 and 3.5 do not look at it, 3.6 knows it, 3.7 migrates it.
pub const STORAGE_VERSION: &str = "3.6.0";

pub(super) const ALARM: &str = "alarm";
pub(super) const AUTH: &str = "auth";
pub(super) const AUTH_ROLES: &str = "authRoles";
pub(super) const AUTH_USERS: &str = "authUsers";
pub(super) const CLUSTER: &str = "cluster";
pub(super) const KEY: &str = "key";
pub(super) const LEASE: &str = "lease";
pub(super) const MEMBERS: &str = "members";
pub(super) const MEMBERS_REMOVED: &str = "members_removed";
pub(super) const META: &str = "meta";

pub(super) const AUTH_ENABLED: &str = "authEnabled";
pub(super) const AUTH_REVISION: &str = "authRevision";
pub(super) const CONF_STATE: &str = "confState";
pub(super) const CONSISTENT_INDEX: &str = "consistent_index";
pub(super) const FINISHED_COMPACT: &str = "finishedCompactRev";
pub(super) const SCHEDULED_COMPACT: &str = "scheduledCompactRev";
pub(super) const STORAGE_VERSION_KEY: &str = "storageVersion";
pub(super) const TERM: &str = "term";

/// Bytes of a revision in a row's key, or in a value of `meta`.
const REVISION_BYTES: usize = 17;
const TOMBSTONE: u8 = b't';

/// `leasepb.Lease`, which is no part of etcd's API.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseRow {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl: i64,
    #[prost(int64, tag = "3")]
    pub(super) remaining_ttl: i64,
}

/// The key of a row of [`KEY`].
pub(super) fn revision_key(revision: Revision, tombstone: bool) -> Bytes {
    let mut key = BytesMut::with_capacity(REVISION_BYTES + 1);
    key.extend_from_slice(&revision.main.to_be_bytes());
    key.extend_from_slice(b"_");
    key.extend_from_slice(&u64::from(revision.sub).to_be_bytes());
    if tombstone {
        key.extend_from_slice(&[TOMBSTONE]);
    }
    key.freeze()
}

/// The revision of a row of [`KEY`] and whether it is a deletion; `None` if that is no such key.
pub(super) fn parse_revision_key(key: &[u8]) -> Option<(Revision, bool)> {
    let (main, rest) = key.split_first_chunk()?;
    let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
    let tombstone = match mark {
        [] => false,
        [TOMBSTONE] => true,
        _ => return None,
    };
    let main = i64::from_be_bytes(*main);
    let sub = u32::try_from(u64::from_be_bytes(*sub)).ok()?;
    (main >= 0).then_some((Revision { main, sub }, tombstone))
}

/// The row of a record.
pub(super) fn record_row(record: &Record) -> (Bytes, Bytes) {
    let KeyValue { key, value, create_revision, mod_revision, version, lease } = record.key_value();
    let row = match record.tombstone {
        true => mvccpb::KeyValue { key, ..Default::default() },
        false => mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease: lease.0 },
    };
    (revision_key(record.revision, record.tombstone), row.encode_to_vec().into())
}

/// Bytes of the value of a record's row.
pub(super) fn record_row_bytes(key: &[u8], entry: &DirectoryEntry) -> usize {
    let key_bytes = bytes_field(key.len());
    if entry.tombstone {
        return key_bytes;
    }
    let numbers = [entry.create_revision, entry.revision.main, entry.version, entry.lease.0];
    key_bytes
        + numbers.into_iter().map(integer_field).sum::<usize>()
        + bytes_field(entry.value_bytes as usize)
}

/// Bytes of the key of a record's row.
pub(super) fn revision_key_bytes(tombstone: bool) -> usize {
    REVISION_BYTES + usize::from(tombstone)
}

/// All fields have tags of one byte; those that are zero or empty are left out.
fn bytes_field(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { 1 + encoded_len_varint(bytes as u64) + bytes }
}

fn integer_field(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value as u64) }
}

/// The row of a lease.
pub(super) fn lease_row(id: LeaseId, lease: LeaseInfo) -> (Bytes, Bytes) {
    let row = LeaseRow { id: id.0, ttl: lease.ttl_s, remaining_ttl: lease.remaining_s };
    (Bytes::copy_from_slice(&id.0.to_be_bytes()), row.encode_to_vec().into())
}

/// A row with a name.
pub(super) fn named(name: &'static str, value: impl Into<Bytes>) -> (Bytes, Bytes) {
    (Bytes::from_static(name.as_bytes()), value.into())
}

/// A number as `meta` and `auth` hold it.
pub(super) fn number(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_keys_go_there_and_back_and_nothing_else_is_one() {
        for (main, sub, tombstone) in [(1, 0, false), (i64::MAX, u32::MAX, true), (300, 7, true)] {
            let revision = Revision { main, sub };
            let key = revision_key(revision, tombstone);
            assert_eq!(key.len(), revision_key_bytes(tombstone));
            assert_eq!(parse_revision_key(&key), Some((revision, tombstone)));
            assert_eq!(parse_revision_key(&key[..16]), None);
            assert_eq!(
                parse_revision_key(&[&key[..], b"t"].concat()),
                (!tombstone).then_some((revision, true))
            );
        }
        assert_eq!(parse_revision_key(&[0xff; 17]), None);
        assert_eq!(parse_revision_key(b"12345678_\xff2345678"), None);
        assert_eq!(parse_revision_key(b"12345678x\0\0\0\0\0\0\0\0"), None);
    }

    #[test]
    fn the_bytes_of_a_row_are_known_without_its_value() {
        let numbers = [0, 1, 127, 128, 70_000, i64::MAX, -1];
        for length in [0usize, 1, 127, 128, 20_000] {
            for number in numbers {
                let record = Record {
                    revision: Revision { main: number.max(1), sub: 0 },
                    key: vec![b'k'; length].into(),
                    value: vec![b'v'; 20_000 - length].into(),
                    create_revision: number,
                    version: number,
                    lease: LeaseId(number),
                    tombstone: false,
                };
                let deletion = Record::deletion(record.revision, record.key.clone());
                for record in [record, deletion] {
                    let entry = DirectoryEntry {
                        revision: record.revision,
                        create_revision: record.create_revision,
                        version: record.version,
                        lease: record.lease,
                        tombstone: record.tombstone,
                        value_bytes: record.value.len() as u32,
                    };
                    assert_eq!(record_row_bytes(&record.key, &entry), record_row(&record).1.len());
                }
            }
        }
    }
}
