//! How much of the store one txn may look at.
//!
//! A txn is carried out as a whole, and nothing else is applied meanwhile: a few kilobytes of it could ask for billions
//! of keys. So all that it will look at is counted before its first write, from the counts of the index, and what is too
//! much is refused. Every member has to come to the same result: the bound is a constant of the state machine, and only
//! what is part of the state is counted, never what the index or a medium happen to hold.

use crate::error::Error;

/// Most keys that one txn may look at. A value that is read counts as 16 keys and one more for each 256 bytes.
pub const TXN_LOOKS_MAX: u64 = 200_000;

/// What it costs to read a value, in keys: it may have to come from the disk.
pub(super) fn value_looks(value_bytes: usize) -> u64 {
    16 + value_bytes as u64 / 256
}

/// What a txn may still look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: TXN_LOOKS_MAX }
    }
}

impl Budget {
    /// Takes `looks` out of it.
    ///
    /// # Errors
    /// [`Error::TxnTooLarge`] if there are not so many left.
    pub fn spend(&mut self, looks: u64) -> Result<(), Error> {
        self.left = self.left.checked_sub(looks).ok_or(Error::TxnTooLarge)?;
        Ok(())
    }

    /// What is left of it.
    pub fn left(&self) -> u64 {
        self.left
    }
}
