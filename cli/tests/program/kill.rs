//! The promise of an acknowledgement, kept across `kill -9`: a daemon is killed in the middle of an import, twenty
//! times, and what it serves afterwards is compared with what was acknowledged.
//!
//! The input has the shape of a Kubernetes registry: 366 keys, values of 20 bytes to 500 KB. Every round writes other
//! values to the same keys, so that a lost write shows as an older value and an invented one as a foreign value. The
//! input stops short of its end until the daemon is dead, so that no round ends before it was cut.

use crate::support::{Daemon, program, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

const ROUNDS: u64 = 20;
const KEYS: u64 = 366;
/// Lines that are sent beyond those that are acknowledged when the daemon dies, at most.
const UNDER_WAY_MAX: u64 = 200;

/// Numbers from a seed, the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn key(number: u64) -> String {
    let kind = ["pods", "secrets", "events"][number as usize % 3];
    format!("/registry/{kind}/namespace-{}/object-{number:05}", number % 7)
}

/// The value of a key in a round: its size depends on the key only, its content on both.
fn value(number: u64, round: u64) -> String {
    let bytes = match number % 61 {
        0 => 500_000,
        1..=5 => 20_000 + 1_000 * (number % 50),
        6..=20 => 20,
        _ => 200 + 10 * (number % 100),
    };
    let mut text = format!("{round}/{number}");
    let mut numbers = Numbers(round << 32 | number);
    while text.len() < bytes as usize {
        write!(text, "{:08x}", numbers.next()).expect("a string takes everything");
    }
    text
}

fn line(number: u64, round: u64) -> String {
    format!("{}\n", serde_json::json!({ "key": key(number), "value": value(number, round) }))
}

/// How many lines the file of acknowledgements names: all from the first on, in order. One that is torn does not count.
fn acknowledged(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let numbers = whole.lines().map(|line| line.parse::<u64>().expect("a line number"));
    let count = whole.lines().count() as u64;
    assert!(numbers.eq(1..=count), "acknowledgements are in input order");
    count
}

/// Imports the round's values and kills the daemon once `after` lines are acknowledged and up to `sent` under way.
/// Returns how many lines were acknowledged.
fn import_and_kill(mut daemon: Daemon, round: u64, acked: &Path, after: u64, sent: u64) -> u64 {
    let mut import = program()
        .args(["--endpoints", &daemon.endpoint, "--command-timeout", "2s", "import", "--acked"])
        .arg(acked)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the import starts");
    let mut stdin = import.stdin.take().expect("piped");
    let (killed, was_killed) = mpsc::channel();
    let writer = thread::spawn(move || {
        for number in 0..KEYS {
            if number == sent {
                was_killed.recv().expect("the test goes on");
            }
            // The import may have given up.
            if stdin.write_all(line(number, round).as_bytes()).is_err() {
                break;
            }
        }
    });
    wait_for(|| (acknowledged(acked) >= after).then_some(()));
    daemon.signal(Signal::KILL);
    daemon.wait();
    // The writer is gone already if the import gave up before everything was sent.
    let _ = killed.send(());
    let output = import.wait_with_output().expect("the import ends");
    writer.join().expect("the writer ends");

    let last = acknowledged(acked);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(3 | 4)), "{:?}: {error}", output.status);
    let standing = format!("line {last} was the last acknowledged");
    assert!(error.contains(&standing), "expected {standing:?} in: {error}");
    last
}

fn export(daemon: &Daemon) -> BTreeMap<String, String> {
    let output =
        program().args(["--endpoints", &daemon.endpoint, "export"]).output().expect("the export runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON lines");
            let field = |name: &str| object[name].as_str().expect("a text").to_owned();
            (field("key"), field("value"))
        })
        .collect()
}

#[test]
fn twenty_kills_lose_nothing_acknowledged_and_invent_nothing() {
    kill_again_and_again("segment");
}

#[test]
fn twenty_kills_lose_nothing_in_sqlite_either() {
    kill_again_and_again("sqlite");
}

fn kill_again_and_again(backend: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let acked = directory.path().join("acked");
    let seed = std::env::var("COFFER_SEED").map_or(7, |seed| seed.parse().expect("COFFER_SEED is a number"));
    let mut random = Numbers(seed);
    // For each key the rounds whose value may be there, `None` for no value: what was seen or acknowledged last, and
    // every attempt since.
    let mut possible: Vec<Vec<Option<u64>>> = (0..KEYS).map(|_| vec![None]).collect();

    for round in 1..=ROUNDS {
        fs::write(&acked, "").expect("the acknowledgements of before are removed");
        let after = 1 + random.below(KEYS - 2);
        let sent = (after + 1 + random.below(UNDER_WAY_MAX)).min(KEYS - 1);
        let last = import_and_kill(Daemon::start_on(&store, backend), round, &acked, after, sent);
        for (number, rounds) in (0..KEYS).zip(&mut possible) {
            if number < last {
                rounds.clear();
            }
            if number < sent {
                rounds.push(Some(round));
            }
        }

        // This daemon is killed as well, with nothing under way: what it served must still be there in the next round.
        let daemon = Daemon::start_on(&store, backend);
        let mut found = export(&daemon);
        for (number, rounds) in (0..KEYS).zip(&mut possible) {
            let stored = found.remove(&key(number));
            let matches = |round: &&Option<u64>| round.map(|round| value(number, round)) == stored;
            let seen = rounds.iter().find(matches).copied();
            *rounds = vec![seen.unwrap_or_else(|| {
                let stored = stored.map_or("nothing".into(), |text| text.chars().take(40).collect::<String>());
                panic!(
                    "{backend}, seed {seed}, round {round} of which line {last} was acknowledged: key {number} holds {stored}, \
                     not the value of one of the rounds {rounds:?}"
                )
            })];
        }
        assert!(found.is_empty(), "round {round}: keys that nobody wrote: {:?}", found.keys());
    }
}
