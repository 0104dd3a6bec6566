//! The long run: everything that the torture knows, in numbers, piece by piece until it is enough.
//!
//! What is furthest behind comes next, so that a run that is ended early has tried some of everything. The report keeps
//! the pieces: the same command goes on where another ended, and begins anew where the tested code has changed.

use crate::report::Piece;
use crate::subjects::Subject;
use crate::torture::Mode;

/// How much of what is enough, over all subjects.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// What is done.
    pub mode: Mode,
    /// Crash points, or flips.
    pub enough: u64,
    /// And in one piece.
    pub piece: u64,
}

/// What a release wants.
pub const GOALS: &[Goal] = &[
    Goal { mode: Mode::Crash, enough: 100_000, piece: 1_000 },
    Goal { mode: Mode::Flips, enough: 100_000, piece: 2_000 },
    Goal { mode: Mode::Node, enough: 12_000, piece: 200 },
    Goal { mode: Mode::Power, enough: 800, piece: 12 },
];

/// A piece that is still to do.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    /// Towards this.
    pub goal: Goal,
    /// With this store.
    pub subject: Subject,
}

/// What of the goals has the least of its share in the pieces of `code`; `None` once all is done.
pub fn furthest_behind(
    pieces: &[Piece],
    code: &str,
    subjects: &[Subject],
    left_out: &[(Mode, String)],
) -> Option<Next> {
    let pairs = GOALS.iter().flat_map(|goal| subjects.iter().map(|subject| (*goal, *subject)));
    let wanted = pairs.filter(|(goal, subject)| !left_out.contains(&(goal.mode, subject.name())));
    let shares = wanted.map(|(goal, subject)| {
        let same = |piece: &&Piece| {
            (piece.code.as_str(), piece.mode.as_str(), piece.backend.as_str(), piece.sealed)
                == (code, goal.mode.name(), subject.backend, subject.sealed)
        };
        let tried: u64 = pieces.iter().filter(same).map(|piece| piece.crash_points + piece.flips).sum();
        let share = goal.enough as f64 / subjects.len() as f64;
        (tried as f64 / share, Next { goal, subject })
    });
    let least = shares.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (least.0 < 1.0).then_some(least.1)
}
