//! Alarms: what is wrong with a member, as the whole cluster must know it.
//!
//! An alarm is raised and cleared through the log, so that every member refuses the same commands at the same log
//! entry. This module is told why one is raised, by a member's quota, by the comparison of members or by an operator, and
//! never looks at anything local.
//!
//! # Invariants
//! - What an operator has raised is cleared by an operator only.
//! - What the quota of a member, or the comparison, has raised leaves with the member, and comes from members only.
//! - A refused command changes nothing, as any other that fails.
//! - While [`AlarmKind::NoSpace`] is raised nothing that grows the store is applied: puts, txns with a put in either
//!   branch at any depth, grants. Whatever frees space goes on.
//! - While an operator has [`AlarmKind::Corrupt`] raised no key, no lease and no history is changed. Reads go on, as in
//!   etcd, so that what is left can be looked at and saved. The same where the comparison of members could not tell who is
//!   right (member 0). Where it could, the others go on, and the member itself serves nobody.

use super::Command;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::consensus::ids_of;
use crate::error::Error;
use crate::request::{Alarm, AlarmKind, PutRequest, TxnOp, TxnRequest};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// More alarms than this are refused: a member raises its own, so there are as many as members, twice.
const ALARMS_MAX: usize = 4096;
/// What a pair costs beside its key and its value; etcd's figure.
const PAIR_COST_BYTES: usize = 256;
/// What a lease costs; etcd's figure.
const LEASE_COST_BYTES: usize = 64;

/// In checkpoints: no space, as the quota of the member has it.
const QUOTA_NUMBER: u8 = 3;
/// In checkpoints: corrupt, as the comparison of members has it.
const COMPARISON_NUMBER: u8 = 4;

fn corrupt(member: u64) -> Alarm {
    Alarm { member, kind: AlarmKind::Corrupt }
}

fn no_space(member: u64) -> Alarm {
    Alarm { member, kind: AlarmKind::NoSpace }
}

/// Who belongs to the cluster; unknown in a store that was never told, or not so that this version can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members(Option<BTreeSet<u64>>);

impl Members {
    /// Those that the payload of a membership entry names.
    pub(super) fn of(membership: &Bytes) -> Self {
        Self(ids_of(membership.clone()).ok())
    }

    /// Whether an alarm may be of `member`: one of them, or 0, which is nobody.
    pub(super) fn may_name(&self, member: u64) -> bool {
        member == 0 || self.0.as_ref().is_none_or(|ids| ids.contains(&member))
    }
}

/// The alarms that are raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Alarms {
    raised: BTreeMap<Alarm, Raiser>,
}

/// Who has raised an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Raiser {
    Operator,
    Quota,
    Comparison,
}

impl Alarms {
    /// Raises or clears, as an operator asked for. Returns the alarm if it is raised now, or was until now.
    pub(super) fn set(&mut self, alarm: Alarm, raised: bool) -> Result<Option<Alarm>, Error> {
        if !raised {
            return Ok(self.raised.remove(&alarm).map(|_| alarm));
        }
        self.raise(alarm, Raiser::Operator)
    }

    /// Raises or clears the alarm of `member`, as its quota has it. Returns it if it is raised now, or was until now.
    pub(super) fn set_by_quota(&mut self, member: u64, full: bool) -> Result<Option<Alarm>, Error> {
        let alarm = no_space(member);
        match (full, self.raised.contains_key(&alarm)) {
            (true, false) => self.raise(alarm, Raiser::Quota),
            (false, true) if self.is_raised_by_quota(member) => self.set(alarm, false),
            (_, is_raised) => Ok(is_raised.then_some(alarm)),
        }
    }

    /// Raises the alarm of a member whose state is not that of the others; of member 0 if nobody knows whose is right.
    pub(super) fn set_by_comparison(&mut self, member: u64) -> Result<Option<Alarm>, Error> {
        let alarm = corrupt(member);
        if self.raised.contains_key(&alarm) {
            return Ok(Some(alarm));
        }
        self.raise(alarm, Raiser::Comparison)
    }

    /// Clears what was raised by the quota or the comparison of a member that is none any more.
    pub(super) fn keep_own_of(&mut self, members: &Members) {
        self.raised.retain(|alarm, raiser| *raiser == Raiser::Operator || members.may_name(alarm.member));
    }

    /// Whether the comparison, and nobody else, has raised the alarm of `member`.
    pub(super) fn differs(&self, member: u64) -> bool {
        self.raised.get(&corrupt(member)) == Some(&Raiser::Comparison)
    }

    fn raise(&mut self, alarm: Alarm, raiser: Raiser) -> Result<Option<Alarm>, Error> {
        if self.raised.len() >= ALARMS_MAX && !self.raised.contains_key(&alarm) {
            return Err(Error::InvalidArgument(format!("more than {ALARMS_MAX} alarms")));
        }
        self.raised.insert(alarm, raiser);
        Ok(Some(alarm))
    }

    /// Whether the quota of `member`, and nobody else, has raised its alarm.
    pub(super) fn is_raised_by_quota(&self, member: u64) -> bool {
        self.raised.get(&no_space(member)) == Some(&Raiser::Quota)
    }

    /// Those that are raised, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Alarm> {
        self.raised.keys().copied()
    }

    /// Whether `command` may be applied.
    pub(super) fn admit(&self, command: &Command) -> Result<(), Error> {
        if self.raised.is_empty() {
            return Ok(());
        }
        if self.is_frozen() && changes_content(command) {
            return Err(Error::Corrupt("the CORRUPT alarm is raised".into()));
        }
        if self.is_raised(AlarmKind::NoSpace) && cost_bytes(command) > 0 {
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    /// Whether nobody may change anything.
    fn is_frozen(&self) -> bool {
        let freezes = |(alarm, raiser): (&Alarm, &Raiser)| {
            alarm.kind == AlarmKind::Corrupt && (*raiser != Raiser::Comparison || alarm.member == 0)
        };
        self.raised.iter().any(freezes)
    }

    fn is_raised(&self, kind: AlarmKind) -> bool {
        self.raised.keys().any(|alarm| alarm.kind == kind)
    }

    /// Writes `count (member kind)*`, ascending.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u64(self.raised.len() as u64);
        for (alarm, raiser) in &self.raised {
            out.u64(alarm.member);
            out.u8(match raiser {
                Raiser::Operator => number(alarm.kind),
                Raiser::Quota => QUOTA_NUMBER,
                Raiser::Comparison => COMPARISON_NUMBER,
            });
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(input: &mut Decoder) -> Result<Self, Malformed> {
        let mut raised = BTreeMap::new();
        let count = input.count(2)?;
        if count > ALARMS_MAX {
            return Err(Malformed("too many alarms"));
        }
        for _ in 0..count {
            let member = input.u64()?;
            let (alarm, raiser) = match input.u8()? {
                QUOTA_NUMBER => (no_space(member), Raiser::Quota),
                COMPARISON_NUMBER => (corrupt(member), Raiser::Comparison),
                number => (Alarm { member, kind: kind(number)? }, Raiser::Operator),
            };
            if raised.last_key_value().is_some_and(|(last, _)| *last >= alarm) {
                return Err(Malformed("alarms out of order"));
            }
            raised.insert(alarm, raiser);
        }
        Ok(Self { raised })
    }
}

/// The number of a kind, in log entries and checkpoints.
pub(super) fn number(kind: AlarmKind) -> u8 {
    match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }
}

/// The kind that has this number.
pub(super) fn kind(number: u8) -> Result<AlarmKind, Malformed> {
    match number {
        1 => Ok(AlarmKind::NoSpace),
        2 => Ok(AlarmKind::Corrupt),
        _ => Err(Malformed("unknown kind of alarm")),
    }
}

/// About how much `command` grows the store, as etcd counts it against its quota; 0 if it does not.
pub fn cost_bytes(command: &Command) -> usize {
    match command {
        Command::Put(put) => pair_cost_bytes(put),
        Command::Txn(txn) => txn_cost_bytes(txn),
        Command::LeaseGrant { .. } => LEASE_COST_BYTES,
        Command::DeleteRange(_)
        | Command::Compact { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseExpire { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::Alarm { .. }
        | Command::Quota { .. }
        | Command::Differs { .. } => 0,
    }
}

fn pair_cost_bytes(put: &PutRequest) -> usize {
    PAIR_COST_BYTES + put.key.len() + put.value.len()
}

/// That of the costlier branch.
fn txn_cost_bytes(txn: &TxnRequest) -> usize {
    let cost = |ops: &[TxnOp]| {
        let costs = ops.iter().map(|op| match op {
            TxnOp::Put(put) => pair_cost_bytes(put),
            TxnOp::Txn(nested) => txn_cost_bytes(nested),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => 0,
        });
        costs.sum::<usize>()
    };
    cost(&txn.success).max(cost(&txn.failure))
}

fn changes_content(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact { .. }
        | Command::LeaseGrant { .. }
        | Command::LeaseRevoke { .. }
        | Command::LeaseExpire { .. } => true,
        Command::LeaseCheckpoint { .. }
        | Command::Alarm { .. }
        | Command::Quota { .. }
        | Command::Differs { .. } => false,
    }
}
