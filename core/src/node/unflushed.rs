//! The records that are not yet in the record store.

use crate::record::Record;
use crate::revision::Revision;
use std::collections::VecDeque;
use std::sync::Arc;

/// In revision order. The revisions lie beside the records, so that a search touches no record but the one it finds.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    records: VecDeque<(Revision, Arc<Record>)>,
}

impl Unflushed {
    /// Adds the newest record.
    pub(super) fn push(&mut self, record: Arc<Record>) {
        self.records.push_back((record.revision, record));
    }

    /// The oldest revision here. Everything below it is in the record store; everything above it is here.
    pub(super) fn first(&self) -> Option<Revision> {
        self.records.front().map(|(revision, _)| *revision)
    }

    /// The record at `revision`.
    pub(super) fn get(&self, revision: Revision) -> Option<&Arc<Record>> {
        self.get_near(revision, &mut 0)
    }

    /// As [`get`](Self::get), for many look-ups: `near` is where the last one found its record. Most revisions have
    /// one record, so another record is most often as far away from that one as its revision is.
    pub(super) fn get_near(&self, revision: Revision, near: &mut usize) -> Option<&Arc<Record>> {
        let guess = self.records.get(*near).and_then(|(known, _)| {
            usize::try_from(i64::try_from(*near).ok()? + revision.main - known.main).ok()
        });
        let guessed = guess.filter(|guess| self.records.get(*guess).is_some_and(|(at, _)| *at == revision));
        *near = match guessed {
            Some(guessed) => guessed,
            None => self.records.binary_search_by_key(&revision, |(at, _)| *at).ok()?,
        };
        self.records.get(*near).map(|(_, record)| record)
    }

    /// The records from `next` on.
    pub(super) fn from(&self, next: Revision) -> impl Iterator<Item = &Arc<Record>> {
        let start = self.records.partition_point(|(at, _)| *at < next);
        self.records.range(start..).map(|(_, record)| record)
    }

    /// The records up to and including main revision `last`.
    pub(super) fn up_to(&self, last: i64) -> impl Iterator<Item = &Arc<Record>> {
        self.records.range(..self.position_after(last)).map(|(_, record)| record)
    }

    /// Takes out the records up to and including main revision `last`.
    pub(super) fn split_up_to(&mut self, last: i64) -> Unflushed {
        let kept = self.records.split_off(self.position_after(last));
        Unflushed { records: std::mem::replace(&mut self.records, kept) }
    }

    fn position_after(&self, last: i64) -> usize {
        self.records.partition_point(|(at, _)| at.main <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Four records of every tenth revision, one of the others.
    fn filled() -> (Unflushed, Vec<Revision>) {
        let subs = |main: i64| 0..if main % 10 == 0 { 4 } else { 1 };
        let revisions: Vec<_> =
            (5..100).flat_map(|main| subs(main).map(move |sub| Revision { main, sub })).collect();
        let mut unflushed = Unflushed::default();
        for revision in &revisions {
            unflushed.push(Arc::new(Record::deletion(*revision, Bytes::from_static(b"k"))));
        }
        (unflushed, revisions)
    }

    #[test]
    fn finds_every_record_from_everywhere_and_nothing_else() {
        let (unflushed, revisions) = filled();
        for start in 0..revisions.len() {
            for revision in &revisions {
                let mut near = start;
                let found = unflushed.get_near(*revision, &mut near);
                assert_eq!(found.map(|record| record.revision), Some(*revision));
                assert_eq!(revisions[near], *revision);
            }
            for absent in [Revision { main: 11, sub: 1 }, Revision::first(4), Revision::first(100)] {
                assert!(unflushed.get_near(absent, &mut start.clone()).is_none());
            }
        }
        assert!(Unflushed::default().get(Revision::first(1)).is_none());
    }

    #[test]
    fn splits_behind_whole_revisions() {
        let (mut unflushed, revisions) = filled();
        let below = revisions.iter().filter(|revision| revision.main <= 20).count();
        assert_eq!(unflushed.up_to(20).count(), below);
        let taken = unflushed.split_up_to(20);
        assert_eq!(taken.from(Revision::first(0)).count(), below);
        assert_eq!(unflushed.first(), Some(Revision::first(21)));
        assert_eq!(unflushed.from(Revision::first(0)).count(), revisions.len() - below);
    }
}
