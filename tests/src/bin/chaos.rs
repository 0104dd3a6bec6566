//! Clusters of real daemons under faults, in runs that add up.
//!
//! `tests/chaos` builds this and tells it what it tests; `docs/reliability.md` says what the numbers mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to whoever started it")]

use clap::{Args, Parser, Subcommand};
use coffer_tests::chaos::checker::check;
use coffer_tests::chaos::failover;
use coffer_tests::chaos::faults::{self, Fault};
use coffer_tests::chaos::history::History;
use coffer_tests::chaos::made_up::judged;
use coffer_tests::chaos::plan::{Plan, Wish};
use coffer_tests::chaos::run::{Ran, run};
use coffer_tests::chaos::scenarios::{self, SCENARIOS};
use coffer_tests::report::{self, Piece};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::time::{Duration, Instant};

/// Runs clusters under faults and judges what their clients saw.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The program `coffer`; by default the one beside this one.
    #[arg(long, global = true)]
    program: Option<PathBuf>,
    /// The report that runs are appended to.
    #[arg(long, global = true, default_value = "torture.jsonl")]
    report: PathBuf,
    /// The commit that is tested.
    #[arg(long, global = true, default_value = "unknown")]
    commit: String,
    /// A name for the content of the tested folders.
    #[arg(long, global = true, default_value = "unknown")]
    code: String,
    /// Where failing runs are kept.
    #[arg(long, global = true, default_value = "chaos-kept")]
    keep: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs, one seed after the other.
    Run(Many),
    /// Times how long writes stand still when the leader is killed.
    Failover(Failover),
    /// Plays the stories in which another Raft library went wrong, with each backend.
    Scenarios {
        /// One story only.
        #[arg(long)]
        only: Option<String>,
    },
    /// Makes up histories and judges them, one line of JSON each, for another checker.
    Histories {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// The file.
        out: PathBuf,
    },
    /// Judges a history that was kept.
    Check {
        /// The file.
        history: PathBuf,
    },
    /// Says which faults this machine can inject.
    Faults,
    /// Adds up the runs of the code or commit that is given.
    Summary,
}

#[derive(Debug, Args)]
struct Many {
    /// The first seed; by default the first that the report has no run of.
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs; without this and without minutes one.
    #[arg(long)]
    runs: Option<u64>,
    /// No run begins after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many members, whatever the seed says.
    #[arg(long)]
    size: Option<usize>,
    /// segment or sqlite, whatever the seed says.
    #[arg(long)]
    backend: Option<String>,
    /// What strikes, whatever the seed says: steps separated by commas, faults of a step by `+`.
    #[arg(long)]
    faults: Option<String>,
    /// Keeps the files of every run.
    #[arg(long)]
    keep_all: bool,
}

#[derive(Debug, Args)]
struct Failover {
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Heartbeat interval, in milliseconds.
    #[arg(long, default_value_t = 100)]
    heartbeat: u64,
    /// Election timeout, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    election: u64,
    #[arg(long, default_value_t = 3)]
    size: usize,
    #[arg(long, default_value = "segment")]
    backend: String,
}

/// Set in the process that has a mount namespace of its own.
const NAMESPACE: &str = "COFFER_CHAOS_NAMESPACE";
/// The name of these pieces in the report.
const MODE: &str = "chaos";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Run(many) => {
            enter_namespace();
            run_many(&arguments, many)
        }
        Command::Failover(wanted) => measure(&arguments, wanted),
        Command::Scenarios { only } => play(&arguments, only.as_deref()),
        Command::Histories { count, out } => make_up(*count, out),
        Command::Check { history } => judge(history),
        Command::Faults => {
            enter_namespace();
            say_faults();
            Ok(true)
        }
        Command::Summary => summary(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Begins anew in a mount namespace, where that can be had: file systems of members go with the process, whatever ends it.
fn enter_namespace() {
    if std::env::var_os(NAMESPACE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut options = vec!["--mount"];
    if !rustix::process::geteuid().is_root() {
        options.push("--map-root-user");
    }
    let possible = Process::new("unshare").args(&options).arg("true").output();
    if possible.is_ok_and(|output| output.status.success()) {
        let mut unshared = Process::new("unshare");
        unshared.args(&options).arg(program).args(std::env::args_os().skip(1)).env(NAMESPACE, "1");
        // Comes back only if it fails: then everything but full disks goes without.
        eprintln!("unshare: {}", unshared.exec());
    }
}

/// Says what cannot be injected, and gives it.
fn say_faults() -> Vec<Fault> {
    let impossible = faults::impossible();
    for (fault, reason) in &impossible {
        println!("SKIPPED: {fault}: {reason}");
    }
    for fault in faults::FAULTS.iter().filter(|fault| !impossible.contains_key(fault)) {
        println!("{fault}");
    }
    impossible.into_keys().collect()
}

fn program(arguments: &Arguments) -> Result<PathBuf, String> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("coffer"));
    let program = arguments.program.clone().or_else(beside).ok_or("which program?")?;
    program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))
}

fn read(arguments: &Arguments) -> Result<Vec<Piece>, String> {
    report::read(&arguments.report).map_err(|error| format!("{}: {error}", arguments.report.display()))
}

fn summary(arguments: &Arguments) -> Result<bool, String> {
    print!("{}", report::summary(&read(arguments)?, &arguments.code));
    Ok(true)
}

fn run_many(arguments: &Arguments, many: &Many) -> Result<bool, String> {
    let program = program(arguments)?;
    let left_out = match many.faults {
        Some(_) => Vec::new(),
        None => say_faults(),
    };
    if !left_out.is_empty() && std::env::var_os("COFFER_REQUIRE_ALL").is_some() {
        return Err("everything must run here".into());
    }
    let steps = many.faults.as_deref().map(Plan::parse_steps).transpose()?;
    let wish = Wish { size: many.size, backend: many.backend.clone(), steps, left_out };
    let first = match many.seed {
        Some(seed) => seed,
        None => {
            let pieces = read(arguments)?;
            let same = pieces.iter().filter(|piece| piece.code == arguments.code && piece.mode == MODE);
            same.map(|piece| piece.first_seed + piece.seeds).max().unwrap_or(0)
        }
    };
    let runs = many.runs.unwrap_or(if many.minutes.is_some() { u64::MAX } else { 1 });
    let deadline = many.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let (mut broken, mut void, mut counted) = (0, 0, 0);
    for seed in (first..).take(usize::try_from(runs).unwrap_or(usize::MAX)) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        let plan = Plan::of(seed, &wish);
        let ran = one(arguments, &plan, &program, many)?;
        broken += u64::from(ran.violations() > 0);
        void += u64::from(ran.is_void());
        counted += u64::from(!ran.is_void());
    }
    println!("{counted} runs from seed {first} on, {void} void, {broken} with violations");
    if counted == 0 {
        return Err("there was too little load before the first fault in every run: nothing was shown".into());
    }
    Ok(broken == 0)
}

/// One run: told, counted, and kept if a promise was broken.
fn one(arguments: &Arguments, plan: &Plan, program: &Path, many: &Many) -> Result<Ran, String> {
    let dir =
        tempfile::Builder::new().prefix("coffer-chaos-").tempdir().map_err(|error| error.to_string())?;
    let (steps, sealed) = (plan.steps_text(), if plan.sealed { ", sealed" } else { "" });
    println!(
        "seed {}: {} members, {}{sealed}, {}/{} ms, {steps}",
        plan.seed, plan.size, plan.backend, plan.heartbeat_ms, plan.election_ms
    );
    let began = Instant::now();
    let ran = run(plan, program, dir.path(), &mut |text| println!("{text}"));
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => Ran { rate: f64::INFINITY, failures: vec![error], ..Ran::default() },
    };
    let seconds = began.elapsed().as_secs_f64();
    let counts = ran.history.counts();
    println!(
        "  {:.0} answers a second before; {counts:?}; {} revisions, {} reads, {} changes told, {} leases; {seconds:.1} s{}",
        ran.rate,
        ran.verdict.revisions,
        ran.verdict.reads,
        ran.verdict.changes,
        ran.verdict.leases,
        if ran.is_void() { "; VOID" } else { "" }
    );
    if ran.violations() > 0 || many.keep_all {
        keep(arguments, plan, &ran, dir.path())?;
    }
    if !ran.is_void() {
        let piece = Piece {
            commit: arguments.commit.clone(),
            code: arguments.code.clone(),
            backend: plan.backend.clone(),
            sealed: plan.sealed,
            mode: MODE.into(),
            first_seed: plan.seed,
            seeds: 1,
            faults: ran.struck.values().sum(),
            struck: ran.struck.clone(),
            steps: ran.steps.clone(),
            operations: ran.history.operations.len() as u64,
            acknowledged: counts.get("ok").copied().unwrap_or(0),
            violations: ran.violations() as u64,
            seconds,
            ..Piece::default()
        };
        let appended = report::append(&arguments.report, &piece);
        appended.map_err(|error| format!("{}: {error}", arguments.report.display()))?;
    }
    Ok(ran)
}

fn keep_logs(dir: &Path, kept: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(kept)?;
    for file in std::fs::read_dir(dir)?.filter_map(Result::ok) {
        if file.path().extension().is_some_and(|extension| extension == "log") {
            std::fs::copy(file.path(), kept.join(file.file_name()))?;
        }
    }
    Ok(())
}

/// Keeps the history and the logs, and says how to see it again.
fn keep(arguments: &Arguments, plan: &Plan, ran: &Ran, dir: &Path) -> Result<(), String> {
    let kept = arguments.keep.join(format!("seed-{}", plan.seed));
    let failed = |error: std::io::Error| format!("{}: {error}", kept.display());
    std::fs::create_dir_all(&kept).map_err(failed)?;
    let history = kept.join("history.jsonl");
    ran.history.save(&history).map_err(failed)?;
    keep_logs(dir, &kept).map_err(failed)?;
    let failures = ran.failures.iter().cloned();
    let all: Vec<String> = ran.verdict.violations.iter().map(ToString::to_string).chain(failures).collect();
    std::fs::write(kept.join("violations"), all.join("\n")).map_err(failed)?;
    for violation in all.iter().take(5) {
        println!("  VIOLATION: {violation}");
    }
    println!(
        "  {} violations; kept in {}; again: tests/chaos run --seed {} --size {} --backend {} --faults {}",
        all.len(),
        kept.display(),
        plan.seed,
        plan.size,
        plan.backend,
        plan.steps_text()
    );
    println!("  judged again: tests/chaos check {}", history.display());
    Ok(())
}

fn play(arguments: &Arguments, only: Option<&str>) -> Result<bool, String> {
    let program = program(arguments)?;
    let mut went_well = true;
    for backend in ["segment", "sqlite"] {
        for (name, size) in SCENARIOS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
            let wish = Wish { size: Some(*size), backend: Some(backend.into()), ..Wish::default() };
            let plan = Plan::of(0, &wish);
            let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
            match scenarios::play(name, &plan, &program, dir.path()) {
                Ok(()) => println!("{name}, {backend}: as it must be"),
                Err(error) => {
                    went_well = false;
                    let kept = arguments.keep.join(format!("{name}-{backend}"));
                    keep_logs(dir.path(), &kept).map_err(|error| format!("{}: {error}", kept.display()))?;
                    println!("{name}, {backend}: VIOLATION: {error}; logs kept in {}", kept.display());
                }
            }
        }
    }
    Ok(went_well)
}

fn make_up(count: u64, out: &Path) -> Result<bool, String> {
    let lines: Result<Vec<String>, _> = (0..count).map(|seed| serde_json::to_string(&judged(seed))).collect();
    let mut text = lines.map_err(|error| error.to_string())?.join("\n");
    text.push('\n');
    std::fs::write(out, text).map_err(|error| format!("{}: {error}", out.display()))?;
    Ok(true)
}

fn judge(path: &Path) -> Result<bool, String> {
    let history = History::load(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let verdict = check(&history);
    verdict.violations.iter().for_each(|violation| println!("{violation}"));
    println!(
        "{} operations, {} revisions, {} reads, {} changes told, {} leases; {} violations",
        history.operations.len(),
        verdict.revisions,
        verdict.reads,
        verdict.changes,
        verdict.leases,
        verdict.violations.len()
    );
    Ok(verdict.violations.is_empty())
}

fn measure(arguments: &Arguments, wanted: &Failover) -> Result<bool, String> {
    let wish = Wish { size: Some(wanted.size), backend: Some(wanted.backend.clone()), ..Wish::default() };
    let mut plan = Plan::of(0, &wish);
    (plan.heartbeat_ms, plan.election_ms, plan.sealed) = (wanted.heartbeat, wanted.election, true);
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let times = failover::measure(&plan, &program(arguments)?, dir.path(), wanted.kills)?;
    let at = |share: f64| {
        times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1].as_millis()
    };
    println!(
        "{} kills of the leader, {} members, {}, sealed, heartbeat {} ms, election {} ms: until the next write \
         median {} ms, p90 {} ms, p99 {} ms, most {} ms",
        times.len(),
        plan.size,
        plan.backend,
        plan.heartbeat_ms,
        plan.election_ms,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    Ok(true)
}
