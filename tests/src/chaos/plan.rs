//! What a run is: everything that a seed decides.
//!
//! What strikes is not left to chance: the steps of successive seeds go through each fault alone and each pair of faults, in
//! rounds, each round in an order of its own. With 20 faults a round is 210 steps, the runs of 70 seeds.

use super::faults::{FAULTS, Fault};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Heartbeat and election timeout, in milliseconds.
const TIMINGS: &[(u64, u64)] = &[(100, 1000), (100, 1000), (50, 500)];
/// Steps of a run: each strikes with one fault or two.
const STEPS: u64 = 3;

/// How a member is configured and what strikes it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many members.
    pub size: usize,
    /// `segment` or `sqlite`.
    pub backend: String,
    /// Whether stores are sealed.
    pub sealed: bool,
    /// Heartbeat interval, in milliseconds.
    pub heartbeat_ms: u64,
    /// Election timeout, in milliseconds.
    pub election_ms: u64,
    /// What strikes, one after the other: one fault alone, or two together.
    pub steps: Vec<Vec<Fault>>,
}

/// What is said beforehand about a plan, whatever the seed.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// How many members.
    pub size: Option<usize>,
    /// `segment` or `sqlite`.
    pub backend: Option<String>,
    /// The steps.
    pub steps: Option<Vec<Vec<Fault>>>,
    /// Faults that this machine cannot inject.
    pub left_out: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, wish: &Wish) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let size = if random.random_bool(0.25) { 5 } else { 3 };
        let backend = if random.random_bool(0.5) { "segment" } else { "sqlite" };
        let sealed = random.random_bool(0.8);
        let (heartbeat_ms, election_ms) = *TIMINGS.choose(&mut random).unwrap_or(&(100, 1000));
        let steps = || steps_of(seed, &strikes(&wish.left_out));
        Self {
            seed,
            size: wish.size.unwrap_or(size),
            backend: wish.backend.clone().unwrap_or_else(|| backend.into()),
            sealed,
            heartbeat_ms,
            election_ms,
            steps: wish.steps.clone().unwrap_or_else(steps),
        }
    }

    /// The election timeout.
    pub fn election(&self) -> Duration {
        Duration::from_millis(self.election_ms)
    }

    /// The steps, as the command line has them: `kill+pause,delay`.
    pub fn steps_text(&self) -> String {
        self.steps.iter().map(|step| step_text(step)).collect::<Vec<_>>().join(",")
    }

    /// The steps that a text names.
    ///
    /// # Errors
    /// It names no fault.
    pub fn parse_steps(text: &str) -> Result<Vec<Vec<Fault>>, String> {
        text.split(',').map(|step| step.split('+').map(Fault::named).collect()).collect()
    }
}

/// A step, as the command line has it: `kill+pause`.
pub fn step_text(step: &[Fault]) -> String {
    step.iter().map(|fault| fault.name()).collect::<Vec<_>>().join("+")
}

/// What may strike in a step: each fault alone, and each pair.
fn strikes(left_out: &[Fault]) -> Vec<Vec<Fault>> {
    let possible: Vec<Fault> = FAULTS.iter().copied().filter(|fault| !left_out.contains(fault)).collect();
    let with = |(first, fault): (usize, &Fault)| {
        let pairs = possible[first + 1..].iter().map(|other| vec![*fault, *other]);
        std::iter::once(vec![*fault]).chain(pairs).collect::<Vec<_>>()
    };
    possible.iter().enumerate().flat_map(with).collect()
}

/// The steps of a seed: the next ones after those of the seed before.
fn steps_of(seed: u64, strikes: &[Vec<Fault>]) -> Vec<Vec<Fault>> {
    let count = strikes.len().max(1) as u64;
    let step = |number: u64| {
        let mut round = strikes.to_vec();
        round.shuffle(&mut StdRng::seed_from_u64(number / count));
        round.into_iter().nth((number % count) as usize).unwrap_or_default()
    };
    let first = seed.wrapping_mul(STEPS);
    (0..STEPS).map(|next| step(first.wrapping_add(next))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn seventy_seeds_go_through_each_fault_alone_and_each_pair_once() {
        let all = strikes(&[]);
        assert_eq!(all.len(), 20 + 20 * 19 / 2);
        for round in [0, 1] {
            let mut struck = BTreeMap::new();
            for seed in 70 * round..70 * (round + 1) {
                for step in Plan::of(seed, &Wish::default()).steps {
                    *struck.entry(step).or_insert(0) += 1;
                }
            }
            assert_eq!(struck.len(), all.len());
            assert!(struck.values().all(|times| *times == 1));
        }
        let steps = |seed| Plan::of(seed, &Wish::default()).steps;
        assert_ne!((0..70).map(steps).collect::<Vec<_>>(), (70..140).map(steps).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_injected_is_left_out() {
        let wish = Wish { left_out: vec![Fault::Kill, Fault::DiskFull], ..Wish::default() };
        for seed in [0, 17, u64::MAX] {
            let plan = Plan::of(seed, &wish);
            assert_eq!(plan.steps.len(), 3);
            assert!(plan.steps.iter().all(|step| !step.is_empty()));
            assert!(plan.steps.iter().flatten().all(|fault| !wish.left_out.contains(fault)));
        }
    }
}
