//! The quota: refuses what would grow the store beyond it, raises the alarm that has every member refuse it, and
//! clears the alarm once a compaction has made room. What an operator has raised stays.
//!
//! # Data path
//! A command passes [`Quota::admit`] before it is proposed. What the quota is held against is in use, not what lies on
//! the medium: no defragmentation is needed to make room.
//!
//! # Invariants
//! - Only the alarm, which goes through the log, has apply refuse anything: the sizes of one member never do.
//! - The quota is looked at before a proposal. What is on its way then may exceed it, by as much as may be in flight.

#[cfg(test)]
mod tests;

use super::proposals::Proposals;
use super::values::ValueStore;
use crate::error::Error;
use crate::state::{Command, StateReader, cost_bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The quota of this member.
pub(super) struct Quota {
    /// 0 for none.
    bytes_max: u64,
    member: u64,
    reader: StateReader,
    values: Arc<ValueStore>,
    proposals: Arc<Proposals>,
    /// Whether somebody raises the alarm now: a crowd that is refused proposes it once.
    raising: AtomicBool,
}

impl Quota {
    /// A quota of `bytes_max` for `member`; 0 for none.
    pub(super) fn new(
        bytes_max: u64,
        member: u64,
        reader: StateReader,
        values: Arc<ValueStore>,
        proposals: Arc<Proposals>,
    ) -> Arc<Self> {
        let raising = AtomicBool::new(false);
        Arc::new(Self { bytes_max, member, reader, values, proposals, raising })
    }

    /// Whether `command` may be proposed. If it does not fit, the alarm is raised before this returns.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::Corrupt`] while that alarm is raised.
    pub(super) async fn admit(&self, command: &Command) -> Result<(), Error> {
        self.reader.admit(command)?;
        if self.bytes_max == 0 {
            return Ok(());
        }
        let cost = cost_bytes(command) as u64;
        if cost == 0 || self.values.bytes_in_use().saturating_add(cost) < self.bytes_max {
            return Ok(());
        }
        self.raise().await;
        Err(Error::NoSpace)
    }

    async fn raise(&self) {
        if self.raising.swap(true, Ordering::AcqRel) {
            return;
        }
        let _lowered = Lower(&self.raising);
        let in_use = self.values.bytes_in_use();
        match self.proposals.propose(self.command(true)).await.and_then(|answered| answered.answer.result) {
            Ok(_) => {
                tracing::warn!(in_use, quota = self.bytes_max, "the quota is reached: NOSPACE is raised")
            }
            Err(error) => tracing::warn!(%error, "the quota is reached, but NOSPACE could not be raised"),
        }
    }

    /// Told after a flush, and after a compaction has given space back: clears the
    /// alarm that this quota has raised, without waiting for it, if the size has fallen below nine tenths of it.
    pub(super) fn space_was_freed(&self) {
        let in_use = self.values.bytes_in_use();
        let has_room = in_use < self.bytes_max - self.bytes_max / 10;
        if has_room && self.reader.is_raised_by_quota(self.member) {
            tracing::info!(in_use, quota = self.bytes_max, "there is room again: NOSPACE is cleared");
            self.proposals.send(self.command(false));
        }
    }

    fn command(&self, full: bool) -> Command {
        Command::Quota { member: self.member, full }
    }
}

/// Takes the flag back, also if the caller of [`Quota::admit`] leaves.
struct Lower<'a>(&'a AtomicBool);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl std::fmt::Debug for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quota").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}
