//! Writing at one main revision: records, events, index steps and lease attachments of one command.
//!
//! # Invariants
//! - All steps of a command carry the main revision after the published one; readers do not see them until
//!   [`Writer::publish`], which is also where the command takes its revision. One without a step takes none.
//! - The index is locked from the first step to the publication, so that whoever counts meets a whole command. Only
//!   where a command is long, or has to load a value, is the lock released in between.
//! - Exactly one record and one event per step, in the order of the subs.

use super::key_index::Version;
use super::range::{Indexed, Lookup, STEP_KEYS};
use super::reader::Shared;
use super::{Event, IndexEntry, Values, range};
use crate::key_range::KeyRange;
use crate::planted::{Bug, planted};
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use bytes::Bytes;
use parking_lot::RwLockWriteGuard;
use std::sync::Arc;

/// The writes of one command.
pub(super) struct Writer<'a> {
    shared: &'a Shared,
    values: &'a dyn Values,
    events: &'a mut Vec<Event>,
    /// The revision that the command began at.
    begin: i64,
    steps: u32,
    index: Option<RwLockWriteGuard<'a, Indexed>>,
    steps_in_hold: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(shared: &'a Shared, values: &'a dyn Values, events: &'a mut Vec<Event>) -> Self {
        Self { shared, values, events, begin: shared.published(), steps: 0, index: None, steps_in_hold: 0 }
    }

    /// The revision at which the command sees the store: with its own writes, if it made any.
    pub(super) fn now(&self) -> i64 {
        self.begin + i64::from(self.steps > 0)
    }

    /// The revision that the command began at.
    pub(super) fn begin(&self) -> i64 {
        self.begin
    }

    /// How many steps were made.
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    /// Publishes what was written.
    pub(super) fn publish(self) {
        if self.steps > 0 {
            // The lock, if it is held, is released only after this.
            self.shared.publish(self.begin + 1);
        }
    }

    /// The live version of `key`.
    pub(super) fn latest(&mut self, key: &[u8]) -> Option<Version> {
        self.step(|index| index.keys.latest(key))
    }

    /// Releases the index, for a while that may be long.
    pub(super) fn release(&mut self) {
        self.index = None;
    }

    /// Writes a key and returns the version that was live before. The lease exists.
    pub(super) fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) -> Option<Version> {
        let revision = self.next_revision();
        let index = self.locked();
        let (before, made) = index.keys.replace(&key, revision, lease);
        let prev = prev_of_event(index, &key, before, revision);
        index.step(revision.main);
        self.move_lease(&key, before.map_or(LeaseId::NONE, |before| before.lease), lease);
        let Version { create_revision, version, .. } = made;
        self.emit(Record { revision, key, value, create_revision, version, lease, tombstone: false }, prev);
        before
    }

    /// Deletes a key and returns the version that was live.
    pub(super) fn delete(&mut self, key: Bytes) -> Option<Version> {
        let revision = self.next_revision();
        let index = self.locked();
        let before = index.keys.delete(&key, revision)?;
        let prev = prev_of_event(index, &key, Some(before), revision);
        index.step(revision.main);
        self.move_lease(&key, before.lease, LeaseId::NONE);
        self.emit(Record::deletion(revision, key), prev);
        Some(before)
    }

    /// Deletes the keys of a range in key order and hands what was live to `deleted`. Returns how many there were.
    pub(super) fn delete_range(&mut self, range: &KeyRange, mut deleted: impl FnMut(Revision)) -> u64 {
        if range.is_single() {
            let before = self.delete(range.start().clone());
            before.iter().for_each(|before| deleted(before.revision));
            return before.is_some().into();
        }
        let mut count = 0;
        let mut range = range.clone();
        let mut found: Vec<IndexEntry> = Vec::new();
        loop {
            let walk = range::Walk { range: &range, at: i64::MAX, keys: true };
            let next = range::page(self, &walk, STEP_KEYS, &mut found);
            for entry in found.drain(..) {
                deleted(entry.revision);
                self.delete(entry.key);
                count += 1;
            }
            match next {
                Some(next) => range = range::starting_at(&range, next),
                None => return count,
            }
        }
    }

    fn next_revision(&self) -> Revision {
        Revision { main: self.begin + 1, sub: self.steps }
    }

    /// The index, locked for a step that changes it.
    fn locked(&mut self) -> &mut Indexed {
        self.steps_in_hold += 1;
        if self.steps_in_hold > STEP_KEYS {
            self.steps_in_hold = 0;
            if let Some(index) = &mut self.index {
                // Whoever waits has the lock first.
                RwLockWriteGuard::bump(index);
            }
        }
        self.index.get_or_insert_with(|| self.shared.index.write())
    }

    fn move_lease(&self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        let mut lessor = self.shared.lessor.write();
        lessor.detach(from, key);
        if !to.is_none() {
            lessor.attach(to, key);
        }
    }

    fn emit(&mut self, record: Record, prev: Option<Revision>) {
        let record = Arc::new(record);
        self.steps += 1;
        self.values.store(Arc::clone(&record));
        self.events.push(Event { record, prev });
    }
}

/// The version that an event shows as the one before it: visible just before the command that takes a step at
/// `revision`. That is `before`, unless the same command has changed the key already.
fn prev_of_event(
    index: &Indexed,
    key: &[u8],
    before: Option<Version>,
    revision: Revision,
) -> Option<Revision> {
    let version = match before {
        Some(before) if before.revision.main < revision.main => Some(before),
        None if revision.sub == 0 => None,
        _ => index.keys.get(key, revision.main - 1),
    };
    if planted(Bug::PrevKvWrong) {
        return version
            .and_then(|version| index.keys.get(key, version.revision.main - 1))
            .map(|it| it.revision);
    }
    version.map(|version| version.revision)
}

impl Lookup for Writer<'_> {
    fn step<R>(&mut self, look: impl FnOnce(&Indexed) -> R) -> R {
        match &self.index {
            Some(index) => look(index),
            None => look(&self.shared.index.read()),
        }
    }
}
