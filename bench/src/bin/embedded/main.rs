//! Embedded stores side by side: what a durable put costs here, in SQLite and in redb, in one process and one run.
//!
//! All stores are open at once and take turns of a fraction of a second, each round in another order, so that whatever else
//! the machine does hits all of them. Ours is sealed. One JSON line per store and number of threads. `bench/embedded` runs
//! this and reads keys from C, Go and Python beside it.

mod peers;

use clap::{Parser, Subcommand};
use coffer::{Client, Options, Seal, TxnOp, block_on};
use hdrhistogram::Histogram;
use peers::{Peer, Redb, Sqlite};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures embedded stores.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Bytes of a value.
    #[arg(long, global = true, default_value_t = 256)]
    value_bytes: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Durable puts of one key each.
    Puts {
        /// Threads that put.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
        threads: Vec<usize>,
        /// How often each store has its turn.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        /// Milliseconds of a turn.
        #[arg(long, default_value_t = 500)]
        turn_ms: u64,
        /// Where to write; a temporary directory in the current one by default.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Makes a sealed store with keys to be read.
    Fill {
        /// How many.
        #[arg(long)]
        keys: u64,
        /// The directory; the key that seals it is put beside it, with `.key` at its end.
        dir: PathBuf,
    },
}

/// One result.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    store: &'static str,
    threads: usize,
    value_bytes: usize,
    puts: u64,
    puts_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// Ours over this one's puts per second.
    ours_over_it: f64,
    load: f64,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::Puts { threads, rounds, turn_ms, dir } => {
            let directory = match dir {
                Some(dir) => tempfile::tempdir_in(dir)?,
                None => tempfile::tempdir_in(".")?,
            };
            for threads in threads {
                let path = directory.path().join(threads.to_string());
                let turn = Duration::from_millis(*turn_ms);
                measure(&path, *threads, *rounds, turn, arguments.value_bytes)?;
            }
            Ok(())
        }
        Command::Fill { keys, dir } => fill(dir, *keys, arguments.value_bytes),
    }
}

/// Our own store.
struct Coffer(Client);

impl Coffer {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let key = dir.with_extension("key");
        write_key(&key)?;
        let options = Options::default().seal(Seal::KeyFile(key));
        Ok(Self(block_on(options.open(&format!("file://{}", dir.display())))?))
    }
}

impl Peer for Coffer {
    fn name(&self) -> &'static str {
        "coffer"
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        block_on(async { self.0.put(key, value).await })?;
        Ok(())
    }
}

fn write_key(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all("5e".repeat(32).as_bytes())
}

/// What a store did in its turns.
struct Tally {
    times: Histogram<u64>,
    spent: Duration,
}

fn measure(
    dir: &Path,
    threads: usize,
    rounds: usize,
    turn: Duration,
    value_bytes: usize,
) -> Result<(), Failure> {
    std::fs::create_dir(dir)?;
    let dir = dir.canonicalize()?;
    let stores: [Box<dyn Peer>; 3] = [
        Box::new(Coffer::open(&dir.join("coffer"))?),
        Box::new(Sqlite::open(&dir.join("sqlite"))?),
        Box::new(Redb::open(&dir.join("redb"))?),
    ];
    let value = vec![7; value_bytes];
    let next = AtomicU64::new(0);
    let mut tallies = Vec::new();
    for _ in &stores {
        tallies.push(Tally { times: Histogram::new(3)?, spent: Duration::ZERO });
    }
    // The first round is not counted: it meets files that are being prepared.
    for round in 0..=rounds {
        for place in 0..stores.len() {
            let which = (place + round) % stores.len();
            let began = Instant::now();
            let times = take_turn(stores[which].as_ref(), threads, turn, &value, &next)?;
            if round > 0 {
                tallies[which].times.add(times)?;
                tallies[which].spent += began.elapsed();
            }
        }
    }
    let rate = |tally: &Tally| tally.times.len() as f64 / tally.spent.as_secs_f64();
    let ours = rate(&tallies[0]);
    for (store, tally) in stores.iter().zip(&tallies) {
        let line = Line {
            bench: "embedded-put",
            store: store.name(),
            threads,
            value_bytes,
            puts: tally.times.len(),
            puts_per_s: rate(tally),
            p50_us: tally.times.value_at_quantile(0.5) as f64 / 1e3,
            p99_us: tally.times.value_at_quantile(0.99) as f64 / 1e3,
            ours_over_it: ours / rate(tally),
            load: load_average(),
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

/// Lets threads put keys that nobody put before, until the turn is over.
fn take_turn(
    store: &dyn Peer,
    threads: usize,
    turn: Duration,
    value: &[u8],
    next: &AtomicU64,
) -> Result<Histogram<u64>, Failure> {
    let work = || -> Result<Histogram<u64>, Failure> {
        let mut times = Histogram::new(3)?;
        let end = Instant::now() + turn;
        loop {
            let began = Instant::now();
            if began >= end {
                return Ok(times);
            }
            let key = format!("key/{:012}", next.fetch_add(1, Ordering::Relaxed));
            store.put(key.as_bytes(), value)?;
            times.record(began.elapsed().as_nanos() as u64)?;
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Histogram::new(3)?;
        for thread in running {
            all.add(thread.join().map_err(|_| "a thread panicked")??)?;
        }
        Ok(all)
    })
}

/// Puts of one transaction.
const PUTS_AT_ONCE: u64 = 100;

fn fill(dir: &Path, keys: u64, value_bytes: usize) -> Result<(), Failure> {
    let Coffer(store) = Coffer::open(dir)?;
    let value = vec![7; value_bytes];
    block_on(async {
        for first in (0..keys).step_by(PUTS_AT_ONCE as usize) {
            let last = (first + PUTS_AT_ONCE).min(keys);
            let puts = (first..last).map(|key| TxnOp::put(format!("key/{key:08}"), value.clone()));
            store.txn().then(puts).commit().await?;
        }
        store.close().await;
        Ok(())
    })
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
