//! The history of the store, as the first watcher saw it: what every revision changed, and every key at every revision.

use super::{Kind, Verdict, Violation};
use crate::chaos::history::{Change, History, Keys, Notice, Pair};
use std::collections::BTreeMap;

/// The revision of a store that holds nothing.
pub(super) const FRESH: i64 = 1;

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// By revision, from the first change on.
    changes: BTreeMap<i64, Vec<Change>>,
    /// Each key's pairs by the revisions that wrote them; nothing where it was deleted.
    keys: BTreeMap<String, Vec<(i64, Option<Pair>)>>,
}

impl Timeline {
    /// Replays what the first watcher was told. What does not follow from what went before is a violation.
    pub(super) fn of(history: &History, verdict: &mut Verdict) -> Self {
        let mut timeline = Self::default();
        let Some(recorder) = history.watched.first() else { return timeline };
        let told = recorder.notices.iter().filter_map(|(_, notice)| match notice {
            Notice::Changes { changes } => Some(changes),
            _ => None,
        });
        for change in told.flatten() {
            let revision = change.pair.modified;
            let last = timeline.last();
            // The watcher itself is judged with the others: here the first that is told of a revision counts.
            if revision < last {
                continue;
            }
            if revision > last + 1 {
                let text = format!("the first watcher saw revision {revision} after {last}");
                verdict.violations.push(Violation::new(Kind::BrokenHistory, text));
            }
            timeline.push(change, verdict);
        }
        timeline
    }

    fn push(&mut self, change: &Change, verdict: &mut Verdict) {
        let (key, revision) = (&change.pair.key, change.pair.modified);
        let before = self.at(key, revision - 1).cloned();
        let expected = match (&before, change.deleted) {
            (None, true) => None,
            (Some(_), true) => Some(Pair { key: key.clone(), modified: revision, ..Pair::default() }),
            (before, false) => Some(Pair {
                created: before.as_ref().map_or(revision, |before| before.created),
                version: before.as_ref().map_or(0, |before| before.version) + 1,
                ..change.pair.clone()
            }),
        };
        if expected.as_ref() != Some(&change.pair) {
            let text = format!("{change:?} does not follow from {before:?}");
            verdict.violations.push(Violation::new(Kind::BrokenHistory, text));
        }
        let versions = self.keys.entry(key.clone()).or_default();
        if versions.last().is_none_or(|(last, _)| *last < revision) {
            versions.push((revision, (!change.deleted).then(|| change.pair.clone())));
            self.changes.entry(revision).or_default().push(change.clone());
        }
    }

    /// The newest revision.
    pub(super) fn last(&self) -> i64 {
        self.changes.keys().next_back().copied().unwrap_or(FRESH)
    }

    /// What a revision changed.
    pub(super) fn changes(&self, revision: i64) -> &[Change] {
        self.changes.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// All revisions and what they changed.
    pub(super) fn revisions(&self) -> impl Iterator<Item = (i64, &[Change])> {
        self.changes.iter().map(|(revision, changes)| (*revision, changes.as_slice()))
    }

    /// A key at a revision.
    pub(super) fn at(&self, key: &str, revision: i64) -> Option<&Pair> {
        let versions = self.keys.get(key)?;
        let after = versions.partition_point(|(written, _)| *written <= revision);
        versions[..after].last().and_then(|(_, pair)| pair.as_ref())
    }

    /// Keys at a revision, in order.
    pub(super) fn range<'a>(&'a self, keys: &'a Keys, revision: i64) -> impl Iterator<Item = &'a Pair> {
        let from = self.keys.range(keys.start.clone()..);
        let within = from.take_while(move |(key, _)| keys.contains(key));
        within.filter_map(move |(key, _)| self.at(key, revision))
    }
}
