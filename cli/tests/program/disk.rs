//! A disk that is full, and one that fails: what `coffer serve` does then, as a process.

use crate::support::{Daemon, Ran, key_file, on_own_disk, run, run_with, skipped, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The daemon looks for room once a second.
const STAYS: Duration = Duration::from_secs(3);

/// What a daemon answers under this name over HTTP.
fn http_get(url: &str, path: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The process that `pid` started last.
fn child_of(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a process");
    children.split_whitespace().last().and_then(|pid| pid.parse().ok()).expect("a child")
}

/// A client of the daemon that is on a full disk.
struct Full {
    daemon: Daemon,
    /// The daemon's file system, as it is seen from here.
    disk: PathBuf,
}

impl Full {
    fn run<const N: usize>(&self, args: [&str; N]) -> Ran {
        run(["--endpoints", &self.daemon.endpoint, "--command-timeout", "10s"].into_iter().chain(args))
    }

    /// Imports until the disk is full for good: what a flush lets go of the log may be room once more. Returns the number
    /// of the last line that was acknowledged.
    fn fill(&self, prefix: &str) -> usize {
        let line = |i| format!("{{\"key\":\"{prefix}{i:06}\",\"value\":\"{i:06}{}\"}}\n", "v".repeat(300));
        let lines: String = (0..200_000).map(line).collect();
        let arguments = ["--endpoints", &self.daemon.endpoint, "--command-timeout", "10s", "import"];
        let (mut last, deadline) = (0, Instant::now() + Duration::from_secs(120));
        loop {
            assert!(Instant::now() < deadline, "the disk takes more and more");
            let import = run_with(arguments, lines.as_bytes());
            assert_ne!(import.code, 0, "200,000 values of 300 bytes fit on the disk");
            assert!(import.stderr.contains("database space exceeded"), "{import:?}");
            let acknowledged = import.stderr.split_once(" was the last acknowledged");
            let acknowledged = acknowledged.and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
            // Where the first line was refused, none was acknowledged.
            last = last.max(acknowledged.unwrap_or(0));
            if self.stays_full() {
                assert_ne!(last, 0, "{import:?}");
                return last;
            }
        }
    }

    /// Whether the alarm stands, and goes on standing while the daemon looks for room a few times.
    fn stays_full(&self) -> bool {
        let end = Instant::now() + STAYS;
        while Instant::now() < end {
            if !self.health().contains("\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"") {
                return false;
            }
        }
        true
    }

    fn count(&self, prefix: &str) -> usize {
        self.run(["get", prefix, "--prefix", "--count-only"]).ok().trim().parse().expect("a count")
    }

    /// The alarm, as etcd's clients and health checks see it.
    fn health(&self) -> String {
        let url = self.daemon.ready.trim_end().split(',').next_back().expect("a URL");
        http_get(url, "/health")
    }

    fn wait_for_room(&self) {
        wait_for(|| (self.run(["put", "room", "yes"]).code == 0).then_some(()));
        wait_for(|| self.health().contains("\"health\":\"true\"").then_some(()));
    }
}

#[test]
fn a_full_disk_is_got_over_without_a_restart_and_loses_nothing() {
    get_over("segment");
}

#[test]
fn a_full_disk_is_got_over_by_sqlite_too() {
    get_over("sqlite");
}

fn get_over(backend: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    // Without any room an opening may be refused: a database needs room for a copy of its log after a crash, and where
    // the reserve is used up there may be none for the keyring.
    let script = format!(
        "
        dd if=/dev/zero of=\"$1/filler\" bs=1M count=56 2>/dev/null
        urls=coffer://127.0.0.1:0,http://127.0.0.1:0
        \"$0\" serve --backend {backend} --log-level error --listen-client-urls $urls --data-dir \"$1/store\" || echo $?
        \"$0\" --store \"file://$1/store\" get c --prefix --count-only || {{
            rm \"$1/more\"
            \"$0\" --store \"file://$1/store\" get c --prefix --count-only
        }}
        rm -f \"$1/more\"
        \"$0\" --store \"file://$1/store\" get room --print-value-only
        \"$0\" --store \"file://$1/store\" del '' --prefix >/dev/null"
    );
    let Some(mut command) = on_own_disk(dir.path(), "128m", &script) else { return };
    let daemon = Daemon::start_with(command.stderr(Stdio::piped()));
    let disk = PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), dir.path().display()));
    let mut full = Full { daemon, disk };

    // What is deleted and compacted makes room.
    let last = full.fill("a");
    full.run(["put", "one", "more"]).fails(3, "database space exceeded");
    let stored = full.count("a");
    assert!(stored >= last, "{stored} of {last} acknowledged");
    let deleted: usize = full.run(["del", "a", "--prefix"]).ok().trim().parse().expect("a count");
    assert_eq!(deleted, stored);
    let revision = full.run(["get", "a", "-w", "json"]).json()["header"]["revision"].to_string();
    full.run(["compact", &revision]).ok();
    full.wait_for_room();

    // So does whoever frees space on the disk.
    let last = full.fill("b");
    fs::remove_file(full.disk.join("filler")).expect("removed");
    full.wait_for_room();
    assert!(full.count("b") >= last, "of {last} acknowledged");

    // Killed while its disk is full to the last byte, it starts again, with everything that it acknowledged.
    let mut more = fs::File::create(full.disk.join("more")).expect("created");
    more.write_all(&vec![0; 20 << 20]).expect("written");
    let last = full.fill("c");
    while more.write_all(&[0; 4096]).is_ok() {}
    drop(more);
    let program = child_of(child_of(full.daemon.pid()));
    let program = Pid::from_raw(program.try_into().expect("a process id")).expect("a process id");
    kill_process(program, Signal::KILL).expect("it runs");
    let code = full.daemon.wait();
    let (stdout, stderr) = (full.daemon.rest(), full.daemon.stderr());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let [exit, stored, room] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("{stdout}{stderr}") };
    assert_eq!([exit, room], ["137", "yes"], "{stderr}");
    assert!(!stderr.contains("Error") || stderr.contains("free some space there"), "{stderr}");
    let stored: usize = stored.parse().expect("a count");
    assert!(stored >= last, "{stored} of {last} acknowledged");
}

/// The syncs of the log fail from some put on: that put is not acknowledged, nor is any other, and the daemon ends with
/// the reason. Every put before it is there.
#[test]
fn a_failed_sync_ends_the_daemon_with_the_reason() {
    end_with_a_failed_sync("segment", "fdatasync");
}

#[test]
fn a_failed_sync_ends_a_daemon_on_sqlite_too() {
    end_with_a_failed_sync("sqlite", "commit");
}

/// `operation` is what failed, as the backend calls it.
fn end_with_a_failed_sync(backend: &str, operation: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let traced = |inject: &[&str], program: &str| {
        let mut command = Command::new("strace");
        command.env("COFFER_SEAL_KEY_FILE", key_file());
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"])
            .args(inject)
            .arg(program);
        command
    };
    let works = traced(&[], "true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        return skipped("strace");
    }
    // Each thread counts its own: the log's thread syncs once for each put, no other one as often.
    let inject = ["-e", "inject=fdatasync,fsync:error=EIO:when=100+"];
    let mut command = traced(&inject, env!("CARGO_BIN_EXE_coffer"));
    command.args(["serve", "--backend", backend, "--log-level", "error"]);
    command.args(["--listen-client-urls", "coffer://127.0.0.1:0"]);
    let mut daemon = Daemon::start_with(command.arg("--data-dir").arg(&store).stderr(Stdio::piped()));
    let put = |number: usize| {
        let key = format!("key-{number:03}");
        run(["--endpoints", &daemon.endpoint, "--command-timeout", "5s", "put", &key, "value"])
    };
    let acknowledged = (0..200).take_while(|number| put(*number).code == 0).count();
    assert!((5..100).contains(&acknowledged), "{acknowledged} puts were acknowledged");
    let later = put(acknowledged + 1);
    assert_ne!(later.code, 0, "acknowledged after a failed sync: {later:?}");
    assert_eq!(daemon.wait(), Some(1));
    let stderr = daemon.stderr();
    let reason = stderr.lines().find(|line| line.starts_with("Error: ")).expect("a reason");
    let error = if backend == "sqlite" { "disk I/O error" } else { "Input/output error" };
    assert!(reason.contains(operation) && reason.contains(error), "{stderr}");
    assert!(reason.contains(&path_text(&store)), "{stderr}");
    let uri = format!("file://{}", store.display());
    let found = run(["--store", &uri, "get", "key-", "--prefix", "--keys-only"]).ok();
    for number in 0..acknowledged {
        assert!(found.contains(&format!("key-{number:03}\n")), "put {number} of {acknowledged} is lost");
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
