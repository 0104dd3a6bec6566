//! Long runs of power cuts and flipped bits, in pieces that add up.
//!
//! `tests/torture` builds this and tells it what it tests; `docs/reliability.md` says what the numbers mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to whoever started it")]

use clap::{Args, Parser, Subcommand};
use coffer_tests::long_run::furthest_behind;
use coffer_tests::report::{self, Piece};
use coffer_tests::subjects::Subject;
use coffer_tests::torture::{Mode, Plan};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Cuts the power of stores and flips their bits, and counts what came of it.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The report that pieces are appended to.
    #[arg(long, global = true, default_value = "torture.jsonl")]
    report: PathBuf,
    /// The commit that is tested.
    #[arg(long, global = true, default_value = "unknown")]
    commit: String,
    /// A name for the content of the tested folders.
    #[arg(long, global = true, default_value = "unknown")]
    code: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cuts the power at every operation of a store, and again while it recovers.
    Crash(Piecemeal),
    /// Flips bits in every part of every kind of file.
    Flips(Piecemeal),
    /// Cuts the power of a whole node on a simulated disk.
    Node(Piecemeal),
    /// Cuts the power of a whole node on a file system of the kernel.
    Power(Piecemeal),
    /// All of that, until it is enough for a release: what is furthest behind first.
    Long(Long),
    /// Adds up the pieces of the code or commit that is given.
    Summary,
}

#[derive(Debug, Args)]
struct Piecemeal {
    /// Which kind of store: segment, segment-sealed, sqlite, sqlite-sealed, or all.
    #[arg(long, default_value = "all")]
    backend: String,
    /// The first history; by default the first that the report has no piece of.
    #[arg(long)]
    seed: Option<u64>,
    /// One case of that history: replays what a failure named.
    #[arg(long, requires = "seed")]
    case: Option<u64>,
    /// Crash points to try, or flips.
    #[arg(long, visible_alias = "flips", default_value_t = 1000)]
    points: u64,
    /// The file system of `power`: ext4 or xfs.
    #[arg(long, default_value = "ext4")]
    file_system: String,
}

#[derive(Debug, Args)]
struct Long {
    /// Which kind of store, as above.
    #[arg(long, default_value = "all")]
    backend: String,
    /// No piece begins after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// The file system of `power`: ext4 or xfs.
    #[arg(long, default_value = "ext4")]
    file_system: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (mode, piecemeal) = match &arguments.command {
        Command::Crash(piecemeal) => (Mode::Crash, piecemeal),
        Command::Flips(piecemeal) => (Mode::Flips, piecemeal),
        Command::Node(piecemeal) => (Mode::Node, piecemeal),
        Command::Power(piecemeal) => (Mode::Power, piecemeal),
        Command::Long(long) => return done(run_long(&arguments, long)),
        Command::Summary => return done(summary(&arguments)),
    };
    done(run(&arguments, mode, piecemeal))
}

fn done(result: Result<bool, String>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn read(arguments: &Arguments) -> Result<Vec<Piece>, String> {
    report::read(&arguments.report).map_err(|error| format!("{}: {error}", arguments.report.display()))
}

fn summary(arguments: &Arguments) -> Result<bool, String> {
    print!("{}", report::summary(&read(arguments)?, &arguments.code));
    Ok(true)
}

/// Returns whether every promise was kept.
fn run(arguments: &Arguments, mode: Mode, piecemeal: &Piecemeal) -> Result<bool, String> {
    let mut kept = true;
    for subject in Subject::named(&piecemeal.backend)? {
        let seed = match piecemeal.seed {
            Some(seed) => seed,
            None => next_seed(arguments, mode, &subject)?,
        };
        let plan = Plan {
            mode,
            subject,
            seed,
            case: piecemeal.case,
            enough: piecemeal.points,
            file_system: piecemeal.file_system.clone(),
        };
        kept &= run_piece(arguments, &plan)? != Outcome::Broken;
    }
    Ok(kept)
}

/// Returns whether every promise was kept.
fn run_long(arguments: &Arguments, long: &Long) -> Result<bool, String> {
    let subjects = Subject::named(&long.backend)?;
    let began = Instant::now();
    let in_time = || long.minutes.is_none_or(|minutes| began.elapsed().as_secs() < 60 * minutes);
    let mut left_out = Vec::new();
    let mut kept = true;
    while in_time()
        && let Some(next) = furthest_behind(&read(arguments)?, &arguments.code, &subjects, &left_out)
    {
        let (mode, subject) = (next.goal.mode, next.subject);
        let plan = Plan {
            mode,
            subject,
            seed: next_seed(arguments, mode, &subject)?,
            case: None,
            enough: next.goal.piece,
            file_system: long.file_system.clone(),
        };
        let outcome = run_piece(arguments, &plan)?;
        kept &= outcome != Outcome::Broken;
        if outcome != Outcome::Kept {
            left_out.push((mode, subject.name()));
        }
    }
    summary(arguments)?;
    Ok(kept)
}

fn next_seed(arguments: &Arguments, mode: Mode, subject: &Subject) -> Result<u64, String> {
    let like = Piece {
        code: arguments.code.clone(),
        backend: subject.backend.into(),
        sealed: subject.sealed,
        mode: mode.to_string(),
        ..Piece::default()
    };
    Ok(report::next_seed(&read(arguments)?, &like))
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Every promise was kept.
    Kept,
    /// One was not.
    Broken,
    /// This machine cannot.
    Skipped,
}

/// Does a piece, says what came of it, and adds it to the report.
fn run_piece(arguments: &Arguments, plan: &Plan) -> Result<Outcome, String> {
    let (mode, name) = (plan.mode, plan.subject.name());
    let piece = match plan.run(&mut |text| eprintln!("{text}")) {
        Ok(piece) => Piece { commit: arguments.commit.clone(), code: arguments.code.clone(), ..piece },
        Err(reason) => {
            println!("SKIPPED: {mode} {name}: {reason}");
            return Ok(Outcome::Skipped);
        }
    };
    let tried = piece.crash_points + piece.flips;
    println!(
        "{mode} {name}: {tried} tried in {} histories from {} on, {} violations, {:.1} s ({:.0} a second)",
        piece.seeds,
        plan.seed,
        piece.violations,
        piece.seconds,
        tried as f64 / piece.seconds.max(0.001),
    );
    // A replay is no piece of a run.
    if plan.case.is_none() {
        let appended = report::append(&arguments.report, &piece);
        appended.map_err(|error| format!("{}: {error}", arguments.report.display()))?;
    }
    Ok(if piece.violations == 0 { Outcome::Kept } else { Outcome::Broken })
}
