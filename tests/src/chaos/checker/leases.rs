//! A lease ends between its TTL and its TTL plus two election timeouts after its last renewal; later only where there was
//! trouble, and then as long after that.

use super::timeline::Timeline;
use super::{Kind, Verdict, Violation};
use crate::chaos::history::{Action, Answer, History, Micros, Notice, Operation, Outcome};
use std::collections::{BTreeMap, HashMap};

/// How long the news of an end may take to a watcher on a busy machine.
const NEWS_US: Micros = 1_500_000;

/// What is known of a lease.
#[derive(Debug, Default)]
struct Lease {
    ttl_us: Micros,
    /// It lives at least until its TTL after this.
    renewed_after: Micros,
    /// It was renewed at the latest then.
    renewed_by: Micros,
    /// Renewals that were confirmed: their calls.
    confirmed: Vec<Micros>,
    revoked: Option<Micros>,
    /// Whether it is known to have been granted.
    granted: bool,
}

pub(super) fn check(history: &History, timeline: &Timeline, verdict: &mut Verdict) {
    let leases = leases(history);
    let ends = ends(timeline);
    let seen = first_seen(history);
    let end_of_run = history.watched.iter().flat_map(|watched| &watched.notices).map(|(at, _)| *at).max();
    for (id, lease) in leases.iter().filter(|(_, lease)| lease.granted) {
        let Some(end) = ends.get(id) else {
            let had_keys = timeline
                .revisions()
                .any(|(_, changes)| changes.iter().any(|change| change.pair.lease == *id));
            if had_keys && let Some(now) = end_of_run.filter(|now| *now > latest(lease, Micros::MAX, history))
            {
                let text = format!("lease {id} still lives at {now}: {lease:?}");
                verdict.violations.push(Violation::new(Kind::LeaseLate, text));
            }
            continue;
        };
        let Some(at) = seen.get(end).copied() else { continue };
        verdict.leases += 1;
        if let Some(revived) = lease.confirmed.iter().find(|call| **call > at) {
            let text = format!("lease {id} was renewed at {revived}, but its end was seen at {at}");
            verdict.violations.push(Violation::new(Kind::LeaseRevived, text));
        }
        if lease.revoked.is_some_and(|revoked| revoked <= at) {
            continue;
        }
        let earliest = lease.confirmed.iter().filter(|call| **call <= at).max();
        if let Some(earliest) = earliest.map(|call| call + lease.ttl_us).filter(|earliest| at < *earliest) {
            let text =
                format!("lease {id} ended at revision {end}, seen at {at}, before {earliest}: {lease:?}");
            verdict.violations.push(Violation::new(Kind::LeaseEarly, text));
        }
        let latest = latest(lease, at, history);
        if at > latest {
            let text = format!("lease {id} ended at revision {end}, seen at {at}, after {latest}: {lease:?}");
            verdict.violations.push(Violation::new(Kind::LeaseLate, text));
        }
    }
}

/// When the end of a lease must have been seen, if it was seen at `at`.
fn latest(lease: &Lease, at: Micros, history: &History) -> Micros {
    let slack = 2_000 * history.setting.election_ms + NEWS_US;
    let mut latest = lease.renewed_by + lease.ttl_us + slack;
    // Trouble before a lease's end puts it off: nobody may have led, and a new leader counts anew.
    for trouble in &history.disturbances {
        if trouble.from <= latest && trouble.from <= at && trouble.until >= lease.renewed_after {
            latest = latest.max(trouble.until + lease.ttl_us + slack);
        }
    }
    latest
}

fn leases(history: &History) -> BTreeMap<i64, Lease> {
    let mut leases: BTreeMap<i64, Lease> = BTreeMap::new();
    for operation in &history.operations {
        let Operation { call, end, action, outcome, .. } = operation;
        match action {
            Action::Grant { lease, ttl_s } => {
                let lease = leases.entry(*lease).or_default();
                lease.ttl_us = u64::try_from(*ttl_s).unwrap_or(0) * 1_000_000;
                lease.renewed_by = lease.renewed_by.max(*end);
                if let Outcome::Ok { answer: Answer::Lease { ttl_s }, .. } = outcome {
                    lease.ttl_us = u64::try_from(*ttl_s).unwrap_or(0) * 1_000_000;
                    lease.renewed_after = lease.renewed_after.max(*call);
                    lease.confirmed.push(*call);
                    lease.granted = true;
                }
            }
            Action::KeepAlive { lease } => {
                let lease = leases.entry(*lease).or_default();
                match outcome {
                    Outcome::Ok { answer: Answer::Lease { ttl_s: 0 }, .. } => {}
                    Outcome::Ok { .. } => {
                        lease.renewed_after = lease.renewed_after.max(*call);
                        lease.renewed_by = lease.renewed_by.max(*end);
                        lease.confirmed.push(*call);
                    }
                    Outcome::Failed(_) | Outcome::Unknown(_) => {
                        lease.renewed_by = lease.renewed_by.max(*end + 1_000_000);
                    }
                }
            }
            Action::Revoke { lease } => {
                let lease = leases.entry(*lease).or_default();
                lease.revoked = Some(lease.revoked.unwrap_or(*call).min(*call));
            }
            _ => {}
        }
    }
    leases
}

/// The revision that deleted the keys of each lease.
fn ends(timeline: &Timeline) -> BTreeMap<i64, i64> {
    let mut ends = BTreeMap::new();
    for (revision, changes) in timeline.revisions() {
        for change in changes.iter().filter(|change| change.deleted) {
            if let Some(before) =
                timeline.at(&change.pair.key, revision - 1).filter(|before| before.lease != 0)
            {
                ends.entry(before.lease).or_insert(revision);
            }
        }
    }
    ends
}

/// When each revision was first told to a watcher.
fn first_seen(history: &History) -> HashMap<i64, Micros> {
    let mut seen: HashMap<i64, Micros> = HashMap::new();
    for (at, notice) in history.watched.iter().flat_map(|watched| &watched.notices) {
        if let Notice::Changes { changes } = notice {
            for change in changes {
                let first = seen.entry(change.pair.modified).or_insert(*at);
                *first = (*first).min(*at);
            }
        }
    }
    seen
}
