//! What the system knows of this process. Nothing is written where the system does not tell.

use super::text::Page;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// Writes the metrics of the process.
pub(super) fn write(page: &mut Page) {
    let descriptors = fs::read_dir("/proc/self/fd").map(|entries| entries.count()).ok();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if let Some(open) = descriptors {
        page.gauge("process_open_fds", "Number of open file descriptors.", open);
        page.gauge("os_fd_used", "The number of used file descriptors.", open);
    }
    page.gauge("process_max_fds", "Maximum number of open file descriptors.", limit);
    page.gauge("os_fd_limit", "The file descriptor limit.", limit);
    let Some(process) = Process::read() else { return };
    page.counters("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")
        .sample(&[], process.cpu_s);
    page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes);
    page.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        process.start_s,
    );
    page.gauge("process_threads", "Number of threads.", process.threads);
}

struct Process {
    cpu_s: f64,
    threads: u64,
    /// Since 1970.
    start_s: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Process {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in parentheses, may hold anything; what follows is numbers.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let booted =
            system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        Some(Self {
            cpu_s: (field(14)? + field(15)?) as f64 / per_second,
            threads: field(20)?,
            start_s: booted + field(22)? as f64 / per_second,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn the_system_tells_of_this_process() {
        let process = Process::read().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.start_s <= now + 2.0 && process.start_s > now - 86_400.0, "{}", process.start_s);
        assert!(process.resident_bytes > 100_000 && process.resident_bytes <= process.virtual_bytes);
        assert!(process.threads > 0 && process.cpu_s >= 0.0);
    }
}
