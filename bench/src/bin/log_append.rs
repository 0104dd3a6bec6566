//! Group commit of the segment log against a bare `pwrite` and `fdatasync` of the same bytes, in one run.
//!
//! The bare file was written before, as the log's files are. Log and bare file take turns, so that whatever else the
//! machine does hits both. One JSON line per group size.

use clap::Parser;
use coffer_backends::io::{File, Io, OpenMode, RealIo, write_full};
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::storage::{EntryKind, LogEntry, LogId, LogOp};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Measures group commit.
#[derive(Parser)]
struct Arguments {
    /// Records of a group.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    groups: Vec<u64>,
    /// Bytes of a record.
    #[arg(long, default_value_t = 300)]
    record_bytes: usize,
    /// Seconds for each group size.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Where to write; a temporary directory beside the current one by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// One result; times in microseconds.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    group: u64,
    record_bytes: usize,
    groups: u64,
    log_p50_us: f64,
    log_p99_us: f64,
    bare_p50_us: f64,
    bare_p99_us: f64,
    /// Log over bare, at the median.
    ratio: f64,
    /// At the log's median.
    records_per_s: f64,
    log_cpu_us_per_group: f64,
    load: f64,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let directory = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir_in(".")?,
    };
    for group in &arguments.groups {
        let line = measure(directory.path().join(format!("group-{group}")), *group, &arguments)?;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

fn measure(path: PathBuf, group: u64, arguments: &Arguments) -> Result<Line, Failure> {
    let mut store = SegmentStore::open(&path, AtRest::Unsealed, Options::default())?;
    let mut bare =
        Bare::create(&path.with_extension("bare"), group as usize * (arguments.record_bytes + 16))?;
    let (mut log_times, mut bare_times) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let payload = bytes::Bytes::from(vec![7; arguments.record_bytes]);
    let (mut index, mut groups, mut cpu) = (0, 0, Duration::ZERO);
    let end = Instant::now() + Duration::from_secs_f64(arguments.seconds);
    while Instant::now() < end {
        let entry = |index| LogEntry {
            id: LogId { term: 1, index },
            kind: EntryKind::Normal,
            payload: payload.clone(),
        };
        let ops = [LogOp::Append((index..index + group).map(entry).collect())];
        index += group;
        let (began, cpu_before) = (Instant::now(), thread_cpu());
        store.log.write(&ops, None)?;
        let took = began.elapsed();
        cpu += thread_cpu().saturating_sub(cpu_before);
        bare_times.record(bare.commit()?.as_nanos() as u64)?;
        groups += 1;
        // The first groups meet files that are being prepared; a long run recycles.
        if groups > 50 {
            log_times.record(took.as_nanos() as u64)?;
        }
        if groups % 1000 == 0 {
            store.log.purge(LogId { term: 1, index: index - 1 })?;
        }
    }
    let us = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    let (log_p50_us, bare_p50_us) = (us(&log_times, 0.5), us(&bare_times, 0.5));
    Ok(Line {
        bench: "log_append",
        group,
        record_bytes: arguments.record_bytes,
        groups,
        log_p50_us,
        log_p99_us: us(&log_times, 0.99),
        bare_p50_us,
        bare_p99_us: us(&bare_times, 0.99),
        ratio: log_p50_us / bare_p50_us,
        records_per_s: group as f64 * 1e6 / log_p50_us,
        log_cpu_us_per_group: cpu.as_secs_f64() * 1e6 / groups as f64,
        load: load_average(),
    })
}

/// A file whose blocks were written before.
struct Bare {
    file: Arc<dyn File>,
    block: Vec<u8>,
    offset: u64,
}

const BARE_FILE_BYTES: u64 = 16 << 20;

impl Bare {
    fn create(path: &std::path::Path, bytes: usize) -> std::io::Result<Self> {
        let file = RealIo.open(path, OpenMode::Create)?;
        write_full(&*file, &vec![0; BARE_FILE_BYTES as usize], 0)?;
        file.sync_data()?;
        Ok(Self { file, block: vec![5; bytes.next_multiple_of(4096)], offset: 0 })
    }

    fn commit(&mut self) -> std::io::Result<Duration> {
        if self.offset + self.block.len() as u64 > BARE_FILE_BYTES {
            self.offset = 0;
        }
        let began = Instant::now();
        write_full(&*self.file, &self.block, self.offset)?;
        self.file.sync_data()?;
        self.offset += self.block.len() as u64;
        Ok(began.elapsed())
    }
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
