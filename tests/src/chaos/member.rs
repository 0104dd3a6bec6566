//! One daemon of a cluster, as a process.

use super::network::{Network, Side};
use super::sockets;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a daemon may take from its start to its ready line, and from a signal to its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a daemon is started with, beside what all members have.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Arguments of `serve` and before it.
    pub arguments: Vec<OsString>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// A member, running or not.
#[derive(Debug)]
pub struct Member {
    /// Its place in the cluster.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its disk.
    pub disk: PathBuf,
    /// Its data directory, on that.
    pub data_dir: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Where other members reach it, through the network.
    pub peer_address: SocketAddr,
    /// Where clients reach it, through the network.
    pub client_address: SocketAddr,
    network: Rc<Network>,
    launch: RefCell<Launch>,
    process: RefCell<Option<Child>>,
    id: Cell<u64>,
    /// How often it was started.
    starts: Cell<u32>,
}

impl Member {
    /// A member that does not run yet, with its files below `dir`.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(
        number: usize,
        name: &str,
        dir: &Path,
        network: Rc<Network>,
        launch: Launch,
    ) -> io::Result<Self> {
        Ok(Self {
            number,
            name: name.into(),
            disk: dir.join(name),
            data_dir: dir.join(name).join("store"),
            log: dir.join(format!("{name}.log")),
            peer_address: network.address_of(number, Side::Peers)?,
            client_address: network.address_of(number, Side::Clients)?,
            network,
            launch: RefCell::new(launch),
            process: RefCell::new(None),
            id: Cell::new(0),
            starts: Cell::new(0),
        })
    }

    /// `name=url`, as `--initial-cluster` has it.
    pub fn entry(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    /// Where other members reach it.
    pub fn peer_url(&self) -> String {
        format!("http://{}", self.peer_address)
    }

    /// Where clients reach it.
    pub fn client_url(&self) -> String {
        format!("coffer://{}", self.client_address)
    }

    /// Its id, once it was ready.
    pub fn id(&self) -> u64 {
        self.id.get()
    }

    /// Adds arguments to those that it is started with.
    pub fn add_arguments<S: Into<OsString>>(&self, arguments: impl IntoIterator<Item = S>) {
        self.launch.borrow_mut().arguments.extend(arguments.into_iter().map(Into::into));
    }

    /// Sets a variable of its environment, from its next start on.
    pub fn set_environment(&self, name: &str, value: impl Into<OsString>) {
        let mut launch = self.launch.borrow_mut();
        launch.environment.retain(|(known, _)| known != name);
        launch.environment.push((name.into(), value.into()));
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut process = self.process.borrow_mut();
        let child = process.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// Whether a process runs.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Starts it. It is not ready yet.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&self) -> Result<Starting, String> {
        let failed = |error: io::Error| format!("{} cannot be started: {error}", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let launch = self.launch.borrow();
        let mut command = Command::new(&launch.program);
        command.env_clear().envs(launch.environment.iter().cloned()).args(&launch.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let pid = child.id();
        let stdout = child.stdout.take().ok_or("no output")?;
        self.network.set_pid(self.number, pid);
        self.process.replace(Some(child));
        self.starts.set(self.starts.get() + 1);
        Ok(Starting { ready: read_line(stdout)?, pid, deadline: Instant::now() + PATIENCE })
    }

    /// Waits until it is ready, and leads the network to it.
    ///
    /// # Errors
    /// It ended, or did not become ready in time.
    pub async fn ready(&self, starting: Starting) -> Result<(), String> {
        let late = || format!("{} is not ready after {PATIENCE:?}: {}", self.name, self.last_words());
        // Members listen to each other before they serve clients, and need each other only later.
        let line = loop {
            if let Ok(line) = starting.ready.try_recv() {
                break line;
            }
            let over = starting.ready.is_closed() && starting.ready.is_empty();
            if over || Instant::now() > starting.deadline {
                return Err(late());
            }
            self.lead_peers(starting.pid, None);
            coffer_runtime::sleep(Duration::from_millis(5)).await;
        };
        let port = after(&line, " listen=").and_then(|urls| {
            let url = urls.split(',').find(|url| url.starts_with("coffer://"))?;
            url.rsplit(':').next()?.trim().parse().ok()
        });
        let port: u16 = port.ok_or_else(|| format!("{}: ready line {line:?}", self.name))?;
        let id = after(&line, " member=").and_then(|id| u64::from_str_radix(id.split(' ').next()?, 16).ok());
        self.id.set(id.ok_or_else(|| format!("{}: ready line {line:?}", self.name))?);
        self.network.set_port(self.number, Side::Clients, port);
        self.lead_peers(starting.pid, Some(port));
        Ok(())
    }

    /// Finds the port on which it listens to other members: the first that it has, and not that for clients.
    fn lead_peers(&self, pid: u32, clients: Option<u16>) {
        let ports: Vec<u16> =
            sockets::listening(pid).into_iter().filter(|port| Some(*port) != clients).collect();
        if let [port] = ports[..] {
            self.network.set_port(self.number, Side::Peers, port);
        }
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may end at this moment.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it and waits for its end.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.ended(PATIENCE).await;
    }

    /// Waits for the end of the process that runs now, for at most so long.
    pub async fn ended(&self, patience: Duration) -> End {
        let deadline = Instant::now() + patience;
        let awaited = self.process.borrow().as_ref().map(Child::id);
        loop {
            match self.process.borrow_mut().as_mut() {
                Some(child) if Some(child.id()) == awaited => {
                    if let Ok(Some(status)) = child.try_wait() {
                        return End::With(status);
                    }
                }
                _ => return End::Unseen,
            }
            if Instant::now() > deadline {
                return End::GoesOn;
            }
            coffer_runtime::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether its process ended because somebody killed it.
    pub fn was_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let ended = self.process.borrow_mut().as_mut().and_then(|child| child.try_wait().ok().flatten());
        ended.is_some_and(|status| status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(1500)..]).into_owned();
        text.lines().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ended so.
    With(ExitStatus),
    /// It ended, and another was started in its place; or there was none.
    Unseen,
    /// It goes on.
    GoesOn,
}

/// A member on its way to its ready line.
#[derive(Debug)]
pub struct Starting {
    ready: async_channel::Receiver<String>,
    pid: u32,
    deadline: Instant,
}

/// Reads lines on a thread of its own, which ends with the process.
fn read_line(stdout: ChildStdout) -> Result<async_channel::Receiver<String>, String> {
    let (sender, receiver) = async_channel::unbounded();
    let read = move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.try_send(line);
        }
    };
    std::thread::Builder::new()
        .name("chaos-ready".into())
        .spawn(read)
        .map_err(|error| format!("no thread: {error}"))?;
    Ok(receiver)
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

/// Writes a key that only its owner may read.
///
/// # Errors
/// The file cannot be written.
pub fn write_key(path: &Path) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file: File = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all("5e".repeat(32).as_bytes())
}
