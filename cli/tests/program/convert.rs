//! `--backend`, and `convert` between the backends.

use crate::support::{Daemon, Ran, program, run, run_with, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

fn convert(from: &Path, to: &Path, backend: &str) -> Ran {
    run(["convert".as_ref(), from.as_os_str(), to.as_os_str(), "--backend".as_ref(), backend.as_ref()])
}

fn uri(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

fn ask(place: &[&str], args: &[&str]) -> Value {
    run(place.iter().chain(["-w", "json"].iter()).chain(args).copied()).json()
}

/// HashKV at the newest revision, and the revisions that it is of.
fn hash(dir: &Path) -> Value {
    let mut answer = ask(&["--store", &uri(dir)], &["hashkv"])[0]["HashKV"].clone();
    answer.as_object_mut().expect("an object").remove("header");
    answer
}

fn backend(dir: &Path) -> String {
    let answer = ask(&["--store", &uri(dir)], &["status"]);
    answer[0]["Status"]["backend"].as_str().expect("a backend").to_owned()
}

/// What the store shows of its keys and its leases.
fn content(dir: &Path) -> (Value, Value) {
    let place = ["--store", &uri(dir)];
    (ask(&place, &["get", "", "--prefix"])["kvs"].clone(), ask(&place, &["lease", "list"])["leases"].clone())
}

/// Who the store says it is.
fn identity(dir: &Path) -> Value {
    let answer = ask(&["--store", &uri(dir)], &["status"]);
    let header = &answer[0]["Status"]["header"];
    assert!(header["member_id"].is_number(), "{answer}");
    Value::from(vec![header["member_id"].clone(), header["cluster_id"].clone()])
}

/// The same changes on a store: puts, deletions, a lease, a compaction.
fn change(place: &[&str]) {
    let run = |args: &[&str]| run(place.iter().chain(args).copied()).ok();
    run(&["lease", "grant", "100000", "--id", "7f"]);
    run(&["put", "leased", "x", "--lease", "7f"]);
    let mut lines = String::new();
    for number in 0..300 {
        let value = "v".repeat(number * 11 % 3_000);
        writeln!(lines, "{{\"key\":\"key/{:03}\",\"value\":\"{number}{value}\"}}", number % 120)
            .expect("a string takes everything");
    }
    let import = run_with(place.iter().chain(&["import"]).copied(), lines.as_bytes());
    assert_eq!(import.code, 0, "{}", import.stderr);
    run(&["del", "key/01", "--prefix"]);
    run(&["compact", "150", "--physical"]);
    run(&["put", "after", "it"]);
}

#[test]
fn the_same_changes_give_the_same_hash_on_both_backends() {
    let home = TempDir::new().expect("a directory");
    let (flat, sqlite) = (home.path().join("flat"), home.path().join("sqlite"));
    change(&["--store", &uri(&flat)]);
    change(&["--store", &format!("{}?backend=sqlite", uri(&sqlite))]);
    assert_eq!((backend(&flat), backend(&sqlite)), ("segment".into(), "sqlite".into()));
    assert_eq!(hash(&flat), hash(&sqlite));
    assert_ne!(identity(&flat), identity(&sqlite));
    // No assert_eq: it would print megabytes.
    assert!(content(&flat) == content(&sqlite), "the stores show different keys or leases");
}

#[test]
fn a_store_goes_to_the_other_backend_and_back() {
    let home = TempDir::new().expect("a directory");
    let [first, second, third] = ["first", "second", "third"].map(|name| home.path().join(name));
    // Killed, so that the log has more than the records.
    let daemon = Daemon::start_on(&first, "segment");
    change(&["--endpoints", &daemon.endpoint]);
    let before = {
        let mut answer = ask(&["--endpoints", &daemon.endpoint], &["hashkv"])[0]["HashKV"].clone();
        answer.as_object_mut().expect("an object").remove("header");
        answer
    };
    daemon.stop(Signal::KILL);
    let told = convert(&first, &second, "sqlite").ok();
    assert!(told.contains("converted from segment to sqlite"), "{told}");
    let told = convert(&second, &third, "segment").ok();
    assert!(told.contains("converted from sqlite to segment"), "{told}");
    assert_eq!((hash(&first), hash(&second), hash(&third)), (before.clone(), before.clone(), before));
    let shown = content(&first);
    assert!(content(&second) == shown && content(&third) == shown, "a copy shows other keys or leases");
    let who = identity(&first);
    assert_eq!((identity(&second), identity(&third)), (who.clone(), who));
    assert_eq!((backend(&second), backend(&third)), ("sqlite".into(), "segment".into()));

    // The copy goes on as the same member.
    let daemon = Daemon::start_on(&second, "sqlite");
    run(["--endpoints", &daemon.endpoint, "put", "more", "to come"]).ok();
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    assert_eq!(ask(&["--store", &uri(&second)], &["get", "more"])["count"], 1);
}

#[test]
fn what_can_not_be_converted_is_left_alone() {
    let home = TempDir::new().expect("a directory");
    let [from, to, missing] = ["from", "to", "missing"].map(|name| home.path().join(name));
    convert(&missing, &to, "sqlite").fails(1, "name the directory of a store");
    let daemon = Daemon::start_on(&from, "sqlite");
    convert(&from, &to, "segment").fails(1, "in use");
    daemon.stop(Signal::TERM);
    convert(&from, &to, "sqlite").fails(1, "has the backend sqlite already");
    fs::create_dir(&to).expect("created");
    fs::write(to.join("letter"), "dear").expect("written");
    convert(&from, &to, "segment").fails(1, "not empty");
    run(["convert".as_ref(), from.as_os_str(), to.as_os_str(), "--backend".as_ref(), "tape".as_ref()])
        .fails(2, "there is no backend");
    let mut names: Vec<_> = fs::read_dir(home.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["from", "to"]);
}

#[test]
fn another_backend_than_the_stores_is_refused() {
    let home = TempDir::new().expect("a directory");
    for (backend, other) in [("segment", "sqlite"), ("sqlite", "segment")] {
        let dir = home.path().join(backend);
        run(["--store", &format!("{}?backend={backend}", uri(&dir)), "put", "k", "v"]).ok();
        let refused = run(["--store", &format!("{}?backend={other}", uri(&dir)), "get", "k"]);
        refused.fails(1, &format!("--backend {backend}"));
        let mut serve: Vec<&std::ffi::OsStr> =
            ["serve", "--log-level", "error", "--backend", other, "--data-dir"].map(AsRef::as_ref).to_vec();
        serve.push(dir.as_os_str());
        run(serve).fails(1, &format!("--backend {backend}"));
        assert_eq!(
            ask(&["--store", &uri(&dir)], &["get", "k"])["count"],
            1,
            "it is found without being named"
        );
    }
}

#[test]
fn a_killed_conversion_leaves_no_store_and_can_be_repeated() {
    let home = TempDir::new().expect("a directory");
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    let mut lines = String::new();
    for number in 0..6_000 {
        writeln!(lines, "{{\"key\":\"key/{number}\",\"value\":\"{}\"}}", "v".repeat(3_000))
            .expect("a string takes everything");
    }
    let import = run_with(["--store", &uri(&from), "import"], lines.as_bytes());
    assert_eq!(import.code, 0, "{}", import.stderr);
    let expected = hash(&from);
    let partial = home.path().join("to.partial");
    for file in ["", "RESTORE", "store/LOCK", "store/log.db", "store/state.db"] {
        loop {
            let mut child = program()
                .arg("convert")
                .args([&from, &to])
                .args(["--backend", "sqlite"])
                .stdout(Stdio::null())
                .spawn()
                .expect("the program starts");
            wait_for(|| (partial.join(file).exists() || to.exists()).then_some(()));
            child.kill().expect("not waited for yet");
            child.wait().expect("waitable");
            if !to.exists() {
                break;
            }
            // It was quicker than this test looked.
            fs::remove_dir_all(&to).expect("removed");
        }
        assert!(partial.exists(), "it was killed before it began");
    }
    convert(&from, &to, "sqlite").ok();
    assert!(!partial.exists());
    assert_eq!((hash(&from), hash(&to)), (expected.clone(), expected));
}
