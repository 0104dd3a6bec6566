//! Pieces of long runs: histories one after the other, until enough was tried.
//!
//! A case that breaks a promise does not end the piece: it is counted, and told with the command that replays it.

use crate::node_cuts::{Power, SimulatedPower, run as run_node};
use crate::power::KernelPower;
use crate::report::{Outcomes, Piece};
use crate::subjects::{Machine, Subject};
use coffer_core::storage::conformance::{
    FlipOutcome, Medium, cut_at_operation, flip_bits_of_a_store, operations_of_script,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Instant;

/// Operations of one history at which the power is cut, at most: of a long one (SQLite writes a page at a time) so many
/// are drawn.
const CUTS_OF_A_HISTORY: u64 = 300;
/// Flips that are tried in copies of one store.
const FLIPS_OF_A_STORE: u64 = 64;
/// Power cuts in one life of a node, apart from those while it opens.
const ROUNDS: usize = 6;
/// A piece ends when it broke so many promises.
const VIOLATIONS_MAX: u64 = 10;

/// What a piece does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Power cuts at each operation of a store on a simulated disk.
    Crash,
    /// Flipped bits.
    Flips,
    /// Power cuts of a whole node on a simulated disk.
    Node,
    /// Power cuts of a whole node on a file system of the kernel.
    Power,
}

impl Mode {
    /// As the command line and the report name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Flips => "flips",
            Self::Node => "node",
            Self::Power => "power",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to try.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do.
    pub mode: Mode,
    /// With which store.
    pub subject: Subject,
    /// The first history.
    pub seed: u64,
    /// One case of that history instead of many histories.
    pub case: Option<u64>,
    /// How many crash points or flips are enough.
    pub enough: u64,
    /// On which file system the power is cut.
    pub file_system: String,
}

impl Plan {
    /// Does it. Every broken promise is told as it is found.
    ///
    /// # Errors
    /// What this machine lacks for it.
    pub fn run(&self, tell: &mut dyn FnMut(&str)) -> Result<Piece, String> {
        listen_for_panics();
        let began = Instant::now();
        let mut piece = Piece {
            backend: self.subject.backend.into(),
            sealed: self.subject.sealed,
            mode: self.mode.to_string(),
            first_seed: self.seed,
            ..Piece::default()
        };
        while piece.crash_points + piece.flips < self.enough && piece.violations < VIOLATIONS_MAX {
            let seed = self.seed + piece.seeds;
            match self.mode {
                Mode::Crash => self.cut(seed, &mut piece, tell),
                Mode::Flips => self.flip(seed, &mut piece, tell),
                Mode::Node => {
                    self.run_a_node(&mut SimulatedPower::new(&self.subject), seed, &mut piece, tell)?;
                }
                Mode::Power => {
                    let mut power = KernelPower::new(self.subject, &self.file_system)?;
                    self.run_a_node(&mut power, seed, &mut piece, tell)?;
                }
            }
            piece.seeds += 1;
            if self.case.is_some() {
                break;
            }
        }
        piece.seconds = began.elapsed().as_secs_f64();
        Ok(piece)
    }

    fn make(&self) -> Box<dyn Medium> {
        let machine: Box<dyn Machine> = (self.subject.simulated)();
        machine
    }

    fn cut(&self, seed: u64, piece: &mut Piece, tell: &mut dyn FnMut(&str)) {
        let make: &dyn Fn() -> Box<dyn Medium> = &|| self.make();
        let cases = match self.case {
            Some(case) => vec![case],
            None => match self.attempt(seed, Some(0), piece, tell, || operations_of_script(make, seed)) {
                Some(operations) => chosen(operations, seed),
                None => return,
            },
        };
        for at in cases {
            if piece.violations >= VIOLATIONS_MAX || piece.crash_points >= self.enough {
                return;
            }
            let tally = self.attempt(seed, Some(at), piece, tell, || cut_at_operation(make, seed, at));
            let tally = tally.unwrap_or_default();
            piece.crash_points += tally.points;
            piece.faults += tally.faults;
            piece.operations += tally.operations;
        }
    }

    fn flip(&self, seed: u64, piece: &mut Piece, tell: &mut dyn FnMut(&str)) {
        let make: &dyn Fn() -> Box<dyn Medium> = &|| self.make();
        let mut cases = self.case.map_or(0..FLIPS_OF_A_STORE, |case| case..case + 1);
        while !cases.is_empty() && piece.violations < VIOLATIONS_MAX {
            let current = Cell::new(None);
            let mut flips = Vec::new();
            let tried = catch_panic(|| {
                flip_bits_of_a_store(make, seed, cases.clone(), &mut |case, flip| {
                    current.set(Some(case));
                    flips.extend(flip);
                });
            });
            for flip in flips {
                let parts = piece.outcomes.entry(flip.region.kind.into()).or_default();
                let forged = if flip.forged { ", checksum made right" } else { "" };
                let part = format!("{}{forged}", flip.region.part);
                let outcomes: &mut Outcomes = parts.entry(part).or_default();
                match flip.outcome {
                    FlipOutcome::Refused => outcomes.refused += 1,
                    FlipOutcome::Repaired => outcomes.repaired += 1,
                    FlipOutcome::Harmless => outcomes.harmless += 1,
                    FlipOutcome::Torn => outcomes.torn += 1,
                }
                piece.flips += 1;
                piece.faults += 1;
            }
            let Err(reason) = tried else { return };
            let case = current.get().unwrap_or(cases.end);
            self.violated(seed, Some(case), &reason, piece, tell);
            cases.start = case + 1;
        }
    }

    fn run_a_node(
        &self,
        power: &mut dyn Power,
        seed: u64,
        piece: &mut Piece,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let Some(tally) = self.attempt(seed, None, piece, tell, || run_node(power, seed, ROUNDS)) else {
            return Ok(());
        };
        let tally = tally?;
        piece.crash_points += tally.cuts;
        piece.faults += tally.cuts;
        piece.operations += tally.operations;
        piece.acknowledged += tally.acknowledged;
        Ok(())
    }

    /// Tries a case; a panic is a broken promise.
    fn attempt<T>(
        &self,
        seed: u64,
        case: Option<u64>,
        piece: &mut Piece,
        tell: &mut dyn FnMut(&str),
        what: impl FnOnce() -> T,
    ) -> Option<T> {
        match catch_panic(what) {
            Ok(done) => Some(done),
            Err(reason) => {
                self.violated(seed, case, &reason, piece, tell);
                None
            }
        }
    }

    fn violated(
        &self,
        seed: u64,
        case: Option<u64>,
        reason: &str,
        piece: &mut Piece,
        tell: &mut dyn FnMut(&str),
    ) {
        piece.violations += 1;
        let case = case.map(|case| format!(" --case {case}")).unwrap_or_default();
        let (mode, backend) = (self.mode, self.subject.name());
        tell(&format!(
            "VIOLATION: {reason}\nreplay: tests/torture {mode} --backend {backend} --seed {seed}{case}"
        ));
    }
}

/// The operations of a history at which the power is cut, ascending.
fn chosen(operations: u64, seed: u64) -> Vec<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut left = operations.min(CUTS_OF_A_HISTORY);
    // Each with the chance that leaves as many as there are to be.
    let wanted = |at: &u64| {
        let wanted = random.random_range(0..=operations - at) < left;
        left -= u64::from(wanted);
        wanted
    };
    (1..=operations).filter(wanted).collect()
}

thread_local! {
    /// What panics of this thread said since it began to catch them; `None` while it does not.
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// What panics of threads that catch none said since somebody last asked: mostly of a store or a node under test.
static ELSEWHERE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From here on a panic that is caught prints nothing. Any other prints what it would have printed before.
fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            match CAUGHT.take() {
                Some(mut caught) => {
                    caught.push(text);
                    CAUGHT.set(Some(caught));
                }
                None => {
                    ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    before(info);
                }
            }
        }));
    });
}

fn catch_panic<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    CAUGHT.set(Some(Vec::new()));
    let done = catch_unwind(AssertUnwindSafe(what));
    let mut texts = CAUGHT.take().unwrap_or_default();
    done.map_err(|_| {
        texts.append(&mut ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner));
        texts.join("; ")
    })
}
