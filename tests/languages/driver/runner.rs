//! A runner: a process that carries out commands in some language.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine, and than any runner waits by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// A language and what runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Language {
    /// Its name.
    pub(crate) name: String,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
}

impl std::str::FromStr for Language {
    type Err = String;

    /// `name=program argument argument`
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("expected name=command")?;
        Ok(Self { name: name.into(), command: command.split(' ').map(str::to_owned).collect() })
    }
}

/// A process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Runner {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
    log: PathBuf,
}

impl Runner {
    /// Starts one, with its standard error in `log`.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(language: &Language, log: &Path) -> Result<Self, String> {
        let (program, arguments) = language.command.split_first().ok_or("an empty command")?;
        let started = || -> io::Result<Child> {
            let log = File::options().create(true).append(true).open(log)?;
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()
        };
        let mut child = started().map_err(|error| format!("{program}: {error}"))?;
        let commands = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (sender, answers) = channel();
        // Ends with the process.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, commands, answers, log: log.into() })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn send(&mut self, command: &str) -> Result<(), String> {
        let commands = self.commands.as_mut().ok_or("it was told to end")?;
        writeln!(commands, "{command}").map_err(|error| format!("{error}; {}", self.last_words()))
    }

    /// The next line that it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn answer(&self) -> Result<String, String> {
        self.answers.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer after {PATIENCE:?}; {}", self.last_words()),
            RecvTimeoutError::Disconnected => format!("it ended instead; {}", self.last_words()),
        })
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it end: it must do so without having said more, and succeed.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn end(mut self) -> Result<(), String> {
        drop(self.commands.take());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => return self.judge(status),
                None => thread::park_timeout(Duration::from_millis(2)),
            }
        }
        Err(format!("did not end within {PATIENCE:?}; {}", self.last_words()))
    }

    fn judge(&self, status: ExitStatus) -> Result<(), String> {
        if let Ok(line) = self.answers.recv() {
            return Err(format!("said what nobody asked for: {line}"));
        }
        if !status.success() {
            return Err(format!("ended with {status}; {}", self.last_words()));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(4000)..];
        format!("its standard error ends:\n{}", String::from_utf8_lossy(tail))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.kill();
    }
}
