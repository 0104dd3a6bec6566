//! Finds the ranges that hold a key: an interval treap.
//!
//! # Invariants
//! - In-order traversal is ascending by `(start, slot)`; a parent's priority is at least its children's.
//! - `reach` of a node is the greatest end in its subtree, so a subtree whose reach lies at or below a key is
//!   skipped whole. A query costs O(log n + found) for ranges that nest or lie apart, as prefixes do.

use bytes::Bytes;
use std::cmp::Ordering;

/// A set of half-open ranges, each with the number that its owner gave it.
#[derive(Default)]
pub(super) struct IntervalTree {
    root: Link,
    /// State of the generator of priorities. They only shape the tree; results do not depend on them.
    seed: u64,
}

type Link = Option<Box<Node>>;

struct Node {
    start: Bytes,
    end: End,
    slot: usize,
    priority: u64,
    reach: End,
    left: Link,
    right: Link,
}

/// An exclusive end; `None` is past every key.
type End = Option<Bytes>;

impl IntervalTree {
    /// Adds `[start, end)`. Slots are distinct.
    pub(super) fn insert(&mut self, start: Bytes, end: End, slot: usize) {
        let priority = self.next_priority();
        let node = Box::new(Node { reach: end.clone(), start, end, slot, priority, left: None, right: None });
        let (left, right) = split(self.root.take(), &node.start, slot);
        self.root = merge(merge(left, Some(node)), right);
    }

    /// Removes the range that was inserted with this start and slot.
    pub(super) fn remove(&mut self, start: &[u8], slot: usize) {
        self.root = remove(self.root.take(), start, slot);
    }

    /// Calls `visit` with the slot of every range that holds `key`, in ascending order of start.
    pub(super) fn stab(&self, key: &[u8], visit: &mut dyn FnMut(usize)) {
        stab(&self.root, key, visit);
    }

    /// The next number of a splitmix64 sequence.
    fn next_priority(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Node {
    fn order(&self, start: &[u8], slot: usize) -> Ordering {
        self.start[..].cmp(start).then(self.slot.cmp(&slot))
    }

    fn update(&mut self) {
        let mut reach = &self.end;
        for child in [&self.left, &self.right].into_iter().flatten() {
            if ends_before(reach, &child.reach) {
                reach = &child.reach;
            }
        }
        self.reach = reach.clone();
    }
}

fn ends_before(a: &End, b: &End) -> bool {
    match (a, b) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(a), Some(b)) => a < b,
    }
}

fn reaches(end: &End, key: &[u8]) -> bool {
    end.as_ref().is_none_or(|end| key < &end[..])
}

fn stab(link: &Link, key: &[u8], visit: &mut dyn FnMut(usize)) {
    let Some(node) = link else { return };
    if !reaches(&node.reach, key) {
        return;
    }
    stab(&node.left, key, visit);
    if node.start[..] <= *key {
        if reaches(&node.end, key) {
            visit(node.slot);
        }
        stab(&node.right, key, visit);
    }
}

/// Cuts a tree into what lies before `(start, slot)` and the rest.
fn split(link: Link, start: &[u8], slot: usize) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if node.order(start, slot) == Ordering::Less {
        let (left, right) = split(node.right.take(), start, slot);
        node.right = left;
        node.update();
        (Some(node), right)
    } else {
        let (left, right) = split(node.left.take(), start, slot);
        node.left = right;
        node.update();
        (left, Some(node))
    }
}

/// Joins two trees of which the first lies wholly before the second.
fn merge(left: Link, right: Link) -> Link {
    let (mut a, mut b) = match (left, right) {
        (None, other) | (other, None) => return other,
        (Some(a), Some(b)) => (a, b),
    };
    if a.priority >= b.priority {
        a.right = merge(a.right.take(), Some(b));
        a.update();
        Some(a)
    } else {
        b.left = merge(Some(a), b.left.take());
        b.update();
        Some(b)
    }
}

fn remove(link: Link, start: &[u8], slot: usize) -> Link {
    let mut node = link?;
    match node.order(start, slot) {
        Ordering::Equal => return merge(node.left.take(), node.right.take()),
        Ordering::Less => node.right = remove(node.right.take(), start, slot),
        Ordering::Greater => node.left = remove(node.left.take(), start, slot),
    }
    node.update();
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(tree: &IntervalTree, key: &[u8]) -> Vec<usize> {
        let mut slots = Vec::new();
        tree.stab(key, &mut |slot| slots.push(slot));
        slots.sort_unstable();
        slots
    }

    fn depth(link: &Link) -> usize {
        link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    #[test]
    fn ordered_inserts_stay_shallow() {
        let mut tree = IntervalTree::default();
        for n in 0..10_000u32 {
            tree.insert(format!("{n:05}").into(), Some(format!("{n:05}~").into()), n as usize);
        }
        assert!(depth(&tree.root) < 60, "{}", depth(&tree.root));
        assert_eq!(found(&tree, b"04321x"), [4321]);
    }

    proptest! {
        #[test]
        fn finds_what_a_list_finds(
            ops in prop::collection::vec((any::<bool>(), 0u8..20, prop::option::of(0u8..20)), 1..80),
        ) {
            let mut tree = IntervalTree::default();
            let mut list: Vec<(Bytes, End, usize)> = Vec::new();
            for (slot, (add, start, end)) in ops.into_iter().enumerate() {
                if add || list.is_empty() {
                    let range = (Bytes::from(vec![start]), end.map(|e| Bytes::from(vec![e])), slot);
                    tree.insert(range.0.clone(), range.1.clone(), slot);
                    list.push(range);
                } else {
                    let (start, _, slot) = list.remove(start as usize % list.len());
                    tree.remove(&start, slot);
                }
                for key in 0u8..21 {
                    let expected: Vec<usize> = list
                        .iter()
                        .filter(|(s, e, _)| s[..] <= [key][..] && reaches(e, &[key]))
                        .map(|(_, _, slot)| *slot)
                        .collect();
                    prop_assert_eq!(found(&tree, &[key]), expected);
                }
            }
        }
    }
}
