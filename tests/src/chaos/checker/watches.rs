//! Watchers are told of every change of their keys: in order, once, whole revisions, with the right pair before; and of
//! progress only behind that.

use super::order::Calls;
use super::timeline::Timeline;
use super::{Kind, Verdict, Violation};
use crate::chaos::history::{Action, Change, History, Micros, Notice, Watched};

pub(super) fn check(history: &History, timeline: &Timeline, calls: &Calls, verdict: &mut Verdict) {
    let compactions = compactions(history);
    for watched in &history.watched {
        Check { watched, timeline, calls, compactions: &compactions, expected: Vec::new(), at: 0 }
            .run(verdict);
    }
}

/// When each compaction was asked for, and to which revision.
fn compactions(history: &History) -> Vec<(Micros, i64)> {
    let asked = history.operations.iter().filter_map(|operation| match operation.action {
        Action::Compact { revision } => Some((operation.call, revision)),
        _ => None,
    });
    asked.collect()
}

struct Check<'a> {
    watched: &'a Watched,
    timeline: &'a Timeline,
    calls: &'a Calls,
    compactions: &'a [(Micros, i64)],
    /// What it is to be told.
    expected: Vec<&'a Change>,
    /// How much of that it was told.
    at: usize,
}

impl<'a> Check<'a> {
    fn run(mut self, verdict: &mut Verdict) {
        let begins = self.watched.notices.iter().find_map(|(_, notice)| match notice {
            Notice::Created { revision } => Some(revision + 1),
            _ => None,
        });
        let from = match (self.watched.from, begins) {
            (0, None) => return,
            (0, Some(begins)) => begins,
            (from, _) => from,
        };
        let within = self.timeline.revisions().filter(|(revision, _)| *revision >= from);
        let changes = within.flat_map(|(_, changes)| changes);
        self.expected = changes.filter(|change| self.watched.keys.contains(&change.pair.key)).collect();
        let mut compacted = false;
        for (at, notice) in &self.watched.notices {
            let broken = match notice {
                Notice::Created { .. } => None,
                Notice::Changes { changes } => self.changes(*at, changes, verdict),
                Notice::Progress { revision } => self.progress(*revision),
                Notice::Compacted { revision } => {
                    compacted = true;
                    self.compacted(*at, *revision)
                }
            };
            if let Some((kind, text)) = broken {
                verdict.violations.push(self.violation(kind, &text));
                return;
            }
        }
        if self.watched.to_the_end
            && !compacted
            && let Some(missing) = self.expected.get(self.at)
        {
            verdict.violations.push(self.violation(Kind::WatchGap, &format!("never told of {missing:?}")));
        }
    }

    fn violation(&self, kind: Kind, text: &str) -> Violation {
        let Watched { watcher, keys, from, .. } = self.watched;
        Violation::new(kind, format!("watcher {watcher} of {keys:?} from {from}: {text}"))
    }

    fn changes(&mut self, at: Micros, changes: &[Change], verdict: &mut Verdict) -> Option<(Kind, String)> {
        for change in changes {
            verdict.changes += 1;
            if let Some(broken) = self.change(at, change) {
                return Some(broken);
            }
        }
        let last = changes.last()?.pair.modified;
        let split = self.expected.get(self.at).filter(|next| next.pair.modified == last)?;
        Some((Kind::WatchSplit, format!("revision {last} came without {split:?}")))
    }

    fn change(&mut self, at: Micros, change: &Change) -> Option<(Kind, String)> {
        let revision = change.pair.modified;
        let Some(expected) = self.expected.get(self.at) else {
            return Some((
                self.again_or(change, Kind::WatchWrong),
                format!("told of {change:?} after everything"),
            ));
        };
        let (is, due) = ((revision, &change.pair.key), (expected.pair.modified, &expected.pair.key));
        if is != due {
            let later =
                self.expected[self.at..].iter().any(|later| (later.pair.modified, &later.pair.key) == is);
            let kind = match later {
                true => Kind::WatchGap,
                false => self.again_or(change, Kind::WatchOrder),
            };
            return Some((kind, format!("told of {change:?} where {expected:?} was due")));
        }
        if (change.deleted, &change.pair) != (expected.deleted, &expected.pair) {
            return Some((Kind::WatchWrong, format!("told of {change:?}, but it is {expected:?}")));
        }
        if at < self.calls.possible_since(revision) && self.calls.is_asked(revision) {
            return Some((Kind::Future, format!("told of {change:?} before it was asked for")));
        }
        self.at += 1;
        self.before(at, change)
    }

    /// A change that was told before is told again.
    fn again_or(&self, change: &Change, other: Kind) -> Kind {
        let told = &self.expected[..self.at];
        let is = (change.pair.modified, &change.pair.key);
        match told.iter().any(|told| (told.pair.modified, &told.pair.key) == is) {
            true if told.last().is_some_and(|last| last.pair.modified == change.pair.modified) => {
                Kind::WatchDuplicate
            }
            true => Kind::WatchOrder,
            false => other,
        }
    }

    fn before(&self, at: Micros, change: &Change) -> Option<(Kind, String)> {
        let revision = change.pair.modified;
        let before = self.timeline.at(&change.pair.key, revision - 1);
        let expected = before.filter(|_| self.watched.wants_before);
        // What was compacted away cannot be told.
        let is_gone = || self.compacted_by(at) >= revision && change.before.is_none();
        if change.before.as_ref() == expected || is_gone() {
            return None;
        }
        Some((Kind::WatchBefore, format!("told of {change:?}, but before it was {expected:?}")))
    }

    /// The newest revision to which anybody had asked to compact.
    fn compacted_by(&self, at: Micros) -> i64 {
        let asked = self.compactions.iter().filter(|(call, _)| *call <= at);
        asked.map(|(_, revision)| *revision).max().unwrap_or(0)
    }

    fn progress(&self, revision: i64) -> Option<(Kind, String)> {
        let missing = self.expected.get(self.at).filter(|next| next.pair.modified <= revision)?;
        Some((Kind::WatchProgress, format!("progress to {revision} without {missing:?}")))
    }

    fn compacted(&self, at: Micros, revision: i64) -> Option<(Kind, String)> {
        let is_right = self.compacted_by(at) >= revision;
        (!is_right)
            .then(|| (Kind::WatchWrong, format!("ended by a compaction to {revision} that nobody asked for")))
    }
}
