//! Counts the leases of a store on its leader, and says which have ended.
//!
//! A pure data structure: it is told the time and proposes nothing. The node feeds it what was applied and what
//! clients ask, and turns what is [`due`](LeaseClock::due) into proposals.
//!
//! # Invariants
//! - Only a leader counts; without leadership the clock is empty and nothing is ever due.
//! - A lease is due no earlier than its TTL after it was granted or last renewed here, or, after a change of
//!   leader, than what was left of it by the last checkpoint after the promotion.
//! - A lease that was handed out as due is *expiring* until it is [removed](LeaseClock::remove) or
//!   [put back](LeaseClock::expiry_failed): it is not handed out twice, and can not be renewed meanwhile.
//! - Every operation costs O(log n); promotion costs O(n log n).
//!
//! Nothing here is durable: what must survive are the applied grants and checkpoints.

use crate::planted::{Bug, planted};
use crate::revision::LeaseId;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How often what is left of a long lease is written to the log, as in etcd.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);

/// Stands for a TTL that the clock's type can not add up: 100 years.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// One lease, as a new leader finds it in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerm {
    /// Which lease.
    pub id: LeaseId,
    /// Its granted TTL in seconds.
    pub ttl_s: i64,
    /// What was left of it at its last checkpoint, in seconds; 0 if it has none.
    pub remaining_s: i64,
}

/// Counts leases down while this node leads.
#[derive(Debug, Default)]
pub struct LeaseClock {
    leading: bool,
    leases: HashMap<LeaseId, Counted>,
    /// Leases that count, by when they end. Expiring ones are not in it.
    deadlines: BTreeSet<(Instant, LeaseId)>,
    /// Leases whose TTL is long enough, by when they may need a checkpoint.
    checkpoints: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Debug)]
struct Counted {
    ttl_s: i64,
    /// The stored checkpoint in seconds; 0 for none.
    remaining_s: i64,
    deadline: Instant,
    /// When it last began to count from its full TTL or was promoted.
    counted_from: Instant,
    checkpoint_at: Option<Instant>,
    expiring: bool,
    /// Whether a checkpoint of it is on its way.
    checkpointing: bool,
}

impl LeaseClock {
    /// A clock that does not lead.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it counts.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// Number of leases counted, expiring ones included.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether no lease is counted.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Begins to count all leases of the state, from now.
    ///
    /// Each gets what was left of it at its last checkpoint, or else its TTL, and `extend` on top (the election
    /// timeout: the time in which clients could not renew). A second promotion begins anew.
    pub fn promote(&mut self, leases: impl IntoIterator<Item = LeaseTerm>, now: Instant, extend: Duration) {
        self.demote();
        self.leading = true;
        for LeaseTerm { id, ttl_s, remaining_s } in leases {
            let left = if remaining_s > 0 { remaining_s } else { ttl_s };
            if planted(Bug::LeaseLostAtFailover) {
                continue;
            }
            let (left, extend) = match planted(Bug::LeaseEarlyAtFailover) {
                true => (left / 2, Duration::ZERO),
                false => (left, extend),
            };
            self.count(id, ttl_s, remaining_s, later(now, seconds(left) + extend), now);
        }
        // Built from vectors, which is several times faster than lease by lease.
        let ids = || self.leases.iter();
        self.deadlines = Vec::from_iter(ids().map(|(&id, lease)| (lease.deadline, id))).into_iter().collect();
        let checkpoints = ids().filter_map(|(&id, lease)| Some((lease.checkpoint_at?, id)));
        self.checkpoints = Vec::from_iter(checkpoints).into_iter().collect();
    }

    /// Stops counting and forgets every lease.
    pub fn demote(&mut self) {
        *self = Self::default();
    }

    /// A lease was granted. Ignored unless leading.
    pub fn grant(&mut self, id: LeaseId, ttl_s: i64, now: Instant) {
        if !self.leading {
            return;
        }
        self.remove(id);
        let deadline = later(now, seconds(ttl_s));
        let checkpoint_at = self.count(id, ttl_s, 0, deadline, now);
        self.deadlines.insert((deadline, id));
        self.checkpoints.extend(checkpoint_at.map(|at| (at, id)));
    }

    /// A lease was revoked or has expired.
    pub fn remove(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.deadlines.remove(&(lease.deadline, id));
            if let Some(at) = lease.checkpoint_at {
                self.checkpoints.remove(&(at, id));
            }
        }
    }

    /// Counts the lease anew and returns its TTL in seconds. `None` if it is not counted here, is expiring or is being
    /// checkpointed: then whoever renews it has to wait for the outcome.
    pub fn renew(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|lease| !lease.expiring && !lease.checkpointing)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = later(now, seconds(lease.ttl_s));
        lease.counted_from = now;
        self.deadlines.insert((lease.deadline, id));
        Some(lease.ttl_s)
    }

    /// Whether the lease was handed out as due and its outcome is not known.
    pub fn is_expiring(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.expiring)
    }

    /// Whether a checkpoint of the lease is on its way. A renewal would make it say too little.
    pub fn is_checkpointing(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.checkpointing)
    }

    /// What is left of a lease; zero once it is over. `None` if it is not counted here.
    pub fn remaining(&self, id: LeaseId, now: Instant) -> Option<Duration> {
        Some(self.leases.get(&id)?.deadline.saturating_duration_since(now))
    }

    /// Up to `max` leases that have ended, the longest ended first. They are expiring from here on.
    pub fn due(&mut self, now: Instant, max: usize) -> Vec<LeaseId> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.expiring = true;
            }
            due.push(id);
        }
        due
    }

    /// The expiry of these leases surely did not happen: they are due again, at once.
    pub fn expiry_failed(&mut self, ids: impl IntoIterator<Item = LeaseId>) {
        for id in ids {
            if let Some(lease) = self.leases.get_mut(&id)
                && lease.expiring
            {
                lease.expiring = false;
                self.deadlines.insert((lease.deadline, id));
            }
        }
    }

    /// When the next lease ends or may need a checkpoint; `None` if there is nothing to wait for.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ends = self.deadlines.first().map(|&(at, _)| at);
        let checkpoint = self.checkpoints.first().map(|&(at, _)| at);
        ends.into_iter().chain(checkpoint).min()
    }

    /// Up to `max` leases to checkpoint, with what is left of them in seconds, rounded up.
    ///
    /// A lease is named when it has counted for [`CHECKPOINT_INTERVAL`] since it was renewed or last named. It can not
    /// be renewed until its checkpoint [is over](Self::checkpoint_over).
    pub fn checkpoints_due(&mut self, now: Instant, max: usize) -> Vec<(LeaseId, i64)> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(&(at, id)) = self.checkpoints.first()
            && at <= now
        {
            self.checkpoints.pop_first();
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            // Renewals do not move the checkpoint: it is looked at again when it comes up.
            let quiet_until = lease.counted_from + CHECKPOINT_INTERVAL;
            let next = if quiet_until > now { quiet_until } else { now + CHECKPOINT_INTERVAL };
            lease.checkpoint_at = Some(next);
            self.checkpoints.insert((next, id));
            if quiet_until <= now && now < lease.deadline && !lease.expiring {
                lease.checkpointing = true;
                due.push((id, seconds_up(lease.deadline.saturating_duration_since(now))));
            }
        }
        due
    }

    /// What became of the checkpoints that were handed out is known, or never will be: then they count as stored.
    pub fn checkpoint_over(&mut self, remaining: impl IntoIterator<Item = (LeaseId, i64)>, is_known: bool) {
        for (id, remaining_s) in remaining {
            if let Some(lease) = self.leases.get_mut(&id)
                && std::mem::take(&mut lease.checkpointing)
                && !is_known
            {
                lease.remaining_s = remaining_s;
            }
        }
    }

    /// A checkpoint was applied; 0 for "cleared".
    pub fn checkpointed(&mut self, id: LeaseId, remaining_s: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.remaining_s = remaining_s;
        }
    }

    /// Whether a stored checkpoint must be cleared through the log before the lease is renewed: else the next
    /// leader would count less than the renewal promised.
    pub fn needs_checkpoint_clear(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.remaining_s > 0)
    }

    /// Enters a lease, except in the ordered sets; returns when it may need a checkpoint.
    fn count(
        &mut self,
        id: LeaseId,
        ttl_s: i64,
        remaining_s: i64,
        deadline: Instant,
        now: Instant,
    ) -> Option<Instant> {
        let checkpoint_at = (seconds(ttl_s) > CHECKPOINT_INTERVAL).then(|| now + CHECKPOINT_INTERVAL);
        let lease = Counted {
            ttl_s,
            remaining_s,
            deadline,
            counted_from: now,
            checkpoint_at,
            expiring: false,
            checkpointing: false,
        };
        self.leases.insert(id, lease);
        checkpoint_at
    }
}

fn seconds(s: i64) -> Duration {
    Duration::from_secs(s.max(0).unsigned_abs())
}

fn seconds_up(duration: Duration) -> i64 {
    let s = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(s).unwrap_or(i64::MAX)
}

fn later(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or_else(|| now + FOREVER)
}

#[cfg(test)]
mod tests;
