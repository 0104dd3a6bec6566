//! Clusters on a machine whose threads, time, network and disks follow from a seed.
//!
//! `tests/simulate` builds this; `docs/reliability.md` says what it tests, `docs/design/2026-11-22-simulation.md` how.
//!
//! - [`machine`]: threads, time and random bytes of the process.
//! - [`world`]: members with their [lives](life), on simulated disks, connected by [`wire`].
//! - [`plan`], [`faults`], [`clients`], [`watchers`]: what happens.
//! - [`run`]: all of it once, judged by the checker of the chaos runs.
//! - [`many`]: seed after seed, each in a process of its own.
#![allow(unreachable_pub, reason = "modules of a program show what they are for")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to whoever started it")]

mod ask;
mod clients;
mod falsify;
mod faults;
mod life;
mod machine;
mod many;
mod plan;
mod recorder;
mod run;
mod watchers;
mod wire;
mod world;

use clap::Parser;
use many::Many;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// No run takes longer, as its machine counts.
const LIMIT: Duration = Duration::from_secs(1200);

/// Nor in reality.
const LIMIT_REAL: Duration = Duration::from_secs(180);

/// Simulates clusters and judges what their clients saw.
#[derive(Debug, Parser)]
struct Arguments {
    /// Runs this seed, twice, says what happens in it and whether both runs were the same.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them; by default the one after those that the report has of this code.
    #[arg(long)]
    from: Option<u64>,
    /// How many run at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Every so many seeds one is run twice; 0 for never.
    #[arg(long, default_value_t = 50)]
    again: u64,
    /// The report that runs are appended to.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Where the histories of failing runs are kept.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The commit that is tested.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// A name for the content of the tested folders.
    #[arg(long, default_value = "unknown")]
    code: String,
    /// Ends at the first violation.
    #[arg(long)]
    first: bool,
    /// Also writes the log of the members. A run with it is another run than one without.
    #[arg(long)]
    log: bool,
    /// Runs a seed in this process: started by this program itself.
    #[arg(long, hide = true)]
    child: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.child {
        Some(seed) => child(seed, &arguments),
        None => Many::new(arguments).go(),
    }
}

/// One run. The last line that it writes says what came of it.
fn child(seed: u64, arguments: &Arguments) -> ExitCode {
    if arguments.log {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    }
    machine::end_after(LIMIT_REAL);
    machine::boot(seed, LIMIT);
    let keep = arguments.keep.clone();
    let mut tell = |text: String| println!("{:>10.6} {text}", machine::now().as_secs_f64());
    let ran = run::run(seed, &mut tell, |history| {
        if let Some(path) = &keep
            && let Err(error) = history.save(path)
        {
            eprintln!("the history is not kept: {error}");
        }
    });
    println!("{}", serde_json::to_string(&ran).expect("numbers and text"));
    // Threads that were killed in the middle of something are not waited for.
    machine::exit(u8::from(!ran.violations.is_empty()))
}
