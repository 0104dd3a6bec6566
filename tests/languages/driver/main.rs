//! One table of scenarios that every language plays alike, in every place. `tests/languages/run` builds this, the runners and
//! what they need, and names them.
//!
//! # Data path
//! A [`scenario`] is a file of commands and the answers that are expected. [`play`] gives each of its actors a [`runner`], a
//! small program in some language that carries commands out, and a store in some [`place`]. [`exchange()`] has every language
//! read what every other wrote.
//!
//! # Invariants
//! - Runners know no scenario: what they have in common is the commands, which `tests/languages/README.md` lists.
//! - Answers are compared as text. What differs from run to run is bound to a name where it comes first.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to whoever started it")]

mod exchange;
mod place;
mod play;
mod runner;
mod scenario;
#[cfg(test)]
mod tests;
mod words;

use clap::Parser;
use exchange::exchange;
use place::{Cluster, Place};
use play::Play;
use runner::Language;
use scenario::Scenario;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

/// Plays the scenarios.
#[derive(Debug, Parser)]
struct Arguments {
    /// A language and what runs it: name=command.
    #[arg(long, required = true)]
    runner: Vec<Language>,
    /// The program `coffer`.
    #[arg(long)]
    program: PathBuf,
    /// The folder of the scenarios.
    #[arg(long)]
    scenarios: PathBuf,
    /// Only what has this in its name.
    #[arg(long)]
    only: Option<String>,
    /// How many are played at once.
    #[arg(long, default_value_t = 4)]
    jobs: usize,
}

/// Plays something with its files in a folder and its keys below a prefix.
type Run<'a> = Box<dyn Fn(&Path, &str) -> Result<(), String> + Send + Sync + 'a>;

/// Something to be played.
struct Task<'a> {
    name: String,
    /// Whether nothing else may happen in its place.
    alone: bool,
    run: Run<'a>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let cluster = Cluster::start(&arguments.program, &scratch.path().join("cluster"))?;
    let places = [Place::Embedded("segment"), Place::Embedded("sqlite"), Place::Cluster(cluster)];
    let scenarios = read_all(&arguments.scenarios)?;
    // Each language is first once, followed by the others in turn.
    let casts: Vec<Vec<Language>> = (0..arguments.runner.len())
        .map(|first| {
            arguments.runner.iter().cycle().skip(first).take(arguments.runner.len()).cloned().collect()
        })
        .collect();
    let mut tasks = tasks(&places, &scenarios, &casts, &arguments.runner);
    if let Some(only) = &arguments.only {
        tasks.retain(|task| task.name.contains(only));
    }
    let began = Instant::now();
    let failures = play_all(&tasks, arguments.jobs, scratch.path());
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    let names: Vec<_> = arguments.runner.iter().map(|language| language.name.as_str()).collect();
    println!(
        "languages: {} plays of {} scenarios by {} in {} places: {} failed ({} s)",
        tasks.len(),
        scenarios.len() + 1,
        names.join(", "),
        places.len(),
        failures.len(),
        began.elapsed().as_secs()
    );
    if !failures.is_empty() {
        // The logs of runners and members.
        eprintln!("what is left of it: {}", scratch.keep().display());
    }
    Ok(failures.is_empty() && !tasks.is_empty())
}

fn read_all(folder: &Path) -> Result<Vec<Scenario>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| Scenario::read(path)).collect()
}

fn tasks<'a>(
    places: &'a [Place],
    scenarios: &'a [Scenario],
    casts: &'a [Vec<Language>],
    languages: &'a [Language],
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    for place in places {
        tasks.push(Task {
            name: format!("exchange in {}", place.name()),
            alone: false,
            run: Box::new(move |dir, prefix| exchange(place, languages, dir, prefix)),
        });
        let fitting = |scenario: &&Scenario| scenario.kind.as_deref().is_none_or(|kind| kind == place.kind());
        for scenario in scenarios.iter().filter(fitting) {
            for cast in casts {
                let play = Play { scenario, place, cast };
                let alone = scenario.is_disruptive();
                let run = Box::new(move |dir: &Path, prefix: &str| play.run(dir, prefix));
                tasks.push(Task { name: play.name(), alone, run });
            }
        }
    }
    tasks
}

/// Plays all, some at once, and tells what failed.
fn play_all(tasks: &[Task<'_>], jobs: usize, scratch: &Path) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let peace = RwLock::new(());
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, task)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            tasks.get(number).map(|task| (number, task))
        } {
            let dir = scratch.join(format!("play{number}"));
            let prefix = format!("p{number}");
            let began = Instant::now();
            let played = if task.alone {
                let _alone = peace.write().unwrap_or_else(PoisonError::into_inner);
                (task.run)(&dir, &prefix)
            } else {
                let _others = peace.read().unwrap_or_else(PoisonError::into_inner);
                (task.run)(&dir, &prefix)
            };
            let verdict = if played.is_ok() { "ok" } else { "FAILED" };
            println!("{verdict}: {} ({} ms)", task.name, began.elapsed().as_millis());
            if let Err(failure) = played {
                failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
            } else {
                // What is left of a failure is of use; the rest only takes room.
                let _ = std::fs::remove_dir_all(&dir);
            }
        }
    };
    thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}
