//! Leases: what was granted, what remains by the last checkpoint, and which keys hang on each.
//!
//! Time does not pass here. The leader's clock watches the leases and proposes their expiry; this keeps what all
//! members must agree on.
//!
//! # Invariants
//! - A key is attached to the lease that its live version names, and to no other.
//! - `0 <= remaining_s <= ttl_s`; a remainder of 0 means that no checkpoint is stored.

use super::reader::LeaseInfo;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::revision::LeaseId;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

/// All leases. Keys are copied in: a slice of a log entry would keep the whole entry in memory.
#[derive(Debug, Default)]
pub(super) struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) ttl_s: i64,
    pub(super) remaining_s: i64,
    keys: Keys,
}

impl Lease {
    /// What readers see of it.
    pub(super) fn info(&self) -> LeaseInfo {
        LeaseInfo { ttl_s: self.ttl_s, remaining_s: self.remaining_s }
    }
}

impl Lessor {
    /// Creates a lease; `false` if the id is taken.
    pub(super) fn grant(&mut self, id: LeaseId, ttl_s: i64) -> bool {
        if self.leases.contains_key(&id) {
            return false;
        }
        self.leases.insert(id, Lease { ttl_s, remaining_s: 0, keys: Keys::None });
        true
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// Forgets a lease; its keys were deleted before.
    pub(super) fn remove(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    /// Stores how much of a lease remains; 0 clears it. Returns what was stored, `None` if there is no such lease.
    pub(super) fn checkpoint(&mut self, id: LeaseId, remaining_s: i64) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        lease.remaining_s = remaining_s.clamp(0, lease.ttl_s.max(0));
        Some(lease.remaining_s)
    }

    /// Whether there is such a lease and `key` now hangs on it.
    pub(super) fn attach(&mut self, id: LeaseId, key: &[u8]) -> bool {
        let lease = self.leases.get_mut(&id);
        lease.map(|lease| lease.keys.insert(key)).is_some()
    }

    pub(super) fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// Up to `max` keys of a lease, ascending, from the first above `after`.
    pub(super) fn keys(&self, id: LeaseId, after: Option<&[u8]>, max: usize) -> Vec<Bytes> {
        let keys = self.leases.get(&id).map(|lease| &lease.keys);
        keys.map(|keys| keys.page(after, max)).unwrap_or_default()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Writes `count (id ttl_s remaining_s)*`, ascending. Keys are not written: the key index names their leases.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64(self.leases.len() as u64);
        for (id, lease) in &self.leases {
            out.i64(id.0);
            out.i64(lease.ttl_s);
            out.i64(lease.remaining_s);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(input: &mut Decoder) -> Result<Self, Malformed> {
        let mut leases: BTreeMap<LeaseId, Lease> = BTreeMap::new();
        for _ in 0..input.count(3)? {
            let id = LeaseId(input.i64()?);
            let (ttl_s, remaining_s) = (input.i64()?, input.i64()?);
            if id.is_none() || leases.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(Malformed("leases out of order"));
            }
            leases.insert(id, Lease { ttl_s, remaining_s, keys: Keys::None });
        }
        Ok(Self { leases })
    }
}

/// The keys of one lease. Most leases have one, so one costs no tree.
enum Keys {
    None,
    One(Box<[u8]>),
    Many(BTreeSet<Box<[u8]>>),
}

// Keys never reach logs: `Debug` shows how many there are.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = match self {
            Keys::None => 0,
            Keys::One(_) => 1,
            Keys::Many(keys) => keys.len(),
        };
        write!(f, "{count} keys")
    }
}

impl Keys {
    fn insert(&mut self, key: &[u8]) {
        match self {
            Keys::None => *self = Keys::One(key.into()),
            Keys::One(only) if **only == *key => {}
            Keys::One(only) => {
                let keys = [std::mem::take(only), key.into()];
                *self = Keys::Many(keys.into());
            }
            Keys::Many(keys) => {
                keys.insert(key.into());
            }
        }
    }

    fn remove(&mut self, key: &[u8]) {
        match self {
            Keys::One(only) if **only == *key => *self = Keys::None,
            Keys::Many(keys) => {
                keys.remove(key);
                if keys.is_empty() {
                    *self = Keys::None;
                }
            }
            Keys::None | Keys::One(_) => {}
        }
    }

    fn page(&self, after: Option<&[u8]>, max: usize) -> Vec<Bytes> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        match self {
            Keys::None => Vec::new(),
            Keys::One(only) if after.is_some_and(|after| **only <= *after) => Vec::new(),
            Keys::One(only) => vec![Bytes::copy_from_slice(only)],
            Keys::Many(keys) => keys
                .range::<[u8], _>((from, Bound::Unbounded))
                .take(max)
                .map(|key| Bytes::copy_from_slice(key))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_and_go_in_every_number() {
        let mut lessor = Lessor::default();
        let id = LeaseId(3);
        assert!(!lessor.attach(id, b"a"));
        assert!(lessor.grant(id, 10));
        assert!(!lessor.grant(id, 20));
        for key in ["b", "b", "a", "c"] {
            assert!(lessor.attach(id, key.as_bytes()));
        }
        assert_eq!(lessor.keys(id, None, 9), ["a", "b", "c"]);
        assert_eq!(lessor.keys(id, Some(b"a"), 1), ["b"]);
        for key in ["a", "c"] {
            lessor.detach(id, key.as_bytes());
        }
        assert_eq!(lessor.keys(id, None, 9), ["b"]);
        lessor.detach(id, b"b");
        assert!(lessor.keys(id, None, 9).is_empty());
        assert!(lessor.attach(id, b"z"));
        assert_eq!(lessor.keys(id, None, 9), ["z"]);
        assert!(lessor.keys(id, Some(b"z"), 9).is_empty());
    }

    #[test]
    fn a_remainder_stays_within_the_ttl() {
        let mut lessor = Lessor::default();
        lessor.grant(LeaseId(1), 10);
        assert_eq!(lessor.checkpoint(LeaseId(1), 4), Some(4));
        assert_eq!(lessor.checkpoint(LeaseId(1), 40), Some(10));
        assert_eq!(lessor.checkpoint(LeaseId(1), -1), Some(0));
        assert_eq!(lessor.checkpoint(LeaseId(2), 4), None);
    }
}
