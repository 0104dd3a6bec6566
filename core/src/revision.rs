//! Positions in the history of the store, and lease identities.

use std::fmt;

/// Position of one change in the history of the store.
///
/// `main` is the store's revision: every transaction that changes something takes the next one.
/// `sub` numbers the changes inside that transaction from 0. Ordered by `(main, sub)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The store revision: 1 for a fresh store, 2 for its first change.
    pub main: i64,
    /// The position inside the transaction, from 0.
    pub sub: u32,
}

impl Revision {
    /// The revision of a store that holds nothing yet.
    pub const FRESH: i64 = 1;

    /// The first change of the transaction at `main`.
    pub const fn first(main: i64) -> Self {
        Self { main, sub: 0 }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}

/// Identity of a lease. 0 means "no lease".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// The absence of a lease.
    pub const NONE: LeaseId = LeaseId(0);

    /// Whether this names no lease.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
