//! Measures consensus alone: one member, the log in memory, a machine that does nothing.
//!
//! One line of JSON for each number of proposals under way: proposals per second, CPU time of the whole process per
//! proposal, and the latency from `propose` to its outcome on the proposer's thread.

use bytes::Bytes;
use coffer_core::consensus::{Consensus, ConsensusConfig, Machine};
use coffer_core::storage::{LogEntry, LogId, MemoryDisk, StorageError};
use hdrhistogram::Histogram;
use std::error::Error;
use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PAYLOAD_BYTES: usize = 256;
const RUN: Duration = Duration::from_secs(3);
/// Entries between purges, as a node that flushes would do.
const PURGE_EVERY: u64 = 10_000;

struct Nothing {
    applied: Option<LogId>,
}

impl Machine for Nothing {
    fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        None
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        self.applied = entries.last().map(|entry| entry.id).or(self.applied);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    for outstanding in [1, 64, 1024] {
        run(outstanding)?;
    }
    Ok(())
}

fn run(outstanding: u64) -> Result<(), Box<dyn Error>> {
    let (log, _records) = MemoryDisk::new().open()?;
    let machine = Nothing { applied: None };
    let consensus = Consensus::start(ConsensusConfig::default(), Box::new(log), Box::new(machine))?;
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let (sender, outcomes) = mpsc::channel();
    let propose = || {
        let (sender, begun) = (sender.clone(), Instant::now());
        // The receiver outlives every proposal.
        consensus.propose(payload.clone(), Box::new(move |outcome| drop(sender.send((begun, outcome)))));
    };
    let mut latency = Histogram::<u64>::new(3)?;
    let (begun, cpu_before) = (Instant::now(), cpu_time()?);
    (0..outstanding).for_each(|_| propose());
    let mut count = 0_u64;
    while begun.elapsed() < RUN {
        let (proposed, outcome) = outcomes.recv()?;
        outcome?;
        latency.record(proposed.elapsed().as_nanos() as u64)?;
        count += 1;
        propose();
        if count.is_multiple_of(PURGE_EVERY) {
            consensus.status().applied.into_iter().for_each(|applied| consensus.purge(applied));
        }
    }
    let (elapsed, cpu) = (begun.elapsed(), cpu_time()? - cpu_before);
    let us = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    let line = serde_json::json!({
        "outstanding": outstanding,
        "per_s": (count as f64 / elapsed.as_secs_f64()).round(),
        "cpu_us": cpu.as_secs_f64() * 1e6 / count as f64,
        "p50_us": us(0.5),
        "p99_us": us(0.99),
        "p999_us": us(0.999),
        "load": std::fs::read_to_string("/proc/loadavg")?.split(' ').next(),
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// User and system time of this process.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Fields 14 and 15, in ticks of 10 ms; the name in field 2 may hold anything but ends with the last parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
