//! A harness, its open store and its models in one, for tests that set up a situation of their own.

use super::harness::{Harness, Opened};
use super::world::{Step, World, reopen};
use super::{Make, generate, must};
use crate::record::Record;
use crate::revision::Revision;
use crate::storage::{Checkpoint, HardState, LogId, LogOp, LogReader, Records};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

pub(super) struct Rig {
    pub(super) harness: Box<dyn Harness>,
    pub(super) world: World,
    opened: Option<Opened>,
    pub(super) rng: SmallRng,
    pub(super) term: u64,
}

impl Rig {
    /// An open, empty store.
    pub(super) fn new(make: Make<'_>, rng: &mut SmallRng) -> Self {
        let (mut harness, mut world) = (make(), World::default());
        let opened = must("open an empty medium", reopen(&mut *harness, &mut world));
        Self { harness, world, opened: Some(opened), rng: SmallRng::seed_from_u64(rng.random()), term: 1 }
    }

    pub(super) fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("the rig is open between its calls")
    }

    pub(super) fn records(&self) -> &Arc<dyn Records> {
        &self.opened.as_ref().expect("the rig is open between its calls").records
    }

    pub(super) fn log_reader(&mut self) -> Arc<dyn LogReader> {
        self.opened().log.reader()
    }

    #[track_caller]
    pub(super) fn take(&mut self, step: Step) {
        let opened = self.opened.as_mut().expect("the rig is open between its calls");
        must("take a step", self.world.take(opened, &step));
    }

    /// Compares everything that the store shows with the models.
    #[track_caller]
    pub(super) fn look(&mut self) {
        self.take(Step::Look);
    }

    /// Appends one group of `count` entries and says that they are committed.
    pub(super) fn append(&mut self, count: u64) -> LogId {
        let next = self.world.log_now().next_index();
        let entries = generate::entries(&mut self.rng, self.term, next, count);
        let last = LogId { term: self.term, index: next + count - 1 };
        self.take(Step::Write(vec![LogOp::Append(entries)], Some(last)));
        last
    }

    /// Appends an entry and flushes `records` as its effect.
    pub(super) fn flush(&mut self, records: Vec<Record>) -> LogId {
        let applied = self.append(1);
        let revision = records.last().map_or_else(|| self.revision(), |last| last.revision.main);
        let checkpoint = generate::checkpoint(&mut self.rng, applied, revision);
        self.take(Step::Flush(records.into_iter().map(Arc::new).collect(), checkpoint));
        applied
    }

    /// Flushes about `count` random records.
    pub(super) fn flush_some(&mut self, count: usize) -> LogId {
        let after = self.revision();
        let records = generate::records(&mut self.rng, after, count);
        self.flush(records)
    }

    /// Purges the log as core does: after the records took over what it holds, by a flush or by a snapshot.
    pub(super) fn purge(&mut self, up_to: LogId) {
        if self.world.records.applied() < Some(up_to) {
            let revision = self.revision();
            let checkpoint = generate::checkpoint(&mut self.rng, up_to, revision);
            if Some(up_to) <= self.world.log.last() {
                self.take(Step::Flush(Vec::new(), checkpoint));
            } else {
                self.take(Step::Install(Vec::new(), checkpoint));
            }
        }
        self.take(Step::Purge(up_to));
    }

    /// The store revision as of the last flush.
    pub(super) fn revision(&self) -> i64 {
        self.world.records.checkpoint.as_ref().map_or(Revision::FRESH, |checkpoint| checkpoint.revision)
    }

    /// A snapshot of about `count` records that leads `ahead` entries beyond the log.
    pub(super) fn snapshot(&mut self, ahead: u64, count: usize) -> (Vec<Record>, Checkpoint) {
        self.term += 1;
        let applied = LogId { term: self.term, index: self.world.log_now().next_index() + ahead };
        let after = self.revision();
        let records = generate::records(&mut self.rng, after, count);
        let revision = records.last().map_or(after, |last| last.revision.main);
        let checkpoint = generate::checkpoint(&mut self.rng, applied, revision);
        (records, checkpoint)
    }

    pub(super) fn save_hard_state(&mut self, hard_state: HardState) {
        self.take(Step::Write(vec![LogOp::SaveHardState(hard_state)], None));
    }

    /// Reclaims until there is no more to do.
    pub(super) fn reclaim_all(&mut self) {
        for _ in 0..10_000 {
            if !must("reclaim", self.records().reclaim(1 << 20)).more {
                return;
            }
        }
        panic!("reclaiming comes to no end");
    }

    pub(super) fn close(&mut self) {
        self.opened = None;
    }

    /// Closes in order and opens again; everything must be there.
    #[track_caller]
    pub(super) fn reopen(&mut self) {
        self.close();
        self.opened = Some(must("reopen", reopen(&mut *self.harness, &mut self.world)));
    }

    /// Closes, in order or by a power cut, looks at the closed store and opens it again.
    #[track_caller]
    pub(super) fn close_with(&mut self, crashes: bool, look: impl FnOnce(&mut dyn Harness)) {
        self.close();
        if crashes {
            self.harness.crash(self.rng.random());
        }
        look(&mut *self.harness);
        self.reopen();
    }

    /// Cuts the power and opens again; everything acknowledged must be there.
    #[track_caller]
    pub(super) fn crash(&mut self) {
        self.close();
        self.harness.crash(self.rng.random());
        self.opened = Some(must("reopen after a power cut", reopen(&mut *self.harness, &mut self.world)));
    }
}
