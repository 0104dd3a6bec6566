//! One line of JSON for a run.

use crate::load::Tally;
use crate::process;
use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};

/// What a run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was done.
    pub scenario: String,
    /// Servers that formed the store.
    pub members: usize,
    /// Callers that each had one operation outstanding.
    pub clients: usize,
    /// Connections that they shared.
    pub connections: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Keys in the store before the run.
    pub keys: u64,
    /// Operations that succeeded (events, where a watch is measured).
    pub ops: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Successful operations per second.
    pub ops_per_s: f64,
    /// Latency in microseconds: median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Processor time per operation of the server, of all its members together, in microseconds.
    pub server_cpu_us: f64,
    /// Load generator's processor time per operation, in microseconds.
    pub client_cpu_us: f64,
    /// Server's over the load generator's.
    pub cpu_ratio: f64,
    /// Their resident memory at the end, in MiB.
    pub server_rss_mib: f64,
    /// The machine's load average at the end.
    pub load_average: f64,
    /// Median of one write and one `fdatasync` in the data directory's file system, in microseconds, probed just
    /// before the run.
    pub fdatasync_us: u64,
    /// Median of one empty round trip on one connection, in microseconds, probed just before the run.
    pub round_trip_us: u64,
}

/// A running measurement.
#[derive(Debug)]
pub struct Meter {
    servers: Vec<u32>,
    began: Instant,
    server_cpu: Duration,
    client_cpu: Duration,
}

impl Meter {
    /// Starts measuring the servers with these process ids, all of them together.
    ///
    /// # Errors
    /// A server is gone.
    pub fn start(servers: Vec<u32>) -> io::Result<Self> {
        let client_cpu = process::cpu_time(std::process::id())?;
        let server_cpu = total_cpu(&servers)?;
        Ok(Self { servers, began: Instant::now(), server_cpu, client_cpu })
    }

    /// Ends the measurement; what it cost is told once the callers have told what they did.
    ///
    /// # Errors
    /// A server is gone.
    pub fn stop(self) -> io::Result<Metered> {
        Ok(Metered {
            elapsed: self.began.elapsed(),
            server_cpu: total_cpu(&self.servers)? - self.server_cpu,
            client_cpu: process::cpu_time(std::process::id())? - self.client_cpu,
            server_rss_bytes: self
                .servers
                .iter()
                .map(|server| process::resident_bytes(*server))
                .sum::<io::Result<u64>>()?,
            load_average: process::load_average(),
        })
    }
}

fn total_cpu(servers: &[u32]) -> io::Result<Duration> {
    servers.iter().map(|server| process::cpu_time(*server)).sum()
}

/// What a measurement cost.
#[derive(Debug)]
pub struct Metered {
    elapsed: Duration,
    server_cpu: Duration,
    client_cpu: Duration,
    server_rss_bytes: u64,
    load_average: f64,
}

impl Metered {
    /// What each of the callers' operations cost, or each of `events` where the callers only cause them.
    pub fn report(self, tally: &Tally, events: Option<u64>) -> Report {
        let ops = events.unwrap_or(tally.ops);
        let per_op = |total: Duration| total.as_secs_f64() * 1e6 / ops.max(1) as f64;
        let (server_cpu_us, client_cpu_us) = (per_op(self.server_cpu), per_op(self.client_cpu));
        let latencies = &tally.latencies;
        Report {
            scenario: String::new(),
            members: 1,
            clients: 0,
            connections: 0,
            value_bytes: 0,
            keys: 0,
            ops,
            errors: tally.errors,
            ops_per_s: ops as f64 / self.elapsed.as_secs_f64(),
            p50_us: latencies.value_at_quantile(0.5),
            p90_us: latencies.value_at_quantile(0.9),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            server_cpu_us,
            client_cpu_us,
            cpu_ratio: server_cpu_us / client_cpu_us.max(f64::MIN_POSITIVE),
            server_rss_mib: self.server_rss_bytes as f64 / (1 << 20) as f64,
            load_average: self.load_average,
            fdatasync_us: 0,
            round_trip_us: 0,
        }
    }
}
