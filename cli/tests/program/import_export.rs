//! `import` and `export`.

use crate::support::{Place, run};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// Lines of keys and values of many sizes, some of them not UTF-8.
fn lines(count: usize) -> String {
    let mut lines = String::new();
    for i in 0..count {
        let size = [20, 400, 3_000, 60_000][i % 4] / (1 + i % 3);
        match i % 5 {
            4 => lines.push_str(&format!(
                "{{\"key_base64\":\"/wA{}\",\"value_base64\":\"AP8=\"}}\n",
                base64_digit(i)
            )),
            _ => lines.push_str(&format!("{{\"key\":\"/reg/{i:05}\",\"value\":\"{}\"}}\n", "v".repeat(size))),
        }
    }
    lines
}

/// Makes the keys in base64 differ.
fn base64_digit(i: usize) -> char {
    char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i / 5 % 64])
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut sorted: Vec<_> = lines.lines().collect();
    sorted.sort_unstable();
    sorted
}

#[test]
fn what_is_imported_is_exported() {
    let lines = lines(300);
    for place in Place::both() {
        let dir = tempfile::tempdir().expect("a directory");
        let acked = dir.path().join("acked");
        let imported =
            place.run_with(["import", "-", "--acked", acked.to_str().expect("UTF-8")], lines.as_bytes());
        assert_eq!(imported.ok(), "imported 300 keys\n");
        let expected: String = (1..=300).map(|line| format!("{line}\n")).collect();
        assert_eq!(fs::read_to_string(&acked).expect("written"), expected);
        let exported = place.ok(["export"]);
        assert!(sorted(&exported) == sorted(&lines));

        // Through a file, and into another store.
        let file = dir.path().join("export.jsonl");
        let file = file.to_str().expect("UTF-8");
        assert_eq!(place.ok(["export", file]), "");
        assert!(fs::read_to_string(file).expect("written") == exported);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 2, "nothing unfinished is left");
        let copy = Place::file();
        assert_eq!(copy.ok(["import", file]), "imported 300 keys\n");
        assert!(copy.ok(["export"]) == exported);
    }
}

#[test]
fn an_export_is_of_one_revision_and_prefix() {
    for place in Place::both() {
        place.ok(["put", "a/1", "old"]);
        place.ok(["put", "b/1", "x"]);
        place.ok(["put", "a/1", "new"]);
        place.ok(["put", "a/2", "y"]);
        assert_eq!(
            place.ok(["export", "--prefix", "a/", "--rev", "3"]),
            "{\"key\":\"a/1\",\"value\":\"old\"}\n"
        );
        assert_eq!(place.ok(["export", "--prefix", "a/"]).lines().count(), 2);
        assert_eq!(place.ok(["export"]).lines().count(), 3);
        place.ok(["compact", "4"]);
        place.run(["export", "--rev", "3"]).fails(1, "has been compacted");
        place.run(["export", "--rev", "99"]).fails(1, "future revision");
        place.run(["export", "/nonexistent/file"]).fails(1, "cannot create /nonexistent/");
    }
}

#[test]
fn a_key_that_comes_twice_keeps_its_last_value() {
    for place in Place::both() {
        let lines: String =
            (0..500).map(|i| format!("{{\"key\":\"k{}\",\"value\":\"{i}\"}}\n", i % 7)).collect();
        assert_eq!(place.run_with(["import"], lines.as_bytes()).ok(), "imported 500 keys\n");
        let expected: String = (0..7)
            .map(|k| format!("k{k}\n{}\n", (0..500).rev().find(|i| i % 7 == k).expect("one")))
            .collect();
        assert_eq!(place.ok(["get", "k", "--prefix"]), expected);
    }
}

#[test]
fn acknowledged_lines_survive_the_daemons_death() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let acked = dir.path().join("acked");
    let mut daemon = crate::support::Daemon::start(&store);
    let lines = lines(4000);
    let mut import = crate::support::program()
        .args(["--endpoints", &daemon.endpoint, "import", "--acked"])
        .arg(&acked)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the import starts");
    let mut stdin = import.stdin.take().expect("piped");
    let input = lines.clone();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let acknowledged = || fs::read_to_string(&acked).unwrap_or_default();
    crate::support::wait_for(|| (acknowledged().lines().count() > 200).then_some(()));
    daemon.signal(Signal::KILL);
    daemon.wait();
    let output = import.wait_with_output().expect("the import ends");
    writer.join().expect("the writer ends");

    let acknowledged = acknowledged();
    let last: usize = acknowledged.lines().last().expect("one").parse().expect("a number");
    assert!(acknowledged.lines().map(|l| l.parse::<usize>().expect("a number")).eq(1..=last));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&format!("line {last} was the last acknowledged")), "{error}");
    assert!(matches!(output.status.code(), Some(3 | 4)), "{:?}: {error}", output.status);

    // Nothing acknowledged is missing, nothing is invented.
    drop(daemon);
    let uri = format!("file://{}", store.display());
    let exported = run(["--store", &uri, "export"]).ok();
    let stored: BTreeMap<&str, ()> = exported.lines().map(|line| (line, ())).collect();
    for line in lines.lines().take(last) {
        // A binary key comes again in later lines with the same value.
        assert!(stored.contains_key(line), "{line:.80} is missing");
    }
    let sent: BTreeMap<&str, ()> = lines.lines().map(|line| (line, ())).collect();
    assert!(stored.keys().all(|line| sent.contains_key(line)));
}

#[test]
fn lines_are_acknowledged_while_the_input_waits() {
    let place = Place::daemon();
    let dir = tempfile::tempdir().expect("a directory");
    let acked = dir.path().join("acked");
    let mut import = place
        .command()
        .args(["import", "--acked"])
        .arg(&acked)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the import starts");
    let mut stdin = import.stdin.take().expect("piped");
    for line in 1..=3 {
        writeln!(stdin, "{{\"key\":\"k{line}\",\"value\":\"v\"}}").expect("written");
        crate::support::wait_for(|| {
            (fs::read_to_string(&acked).unwrap_or_default().lines().count() == line).then_some(())
        });
    }
    drop(stdin);
    let mut shown = String::new();
    BufReader::new(import.stdout.take().expect("piped")).read_line(&mut shown).expect("readable");
    assert_eq!(shown, "imported 3 keys\n");
    assert!(import.wait().expect("it ends").success());
}
