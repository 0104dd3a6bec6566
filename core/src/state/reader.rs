//! Reading the state from any thread, while the apply thread changes it.
//!
//! # Invariants
//! - A reader sees whole commands: it reads at a revision that was published, and versions above it are invisible.
//! - Below the compact revision nothing is readable, except at exactly a pinned revision.
//! - When the content is replaced by a newer one, what was read before stays true: both are of one history. Only what
//!   lies below the new compact revision is gone, pinned or not, and whoever still reads there is told so.
//! - Each lock hold is one short step; a step never waits for a medium.

use super::alarms::Alarms;
use super::apply::State;
use super::finding::Search;
use super::key_index::Version;
use super::lessor::Lessor;
use super::pins::{Pins, ReadPin};
use super::range::{self, Indexed, Lookup};
use super::txn::{self, Before, Budget, Choosing, Stop};
use super::{Command, Outcome, RangeOutcome, Values};
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::request::{Alarm, RangeRequest, TxnRequest};
use crate::revision::{LeaseId, Revision};
use crate::storage::StorageError;
use bytes::Bytes;
use parking_lot::RwLock;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// What the apply thread and the readers share. Lock order: index, then lessor; alarms and pins alone.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: RwLock<Indexed>,
    pub(super) lessor: RwLock<Lessor>,
    pub(super) alarms: RwLock<Alarms>,
    pub(super) pins: Pins,
    published: AtomicI64,
    compacted: AtomicI64,
    /// The history below this is gone, pinned or not: 0, or the compact revision of the content that replaced another.
    /// At most `compacted`.
    floor: AtomicI64,
}

impl Shared {
    pub(super) fn new(
        index: Indexed,
        lessor: Lessor,
        alarms: Alarms,
        revision: i64,
        compact_revision: i64,
    ) -> Self {
        Self {
            index: RwLock::new(index),
            lessor: RwLock::new(lessor),
            alarms: RwLock::new(alarms),
            pins: Pins::default(),
            published: AtomicI64::new(revision),
            compacted: AtomicI64::new(compact_revision),
            floor: AtomicI64::new(0),
        }
    }

    /// Takes over the content of `next`, which goes on from this one's.
    pub(super) fn replace(&self, next: Shared) {
        let (revision, compact_revision) = (next.published(), next.compacted());
        let old = {
            let (mut index, mut lessor) = (self.index.write(), self.lessor.write());
            // Before anybody sees the new index: whoever looks afterwards whether it was whole finds this.
            self.floor.store(compact_revision, Ordering::Release);
            self.compact(compact_revision);
            let index = std::mem::replace(&mut *index, next.index.into_inner());
            (index, std::mem::replace(&mut *lessor, next.lessor.into_inner()))
        };
        *self.alarms.write() = next.alarms.into_inner();
        self.publish(revision);
        // It may take its time to go; nobody waits for that under a lock.
        drop(old);
    }

    pub(super) fn published(&self) -> i64 {
        self.published.load(Ordering::Acquire)
    }

    pub(super) fn publish(&self, revision: i64) {
        self.published.store(revision, Ordering::Release);
    }

    pub(super) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    pub(super) fn compact(&self, revision: i64) {
        self.compacted.store(revision, Ordering::Release);
    }

    fn check_readable(&self, at: i64) -> Result<(), Error> {
        self.check_not_replaced(at)?;
        let compact_revision = self.compacted();
        if at < compact_revision && !self.pins.contains(at) {
            return Err(Error::Compacted { compact_revision });
        }
        Ok(())
    }

    /// Whether what was read of the index at the pinned revision `at` was whole.
    pub(super) fn check_not_replaced(&self, at: i64) -> Result<(), Error> {
        let compact_revision = self.floor.load(Ordering::Acquire);
        if at < compact_revision { Err(Error::Compacted { compact_revision }) } else { Ok(()) }
    }
}

impl Lookup for &Shared {
    fn step<R>(&mut self, look: impl FnOnce(&Indexed) -> R) -> R {
        look(&self.index.read())
    }
}

/// A txn that only reads, while its branches are chosen.
pub struct TxnReading<'r> {
    shared: Arc<Shared>,
    request: &'r TxnRequest,
    choosing: Choosing<'r>,
    at: i64,
}

impl TxnReading<'_> {
    /// Takes one step, of a few hundred keys at most. After the last it returns the outcome, whose ranges are still to
    /// be [found](StateReader::find), and what the txn may still look at while they are.
    ///
    /// # Errors
    /// A local fault of `values`, from outside; inside, [`Error::TxnTooLarge`], [`Error::Compacted`] and
    /// [`Error::FutureRevision`].
    #[allow(clippy::type_complexity, reason = "a fault or a refusal or an outcome, if it is known yet")]
    pub fn step(
        &mut self,
        values: &dyn Values,
    ) -> Result<Result<Option<(Outcome, Budget)>, Error>, StorageError> {
        txn::settle(self.try_step(values))
    }

    /// What the txn may still look at.
    pub fn budget(&self) -> Budget {
        self.choosing.budget()
    }

    /// About how many keys the next step looks at.
    pub fn step_keys(&self) -> usize {
        self.choosing.step_keys()
    }

    fn try_step(&mut self, values: &dyn Values) -> Result<Option<(Outcome, Budget)>, Stop> {
        let before = Before { shared: &self.shared, values, at: self.at };
        if !self.choosing.step(&before)? {
            return Ok(None);
        }
        let (path, budget) = std::mem::replace(&mut self.choosing, Choosing::new(self.request)).finish();
        before.check(self.request, &mut path.iter().copied())?;
        self.shared.check_not_replaced(self.at)?;
        Ok(Some((txn::views(self.request, &mut path.into_iter(), self.at), budget)))
    }
}

/// A lease as it was granted and last checkpointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The granted time to live, in seconds.
    pub ttl_s: i64,
    /// Seconds that remained at the last checkpoint; 0 if none is stored.
    pub remaining_s: i64,
}

/// Reads the state. Cheap to clone; every clone reads the same state.
#[derive(Clone)]
pub struct StateReader(Arc<Shared>);

impl State {
    /// A reader of this state for any thread.
    pub fn reader(&self) -> StateReader {
        StateReader(Arc::clone(self.shared()))
    }
}

impl StateReader {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// The newest published revision.
    pub fn revision(&self) -> i64 {
        self.0.published()
    }

    /// The oldest readable revision; 0 if the store was never compacted.
    pub fn compact_revision(&self) -> i64 {
        self.0.compacted()
    }

    /// Pins the newest published revision.
    pub fn pin(&self) -> ReadPin {
        ReadPin::new(Arc::clone(&self.0), Shared::published)
    }

    /// Pins `revision` (0 or less: the newest), and checks that it can be read.
    ///
    /// # Errors
    /// [`Error::FutureRevision`], [`Error::Compacted`].
    pub fn pin_at(&self, revision: i64) -> Result<ReadPin, Error> {
        if revision <= 0 {
            return Ok(self.pin());
        }
        if revision > self.revision() {
            return Err(Error::FutureRevision);
        }
        // Before the pin, so that no pin of a compacted revision holds pruning back, not even for a moment.
        self.check_not_compacted(revision)?;
        // And after it: a compaction in between is found, one after it leaves the revision alone.
        let pin = ReadPin::new(Arc::clone(&self.0), |_| revision);
        self.check_not_compacted(revision)?;
        Ok(pin)
    }

    fn check_not_compacted(&self, revision: i64) -> Result<(), Error> {
        let compact_revision = self.compact_revision();
        if revision < compact_revision { Err(Error::Compacted { compact_revision }) } else { Ok(()) }
    }

    /// Pins the whole history from the compact revision on: for hashes, exports and snapshots of it.
    pub fn pin_history(&self) -> ReadPin {
        ReadPin::new(Arc::clone(&self.0), Shared::compacted)
    }

    /// The oldest pinned revision.
    pub fn oldest_pin(&self) -> Option<i64> {
        self.0.pins.oldest()
    }

    /// The version of `key` visible at `at`. Right for an `at` that is not below the compact revision or is pinned.
    /// Its lease is known only if it is the key's newest version.
    pub fn get(&self, key: &[u8], at: i64) -> Option<Version> {
        self.0.index.read().version(key, at)
    }

    /// The number of keys in `range` at `at`. O(log n) for recent revisions, else in many short steps.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `at` lies below the compact revision and is not pinned.
    pub fn count(&self, range: &KeyRange, at: i64) -> Result<i64, Error> {
        let count = range::count(&mut &*self.0, range, at);
        self.0.check_readable(at)?;
        Ok(count as i64)
    }

    /// All that the index knows of the answer to `request` at `at`: the revision asked for is the caller's business.
    ///
    /// # Errors
    /// As [`count`](Self::count).
    pub fn range(&self, request: RangeRequest, at: i64) -> Result<RangeOutcome, Error> {
        let outcome = Search::whole(&mut &*self.0, request, at);
        self.0.check_readable(at)?;
        Ok(outcome)
    }

    /// Begins a txn that [is read only](TxnRequest::is_read_only) at the pinned revision `at`. Whoever steps holds a pin
    /// of the whole history as well, because the txn may name any revision of it.
    pub fn read_txn<'r>(&self, request: &'r TxnRequest, at: i64) -> TxnReading<'r> {
        TxnReading { shared: self.shared(), request, choosing: Choosing::new(request), at }
    }

    /// Drops from the index what nobody can read at the compact revision, at a pinned one or at `up_to` (the compact
    /// revision that is durable: what an earlier one still shows may be read again by a replay of the log), looking
    /// at no more than `keys_max` keys that have history, from `from` on. Appends the dropped revisions to `dead`:
    /// their records may be dropped too. Returns the key to go on from.
    pub fn prune(&self, from: &[u8], keys_max: usize, up_to: i64, dead: &mut Vec<Revision>) -> Option<Bytes> {
        let limit = self.0.pins.limit(|| self.0.compacted()).min(up_to);
        self.0.index.write().keys.prune(from, keys_max, limit, dead)
    }

    /// All leases, ascending.
    pub fn leases(&self) -> Vec<LeaseId> {
        self.0.lessor.read().ids().collect()
    }

    /// A lease.
    pub fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        self.0.lessor.read().get(id).map(|lease| lease.info())
    }

    /// All leases with what is known of them, ascending, all of one moment.
    pub fn lease_infos(&self) -> Vec<(LeaseId, LeaseInfo)> {
        let lessor = self.0.lessor.read();
        let info = |id| lessor.get(id).map(|lease| (id, lease.info()));
        lessor.ids().filter_map(info).collect()
    }

    /// The keys attached to a lease, ascending.
    pub fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = Vec::new();
        loop {
            let page = self.0.lessor.read().keys(id, keys.last().map(|key| &key[..]), range::STEP_KEYS);
            let is_last = page.len() < range::STEP_KEYS;
            keys.extend(page);
            if is_last {
                return keys;
            }
        }
    }

    /// Number of leases.
    pub fn lease_count(&self) -> usize {
        self.0.lessor.read().len()
    }

    /// The alarms that are raised, by member and then by kind.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.0.alarms.read().iter().collect()
    }

    /// Whether the quota of `member`, and nobody else, has raised its alarm.
    pub fn is_raised_by_quota(&self, member: u64) -> bool {
        self.0.alarms.read().is_raised_by_quota(member)
    }

    /// Whether the comparison of members, and nobody else, has raised the CORRUPT alarm of `member`.
    pub fn differs(&self, member: u64) -> bool {
        self.0.alarms.read().differs(member)
    }

    /// Whether `command` would be refused for an alarm if it were applied now: need not be proposed.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Corrupt`].
    pub fn admit(&self, command: &Command) -> Result<(), Error> {
        self.0.alarms.read().admit(command)
    }

    /// Number of live keys.
    pub fn keys_live(&self) -> u64 {
        self.0.index.read().keys.keys_live()
    }
}

impl fmt::Debug for StateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateReader")
            .field("revision", &self.revision())
            .field("compact_revision", &self.compact_revision())
            .finish()
    }
}
