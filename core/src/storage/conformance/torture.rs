//! The same questions in numbers: power cuts and flipped bits for runs of hours, piece by piece.
//!
//! The tests of the suite try a few histories whole. Here a history is a number (its seed), a case of it another, and
//! each case stands alone: whoever runs them counts what was tried, and replays a failure by its two numbers.

use super::damage::{Finding, Flipped, check_flipped, check_refusal, told_before};
use super::harness::{Fault, Harness};
use super::must;
use super::random::{SCRIPT_STEPS, goes_on, try_to_go_on};
use super::world::{World, run, run_into};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::ops::Range;

/// A harness whose medium can be copied, and damaged where one wants.
pub trait Medium: Harness {
    /// A harness over a copy of the medium as it lies there now, with everything that waits for a sync.
    fn fork(&self) -> Box<dyn Medium>;

    /// Everything that is stored, cut into regions, while the store is closed.
    fn regions(&self) -> Vec<Region>;

    /// Flips one bit of a file of [`regions`](Self::regions), durably, while the store is closed.
    fn flip_bit(&mut self, file: &str, bit: u64);

    /// Makes the checksums right that cover a region in which a bit was flipped, as somebody would who has no key.
    /// Returns whether there are any.
    fn forge(&mut self, _region: &Region) -> bool {
        false
    }
}

/// A stretch of a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The file, as the medium names it.
    pub file: String,
    /// What kind of file it is.
    pub kind: &'static str,
    /// What part of such a file it is.
    pub part: &'static str,
    /// Whether these bytes say anything; padding, tails and files in waiting do not.
    pub counts: bool,
    /// Where it lies.
    pub bytes: Range<u64>,
}

/// Makes a medium that is empty.
pub type MakeMedium<'a> = &'a dyn Fn() -> Box<dyn Medium>;

/// What was tried in a case of power cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashTally {
    /// States that a cut left and that were recovered and compared.
    pub points: u64,
    /// Cuts that struck, those during a recovery included.
    pub faults: u64,
    /// Operations that the medium performed.
    pub operations: u64,
}

/// Mutating operations of the history `seed`, opening and closing included: the cases of
/// [`cut_at_operation`] are numbered from 1 to this.
pub fn operations_of_script(make: MakeMedium<'_>, seed: u64) -> u64 {
    let mut medium = make();
    let script = &mut SmallRng::seed_from_u64(seed);
    must("run undisturbed", run(&mut *medium, &mut World::default(), script, SCRIPT_STEPS));
    medium.operations()
}

/// Cuts the power in operation `at` of the history `seed`. Of what was not synced one subset is kept and the store
/// recovered; then another subset, and the power is cut again at some operation of that recovery. Each time the store
/// holds what it acknowledged and at most a prefix of what was in flight, goes on, and recovers once more.
///
/// # Panics
/// Where a recovered store breaks its promise.
pub fn cut_at_operation(make: MakeMedium<'_>, seed: u64, at: u64) -> CrashTally {
    let rng = &mut case_rng(seed, at);
    let (mut medium, mut world) = (make(), World::default());
    let mut tally = CrashTally::default();
    assert!(medium.arm(at, Fault::Crash), "a medium for power cuts knows them");
    let script = &mut SmallRng::seed_from_u64(seed);
    let result = run_into(&mut *medium, &mut world, script, SCRIPT_STEPS, Some(Fault::Crash));
    if let Err(error) = &result {
        assert!(medium.fired(), "failed before the power cut at operation {at}: {error}");
    }
    tally.faults += u64::from(medium.fired());
    tally.operations += medium.operations();

    let plain = (medium.fork(), world.clone());
    let twice = (medium, world);
    for (again, (mut medium, mut world)) in [(false, plain), (true, twice)] {
        let before = medium.operations();
        medium.crash(rng.random());
        if again {
            tally.faults += u64::from(cut_the_recovery(&mut *medium, rng));
        }
        goes_on(&mut *medium, &mut world, rng);
        tally.points += 1;
        tally.operations += medium.operations() - before;
    }
    tally
}

/// Cuts the power at some operation of the recovery. Returns whether there was one.
fn cut_the_recovery(medium: &mut dyn Medium, rng: &mut SmallRng) -> bool {
    let mut whole = medium.fork();
    let before = whole.operations();
    // A recovery that fails will be met again where it counts.
    drop(whole.open());
    let operations = whole.operations() - before;
    if operations == 0 {
        return false;
    }
    medium.arm(rng.random_range(1..=operations), Fault::Crash);
    drop(medium.open());
    let fired = medium.fired();
    medium.crash(rng.random());
    fired
}

/// What came of a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlipOutcome {
    /// The store, or the part of it that was damaged, is refused with file and reason.
    Refused,
    /// The bit said something, and the store shows the truth all the same: from a second copy, from the log, or
    /// because newer content took its place.
    Repaired,
    /// The bit said nothing.
    Harmless,
    /// After a power cut only: the last group of the log passed for torn. Nothing later proves that it was
    /// acknowledged, so that one node cannot tell.
    Torn,
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Where.
    pub region: Region,
    /// Whether the store had lost power before, or was closed in order.
    pub crashed: bool,
    /// Whether the checksums were made right afterwards, so that only a tag tells.
    pub forged: bool,
    /// What came of it.
    pub outcome: FlipOutcome,
}

/// Fills a store with the history `seed`, closes it or cuts its power, and flips bits in it, each in a copy of its
/// own: one for each of `cases`. Kinds of files are chosen evenly, among them parts, among them places.
/// `told` is called before each case with its number, and after it with what came of it.
///
/// # Panics
/// Where a store shows what never was, or refuses without naming a file.
pub fn flip_bits_of_a_store(
    make: MakeMedium<'_>,
    seed: u64,
    cases: Range<u64>,
    told: &mut dyn FnMut(u64, Option<Flip>),
) {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let (mut medium, mut world) = (make(), World::default());
    let crashed = rng.random_bool(0.5);
    let steps = rng.random_range(1..2 * SCRIPT_STEPS);
    must("run", run(&mut *medium, &mut world, rng, steps));
    if crashed {
        medium.crash(rng.random());
    }
    let before = told_before(&mut *medium);
    let regions = by_kind(medium.regions());
    for case in cases {
        told(case, None);
        let rng = &mut case_rng(seed, case);
        let kind = &regions.values().nth(rng.random_range(0..regions.len())).expect("in range");
        let part = kind.values().nth(rng.random_range(0..kind.len())).expect("in range");
        let region = &part[rng.random_range(0..part.len())];
        let bit = rng.random_range(8 * region.bytes.start..8 * region.bytes.end);
        let place = format!("bit {bit} of {} ({}, {})", region.file, region.kind, region.part);
        let mut copy = medium.fork();
        copy.flip_bit(&region.file, bit);
        let forged = rng.random_bool(0.25) && copy.forge(region);
        let flipped = Flipped { place: &place, file: Some(&region.file), before: &before };
        let mut finding = check_flipped(&mut *copy, &world, crashed, &flipped);
        // What nobody reads may be met when it is written.
        if finding == Finding::Truth
            && let Err(error) = try_to_go_on(&mut *copy, &mut world.clone(), rng)
        {
            check_refusal(&error, &place);
            finding = Finding::Refused;
        }
        let outcome = match finding {
            Finding::Refused => FlipOutcome::Refused,
            Finding::Torn => FlipOutcome::Torn,
            Finding::OlderRecords => FlipOutcome::Repaired,
            Finding::Truth if region.counts => FlipOutcome::Repaired,
            Finding::Truth => FlipOutcome::Harmless,
        };
        told(case, Some(Flip { region: region.clone(), crashed, forged, outcome }));
    }
}

type Regions = BTreeMap<&'static str, BTreeMap<&'static str, Vec<Region>>>;

fn by_kind(regions: Vec<Region>) -> Regions {
    let mut kinds = Regions::new();
    for region in regions.into_iter().filter(|region| !region.bytes.is_empty()) {
        kinds.entry(region.kind).or_default().entry(region.part).or_default().push(region);
    }
    assert!(!kinds.is_empty(), "a store that was filled stores something");
    kinds
}

/// Each case has a generator of its own, so that it can be tried alone.
fn case_rng(seed: u64, case: u64) -> SmallRng {
    SmallRng::seed_from_u64(
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ case.wrapping_mul(0xd1b5_4a32_d192_ed03),
    )
}
