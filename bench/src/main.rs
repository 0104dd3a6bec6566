//! The load generator: starts a daemon, or a cluster of some, on empty data directories, loads it over Cap'n Proto, prints one JSON line.
//!
//! ```text
//! cargo run --release -p coffer-bench -- put --clients 100 --connections 4
//! ```

mod daemon;
mod scenario;

use clap::Parser;
use coffer_bench::load::{Phase, Tally, repeat};
use coffer_bench::report::{Meter, Report};
use coffer_core::Error;
use coffer_core::KeyRange;
use coffer_core::request::RangeRequest;
use coffer_rpc::client::{Client, ClientConfig, ClientThread};
use coffer_runtime::{Executor, block_on};
use daemon::Cluster;
use scenario::{Scenario, Worker};
use std::error::Error as StdError;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Loads a Coffer daemon and measures it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to do.
    scenario: Scenario,
    /// Callers, each with one operation outstanding.
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Connections that they share; 0 for one each, up to 100.
    #[arg(long, default_value_t = 0)]
    connections: usize,
    /// Daemons that form the store: their leader is asked, and the processor time of all is counted.
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds to run before measuring.
    #[arg(long, default_value_t = 2)]
    warm_up_seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Keys in the store before the run.
    #[arg(long)]
    keys: Option<u64>,
    /// Watchers, where watches are measured.
    #[arg(long)]
    watchers: Option<usize>,
    /// The program to measure; by default the one that was built beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where to make the data directory; by default beside this program, so that it is on a real disk.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn StdError>> {
    let arguments = Arguments::parse();
    let report = run(&arguments)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn StdError>> {
    let here = std::env::current_exe()?;
    let here = here.parent().ok_or("this program lies in no directory")?;
    let program = arguments.program.clone().unwrap_or_else(|| here.join("coffer"));
    let directory = tempfile::tempdir_in(arguments.directory.as_deref().unwrap_or(here))?;
    let fdatasync_us = probe_fdatasync(directory.path())?;
    let daemons = Cluster::start(&program, directory.path(), arguments.members)?;

    let connections = match arguments.connections {
        0 => arguments.clients.clamp(1, 100),
        count => count,
    };
    let config =
        ClientConfig { deadline: Duration::from_secs(30), ..ClientConfig::new([daemons.endpoint()]) };
    let thread = ClientThread::start()?;
    let connects = (0..connections).map(|_| Client::connect_on(&thread, config.clone()));
    let clients = block_on(futures_util::future::try_join_all(connects))?;
    let clients: Arc<[Client]> = clients.into();
    let round_trip_us = probe_round_trip(&clients[0])?;

    let keys = arguments.keys.unwrap_or(arguments.scenario.keys());
    let watchers = arguments.watchers.unwrap_or(arguments.scenario.watchers());
    let executor = Executor::start("bench", 1)?;
    let setup = scenario::Setup { keys, watchers, value_bytes: arguments.value_bytes };
    let prepared = block_on(scenario::prepare(arguments.scenario, setup, Arc::clone(&clients), &executor))?;

    let phase = Arc::new(Phase::default());
    let tasks: Vec<_> = (0..arguments.clients)
        .map(|number| {
            let client = clients[number % clients.len()].clone();
            let worker = Worker::new(arguments.scenario, prepared.clone(), client, number as u64);
            executor.spawn(repeat(worker, Arc::clone(&phase)))
        })
        .collect();
    std::thread::sleep(Duration::from_secs(arguments.warm_up_seconds));
    let events_before = prepared.events();
    let meter = Meter::start(daemons.pids())?;
    phase.measure();
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    phase.pause();
    let metered = meter.stop()?;
    let events = prepared.events() - events_before;
    phase.end();

    let mut total = Tally::default();
    for task in tasks {
        total.add(&block_on(task)?);
    }
    let report = metered.report(&total, arguments.scenario.counts_events().then_some(events));
    executor.shutdown();
    Ok(Report {
        scenario: arguments.scenario.to_string(),
        members: arguments.members,
        clients: arguments.clients,
        connections,
        value_bytes: arguments.value_bytes,
        keys,
        fdatasync_us,
        round_trip_us,
        ..report
    })
}

/// The median of 200 writes of 4 KiB, each with its `fdatasync`, over a file that was written before.
fn probe_fdatasync(directory: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt;
    const BLOCKS: u64 = 200;
    let path = directory.join("probe");
    let file = std::fs::File::create(&path)?;
    file.write_all_at(&vec![0; BLOCKS as usize * 4096], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for block in 0..BLOCKS {
        let began = Instant::now();
        file.write_all_at(&[1; 4096], block * 4096)?;
        file.sync_data()?;
        times.push(began.elapsed().as_micros() as u64);
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The median of 500 reads of a key that does not exist, one after the other.
fn probe_round_trip(client: &Client) -> Result<u64, Error> {
    let mut times = Vec::new();
    for _ in 0..500 {
        let request = RangeRequest { serializable: true, ..RangeRequest::new(KeyRange::single("probe")) };
        let began = Instant::now();
        block_on(client.range(request))?;
        times.push(began.elapsed().as_micros() as u64);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
