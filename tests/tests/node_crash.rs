//! A whole node on a disk that loses power at any write, sync or rename; see [`coffer_tests::node_cuts`].
//!
//! `COFFER_SEED` replays a seed, `COFFER_CASES` says how many seeds to try.

use coffer_tests::node_cuts::{SimulatedPower, run};
use coffer_tests::subjects::SUBJECTS;

const ROUNDS: usize = 6;

#[test]
fn acknowledged_changes_survive_power_failures() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match variable("COFFER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("COFFER_CASES").unwrap_or(40),
    };
    for (subject, seed) in SUBJECTS.iter().flat_map(|subject| seeds.clone().map(move |seed| (subject, seed)))
    {
        let case = || run(&mut SimulatedPower::new(subject), seed, ROUNDS);
        match std::panic::catch_unwind(case) {
            Ok(done) => assert!(done.expect("a simulated machine comes back").acknowledged > 0),
            Err(panic) => {
                eprintln!("{}: replay with COFFER_SEED={seed}", subject.name());
                std::panic::resume_unwind(panic);
            }
        }
    }
}
