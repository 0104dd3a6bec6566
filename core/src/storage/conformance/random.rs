//! Tests that run random steps against the models: undisturbed, cut, and with failing I/O.

use super::case::SuiteConfig;
use super::harness::{Fault, Harness};
use super::world::{World, run, run_into};
use super::{Make, must};
use crate::storage::StorageError;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Steps of a script that is repeated with a fault at each of its operations.
pub(super) const SCRIPT_STEPS: usize = 40;
/// Reads after which no further read is made to fail.
const READS_MAX: u64 = 300;

/// Any sequence of calls shows what the model shows, whatever is reopened in between, and after a power cut while
/// nothing was in flight.
pub fn agrees_with_the_model(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(1, |rng| {
        let (mut harness, mut world) = (make(), World::default());
        for _ in 0..4 {
            let steps = rng.random_range(1..80);
            must("run", run(&mut *harness, &mut world, rng, steps));
            if rng.random_bool(0.5) {
                harness.crash(rng.random());
            }
        }
        must("reopen", run(&mut *harness, &mut world, rng, 0));
    });
}

/// Cut at each mutating operation of a script, a store shows everything that it acknowledged and at most a prefix of
/// what was in flight, and goes on from there.
pub fn survives_a_cut_at_every_operation(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        for_each_strike(make, rng, Fault::Crash, |harness, world, rng, _| {
            harness.crash(rng.random());
            goes_on(harness, world, rng);
        });
    });
}

/// Cut again at each operation of the recovery itself, a store still recovers.
pub fn survives_a_cut_during_recovery(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(32, |rng| {
        for_each_strike(make, rng, Fault::Crash, |harness, world, rng, _| {
            harness.crash(rng.random());
            for at in 1.. {
                harness.arm(at, Fault::Crash);
                let opened = harness.open();
                if !harness.fired() {
                    harness.disarm();
                    must("recover what the opened store shows", world.recover(&must("recover", opened)));
                    break;
                }
                drop(opened);
                harness.crash(rng.random());
            }
            harness.crash(rng.random());
            goes_on(harness, world, rng);
        });
    });
}

/// An I/O error at any mutating operation fails the call, poisons the half, and loses nothing acknowledged.
pub fn survives_io_errors(make: Make<'_>, config: &SuiteConfig) {
    survives(make, config, Fault::Error);
}

/// A write that is cut short anywhere fails the call, poisons the half, and loses nothing acknowledged.
pub fn survives_short_writes(make: Make<'_>, config: &SuiteConfig) {
    survives(make, config, Fault::ShortWrite);
}

/// A read that fails anywhere fails the call and changes nothing.
pub fn survives_read_errors(make: Make<'_>, config: &SuiteConfig) {
    survives(make, config, Fault::ReadError);
}

fn survives(make: Make<'_>, config: &SuiteConfig, fault: Fault) {
    config.each_case(32, |rng| {
        for_each_strike(make, rng, fault, |harness, world, rng, error| {
            if let Some(error) = error {
                let local = matches!(error, StorageError::Io { .. } | StorageError::Poisoned { .. });
                assert!(local, "{fault:?} came out as {error:?}");
            }
            harness.disarm();
            if rng.random_bool(0.5) {
                harness.crash(rng.random());
            }
            goes_on(harness, world, rng);
        });
    });
}

/// Repeats one script on a fresh medium with `fault` at its first operation, its second, and so on. Hands over each
/// store, closed, as the fault left it.
fn for_each_strike(
    make: Make<'_>,
    rng: &mut SmallRng,
    fault: Fault,
    mut then: impl FnMut(&mut dyn Harness, &mut World, &mut SmallRng, Option<StorageError>),
) {
    let script: u64 = rng.random();
    let operations = match fault {
        Fault::ReadError => READS_MAX,
        _ => {
            let mut harness = make();
            let script = &mut SmallRng::seed_from_u64(script);
            must("run undisturbed", run(&mut *harness, &mut World::default(), script, SCRIPT_STEPS));
            harness.operations()
        }
    };
    for at in 1..=operations {
        let (mut harness, mut world) = (make(), World::default());
        if !harness.arm(at, fault) {
            return;
        }
        let script = &mut SmallRng::seed_from_u64(script);
        let result = run_into(&mut *harness, &mut world, script, SCRIPT_STEPS, Some(fault));
        if let Err(error) = &result {
            assert!(harness.fired(), "failed before {fault:?} struck at operation {at}: {error}");
        }
        then(&mut *harness, &mut world, rng, result.err());
    }
}

/// The store holds what it must, works, and holds what it must again after an idle power cut.
pub(super) fn goes_on(harness: &mut dyn Harness, world: &mut World, rng: &mut SmallRng) {
    must("recover and go on", try_to_go_on(harness, world, rng));
}

pub(super) fn try_to_go_on(
    harness: &mut dyn Harness,
    world: &mut World,
    rng: &mut SmallRng,
) -> Result<(), StorageError> {
    run(harness, world, rng, 5)?;
    harness.crash(rng.random());
    run(harness, world, rng, 0)
}
