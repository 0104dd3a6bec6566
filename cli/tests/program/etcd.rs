//! The program under the name `etcd`.

use crate::support::{DEADLINE, Daemon, program, run, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

/// A folder with the program in it, under the name `etcd`.
struct Installed {
    dir: TempDir,
}

impl Installed {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        symlink(env!("CARGO_BIN_EXE_coffer"), dir.path().join("etcd")).expect("a link");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, working in the folder, with none of our own environment.
    fn etcd(&self) -> Command {
        let mut command = Command::new(self.path("etcd"));
        command.env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn output<const N: usize>(&self, flags: [&str; N]) -> Output {
        self.etcd().args(flags).output().expect("the program runs")
    }
}

/// The flags of a daemon on a free port.
const ANYWHERE: [&str; 4] =
    ["--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:0"];

/// A running daemon. Killed when dropped.
struct Etcd {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Etcd {
    /// Starts it and waits for the line that scripts wait for.
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the daemon starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().expect("piped"), log.clone());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                lines.lock().expect("no panic").push(line.expect("readable"));
            }
        });
        let mut etcd = Self { child, log };
        etcd.line("serving client traffic insecurely; this is strongly discouraged!");
        assert!(etcd.has("ready to serve client requests"));
        etcd
    }

    fn has(&self, text: &str) -> bool {
        self.log.lock().expect("no panic").iter().any(|line| line.contains(text))
    }

    /// Waits for a line of the log and gives it.
    fn line(&mut self, text: &str) -> String {
        wait_for(|| {
            let found = self.log.lock().expect("no panic").iter().find(|line| line.contains(text)).cloned();
            if found.is_none()
                && let Some(status) = self.child.try_wait().expect("waitable")
            {
                panic!("it ended with {status}: {:?}", self.log.lock());
            }
            found
        })
    }

    /// A line of the log, as JSON.
    fn json(&mut self, text: &str) -> serde_json::Value {
        serde_json::from_str(&self.line(text)).expect("a JSON line")
    }

    /// Where it serves clients.
    fn address(&mut self) -> String {
        let line = self.json("serving client traffic insecurely");
        line["address"].as_str().expect("an address").to_owned()
    }

    /// Sends it a signal and gives its exit code and what it wrote to standard output.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon runs");
        let code = wait_for(|| self.child.try_wait().expect("waitable")).code();
        let mut output = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut output).expect("UTF-8");
        (code, output)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for a page over HTTP/1.1.
fn http_get(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn connected(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn version_of(address: &str) -> String {
    http_get(connected(address), "/version")
}

#[test]
fn http_can_have_urls_of_its_own() {
    let installed = Installed::new();
    let mut command = installed.etcd();
    command
        .args(ANYWHERE)
        .args(["--listen-client-http-urls=http://127.0.0.1:0", "--host-whitelist=localhost"]);
    let mut etcd = Etcd::start(&mut command);
    let http = etcd.json("\"traffic\":\"http\"")["address"].as_str().expect("an address").to_owned();
    assert!(version_of(&http).contains("\"etcdserver\":\"3.7.1\""));
    let grpc = etcd.json("\"traffic\":\"grpc\"")["address"].as_str().expect("an address").to_owned();
    assert!(version_of(&grpc).starts_with("HTTP/1.1 415"), "{}", version_of(&grpc));
}

#[test]
fn the_version_begins_as_that_of_etcd() {
    let installed = Installed::new();
    let output = installed.output(["--version"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text.lines().next(), Some("etcd Version: 3.7.1"));
    assert!(text.contains(&format!("Coffer Version: {}", env!("CARGO_PKG_VERSION"))), "{text}");
    assert_eq!(run(["etcd", "--version"]).ok(), text);
}

#[test]
fn help_shows_the_flags_in_groups() {
    let installed = Installed::new();
    for flag in ["-h", "--help"] {
        let output = installed.output([flag]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0));
        for part in
            ["\nClustering:\n", "  --listen-client-urls 'http://localhost:2379'\n", "  --pre-vote 'true'\n"]
        {
            assert!(text.contains(part), "{part}");
        }
    }
    assert!(run(["etcd", "--help"]).ok().contains("--initial-cluster"));
}

#[test]
fn what_is_wrong_ends_it_with_the_codes_of_etcd() {
    let installed = Installed::new();
    for (flags, code, text) in [
        (&["--no-such-flag"][..], 2, "flag provided but not defined: -no-such-flag\nUsage:\n"),
        (&["--max-txn-ops=abc"], 2, "invalid value \"abc\" for flag -max-txn-ops: parse error\nUsage:\n"),
        (&["--name"], 2, "flag needs an argument: -name\nUsage:\n"),
        (
            &["serve"],
            1,
            "\"msg\":\"failed to verify flags\",\"error\":\"\\\"serve\\\" is not a valid flag\"}",
        ),
        (&["--heartbeat-interval=0"], 1, "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--listen-client-urls=http://127.0.0.1:0"], 1, "--advertise-client-urls is required when"),
        (&["--config-file=/nonexistent.yml"], 1, "open /nonexistent.yml: no such file or directory"),
        (&["--cert-file=/c", "--key-file=/k"], 2, "etcd: --cert-file, --key-file: TLS is not there yet"),
        (
            &["--unsafe-no-fsync"],
            2,
            "etcd: --unsafe-no-fsync: an acknowledgement means that the data is on the disk",
        ),
        (&["--force-new-cluster"], 2, "coffer recover --force-new-cluster DIR --data-dir NEW\n"),
        (
            &["--initial-cluster=default=http://a:1,b=http://b:1"],
            1,
            "--initial-cluster has default=http://a:1 but missing from --initial-advertise-peer-urls=",
        ),
        (&["grpc-proxy", "start"], 2, "etcd grpc-proxy is not there"),
        (&["gateway", "start"], 2, "etcd gateway is not there"),
    ] {
        let output = installed.etcd().args(flags).output().expect("the program runs");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {stderr}");
        assert!(stderr.contains(text), "{flags:?}: {stderr}");
    }
    let left: Vec<_> = fs::read_dir(installed.dir.path()).expect("readable").collect();
    assert_eq!(left.len(), 1, "nothing but the program is there: {left:?}");
}

#[test]
fn the_flags_of_a_static_pod_start_it_and_sigterm_ends_it_well() {
    let installed = Installed::new();
    let data = installed.path("data");
    let mut command = installed.etcd();
    command.args([
        "--advertise-client-urls=http://10.0.0.1:2379".into(),
        format!("--data-dir={}", data.display()),
        "--feature-gates=InitialCorruptCheck=true".into(),
        "--initial-advertise-peer-urls=http://10.0.0.1:2380".into(),
        "--initial-cluster=control-plane=http://10.0.0.1:2380".into(),
        "--listen-client-urls=http://127.0.0.1:0".into(),
        "--listen-metrics-urls=http://127.0.0.1:0".into(),
        "--listen-peer-urls=http://127.0.0.1:0".into(),
        "--name=control-plane".into(),
        "--snapshot-count=10000".into(),
        "--watch-progress-notify-interval=5s".into(),
    ]);
    let mut etcd = Etcd::start(&mut command);
    let line = etcd.json("\"msg\":\"starting\"");
    assert_eq!(line["level"], "info");
    assert_eq!((line["name"].as_str(), line["data-dir"].as_str()), (Some("control-plane"), data.to_str()));
    assert!(
        line["ts"].as_str().is_some_and(|time| time.ends_with('Z')) && line["caller"].is_string(),
        "{line}"
    );
    let answer = version_of(&etcd.address());
    assert!(answer.contains("\"etcdserver\":\"3.7.1\""), "{answer}");
    // Where the kubelet probes.
    let metrics = etcd.json("serving metrics")["address"].as_str().expect("a URL").replace("http://", "");
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        let answer = http_get(connected(&metrics), path);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{path}: {answer}");
    }
    assert_eq!(etcd.stop(Signal::TERM), (Some(0), String::new()));
}

#[test]
fn it_is_the_same_member_after_a_restart_in_its_default_directory() {
    let installed = Installed::new();
    let member = |etcd: &mut Etcd| etcd.json("\"msg\":\"serving\"")["local-member-id"].clone();
    let mut etcd = Etcd::start(installed.etcd().args(ANYWHERE).args(["--name", "m0"]));
    let first = member(&mut etcd);
    assert_eq!(etcd.stop(Signal::INT).0, Some(0));
    assert!(installed.path("m0.etcd").is_dir());
    let mut etcd = Etcd::start(installed.etcd().args(ANYWHERE).args(["--name", "m0"]));
    assert_eq!(member(&mut etcd), first);
}

#[test]
fn variables_count_unless_a_flag_or_a_file_says_otherwise() {
    let installed = Installed::new();
    let mut command = installed.etcd();
    command.args(ANYWHERE).args(["--data-dir", "a"]);
    command.envs([("ETCD_NAME", "variable"), ("ETCD_DATA_DIR", "b"), ("ETCD_SECRET_TYPO", "hunter2")]);
    let mut etcd = Etcd::start(&mut command);
    let line = etcd.json("\"msg\":\"starting\"");
    assert_eq!(line["name"], "variable");
    assert!(line["data-dir"].as_str().is_some_and(|dir| dir.ends_with("/a")), "{line}");
    assert!(etcd.line("unrecognized environment variable").contains("ETCD_SECRET_TYPO"));
    assert!(etcd.line("is shadowed by corresponding command-line flag").contains("ETCD_DATA_DIR"));
    assert!(!etcd.has("hunter2"), "values of unknown variables may be secret");
    assert_eq!(etcd.stop(Signal::TERM).0, Some(0));

    let file = installed.path("etcd.conf.yml");
    let text = "name: file\ndata-dir: c\nlisten-client-urls: http://127.0.0.1:0\nlog-outputs: [stderr]\n\
                client-transport-security:\n  client-cert-auth: false\n";
    fs::write(&file, text).expect("written");
    let mut command = installed.etcd();
    command.args(["--name", "flag", "--config-file"]).arg(&file).env("ETCD_NAME", "variable");
    let mut etcd = Etcd::start(&mut command);
    assert_eq!(etcd.json("\"msg\":\"starting\"")["name"], "file");
    assert!(etcd.line("loaded server configuration").contains("[\\\"name\\\"]"));
}

#[test]
fn the_log_goes_where_it_is_told_and_looks_as_it_is_told() {
    let installed = Installed::new();
    let mut command = installed.etcd();
    command.args(ANYWHERE).args([
        "--log-format",
        "console",
        "--log-outputs",
        "stderr,etcd.log",
        "--max-wals=7",
    ]);
    let mut etcd = Etcd::start(&mut command);
    let line = etcd.line("flag has no effect here");
    let fields: Vec<_> = line.split('\t').collect();
    assert_eq!((fields[1], fields[3]), ("warn", "flag has no effect here"), "{line}");
    assert!(fields[4].starts_with("{\"flag\":\"max-wals\",\"why\":"), "{line}");
    let file = fs::read_to_string(installed.path("etcd.log")).expect("the log");
    assert!(file.contains("ready to serve client requests"), "{file}");
}

#[test]
fn a_socket_file_speaks_etcd() {
    let installed = Installed::new();
    let url = format!("unix://{}", installed.path("etcd.sock").display());
    let mut command = installed.etcd();
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    let etcd = Etcd::start(&mut command);
    let answer = http_get(UnixStream::connect(installed.path("etcd.sock")).expect("it listens"), "/version");
    assert!(answer.contains("\"etcdserver\":\"3.7.1\""), "{answer}");
    assert_eq!(etcd.stop(Signal::TERM).0, Some(0));
    assert!(!installed.path("etcd.sock").exists());
}

#[test]
fn a_service_manager_is_told() {
    let installed = Installed::new();
    let path = installed.path("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let _etcd = Etcd::start(installed.etcd().args(ANYWHERE).env("NOTIFY_SOCKET", &path));
    let mut message = [0; 1024];
    let length = socket.recv(&mut message).expect("a message in time");
    assert!(String::from_utf8_lossy(&message[..length]).contains("READY=1"));
}

/// Path, content and time of change of everything below a folder.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        let changed = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("known");
        match path.is_dir() {
            true => {
                found.extend(contents(&path));
                found.insert(path, (Vec::new(), changed));
            }
            false => {
                found.insert(path.clone(), (fs::read(&path).expect("readable"), changed));
            }
        }
    }
    found
}

#[test]
fn the_data_of_a_real_etcd_is_refused_and_left_as_it_is() {
    let installed = Installed::new();
    let data = installed.path("data");
    fs::create_dir_all(data.join("member/snap")).expect("created");
    fs::create_dir_all(data.join("member/wal")).expect("created");
    fs::write(data.join("member/snap/db"), b"a database").expect("written");
    fs::write(data.join("member/wal/0000000000000000-0000000000000000.wal"), b"a log").expect("written");
    let before = contents(&data);
    let dir = data.to_str().expect("UTF-8");

    let output = installed.etcd().args(ANYWHERE).args(["--data-dir", dir]).output().expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("is the data directory of an etcd") && stderr.contains("`coffer import-etcd`"),
        "{stderr}"
    );
    run(["serve", "--log-level", "error", "--data-dir", dir, "--listen-client-urls", "coffer://127.0.0.1:0"])
        .fails(1, "`coffer import-etcd`");
    assert_eq!(contents(&data), before);
}

#[test]
fn a_port_in_use_is_named() {
    let installed = Installed::new();
    let mut etcd = Etcd::start(installed.etcd().args(ANYWHERE).args(["--name", "one"]));
    let url = format!("http://{}", etcd.address());
    let flags = ["--name", "two", "--listen-client-urls", &url, "--advertise-client-urls", &url];
    let output = installed.etcd().args(flags).output().expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {url}")), "{stderr}");
}

/// One daemon, both protocols, the same data.
#[test]
fn the_scheme_of_a_url_selects_the_protocol() {
    let dir = TempDir::new().expect("a directory");
    let daemon = Daemon::start_with(
        program()
            .args(["serve", "--log-level", "error", "--data-dir"])
            .arg(dir.path().join("store"))
            .args(["--listen-client-urls", "coffer://127.0.0.1:0,http://127.0.0.1:0,coffer://127.0.0.1:0"]),
    );
    let (_, listen) = daemon.ready.trim_end().split_once(" listen=").expect("a ready line");
    let urls: Vec<_> = listen.split(',').collect();
    let schemes: Vec<_> = urls.iter().map(|url| url.split_once("://").expect("a URL").0).collect();
    assert_eq!(schemes, ["coffer", "http", "coffer"]);
    for endpoint in [urls[0], urls[2]] {
        assert_eq!(run(["--endpoints", endpoint, "put", "k", "v"]).ok(), "OK\n");
    }
    let answer = version_of(urls[1].strip_prefix("http://").expect("http"));
    assert!(answer.contains("\"etcdserver\":\"3.7.1\""), "{answer}");
    if let Some(etcdctl) = etcdctl() {
        let found = etcdctl_run(&etcdctl, urls[1], ["get", "k"]);
        assert_eq!(found, "k\nv\n");
    }
}

#[test]
fn etcdctl_works_on_it() {
    let Some(etcdctl) = etcdctl() else { return };
    let installed = Installed::new();
    let mut etcd = Etcd::start(installed.etcd().args(ANYWHERE));
    let endpoint = etcd.address();
    assert_eq!(etcdctl_run(&etcdctl, &endpoint, ["put", "greeting", "hello"]), "OK\n");
    assert_eq!(etcdctl_run(&etcdctl, &endpoint, ["get", "greeting"]), "greeting\nhello\n");
    assert_eq!(etcdctl_run(&etcdctl, &endpoint, ["del", "greeting"]), "1\n");
}

/// etcdctl, if there is one. Where everything is required its absence is a failure.
fn etcdctl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("etcdctl")).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("COFFER_REQUIRE_ALL").is_none_or(|value| value != "1"), "needs etcdctl");
        let _ = writeln!(std::io::stderr(), "SKIPPED: needs etcdctl");
    }
    found
}

#[track_caller]
fn etcdctl_run<const N: usize>(etcdctl: &Path, endpoint: &str, arguments: [&str; N]) -> String {
    let output = Command::new(etcdctl)
        .env_clear()
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint])
        .args(arguments)
        .output()
        .expect("etcdctl runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
