//! `verify` through the program, of closed stores and of those that a daemon has open: nothing is changed, damage is
//! named, and the exit codes.

use crate::support::{Daemon, Ran, bare_program, key_file, output_of, program, run, run_with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::TempDir;

const BACKENDS: [&str; 2] = ["segment", "sqlite"];

/// Changes of every kind, more than one box and one log frame of them.
fn change(endpoint: &str) {
    let run = |args: &[&str]| run(["--endpoints", endpoint].iter().chain(args).copied()).ok();
    run(&["lease", "grant", "100000", "--id", "7f"]);
    run(&["put", "leased", "x", "--lease", "7f"]);
    let mut lines = String::new();
    for number in 0..300 {
        let value = "v".repeat(number * 11 % 3_000);
        writeln!(lines, "{{\"key\":\"key/{:03}\",\"value\":\"{number}{value}\"}}", number % 120)
            .expect("a string takes everything");
    }
    let import = run_with(["--endpoints", endpoint, "import"], lines.as_bytes());
    assert_eq!(import.code, 0, "{}", import.stderr);
    run(&["del", "key/01", "--prefix"]);
    run(&["compact", "150", "--physical"]);
    run(&["put", "after", "it"]);
}

/// A store of this backend that was closed in order, or whose daemon was killed.
fn store(home: &TempDir, backend: &str, killed: bool) -> PathBuf {
    let dir = home.path().join(format!("{backend}-{killed}"));
    let daemon = Daemon::start_on(&dir, backend);
    change(&daemon.endpoint);
    let (code, _) = daemon.stop(if killed { Signal::KILL } else { Signal::TERM });
    assert_eq!(code, if killed { None } else { Some(0) });
    dir
}

fn verify(dir: &Path, more: &[&str]) -> Ran {
    let args = ["verify", "--data-dir"].map(OsString::from).into_iter().chain([dir.into()]);
    run(args.chain(more.iter().map(OsString::from)))
}

/// Everything in a directory.
fn content(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("readable"));
    entries
        .filter(|entry| entry.file_type().expect("a type").is_file())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).expect("readable")))
        .collect()
}

#[test]
fn a_closed_store_is_verified_and_not_changed() {
    let home = TempDir::new().expect("a directory");
    for backend in BACKENDS {
        for killed in [false, true] {
            let dir = store(&home, backend, killed);
            if killed && backend == "segment" {
                tear(&dir);
            }
            let before = content(&dir);
            let report: Value =
                serde_json::from_slice(&verify(&dir, &["-w", "json"]).stdout).expect("JSON output");
            assert!(content(&dir) == before, "{backend} (killed: {killed}) was changed");
            assert_eq!((&report["sound"], &report["damage"]), (&true.into(), &0.into()), "{report}");
            assert_eq!((&report["backend"], &report["slot"]), (&backend.into(), &1.into()), "{report}");
            if killed && backend == "segment" {
                assert_eq!(report["torn"], 1, "{report}");
                assert_eq!(report["findings"][0]["kind"], "torn");
            } else {
                assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
            }
            let text = verify(&dir, &[]).ok();
            assert!(text.contains("sealed, opened by the key of slot 1"), "{text}");
            assert!(text.lines().last().is_some_and(|last| last.starts_with("sound: ")), "{text}");
            assert!(content(&dir) == before, "{backend} (killed: {killed}) was changed");
            if !killed {
                compare_with_the_store(&dir, &report);
            }
        }
    }
}

/// What verify says of the content is what the store says of it.
fn compare_with_the_store(dir: &Path, report: &Value) {
    let uri = format!("file://{}", dir.display());
    let ask = |args: &[&str]| run(["--store", &uri, "-w", "json"].iter().chain(args).copied()).json();
    let hash = ask(&["hashkv"])[0]["HashKV"].clone();
    assert_eq!(report["hash"], hash["hash"]);
    assert_eq!(report["compact_revision"], hash["compact_revision"]);
    assert_eq!(report["revision"], hash["hash_revision"]);
    assert_eq!(report["leases"], 1);
}

/// Leaves a frame at the end of the log that was begun and not finished: its header, and nothing of its body.
fn tear(dir: &Path) {
    let log = newest(dir, "log");
    let mut bytes = fs::read(&log).expect("readable");
    let starts = (4096..bytes.len()).step_by(4096);
    let last = starts.filter(|at| is_frame_of(&bytes[*at..], &log)).max().expect("a frame");
    let frame = u32::from_le_bytes(bytes[last + 12..last + 16].try_into().expect("4 bytes")) as usize;
    let header = bytes[last..last + 96].to_vec();
    bytes[last + frame..last + frame + 96].copy_from_slice(&header);
    fs::write(&log, bytes).expect("writable");
}

fn is_frame_of(bytes: &[u8], log: &Path) -> bool {
    let id = log.file_stem().and_then(|id| u64::from_str_radix(id.to_str()?, 16).ok()).expect("an id");
    bytes.starts_with(b"CFRM") && bytes[24..32] == id.to_le_bytes()
}

/// The newest file of this kind.
fn newest(dir: &Path, suffix: &str) -> PathBuf {
    let names = content(dir).into_keys().map(|name| dir.join(name));
    names.filter(|path| path.extension().is_some_and(|it| it == suffix)).max().expect("a file of this kind")
}

#[test]
fn damage_is_named_with_exit_code_5() {
    let home = TempDir::new().expect("a directory");
    for backend in BACKENDS {
        let dir = store(&home, backend, false);
        let files = match backend {
            "segment" => [newest(&dir, "log"), newest(&dir, "records")],
            _ => [dir.join("log.db"), dir.join("state.db")],
        };
        for file in files {
            let whole = fs::read(&file).expect("readable");
            let mut rotten = whole.clone();
            // In the first frame or box; and at the end of every page of a database but the first, where its rows are.
            let (first, step) = match backend {
                "segment" => (5000.min(whole.len() / 2), whole.len()),
                _ => (2 * 8192 - 40, 8192),
            };
            for at in (first..whole.len()).step_by(step) {
                rotten[at] ^= 1;
            }
            fs::write(&file, &rotten).expect("writable");
            let ran = verify(&dir, &["-w", "json"]);
            assert_eq!(ran.code, 5, "{}: {}", file.display(), ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
            let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON output");
            assert_eq!(report["sound"], false);
            let named = report["findings"].as_array().expect("a list").iter();
            let named: Vec<_> = named.filter_map(|finding| finding["path"].as_str()).collect();
            assert!(named.contains(&file.to_str().expect("UTF-8")), "{report}");
            assert!(named.iter().all(|path| Path::new(path) == file), "{report}");
            let ran = verify(&dir, &[]);
            assert_eq!(ran.code, 5);
            let text = String::from_utf8(ran.stdout).expect("UTF-8");
            assert!(text.contains("damage: ") && text.contains("DAMAGED: "), "{text}");
            assert!(fs::read(&file).expect("readable") == rotten, "it was changed");
            fs::write(&file, &whole).expect("writable");
        }
        assert_eq!(verify(&dir, &[]).code, 0, "{backend} is whole again");
    }
}

#[test]
fn what_is_not_there_or_does_not_open_is_refused() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    let daemon = Daemon::start(&dir);
    // As a store is that a program has open which is no daemon.
    fs::remove_file(dir.join("admin.sock")).expect("the daemon listens");
    verify(&dir, &[]).fails(1, "is in use by process");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    verify(&home.path().join("nothing"), &[]).fails(1, "nothing");
    verify(&dir, &["--backend", "sqlite"]).fails(1, "holds a store of the backend segment");
    verify(&dir, &["-w", "table"]).fails(2, "no table output");
    let keyless = |args: &[&str]| output_of(bare_program().args(["verify"]).args(args), b"");
    keyless(&["--data-dir", dir.to_str().expect("UTF-8")]).fails(1, "is sealed: give its key");
    let other = home.path().join("other");
    program().args(["key", "generate"]).arg(&other).output().expect("the program runs");
    let with = [dir.as_os_str(), "--seal-key-file".as_ref(), other.as_os_str()];
    output_of(bare_program().args(["verify", "--data-dir"]).args(with), b"").fails(1, "slot");
    assert!(key_file().exists());
}

#[test]
fn progress_is_told_if_it_is_asked_for() {
    let home = TempDir::new().expect("a directory");
    let dir = store(&home, "segment", false);
    let ran = verify(&dir, &["--progress"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.starts_with("verified ")), "{}", ran.stderr);
    assert!(!ran.stderr.is_empty());
}

/// A daemon on a store that was filled and closed before, so that it has files of every kind.
fn reopened(home: &TempDir, backend: &str) -> (PathBuf, Daemon) {
    let dir = store(home, backend, false);
    let daemon = Daemon::start_on(&dir, backend);
    (dir, daemon)
}

#[test]
fn a_store_in_use_is_verified_while_it_is_written() {
    let home = TempDir::new().expect("a directory");
    for backend in BACKENDS {
        let (dir, daemon) = reopened(&home, backend);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut round = 0;
                while !done.load(Ordering::Acquire) {
                    round += 1;
                    let mut lines = String::new();
                    for number in 0..200 {
                        let value = "w".repeat(number * 13 % 2_000);
                        writeln!(lines, "{{\"key\":\"load/{number:03}\",\"value\":\"{round}{value}\"}}")
                            .expect("a string takes everything");
                    }
                    let import = run_with(["--endpoints", &daemon.endpoint, "import"], lines.as_bytes());
                    assert_eq!(import.code, 0, "{}", import.stderr);
                    if round % 4 == 0 {
                        let hash = run(["--endpoints", &daemon.endpoint, "-w", "json", "hashkv"]).json();
                        let revision = hash[0]["HashKV"]["hash_revision"].to_string();
                        run(["--endpoints", &daemon.endpoint, "compact", &revision, "--physical"]).ok();
                    }
                }
            });
            for rate in ["1MiB", "1GiB", "1GiB"] {
                let report = verify(&dir, &["--rate", rate, "-w", "json"]).json();
                assert_eq!((&report["online"], &report["sound"]), (&true.into(), &true.into()), "{report}");
                assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
                assert!(report["checked_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{report}");
            }
            done.store(true, Ordering::Release);
        });
        let text = verify(&dir, &["--rate", "1GiB"]).ok();
        assert!(text.starts_with("sound: "), "{text}");
        assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
        assert_eq!(verify(&dir, &[]).code, 0);
    }
}

#[test]
fn a_verification_of_a_store_in_use_can_be_ended() {
    let home = TempDir::new().expect("a directory");
    let (dir, daemon) = reopened(&home, "segment");
    // The first line is there once it waits, and listens to signals.
    let begin = || {
        let mut command = program();
        command.args(["verify", "--rate", "1", "--progress", "--data-dir"]).arg(&dir);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("readable");
        assert!(line.starts_with("verified "), "{line}");
        (child, stderr)
    };
    let ends = |(mut child, mut stderr): (Child, BufReader<ChildStderr>)| {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("readable");
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{rest}");
        assert!(rest.contains("was ended before everything was looked at"), "{rest}");
    };
    let waiting = begin();
    assert!(verify(&dir, &["--cancel"]).ok().contains("the verification ends"));
    ends(waiting);
    let waiting = begin();
    kill_process(Pid::from_child(&waiting.0), Signal::INT).expect("it runs");
    ends(waiting);
    assert!(verify(&dir, &["--cancel"]).ok().contains("no verification"));
    assert_eq!(verify(&dir, &["--rate", "1GiB"]).code, 0, "the daemon goes on");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    verify(&dir, &["--cancel"]).fails(3, "no daemon has");
}

#[test]
fn damage_that_a_daemon_finds_is_named_and_ends_it() {
    let home = TempDir::new().expect("a directory");
    for backend in BACKENDS {
        let (dir, mut daemon) = reopened(&home, backend);
        let file = if backend == "segment" { newest(&dir, "records") } else { dir.join("state.db") };
        let bytes = fs::read(&file).expect("readable");
        let (first, step) = match backend {
            "segment" => (5000.min(bytes.len() / 2), bytes.len()),
            // The middle of pages whose rows are long; the first ones hold what is read at every turn.
            _ => (8192 * 8 + 4000, 8192),
        };
        let written = fs::OpenOptions::new().write(true).open(&file).expect("writable");
        for at in (first..bytes.len()).step_by(step) {
            written.write_all_at(&[bytes[at] ^ 1], at as u64).expect("written");
        }
        let ran = verify(&dir, &["--rate", "1GiB", "-w", "json"]);
        assert_eq!(ran.code, 5, "{backend}: {}", ran.stderr);
        assert!(ran.stderr.contains("the daemon stops"), "{}", ran.stderr);
        let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON output");
        let named = report["findings"].as_array().expect("a list");
        assert!(named.iter().any(|found| found["path"] == *file.to_str().expect("UTF-8")), "{report}");
        assert_eq!(daemon.wait(), Some(5), "{backend}");
        assert_eq!(verify(&dir, &[]).code, 5, "{backend}");
    }
}

#[test]
fn a_store_in_the_clear_is_verified_while_it_is_in_use_as_well() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    let mut command = bare_program();
    command.args(["serve", "--unsealed", "--listen-client-urls", "coffer://127.0.0.1:0"]);
    let daemon = Daemon::start_with(command.args(["--log-level", "error", "--data-dir"]).arg(&dir));
    run(["--endpoints", &daemon.endpoint, "put", "key", "value"]).ok();
    let keyless = |args: &[&str]| output_of(bare_program().args(args).arg("--data-dir").arg(&dir), b"");
    assert!(keyless(&["verify"]).ok().starts_with("sound: "));
    keyless(&["key", "status"]).fails(1, "no sealed store");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    assert!(keyless(&["verify"]).ok().contains("in the clear"));
}
