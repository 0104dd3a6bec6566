//! Runs the program and its daemon.

pub(crate) mod cluster;

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its output, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (0, ""),
            "stdout: {}",
            String::from_utf8_lossy(&self.stdout)
        );
        String::from_utf8(self.stdout).expect("UTF-8 output")
    }

    /// Its output as JSON, if it succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("JSON output")
    }

    /// Checks that it failed with this code and one line that contains `text`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) {
        assert_eq!(self.code, code, "stderr: {}", self.stderr);
        assert!(self.stderr.contains(text), "stderr: {}", self.stderr);
        if code != 2 {
            assert_eq!(self.stderr.lines().count(), 1, "stderr: {}", self.stderr);
            assert!(self.stderr.starts_with("Error: "), "stderr: {}", self.stderr);
        }
    }
}

/// The program, with none of our own environment. Its stores are sealed.
pub(crate) fn program() -> Command {
    let mut command = bare_program();
    command.env("COFFER_SEAL_KEY_FILE", key_file());
    command
}

/// A key for the stores of tests that are not about keys.
pub(crate) fn key_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join("program.key");
        // Renamed, because other runs of the tests may be reading it.
        let mut file =
            tempfile::NamedTempFile::new_in(directory).expect("a file that only its owner may read");
        file.write_all("5e".repeat(32).as_bytes()).expect("written");
        file.persist(&path).expect("renamed");
        path
    })
}

/// The program, with none of our own environment, and nothing that says how its stores are kept.
pub(crate) fn bare_program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs the program with `input`.
pub(crate) fn run_with<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
    output_of(program().args(args), input)
}

/// Runs a command with `input`.
pub(crate) fn output_of(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end without reading everything.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the program without input.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    run_with(args, b"")
}

/// A running daemon. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) ready: String,
    pub(crate) endpoint: String,
}

impl Daemon {
    /// Starts it on a free port with its store in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_on(dir, "segment")
    }

    /// Starts it on a free port with its store of this backend in `dir`.
    pub(crate) fn start_on(dir: &Path, backend: &str) -> Self {
        Self::start_with(
            program()
                .args([
                    "serve",
                    "--backend",
                    backend,
                    "--listen-client-urls",
                    "coffer://127.0.0.1:0",
                    "--log-level",
                    "error",
                    "--data-dir",
                ])
                .arg(dir),
        )
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start_with(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the daemon starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut ready = String::new();
            stdout.read_line(&mut ready).expect("readable");
            sender.send(ready).expect("awaited");
            stdout
        });
        let ready = receiver.recv_timeout(DEADLINE).expect("the daemon is ready in time");
        let stdout = reader.join().expect("the reader ends");
        let listen =
            ready.trim_end().split(" listen=").nth(1).unwrap_or_else(|| panic!("ready line: {ready:?}"));
        let endpoint = listen.split(',').next().expect("a URL").to_owned();
        Self { child, stdout, ready, endpoint }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal and gives its exit code and the rest of its output.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        (self.wait(), self.rest())
    }

    /// The rest of its output, once it has ended.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("readable");
        rest
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon runs");
    }

    /// What it wrote to standard error, if that was piped, once it has ended.
    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        text
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait_for(|| self.child.try_wait().expect("waitable")).code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file system of `size` at `dir` in a namespace of its own, and `script` in it with the program as $0. It ends with
/// whatever runs in it when it is killed. `None` where no namespace can be had.
pub(crate) fn on_own_disk(dir: &Path, size: &str, script: &str) -> Option<Command> {
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.env("COFFER_SEAL_KEY_FILE", key_file());
        command.args(["--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script]);
        command.args([Path::new(env!("CARGO_BIN_EXE_coffer")), dir]);
        command
    };
    let mount = format!("mount -t tmpfs -o size={size} none \"$1\"\n");
    let probe = namespace(&mount).output().is_ok_and(|output| output.status.success());
    if !probe {
        skipped("`unshare` and the right to mount in a namespace");
    }
    probe.then(|| namespace(&(mount + script)))
}

/// Says that a test can not run here, for lack of `what`. Where everything must run it fails.
pub(crate) fn skipped(what: &str) {
    assert!(std::env::var_os("COFFER_REQUIRE_ALL").is_none(), "this needs {what}");
    // Not captured by the test harness, so that it is seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED: needs {what}");
}

/// Waits for something to be there.
#[track_caller]
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen in time");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Where commands run: on a store in their own process, or against a daemon.
pub(crate) struct Place {
    options: Vec<String>,
    pub(crate) daemon: Option<Daemon>,
    _dir: TempDir,
}

impl Place {
    pub(crate) fn file() -> Self {
        let dir = TempDir::new().expect("a directory");
        let options = vec!["--store".into(), format!("file://{}", dir.path().join("store").display())];
        Self { options, daemon: None, _dir: dir }
    }

    pub(crate) fn daemon() -> Self {
        let dir = TempDir::new().expect("a directory");
        let daemon = Daemon::start(&dir.path().join("store"));
        let options = vec!["--endpoints".into(), daemon.endpoint.clone()];
        Self { options, daemon: Some(daemon), _dir: dir }
    }

    /// One of each, fresh.
    pub(crate) fn both() -> [Self; 2] {
        [Self::file(), Self::daemon()]
    }

    /// A command that works here.
    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        command.args(&self.options);
        command
    }

    pub(crate) fn run<const N: usize>(&self, args: [&str; N]) -> Ran {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with<const N: usize>(&self, args: [&str; N], input: &[u8]) -> Ran {
        run_with(self.options.iter().map(String::as_str).chain(args), input)
    }

    /// Runs a command and gives its output.
    #[track_caller]
    pub(crate) fn ok<const N: usize>(&self, args: [&str; N]) -> String {
        self.run(args).ok()
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> i64 {
        self.run(["get", "any", "-w", "json"]).json()["header"]["revision"].as_i64().expect("a revision")
    }
}
