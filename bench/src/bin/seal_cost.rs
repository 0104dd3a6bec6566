//! What sealing costs: group commit of both backends, in the clear and sealed, in one run.
//!
//! All stores are open at once and take turns group by group, each time in another order, so that whatever else the
//! machine does hits all of them. A group is what core writes: entries, one write and one `fdatasync`. One JSON line per
//! backend and group size.

use clap::Parser;
use coffer_backends::Backend;
use coffer_backends::seal::{AtRest, RootKey, SecretKey};
use coffer_backends::segment::{self, SegmentStore};
use coffer_backends::sqlite::{self, SqliteStore};
use coffer_core::storage::{EntryKind, Log, LogEntry, LogId, LogOp, Records};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::any::Any;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Measures what sealing costs.
#[derive(Parser)]
struct Arguments {
    /// Puts of a group.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    groups: Vec<u64>,
    /// Bytes of a put.
    #[arg(long, default_value_t = 256)]
    put_bytes: usize,
    /// Seconds for each group size.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Where to write; a temporary directory in the current one by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// One result. A pair is of the store in the clear and of the sealed one.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    backend: &'static str,
    group: u64,
    put_bytes: usize,
    groups: u64,
    puts_per_s: [f64; 2],
    /// Sealed over unsealed puts per second, over the whole run.
    ratio: f64,
    /// The same from the median times of a group.
    ratio_p50: f64,
    p50_us: [f64; 2],
    p99_us: [f64; 2],
    cpu_us_per_group: [f64; 2],
    load: f64,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let directory = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir_in(".")?,
    };
    for group in &arguments.groups {
        measure(&directory.path().join(format!("group-{group}")), *group, &arguments)?;
    }
    Ok(())
}

/// A store under measurement.
struct Subject {
    log: Box<dyn Log>,
    /// Kept open, so that the store is whole.
    _records: Arc<dyn Records>,
    _kept: Box<dyn Any>,
    times: Histogram<u64>,
    spent: Duration,
    cpu: Duration,
}

impl Subject {
    fn open(path: &Path, backend: Backend, sealed: bool) -> Result<Self, Failure> {
        let at_rest = match sealed {
            true => AtRest::Sealed(RootKey::new([3; 16], SecretKey::random()?)),
            false => AtRest::Unsealed,
        };
        let (log, records, kept): (_, _, Box<dyn Any>) = match backend {
            Backend::Segment => {
                let SegmentStore { log, records, keyring, .. } =
                    SegmentStore::open(path, at_rest, segment::Options::default())?;
                (log, records, Box::new(keyring))
            }
            Backend::Sqlite => {
                let SqliteStore { log, records, keyring, .. } =
                    SqliteStore::open(path, at_rest, &sqlite::Options::default())?;
                (log, records, Box::new(keyring))
            }
        };
        let (spent, cpu) = (Duration::ZERO, Duration::ZERO);
        Ok(Self { log, _records: records, _kept: kept, times: Histogram::new(3)?, spent, cpu })
    }

    fn write(&mut self, ops: &[LogOp], counts: bool) -> Result<(), Failure> {
        let (began, cpu_before) = (Instant::now(), thread_cpu());
        self.log.write(ops, None)?;
        let took = began.elapsed();
        if counts {
            self.times.record(took.as_nanos() as u64)?;
            self.spent += took;
            self.cpu += thread_cpu().saturating_sub(cpu_before);
        }
        Ok(())
    }
}

/// Groups that are not counted: the first ones meet files that are being prepared.
const WARM_UP_GROUPS: u64 = 50;
/// Groups between two purges, as of a store that flushes.
const PURGE_GROUPS: u64 = 200;

fn measure(path: &Path, group: u64, arguments: &Arguments) -> Result<(), Failure> {
    std::fs::create_dir(path)?;
    let mut subjects = Vec::new();
    for backend in Backend::ALL {
        for sealed in [false, true] {
            let name = format!("{backend}-{}", if sealed { "sealed" } else { "clear" });
            subjects.push(Subject::open(&path.join(name), backend, sealed)?);
        }
    }
    let payload = bytes::Bytes::from(vec![7; arguments.put_bytes]);
    let (mut index, mut groups) = (0, 0);
    let end = Instant::now() + Duration::from_secs_f64(arguments.seconds);
    while Instant::now() < end {
        let entry = |index| LogEntry {
            id: LogId { term: 1, index },
            kind: EntryKind::Normal,
            payload: payload.clone(),
        };
        let ops = [LogOp::Append((index..index + group).map(entry).collect())];
        index += group;
        groups += 1;
        let count = subjects.len();
        for turn in 0..count {
            let subject = &mut subjects[(turn + groups as usize) % count];
            subject.write(&ops, groups > WARM_UP_GROUPS)?;
            if groups % PURGE_GROUPS == 0 {
                subject.log.purge(LogId { term: 1, index: index - 1 })?;
            }
        }
    }
    let counted = groups.saturating_sub(WARM_UP_GROUPS);
    for (backend, pair) in Backend::ALL.into_iter().zip(subjects.chunks(2)) {
        let [clear, sealed] = pair else { continue };
        let of = |value: &dyn Fn(&Subject) -> f64| [value(clear), value(sealed)];
        let puts_per_s = of(&|subject| (counted * group) as f64 / subject.spent.as_secs_f64());
        let p50_us = of(&|subject| subject.times.value_at_quantile(0.5) as f64 / 1e3);
        let line = Line {
            bench: "seal_cost",
            backend: backend.name(),
            group,
            put_bytes: arguments.put_bytes,
            groups: counted,
            puts_per_s,
            ratio: puts_per_s[1] / puts_per_s[0],
            ratio_p50: p50_us[0] / p50_us[1],
            p50_us,
            p99_us: of(&|subject| subject.times.value_at_quantile(0.99) as f64 / 1e3),
            cpu_us_per_group: of(&|subject| subject.cpu.as_secs_f64() * 1e6 / counted as f64),
            load: load_average(),
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
