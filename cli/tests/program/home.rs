//! A directory with keys and stores in it, and what tests of keys ask of them.

use crate::support::{Daemon, Ran, bare_program, output_of};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with keys in it, and room for stores.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().expect("a directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that only its owner may read.
    pub(crate) fn secret(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
        text(&path)
    }

    pub(crate) fn key(&self, name: &str, byte: u8) -> String {
        self.secret(name, &format!("{byte:02x}").repeat(32))
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// Runs the program without anything in its environment that says how stores are kept.
pub(crate) fn bare<const N: usize>(args: [&str; N]) -> Ran {
    output_of(bare_program().args(args), b"")
}

/// The names and bytes of all files below `dir` but the lock, which names who tried last, and the daemon's socket.
pub(crate) fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(content(&path)),
            false if path.ends_with("LOCK") || path.ends_with("admin.sock") => {}
            false => files.push((path.clone(), fs::read(&path).expect("a file"))),
        }
    }
    files.sort();
    files
}

pub(crate) fn put(store: &[&str], key: &str, value: &str) {
    let args = store.iter().copied().chain(["put", key, value]);
    assert_eq!(output_of(bare_program().args(args), b"").ok(), "OK\n");
}

pub(crate) fn get(store: &[&str], key: &str) -> String {
    let args = store.iter().copied().chain(["get", "--print-value-only", key]);
    output_of(bare_program().args(args), b"").ok()
}

/// A daemon on a free port with its store in `dir`. What it says, all of it, goes to the file `log`.
pub(crate) fn serve<S: AsRef<OsStr>>(home: &Home, dir: &str, flags: impl IntoIterator<Item = S>) -> Daemon {
    let mut command = bare_program();
    command.args([
        "serve",
        "--listen-client-urls",
        "coffer://127.0.0.1:0",
        "--log-level",
        "debug",
        "--data-dir",
    ]);
    // A file: a pipe that nobody reads would hold the daemon.
    let log = fs::File::options().append(true).create(true).open(home.path("log")).expect("a file");
    Daemon::start_with(command.arg(home.path(dir)).args(flags).stderr(log))
}

/// Words that nothing else on the disk has.
pub(crate) const CANARY_KEY: &str = "canary/2f1e7c0b9d";
pub(crate) const CANARY_VALUE: &str = "tweet-8a44c1d07e";

/// Every file below `dir` that has one of the canaries in it.
pub(crate) fn seen(dir: &Path) -> Vec<PathBuf> {
    let has =
        |bytes: &[u8], canary: &str| bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
    let with_canary = |(_, bytes): &(PathBuf, Vec<u8>)| has(bytes, CANARY_KEY) || has(bytes, CANARY_VALUE);
    content(dir).into_iter().filter(with_canary).map(|(path, _)| path).collect()
}

/// Two thousand pairs with a canary in key and value, as lines to import.
pub(crate) fn canaries() -> String {
    (0..2_000).fold(String::new(), |mut lines, number| {
        let padding = "x".repeat(number % 700);
        writeln!(lines, "{{\"key\":\"{CANARY_KEY}/{number}\",\"value\":\"{CANARY_VALUE}{padding}\"}}")
            .expect("a string takes everything");
        lines
    })
}
