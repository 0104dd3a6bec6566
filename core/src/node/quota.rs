//! The quota, and room on the medium: refuses what would grow the store beyond either, raises the alarm that has every
//! member refuse it, and clears the alarm once there is room again, on both. What an operator has raised stays.
//!
//! # Data path
//! A command passes [`Quota::admit`] before it is proposed. What the quota is held against is in use, not what lies on
//! the medium: no defragmentation is needed to make room.
//!
//! # Invariants
//! - Only the alarm, which goes through the log, has apply refuse anything: the sizes of one member never do.
//! - The quota is looked at before a proposal. What is on its way then may exceed it, by as much as may be in flight.
//! - What grows the store is proposed only if it, what is on its way and what is unflushed surely find room in one
//!   flush. So a full disk is met with no more unflushed than what is set aside carries, and what frees space (never
//!   refused here) can be flushed.

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
    /// [`Error::NoSpace`]; [`Error::Corrupt`] while that alarm is raised; [`Error::TooManyRequests`] until what takes up
    /// the last room is flushed.
    pub(super) async fn admit(&self, command: &Command) -> Result<(), Error> {
        self.reader.admit(command)?;
        let cost = cost_bytes(command) as u64;
        let fits = self.bytes_max == 0 || self.values.bytes_in_use().saturating_add(cost) < self.bytes_max;
        if cost == 0 {
            return Ok(());
        }
        if fits && self.values.records().has_room() {
            let pending = || self.proposals.bytes() as u64;
            let pending_max = self.proposals.bytes_max() as u64;
            return match self.values.fits_in_a_flush(pending, pending_max, cost) {
                true => Ok(()),
                false => Err(Error::TooManyRequests),
            };
        }
        // Rare, and so no part of what every write waits in.
        Box::pin(self.raise()).await;
        Err(Error::NoSpace)
    }

    /// Raises this member's alarm, unless somebody does that now.
    pub(super) async fn raise(&self) {
        if self.raising.swap(true, Ordering::AcqRel) {
            return;
        }
        let _lowered = Lower(&self.raising);
        let in_use = self.values.bytes_in_use();
        match self.proposals.propose(self.command(true)).await.and_then(|answered| answered.answer.result) {
            Ok(_) => {
                let disk_has_room = self.values.records().has_room();
                tracing::warn!(in_use, quota = self.bytes_max, disk_has_room, "NOSPACE is raised");
            }
            // As long as even the log has no room, which it says itself.
            Err(Error::NoSpace) => {}
            Err(error) => tracing::warn!(%error, "there is no space, but NOSPACE could not be raised"),
        }
    }

    /// Told after a flush, after a compaction has given space back, and now and then: clears the alarm that this member
    /// has raised, in this life or an earlier one, without waiting for it, if the size has fallen below nine tenths of
    /// the quota and the medium has room.
    pub(super) fn look_again(&self) {
        if !self.reader.is_raised_by_quota(self.member) {
            return;
        }
        let in_use = self.values.bytes_in_use();
        let fits = self.bytes_max == 0 || in_use < self.bytes_max - self.bytes_max / 10;
        if fits && self.values.records().has_room() {
            tracing::info!(in_use, quota = self.bytes_max, "there is room again: NOSPACE is cleared");
            self.proposals.send(self.command(false));
        }
    }

    /// Told now and then, after what may have made room; `waited` is what it returned the time before. Returns whether
    /// the log waits for room: if it goes on waiting, what waits for it is refused until it has some.
    pub(super) fn mind_full_log(&self, waited: bool) -> bool {
        let waits = self.proposals.log_is_full();
        match waits {
            true if waited => self.proposals.turn_away_from_full_log(),
            true => {}
            false => self.proposals.log_goes_on(),
        }
        waits
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
