//! Tests of log and records together: what must come back when one stands in for the other.

use super::case::SuiteConfig;
use super::harness::Fault;
use super::model::SeenRecords;
use super::rig::Rig;
use super::world::{FromSlice, Step};
use super::{Make, must};
use crate::record::Record;
use crate::storage::{HardState, Records, StagedRecords, StorageError};
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

/// What is staged shows nowhere and holds nothing up, however far it came: flushes, reclaiming and another stage go on.
/// Installed, it replaces what they left in one step; given up, it leaves no trace.
pub fn a_staged_snapshot_waits_to_be_installed(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(4, |rng| {
        let mut rig = Rig::new(make, rng);
        for round in 0..6 {
            rig.flush_some(40);
            let abandoned = rig.snapshot(20, 20).0;
            let (records, checkpoint) = rig.snapshot(20, if round == 5 { 0 } else { 200 });
            let mut stage = must("stage", rig.records().stage());
            let half = rng.random_range(0..=records.len());
            records[..half].iter().for_each(|record| must("push", stage.push(record.clone())));
            rig.flush_some(30);
            must("reclaim", rig.records().reclaim(1 << 20));
            rig.look();
            let other = stage_all(&**rig.records(), &abandoned);
            records[half..].iter().for_each(|record| must("push", stage.push(record.clone())));
            let mut staged = must("finish", stage.finish());
            drop(other);
            rig.flush_some(30);
            rig.look();
            if round % 3 == 1 {
                drop(staged);
                rig.look();
                continue;
            }
            let store = rig.records().clone();
            must(
                "install",
                rig.world
                    .installing(&records, &checkpoint, || store.install_staged(&checkpoint, &mut staged)),
            );
            drop((staged, store));
            rig.look();
            rig.take(Step::Purge(checkpoint.applied));
            rig.append(3);
            rig.flush_some(30);
            if rng.random_bool(0.5) {
                rig.crash()
            } else {
                rig.reopen()
            }
            rig.look();
        }
    });
}

/// Cut at any operation while a snapshot is staged, or when it lies there whole, a store holds the old content, and the
/// next opening takes back the space.
pub fn a_staged_snapshot_goes_with_a_crash(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(32, |rng| {
        for at in strikes() {
            let mut rig = Rig::new(make, rng);
            rig.flush_some(60);
            let before = rig.records().stats().disk_bytes;
            let records = rig.snapshot(3, 600).0;
            if !rig.harness.arm(at, Fault::Crash) {
                return;
            }
            let store = rig.records().clone();
            let staged = try_to_stage(&*store, &records);
            let whole = !rig.harness.fired();
            assert_eq!(staged.is_ok(), whole, "a crash and its outcome differ: {:?}", staged.err());
            // The power goes before anybody can clear up.
            rig.harness.arm(1, Fault::Crash);
            drop((staged, store));
            rig.crash();
            rig.look();
            rig.reclaim_all();
            let after = rig.records().stats().disk_bytes;
            let held = before * 2 + 64 * 1024;
            assert!(after <= held, "{before} bytes became {after} by what was never installed");
            rig.flush_some(30);
            rig.look();
            if whole {
                break;
            }
        }
    });
}

/// A medium that fills at any operation of staging refuses the snapshot, and the store goes on with what it had.
pub fn a_snapshot_without_room_is_refused(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(32, |rng| {
        for at in strikes() {
            let mut rig = Rig::new(make, rng);
            rig.flush_some(60);
            let (records, checkpoint) = rig.snapshot(3, 300);
            if !rig.harness.arm(at, Fault::NoSpace) {
                return;
            }
            let store = rig.records().clone();
            let staged = try_to_stage(&*store, &records);
            let refused = match &staged {
                Ok(_) => false,
                Err(error) if error.is_no_room() => true,
                Err(error) => panic!("a full medium came out as {error:?}"),
            };
            assert!(rig.harness.fired() || !refused, "there was no room before the medium was full");
            rig.look();
            rig.harness.disarm();
            assert!(
                must("recover room", store.recover_room()),
                "there is room, and the store does not take it"
            );
            rig.flush_some(30);
            let mut staged = match staged {
                Ok(staged) => staged,
                Err(_) => stage_all(&*store, &records),
            };
            must(
                "install with room",
                rig.world
                    .installing(&records, &checkpoint, || store.install_staged(&checkpoint, &mut staged)),
            );
            drop((staged, store));
            rig.look();
            rig.crash();
            if !refused {
                break;
            }
        }
    });
}

/// Operations to strike at: each of the first ones, then fewer, because a medium of pages has very many.
fn strikes() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(1), |at| Some(at + 1 + at / 6))
}

fn try_to_stage(store: &dyn Records, records: &[Record]) -> Result<StagedRecords, StorageError> {
    let mut stage = store.stage()?;
    records.iter().try_for_each(|record| stage.push(record.clone()))?;
    stage.finish()
}

#[track_caller]
fn stage_all(store: &dyn Records, records: &[Record]) -> StagedRecords {
    must("stage", try_to_stage(store, records))
}
