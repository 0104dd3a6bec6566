//! Random content of the shapes that hurt: keys that are prefixes of each other, empty and large values, many records
//! at one revision.

use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::storage::{Checkpoint, EntryKind, LogEntry, LogId};
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;

const AWKWARD_KEYS: &[&[u8]] = &[
    b"\0",
    b"\0\0",
    b"\0\xff",
    b"a",
    b"a\0",
    b"a\0\0",
    b"a\0b",
    b"aa",
    b"ab",
    b"b",
    b"registry",
    b"registry/",
    b"registry/pods",
    b"registry/pods/\x01",
    b"\xfe\xff",
    b"\xff",
    b"\xff\xff",
];

pub(super) fn bytes(rng: &mut SmallRng, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes[..]);
    bytes.into()
}

pub(super) fn key(rng: &mut SmallRng) -> Bytes {
    if rng.random_bool(0.3) {
        return Bytes::from_static(AWKWARD_KEYS[rng.random_range(0..AWKWARD_KEYS.len())]);
    }
    format!("registry/pods/ns-{}/web-{}", rng.random_range(0..8), rng.random_range(0..40)).into()
}

pub(super) fn value(rng: &mut SmallRng) -> Bytes {
    let length = match rng.random_range(0..20) {
        0..=3 => 0,
        4..=16 => rng.random_range(1..400),
        17..=18 => rng.random_range(400..5_000),
        _ => rng.random_range(5_000..40_000),
    };
    bytes(rng, length)
}

/// A put, or now and then a deletion.
pub(super) fn record(rng: &mut SmallRng, revision: Revision) -> Record {
    let key = key(rng);
    if rng.random_bool(0.15) {
        return Record::deletion(revision, key);
    }
    let lease = if rng.random_bool(0.2) { LeaseId(rng.random_range(1..i64::MAX)) } else { LeaseId::NONE };
    let create_revision = rng.random_range(1..=revision.main);
    put(revision, key, value(rng), create_revision, lease)
}

pub(super) fn put(
    revision: Revision,
    key: Bytes,
    value: Bytes,
    create_revision: i64,
    lease: LeaseId,
) -> Record {
    let version = 1 + revision.main - create_revision;
    Record { revision, key, value, create_revision, version, lease, tombstone: false }
}

/// About `count` records above main revision `after`: mostly one to a revision, sometimes many.
pub(super) fn records(rng: &mut SmallRng, after: i64, count: usize) -> Vec<Record> {
    let mut records = Vec::with_capacity(count);
    let mut main = after;
    while records.len() < count {
        main += 1;
        let subs = if rng.random_bool(0.1) { rng.random_range(2..12) } else { 1 };
        records.extend((0..subs).map(|sub| record(rng, Revision { main, sub })));
    }
    records
}

pub(super) fn entry(rng: &mut SmallRng, term: u64, index: u64) -> LogEntry {
    let (kind, length) = match rng.random_range(0..20) {
        0 => (EntryKind::Blank, 0),
        1 => (EntryKind::Membership, rng.random_range(1..200)),
        2 => (EntryKind::Normal, rng.random_range(2_000..30_000)),
        _ => (EntryKind::Normal, rng.random_range(0..500)),
    };
    LogEntry { id: LogId { term, index }, kind, payload: bytes(rng, length) }
}

/// `count` entries from `index` on.
pub(super) fn entries(rng: &mut SmallRng, term: u64, index: u64, count: u64) -> Vec<LogEntry> {
    (index..index + count).map(|index| entry(rng, term, index)).collect()
}

pub(super) fn checkpoint(rng: &mut SmallRng, applied: LogId, revision: i64) -> Checkpoint {
    let compact_revision = rng.random_range(0..=revision);
    let length = rng.random_range(0..3_000);
    Checkpoint { applied, revision, compact_revision, state: bytes(rng, length) }
}
