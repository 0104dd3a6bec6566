//! Every confirmed write is what happened at its revision, and every revision is somebody's write or a lease's end.

use super::model::{effect, same_changes, says_changed, values};
use super::order::{Calls, Floor};
use super::timeline::Timeline;
use super::{Kind, Verdict, Violation};
use crate::chaos::history::{Action, Answer, Change, History, Keys, Operation, Outcome};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Explains all revisions, and says when each was asked for.
pub(super) fn check(history: &History, timeline: &Timeline, floor: &Floor, verdict: &mut Verdict) -> Calls {
    let mut check = Check { timeline, floor, verdict, claimed: BTreeMap::new() };
    for operation in &history.operations {
        if let Some((revision, answer)) = operation.answer()
            && says_changed(answer)
        {
            check.confirmed(operation, revision, answer);
        }
    }
    check.explain_the_rest(history);
    Calls::of(check.claimed.iter().map(|(revision, operation)| (*revision, operation.call)).collect())
}

struct Check<'a> {
    timeline: &'a Timeline,
    floor: &'a Floor,
    verdict: &'a mut Verdict,
    claimed: BTreeMap<i64, &'a Operation>,
}

impl<'a> Check<'a> {
    fn violation(&mut self, kind: Kind, text: String) {
        self.verdict.violations.push(Violation::new(kind, text));
    }

    fn confirmed(&mut self, operation: &'a Operation, revision: i64, answer: &Answer) {
        let Some(expected) = effect(self.timeline, &operation.action, revision - 1) else { return };
        let happened = self.timeline.changes(revision);
        if !same_changes(&expected.changes, happened) {
            let text = format!("{operation:?}, but revision {revision} is {happened:?}");
            self.violation(Kind::LostWrite, text);
            return;
        }
        if expected.answer != *answer {
            self.violation(Kind::WrongAnswer, format!("{operation:?}, and not {:?}", expected.answer));
        }
        if let Some(other) = self.claimed.insert(revision, operation) {
            self.violation(Kind::LostWrite, format!("one revision for {operation:?} and {other:?}"));
        }
        self.in_real_time(operation, revision);
    }

    fn in_real_time(&mut self, operation: &Operation, revision: i64) {
        let seen = self.floor.before(operation.call);
        if revision <= seen {
            let text = format!("revision {seen} was seen before {operation:?} of revision {revision}");
            self.violation(Kind::Stale, text);
        }
    }

    fn explain_the_rest(&mut self, history: &'a History) {
        let mut by_value: HashMap<&str, &Operation> = HashMap::new();
        for operation in &history.operations {
            for value in values(&operation.action) {
                by_value.insert(value, operation);
            }
        }
        let deletions = self.deletions(history);
        // Of operations, by their place: each happens once.
        let mut placed: HashSet<*const Operation> =
            self.claimed.values().map(|operation| std::ptr::from_ref(*operation)).collect();
        let timeline = self.timeline;
        for (revision, happened) in timeline.revisions() {
            self.verdict.revisions += 1;
            if self.claimed.contains_key(&revision) {
                continue;
            }
            let written = happened.iter().find(|change| !change.deleted);
            let found = match written {
                Some(change) => by_value.get(change.pair.value.as_str()).copied(),
                None if is_end_of_lease(timeline, revision, happened) => continue,
                None => deletions.get(&revision).copied(),
            };
            let Some(operation) = found else {
                self.violation(
                    Kind::Unexplained,
                    format!("nobody asked for revision {revision}: {happened:?}"),
                );
                continue;
            };
            if !placed.insert(std::ptr::from_ref(operation)) {
                let text = format!("revision {revision} repeats {operation:?}: {happened:?}");
                self.violation(Kind::DoubledWrite, text);
                continue;
            }
            match &operation.outcome {
                Outcome::Unknown(_) => {}
                Outcome::Failed(_) => {
                    self.violation(Kind::FailedWriteHappened, format!("revision {revision}: {operation:?}"));
                }
                Outcome::Ok { .. } => {
                    let text = format!("{operation:?} happened at revision {revision}");
                    self.violation(Kind::WrongAnswer, text);
                }
            }
            let expected = effect(timeline, &operation.action, revision - 1);
            if !expected.is_some_and(|expected| same_changes(&expected.changes, happened)) {
                let text = format!("{operation:?} did {happened:?} at revision {revision}");
                self.violation(Kind::WrongAnswer, text);
            }
            self.claimed.insert(revision, operation);
            self.in_real_time(operation, revision);
        }
    }

    /// What only deletes and was not confirmed, by the revision that it may have made: there is no value to know it by. Each
    /// happens once, so that one which explains several revisions is given to one that nothing else explains.
    fn deletions(&self, history: &'a History) -> HashMap<i64, &'a Operation> {
        let only_deletes = |operation: &&Operation| {
            operation.action.is_write() && values(&operation.action).next().is_none()
                || matches!(operation.action, Action::Txn { .. })
        };
        let all = || history.operations.iter().filter(only_deletes);
        let unknown: Vec<_> =
            all().filter(|operation| matches!(operation.outcome, Outcome::Unknown(_))).collect();
        let open: Vec<_> = self
            .timeline
            .revisions()
            .filter(|(revision, happened)| {
                !self.claimed.contains_key(revision)
                    && happened.iter().all(|change| change.deleted)
                    && !is_end_of_lease(self.timeline, *revision, happened)
            })
            .collect();
        let fits = |operation: &Operation, (revision, happened): (i64, &[Change])| {
            self.floor.before(operation.call) < revision
                && effect(self.timeline, &operation.action, revision - 1)
                    .is_some_and(|expected| same_changes(&expected.changes, happened))
        };
        let fitting: Vec<Vec<usize>> = open
            .iter()
            .map(|(revision, happened)| {
                (0..unknown.len()).filter(|at| fits(unknown[*at], (*revision, happened))).collect()
            })
            .collect();
        let mut holders = vec![None; unknown.len()];
        let mut found = HashMap::new();
        for (at, (revision, happened)) in open.iter().enumerate() {
            if give(at, &fitting, &mut holders, &mut vec![false; unknown.len()]) {
                continue;
            }
            let refused = all().filter(|operation| matches!(operation.outcome, Outcome::Failed(_)));
            if let Some(operation) = refused.into_iter().find(|it| fits(it, (*revision, happened))) {
                found.insert(*revision, operation);
            }
        }
        let given = holders.iter().zip(&unknown).filter_map(|(holder, it)| Some((open[(*holder)?].0, *it)));
        found.extend(given);
        found
    }
}

/// Whether a revision deletes exactly the keys of a lease.
fn is_end_of_lease(timeline: &Timeline, revision: i64, happened: &[Change]) -> bool {
    let lease_of = |key: &str| timeline.at(key, revision - 1).map_or(0, |pair| pair.lease);
    let Some(lease) = happened.first().map(|change| lease_of(&change.pair.key)).filter(|lease| *lease != 0)
    else {
        return false;
    };
    let everything = Keys::all();
    let attached = timeline.range(&everything, revision - 1).filter(|pair| pair.lease == lease).count();
    attached == happened.len() && happened.iter().all(|change| lease_of(&change.pair.key) == lease)
}

/// Gives one more revision an operation, if need be by giving those that have theirs another one (Kuhn's algorithm). `holders`
/// says which revision has an operation, `tried` which operations were looked at for this one.
fn give(revision: usize, fitting: &[Vec<usize>], holders: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    fitting[revision].iter().any(|operation| {
        if std::mem::replace(&mut tried[*operation], true) {
            return false;
        }
        let free = holders[*operation].is_none_or(|holder| give(holder, fitting, holders, tried));
        if free {
            holders[*operation] = Some(revision);
        }
        free
    })
}
