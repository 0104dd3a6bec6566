//! The revisions of one key: the newest in line, older ones boxed, and only if there are any.

use super::Version;
use super::summary::Summary;
use crate::planted::{Bug, planted};
use crate::revision::{LeaseId, Revision};
use crate::storage::DirectoryEntry;

/// One key's newest revision and its history. 48 bytes while there is no history.
#[derive(Debug)]
pub(super) struct Slot {
    /// Newest main revision.
    main: i64,
    /// Creation of the newest generation.
    create_revision: i64,
    /// Version of the newest generation's last put. Under a tombstone that is the one which it deleted.
    version: i64,
    lease: LeaseId,
    history: Option<Box<History>>,
    /// Newest sub revision.
    sub: u32,
    /// Whether the newest revision deletes the key.
    tombstone: bool,
}

const _: () = assert!(size_of::<Slot>() == 48);

/// Everything before the newest revision.
#[derive(Debug, Default)]
struct History {
    /// Ascending.
    revisions: Vec<Revision>,
    /// The generations that end in here, ascending. The rest of the revisions belongs to the slot's generation.
    ended: Vec<Generation>,
}

/// A generation that a tombstone ended and a put followed.
#[derive(Debug)]
struct Generation {
    /// Where its tombstone is in the list of revisions.
    tombstone: usize,
    create_revision: i64,
    /// Version of its last put, which is the revision before the tombstone.
    version: i64,
}

impl Slot {
    /// The slot of a key that comes into being.
    pub(super) fn create(revision: Revision, lease: LeaseId) -> Self {
        Self {
            main: revision.main,
            create_revision: revision.main,
            version: 1,
            lease,
            history: None,
            sub: revision.sub,
            tombstone: false,
        }
    }

    /// The slot of a key whose oldest kept revision is this one.
    pub(super) fn restore(entry: &DirectoryEntry) -> Self {
        Self {
            main: entry.revision.main,
            create_revision: entry.create_revision,
            version: entry.version,
            lease: entry.lease,
            history: None,
            sub: entry.revision.sub,
            tombstone: entry.tombstone,
        }
    }

    /// Adds the next kept revision, which [follows](Self::is_followed_by).
    pub(super) fn restore_next(&mut self, entry: &DirectoryEntry) {
        if entry.tombstone {
            self.delete(entry.revision);
        } else {
            self.put(entry.revision, entry.lease);
        }
    }

    /// Whether nothing can lie between the newest revision and `entry`, as far as one can tell.
    pub(super) fn is_followed_by(&self, entry: &DirectoryEntry) -> bool {
        follows((!self.tombstone).then_some((self.create_revision, self.version)), entry)
    }

    pub(super) fn revision(&self) -> Revision {
        Revision { main: self.main, sub: self.sub }
    }

    pub(super) fn put(&mut self, revision: Revision, lease: LeaseId) -> Version {
        self.retire(revision);
        if self.tombstone {
            self.create_revision = revision.main;
            self.version = 0;
            self.tombstone = false;
        }
        self.version += 1;
        self.lease = lease;
        self.newest_put()
    }

    /// Ends the generation; returns the version that was live.
    pub(super) fn delete(&mut self, revision: Revision) -> Option<Version> {
        let live = self.latest()?;
        self.retire(revision);
        self.tombstone = true;
        self.lease = LeaseId::NONE;
        Some(live)
    }

    /// Makes the newest revision an older one and puts `revision` in its place.
    fn retire(&mut self, revision: Revision) {
        assert!(revision > self.revision(), "revisions of a key must ascend");
        let history = self.history.get_or_insert_default();
        if self.tombstone {
            history.ended.push(Generation {
                tombstone: history.revisions.len(),
                create_revision: self.create_revision,
                version: self.version,
            });
        }
        if history.revisions.is_empty() {
            history.revisions.reserve_exact(1);
        }
        history.revisions.push(Revision { main: self.main, sub: self.sub });
        (self.main, self.sub) = (revision.main, revision.sub);
    }

    /// The live version, if there is one.
    pub(super) fn latest(&self) -> Option<Version> {
        if self.tombstone { None } else { Some(self.newest_put()) }
    }

    fn newest_put(&self) -> Version {
        Version {
            revision: self.revision(),
            create_revision: self.create_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    /// The version that is visible after the whole of main revision `at`.
    pub(super) fn get(&self, at: i64) -> Option<Version> {
        if self.main <= at { self.latest() } else { self.get_old(at) }
    }

    fn get_old(&self, at: i64) -> Option<Version> {
        let history = self.history.as_deref()?;
        let position = history.count_to(at).checked_sub(1)?;
        let (create_revision, version, last_put) = match history.generation_ending_from(position) {
            Some(ended) if ended.tombstone == position => return None,
            Some(ended) => (ended.create_revision, ended.version, ended.tombstone - 1),
            None if self.tombstone => (self.create_revision, self.version, history.revisions.len() - 1),
            None => (self.create_revision, self.version, history.revisions.len()),
        };
        Some(Version {
            revision: history.revisions[position],
            create_revision,
            version: version - (last_put - position) as i64,
            lease: LeaseId::NONE,
        })
    }

    /// Main revision of the creation or deletion that made the key live or dead.
    fn turned(&self) -> i64 {
        if self.tombstone { self.main } else { self.create_revision }
    }

    /// Whether the key is live after main revision `at`.
    pub(super) fn is_live(&self, at: i64) -> bool {
        if self.turned() <= at { !self.tombstone } else { self.get_old(at).is_some() }
    }

    /// Drops what is not visible at `compact_revision` or later, into `dead`.
    /// Returns whether anything is left; if not, the slot must go.
    pub(super) fn prune(&mut self, compact_revision: i64, dead: &mut Vec<Revision>) -> bool {
        if let Some(history) = &mut self.history {
            let superseded = if self.main <= compact_revision {
                history.count_to(compact_revision - 1)
            } else {
                history.count_superseded(compact_revision)
            };
            history.drop_front(superseded, dead);
            if history.revisions.is_empty() {
                self.history = None;
            }
        }
        let over = (self.tombstone || planted(Bug::CompactionLosesLatest)) && self.main < compact_revision;
        if over {
            dead.push(self.revision());
        }
        !over
    }

    /// Hands out every revision, oldest first, as dead.
    pub(super) fn discard(self, dead: &mut Vec<Revision>) {
        let revision = self.revision();
        if let Some(history) = self.history {
            dead.extend(history.revisions);
        }
        dead.push(revision);
    }

    /// Whether pruning may find something here.
    pub(super) fn is_stale(&self) -> bool {
        self.tombstone || self.history.is_some()
    }

    pub(super) fn summary(&self) -> Summary {
        Summary { live: (!self.tombstone).into(), stale: self.is_stale().into(), turned: self.turned() }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.history.as_ref().map_or(0, |history| {
            size_of::<History>()
                + history.revisions.capacity() * size_of::<Revision>()
                + history.ended.capacity() * size_of::<Generation>()
        })
    }
}

/// Whether nothing can lie between `entry` and what is before it, as far as one can tell: a put with this create revision
/// and version, or a tombstone.
pub(crate) fn follows(put: Option<(i64, i64)>, entry: &DirectoryEntry) -> bool {
    match (put, entry.tombstone) {
        (Some((create_revision, version)), false) => {
            entry.version == version + 1 && entry.create_revision == create_revision
        }
        (None, false) => entry.version == 1 && entry.create_revision == entry.revision.main,
        (Some(_), true) => true,
        (None, true) => false,
    }
}

impl History {
    /// How many revisions are at or below main revision `at`.
    fn count_to(&self, at: i64) -> usize {
        self.revisions.partition_point(|revision| revision.main <= at)
    }

    /// The ended generation that `position` lies in, its tombstone included; `None` if it lies in the slot's own.
    fn generation_ending_from(&self, position: usize) -> Option<&Generation> {
        self.ended.get(self.ended.partition_point(|ended| ended.tombstone < position))
    }

    /// How many are below `at` and not what is visible there, given that the slot's newest revision is above it.
    fn count_superseded(&self, at: i64) -> usize {
        let below = self.count_to(at - 1);
        if below == 0 || below < self.count_to(at) {
            return below;
        }
        let visible = below - 1;
        let is_tombstone =
            self.generation_ending_from(visible).is_some_and(|ended| ended.tombstone == visible);
        if is_tombstone { below } else { visible }
    }

    fn drop_front(&mut self, count: usize, dead: &mut Vec<Revision>) {
        if count == 0 {
            return;
        }
        dead.extend(self.revisions.drain(..count));
        self.revisions.shrink_to(self.revisions.len() * 2);
        self.ended.retain(|ended| ended.tombstone >= count);
        self.ended.shrink_to(self.ended.len() * 2);
        for ended in &mut self.ended {
            ended.tombstone -= count;
        }
    }
}

#[cfg(test)]
impl Slot {
    /// Panics if the history is not as its fields say.
    pub(super) fn check(&self) {
        let Some(history) = &self.history else { return };
        assert!(history.revisions.is_sorted_by(|a, b| a < b), "revisions do not ascend");
        assert!(history.revisions.last().is_some_and(|&last| last < self.revision()));
        assert!(history.ended.is_sorted_by(|a, b| a.tombstone < b.tombstone));
        assert!(history.ended.last().is_none_or(|ended| ended.tombstone < history.revisions.len()));
    }
}
