//! Seeds: how a test is repeated with different random input, and how a failure is replayed.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::env;

/// How much the suite does, and with which random input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteConfig {
    /// Seed of the first case of each test; the next case takes the next number.
    pub seed: u64,
    /// Cases of a quick test. Tests that do much in a case run fewer, at least one.
    pub cases: u64,
}

impl Default for SuiteConfig {
    fn default() -> Self {
        Self { seed: 0, cases: 32 }
    }
}

impl SuiteConfig {
    /// The default, changed by the environment: `COFFER_SEED` replays the case that a failure named, `COFFER_CASES`
    /// sets the number of cases.
    ///
    /// # Panics
    /// If a variable is set to something that is not a number.
    pub fn from_env() -> Self {
        let number = |name: &str| {
            let value = env::var(name).ok()?;
            Some(value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
        };
        let mut config = Self::default();
        if let Some(seed) = number("COFFER_SEED") {
            config = Self { seed, cases: 1 };
        }
        config.cases = number("COFFER_CASES").unwrap_or(config.cases);
        config
    }

    /// Runs `test` once per case; one of `share` cases is run.
    pub(super) fn each_case(&self, share: u64, mut test: impl FnMut(&mut SmallRng)) {
        for case in 0..(self.cases / share).max(1) {
            let seed = self.seed.wrapping_add(case);
            let _told = TellSeed(seed);
            test(&mut SmallRng::seed_from_u64(seed));
        }
    }
}

/// Says how to replay a case that panics.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The suite runs in tests only, and a panic's own message cannot know the seed.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("replay this case with COFFER_SEED={}", self.0);
            }
        }
    }
}
