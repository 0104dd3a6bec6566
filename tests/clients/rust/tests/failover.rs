//! A client of three members while the one that leads stops answering, and while one is dead. Not for a single server:
//! `tests/clients/cluster/run` asks for it by name, tells it the members, and starts again the one that it killed.

use coffer_clients_rust::soon;
use etcd_client::*;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// An attempt that takes longer may as well be made at another member.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A story that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; tests/clients/cluster/run sets it"))
}

/// The processes by their endpoints.
fn members() -> BTreeMap<String, Pid> {
    let one = |text: &str| {
        let (endpoint, pid) = text.split_once('=')?;
        Some((endpoint.to_owned(), Pid::from_raw(pid.parse().ok()?)?))
    };
    variable("MEMBER_PIDS").split(',').map(|text| one(text).expect("endpoint=pid")).collect()
}

async fn connect(endpoints: &[String]) -> Client {
    Client::connect(endpoints, Some(ConnectOptions::new().with_timeout(ATTEMPT))).await.expect("connect")
}

/// A request as a user makes it: the client takes another member for each attempt, but makes one alone. What it could not
/// reach or may not know of is asked again, with the same outcome; any other refusal is a fault.
async fn persist<T>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> T {
    soon(async {
        loop {
            match attempt().await {
                Ok(answer) => return answer,
                // Cancelled and deadline exceeded (no answer in time), unknown (a lost connection), unavailable.
                Err(Error::GRpcStatus(status)) if [1, 4, 2, 14].contains(&(status.code() as i32)) => {}
                Err(error) => panic!("not to be asked again: {error}"),
            }
        }
    })
    .await
}

/// The endpoint of whoever leads.
async fn leader(endpoints: &[String]) -> String {
    soon(async {
        loop {
            for endpoint in endpoints {
                let mut client = connect(std::slice::from_ref(endpoint)).await;
                let status = persist(async || client.status().await).await;
                if status.leader() == status.header().unwrap().member_id() {
                    return endpoint.clone();
                }
            }
        }
    })
    .await
}

/// Asks until so many members have answered.
async fn is_answered_by(client: &mut Client, count: usize) {
    let mut seen = BTreeSet::new();
    soon(async {
        while seen.len() < count {
            let status = persist(async || client.status().await).await;
            seen.insert(status.header().unwrap().member_id());
        }
    })
    .await;
}

/// What was acknowledged: the revisions by their keys.
#[derive(Default)]
struct Acknowledged {
    revisions: BTreeMap<String, i64>,
    last: i64,
}

impl Acknowledged {
    /// Writes so many keys, and reads each at whichever member the client then asks.
    async fn write(&mut self, client: &mut Client, during: &str, count: usize) {
        let began = Instant::now();
        let mut attempts = 0;
        for number in 0..count {
            let key = format!("rust/failover/{during}/{number:02}");
            let put = persist(async || {
                attempts += 1;
                client.put(key.as_str(), key.as_str(), None).await
            })
            .await;
            let revision = put.header().unwrap().revision();
            assert!(revision > self.last, "{key}: revision {revision} after {}", self.last);
            self.last = revision;
            self.revisions.insert(key.clone(), revision);
            let got = persist(async || {
                attempts += 1;
                client.get(key.as_str(), None).await
            })
            .await;
            self.includes(&key, got.kvs());
        }
        println!(
            "{during}: {count} writes and as many reads in {attempts} attempts and {:?}",
            began.elapsed()
        );
    }

    /// All of it is what this member answers, not only what it will answer later.
    async fn is_at(&self, endpoint: &str) {
        let mut client = connect(&[endpoint.to_owned()]).await;
        let options = || Some(GetOptions::new().with_prefix());
        let got = persist(async || client.get("rust/failover/", options()).await).await;
        self.revisions.keys().for_each(|key| self.includes(key, got.kvs()));
        assert_eq!(got.kvs().len(), self.revisions.len());
    }

    /// An attempt that was not heard of may have written before or after the one that was acknowledged.
    fn includes(&self, key: &str, kvs: &[KeyValue]) {
        let kv = kvs.iter().find(|kv| kv.key() == key.as_bytes()).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(kv.value(), key.as_bytes());
        let known = self.revisions[key];
        assert!(
            (kv.create_revision()..=kv.mod_revision()).contains(&known),
            "{key}: {kv:?} instead of {known}"
        );
    }
}

/// A process that does nothing until this is dropped, whatever becomes of the test.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> Stopped {
        kill_process(pid, Signal::STOP).expect("stop");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("continue");
    }
}

#[tokio::test]
async fn a_client_outlives_whom_it_speaks_to() {
    tokio::time::timeout(PATIENCE, story()).await.expect("an end in time");
}

async fn story() {
    let pids = members();
    let endpoints: Vec<String> = variable("ENDPOINTS").split(',').map(str::to_owned).collect();
    let mut client = connect(&endpoints).await;
    let mut acknowledged = Acknowledged::default();
    acknowledged.write(&mut client, "before", 10).await;
    is_answered_by(&mut client, endpoints.len()).await;

    // A leader that keeps its connections and answers none.
    let stopped = leader(&endpoints).await;
    let pause = Stopped::new(pids[&stopped]);
    acknowledged.write(&mut client, "stopped", 10).await;
    drop(pause);
    // It does not know yet that others lead, and may not answer as if it still did.
    acknowledged.is_at(&stopped).await;
    for endpoint in &endpoints {
        acknowledged.is_at(endpoint).await;
    }
    is_answered_by(&mut client, endpoints.len()).await;

    // A leader that is gone, connections and all.
    let killed = leader(&endpoints).await;
    kill_process(pids[&killed], Signal::KILL).expect("kill");
    acknowledged.write(&mut client, "killed", 50).await;
    for endpoint in endpoints.iter().filter(|endpoint| **endpoint != killed) {
        acknowledged.is_at(endpoint).await;
    }
}
