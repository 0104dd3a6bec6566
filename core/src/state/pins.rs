//! Which revisions somebody still reads, so that pruning leaves them alone.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::reader::Shared;

/// The pinned revisions and how often each is pinned.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<BTreeMap<i64, usize>>);

impl Pins {
    /// Pins the revision that `choose` names. Pruning takes its limit before or after, never in between.
    pub(super) fn add(&self, choose: impl FnOnce() -> i64) -> i64 {
        let mut pins = self.0.lock();
        let revision = choose();
        *pins.entry(revision).or_default() += 1;
        revision
    }

    pub(super) fn remove(&self, revision: i64) {
        let mut pins = self.0.lock();
        if let Some(count) = pins.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&revision);
            }
        }
    }

    pub(super) fn contains(&self, revision: i64) -> bool {
        self.0.lock().contains_key(&revision)
    }

    pub(super) fn oldest(&self) -> Option<i64> {
        self.0.lock().keys().next().copied()
    }

    /// The lower of `bound` and the oldest pin.
    pub(super) fn limit(&self, bound: impl FnOnce() -> i64) -> i64 {
        let pins = self.0.lock();
        let bound = bound();
        pins.keys().next().map_or(bound, |oldest| bound.min(*oldest))
    }
}

/// While it lives, everything that can be read at its revision, or at a later one, stays: it is not pruned from the
/// index, and whoever drops records by what pruning returned leaves them in place as well.
pub struct ReadPin {
    shared: Arc<Shared>,
    revision: i64,
}

impl ReadPin {
    pub(super) fn new(shared: Arc<Shared>, choose: impl FnOnce(&Shared) -> i64) -> Self {
        let revision = shared.pins.add(|| choose(&shared));
        Self { shared, revision }
    }

    /// The pinned revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

impl Drop for ReadPin {
    fn drop(&mut self) {
        self.shared.pins.remove(self.revision);
    }
}

impl fmt::Debug for ReadPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadPin").field(&self.revision).finish()
    }
}
