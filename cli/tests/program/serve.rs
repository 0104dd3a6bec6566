//! `serve`.

use crate::support::{DEADLINE, Daemon, key_file, program, run, run_with, wait_for};
use rustix::process::Signal;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

fn serve(dir: &Path) -> Command {
    let mut command = program();
    command.args(["serve", "--log-level", "error", "--data-dir"]).arg(dir);
    command
}

#[test]
fn the_ready_line_names_member_cluster_and_ports() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("coffer.sock");
    let urls = format!("coffer://127.0.0.1:0,unix://{}", socket.display());
    let daemon = Daemon::start_with(serve(&dir.path().join("store")).args(["--listen-client-urls", &urls]));
    let ready = daemon.ready.trim_end().to_owned();
    let fields: Vec<_> = ready.split(' ').collect();
    let [word, member, cluster, listen] = fields[..] else { panic!("{ready}") };
    assert_eq!(word, "ready");
    let hex = |field: &str, name: &str| {
        u64::from_str_radix(field.strip_prefix(name).expect(name), 16).expect("hex")
    };
    assert!(hex(member, "member=") > 0 && hex(cluster, "cluster=") > 0);
    let listen: Vec<_> = listen.strip_prefix("listen=").expect("listen").split(',').collect();
    assert_eq!(listen[1], format!("unix://{}", socket.display()));
    assert!(!listen[0].ends_with(":0"));
    for endpoint in &listen {
        assert_eq!(run(["--endpoints", endpoint, "put", "k", "v"]).ok(), "OK\n");
    }
    let from_environment =
        program().env("COFFER_ENDPOINTS", listen[0]).args(["get", "k"]).output().expect("runs");
    assert_eq!(from_environment.stdout, b"k\nv\n");

    // The same member and cluster after a restart.
    assert_eq!(daemon.stop(Signal::TERM), (Some(0), String::new()));
    let daemon = Daemon::start(&dir.path().join("store"));
    assert!(daemon.ready.starts_with(&format!("ready {member} {cluster} ")), "{}", daemon.ready);
    assert_eq!(run(["--endpoints", &daemon.endpoint, "get", "k"]).ok(), "k\nv\n");
    assert_eq!(daemon.stop(Signal::INT).0, Some(0));
}

#[test]
fn settings_come_from_flags_then_the_environment_then_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("coffer.toml");
    fs::write(
        &file,
        "listen-client-urls = 'coffer://127.0.0.1:0'\nmax-txn-ops = 2\ndata-dir = 'never-used'\n",
    )
    .expect("written");
    let daemon = Daemon::start_with(serve(&dir.path().join("store")).arg("--config").arg(&file));
    let put = |n: usize| (0..n).map(|i| format!("put k{i} v\n")).collect::<String>();
    let txn = |endpoint: &str, n: usize| {
        run_with(["--endpoints", endpoint, "txn"], format!("\n{}\n\n", put(n)).as_bytes())
    };
    assert!(txn(&daemon.endpoint, 2).ok().starts_with("SUCCESS"));
    txn(&daemon.endpoint, 3).fails(1, "too many operations");
    drop(daemon);
    let daemon = Daemon::start_with(
        serve(&dir.path().join("store")).arg("--config").arg(&file).env("COFFER_MAX_TXN_OPS", "3"),
    );
    txn(&daemon.endpoint, 4).fails(1, "too many operations");
    assert!(txn(&daemon.endpoint, 3).ok().starts_with("SUCCESS"));
    drop(daemon);
    let daemon = Daemon::start_with(
        serve(&dir.path().join("store"))
            .args(["--max-txn-ops", "4", "--config"])
            .arg(&file)
            .env("COFFER_MAX_TXN_OPS", "3"),
    );
    assert!(txn(&daemon.endpoint, 4).ok().starts_with("SUCCESS"));
}

#[test]
fn what_can_not_be_served_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("coffer.toml");
    fs::write(&file, "datadir = 'x'\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    run(["serve", "--config", file]).fails(2, "did you mean `data-dir`?");
    run(["serve", "--config", "/nonexistent.toml"]).fails(2, "cannot read --config /nonexistent.toml");
    run(["serve", "--listen-client-urls", "ftp://127.0.0.1:1"]).fails(2, "must begin with coffer://");
    run(["serve", "--listen-client-urls", "https://127.0.0.1:1"]).fails(2, "TLS is not there yet");
    run(["serve", "--max-txn-ops", "many"]).fails(2, "invalid value 'many'");
    run(["serve", "--no-such-flag"]).fails(2, "unexpected argument '--no-such-flag'");
    run(["serve", "--heartbeat-interval", "500"]).fails(2, "at least 5 times heartbeat-interval");
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(&dir.path().join("one"));
    let other = dir.path().join("two");
    let other = other.to_str().expect("UTF-8");
    let ran =
        run(["serve", "--log-level", "error", "--data-dir", other, "--listen-client-urls", &daemon.endpoint]);
    assert!(ran.stderr.contains(&daemon.endpoint), "{}", ran.stderr);
    ran.fails(1, "--listen-client-urls names another place");
}

#[test]
fn a_service_manager_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let next = || {
        let mut message = [0; 1024];
        let length = socket.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let store = dir.path().join("store");
    let mut command = serve(&store);
    command.args(["--listen-client-urls", "coffer://127.0.0.1:0"]).env("NOTIFY_SOCKET", &path);
    let daemon = Daemon::start_with(&mut command);
    let ready = next();
    assert!(ready.contains("READY=1") && ready.contains("STATUS=serving coffer://127.0.0.1:"), "{ready}");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    assert!(next().contains("STOPPING=1"));
}

/// The disk fails here by a limit on the size of files, which the log takes in its stride and the records do not.
#[test]
fn a_disk_that_fails_stops_the_daemon_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let mut command = Command::new("sh");
    command
        .env("COFFER_SEAL_KEY_FILE", key_file())
        .args([
            "-c",
            "ulimit -f 8000; trap '' XFSZ; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_coffer"),
            "serve",
        ])
        .args(["--listen-client-urls", "coffer://127.0.0.1:0", "--log-level", "error", "--data-dir"])
        .arg(&store)
        .stderr(Stdio::piped());
    let mut daemon = Daemon::start_with(&mut command);
    // Many more than one flush takes: the disk fails while they come.
    let lines: String = (0..200_000)
        .map(|i| format!("{{\"key\":\"k{i:06}\",\"value\":\"{}\"}}\n", "v".repeat(300)))
        .collect();
    let arguments = ["--endpoints", &daemon.endpoint, "--command-timeout", "2s", "import"];
    let import = run_with(arguments, lines.as_bytes());
    assert!(matches!(import.code, 3 | 4), "{import:?}");
    let last: usize = import
        .stderr
        .split_once(" was the last acknowledged")
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
        .expect("the last acknowledged line");

    assert_eq!(daemon.wait(), Some(1));
    let reason = daemon.stderr();
    assert!(reason.contains("Error: node stopped: write") && reason.contains(".records"), "{reason}");
    let uri = format!("file://{}", store.display());
    let stored: usize =
        run(["--store", &uri, "get", "", "--prefix", "--count-only"]).ok().trim().parse().expect("a count");
    assert!(stored >= last, "{stored} of {last} acknowledged");
}

#[test]
fn the_version_is_shown() {
    assert_eq!(run(["--version"]).ok(), format!("coffer {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn old_history_goes_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = serve(&dir.path().join("store"));
    command.args(["--listen-client-urls", "coffer://127.0.0.1:0", "--auto-compaction-retention", "1s"]);
    let daemon = Daemon::start_with(&mut command);
    let coffer = |arguments: &[&str]| run(["--endpoints", &daemon.endpoint].iter().chain(arguments));
    for value in ["1", "2", "3"] {
        coffer(&["put", "k", value]).ok();
    }
    let gone = wait_for(|| Some(coffer(&["get", "k", "--rev", "2"])).filter(|ran| ran.code != 0));
    gone.fails(1, "required revision has been compacted");
    assert_eq!(coffer(&["get", "k"]).ok(), "k\n3\n");
}
