//! Tests of log and records together: what must come back when one stands in for the other.

use super::case::SuiteConfig;
use super::harness::Fault;
use super::model::SeenRecords;
use super::rig::Rig;
use super::world::{FromSlice, Step};
use super::{Make, must};
use crate::storage::{HardState, StorageError};
use rand::RngExt;

/// After everything that was flushed is purged from the log, a restart shows all of it: every record, and the state
/// of leases, members, compaction and request windows byte for byte.
pub fn everything_survives_a_purged_log(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(4, |rng| {
        let mut rig = Rig::new(make, rng);
        for term in 1..6 {
            let count = rng.random_range(1..100);
            rig.append(rng.random_range(1..10));
            let applied = rig.flush_some(count);
            rig.take(Step::Purge(applied));
            // The purge is durable with the next group.
            rig.save_hard_state(HardState { term, voted_for: Some(1), vote_committed: true });
            if rng.random_bool(0.5) {
                rig.crash()
            } else {
                rig.reopen()
            }
            let state = rig.opened().log.state();
            assert_eq!((state.purged, state.last), (Some(applied), Some(applied)));
            assert!(state.covers(Some(applied)));
            rig.look();
        }
    });
}

/// An installed snapshot replaces everything, and the log goes on behind it.
pub fn a_snapshot_replaces_everything(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(4, |rng| {
        let mut rig = Rig::new(make, rng);
        for round in 0..4 {
            // The first one comes to an empty store, the last one brings nothing.
            for _ in 0..round {
                rig.flush_some(40);
            }
            let (records, checkpoint) =
                rig.snapshot(rng.random_range(0..50), if round == 3 { 0 } else { 150 });
            let applied = checkpoint.applied;
            rig.take(Step::Install(records, checkpoint));
            rig.look();
            // A crash may come before the purge: opening finds records ahead of the log, and core purges then.
            if rng.random_bool(0.5) {
                rig.crash();
            } else {
                rig.take(Step::Purge(applied));
            }
            rig.append(3);
            rig.flush_some(30);
            rig.look();
            rig.crash();
            assert!(rig.opened().log.state().purged >= Some(applied));
        }
    });
}

/// A snapshot whose source breaks changes nothing, and the store goes on.
pub fn a_broken_snapshot_changes_nothing(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        rig.flush_some(60);
        for _ in 0..3 {
            let (records, checkpoint) = rig.snapshot(0, 100);
            let broken = rng.random_range(0..=records.len());
            let result = rig.records().install(&checkpoint, &mut FromSlice::breaking_after(&records, broken));
            let Err(StorageError::Io { source, .. }) = result else {
                panic!("a snapshot that breaks after {broken} records is installed: {result:?}");
            };
            assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset, "the source's error is lost");
            rig.look();
            rig.flush_some(10);
            if rng.random_bool(0.5) {
                rig.crash();
            }
        }
        rig.reopen();
        rig.look();
    });
}

/// Cut at any operation of an installation, a store holds the old content or the new, whole.
pub fn a_snapshot_is_all_or_nothing(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        let (mut old, mut new) = (0, 0);
        for at in 1.. {
            let mut rig = Rig::new(make, rng);
            rig.flush_some(60);
            let (records, checkpoint) = rig.snapshot(3, 150);
            if !rig.harness.arm(at, Fault::Crash) {
                return;
            }
            let step = Step::Install(records, checkpoint.clone());
            let mut world = std::mem::take(&mut rig.world);
            let result = world.take(rig.opened(), &step);
            rig.world = world;
            let fired = rig.harness.fired();
            rig.crash();
            let seen = must("look", SeenRecords::of(&**rig.records()));
            let installed = seen.checkpoint.as_ref() == Some(&checkpoint);
            assert!(installed || result.is_err(), "an installation was acknowledged and lost");
            *(if installed { &mut new } else { &mut old }) += 1;
            if !fired {
                break;
            }
        }
        assert!(old > 0 && new > 0, "installations kept {old} times the old and {new} times the new content");
    });
}
