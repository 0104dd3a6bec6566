//! Compaction beside puts: what puts wait for meanwhile, what becomes of the disk, and what readers of old revisions get.
//!
//! A whole node over a real directory, in this process. Each cycle overwrites a fixed set of keys, so that most
//! revisions are dead; measures paced puts; compacts and measures the same puts until all space is given back; and
//! measures them once more. Meanwhile readers ask for keys at random revisions and hold every answer against what was
//! put: the value of that revision, or "compacted" if it may be. One JSON line per cycle and one with the medians.

use clap::{Parser, ValueEnum};
use coffer_backends::seal::{AtRest, RootKey, SecretKey};
use coffer_backends::segment::{self, SegmentStore};
use coffer_backends::sqlite::{self, SqliteStore};
use coffer_backends::{Backend, Identity};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{CompactRequest, PutRequest, RangeRequest};
use coffer_core::storage::{Log, Records};
use coffer_core::{Error, KeyRange};
use coffer_runtime::block_on;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt, SeedableRng};
use serde::Serialize;
use std::any::Any;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A disk that stayed as it is for so long will stay so.
const SETTLED: Duration = Duration::from_secs(35);

/// Measures puts, the disk and old readers during compactions.
#[derive(Parser)]
struct Arguments {
    #[arg(long, value_enum, default_value = "segment")]
    backend: Kind,
    #[arg(long)]
    unsealed: bool,
    #[arg(long, default_value_t = 40_000)]
    keys: usize,
    #[arg(long, default_value_t = 1024)]
    value_bytes: usize,
    /// How often each key is overwritten in a cycle.
    #[arg(long, default_value_t = 6)]
    overwrites: usize,
    /// Puts per second while they are measured, by all writers together.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Threads that put, one put each at a time.
    #[arg(long, default_value_t = 8)]
    writers: usize,
    #[arg(long, default_value_t = 2)]
    readers: usize,
    /// Seconds of measuring before and after each compaction.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    cycles: usize,
    /// Where to write; a temporary directory in the current one by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Segment,
    Sqlite,
}

/// The latencies of a phase.
#[derive(Serialize, Default, Clone)]
struct Phase {
    puts: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

#[derive(Serialize)]
struct Cycle {
    bench: &'static str,
    backend: &'static str,
    sealed: bool,
    cycle: usize,
    before: Phase,
    during: Phase,
    after: Phase,
    /// p99 during over p99 before.
    p99_ratio: f64,
    compaction_s: f64,
    live_mb: f64,
    disk_before_mb: f64,
    disk_peak_mb: f64,
    disk_settled_mb: f64,
    /// Settled bytes of the records, and of everything, over those of keys and values that live.
    records_amplification: f64,
    disk_amplification: f64,
    reads: u64,
    compacted: u64,
    load: f64,
}

#[derive(Serialize)]
struct Summary {
    bench: &'static str,
    backend: &'static str,
    cycles: usize,
    p99_ratio: f64,
    p99_before_us: f64,
    p99_during_us: f64,
    p99_after_us: f64,
    records_amplification: f64,
    disk_amplification: f64,
    reads: u64,
    compacted: u64,
}

struct Store {
    log: Box<dyn Log>,
    records: Arc<dyn Records>,
    identity: Identity,
    /// The keyring.
    kept: Box<dyn Any + Send>,
}

fn open(path: &Path, arguments: &Arguments) -> Result<Store, Failure> {
    let at_rest = match arguments.unsealed {
        true => AtRest::Unsealed,
        false => AtRest::Sealed(RootKey::new([3; 16], SecretKey::random()?)),
    };
    Ok(match arguments.backend {
        Kind::Segment => {
            let SegmentStore { log, records, identity, keyring } =
                SegmentStore::open(path, at_rest, segment::Options::default())?;
            Store { log, records, identity, kept: Box::new(keyring) }
        }
        Kind::Sqlite => {
            let SqliteStore { log, records, identity, keyring } =
                SqliteStore::open(path, at_rest, &sqlite::Options::default())?;
            Store { log, records, identity, kept: Box::new(keyring) }
        }
    })
}

/// What was put, for readers to check against.
struct Model {
    /// Of each key: the revisions and numbers of its puts, ascending.
    history: Vec<Mutex<Vec<(i64, u64)>>>,
    /// Of each writer: the revision up to which all of its puts are in the history.
    settled: Vec<AtomicI64>,
    /// What the newest compaction that was begun drops.
    compacted: AtomicI64,
    value_bytes: usize,
    puts: AtomicU64,
}

impl Model {
    fn key(number: usize) -> String {
        format!("compaction/key/{number:08}")
    }

    fn value(&self, key: usize, number: u64) -> Vec<u8> {
        let mut value = vec![0; self.value_bytes];
        SmallRng::seed_from_u64((key as u64) << 40 ^ number).fill_bytes(&mut value);
        value
    }

    fn request(&self, key: usize) -> (u64, PutRequest) {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let value = self.value(key, number).into();
        (number, PutRequest { key: Self::key(key).into(), value, ..PutRequest::default() })
    }

    fn note(&self, key: usize, revision: i64, number: u64) {
        self.history[key].lock().unwrap_or_else(PoisonError::into_inner).push((revision, number));
    }

    /// Every put up to this revision is in the history.
    fn settled(&self) -> i64 {
        self.settled.iter().map(|writer| writer.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    fn at(&self, key: usize, revision: i64) -> Option<u64> {
        let history = self.history[key].lock().unwrap_or_else(PoisonError::into_inner);
        let known = history.partition_point(|(put, _)| *put <= revision);
        history[..known].last().map(|(_, number)| *number)
    }

    /// Forgets what is below `revision`, as the store may.
    fn forget_below(&self, revision: i64) {
        for history in &self.history {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            let old = history.partition_point(|(put, _)| *put <= revision).saturating_sub(1);
            history.drain(..old);
        }
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let directory = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir_in(".")?,
    };
    let path = directory.path().join("store");
    let store = open(&path, &arguments)?;
    let (records, _kept) = (store.records.clone(), store.kept);
    let config = NodeConfig {
        cluster_id: store.identity.cluster_id,
        member_id: store.identity.member_id,
        boot: store.identity.boot,
        ..NodeConfig::default()
    };
    let node = Node::open(config, store.log, store.records)?;
    let model = Model {
        history: (0..arguments.keys).map(|_| Mutex::default()).collect(),
        settled: (0..arguments.writers).map(|_| AtomicI64::new(0)).collect(),
        compacted: AtomicI64::new(0),
        value_bytes: arguments.value_bytes,
        puts: AtomicU64::new(0),
    };
    let run = Run { arguments: &arguments, node: &node, records: &*records, model: &model, path: &path };
    let cycles = (1..=arguments.cycles).map(|cycle| run.cycle(cycle)).collect::<Result<Vec<_>, _>>()?;
    let median = |value: &dyn Fn(&Cycle) -> f64| {
        let mut values: Vec<f64> = cycles.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    print(&Summary {
        bench: "compaction-medians",
        backend: arguments.backend.name(),
        cycles: cycles.len(),
        p99_ratio: median(&|cycle| cycle.p99_ratio),
        p99_before_us: median(&|cycle| cycle.before.p99_us),
        p99_during_us: median(&|cycle| cycle.during.p99_us),
        p99_after_us: median(&|cycle| cycle.after.p99_us),
        records_amplification: median(&|cycle| cycle.records_amplification),
        disk_amplification: median(&|cycle| cycle.disk_amplification),
        reads: cycles.iter().map(|cycle| cycle.reads).sum(),
        compacted: cycles.iter().map(|cycle| cycle.compacted).sum(),
    })
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Segment => Backend::Segment.name(),
            Self::Sqlite => Backend::Sqlite.name(),
        }
    }
}

fn print(line: &impl Serialize) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(line)?)?)
}

struct Run<'a> {
    arguments: &'a Arguments,
    node: &'a Node,
    records: &'a dyn Records,
    model: &'a Model,
    path: &'a Path,
}

/// What readers of one phase saw.
#[derive(Default)]
struct Reads {
    right: AtomicU64,
    compacted: AtomicU64,
}

impl Run<'_> {
    fn cycle(&self, cycle: usize) -> Result<Cycle, Failure> {
        self.churn()?;
        let reads = Reads::default();
        let seconds = Duration::from_secs_f64(self.arguments.seconds);
        let disk_before = disk_bytes(self.path);
        let (before, ()) = self.measure(&reads, || {
            thread::sleep(seconds);
            Ok(())
        })?;
        let revision = self.model.settled();
        self.model.compacted.store(revision, Ordering::Release);
        let (during, (compaction_s, disk_peak)) = self.measure(&reads, || self.compact(revision))?;
        self.model.forget_below(revision);
        let (after, ()) = self.measure(&reads, || {
            thread::sleep(seconds);
            Ok(())
        })?;
        let settled = self.settle()?;
        let live = (self.arguments.keys * (self.arguments.value_bytes + Model::key(0).len())) as f64;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let line = Cycle {
            bench: "compaction",
            backend: self.arguments.backend.name(),
            sealed: !self.arguments.unsealed,
            cycle,
            p99_ratio: during.p99_us / before.p99_us,
            before,
            during,
            after,
            compaction_s,
            live_mb: live / 1e6,
            disk_before_mb: mb(disk_before),
            disk_peak_mb: mb(disk_peak),
            disk_settled_mb: mb(settled),
            records_amplification: self.records.stats().disk_bytes as f64 / live,
            disk_amplification: settled as f64 / live,
            reads: reads.right.into_inner(),
            compacted: reads.compacted.into_inner(),
            load: load_average(),
        };
        print(&line)?;
        Ok(line)
    }

    /// The keys of a writer.
    fn keys_of(&self, writer: usize) -> impl Iterator<Item = usize> + Clone {
        (writer..self.arguments.keys).step_by(self.arguments.writers)
    }

    /// Overwrites every key, in crowds.
    fn churn(&self) -> Result<(), Failure> {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..self.arguments.writers)
                .map(|writer| scope.spawn(move || self.churn_as(writer)))
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| Err("a panic".into())))
        })
    }

    fn churn_as(&self, writer: usize) -> Result<(), Failure> {
        let keys: Vec<usize> = self.keys_of(writer).collect();
        for _ in 0..self.arguments.overwrites {
            for crowd in keys.chunks(100) {
                let requests: Vec<_> = crowd.iter().map(|key| self.model.request(*key)).collect();
                let puts = requests.iter().map(|(_, request)| self.put(request));
                let mut newest = 0;
                let outcomes = block_on(join_all(puts));
                for ((key, (number, _)), outcome) in crowd.iter().zip(&requests).zip(outcomes) {
                    let revision = outcome?;
                    self.model.note(*key, revision, *number);
                    newest = newest.max(revision);
                }
                self.model.settled[writer].store(newest, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Puts, again and again if the store has too much to do. Returns the revision.
    async fn put(&self, request: &PutRequest) -> Result<i64, Error> {
        loop {
            match self.node.put(request.clone()).await {
                Err(Error::TooManyRequests) => coffer_runtime::sleep(Duration::from_millis(5)).await,
                put => return Ok(put?.header.revision),
            }
        }
    }

    /// Measures paced puts, with readers beside them, for as long as `work` takes.
    fn measure<T>(
        &self,
        reads: &Reads,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(Phase, T), Failure> {
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..self.arguments.writers)
                .map(|writer| scope.spawn(move || self.put_paced(writer, stop)))
                .collect();
            let readers: Vec<_> = (0..self.arguments.readers)
                .map(|reader| scope.spawn(move || self.read(reader as u64, reads, stop)))
                .collect();
            let done = work();
            stop.store(true, Ordering::Release);
            let mut times = Histogram::<u64>::new(3)?;
            for writer in writers {
                times.add(writer.join().unwrap_or_else(|_| Err("a panic".into()))?)?;
            }
            for reader in readers {
                reader.join().unwrap_or_else(|_| Err("a panic".into()))?;
            }
            let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
            let phase = Phase {
                puts: times.len(),
                p50_us: at(0.5),
                p99_us: at(0.99),
                p999_us: at(0.999),
                max_us: times.max() as f64 / 1e3,
            };
            Ok((phase, done?))
        })
    }

    fn put_paced(&self, writer: usize, stop: &AtomicBool) -> Result<Histogram<u64>, Failure> {
        let mut times = Histogram::new(3)?;
        let pace = Duration::from_secs_f64(self.arguments.writers as f64 / self.arguments.rate as f64);
        let mut due = Instant::now() + pace.mul_f64(writer as f64 / self.arguments.writers as f64);
        for key in self.keys_of(writer).cycle() {
            if stop.load(Ordering::Acquire) {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (number, request) = self.model.request(key);
            let began = Instant::now();
            let revision = block_on(self.put(&request))?;
            times.record(began.elapsed().as_nanos() as u64)?;
            self.model.note(key, revision, number);
            self.model.settled[writer].store(revision, Ordering::Release);
            due = (due + pace).max(Instant::now());
        }
        // Whoever is idle holds nobody back.
        Ok(times)
    }

    /// Reads keys at random revisions and checks every answer.
    fn read(&self, reader: u64, reads: &Reads, stop: &AtomicBool) -> Result<(), Failure> {
        let mut random = SmallRng::seed_from_u64(reader);
        while !stop.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
            let settled = self.model.settled();
            let key = random.random_range(0..self.arguments.keys);
            let revision = random.random_range(settled * 3 / 4..=settled).max(1);
            let expected = self.model.at(key, revision);
            let request = RangeRequest { revision, ..RangeRequest::new(KeyRange::single(Model::key(key))) };
            match block_on(self.node.range(request)) {
                Ok(response) => {
                    let found = response.kvs.first().map(|kv| kv.value.to_vec());
                    if found != expected.map(|number| self.model.value(key, number)) {
                        return Err(format!("key {key} at revision {revision} is wrong").into());
                    }
                    reads.right.fetch_add(1, Ordering::Relaxed);
                }
                Err(Error::Compacted { .. }) if revision < self.model.compacted.load(Ordering::Acquire) => {
                    reads.compacted.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Compacts and waits until all space is given back. Returns how long that took, and the most that lay on the disk.
    fn compact(&self, revision: i64) -> Result<(f64, u64), Failure> {
        let began = Instant::now();
        let done = &AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut peak = 0;
                while !done.load(Ordering::Acquire) {
                    peak = peak.max(disk_bytes(self.path));
                    thread::sleep(Duration::from_millis(20));
                }
                peak
            });
            let compacted = block_on(self.node.compact(CompactRequest { revision, physical: true }));
            let took = began.elapsed().as_secs_f64();
            done.store(true, Ordering::Release);
            let peak = watcher.join().unwrap_or(0);
            compacted?;
            Ok((took, peak))
        })
    }

    /// Compacts what was measured and waits until the disk stays as it is: a quiet store flushes after half a minute, and
    /// then gives back what it does not need any more. Returns what lies on it.
    fn settle(&self) -> Result<u64, Failure> {
        let revision = self.model.settled();
        self.model.compacted.store(revision, Ordering::Release);
        self.compact(revision)?;
        self.model.forget_below(revision);
        let began = Instant::now();
        let (mut bytes, mut since) = (disk_bytes(self.path), began);
        while since.elapsed() < SETTLED && began.elapsed() < 4 * SETTLED {
            thread::sleep(Duration::from_millis(500));
            let now = disk_bytes(self.path);
            if now != bytes {
                (bytes, since) = (now, Instant::now());
            }
        }
        Ok(bytes)
    }
}

/// What the files of a directory take.
fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let lengths = entries.flatten().filter_map(|entry| entry.metadata().ok());
    lengths.filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()).sum()
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
