//! `watch`.

use crate::support::{DEADLINE, Place};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

/// A running watch whose lines are read as they come.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut child = place
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the watch starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    #[track_caller]
    fn expect(&self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.lines.recv_timeout(DEADLINE).as_deref(), Ok(*expected));
        }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line in time")
    }

    fn input(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("written");
        stdin.flush().expect("flushed");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_read_as_with_etcdctl() {
    let place = Place::daemon();
    place.ok(["put", "a", "9"]);
    // From a revision, so that it does not matter when the watch starts.
    let watching = Watching::start(&place, &["watch", "", "--prefix", "--prev-kv", "--rev", "3"]);
    place.ok(["put", "a", "100"]);
    place.ok(["del", "a"]);
    place.run_with(["txn"], b"\nput m 1\nput n 2\n\n\n").ok();
    watching.expect(&["PUT", "a", "9", "a", "100"]);
    watching.expect(&["DELETE", "a", "100", "a", ""]);
    watching.expect(&["PUT", "m", "1", "PUT", "n", "2"]);
}

#[test]
fn json_reads_as_with_etcdctl() {
    let place = Place::daemon();
    let watching = Watching::start(&place, &["watch", "a", "--rev", "2", "-w", "json"]);
    place.ok(["put", "a", "100"]);
    let put: serde_json::Value = serde_json::from_str(&watching.line()).expect("JSON");
    assert_eq!(put["Header"]["revision"], 2);
    assert!(put["Header"]["member_id"].is_u64());
    assert_eq!(
        put["Events"],
        serde_json::json!([
            {"kv": {"key": "YQ==", "create_revision": 2, "mod_revision": 2, "version": 1, "value": "MTAw"}}
        ])
    );
    assert_eq!(
        (&put["Canceled"], &put["Created"], &put["CompactRevision"]),
        (&false.into(), &false.into(), &0.into())
    );
    // Only now, because the header names the newest revision, and a watch that is late sees both at once.
    place.ok(["del", "a"]);
    let del: serde_json::Value = serde_json::from_str(&watching.line()).expect("JSON");
    assert_eq!(del["Events"], serde_json::json!([{"type": 1, "kv": {"key": "YQ==", "mod_revision": 3}}]));
}

#[test]
fn a_command_runs_for_each_event() {
    let place = Place::daemon();
    let script = "echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE";
    let watching = Watching::start(&place, &["watch", "a", "--rev", "2", "--", "sh", "-c", script]);
    place.ok(["put", "a", "x\"y"]);
    place.ok(["del", "a"]);
    watching.expect(&["PUT", "a", "x\"y", "2 \"PUT\" \"a\" \"x\\\"y\""]);
    watching.expect(&["DELETE", "a", "", "3 \"DELETE\" \"a\" \"\""]);
}

#[test]
fn a_compacted_start_ends_the_watch() {
    let place = Place::daemon();
    for value in ["1", "2", "3"] {
        place.ok(["put", "a", value]);
    }
    place.ok(["compact", "4"]);
    place.run(["watch", "a", "--rev", "2"]).fails(1, "required revision has been compacted");
    let ran = place.run(["watch", "a", "--rev", "2", "-w", "json"]);
    let canceled: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!((&canceled["Canceled"], &canceled["CompactRevision"]), (&true.into(), &4.into()));
    assert_eq!(ran.code, 1);
}

#[test]
fn watches_can_be_started_one_after_another() {
    let place = Place::daemon();
    let mut watching = Watching::start(&place, &["watch", "-i"]);
    watching.input("watch a --rev 2");
    watching.input("watch b --rev 2 --prefix");
    place.ok(["put", "a", "1"]);
    watching.expect(&["PUT", "a", "1"]);
    place.ok(["put", "bb", "2"]);
    watching.expect(&["PUT", "bb", "2"]);
    watching.input("progress");
    watching.expect(&["progress notify: 3"]);
}

#[test]
fn an_idle_watch_reports_progress_if_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = crate::support::Daemon::start_with(
        crate::support::program()
            .args(["serve", "--listen-client-urls", "coffer://127.0.0.1:0", "--log-level", "error"])
            .args(["--watch-progress-notify-interval", "100ms", "--data-dir"])
            .arg(dir.path()),
    );
    let mut child = crate::support::program()
        .args(["--endpoints", &daemon.endpoint, "watch", "a", "--progress-notify"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the watch starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    assert_eq!(line, "progress notify: 1\n");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn the_watch_ends_with_the_daemon() {
    let mut place = Place::daemon();
    let mut watching = Watching::start(&place, &["watch", "a", "--rev", "2"]);
    place.ok(["put", "a", "1"]);
    watching.expect(&["PUT", "a", "1"]);
    // While the daemon is away the watch waits for it to come back.
    let (code, _) = place.daemon.take().expect("it runs").stop(rustix::process::Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(watching.child.try_wait().expect("waitable").is_none());
}
