//! A daemon of the program under measurement, stopped by its own process id.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs until dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    endpoint: String,
}

impl Daemon {
    /// Starts `program serve` on a port of the kernel's choice and waits for its ready line. Its store is in the clear, as
    /// that of what it is compared with, unless the environment names a key.
    ///
    /// # Errors
    /// The program cannot be started or does not become ready.
    pub(crate) fn start(program: &Path, data_dir: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        if std::env::var_os("COFFER_SEAL_KEY_FILE").is_none() {
            // No flag: older programs are measured as well.
            command.env("COFFER_UNSEALED", "true");
        }
        let mut child = command
            .args(["serve", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
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

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have died by itself; there is nothing more to do about it here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
