//! A medium without room: nothing is lost, nothing is poisoned, and the store goes on by itself once there is room.

use super::case::SuiteConfig;
use super::harness::{Fault, Harness, Opened};
use super::rig::Rig;
use super::world::{Step, World, reopen, run};
use super::{Make, must};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Steps of a script that is repeated with a medium that fills at each of its operations.
const SCRIPT_STEPS: usize = 40;

/// A store that was just opened has room, and setting it aside once more changes nothing.
pub fn a_store_with_room_says_so(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..3 {
            rig.flush_some(50);
            assert!(must("recover room", rig.records().recover_room()) && rig.records().has_room());
            rig.look();
            rig.crash();
        }
    });
}

/// Whatever a medium that fills at any operation refuses did not happen: everything stays as it was and can be read,
/// further calls may be made, and the same call succeeds once there is room, without opening again. The power may go
/// meanwhile.
pub fn survives_a_full_medium(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(32, |rng| {
        let script: u64 = rng.random();
        for at in 1.. {
            let (mut harness, mut world) = (make(), World::default());
            if !harness.arm(at, Fault::NoSpace) {
                return;
            }
            let fired = run_short_of_room(&mut *harness, &mut world, script, rng);
            must("recover and go on", run(&mut *harness, &mut world, rng, 5));
            harness.crash(rng.random());
            must("recover once more", run(&mut *harness, &mut world, rng, 0));
            if !fired {
                return;
            }
        }
    });
}

/// Runs the script on a medium that fills on the way, once or again and again. Returns whether it did.
fn run_short_of_room(harness: &mut dyn Harness, world: &mut World, script: u64, rng: &mut SmallRng) -> bool {
    let script = &mut SmallRng::seed_from_u64(script);
    let mut fired = false;
    let mut opened = open(harness, world);
    for turn in 0..SCRIPT_STEPS {
        for step in world.next_steps(script, turn) {
            if let Step::Reopen = step {
                drop(opened);
                opened = open(harness, world);
                continue;
            }
            let Err(error) = world.take(&mut opened, &step) else { continue };
            assert!(error.is_no_room(), "a full medium came out as {error:?}");
            assert!(harness.fired(), "there was no room before the medium was full: {error}");
            let speaks = matches!(step, Step::Write(..) | Step::Flush(..));
            assert!(!speaks || !opened.records.has_room(), "{error}, and yet there is room");
            world.refused();
            must("look while there is no room", world.look(&opened));
            if rng.random_bool(0.5) {
                // It stays full, and what would have followed this step does not come.
                assert!(!speaks || !must("try", opened.records.recover_room()), "nobody made room");
                break;
            }
            fired |= harness.fired();
            make_room(harness, &opened);
            must("take the same step with room", world.take(&mut opened, &step));
        }
        fired |= harness.fired();
        if harness.fired() && rng.random_bool(0.1) {
            drop(opened);
            harness.crash(rng.random());
            opened = open(harness, world);
        }
    }
    fired |= harness.fired();
    make_room(harness, &opened);
    must("look", world.look(&opened));
    fired
}

fn make_room(harness: &mut dyn Harness, opened: &Opened) {
    harness.disarm();
    let recovered = must("recover room", opened.records.recover_room());
    assert!(recovered && opened.records.has_room(), "there is room, and the store does not take it");
}

/// Opens the store, with room if it must be.
fn open(harness: &mut dyn Harness, world: &mut World) -> Opened {
    match reopen(harness, world) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(error.is_no_room() && harness.fired(), "a full medium came out as {error:?}");
            harness.disarm();
            must("open with room", reopen(harness, world))
        }
    }
}
