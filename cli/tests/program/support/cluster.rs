//! Daemons on loopback that are a cluster, and a client that writes to it the whole time.

use super::{Daemon, Ran, program, run, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use tempfile::TempDir;

/// How members are called.
pub(crate) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Where members listen to each other. Nobody connects from here: connections over loopback come from 127.0.0.1, and one of those
/// may take the number of a dead member's port.
const PEERS: &str = "127.0.0.2";

/// A cluster, and what starts its members again.
pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    peers: Vec<u16>,
    backends: Vec<&'static str>,
    pub(crate) members: Vec<Option<Daemon>>,
}

impl Cluster {
    /// Nobody runs yet.
    pub(crate) fn new<const N: usize>(backends: [&'static str; N]) -> Self {
        let dir = TempDir::new().expect("a directory");
        Self { dir, peers: ports(N), backends: backends.into(), members: backends.map(|_| None).into() }
    }

    /// All of them found it together.
    pub(crate) fn start<const N: usize>(backends: [&'static str; N]) -> Self {
        let mut cluster = Self::new(backends);
        cluster.members = (0..N).map(|number| Some(cluster.member(number))).collect();
        cluster
    }

    pub(crate) fn dir_of(&self, number: usize) -> PathBuf {
        self.dir.path().join(NAMES[number])
    }

    pub(crate) fn peer_url(&self, number: usize) -> String {
        format!("http://{PEERS}:{}", self.peers[number])
    }

    /// Has a member, once it is started again, listen where nobody has listened before.
    pub(crate) fn moves(&mut self, number: usize) {
        let former = self.peers[number];
        self.peers[number] = wait_for(|| ports(1).pop().filter(|port| *port != former));
    }

    /// Starts a member of all that there are.
    pub(crate) fn member(&self, number: usize) -> Daemon {
        let all: Vec<usize> = (0..self.members.len()).collect();
        Daemon::start_with(&mut self.command(number, &all, "new"))
    }

    /// What starts a member that is told of these.
    pub(crate) fn command(&self, number: usize, known: &[usize], state: &str) -> Command {
        let known: Vec<_> =
            known.iter().map(|number| format!("{}={}", NAMES[*number], self.peer_url(*number))).collect();
        let mut command = self.serve(number);
        command.args(["--name", NAMES[number], "--listen-peer-urls", &self.peer_url(number)]);
        command.args(["--initial-cluster", &known.join(","), "--initial-cluster-token", "test"]);
        command.args(["--initial-cluster-state", state]);
        command
    }

    /// What starts a member, but for its cluster.
    pub(crate) fn serve(&self, number: usize) -> Command {
        let mut command = program();
        command.args(["serve", "--backend", self.backends[number], "--log-level", "error"]);
        command.args(["--listen-client-urls", "coffer://127.0.0.1:0,http://127.0.0.1:0"]);
        command.arg("--data-dir").arg(self.dir_of(number));
        command
    }

    /// Asks a member through etcd's JSON gateway.
    pub(crate) fn ask(&self, number: usize, path: &str, body: &Value) -> Value {
        let ready = &self.members[number].as_ref().expect("it runs").ready;
        let address = ready.split("http://").nth(1).expect("it serves http").trim().to_owned();
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let (_, json) = answer.split_once("\r\n\r\n").expect("an answer");
        let json = &json[json.find('{').expect("JSON")..=json.rfind('}').expect("JSON")];
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The members as `number` lists them: their names, and whether they are learners.
    pub(crate) fn list(&self, number: usize) -> Vec<(String, bool)> {
        let list = self.ask(number, "/v3/cluster/member/list", &json!({}));
        let members = list["members"].as_array().unwrap_or_else(|| panic!("{list}")).iter();
        let mut members: Vec<_> = members
            .map(|member| {
                (member["name"].as_str().unwrap_or_default().to_owned(), member["isLearner"] == json!(true))
            })
            .collect();
        members.sort();
        members
    }

    pub(crate) fn at(&self, number: usize) -> &str {
        &self.members[number].as_ref().expect("it runs").endpoint
    }

    /// Where clients reach those who run.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.running().map(|number| self.at(number).to_owned()).collect()
    }

    pub(crate) fn run(&self, number: usize, args: &[&str]) -> Ran {
        run(["--endpoints", self.at(number), "--command-timeout", "20s"].iter().chain(args))
    }

    pub(crate) fn put(&self, number: usize, key: &str, value: &str) {
        assert_eq!(self.run(number, &["put", key, value]).ok(), "OK\n");
    }

    pub(crate) fn get(&self, number: usize, key: &str) -> String {
        self.run(number, &["get", key, "--print-value-only"]).ok()
    }

    /// What a member holds, whether or not that is the newest.
    pub(crate) fn get_here(&self, number: usize, key: &str) -> String {
        self.run(number, &["get", key, "--consistency", "s", "--print-value-only"]).ok()
    }

    pub(crate) fn status(&self, number: usize) -> Value {
        let status = self.run(number, &["status", "-w", "json"]).json();
        status[0]["Status"].clone()
    }

    /// The id of a member, as `asked` lists it.
    pub(crate) fn id_of(&self, number: usize, asked: usize) -> String {
        id_now(&self.run(asked, &["member", "list", "-w", "json"]).json(), number)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|number| self.members[*number].is_some())
    }

    /// Which member leads, once all who run agree.
    pub(crate) fn leader(&self) -> usize {
        wait_for(|| {
            let statuses: Vec<_> = self.running().map(|number| (number, self.status(number))).collect();
            let leader = statuses[0].1["leader"].clone();
            let agree = leader != 0 && statuses.iter().all(|(_, status)| status["leader"] == leader);
            let leads = statuses.iter().find(|(_, status)| status["header"]["member_id"] == leader);
            leads.filter(|_| agree).map(|(number, _)| *number)
        })
    }

    pub(crate) fn kill(&mut self, number: usize) {
        let mut member = self.members[number].take().expect("it runs");
        member.signal(Signal::KILL);
        member.wait();
    }

    /// Waits until all hold the same, as their hashes say.
    pub(crate) fn settle(&self) {
        wait_for(|| {
            let hashes: Vec<_> = self
                .running()
                .map(|number| self.run(number, &["hashkv", "-w", "json"]).json())
                .map(|hash| {
                    (hash[0]["HashKV"]["hash"].clone(), hash[0]["HashKV"]["header"]["revision"].clone())
                })
                .collect();
            hashes.iter().all(|hash| *hash == hashes[0]).then_some(())
        });
    }

    /// Checks that a member has what a [`Writer`] wrote, of which so much was acknowledged: the last value, and as many
    /// versions, and not less. A write of unknown outcome may count besides.
    pub(crate) fn check_counted(&self, number: usize, count: usize) {
        let found = self.run(number, &["get", "counted", "-w", "json"]).json();
        let version = found["kvs"][0]["version"].as_u64().expect("a version");
        assert!(version >= count as u64, "{count} writes were acknowledged, and {version} are there");
        let value: usize = self.get(number, "counted").trim_end().parse().expect("a number");
        assert!(
            value == count - 1 || value == count,
            "{count} writes were acknowledged, and the last is {value}"
        );
    }
}

/// Ports that are free.
fn ports(count: usize) -> Vec<u16> {
    // Held together, so that they differ; free again when the members come.
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind((PEERS, 0)).expect("a port")).collect();
    held.iter().map(|port| port.local_addr().expect("bound").port()).collect()
}

/// The id of a member in a list.
pub(crate) fn id_now(listed: &Value, number: usize) -> String {
    let members = listed["members"].as_array().expect("members").iter();
    let id =
        members.filter(|member| member["name"] == NAMES[number]).find_map(|member| member["ID"].as_u64());
    format!("{:x}", id.unwrap_or_else(|| panic!("{listed}")))
}

/// Writes how many of its writes were acknowledged, one after another, until it is told to end.
pub(crate) struct Writer {
    endpoints: Arc<Mutex<Vec<String>>>,
    acknowledged: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(endpoints: Vec<String>) -> Self {
        let endpoints = Arc::new(Mutex::new(endpoints));
        let (acknowledged, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (endpoints, acknowledged, ends) = (endpoints.clone(), acknowledged.clone(), ends.clone());
            thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let endpoints = endpoints.lock().expect("not poisoned").join(",");
                    let value = acknowledged.load(Ordering::Relaxed).to_string();
                    // One that failed is written again: nobody was promised anything.
                    let put =
                        ["--endpoints", &endpoints, "--command-timeout", "20s", "put", "counted", &value];
                    if run(put).code == 0 {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        Self { endpoints, acknowledged, ends, thread }
    }

    /// Has it ask these from now on.
    pub(crate) fn asks(&self, endpoints: Vec<String>) {
        *self.endpoints.lock().expect("not poisoned") = endpoints;
    }

    /// Waits until a few more writes were acknowledged.
    pub(crate) fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        wait_for(|| (self.acknowledged.load(Ordering::Relaxed) > before + 3).then_some(()));
    }

    /// Ends it, and tells how many of its writes were acknowledged.
    pub(crate) fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ended");
        self.acknowledged.load(Ordering::Relaxed)
    }
}
