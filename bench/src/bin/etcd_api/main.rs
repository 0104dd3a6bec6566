//! Servers of etcd's API side by side: one generic gRPC client loads each of them in turns, round after round, and
//! prints one JSON line for each round and server, then one with the medians.
//!
//! ```text
//! cargo run --release -p coffer-bench --bin etcd_api -- put --clients 100 --server target/release/coffer --server /usr/bin/etcd
//! ```
//!
//! The servers all run from the beginning to the end, each on a data directory of its own, so that a round of one is
//! seconds away from that of the other. A program called `coffer` is started as `coffer etcd`; any other takes the same
//! flags; `null` is a server of this program that answers every call with an empty message: what the client can do at
//! most.

mod client;
mod null;
mod scenario;
mod server;

use clap::Parser;
use coffer_bench::load::{Phase, Tally, repeat};
use coffer_bench::report::{Meter, Report};
use coffer_runtime::local::spawn;
use coffer_runtime::{block_on, sleep};
use scenario::{Prepared, Scenario, Setup, Worker};
use serde::Serialize;
use server::Server;
use std::error::Error as StdError;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Loads servers of etcd's API and measures them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to do; `null-server` is what `--server null` starts.
    #[arg(value_enum)]
    scenario: Scenario,
    /// A program to measure, or `null`.
    #[arg(long = "server", required = true)]
    servers: Vec<PathBuf>,
    /// Callers, each with one operation outstanding.
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Connections that they share; 0 for one each, up to 100.
    #[arg(long, default_value_t = 0)]
    connections: usize,
    /// Processes that form each server: their leader is asked, and the processor time of all is counted.
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// How often each server is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds to measure in a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Keys in the store before the run.
    #[arg(long)]
    keys: Option<u64>,
    /// Watchers, where watches are measured.
    #[arg(long)]
    watchers: Option<usize>,
    /// Where to make the data directories; by default beside this program, so that they are on a real disk.
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    server: &'a str,
    round: usize,
    #[serde(flatten)]
    report: &'a Report,
}

/// The last line: medians of each server, and what they are of the last server's.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    server: &'a str,
    scenario: String,
    members: usize,
    clients: usize,
    connections: usize,
    rounds: usize,
    ops_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_us: f64,
    client_cpu_us: f64,
    cpu_ratio: f64,
    errors: u64,
    /// Server's processor time per operation over the last server's.
    cpu_of_last: f64,
    /// Operations per second over the last server's.
    throughput_of_last: f64,
}

fn main() -> Result<(), Box<dyn StdError>> {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(null::COMMAND) {
        return Ok(null::serve()?);
    }
    run(&Arguments::parse())
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn StdError>> {
    let here = std::env::current_exe()?;
    let here = here.parent().ok_or("this program lies in no directory")?;
    let directory = tempfile::tempdir_in(arguments.directory.as_deref().unwrap_or(here))?;
    let mut servers = Vec::new();
    for (index, program) in arguments.servers.iter().enumerate() {
        let directory = directory.path().join(index.to_string());
        servers.push(block_on(Server::start(program, &directory, arguments.members))?);
    }
    block_on(measure(arguments, &servers))
}

async fn measure(arguments: &Arguments, servers: &[Server]) -> Result<(), Box<dyn StdError>> {
    let setup = Setup {
        keys: arguments.keys.unwrap_or(arguments.scenario.keys()),
        watchers: arguments.watchers.unwrap_or(arguments.scenario.watchers()),
        value_bytes: arguments.value_bytes,
        connections: match arguments.connections {
            0 => arguments.clients.max(arguments.scenario.watchers()).clamp(1, 100),
            count => count,
        },
    };
    let mut prepared = Vec::new();
    for server in servers {
        prepared.push(scenario::prepare(arguments.scenario, setup, server).await?);
    }
    let mut reports: Vec<Vec<Report>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for ((server, prepared), reports) in servers.iter().zip(&prepared).zip(&mut reports) {
            let report = one_round(arguments, setup, server, prepared).await?;
            print(&Line { server: server.name(), round, report: &report })?;
            reports.push(report);
        }
    }
    let last = reports.last().map(|reports| (cpu(reports), throughput(reports))).unwrap_or_default();
    for (server, reports) in servers.iter().zip(&reports) {
        print(&Summary {
            server: server.name(),
            scenario: arguments.scenario.to_string(),
            members: arguments.members,
            clients: arguments.clients,
            connections: setup.connections,
            rounds: arguments.rounds,
            ops_per_s: throughput(reports),
            p50_us: median(reports, |report| report.p50_us as f64),
            p99_us: median(reports, |report| report.p99_us as f64),
            server_cpu_us: cpu(reports),
            client_cpu_us: median(reports, |report| report.client_cpu_us),
            cpu_ratio: median(reports, |report| report.cpu_ratio),
            errors: reports.iter().map(|report| report.errors).sum(),
            cpu_of_last: cpu(reports) / last.0,
            throughput_of_last: throughput(reports) / last.1,
        })?;
    }
    Ok(())
}

fn cpu(reports: &[Report]) -> f64 {
    median(reports, |report| report.server_cpu_us)
}

fn throughput(reports: &[Report]) -> f64 {
    median(reports, |report| report.ops_per_s)
}

fn median(reports: &[Report], of: impl Fn(&Report) -> f64) -> f64 {
    let mut values: Vec<f64> = reports.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn print(line: &impl Serialize) -> Result<(), Box<dyn StdError>> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(line)?)?)
}

async fn one_round(
    arguments: &Arguments,
    setup: Setup,
    server: &Server,
    prepared: &Prepared,
) -> Result<Report, Box<dyn StdError>> {
    let phase = Arc::new(Phase::default());
    let mut tasks = Vec::new();
    for number in 0..arguments.clients {
        let worker = Worker::new(arguments.scenario, prepared.clone(), number).await?;
        tasks.push(spawn(repeat(worker, Arc::clone(&phase))));
    }
    sleep(Duration::from_secs(1)).await;
    let events_before = prepared.events();
    let meter = Meter::start(server.pids())?;
    phase.measure();
    sleep(Duration::from_secs(arguments.seconds)).await;
    phase.pause();
    let metered = meter.stop()?;
    let events = prepared.events() - events_before;
    phase.end();
    let mut total = Tally::default();
    for task in tasks {
        total.add(&task.await?);
    }
    Ok(Report {
        scenario: arguments.scenario.to_string(),
        members: arguments.members,
        clients: arguments.clients,
        connections: setup.connections,
        value_bytes: setup.value_bytes,
        keys: setup.keys,
        ..metered.report(&total, arguments.scenario.counts_events().then_some(events))
    })
}
