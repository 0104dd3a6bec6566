//! The promise of an acknowledgement, kept across `kill -9`: a daemon is killed in the middle of an import, twenty
//! times, and what it serves afterwards is compared with what was acknowledged.
//!
//! The input has the shape of a Kubernetes registry: 366 keys, values of 20 bytes to 500 KB. Every round writes other
//! values to the same keys, so that a lost write shows as an older value and an invented one as a foreign value.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 20;
const KEYS: u64 = 366;

/// A running daemon; killed when dropped.
struct Daemon {
    child: Child,
    endpoint: String,
}

impl Daemon {
    fn start(data_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_coffer"))
            .args(["serve", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the daemon starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the daemon prints a line");
        let listen = line.split_whitespace().find_map(|word| word.strip_prefix("listen="));
        let endpoint = listen.unwrap_or_else(|| panic!("no ready line but {line:?}")).to_owned();
        Self { child, endpoint }
    }

    /// The command `coffer` against this daemon.
    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coffer"));
        command.args(["--endpoints", &self.endpoint]).args(arguments);
        command
    }

    fn kill(&mut self) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon can be waited for");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already dead where the test killed it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A small generator of numbers: what matters is that a seed gives the same input everywhere.
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
    format!(
        "/registry/{}/namespace-{}/object-{number:05}",
        ["pods", "secrets", "events"][number as usize % 3],
        number % 7
    )
}

/// The value of a key in a round: its size depends on the key only, its content on both.
fn value(number: u64, round: u64) -> String {
    let bytes = match number % 61 {
        0 => 500_000,
        1..=5 => 20_000 + 1_000 * (number % 50),
        6..=20 => 20,
        _ => 200 + 10 * (number % 100),
    };
    let mut text = format!("{{\"round\":{round},\"key\":{number},\"data\":\"");
    let mut numbers = Numbers(round << 32 | number);
    while (text.len() as u64) < bytes {
        write!(text, "{:08x}", numbers.next()).expect("a string takes everything");
    }
    text.push_str("\"}");
    text
}

fn write_input(path: &Path, round: u64) {
    let mut lines = String::new();
    for number in 0..KEYS {
        let line = serde_json::json!({ "key": key(number), "value": value(number, round) });
        writeln!(lines, "{line}").expect("a string takes everything");
    }
    std::fs::write(path, lines).expect("the input is written");
}

/// The line numbers (from 1) in the file of acknowledgements. A line torn by the end of the client is not counted.
fn acknowledged(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| line.parse().expect("an acknowledgement is a line number")).collect()
}

fn export(daemon: &Daemon) -> BTreeMap<String, String> {
    let output = daemon.client(&["export", "-"]).output().expect("export runs");
    assert!(output.status.success(), "export failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("export prints UTF-8");
    text.lines()
        .map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).expect("export prints JSON lines");
            let field = |name: &str| object[name].as_str().expect("a text field").to_owned();
            (field("key"), field("value"))
        })
        .collect()
}

/// Imports a round and kills the daemon once about `after` lines are acknowledged. Returns the acknowledged lines.
fn import_and_kill(daemon: &mut Daemon, input: &Path, acked: &Path, after: u64) -> Vec<u64> {
    if acked.exists() {
        std::fs::remove_file(acked).expect("the old acknowledgements are removed");
    }
    let path = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
    let mut import = daemon
        .client(&["--command-timeout", "2s", "import", "--acked", &path(acked), &path(input)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("import starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    while (acknowledged(acked).len() as u64) < after && import.try_wait().expect("import is alive").is_none()
    {
        assert!(Instant::now() < deadline, "import makes no progress");
        std::thread::yield_now();
    }
    daemon.kill();
    let status = import.wait().expect("import ends");
    let mut errors = String::new();
    import
        .stderr
        .take()
        .expect("stderr is piped")
        .read_to_string(&mut errors)
        .expect("import's errors are text");
    let lines = acknowledged(acked);
    if (lines.len() as u64) < KEYS {
        assert!(!status.success(), "import must fail when the daemon is killed");
        assert!(
            errors.contains("line"),
            "a failed import names the last acknowledged line, but said: {errors}"
        );
    }
    lines
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_invented() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let data_dir = directory.path().join("data");
    let input = directory.path().join("input.jsonl");
    let acked = directory.path().join("acked");
    let mut random =
        Numbers(std::env::var("COFFER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7));
    // For each key the rounds whose value may be there: the last acknowledged one and every later attempt.
    let mut possible: BTreeMap<u64, Vec<u64>> = BTreeMap::new();

    for round in 1..=ROUNDS {
        write_input(&input, round);
        let mut daemon = Daemon::start(&data_dir);
        let after = random.below(KEYS);
        let lines = import_and_kill(&mut daemon, &input, &acked, after);
        for number in 0..KEYS {
            possible.entry(number).or_default().push(round);
        }
        for line in &lines {
            possible.insert(line - 1, vec![round]);
        }

        let daemon = Daemon::start(&data_dir);
        let mut found = export(&daemon);
        for number in 0..KEYS {
            let rounds = &possible[&number];
            let was_acknowledged = rounds.len() < round as usize || lines.contains(&(number + 1));
            match found.remove(&key(number)) {
                Some(text) => {
                    let matching = rounds.iter().find(|&&round| value(number, round) == text);
                    let matching = *matching.unwrap_or_else(|| {
                        panic!("round {round}: key {number} holds a value that is none of rounds {rounds:?}")
                    });
                    possible.insert(number, vec![matching]);
                }
                None => assert!(!was_acknowledged, "round {round}: acknowledged key {number} is gone"),
            }
        }
        assert!(found.is_empty(), "round {round}: keys that nobody wrote: {:?}", found.keys());
    }
}
