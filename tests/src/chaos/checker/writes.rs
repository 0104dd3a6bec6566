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
        let mut deletions = Deletions::of(history);
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
                None => deletions.take(self, revision, happened),
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

/// What only deletes and was not confirmed: there is no value to know it by. Those that can explain least come first; among
/// equals any that was asked for in time will do, because each could also have come later.
struct Deletions<'a> {
    unknown: Vec<&'a Operation>,
    failed: Vec<&'a Operation>,
}

impl<'a> Deletions<'a> {
    fn of(history: &'a History) -> Self {
        let only_delete = |operation: &&Operation| {
            operation.action.is_write() && values(&operation.action).next().is_none()
                || matches!(operation.action, Action::Txn { .. })
        };
        let all = || history.operations.iter().filter(only_delete);
        let mut unknown: Vec<_> =
            all().filter(|operation| matches!(operation.outcome, Outcome::Unknown(_))).collect();
        unknown.sort_by_key(|operation| match &operation.action {
            Action::Delete { keys } => (!keys.end.is_empty(), operation.call),
            _ => (false, operation.call),
        });
        let failed = all().filter(|operation| matches!(operation.outcome, Outcome::Failed(_))).collect();
        Self { unknown, failed }
    }

    /// The deletion that did this.
    fn take(&mut self, check: &Check<'_>, revision: i64, happened: &[Change]) -> Option<&'a Operation> {
        let fits = |operation: &&Operation| {
            check.floor.before(operation.call) < revision
                && effect(check.timeline, &operation.action, revision - 1)
                    .is_some_and(|expected| same_changes(&expected.changes, happened))
        };
        match self.unknown.iter().position(&fits) {
            Some(at) => Some(self.unknown.remove(at)),
            None => self.failed.iter().find(|operation| fits(operation)).copied(),
        }
    }
}
