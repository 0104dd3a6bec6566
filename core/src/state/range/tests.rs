//! How much of the index one step sees.

use super::*;
use crate::request::RangeRequest;
use crate::revision::{LeaseId, Revision};
use crate::state::finding::Search;

/// An index whose steps are counted.
struct Counted {
    index: Indexed,
    steps: usize,
}

impl Lookup for Counted {
    fn step<R>(&mut self, look: impl FnOnce(&Indexed) -> R) -> R {
        self.steps += 1;
        look(&self.index)
    }
}

/// Half of the keys at revision 2, the other half, one between each two, at revision 3.
fn two_generations(keys: usize) -> Counted {
    let mut index = KeyIndex::new();
    for main in [2, 3] {
        for (sub, i) in (0..).zip((main - 2..keys).step_by(2)) {
            let revision = Revision { main: main as i64, sub };
            index.put(format!("{i:06}").as_bytes(), revision, LeaseId::NONE);
        }
    }
    Counted { index: Indexed::new(index, 3), steps: 0 }
}

const KEYS: usize = 20 * STEP_KEYS;

#[test]
fn keys_that_are_not_visible_cost_steps_like_those_that_are() {
    let mut counted = two_generations(KEYS);
    for (at, visible) in [(1, 0), (2, KEYS / 2), (3, KEYS)] {
        for range in [KeyRange::all(), KeyRange::between("", "1")] {
            counted.steps = 0;
            let outcome = Search::whole(&mut counted, RangeRequest::new(range), at);
            assert_eq!(outcome.found.len(), visible);
            assert!(counted.steps >= KEYS / STEP_KEYS, "{} steps at {at}", counted.steps);
        }
    }
}

#[test]
fn a_limit_ends_the_walk_and_the_count_is_whole() {
    let mut counted = two_generations(KEYS);
    for (at, visible) in [(1, 0), (2, KEYS / 2), (3, KEYS)] {
        for limit in [1, 300, STEP_KEYS, STEP_KEYS + 1, KEYS / 2 - 1, KEYS / 2, KEYS, KEYS + 1] {
            let request = RangeRequest { limit: limit as i64, ..RangeRequest::new(KeyRange::all()) };
            let outcome = Search::whole(&mut counted, request, at);
            assert_eq!(outcome.found.len(), visible.min(limit + 1));
            assert_eq!(outcome.count, visible as i64);
        }
    }
}
