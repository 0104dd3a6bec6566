//! What the store keeps of one change, and what readers see of it.

use crate::revision::{LeaseId, Revision};
use bytes::Bytes;
use std::fmt;

/// One change of one key, as it is stored: a put, or a tombstone.
///
/// A tombstone has an empty value, no lease, and zero `create_revision` and `version`.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub revision: Revision,
    /// The key that changed.
    pub key: Bytes,
    /// The new value.
    pub value: Bytes,
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Number of puts since the key was created, this one included.
    pub version: i64,
    /// The lease that the key is attached to.
    pub lease: LeaseId,
    /// Whether this deletes the key.
    pub tombstone: bool,
}

impl Record {
    /// A deletion of `key` at `revision`.
    pub fn deletion(revision: Revision, key: Bytes) -> Self {
        Self {
            revision,
            key,
            value: Bytes::new(),
            create_revision: 0,
            version: 0,
            lease: LeaseId::NONE,
            tombstone: true,
        }
    }

    /// Bytes that the record holds of a user, for limits and statistics.
    pub fn payload_bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// The record as readers see it. Of a tombstone that is the key and its revision only.
    pub fn key_value(&self) -> KeyValue {
        KeyValue {
            key: self.key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision: self.revision.main,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// A key and its value as etcd shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only keys were asked for.
    pub value: Bytes,
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Main revision of the last change.
    pub mod_revision: i64,
    /// Number of puts since the key was created.
    pub version: i64,
    /// The lease that the key is attached to; none where only keys were asked for.
    pub lease: LeaseId,
}

// Keys and values never reach logs: `Debug` shows sizes only.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("revision", &self.revision)
            .field("key_bytes", &self.key.len())
            .field("value_bytes", &self.value.len())
            .field("create_revision", &self.create_revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .field("tombstone", &self.tombstone)
            .finish()
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key_bytes", &self.key.len())
            .field("value_bytes", &self.value.len())
            .field("create_revision", &self.create_revision)
            .field("mod_revision", &self.mod_revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}
