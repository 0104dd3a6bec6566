//! What an action does to a state, and what it answers: the store as it should be.

use super::timeline::Timeline;
use crate::chaos::history::{Action, Answer, Change, Keys, Pair, Step, StepAnswer};
use std::collections::BTreeMap;

/// What an action would do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) changes: Vec<Change>,
    pub(super) answer: Answer,
}

/// A state under a transaction.
struct View<'a> {
    timeline: &'a Timeline,
    base: i64,
    /// What it wrote itself.
    own: BTreeMap<String, Option<Pair>>,
    changes: Vec<Change>,
}

/// What `action` does to the state at revision `base`, as the next revision. `None` for what has no effect on keys that
/// could be told from the action alone.
pub(super) fn effect(timeline: &Timeline, action: &Action, base: i64) -> Option<Effect> {
    let mut view = View { timeline, base, own: BTreeMap::new(), changes: Vec::new() };
    let answer = match action {
        Action::Put { key, value, lease } => Answer::Put { before: view.put(key, value, *lease) },
        Action::Delete { keys } => {
            let before = view.delete(keys);
            Answer::Delete { deleted: before.len() as i64, before }
        }
        Action::Txn { when, then, otherwise } => {
            let modified = |key: &str| timeline.at(key, base).map_or(0, |pair| pair.modified);
            let succeeded = when.iter().all(|(key, revision)| modified(key) == *revision);
            let steps = if succeeded { then } else { otherwise };
            let steps = steps.iter().map(|step| view.step(step)).collect();
            Answer::Txn { succeeded, steps }
        }
        Action::Read { keys, .. } => Answer::Read { pairs: timeline.range(keys, base).cloned().collect() },
        Action::Grant { .. } | Action::KeepAlive { .. } | Action::Revoke { .. } | Action::Compact { .. } => {
            return None;
        }
    };
    Some(Effect { changes: view.changes, answer })
}

impl View<'_> {
    fn step(&mut self, step: &Step) -> StepAnswer {
        match step {
            Step::Put { key, value } => StepAnswer::Put { before: self.put(key, value, 0) },
            Step::Delete { key } => StepAnswer::Delete { before: self.delete(&Keys::one(key)) },
            Step::Get { key } => StepAnswer::Get { pairs: self.get(key).into_iter().collect() },
        }
    }

    fn get(&self, key: &str) -> Option<Pair> {
        match self.own.get(key) {
            Some(own) => own.clone(),
            None => self.timeline.at(key, self.base).cloned(),
        }
    }

    fn put(&mut self, key: &str, value: &str, lease: i64) -> Option<Pair> {
        let before = self.get(key);
        let revision = self.base + 1;
        let pair = Pair {
            key: key.into(),
            value: value.into(),
            created: before.as_ref().map_or(revision, |before| before.created),
            modified: revision,
            version: before.as_ref().map_or(0, |before| before.version) + 1,
            lease,
        };
        self.own.insert(key.into(), Some(pair.clone()));
        self.changes.push(Change { deleted: false, pair, before: None });
        before
    }

    fn delete(&mut self, keys: &Keys) -> Vec<Pair> {
        let there = self.timeline.range(keys, self.base).map(|pair| pair.key.clone());
        let own = self.own.keys().filter(|key| keys.contains(key)).cloned();
        let mut found: Vec<String> = there.chain(own).collect();
        found.sort();
        found.dedup();
        let before: Vec<Pair> = found.iter().filter_map(|key| self.get(key)).collect();
        for pair in &before {
            self.own.insert(pair.key.clone(), None);
            let gone = Pair { key: pair.key.clone(), modified: self.base + 1, ..Pair::default() };
            self.changes.push(Change { deleted: true, pair: gone, before: None });
        }
        before
    }
}

/// Whether changes are the same, whatever is said of the pairs before them.
pub(super) fn same_changes(one: &[Change], other: &[Change]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.deleted == other.deleted && one.pair == other.pair)
}

/// Whether an answer says that something was changed.
pub(super) fn says_changed(answer: &Answer) -> bool {
    match answer {
        Answer::Put { .. } => true,
        Answer::Delete { deleted, .. } => *deleted > 0,
        Answer::Txn { steps, .. } => steps.iter().any(|step| match step {
            StepAnswer::Put { .. } => true,
            StepAnswer::Delete { before } => !before.is_empty(),
            StepAnswer::Get { .. } => false,
        }),
        Answer::Read { .. } | Answer::Lease { .. } | Answer::Done => false,
    }
}

/// The values that an action may write.
pub(super) fn values(action: &Action) -> impl Iterator<Item = &str> {
    let (single, steps) = match action {
        Action::Put { value, .. } => (Some(value.as_str()), None),
        Action::Txn { then, otherwise, .. } => (None, Some(then.iter().chain(otherwise))),
        _ => (None, None),
    };
    let steps = steps.into_iter().flatten().filter_map(|step| match step {
        Step::Put { value, .. } => Some(value.as_str()),
        Step::Delete { .. } | Step::Get { .. } => None,
    });
    single.into_iter().chain(steps)
}
