//! One run of a program: input, answer, and a bound on time and size.
//!
//! The input is put into the pipe before the program starts, which takes neither a thread nor a signal if the program does
//! not read it. Nothing of the program outlives [`run`]: it is in a process group of its own, and the group is killed.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

const ANSWER_BYTES_MAX: usize = 64 << 10;
const SAID_BYTES_MAX: usize = 8 << 10;
/// Between looks at a program that has closed its pipes and not ended yet.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(super) struct Output {
    pub(super) status: ExitStatus,
    /// Standard output.
    pub(super) answer: Zeroizing<Vec<u8>>,
    /// The beginning of standard error.
    pub(super) said: Zeroizing<Vec<u8>>,
}

pub(super) enum Failure {
    Start(io::Error),
    Io(io::Error),
    TooMuch,
    Late {
        /// The beginning of standard error.
        said: Zeroizing<Vec<u8>>,
    },
}

pub(super) fn run(arguments: &[String], input: &[u8], timeout: Duration) -> Result<Output, Failure> {
    let deadline = Instant::now() + timeout;
    let (program, arguments) = arguments.split_first().expect("a command has a program");
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).stdin(filled_pipe(input).map_err(Failure::Io)?);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COFFER_SEAL_") {
            command.env_remove(name);
        }
    }
    let mut running = Running { child: command.spawn().map_err(Failure::Start)?, reaped: false };
    // The command holds the reading end of the pipe.
    drop(command);
    let (Some(stdout), Some(stderr)) = (running.child.stdout.take(), running.child.stderr.take()) else {
        return Err(Failure::Io(io::ErrorKind::BrokenPipe.into()));
    };
    let mut pipes = Pipes {
        stdout: Some(stdout),
        stderr: Some(stderr),
        answer: Zeroizing::new(vec![0; ANSWER_BYTES_MAX + 1]),
        answer_bytes: 0,
        said: Zeroizing::new(Vec::with_capacity(SAID_BYTES_MAX)),
    };
    while pipes.is_open() {
        if !pipes.step(deadline)? {
            return Err(Failure::Late { said: pipes.said });
        }
    }
    while !running.has_ended().map_err(Failure::Io)? {
        if Instant::now() >= deadline {
            return Err(Failure::Late { said: pipes.said });
        }
        thread::sleep(LOOK_AGAIN);
    }
    let status = running.end().map_err(Failure::Io)?;
    let mut answer = pipes.answer;
    answer.truncate(pipes.answer_bytes);
    Ok(Output { status, answer, said: pipes.said })
}

/// The reading end of a pipe that holds `input`.
fn filled_pipe(input: &[u8]) -> io::Result<Stdio> {
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&writing, true)?;
    let mut rest = input;
    while !rest.is_empty() {
        match rustix::io::write(&writing, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reading.into())
}

struct Running {
    child: Child,
    reaped: bool,
}

impl Running {
    /// Whether the program has ended; its id stays taken.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    /// Kills what is left of the group, and only then gives the id back that names it.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // That there is nobody left is no news.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped
            && let Err(error) = self.end()
        {
            tracing::warn!(%error, "a key command that was killed cannot be waited for");
        }
    }
}

struct Pipes {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    answer: Zeroizing<Vec<u8>>,
    answer_bytes: usize,
    said: Zeroizing<Vec<u8>>,
}

impl Pipes {
    fn is_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Waits for one of the pipes and reads what it has. Returns whether that was before the deadline.
    fn step(&mut self, deadline: Instant) -> Result<bool, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let (mut ready_stdout, mut ready_stderr) = (false, false);
        {
            let mut waited = Vec::with_capacity(2);
            waited.extend(self.stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            waited.extend(self.stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut waited, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Failure::Io(error.into())),
            }
            let mut ready = waited.iter().map(|fd| !fd.revents().is_empty());
            if self.stdout.is_some() {
                ready_stdout = ready.next().unwrap_or_default();
            }
            if self.stderr.is_some() {
                ready_stderr = ready.next().unwrap_or_default();
            }
        }
        if ready_stdout && let Some(pipe) = &mut self.stdout {
            match read(pipe, &mut self.answer[self.answer_bytes..])? {
                0 => self.stdout = None,
                count => self.answer_bytes += count,
            }
            if self.answer_bytes > ANSWER_BYTES_MAX {
                return Err(Failure::TooMuch);
            }
        }
        if ready_stderr && let Some(pipe) = &mut self.stderr {
            let mut more = Zeroizing::new([0; 1024]);
            let count = read(pipe, &mut *more)?;
            if count == 0 {
                self.stderr = None;
            }
            // The rest is read and forgotten, so that the program does not stop.
            let room = SAID_BYTES_MAX - self.said.len();
            self.said.extend_from_slice(&more[..count.min(room)]);
        }
        Ok(true)
    }
}

/// Reads from a pipe that has something, or is at its end.
fn read(pipe: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Failure> {
    loop {
        match pipe.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(Failure::Io),
        }
    }
}
