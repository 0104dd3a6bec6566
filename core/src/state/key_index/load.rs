//! Building the whole index at start from the key directory.

use super::KeyIndex;
use super::keys::{KEYS_MAX, separator};
use super::node::{Inner, Leaf, Node};
use super::slot::Slot;
use crate::codec::Malformed;
use crate::revision::Revision;
use crate::storage::DirectoryEntry;

/// Nodes are filled so far: room is left for some keys before they split.
const FILL: usize = KEYS_MAX - KEYS_MAX / 10;

/// Builds a [`KeyIndex`] from entries that ascend by key and then by revision, as
/// [`Records::directory`](crate::storage::Records::directory) visits them. O(n), with little more memory on the
/// way than the index has in the end.
///
/// Entries that are dead at the compact revision do not enter the index. A gap in the history of a key means that
/// what is missing was dead and is already dropped; then whatever lies before the gap is dead as well. Where nothing can
/// have been dead, after the compact revision, a gap is damage.
#[derive(Debug)]
pub struct Loader {
    compact_revision: i64,
    dead: Vec<Revision>,
    /// The key that is being read, and its revisions so far.
    key: Vec<u8>,
    slot: Option<Slot>,
    /// The leaf that is being filled, and what separates it from the one before.
    leaf: Leaf,
    separator: Box<[u8]>,
    leaves: Vec<Part>,
}

/// A finished node, and what separates it from the one before; of the first node that is never used.
type Part = (Box<[u8]>, Node);

impl Loader {
    /// Begins with nothing. History below `compact_revision` that nobody can read will be left out.
    pub fn new(compact_revision: i64) -> Self {
        Self {
            compact_revision,
            dead: Vec::new(),
            key: Vec::new(),
            slot: None,
            leaf: Leaf::default(),
            separator: Box::default(),
            leaves: Vec::new(),
        }
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// The entries do not ascend, or this one cannot be: the directory is damaged. The loader is of no use afterwards.
    pub fn push(&mut self, key: &[u8], entry: &DirectoryEntry) -> Result<(), Malformed> {
        check(entry)?;
        let before = self.slot.as_ref().filter(|_| self.key == key);
        let before = before.map(|slot| (slot.revision().main, slot.is_followed_by(entry)));
        if is_one_missing(before, entry, self.compact_revision) {
            return Err(Malformed(
                "a record after the compact revision is missing from the history of a key",
            ));
        }
        match &mut self.slot {
            Some(slot) if self.key == key => {
                if entry.revision <= slot.revision() {
                    return Err(Malformed("the revisions of a key do not ascend in the directory"));
                }
                if slot.is_followed_by(entry) {
                    slot.restore_next(entry);
                } else {
                    std::mem::replace(slot, Slot::restore(entry)).discard(&mut self.dead);
                }
            }
            Some(_) if &self.key[..] > key => {
                return Err(Malformed("the keys of the directory do not ascend"));
            }
            _ => {
                self.finish_key();
                self.key.clear();
                self.key.extend_from_slice(key);
                self.slot = Some(Slot::restore(entry));
            }
        }
        Ok(())
    }

    /// The index, and the revisions that were left out of it as dead.
    pub fn finish(mut self) -> (KeyIndex, Vec<Revision>) {
        self.finish_key();
        self.finish_leaf();
        let mut level = self.leaves;
        while level.len() > 1 {
            level = parents_of(level);
        }
        let root = level.pop().map(|(_, node)| node).unwrap_or_default();
        let summary = root.summarize();
        (KeyIndex { root, summary }, self.dead)
    }

    fn finish_key(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        if !slot.prune(self.compact_revision, &mut self.dead) {
            return;
        }
        if self.leaf.slots.len() >= FILL || self.leaf.keys.is_full() {
            self.finish_leaf();
        }
        self.leaf.keys.push(&self.key);
        self.leaf.slots.push(slot);
    }

    /// Closes the current leaf; the current key will be the first of the next.
    fn finish_leaf(&mut self) {
        let Some(last) = self.leaf.keys.last() else { return };
        let next = separator(last, &self.key);
        let slots = Vec::from_iter(self.leaf.slots.drain(..));
        let leaf = Leaf { keys: self.leaf.keys.take_compact(), slots };
        self.leaves.push((std::mem::replace(&mut self.separator, next), Node::Leaf(leaf)));
    }
}

/// Builds the level above.
fn parents_of(level: Vec<Part>) -> Vec<Part> {
    let mut parents = Vec::with_capacity(level.len().div_ceil(FILL));
    let (mut inner, mut start) = (Inner::default(), Box::default());
    for (separator, node) in level {
        if inner.children.is_empty() {
            start = separator;
        } else if inner.children.len() >= FILL || inner.separators.is_full() {
            parents.push((std::mem::replace(&mut start, separator), close(&mut inner)));
        } else {
            inner.separators.push(&separator);
        }
        inner.summaries.push(node.summarize());
        inner.children.push(node);
    }
    parents.push((start, close(&mut inner)));
    parents
}

/// Moves what was collected into a node without slack.
fn close(inner: &mut Inner) -> Node {
    Node::Inner(Inner {
        separators: inner.separators.take_compact(),
        children: Vec::from_iter(inner.children.drain(..)),
        summaries: Vec::from_iter(inner.summaries.drain(..)),
    })
}

/// Whether a record of the same key is missing right before `entry`, though no compaction at `compact_revision` can have
/// dropped it. `before` is the main revision of the one that is there, and whether `entry` may follow it at once.
///
/// What a compaction drops had a successor at or below its revision, or is a tombstone at or below it.
pub(crate) fn is_one_missing(
    before: Option<(i64, bool)>,
    entry: &DirectoryEntry,
    compact_revision: i64,
) -> bool {
    let has_predecessor = entry.tombstone || entry.version > 1;
    let is_needed = has_predecessor && entry.revision.main > compact_revision;
    match before {
        Some((_, true)) => false,
        Some((main, false)) => is_needed || main >= compact_revision,
        None => is_needed,
    }
}

/// Refuses what no store ever wrote.
fn check(entry: &DirectoryEntry) -> Result<(), Malformed> {
    let created = entry.create_revision;
    if entry.revision.main < 1 {
        Err(Malformed("a directory entry has no revision"))
    } else if !entry.tombstone && (entry.version < 1 || created < 1 || created > entry.revision.main) {
        Err(Malformed("a directory entry has an impossible version or creation"))
    } else {
        Ok(())
    }
}
