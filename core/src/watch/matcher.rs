//! Finds what watchers want a key, without looking at every watcher.
//!
//! Watchers that want exactly the same share one [`Spec`], and one slot. Single keys are found in a hash map,
//! ranges in an interval tree.

use super::WatchRequest;
use super::interval_tree::IntervalTree;
use crate::key_range::KeyRange;
use crate::state::Event;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// What decides which events a watcher gets, and how they look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub(super) range: KeyRange,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
}

impl Spec {
    pub(super) fn new(request: &WatchRequest) -> Self {
        Self {
            range: without_empty_key(&request.range),
            no_put: request.no_put,
            no_delete: request.no_delete,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        }
    }

    /// Whether the filters let `event` pass. The key is not looked at.
    pub(super) fn admits(&self, event: &Event) -> bool {
        if event.record.tombstone { !self.no_delete } else { !self.no_put }
    }
}

/// As etcd, a watch takes an empty key for the smallest one, a zero byte.
fn without_empty_key(range: &KeyRange) -> KeyRange {
    const SMALLEST: Bytes = Bytes::from_static(b"\0");
    if !range.start().is_empty() {
        return range.clone();
    }
    match range.end_bound() {
        Bound::Included(_) => KeyRange::single(SMALLEST),
        Bound::Excluded(end) => KeyRange::between(SMALLEST, Bytes::copy_from_slice(end)),
        Bound::Unbounded => KeyRange::from(SMALLEST),
    }
}

/// Maps keys to the slots of the specs that want them.
#[derive(Default)]
pub(super) struct Matcher {
    slots: HashMap<Arc<Spec>, usize>,
    specs: Vec<Option<Arc<Spec>>>,
    free: Vec<usize>,
    keys: HashMap<Bytes, Vec<usize>>,
    ranges: IntervalTree,
}

// Keys never reach logs: `Debug` shows how many there are.
impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher")
            .field("specs", &self.slots.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Matcher {
    /// The slot of `spec`, which is added if it is new. Slots are small numbers and are reused.
    pub(super) fn slot(&mut self, spec: &Arc<Spec>) -> usize {
        if let Some(&slot) = self.slots.get(spec) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.specs.push(None);
            self.specs.len() - 1
        });
        self.specs[slot] = Some(spec.clone());
        self.slots.insert(spec.clone(), slot);
        let start = spec.range.start().clone();
        match spec.range.end_bound() {
            Bound::Included(_) => self.keys.entry(start).or_default().push(slot),
            Bound::Excluded(_) => self.ranges.insert(start, Some(spec.range.wire_end()), slot),
            Bound::Unbounded => self.ranges.insert(start, None, slot),
        }
        slot
    }

    /// Forgets a slot and its spec.
    pub(super) fn remove(&mut self, slot: usize) {
        let Some(spec) = self.specs[slot].take() else { return };
        self.slots.remove(&spec);
        self.free.push(slot);
        let start = spec.range.start();
        if !spec.range.is_single() {
            return self.ranges.remove(start, slot);
        }
        if let Some(slots) = self.keys.get_mut(start) {
            slots.retain(|&other| other != slot);
            if slots.is_empty() {
                self.keys.remove(start);
            }
        }
    }

    /// Calls `found` for every slot whose spec wants `event`.
    pub(super) fn matching(&self, event: &Event, mut found: impl FnMut(usize, &Spec)) {
        let mut check = |slot: usize| {
            if let Some(spec) = &self.specs[slot]
                && spec.admits(event)
            {
                found(slot, spec);
            }
        };
        let key = &event.record.key[..];
        if let Some(slots) = self.keys.get(key) {
            slots.iter().copied().for_each(&mut check);
        }
        self.ranges.stab(key, &mut check);
    }

    /// The spec in a slot.
    pub(super) fn spec(&self, slot: usize) -> Option<&Spec> {
        self.specs.get(slot)?.as_deref()
    }

    /// One more than the greatest slot ever given.
    pub(super) fn slots_max(&self) -> usize {
        self.specs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::revision::Revision;

    fn event(key: &'static str) -> Event {
        let record = Record::deletion(Revision::first(2), Bytes::from_static(key.as_bytes()));
        Event { record: Arc::new(record), prev: None }
    }

    fn spec(range: KeyRange) -> Arc<Spec> {
        Arc::new(Spec::new(&WatchRequest::new(range)))
    }

    fn found(matcher: &Matcher, key: &'static str) -> Vec<usize> {
        let mut slots = Vec::new();
        matcher.matching(&event(key), |slot, _| slots.push(slot));
        slots
    }

    #[test]
    fn equal_specs_share_a_slot_and_removed_slots_are_reused() {
        let mut matcher = Matcher::default();
        let key = matcher.slot(&spec(KeyRange::single("a")));
        let prefix = matcher.slot(&spec(KeyRange::prefix("a")));
        assert_eq!(matcher.slot(&spec(KeyRange::prefix("a"))), prefix);
        assert_eq!(found(&matcher, "a"), [key, prefix]);
        assert_eq!(found(&matcher, "ab"), [prefix]);
        matcher.remove(prefix);
        matcher.remove(key);
        assert!(found(&matcher, "a").is_empty());
        let other = matcher.slot(&spec(KeyRange::from("b")));
        assert!(other == key || other == prefix);
        assert_eq!(found(&matcher, "c"), [other]);
    }

    #[test]
    fn filters_are_part_of_the_spec() {
        let mut matcher = Matcher::default();
        let plain = matcher.slot(&spec(KeyRange::single("a")));
        let mut request = WatchRequest::new(KeyRange::single("a"));
        request.no_delete = true;
        let filtered = matcher.slot(&Arc::new(Spec::new(&request)));
        assert_ne!(plain, filtered);
        assert_eq!(found(&matcher, "a"), [plain], "a deletion passes only without the filter");
    }

    #[test]
    fn an_empty_key_means_the_smallest() {
        assert_eq!(spec(KeyRange::single("")).range, KeyRange::single(&b"\0"[..]));
        assert_eq!(spec(KeyRange::all()).range, KeyRange::from(&b"\0"[..]));
        assert_eq!(spec(KeyRange::between("", "b")).range, KeyRange::between(&b"\0"[..], "b"));
    }
}
