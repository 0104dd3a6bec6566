//! Where scenarios are played: a store in the runner's own process, or a cluster of three daemons.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a daemon may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
const MEMBERS: usize = 3;
/// Where members listen. Nobody connects from here: connections over loopback come from 127.0.0.1, and one of those may take the
/// number of a dead member's port.
const HOST: &str = "127.0.0.2";

/// A kind of place.
#[derive(Debug)]
pub(crate) enum Place {
    /// A store of this backend in the process of whoever opens it.
    Embedded(&'static str),
    /// One that all share.
    Cluster(Cluster),
}

impl Place {
    /// What scenarios call the kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Cluster(_) => "cluster",
        }
    }

    /// What reports call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Embedded(backend) => backend,
            Self::Cluster(_) => "cluster",
        }
    }

    /// What `open` is told, for a play with its files in `dir`.
    pub(crate) fn open_words(&self, dir: &Path) -> String {
        match self {
            Self::Embedded(backend) => {
                format!("file://{0}/store backend={backend} seal-key-file={0}/key", dir.to_string_lossy())
            }
            // On a busy machine an election may take longer than a call usually may.
            Self::Cluster(cluster) => format!("{} command-timeout=60s", cluster.uri()),
        }
    }
}

/// Writes a key that seals a store.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_key(path: &Path, digit: char) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(digit.to_string().repeat(64).as_bytes())
}

/// Three daemons on loopback.
#[derive(Debug)]
pub(crate) struct Cluster {
    program: PathBuf,
    dir: PathBuf,
    client_ports: Vec<u16>,
    peer_ports: Vec<u16>,
    members: Mutex<Vec<Option<Child>>>,
}

impl Cluster {
    /// Starts one with its files in `dir`.
    ///
    /// # Errors
    /// A member does not become ready.
    pub(crate) fn start(program: &Path, dir: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        fs::create_dir_all(dir).map_err(text)?;
        write_key(&dir.join("key"), '7').map_err(text)?;
        // Held together, so that they differ; free again when the members come.
        let held: Vec<_> = (0..2 * MEMBERS).map(|_| TcpListener::bind((HOST, 0))).collect();
        let ports: Result<Vec<u16>, _> =
            held.iter().map(|port| port.as_ref().map_err(ToString::to_string).and_then(port_of)).collect();
        drop(held);
        let (client_ports, peer_ports) = {
            let mut ports = ports?;
            let peers = ports.split_off(MEMBERS);
            (ports, peers)
        };
        let members = Mutex::new((0..MEMBERS).map(|_| None).collect());
        let cluster = Self { program: program.into(), dir: dir.into(), client_ports, peer_ports, members };
        let each = &cluster;
        thread::scope(|scope| {
            let starts: Vec<_> =
                (0..MEMBERS).map(|number| scope.spawn(move || each.start_member(number))).collect();
            starts.into_iter().try_for_each(|start| start.join().map_err(|_| "a panic".to_owned())?)
        })?;
        cluster.wait_whole()?;
        Ok(cluster)
    }

    /// All members.
    pub(crate) fn uri(&self) -> String {
        let addresses: Vec<_> = self.client_ports.iter().map(|port| format!("{HOST}:{port}")).collect();
        format!("coffer://{}", addresses.join(","))
    }

    /// Starts a member and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn start_member(&self, number: usize) -> Result<(), String> {
        let peer = |number: usize| format!("m{number}=http://{HOST}:{}", self.peer_ports[number]);
        let all: Vec<_> = (0..MEMBERS).map(peer).collect();
        let mut command = Command::new(&self.program);
        command.env_clear().env("COFFER_SEAL_KEY_FILE", self.dir.join("key"));
        command.args(["serve", "--name", &format!("m{number}"), "--log-level", "warn"]);
        command.args(["--initial-cluster", &all.join(","), "--initial-cluster-token", "languages"]);
        command.args(["--initial-cluster-state", "new"]);
        command.args(["--listen-peer-urls", &format!("http://{HOST}:{}", self.peer_ports[number])]);
        command.args(["--listen-client-urls", &format!("coffer://{HOST}:{}", self.client_ports[number])]);
        command.arg("--data-dir").arg(self.dir.join(format!("m{number}")));
        let log = File::options().create(true).append(true).open(self.dir.join(format!("m{number}.log")));
        let log = log.map_err(|error| error.to_string())?;
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut child = started.map_err(|error| format!("{}: {error}", self.program.display()))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        self.members.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(child);
        let (sender, ready) = channel();
        // Reads on until the daemon ends, so that it never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        match ready.recv_timeout(PATIENCE) {
            Ok(line) if line.starts_with("ready ") => Ok(()),
            other => Err(format!("member {number} is not ready: {other:?}; see {}", self.dir.display())),
        }
    }

    /// Waits until all members follow the same leader.
    ///
    /// # Errors
    /// It does not happen in time.
    pub(crate) fn wait_whole(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let leaders: Vec<_> = self.client_ports.iter().map(|port| leader_as_seen_at(*port)).collect();
            if leaders[0].is_some_and(|leader| leader != 0)
                && leaders.iter().all(|leader| *leader == leaders[0])
            {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Err("the members do not agree on a leader".into())
    }

    /// Waits until a change is taken: after the leader was killed, whoever is left elects another first, and on a busy machine a
    /// member may lose patience with a call before that.
    ///
    /// # Errors
    /// It does not happen in time.
    pub(crate) fn wait_serving(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if takes_changes(&self.uri()) {
                return Ok(());
            }
        }
        Err("no change is taken".into())
    }

    /// Kills a member without a word.
    pub(crate) fn kill_member(&self, number: usize) {
        let member = self.members.lock().unwrap_or_else(PoisonError::into_inner)[number].take();
        if let Some(mut member) = member {
            // It may have ended already.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|number| self.kill_member(number));
    }
}

fn takes_changes(uri: &str) -> bool {
    coffer::block_on(async {
        let options = coffer::Options::default().timeout(Duration::from_secs(5));
        let Ok(client) = options.open(uri).await else { return false };
        let put = client.put("driver", "is it there?").await;
        client.close().await;
        put.is_ok()
    })
}

fn leader_as_seen_at(port: u16) -> Option<u64> {
    coffer::block_on(async {
        let options = coffer::Options::default().timeout(Duration::from_secs(2));
        let client = options.open(&format!("coffer://{HOST}:{port}")).await.ok()?;
        let leader = client.status().await.ok().map(|status| status.leader);
        client.close().await;
        leader
    })
}

fn port_of(listener: &TcpListener) -> Result<u16, String> {
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}
