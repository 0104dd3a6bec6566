//! Real time: what was known before somebody asked, and what nobody had asked for yet.

use crate::chaos::history::{History, Micros, Notice, Outcome};
use std::collections::BTreeMap;

/// The newest revision that anybody had seen at a time.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Ascending in both.
    seen: Vec<(Micros, i64)>,
}

impl Floor {
    pub(super) fn of(history: &History) -> Self {
        let answered = history.operations.iter().filter_map(|operation| match operation.outcome {
            Outcome::Ok { revision, .. } => Some((operation.end, revision)),
            _ => None,
        });
        let told = history.watched.iter().flat_map(|watched| &watched.notices);
        let told = told.filter_map(|(at, notice)| match notice {
            Notice::Changes { changes } => changes.last().map(|change| (*at, change.pair.modified)),
            Notice::Created { revision } | Notice::Progress { revision } => Some((*at, *revision)),
            Notice::Compacted { .. } => None,
        });
        let mut seen: Vec<(Micros, i64)> = answered.chain(told).collect();
        seen.sort_unstable();
        let mut newest = 0;
        seen.retain_mut(|(_, revision)| {
            let is_news = *revision > newest;
            newest = newest.max(*revision);
            is_news
        });
        Self { seen }
    }

    /// The newest revision that was seen before `call`.
    pub(super) fn before(&self, call: Micros) -> i64 {
        let after = self.seen.partition_point(|(at, _)| *at < call);
        self.seen[..after].last().map_or(0, |(_, revision)| *revision)
    }
}

/// When each revision was asked for.
#[derive(Debug, Default)]
pub(super) struct Calls {
    asked: BTreeMap<i64, Micros>,
    /// The latest call among a revision and all before it.
    latest: Vec<(i64, Micros)>,
}

impl Calls {
    pub(super) fn of(asked: BTreeMap<i64, Micros>) -> Self {
        let mut newest = 0;
        let latest = asked
            .iter()
            .map(|(revision, call)| {
                newest = newest.max(*call);
                (*revision, newest)
            })
            .collect();
        Self { asked, latest }
    }

    /// Since when there could be this revision and all before it.
    pub(super) fn possible_since(&self, revision: i64) -> Micros {
        let after = self.latest.partition_point(|(asked, _)| *asked <= revision);
        self.latest[..after].last().map_or(0, |(_, call)| *call)
    }

    /// Whether this revision is a client's write.
    pub(super) fn is_asked(&self, revision: i64) -> bool {
        self.asked.contains_key(&revision)
    }
}
