//! A real etcd, where there is one: for what only it can say.

use crate::support::wait_for;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Whether etcd and etcdctl are there. Says that a test is skipped if they are not, and fails where none may be.
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn is_there() -> bool {
    let there = ["etcd", "etcdctl"].iter().all(|tool| find(tool).is_some());
    if !there {
        assert!(std::env::var_os("COFFER_REQUIRE_ALL").is_none(), "etcd and etcdctl are not on PATH");
        println!("SKIPPED: needs etcd");
    }
    there
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|file| file.is_file())
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("ETCDCTL_API", "3").stdin(Stdio::null());
    command
}

/// The tool that looks into snapshots and restores them: since 3.6 one of its own.
pub(crate) fn snapshot_tool() -> Command {
    tool(if find("etcdutl").is_some() { "etcdutl" } else { "etcdctl" })
}

/// Runs a tool and gives its output, if it succeeded.
#[track_caller]
pub(crate) fn ok(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the tool starts");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

/// A member of etcd, alone in its cluster. Killed when dropped.
pub(crate) struct Etcd {
    child: Child,
    endpoint: String,
}

impl Etcd {
    /// Starts it with this data directory and waits until it answers.
    pub(crate) fn start(data_dir: &Path) -> Self {
        let [client, peer] = free_urls();
        let child = tool("etcd")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", RESTORED_PEER])
            .args(["--initial-cluster", &format!("default={RESTORED_PEER}")])
            .env_remove("ETCDCTL_API")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let mut etcd = Self { child, endpoint: client };
        wait_for(|| {
            let ended = etcd.child.try_wait().expect("waitable");
            assert!(ended.is_none(), "etcd ended: {ended:?}");
            etcd.ctl()
                .args(["endpoint", "health"])
                .output()
                .expect("etcdctl starts")
                .status
                .success()
                .then_some(())
        });
        etcd
    }

    pub(crate) fn ctl(&self) -> Command {
        let mut command = tool("etcdctl");
        command.args(["--endpoints", &self.endpoint, "--command-timeout", "20s"]);
        command
    }

    /// Runs etcdctl with `input` and gives its output.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> String {
        // From a file, because whoever writes to a pipe must read as well.
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, input).expect("written");
        std::io::Seek::rewind(&mut file).expect("a file");
        ok(self.ctl().args(args).stdin(file))
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run(args, b"")).expect("JSON")
    }

    /// HashKV, the revision that was hashed, and the compact revision.
    pub(crate) fn hash(&self) -> (u64, u64, u64) {
        let answer = &self.json(&["endpoint", "hashkv", "-w", "json"])[0]["HashKV"];
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        (number(&answer["hash"]), number(&answer["header"]["revision"]), number(&answer["compact_revision"]))
    }

    /// Every pair.
    pub(crate) fn pairs(&self) -> serde_json::Value {
        self.json(&["get", "", "--prefix", "-w", "json"])["kvs"].clone()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )
        .expect("etcd runs");
        self.child.wait().expect("waitable");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peer URL that a restored member bears: nobody listens there.
pub(crate) const RESTORED_PEER: &str = "http://127.0.0.1:2380";

fn free_urls() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| format!("http://{}", listener.local_addr().expect("an address")))
}
