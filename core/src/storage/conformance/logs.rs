//! Tests of the log alone.

use super::case::SuiteConfig;
use super::generate;
use super::model::read_all;
use super::rig::Rig;
use super::world::Step;
use super::{Make, must};
use crate::storage::{EntryKind, HardState, LogEntry, LogId, LogOp, LogState};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// An empty medium opens as an empty store, again and again.
pub fn a_fresh_store_is_empty(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..3 {
            assert_eq!(rig.opened().log.state(), LogState::default());
            assert_eq!(rig.records().checkpoint(), None);
            rig.look();
            rig.reopen();
            rig.crash();
        }
    });
}

/// However many operations a group has, it takes one write and one sync.
pub fn a_group_is_one_write_and_one_sync(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        for entries in [0, 1, 10, 100, 1000] {
            let mut ops =
                vec![LogOp::SaveHardState(HardState { term: 1, voted_for: Some(7), vote_committed: true })];
            let next = rig.world.log_now().next_index();
            ops.extend((next..next + entries).map(|index| LogOp::Append(vec![entry_of(index, 20)])));
            let before = rig.harness.log_io();
            rig.take(Step::Write(ops, None));
            if let (Some(before), Some(after)) = (before, rig.harness.log_io()) {
                assert_eq!(after.writes - before.writes, 1, "writes for a group of {entries} entries");
                assert_eq!(after.syncs - before.syncs, 1, "syncs for a group of {entries} entries");
            }
        }
        rig.crash();
    });
}

/// A read visits exactly the durable entries of its range, whatever the range, and stops where its visitor says.
pub fn log_reads_cover_exactly_their_range(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..10 {
            let count = rng.random_range(1..20);
            rig.append(count);
        }
        let purged = rng.random_range(0..rig.world.log_now().next_index());
        rig.purge(LogId { term: 1, index: purged });
        for _ in 0..60 {
            let (start, end) = (rng.random_range(0..220), rng.random_range(0..220));
            check_read(&mut rig, start, end, u64::MAX, usize::MAX);
            check_read(&mut rig, start, u64::MAX, u64::MAX, rng.random_range(1..20));
        }
        rig.reopen();
        check_read(&mut rig, 0, u64::MAX, u64::MAX, usize::MAX);
    });
}

/// A read is bounded by bytes, and yet always makes progress.
pub fn log_reads_stop_at_their_bytes(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..10 {
            let count = rng.random_range(1..20);
            rig.append(count);
        }
        for _ in 0..60 {
            let start = rng.random_range(0..120);
            let bytes_max =
                if rng.random_bool(0.2) { rng.random_range(0..3) } else { rng.random_range(0..40_000) };
            check_read(&mut rig, start, u64::MAX, bytes_max, usize::MAX);
        }
    });
}

fn check_read(rig: &mut Rig, start: u64, end: u64, bytes_max: u64, visits_max: usize) {
    let log = rig.world.log_now();
    let expected: Vec<_> =
        log.entries.values().filter(|entry| (start..end).contains(&entry.id.index)).collect();
    let mut seen: Vec<LogEntry> = Vec::new();
    let result = rig.log_reader().read(start..end, bytes_max, &mut |entry| {
        seen.push(entry);
        if seen.len() < visits_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    must("read the log", result);
    assert!(
        seen.iter().eq(expected.iter().copied().take(seen.len())),
        "a read of {start}..{end} shows something else"
    );
    let bytes = |entries: &[LogEntry]| entries.iter().map(|entry| entry.payload.len() as u64).sum::<u64>();
    if let [before @ .., _] = &seen[..] {
        assert!(before.is_empty() || bytes(before) <= bytes_max, "a read passed {bytes_max} bytes");
        assert!(seen.len() <= visits_max, "a read went on after its visitor broke");
    }
    if seen.len() < expected.len().min(visits_max) {
        let with_next = bytes(&seen) + expected[seen.len()].payload.len() as u64;
        assert!(!seen.is_empty() && with_next >= bytes_max, "a read stopped before {bytes_max} bytes");
    }
}

/// What was purged is gone at once; a purge above the end empties the log, which goes on behind it.
pub fn purged_entries_are_gone(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        rig.append(20);
        rig.purge(LogId { term: 1, index: 7 });
        rig.look();
        rig.purge(LogId { term: 1, index: 3 });
        rig.look();
        restart(&mut rig, rng);
        // A power cut may have undone it: it becomes durable with a group.
        rig.purge(LogId { term: 1, index: 7 });
        rig.append(5);
        restart(&mut rig, rng);
        assert_eq!(rig.opened().log.state().purged, Some(LogId { term: 1, index: 7 }));

        let last = rig.append(1);
        rig.purge(last);
        rig.look();
        rig.append(3);
        restart(&mut rig, rng);
        assert_eq!(rig.opened().log.state().purged, Some(last));

        let beyond = LogId { term: 4, index: 1_000 };
        rig.purge(beyond);
        rig.look();
        rig.term = 5;
        rig.save_hard_state(HardState { term: 5, voted_for: None, vote_committed: false });
        restart(&mut rig, rng);
        let state = rig.opened().log.state();
        assert_eq!((state.purged, state.last), (Some(beyond), Some(beyond)));
        assert_eq!(rig.append(2).index, 1_002);
        restart(&mut rig, rng);
        rig.look();
    });
}

/// Truncated entries never come back: neither at once, nor after the log grew over them, nor after a restart.
pub fn truncated_entries_never_return(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(4, |rng| {
        let mut rig = Rig::new(make, rng);
        let entries = generate::entries(rng, 1, 0, 30);
        rig.take(Step::Write(vec![LogOp::Append(entries)], None));
        for term in 2..12 {
            let log = rig.world.log_now();
            let kept = rng.random_range(0..=log.entries.len());
            let after =
                if kept == 0 { log.purged } else { log.entries.values().nth(kept - 1).map(|entry| entry.id) };
            let truncate = LogOp::Truncate { after };
            let next = after.map_or(0, |after| after.index + 1);
            let count = rng.random_range(1..20);
            let append = LogOp::Append(generate::entries(rng, term, next, count));
            if rng.random_bool(0.5) {
                rig.take(Step::Write(vec![truncate, append], None));
            } else {
                rig.take(Step::Write(vec![truncate], None));
                rig.look();
                if rng.random_bool(0.5) {
                    restart(&mut rig, rng);
                }
                rig.take(Step::Write(vec![append], None));
            }
            rig.look();
            restart(&mut rig, rng);
        }
    });
}

/// A vote is durable without any entry, and the newest one counts.
pub fn a_hard_state_alone_is_durable(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        for term in 1..20 {
            let voted_for = rng.random_bool(0.8).then(|| rng.random());
            rig.save_hard_state(HardState { term, voted_for, vote_committed: rng.random_bool(0.3) });
            restart(&mut rig, rng);
        }
    });
}

/// Entries larger than anything that a medium may have set aside, and groups of very many.
pub fn large_groups_fit(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        rig.append(3);
        let next = rig.world.log_now().next_index();
        let payload = generate::bytes(rng, 3 << 20);
        let large = LogEntry { id: LogId { term: 1, index: next }, kind: EntryKind::Normal, payload };
        rig.take(Step::Write(vec![LogOp::Append(vec![large])], None));
        let many = (next + 1..next + 5_000).map(|index| entry_of(index, 8)).collect();
        rig.take(Step::Write(vec![LogOp::Append(many)], None));
        rig.crash();
        rig.append(3);
        rig.reopen();
        rig.look();
    });
}

/// A log that is purged as it grows takes bounded space.
pub fn a_purged_log_stays_small(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        let mut largest = [0; 2];
        for half in &mut largest {
            for _ in 0..40 {
                let next = rig.world.log_now().next_index();
                let entries = (next..next + 64).map(|index| entry_of(index, 1 << 10)).collect();
                rig.take(Step::Write(vec![LogOp::Append(entries)], None));
                rig.purge(LogId { term: 1, index: next + 60 });
                *half = rig.opened().log.disk_bytes().max(*half);
            }
        }
        assert!(largest[1] <= 2 * largest[0], "a log of constant length grew from {largest:?}");
    });
}

/// Readers on other threads see a contiguous part of the log while it is written and purged.
pub fn the_log_is_read_while_it_is_written(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        let mut rig = Rig::new(make, rng);
        let readers = [rig.log_reader(), rig.log_reader()];
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for reader in &readers {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        for entry in must("read the log", read_all(&**reader)) {
                            assert_eq!(
                                entry,
                                entry_of(entry.id.index, entry.payload.len()),
                                "another entry's bytes"
                            );
                        }
                    }
                });
            }
            let _done = SetOnDrop(&done);
            for _ in 0..150 {
                let next = rig.world.log_now().next_index();
                let entries = (next..next + 10).map(|index| entry_of(index, 100)).collect();
                rig.take(Step::Write(vec![LogOp::Append(entries)], None));
                if rng.random_bool(0.2) {
                    rig.purge(LogId { term: 1, index: next.saturating_sub(rng.random_range(0..50)) });
                }
            }
        });
        rig.look();
    });
}

/// Ends the readers of a test however the writer ends.
pub(super) struct SetOnDrop<'a>(pub(super) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// An entry whose content follows from its index.
fn entry_of(index: u64, length: usize) -> LogEntry {
    let payload = index.to_le_bytes().iter().copied().cycle().take(length).collect();
    LogEntry { id: LogId { term: 1, index }, kind: EntryKind::Normal, payload }
}

/// In order or by a power cut.
fn restart(rig: &mut Rig, rng: &mut SmallRng) {
    if rng.random_bool(0.5) { rig.reopen() } else { rig.crash() }
}
