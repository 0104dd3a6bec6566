//! Counting and visiting a range of keys at a moment.
//!
//! A moment is the last visible main revision; the newest moment is the highest number there is, so that every
//! summary holds at it.

use super::Version;
use super::node::{Inner, Leaf, Node};
use crate::key_range::KeyRange;
use bytes::Bytes;
use std::ops::{Bound, ControlFlow, Range};

/// The part of a range that concerns a subtree. Where the range reaches beyond the subtree it is unbounded.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    /// Included; empty for unbounded.
    from: &'a [u8],
    to: Bound<&'a [u8]>,
}

/// A count under way: how many keys are live after main revision `at`.
pub(super) struct Counting {
    at: i64,
    /// How many more slots may be looked at.
    looks_left: usize,
    pub(super) count: u64,
    /// The first key that was not counted any more.
    pub(super) next: Option<Bytes>,
}

impl Counting {
    pub(super) fn new(at: i64, looks_max: usize) -> Self {
        Self { at, looks_left: looks_max.max(1), count: 0, next: None }
    }
}

/// A walk under way over the keys that are live after main revision `at`.
pub(super) struct Walking<'v> {
    at: i64,
    /// How many more slots may be looked at.
    looks_left: usize,
    visit: &'v mut Visit<'v>,
    /// Where to go on, if the walk ended before the span did.
    pub(super) next: Option<Bytes>,
}

type Visit<'v> = dyn FnMut(&[u8], Version) -> ControlFlow<()> + 'v;

impl<'v> Walking<'v> {
    pub(super) fn new(at: i64, looks_max: usize, visit: &'v mut Visit<'v>) -> Self {
        Self { at, looks_left: looks_max.max(1), visit, next: None }
    }

    /// Looks at one slot, and breaks where the walk ends.
    fn look(&mut self, leaf: &Leaf, i: usize) -> ControlFlow<()> {
        let key = leaf.keys.get(i);
        if self.looks_left == 0 {
            self.next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        self.looks_left -= 1;
        let Some(version) = leaf.slots[i].get(self.at) else { return ControlFlow::Continue(()) };
        let done = (self.visit)(key, version);
        if done.is_break() {
            self.next = Some([key, &[0]].concat().into());
        }
        done
    }
}

impl<'a> Span<'a> {
    pub(super) fn of(range: &'a KeyRange) -> Self {
        Self { from: range.start(), to: range.end_bound() }
    }

    fn is_whole(&self) -> bool {
        self.from.is_empty() && self.to == Bound::Unbounded
    }

    /// The children that the span reaches into.
    fn children(&self, inner: &Inner) -> Range<usize> {
        let last = match self.to {
            Bound::Unbounded => inner.children.len() - 1,
            Bound::Included(to) => inner.separators.up_to(to),
            Bound::Excluded(to) => inner.separators.below(to),
        };
        let first = if self.from.is_empty() { 0 } else { inner.child_of(self.from) };
        first..last + 1
    }

    /// What of the span concerns child `i` of `children`.
    fn within(&self, i: usize, children: &Range<usize>) -> Span<'a> {
        Span {
            from: if i == children.start { self.from } else { &[] },
            to: if i + 1 == children.end { self.to } else { Bound::Unbounded },
        }
    }

    /// The slots in the span.
    fn slots(&self, leaf: &Leaf) -> Range<usize> {
        // A search of a leaf that lies in the span as a whole would cost more than a visit of some of its keys.
        let start = if self.from.is_empty() { 0 } else { leaf.keys.below(self.from) };
        let end = match self.to {
            Bound::Unbounded => leaf.slots.len(),
            Bound::Included(to) => leaf.keys.up_to(to),
            Bound::Excluded(to) => leaf.keys.below(to),
        };
        start..end.max(start)
    }
}

impl Node {
    /// Counts the keys of the span.
    pub(super) fn count(&self, span: Span<'_>, counting: &mut Counting) {
        match self {
            Node::Leaf(leaf) => leaf.count(span, counting),
            Node::Inner(inner) => inner.count(span, counting),
        }
    }

    /// Visits the live keys of the span, ascending.
    pub(super) fn walk(&self, span: Span<'_>, walking: &mut Walking<'_>) -> ControlFlow<()> {
        match self {
            Node::Leaf(leaf) => span.slots(leaf).try_for_each(|i| walking.look(leaf, i)),
            Node::Inner(inner) => {
                let children = span.children(inner);
                let at = walking.at;
                children
                    .clone()
                    .filter(|&i| !inner.summaries[i].is_dead_at(at))
                    .try_for_each(|i| inner.children[i].walk(span.within(i, &children), walking))
            }
        }
    }
}

impl Leaf {
    fn count(&self, span: Span<'_>, counting: &mut Counting) {
        let slots = span.slots(self);
        if counting.looks_left == 0 {
            counting.next = slots.clone().next().map(|i| Bytes::copy_from_slice(self.keys.get(i)));
            return;
        }
        counting.looks_left = counting.looks_left.saturating_sub(slots.len());
        counting.count += self.slots[slots].iter().filter(|slot| slot.is_live(counting.at)).count() as u64;
    }
}

impl Inner {
    fn count(&self, span: Span<'_>, counting: &mut Counting) {
        let children = span.children(self);
        for i in children.clone() {
            let (within, summary) = (span.within(i, &children), self.summaries[i]);
            if summary.holds_at(counting.at) && (summary.live == 0 || within.is_whole()) {
                counting.count += summary.live;
            } else {
                self.children[i].count(within, counting);
            }
            if counting.next.is_some() {
                break;
            }
        }
    }
}
