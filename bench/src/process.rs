//! What the system says of a process: processor time, resident memory; and of the machine: its load, a free port.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// Processor time that all threads of a process have taken so far, in user and kernel mode.
///
/// # Errors
/// The process is gone, or `/proc` does not have the expected form.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the fields after it are numbers. utime and stime are 14 and 15.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 1000 / ticks_per_second())),
        _ => Err(io::Error::other("/proc/<pid>/stat has an unknown form")),
    }
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// The process is gone, or `/proc` does not have the expected form.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/<pid>/statm has an unknown form"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// So many ports of loopback that the kernel chose, each another. Somebody else may take one before the server does, which then
/// fails to start.
///
/// # Errors
/// There are not as many.
pub fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}

/// The machine's load average over one minute; 0 if it is not told.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}
