//! What a run is: everything that a seed decides.

use super::faults::{FAULTS, Fault};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Heartbeat and election timeout, in milliseconds.
const TIMINGS: &[(u64, u64)] = &[(100, 1000), (100, 1000), (50, 500)];
/// Steps of a run: each strikes with one fault or two.
const STEPS: usize = 3;

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
        let possible: Vec<Fault> =
            FAULTS.iter().copied().filter(|fault| !wish.left_out.contains(fault)).collect();
        let steps = (0..STEPS)
            .map(|_| match random.random_bool(0.5) {
                true => possible.sample(&mut random, 1).copied().collect(),
                false => possible.sample(&mut random, 2).copied().collect(),
            })
            .collect();
        Self {
            seed,
            size: wish.size.unwrap_or(size),
            backend: wish.backend.clone().unwrap_or_else(|| backend.into()),
            sealed,
            heartbeat_ms,
            election_ms,
            steps: wish.steps.clone().unwrap_or(steps),
        }
    }

    /// The election timeout.
    pub fn election(&self) -> Duration {
        Duration::from_millis(self.election_ms)
    }

    /// The steps, as the command line has them: `kill+pause,delay`.
    pub fn steps_text(&self) -> String {
        let step =
            |faults: &Vec<Fault>| faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join("+");
        self.steps.iter().map(step).collect::<Vec<_>>().join(",")
    }

    /// The steps that a text names.
    ///
    /// # Errors
    /// It names no fault.
    pub fn parse_steps(text: &str) -> Result<Vec<Vec<Fault>>, String> {
        text.split(',').map(|step| step.split('+').map(Fault::named).collect()).collect()
    }
}
