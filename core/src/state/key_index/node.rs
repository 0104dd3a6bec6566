//! The B+tree's nodes: finding, changing and adding a key.

use super::Version;
use super::keys::{Keys, STEP, make_room, separator, trim};
use super::slot::Slot;
use super::summary::Summary;
use crate::revision::{LeaseId, Revision};

/// A subtree.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

/// Keys and their slots.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) keys: Keys,
    pub(super) slots: Vec<Slot>,
}

/// Children, ascending, and what is known of each.
#[derive(Debug, Default)]
pub(super) struct Inner {
    /// `separators[i]` is above every key of child `i` and not above any key of child `i + 1`.
    pub(super) separators: Keys,
    pub(super) children: Vec<Node>,
    pub(super) summaries: Vec<Summary>,
}

/// What a put did.
pub(super) struct Put {
    /// What was live.
    pub(super) live: Option<Version>,
    pub(super) version: Version,
    pub(super) before: Summary,
    pub(super) after: Summary,
    /// The node became two.
    pub(super) split: Option<Split>,
}

/// What a delete did.
pub(super) struct Delete {
    /// What was live.
    pub(super) version: Version,
    pub(super) before: Summary,
    pub(super) after: Summary,
}

/// The upper part of a node that was full.
pub(super) struct Split {
    pub(super) separator: Box<[u8]>,
    pub(super) right: Node,
}

impl Default for Node {
    fn default() -> Self {
        Node::Leaf(Leaf::default())
    }
}

impl Node {
    pub(super) fn find(&self, key: &[u8]) -> Option<&Slot> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.keys.search(key).ok().map(|i| &leaf.slots[i]),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)],
            }
        }
    }

    pub(super) fn put(&mut self, key: &[u8], revision: Revision, lease: LeaseId) -> Put {
        match self {
            Node::Leaf(leaf) => leaf.put(key, revision, lease),
            Node::Inner(inner) => inner.put(key, revision, lease),
        }
    }

    /// `None` if the key is not live.
    pub(super) fn delete(&mut self, key: &[u8], revision: Revision) -> Option<Delete> {
        match self {
            Node::Leaf(leaf) => leaf.delete(key, revision),
            Node::Inner(inner) => inner.delete(key, revision),
        }
    }

    /// Puts a new root above this one and the upper part that split off.
    pub(super) fn grow(&mut self, split: Split) {
        let left = std::mem::take(self);
        let mut root = Inner::default();
        root.separators.push(&split.separator);
        root.summaries = vec![left.summarize(), split.right.summarize()];
        root.children = vec![left, split.right];
        *self = Node::Inner(root);
    }

    /// Removes levels that hold nothing but one child.
    pub(super) fn shrink(&mut self) {
        while let Node::Inner(inner) = self {
            match inner.children.len() {
                0 => *self = Node::default(),
                1 => *self = inner.children.pop().unwrap_or_default(),
                _ => break,
            }
        }
    }

    /// Adds up what lies directly below.
    pub(super) fn summarize(&self) -> Summary {
        match self {
            Node::Leaf(leaf) => leaf.slots.iter().map(Slot::summary).collect(),
            Node::Inner(inner) => inner.summaries.iter().copied().collect(),
        }
    }

    /// Bytes on the heap below this node, of which `summary` is known.
    pub(super) fn heap_bytes(&self, summary: Summary) -> usize {
        match self {
            Node::Leaf(leaf) => {
                let histories = if summary.stale == 0 { &[] } else { &leaf.slots[..] };
                leaf.keys.heap_bytes()
                    + leaf.slots.capacity() * size_of::<Slot>()
                    + histories.iter().map(Slot::heap_bytes).sum::<usize>()
            }
            Node::Inner(inner) => {
                let children = inner.children.iter().zip(&inner.summaries);
                inner.separators.heap_bytes()
                    + inner.children.capacity() * size_of::<Node>()
                    + inner.summaries.capacity() * size_of::<Summary>()
                    + children.map(|(child, &summary)| child.heap_bytes(summary)).sum::<usize>()
            }
        }
    }
}

impl Leaf {
    fn put(&mut self, key: &[u8], revision: Revision, lease: LeaseId) -> Put {
        match self.keys.search(key) {
            Ok(i) => {
                let slot = &mut self.slots[i];
                let before = slot.summary();
                let live = slot.latest();
                let version = slot.put(revision, lease);
                Put { live, version, before, after: slot.summary(), split: None }
            }
            Err(i) => {
                let slot = Slot::create(revision, lease);
                let version = Version { revision, create_revision: revision.main, version: 1, lease };
                let after = slot.summary();
                let split = self.add(i, key, slot);
                Put { live: None, version, before: Summary::default(), after, split }
            }
        }
    }

    fn delete(&mut self, key: &[u8], revision: Revision) -> Option<Delete> {
        let slot = &mut self.slots[self.keys.search(key).ok()?];
        let before = slot.summary();
        let version = slot.delete(revision)?;
        Some(Delete { version, before, after: slot.summary() })
    }

    /// Adds a key at position `i`. A full leaf becomes two halves; but where keys arrive in ascending order it stays
    /// full and the new key begins the next leaf.
    fn add(&mut self, i: usize, key: &[u8], slot: Slot) -> Option<Split> {
        if !self.keys.is_full() {
            self.insert(i, key, slot);
            return None;
        }
        let at = if i == self.slots.len() { i } else { self.slots.len() / 2 };
        let mut right = self.split_off(at);
        if i <= at && !right.slots.is_empty() {
            self.insert(i, key, slot);
        } else {
            right.insert(i - at, key, slot);
        }
        let separator = separator(self.keys.last().unwrap_or_default(), right.keys.get(0));
        Some(Split { separator, right: Node::Leaf(right) })
    }

    fn insert(&mut self, i: usize, key: &[u8], slot: Slot) {
        self.keys.insert(i, key);
        make_room(&mut self.slots, 1, STEP);
        self.slots.insert(i, slot);
    }

    fn split_off(&mut self, at: usize) -> Leaf {
        let right = Leaf { keys: self.keys.split_off(at), slots: self.slots.split_off(at) };
        trim(&mut self.slots, STEP);
        right
    }
}

impl Inner {
    /// The child that `key` is in, or would be.
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        self.separators.up_to(key)
    }

    fn put(&mut self, key: &[u8], revision: Revision, lease: LeaseId) -> Put {
        let i = self.child_of(key);
        let mut done = self.children[i].put(key, revision, lease);
        match done.split.take() {
            None => self.summaries[i].replace(done.before, done.after),
            Some(split) => done.split = self.add(i, split),
        }
        done
    }

    fn delete(&mut self, key: &[u8], revision: Revision) -> Option<Delete> {
        let i = self.child_of(key);
        let done = self.children[i].delete(key, revision)?;
        self.summaries[i].replace(done.before, done.after);
        Some(done)
    }

    /// Adds the upper part of child `i`, which split. May split in turn, by the same rule as a leaf.
    fn add(&mut self, i: usize, split: Split) -> Option<Split> {
        self.summaries[i] = self.children[i].summarize();
        self.separators.insert(i, &split.separator);
        make_room(&mut self.summaries, 1, STEP);
        self.summaries.insert(i + 1, split.right.summarize());
        make_room(&mut self.children, 1, STEP);
        self.children.insert(i + 1, split.right);
        if !self.separators.is_full() {
            return None;
        }
        let last = self.children.len() - 1;
        let right = self.split_off(if i + 1 == last { last } else { last.div_ceil(2) });
        let separator =
            self.separators.pop().expect("a full node has separators, and none were cut off before the cut");
        Some(Split { separator, right: Node::Inner(right) })
    }

    /// Cuts before child `at` (at least 1). What separates the parts stays here as the last separator.
    fn split_off(&mut self, at: usize) -> Inner {
        let right = Inner {
            separators: self.separators.split_off(at),
            children: self.children.split_off(at),
            summaries: self.summaries.split_off(at),
        };
        trim(&mut self.children, STEP);
        trim(&mut self.summaries, STEP);
        right
    }
}
