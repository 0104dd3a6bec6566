//! What an inner node knows of a child without visiting it.

/// Sums over the keys of a subtree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Keys whose newest revision is a put.
    pub(super) live: u64,
    /// Keys that pruning may find something in: they have older revisions or end in a tombstone.
    pub(super) stale: u64,
    /// The highest main revision at which any key came into being or was deleted. (Updates do not count.)
    pub(super) turned: i64,
}

impl Summary {
    /// Takes in another part.
    pub(super) fn add(&mut self, part: Summary) {
        self.live += part.live;
        self.stale += part.stale;
        self.turned = self.turned.max(part.turned);
    }

    /// One key changed from `before` to `after`; of a new key `before` is the default.
    pub(super) fn replace(&mut self, before: Summary, after: Summary) {
        self.live = self.live + after.live - before.live;
        self.stale = self.stale + after.stale - before.stale;
        self.turned = self.turned.max(after.turned);
    }

    /// Whether the same keys as now were live at main revision `at`: none came or went after it.
    pub(super) fn holds_at(&self, at: i64) -> bool {
        self.turned <= at
    }

    /// Whether no key can be live at main revision `at`.
    pub(super) fn is_dead_at(&self, at: i64) -> bool {
        self.live == 0 && self.holds_at(at)
    }
}

impl FromIterator<Summary> for Summary {
    fn from_iter<I: IntoIterator<Item = Summary>>(parts: I) -> Self {
        let mut sum = Self::default();
        for part in parts {
            sum.add(part);
        }
        sum
    }
}
