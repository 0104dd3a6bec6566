//! The invariants of the tree, for tests.

use super::KeyIndex;
use super::keys::{KEYS_MAX, Keys};
use super::node::Node;
use super::summary::Summary;

impl KeyIndex {
    /// Panics if the tree is not what the module documentation says; returns its depth.
    pub(super) fn check(&self) -> usize {
        let (depth, summary) = check_node(&self.root, &[], None, true);
        assert_eq!(self.summary.live, summary.live);
        assert_eq!(self.summary.stale, summary.stale);
        assert!(self.summary.turned >= summary.turned);
        depth
    }
}

/// Checks a subtree whose keys must be in `[low, high)`; returns its depth and sums.
fn check_node(node: &Node, low: &[u8], high: Option<&[u8]>, is_root: bool) -> (usize, Summary) {
    match node {
        Node::Leaf(leaf) => {
            assert_eq!(leaf.keys.len(), leaf.slots.len());
            assert!(is_root || !leaf.slots.is_empty(), "an empty leaf stayed");
            check_keys(&leaf.keys, low, high);
            leaf.slots.iter().for_each(|slot| slot.check());
            (1, node.summarize())
        }
        Node::Inner(inner) => {
            let children = inner.children.len();
            assert!(children >= if is_root { 2 } else { 1 }, "an empty inner node stayed");
            assert_eq!(inner.separators.len() + 1, children);
            assert_eq!(inner.summaries.len(), children);
            check_keys(&inner.separators, low, high);
            let mut depths = Vec::new();
            for i in 0..children {
                let low = if i == 0 { low } else { inner.separators.get(i - 1) };
                let high = if i + 1 == children { high } else { Some(inner.separators.get(i)) };
                let (depth, summary) = check_node(&inner.children[i], low, high, false);
                let kept = inner.summaries[i];
                assert_eq!((kept.live, kept.stale), (summary.live, summary.stale));
                assert!(kept.turned >= summary.turned);
                depths.push(depth);
            }
            assert!(depths.iter().all(|&depth| depth == depths[0]), "the tree is not balanced: {depths:?}");
            (depths[0] + 1, node.summarize())
        }
    }
}

fn check_keys(keys: &Keys, low: &[u8], high: Option<&[u8]>) {
    assert!(keys.len() <= KEYS_MAX);
    for i in 0..keys.len() {
        assert!(keys.get(i) >= low && high.is_none_or(|high| keys.get(i) < high), "a key outside its node");
        assert!(i == 0 || keys.get(i - 1) < keys.get(i), "keys do not ascend");
        assert_eq!(keys.search(keys.get(i)), Ok(i));
    }
}
