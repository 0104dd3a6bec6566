//! Daemons of the program under measurement, stopped by their own process ids.

use coffer_bench::process::free_addresses;
use coffer_rpc::client::{Client, ClientConfig};
use coffer_runtime::block_on;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take until somebody leads.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// As many daemons as founded a cluster together. Run until dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<Daemon>,
    leader: usize,
}

impl Cluster {
    /// Starts them, and waits until one leads.
    ///
    /// # Errors
    /// A program cannot be started or does not become ready; nobody leads.
    pub(crate) fn start(program: &Path, directory: &Path, members: usize) -> io::Result<Self> {
        if members == 1 {
            let members = vec![Daemon::start(program, &directory.join("data"), &[])?];
            return Ok(Self { members, leader: 0 });
        }
        let urls: Vec<_> =
            free_addresses(members)?.iter().map(|address| format!("http://{address}")).collect();
        let named: Vec<_> = urls.iter().enumerate().map(|(number, url)| format!("m{number}={url}")).collect();
        let members = urls.iter().enumerate().map(|(number, url)| {
            let name = format!("m{number}");
            let flags = ["--name", &name, "--listen-peer-urls", url, "--initial-cluster", &named.join(",")];
            Daemon::start(program, &directory.join(&name), &flags)
        });
        let members = members.collect::<io::Result<Vec<_>>>()?;
        let leader = leader(&members)?;
        Ok(Self { members, leader })
    }

    /// Where the leader listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.members[self.leader].endpoint
    }

    /// The process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }
}

/// Which of them leads, as soon as one does.
fn leader(members: &[Daemon]) -> io::Result<usize> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        for (number, member) in members.iter().enumerate() {
            let client = block_on(Client::connect(ClientConfig::new([&member.endpoint])));
            let status = client.and_then(|client| block_on(client.status()));
            if status.is_ok_and(|status| status.leader == status.header.member_id) {
                return Ok(number);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other("nobody leads"))
}

/// One of them.
#[derive(Debug)]
struct Daemon {
    child: Child,
    endpoint: String,
}

impl Daemon {
    /// Starts `program serve` on a port of the kernel's choice and waits for its ready line. Its store is in the clear, as
    /// that of what it is compared with, unless the environment names a key.
    ///
    /// # Errors
    /// The program cannot be started or does not become ready.
    fn start(program: &Path, data_dir: &Path, flags: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(program);
        if std::env::var_os("COFFER_SEAL_KEY_FILE").is_none() {
            // No flag: older programs are measured as well.
            command.env("COFFER_UNSEALED", "true");
        }
        let mut child = command
            .args(["serve", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start {}: {error}", program.display()))
            })?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let listen = line.split_whitespace().find_map(|word| word.strip_prefix("listen="));
        match listen {
            Some(endpoint) => Ok(Self { endpoint: endpoint.to_owned(), child }),
            None => {
                child.kill()?;
                child.wait()?;
                Err(io::Error::other(format!("no ready line but {line:?}")))
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have died by itself; there is nothing more to do about it here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
