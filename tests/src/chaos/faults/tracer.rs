//! System calls of a running process that are slow or fail, by strace.

use crate::chaos::member::Member;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long strace may take to attach.
const ATTACH: Duration = Duration::from_secs(10);

/// strace on a process; the process goes on untouched when this is dropped.
#[derive(Debug)]
pub(super) struct Tracer(Child);

/// Whether a process can be traced here.
pub(super) fn probe() -> Result<(), String> {
    let traced = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    match traced {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("strace cannot trace: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("needs strace: {error}")),
    }
}

impl Tracer {
    /// Has every fdatasync and fsync of a member treated so, as strace's `inject` has it. A process has one tracer at most: waits
    /// for the end of another fault of the disk.
    pub(super) async fn attach(member: &Member, inject: &str) -> Result<Option<Self>, String> {
        let deadline = Instant::now() + ATTACH;
        loop {
            let Some(pid) = member.pid() else { return Ok(None) };
            let mut tracer = Self::start(pid, inject)?;
            while !tracer.has_ended() {
                if !member.is_running() || is_traced(pid, tracer.0.id()) {
                    return Ok(Some(tracer));
                }
                coffer_runtime::sleep(Duration::from_millis(5)).await;
                if Instant::now() > deadline {
                    break;
                }
            }
            if Instant::now() > deadline {
                return Err(format!("strace did not attach to {}", member.name));
            }
            coffer_runtime::sleep(Duration::from_millis(20)).await;
        }
    }

    fn start(pid: u32, inject: &str) -> Result<Self, String> {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", "signal=none"]);
        command.args(["-e", &format!("inject=fdatasync,fsync:{inject}"), "-p", &pid.to_string()]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.map_err(|error| format!("strace: {error}"))?))
    }

    /// It could not attach, or what it traced has ended.
    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // On SIGINT it detaches; killed, it would take stopped threads along.
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.0.wait();
    }
}

fn is_traced(pid: u32, by: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let tracer = format!("TracerPid:\t{by}\n");
    tasks.filter_map(Result::ok).all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.contains(&tracer)
    })
}
