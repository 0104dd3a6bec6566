//! What a range finds in the index, in short steps: for plain ranges, and for those of txns, which see what the txn
//! wrote before them.
//!
//! # Invariants
//! - A step takes a few hundred index steps, or reads a few hundred of the txn's own records. Only putting both together
//!   takes one step, however many keys there are.
//! - The revision that is looked at can be read until the end: the caller holds a pin of it, or of the history. If a
//!   snapshot takes it away nevertheless, the end says so.

use super::range::{self, Lookup, STEP_KEYS, Walk};
use super::reader::{Shared, StateReader};
use super::{IndexEntry, RangeOutcome, RangeView, Values};
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::record::Record;
use crate::request::RangeRequest;
use crate::revision::Revision;
use crate::storage::StorageError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A txn's own records that are read in one step.
const OWN_RECORDS: u32 = STEP_KEYS as u32 / 2;

/// A range on its way through the index.
pub struct Finding {
    shared: Arc<Shared>,
    search: Search,
}

impl StateReader {
    /// Begins to look for what `view` shows. It can be read until the end: whoever steps holds a pin of its revision or
    /// of the history.
    pub fn find(&self, view: RangeView) -> Finding {
        Finding { shared: self.shared(), search: Search::new(view) }
    }
}

impl Finding {
    /// Takes one step. Returns whether it was the last.
    ///
    /// # Errors
    /// A local fault of `values`.
    pub fn step(&mut self, values: &dyn Values) -> Result<bool, StorageError> {
        self.search.step(&mut &*self.shared, |revision| values.load(revision))
    }

    /// Keys found so far.
    pub fn found(&self) -> usize {
        self.search.found.len()
    }

    /// What was found, once a [`step`](Self::step) said that it is all.
    ///
    /// # Errors
    /// [`Error::Compacted`] if a snapshot replaced the content meanwhile, and the revision with it.
    pub fn finish(self) -> Result<RangeOutcome, Error> {
        self.shared.check_not_replaced(self.search.view.at)?;
        Ok(self.search.finish())
    }
}

/// A search, wherever the index is.
pub(super) struct Search {
    view: RangeView,
    /// Keys that end the walk.
    found_max: usize,
    found: Vec<IndexEntry>,
    count: u64,
    next: Next,
}

/// What the next step does.
enum Next {
    /// Walks this rest of the range.
    Walk(KeyRange),
    /// Reads the txn's own records from this one on. What they say of the keys, nothing where they deleted one.
    Own(u32, BTreeMap<Bytes, Option<IndexEntry>>),
    /// Counts this rest of the range.
    Count(KeyRange),
    Nothing,
}

impl Search {
    fn new(view: RangeView) -> Self {
        let request = &view.request;
        let found_max = match request.limit {
            _ if view.own_steps > 0 => usize::MAX,
            _ if request.count_only => 0,
            limit if limit > 0 && request.limit_comes_first() => (limit as usize).saturating_add(1),
            _ => usize::MAX,
        };
        let range = request.range.clone();
        let next = if found_max == 0 { Next::Count(range) } else { Next::Walk(range) };
        Self { view, found_max, found: Vec::new(), count: 0, next }
    }

    /// All of what is there at `at`, whatever revision the request names.
    pub(super) fn whole(lookup: &mut impl Lookup, request: RangeRequest, at: i64) -> RangeOutcome {
        let mut search = Self::new(RangeView { request, at, own_steps: 0 });
        let no_record = |_| unreachable!("a view without steps of its own reads no record");
        while matches!(search.step(lookup, no_record), Ok(false)) {}
        search.finish()
    }

    fn finish(self) -> RangeOutcome {
        RangeOutcome { request: self.view.request, found: self.found, count: self.count as i64 }
    }

    fn step(
        &mut self,
        lookup: &mut impl Lookup,
        load: impl FnMut(Revision) -> Result<Arc<Record>, StorageError>,
    ) -> Result<bool, StorageError> {
        self.next = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Walk(rest) => self.walk(lookup, rest),
            Next::Own(sub, own) => self.read_own(sub, own, load)?,
            Next::Count(rest) => {
                let (count, next) = range::count_some(lookup, &rest, self.view.at);
                self.count += count;
                next.map_or(Next::Nothing, |next| Next::Count(range::starting_at(&rest, next)))
            }
            Next::Nothing => Next::Nothing,
        };
        Ok(matches!(self.next, Next::Nothing))
    }

    fn walk(&mut self, lookup: &mut impl Lookup, rest: KeyRange) -> Next {
        let keys = self.view.own_steps > 0 || self.view.request.answers_from_index();
        let walk = Walk { range: &rest, at: self.view.at, keys };
        let max = self.found_max - self.found.len();
        let next = range::page(lookup, &walk, max, &mut self.found);
        if self.found.len() >= self.found_max {
            return Next::Count(self.view.request.range.clone());
        }
        match next {
            Some(next) => Next::Walk(range::starting_at(&rest, next)),
            None if self.view.own_steps > 0 => Next::Own(0, BTreeMap::new()),
            None => {
                self.count = self.found.len() as u64;
                Next::Nothing
            }
        }
    }

    fn read_own(
        &mut self,
        sub: u32,
        mut own: BTreeMap<Bytes, Option<IndexEntry>>,
        mut load: impl FnMut(Revision) -> Result<Arc<Record>, StorageError>,
    ) -> Result<Next, StorageError> {
        let end = self.view.own_steps.min(sub.saturating_add(OWN_RECORDS));
        for sub in sub..end {
            let record = load(Revision { main: self.view.at + 1, sub })?;
            if self.view.request.range.contains(&record.key) {
                let entry = (!record.tombstone).then(|| IndexEntry {
                    key: record.key.clone(),
                    revision: record.revision,
                    create_revision: record.create_revision,
                    version: record.version,
                });
                own.insert(record.key.clone(), entry);
            }
        }
        if end < self.view.own_steps {
            return Ok(Next::Own(end, own));
        }
        self.put_together(own);
        Ok(Next::Nothing)
    }

    /// Lays the txn's own writes over what was there before it, and cuts that as a walk would have been.
    fn put_together(&mut self, own: BTreeMap<Bytes, Option<IndexEntry>>) {
        let before = std::mem::take(&mut self.found);
        let mut own = own.into_iter().peekable();
        for entry in before {
            while let Some((_, earlier)) = own.next_if(|(key, _)| *key < entry.key) {
                self.found.extend(earlier);
            }
            match own.next_if(|(key, _)| *key == entry.key) {
                Some((_, instead)) => self.found.extend(instead),
                None => self.found.push(entry),
            }
        }
        self.found.extend(own.filter_map(|(_, entry)| entry));
        self.count = self.found.len() as u64;
        let request = &self.view.request;
        if request.count_only {
            self.found.clear();
        } else if request.limit > 0 && request.limit_comes_first() {
            self.found.truncate((request.limit as usize).saturating_add(1));
        }
        if !request.answers_from_index() && !request.range.is_single() {
            self.found.iter_mut().for_each(|entry| entry.key = Bytes::new());
        }
    }
}

impl RangeView {
    /// Of what is there after the whole of main revision `now`, or at the revision that the request names.
    pub fn settled(request: RangeRequest, now: i64) -> Self {
        let at = if request.revision > 0 { request.revision } else { now };
        Self { request, at, own_steps: 0 }
    }
}
