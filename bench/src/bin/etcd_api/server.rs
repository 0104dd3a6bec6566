//! A server under measurement, stopped by its own process id.

use super::null;
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs until dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    address: String,
    child: Child,
}

impl Server {
    /// Starts `program`, or the null server, and waits until it accepts connections.
    ///
    /// # Errors
    /// The program cannot be started or does not become ready.
    pub(crate) fn start(program: &Path, data_dir: &Path) -> io::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "null" {
            return Self::start_null(name);
        }
        let (client, peer) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        if name == "coffer" {
            command.arg("etcd");
        }
        let child = command
            .args(["--name=default", "--log-level=error"])
            .arg(format!("--data-dir={}", data_dir.display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster=default=http://{peer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start {}: {error}", program.display()))
            })?;
        let server = Self { name, address: client, child };
        server.until_ready()?;
        Ok(server)
    }

    fn start_null(name: String) -> io::Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).arg(null::COMMAND).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut address)?;
        }
        Ok(Self { name, address: address.trim().to_owned(), child })
    }

    fn until_ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(error) = TcpStream::connect(&self.address) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{} does not become ready: {error}", self.name)));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The program's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have died by itself; there is nothing more to do about it here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that the kernel chose. Somebody else may take it before the server does, which then fails to start.
fn free_address() -> io::Result<String> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.to_string())
}
