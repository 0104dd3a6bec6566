//! Dropping what nobody can read any more, a chunk at a time, and giving the memory back.
//!
//! This is the only way in which keys leave the tree, so the tree is kept dense here: neighbours that together fill
//! at most three quarters of a node become one, empty nodes go, and a root with one child gives way to it.

use super::keys::{Keys, STEP, trim};
use super::node::{Inner, Leaf, Node};
use crate::revision::Revision;
use bytes::Bytes;
use std::ops::Range;

/// One call of [`prune`](super::KeyIndex::prune).
pub(super) struct Pruning<'a> {
    compact_revision: i64,
    /// How many more keys may be looked at.
    keys_left: usize,
    dead: &'a mut Vec<Revision>,
    /// The first key that was not looked at for lack of budget.
    pub(super) next: Option<Bytes>,
}

impl<'a> Pruning<'a> {
    pub(super) fn new(keys_max: usize, compact_revision: i64, dead: &'a mut Vec<Revision>) -> Self {
        Self { compact_revision, keys_left: keys_max.max(1), dead, next: None }
    }
}

impl Node {
    /// Prunes keys from `from` on until the budget is used up. May leave this node empty.
    pub(super) fn prune(&mut self, from: &[u8], pruning: &mut Pruning<'_>) {
        match self {
            Node::Leaf(leaf) => leaf.prune(from, pruning),
            Node::Inner(inner) => inner.prune(from, pruning),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.slots.is_empty(),
            Node::Inner(inner) => inner.children.is_empty(),
        }
    }
}

impl Leaf {
    fn prune(&mut self, from: &[u8], pruning: &mut Pruning<'_>) {
        let mut gone = Vec::new();
        for i in self.keys.below(from)..self.slots.len() {
            if !self.slots[i].is_stale() {
                continue;
            }
            if pruning.keys_left == 0 {
                pruning.next = Some(Bytes::copy_from_slice(self.keys.get(i)));
                break;
            }
            pruning.keys_left -= 1;
            if !self.slots[i].prune(pruning.compact_revision, pruning.dead) {
                gone.push(i);
            }
        }
        if !gone.is_empty() {
            self.remove_all(&gone);
        }
    }

    /// Removes the slots at these ascending positions.
    fn remove_all(&mut self, gone: &[usize]) {
        let stays = |i: usize| gone.binary_search(&i).is_err();
        self.keys.retain(stays);
        let mut i = 0..;
        self.slots.retain(|_| i.next().is_some_and(stays));
        trim(&mut self.slots, STEP);
    }
}

impl Inner {
    fn prune(&mut self, from: &[u8], pruning: &mut Pruning<'_>) {
        let first = self.child_of(from);
        let mut end = first;
        for i in first..self.children.len() {
            if self.summaries[i].stale > 0 {
                self.children[i].prune(from, pruning);
                self.summaries[i] = self.children[i].summarize();
                end = i + 1;
            }
            if pruning.next.is_some() {
                break;
            }
        }
        self.tidy(first..end);
    }

    /// Removes those children that have become empty, and merges them and their neighbours where both are small.
    fn tidy(&mut self, touched: Range<usize>) {
        let mut end = touched.end;
        for i in touched.clone().rev() {
            if self.children[i].is_empty() {
                self.remove(i);
                end -= 1;
            }
        }
        for i in (touched.start.max(1)..(end + 1).min(self.children.len())).rev() {
            if self.can_merge_into_previous(i) {
                self.merge_into_previous(i);
            }
        }
    }

    fn remove(&mut self, i: usize) {
        self.children.remove(i);
        self.summaries.remove(i);
        if self.separators.len() > 0 {
            self.separators.remove(i.saturating_sub(1));
        }
        trim(&mut self.children, STEP);
        trim(&mut self.summaries, STEP);
    }

    fn can_merge_into_previous(&self, i: usize) -> bool {
        let fits = |left: &Keys, right: &Keys| left.fits_with(right);
        match (&self.children[i - 1], &self.children[i]) {
            (Node::Leaf(left), Node::Leaf(right)) => fits(&left.keys, &right.keys),
            (Node::Inner(left), Node::Inner(right)) => fits(&left.separators, &right.separators),
            _ => unreachable!("all leaves have the same depth"),
        }
    }

    fn merge_into_previous(&mut self, i: usize) {
        let right = self.children.remove(i);
        let summary = self.summaries.remove(i);
        self.summaries[i - 1].add(summary);
        match (&mut self.children[i - 1], right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.keys.append(&right.keys);
                left.slots.reserve_exact(right.slots.len());
                left.slots.extend(right.slots);
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let seam = left.children.len();
                left.separators.push(self.separators.get(i - 1));
                left.separators.append(&right.separators);
                left.children.reserve_exact(right.children.len());
                left.children.extend(right.children);
                left.summaries.reserve_exact(right.summaries.len());
                left.summaries.extend(right.summaries);
                left.tidy(seam..seam);
            }
            _ => unreachable!("all leaves have the same depth"),
        }
        self.separators.remove(i - 1);
        trim(&mut self.children, STEP);
        trim(&mut self.summaries, STEP);
    }
}
