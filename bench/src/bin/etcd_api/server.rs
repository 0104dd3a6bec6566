//! A server under measurement, a process or a cluster of some, stopped by their own process ids.

use super::client::Connection;
use super::null;
use coffer_bench::process::free_addresses;
use coffer_etcd::proto::etcdserverpb::{StatusRequest, StatusResponse};
use coffer_runtime::sleep;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs until dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    members: Vec<Member>,
    leader: usize,
}

impl Server {
    /// Starts `program`, or the null server, as a cluster of so many, and waits until one leads.
    ///
    /// # Errors
    /// The program cannot be started or does not become ready.
    pub(crate) async fn start(program: &Path, directory: &Path, members: usize) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "null" {
            return Ok(Self { name, members: vec![Member::start_null()?], leader: 0 });
        }
        let mut peers = free_addresses(2 * members)?;
        let clients = peers.split_off(members);
        let all: Vec<_> =
            peers.iter().enumerate().map(|(number, peer)| format!("m{number}=http://{peer}")).collect();
        let members = peers.iter().zip(clients).enumerate().map(|(number, (peer, address))| {
            let member = format!("m{number}");
            let mut command = Command::new(program);
            if name == "coffer" {
                command.arg("etcd");
            }
            command.arg(format!("--data-dir={}", directory.join(&member).display()));
            Member::start(&mut command, &member, address, peer, &all.join(","))
        });
        let members = members.collect::<io::Result<Vec<_>>>()?;
        let leader = leader(&members).await?;
        Ok(Self { name, members, leader })
    }

    /// The program's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` of the leader.
    pub(crate) fn address(&self) -> &str {
        &self.members[self.leader].address
    }

    /// The process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.child.id()).collect()
    }
}

/// Which of them leads, as soon as one does.
async fn leader(members: &[Member]) -> io::Result<usize> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        for (number, member) in members.iter().enumerate() {
            let Ok(mut connection) = Connection::open(&member.address).await else { continue };
            let status =
                connection.unary::<StatusResponse>("/etcdserverpb.Maintenance/Status", &StatusRequest {});
            let leads = status.await.is_ok_and(|status| {
                status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader)
            });
            if leads {
                return Ok(number);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(io::Error::other("a server does not become ready"))
}

/// A process of a server.
#[derive(Debug)]
struct Member {
    address: String,
    child: Child,
}

impl Member {
    /// Adds what every etcd takes.
    fn start(command: &mut Command, name: &str, address: String, peer: &str, all: &str) -> io::Result<Self> {
        let child = command
            .arg(format!("--name={name}"))
            .arg("--log-level=error")
            .arg(format!("--listen-client-urls=http://{address}"))
            .arg(format!("--advertise-client-urls=http://{address}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster={all}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {command:?}: {error}")))?;
        Ok(Self { address, child })
    }

    fn start_null() -> io::Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).arg(null::COMMAND).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut address)?;
        }
        Ok(Self { address: address.trim().to_owned(), child })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have died by itself; there is nothing more to do about it here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
