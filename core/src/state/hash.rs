//! HashKV: a checksum over the history that is kept, equal to etcd's for equal history.
//!
//! CRC-32C over the name of etcd's key bucket, then over each record in revision order as etcd stores it: the bucket
//! key (main revision, `_`, sub revision, and `t` after a tombstone) and the protobuf message `mvccpb.KeyValue`.
//!
//! # Invariants
//! - The value depends on the history above the compact revision and on the versions visible at the hashed revision,
//!   never on what was pruned below the compact revision or when.

use crate::record::Record;

/// Hashes records one after the other.
#[derive(Clone, Debug)]
pub struct KvHasher {
    compact_revision: i64,
    revision: i64,
    crc: u32,
}

impl KvHasher {
    /// Begins a hash at `revision` of a store that was compacted at `compact_revision` (0: never).
    pub fn new(compact_revision: i64, revision: i64) -> Self {
        Self { compact_revision, revision, crc: crc32c::crc32c(b"key") }
    }

    /// Takes the next record; records come in ascending revision order.
    ///
    /// `is_kept` says whether the record is its key's live version at the hashed revision. It is asked only of
    /// records at or below the compact revision: of those nothing else counts.
    pub fn write(&mut self, record: &Record, is_kept: impl FnOnce() -> bool) {
        let main = record.revision.main;
        if main > self.revision || (main <= self.compact_revision && (record.tombstone || !is_kept())) {
            return;
        }
        self.append(&bucket_key(record)[..17 + usize::from(record.tombstone)]);
        self.append_bytes_field(0x0a, &record.key);
        if record.tombstone {
            return;
        }
        self.append_integer_field(0x10, record.create_revision);
        self.append_integer_field(0x18, main);
        self.append_integer_field(0x20, record.version);
        self.append_bytes_field(0x2a, &record.value);
        self.append_integer_field(0x30, record.lease.0);
    }

    /// The hash.
    pub fn finish(self) -> u32 {
        self.crc
    }

    fn append(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    fn append_bytes_field(&mut self, tag: u8, value: &[u8]) {
        if !value.is_empty() {
            self.append_tagged_varint(tag, value.len() as u64);
            self.append(value);
        }
    }

    fn append_integer_field(&mut self, tag: u8, value: i64) {
        if value != 0 {
            self.append_tagged_varint(tag, value as u64);
        }
    }

    fn append_tagged_varint(&mut self, tag: u8, mut value: u64) {
        let mut bytes = [tag; 11];
        let mut length = 1;
        while value >= 0x80 {
            bytes[length] = value as u8 | 0x80;
            value >>= 7;
            length += 1;
        }
        bytes[length] = value as u8;
        self.append(&bytes[..=length]);
    }
}

fn bucket_key(record: &Record) -> [u8; 18] {
    let mut key = [b't'; 18];
    key[..8].copy_from_slice(&record.revision.main.to_be_bytes());
    key[8] = b'_';
    key[9..17].copy_from_slice(&u64::from(record.revision.sub).to_be_bytes());
    key
}
