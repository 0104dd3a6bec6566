//! A store under test beside the models of what it promised, and the random steps that both take.

use super::generate;
use super::harness::{Fault, Harness, Opened};
use super::model::{LogModel, RecordsModel, SeenLog, SeenRecords, read_all};
use super::must;
use crate::record::Record;
use crate::revision::Revision;
use crate::storage::{Checkpoint, Flush, HardState, LogId, LogOp, SnapshotSource, StorageError};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::sync::Arc;

/// One call of core's to a store, or one look at it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Vec<LogOp>, Option<LogId>),
    Purge(LogId),
    Trim,
    Flush(Vec<Arc<Record>>, Checkpoint),
    Install(Vec<Record>, Checkpoint),
    Drop(Vec<Revision>),
    Reclaim { copy_bytes_max: u64 },
    Rewrite { copy_bytes_max: u64 },
    ExchangeKeys { carries_over: bool },
    Look,
    Reopen,
}

/// Throws of the die in [`World::next_steps`] that stand for a purge, a drop, a reclaim, an installation, a reopening,
/// a trim.
const RARE_KINDS: [u32; 6] = [70, 80, 85, 90, 97, 93];
/// Of a store with keys: a drop, a reclaim, an installation, an exchange of keys, a reopening, a rewriting, a purge, a
/// trim.
const RARE_KINDS_WITH_KEYS: [u32; 8] = [80, 85, 90, 94, 97, 95, 70, 93];

/// What the store acknowledged, and what it may hold beyond that.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// The log as of the last group that was acknowledged.
    pub(super) log: LogModel,
    /// The log before that group, the purges that it made durable, and its operations.
    last_group: (LogModel, Vec<LogId>, Vec<LogOp>),
    /// Purged since: durable with the next group at the latest.
    purges: Vec<LogId>,
    /// The group that failed, and what it called committed.
    in_flight: (Vec<LogOp>, Option<LogId>),
    /// The newest log id that the suite, as the leader, called committed.
    committed: Option<LogId>,
    pub(super) records: RecordsModel,
    /// The records as of each acknowledged flush or installation, oldest first.
    pub(super) records_before: Vec<RecordsModel>,
    /// What the flush or installation that failed would have left.
    records_in_flight: Option<RecordsModel>,
    /// Where installations, finished or not, led.
    installs: Vec<LogId>,
    /// The newest term used.
    term: u64,
    /// Whether the store has keys to exchange.
    has_keys: bool,
}

impl World {
    /// The log as a reader that asks now must see it.
    pub(super) fn log_now(&self) -> LogModel {
        let mut log = self.log.clone();
        self.purges.iter().for_each(|&up_to| log.purge(up_to));
        log
    }

    /// Every log that may be found at opening.
    pub(super) fn log_outcomes(&self) -> Vec<LogModel> {
        self.log.outcomes(&self.purges, &self.in_flight.0)
    }

    /// Every log that may be found if the last group passes for torn.
    pub(super) fn log_outcomes_without_last_group(&self) -> Vec<LogModel> {
        let (before, purges, ops) = &self.last_group;
        before.outcomes(purges, ops)
    }

    /// Takes `step`; on success the store has promised to keep it.
    pub(super) fn take(&mut self, opened: &mut Opened, step: &Step) -> Result<(), StorageError> {
        match step {
            Step::Write(ops, committed) => {
                self.in_flight = (ops.clone(), *committed);
                opened.log.write(ops, *committed)?;
                self.in_flight = Default::default();
                let after_purges = self.log_now();
                let before = std::mem::replace(&mut self.log, after_purges);
                self.last_group = (before, std::mem::take(&mut self.purges), ops.clone());
                ops.iter().for_each(|op| self.log.apply(op));
                self.committed = self.committed.max(*committed);
            }
            Step::Purge(up_to) => {
                if Some(*up_to) > self.log_now().purged {
                    self.purges.push(*up_to);
                }
                opened.log.purge(*up_to)?;
            }
            Step::Trim => while opened.log.trim()? {},
            Step::Flush(records, checkpoint) => {
                let mut after = self.records.clone();
                after.flush(records, checkpoint);
                self.records_in_flight = Some(after);
                opened.records.flush(Flush { records, checkpoint })?;
                self.settle_records();
            }
            Step::Install(records, checkpoint) => {
                self.installing(records, checkpoint, || {
                    opened.records.install(checkpoint, &mut FromSlice::new(records))
                })?;
            }
            Step::Drop(dead) => {
                self.records.drop_revisions(dead);
                opened.records.drop_revisions(dead);
            }
            Step::Reclaim { copy_bytes_max } => {
                opened.records.reclaim(*copy_bytes_max)?;
            }
            Step::Rewrite { copy_bytes_max } => {
                opened.log.rewrite(*copy_bytes_max)?;
                opened.records.rewrite(*copy_bytes_max)?;
            }
            Step::Look => self.look(opened)?,
            Step::ExchangeKeys { .. } => unreachable!("the keys are its owner's"),
            Step::Reopen => unreachable!("a store is reopened by its owner"),
        }
        Ok(())
    }

    /// Has a snapshot installed; on success the store has promised to keep it.
    pub(super) fn installing(
        &mut self,
        records: &[Record],
        checkpoint: &Checkpoint,
        install: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.installs.push(checkpoint.applied);
        self.records_in_flight = Some(RecordsModel::installed(records, checkpoint));
        install()?;
        self.settle_records();
        self.committed = self.committed.max(Some(checkpoint.applied));
        Ok(())
    }

    /// The last step failed, and nothing of it happened.
    pub(super) fn refused(&mut self) {
        self.in_flight = Default::default();
        self.records_in_flight = None;
    }

    fn settle_records(&mut self) {
        if let Some(after) = self.records_in_flight.take() {
            self.records_before.push(std::mem::replace(&mut self.records, after));
        }
    }

    /// Checks that an open store shows exactly what it promised.
    pub(super) fn look(&self, opened: &Opened) -> Result<(), StorageError> {
        let log = self.log_now();
        let entries = read_all(&*opened.log.reader())?;
        assert!(entries.iter().eq(log.entries.values()), "the log's reader shows something else");
        let seen = SeenRecords::of(&*opened.records)?;
        assert_eq!(seen.difference(&self.records), None, "the records show something else");
        Ok(())
    }

    /// Checks what was found at opening after a crash or a failure, and adopts it: what a store shows once it must
    /// go on showing.
    pub(super) fn recover(&mut self, opened: &Opened) -> Result<(), StorageError> {
        let log = SeenLog::of(&*opened.log)?;
        let records = SeenRecords::of(&*opened.records)?;
        let Some(found) = self.log_outcomes().into_iter().find(|outcome| log.equals(outcome)) else {
            panic!(
                "the log holds neither what was acknowledged nor a prefix of what followed: {:?}; acknowledged up \
                 to {:?}, purged {:?} then {:?}, {:?}; in flight {:?}",
                log.state,
                self.log.last(),
                self.log.purged,
                self.purges,
                self.log.hard_state,
                self.in_flight,
            );
        };
        if let Some(difference) = records.difference(&self.records) {
            let after = self.records_in_flight.take();
            let other = after.as_ref().map(|after| records.difference(after));
            match (after, other) {
                (Some(after), Some(None)) => self.records = after,
                (_, other) => panic!(
                    "the records hold neither what was acknowledged ({difference}) nor what was in flight ({other:?})"
                ),
            }
        }
        let said = self.committed.max(self.in_flight.1).max(found.purged);
        assert!(log.state.committed <= said, "{:?} was never called committed", log.state.committed);
        self.committed = self.committed.max(log.state.committed);
        if self.in_flight.0.is_empty() {
            self.last_group.1.append(&mut self.purges);
        } else {
            self.last_group = (found.clone(), Vec::new(), Vec::new());
        }
        self.log = found;
        self.purges.clear();
        self.in_flight = Default::default();
        self.records_in_flight = None;
        self.check_covers(&log);
        Ok(())
    }

    /// The records are not ahead of the durable log; only an installation whose purge did not follow yet may leave
    /// them there.
    fn check_covers(&self, log: &SeenLog) {
        let applied = self.records.applied();
        let overtaken =
            applied.is_some_and(|applied| self.installs.contains(&applied)) && log.state.purged <= applied;
        assert!(
            log.state.covers(applied) || overtaken,
            "records up to {applied:?} do not fit the log {:?}",
            log.state
        );
    }

    /// After `step` failed: the half that it should have changed refuses further changes, and what was durable before
    /// stays readable. If what failed it is damage, reads may meet it too: then they say so.
    fn check_failed(&self, opened: &mut Opened, step: &Step, error: &StorageError, fault: Option<Fault>) {
        let again = match step {
            Step::Write(ops, committed) => opened.log.write(ops, *committed),
            Step::Purge(_) | Step::Trim => {
                opened.log.write(&[LogOp::SaveHardState(self.log.hard_state)], None)
            }
            Step::Flush(records, checkpoint) => opened.records.flush(Flush { records, checkpoint }),
            Step::Install(records, checkpoint) => {
                opened.records.install(checkpoint, &mut FromSlice::new(records))
            }
            _ => Err(StorageError::Poisoned { reason: "nothing to try again".into() }),
        };
        assert!(matches!(again, Err(StorageError::Poisoned { .. })), "after a failure came {again:?}");
        if matches!(fault, Some(Fault::Crash | Fault::ReadError)) {
            return;
        }
        let met_damage = matches!(error, StorageError::Corrupt { .. });
        let records = match SeenRecords::of(&*opened.records) {
            Err(StorageError::Corrupt { .. }) if met_damage => return,
            records => must("read after a failure", records),
        };
        let after = self.records_in_flight.as_ref().and_then(|after| records.difference(after));
        if let Some(difference) = records.difference(&self.records) {
            assert!(
                self.records_in_flight.is_some() && after.is_none(),
                "after a failure records show {difference}"
            );
        }
        let truncates = self.in_flight.0.iter().any(|op| matches!(op, LogOp::Truncate { .. }));
        let entries = match read_all(&*opened.log.reader()) {
            Err(StorageError::Corrupt { .. }) if met_damage => return,
            entries => must("read after a failure", entries),
        };
        for entry in self.log_now().entries.values().filter(|_| !truncates) {
            assert!(entries.contains(entry), "after a failure the log no longer shows {entry:?}");
        }
    }

    /// What core does first after opening: it purges the log that an installation overtook, repeats what was
    /// compacted, and has room set aside.
    pub(super) fn resume(&mut self, opened: &mut Opened) -> Result<(), StorageError> {
        if let Some(applied) = self.records.applied().filter(|&applied| Some(applied) > self.log.last()) {
            self.take(opened, &Step::Purge(applied))?;
        }
        self.committed = self.committed.min(self.log_now().last()).max(self.records.applied());
        opened.records.drop_revisions(&self.records.dead_revisions());
        opened.records.recover_room()?;
        Ok(())
    }

    /// Some steps that core could take next. Which kind they are is random, but in some turns it is the turn of a
    /// rare one, so that no script goes without.
    pub(super) fn next_steps(&mut self, rng: &mut SmallRng, turn: usize) -> Vec<Step> {
        let die = match turn % 6 {
            5 if self.has_keys => RARE_KINDS_WITH_KEYS[turn / 6 % RARE_KINDS_WITH_KEYS.len()],
            5 => RARE_KINDS[turn / 6 % RARE_KINDS.len()],
            _ => rng.random_range(0..100),
        };
        match die {
            0..48 => vec![self.group(rng)],
            48..66 => vec![self.flush(rng)],
            66..76 => self.records.applied().map(Step::Purge).into_iter().collect(),
            76..82 => vec![self.drop_some(rng)],
            82..88 => vec![Step::Reclaim { copy_bytes_max: rng.random_range(0..100_000) }],
            88..91 => self.install(rng),
            93 => vec![Step::Trim],
            94 if self.has_keys => vec![Step::ExchangeKeys { carries_over: rng.random_bool(0.7) }],
            95 if self.has_keys => vec![Step::Rewrite { copy_bytes_max: rng.random_range(0..30_000) }],
            91..96 => vec![Step::Look],
            _ => vec![Step::Reopen],
        }
    }

    /// A group of log operations with some committed id.
    fn group(&mut self, rng: &mut SmallRng) -> Step {
        let mut log = self.log_now();
        let mut ops = Vec::new();
        self.term = self.term.max(log.hard_state.term);
        for _ in 0..rng.random_range(1..=4) {
            let op = match rng.random_range(0..10) {
                0..2 => {
                    self.term += rng.random_range(0..3);
                    let voted_for = rng.random_bool(0.7).then(|| rng.random_range(1..u64::MAX));
                    LogOp::SaveHardState(HardState {
                        term: self.term,
                        voted_for,
                        vote_committed: rng.random_bool(0.5),
                    })
                }
                2 => {
                    self.term += 1;
                    let kept =
                        log.entries.values().map(|entry| entry.id).filter(|id| Some(*id) >= self.committed);
                    let mut kept: Vec<_> = kept.map(Some).collect();
                    kept.push(self.committed);
                    LogOp::Truncate { after: kept[rng.random_range(0..kept.len())] }
                }
                _ => {
                    let term = self.term.max(log.last().map_or(0, |last| last.term));
                    let count = rng.random_range(1..6);
                    LogOp::Append(generate::entries(rng, term, log.next_index(), count))
                }
            };
            log.apply(&op);
            ops.push(op);
        }
        let known = log.entries.values().map(|entry| entry.id).filter(|id| Some(*id) > self.committed);
        let committed = known.filter(|_| rng.random_bool(0.4)).last();
        Step::Write(ops, committed)
    }

    /// A flush up to some committed entry.
    fn flush(&mut self, rng: &mut SmallRng) -> Step {
        let fresh = self.log.entries.values().map(|entry| entry.id);
        let fresh = fresh.filter(|id| Some(*id) > self.records.applied() && Some(*id) <= self.committed);
        let fresh: Vec<_> = fresh.collect();
        if fresh.is_empty() {
            return self.group(rng);
        }
        let applied = fresh[rng.random_range(0..fresh.len())];
        let revision =
            self.records.checkpoint.as_ref().map_or(Revision::FRESH, |checkpoint| checkpoint.revision);
        let count = if rng.random_bool(0.2) { 0 } else { rng.random_range(1..50) };
        let records = generate::records(rng, revision, count);
        let revision = records.last().map_or(revision, |last| last.revision.main);
        let checkpoint = generate::checkpoint(rng, applied, revision);
        Step::Flush(records.into_iter().map(Arc::new).collect(), checkpoint)
    }

    /// A snapshot that lies above the log, or inside it.
    fn install(&mut self, rng: &mut SmallRng) -> Vec<Step> {
        let log = self.log_now();
        self.term += 1;
        let applied = LogId { term: self.term, index: log.next_index() + rng.random_range(0..20) };
        let revision = rng.random_range(0..1_000_000);
        let count = rng.random_range(0..120);
        let records = generate::records(rng, revision, count);
        let revision = records.last().map_or(1, |last| last.revision.main);
        let checkpoint = generate::checkpoint(rng, applied, revision);
        vec![Step::Install(records, checkpoint), Step::Purge(applied)]
    }

    fn drop_some(&self, rng: &mut SmallRng) -> Step {
        let share = if rng.random_bool(0.3) { 0.95 } else { rng.random_range(0.0..0.7) };
        Step::Drop(self.records.live.keys().copied().filter(|_| rng.random_bool(share)).collect())
    }
}

/// Runs random steps on a harness and reopens it where they say so. Leaves the store closed.
pub(super) fn run(
    harness: &mut dyn Harness,
    world: &mut World,
    rng: &mut SmallRng,
    steps: usize,
) -> Result<(), StorageError> {
    run_into(harness, world, rng, steps, None)
}

/// Runs random steps until the armed fault makes one fail, and then checks what must hold before the store is opened
/// again.
pub(super) fn run_into(
    harness: &mut dyn Harness,
    world: &mut World,
    rng: &mut SmallRng,
    steps: usize,
    fault: Option<Fault>,
) -> Result<(), StorageError> {
    world.has_keys = harness.has_keys();
    let mut opened = reopen(harness, world)?;
    for turn in 0..steps {
        for step in world.next_steps(rng, turn) {
            if let Step::Reopen = step {
                drop(opened);
                opened = reopen(harness, world)?;
            } else if let Step::ExchangeKeys { carries_over } = step {
                harness.exchange_keys(carries_over)?;
            } else if let Err(error) = world.take(&mut opened, &step) {
                world.check_failed(&mut opened, &step, &error, fault);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Opens a store that was closed in order, or crashed while nothing was in flight.
pub(super) fn reopen(harness: &mut dyn Harness, world: &mut World) -> Result<Opened, StorageError> {
    let mut opened = harness.open()?;
    world.recover(&opened)?;
    world.resume(&mut opened)?;
    Ok(opened)
}

/// A snapshot that comes out of memory, and may break.
pub(super) struct FromSlice<'a> {
    records: std::slice::Iter<'a, Record>,
    breaks_after: Option<usize>,
}

impl<'a> FromSlice<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        Self { records: records.iter(), breaks_after: None }
    }

    pub(super) fn breaking_after(records: &'a [Record], count: usize) -> Self {
        Self { records: records.iter(), breaks_after: Some(count) }
    }
}

impl SnapshotSource for FromSlice<'_> {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        if let Some(left) = &mut self.breaks_after {
            *left = left.checked_sub(1).ok_or_else(broken_source)?;
        }
        Ok(self.records.next().cloned())
    }
}

fn broken_source() -> StorageError {
    StorageError::io("receive", "snapshot", std::io::ErrorKind::ConnectionReset.into())
}
