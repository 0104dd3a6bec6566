//! How a store that a daemon has open is verified, and its keys are looked at and changed: a socket in its directory.
//!
//! The daemon listens on `admin.sock` in the data directory. Who may use it is decided by the file
//! system: the socket has mode 0600 in a directory that only its owner may enter, and callers must be the daemon's own user
//! or root. Whoever passes that could read the key file and the daemon's memory as well.
//!
//! A connection carries one request and one answer, each a line of JSON ([`Request`], [`Answer`]). A new key is named, and
//! the daemon reads it or runs its program; only a passphrase that was typed travels itself.

use crate::failure::{Exit, Failure};
use coffer::{Finding, KeyState, KeysStatus, Seal, SlotId, StoreKeys};
use coffer_core::node::{Node, ScrubState, ScrubStatus};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// The name of the socket.
const SOCKET: &str = "admin.sock";
/// A request is a few hundred bytes; a passphrase may have 64 KiB, half as much again in base64.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// How long it is waited after a connection could not be accepted: what is missing then, descriptors say, is not back at
/// once.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long a caller may take to say what he wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    Add {
        key: NewKey,
        label: String,
    },
    Remove {
        slot: u32,
    },
    RotateKek {
        slot: Option<u32>,
        key: NewKey,
    },
    RotateData {
        rewrite: bool,
    },
    /// Begins a scrub, or joins the one that is under way.
    Scrub {
        rate_bytes: Option<u64>,
    },
    ScrubStatus,
    ScrubCancel,
}

/// A new key, as it is named to a daemon.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NewKey {
    KeyFile(PathBuf),
    PassphraseFile(PathBuf),
    /// The passphrase itself, in base64.
    Passphrase(Zeroizing<String>),
    Command(String),
    KmsSocket(String),
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey")
    }
}

/// What comes of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Status(Status),
    /// The slot that was added or rewrapped.
    Slot(u32),
    /// The new data key.
    DataKey(u32),
    Scrub(Box<Scrub>),
    Done,
    Failed {
        message: String,
        exit: u8,
    },
}

/// How far a scrub is, or what it found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scrub {
    pub(crate) number: u64,
    pub(crate) state: State,
    pub(crate) records: u64,
    pub(crate) checked_bytes: u64,
    pub(crate) expected_bytes: u64,
    pub(crate) damage: u64,
    pub(crate) weakened: u64,
    pub(crate) torn: u64,
    pub(crate) findings: Vec<Found>,
}

/// What became of a scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Never,
    Running,
    Done,
    Canceled,
    Failed,
}

/// What was found, as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    pub(crate) what: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        let kind = match finding {
            Finding::Damage(_) => "damage",
            Finding::Weakened(_) => "weakened",
            Finding::Torn { .. } => "torn",
        };
        Self {
            kind: kind.into(),
            path: finding.path().map(Path::to_owned),
            offset: finding.offset(),
            what: finding.what(),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.kind)?;
        if let Some(path) = &self.path {
            write!(f, "{}", path.display())?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl From<ScrubStatus> for Scrub {
    fn from(status: ScrubStatus) -> Self {
        let findings = &status.findings;
        Self {
            number: status.number,
            state: match status.state {
                ScrubState::Never => State::Never,
                ScrubState::Running => State::Running,
                ScrubState::Done => State::Done,
                ScrubState::Canceled => State::Canceled,
                ScrubState::Failed => State::Failed,
            },
            records: status.records,
            checked_bytes: findings.checked_bytes(),
            expected_bytes: findings.expected_bytes(),
            damage: findings.damage(),
            weakened: findings.weakened(),
            torn: findings.torn(),
            findings: findings.listed().iter().map(Found::from).collect(),
        }
    }
}

/// The keys of a store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) slots: Vec<Slot>,
    /// Nothing is known of them without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Data>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) id: u32,
    pub(crate) kind: String,
    pub(crate) label: String,
    pub(crate) created_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) store_id: String,
    pub(crate) keys: Vec<DataKey>,
    pub(crate) rewriting: bool,
    pub(crate) outdated_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DataKey {
    pub(crate) id: u32,
    pub(crate) active: bool,
    pub(crate) created_s: u64,
    pub(crate) sealed_bytes: u64,
}

impl Status {
    /// Of slots that were read without a key.
    pub(crate) fn of_slots(slots: &[coffer::SlotInfo]) -> Self {
        let slot = |slot: &coffer::SlotInfo| Slot {
            id: slot.id.0,
            kind: slot.kind.to_string(),
            label: slot.label.clone(),
            created_s: seconds(slot.created),
            key_id: slot.parameters.key_id().map(str::to_owned),
        };
        Self { slots: slots.iter().map(slot).collect(), data: None }
    }
}

impl From<KeysStatus> for Status {
    fn from(status: KeysStatus) -> Self {
        let key = |key: &coffer::KeyStatus| DataKey {
            id: key.id,
            active: key.state == KeyState::Active,
            created_s: seconds(key.created),
            sealed_bytes: key.sealed_bytes,
        };
        let data = Data {
            store_id: status.data.store_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            keys: status.data.keys.iter().map(key).collect(),
            rewriting: status.data.rewriting,
            outdated_bytes: status.data.outdated_bytes,
        };
        Self { data: Some(data), ..Self::of_slots(&status.slots) }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl NewKey {
    /// For a daemon, which may work in another directory.
    pub(crate) fn of(seal: &Seal) -> Result<Self, Failure> {
        use base64::Engine;
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| Failure::file("find", path.display(), &error))
        };
        Ok(match seal {
            Seal::KeyFile(path) => Self::KeyFile(absolute(path)?),
            Seal::PassphraseFile(path) => Self::PassphraseFile(absolute(path)?),
            Seal::Passphrase(text) => Self::Passphrase(Zeroizing::new(
                base64::engine::general_purpose::STANDARD.encode(text.expose()),
            )),
            Seal::Command(line) => Self::Command(line.clone()),
            Seal::KmsSocket(path) => Self::KmsSocket(path.clone()),
            _ => {
                return Err(Failure::usage(
                    "a new key is needed: --new-key-file FILE, or another of its kind",
                ));
            }
        })
    }

    fn seal(&self) -> Result<Seal, Failure> {
        use base64::Engine;
        Ok(match self {
            Self::KeyFile(path) => Seal::KeyFile(path.clone()),
            Self::PassphraseFile(path) => Seal::PassphraseFile(path.clone()),
            Self::Passphrase(text) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
                Seal::Passphrase(bytes.map_err(|_| Failure::usage("the passphrase is no base64"))?.into())
            }
            Self::Command(line) => Seal::Command(line.clone()),
            Self::KmsSocket(path) => Seal::KmsSocket(path.clone()),
        })
    }
}

/// What a daemon is asked about.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) node: Node,
    /// The keys, if the store is sealed.
    pub(crate) keys: Option<Arc<StoreKeys>>,
}

impl Served {
    fn answer(&self, request: &Request) -> Result<Answer, Failure> {
        let status = match request {
            Request::Scrub { rate_bytes } => self.node.scrub(*rate_bytes)?,
            Request::ScrubStatus => self.node.scrub_status(),
            Request::ScrubCancel => self.node.cancel_scrub(),
            request => match &self.keys {
                Some(keys) => return carry_out(keys, request),
                None => return Err(Failure::new(Exit::Failed, "the store is not sealed: it has no keys")),
            },
        };
        Ok(Answer::Scrub(Box::new(status.into())))
    }
}

/// Does what is asked for with keys.
pub(crate) fn carry_out(keys: &StoreKeys, request: &Request) -> Result<Answer, Failure> {
    Ok(match request {
        Request::Status => Answer::Status(keys.status().into()),
        Request::Add { key, label } => Answer::Slot(keys.add(&key.seal()?, label)?.0),
        Request::Remove { slot } => {
            keys.remove(SlotId(*slot))?;
            Answer::Done
        }
        Request::RotateKek { slot, key } => Answer::Slot(keys.rotate_kek(slot.map(SlotId), &key.seal()?)?.0),
        Request::RotateData { rewrite } => Answer::DataKey(keys.rotate_data(*rewrite)?),
        Request::Scrub { .. } | Request::ScrubStatus | Request::ScrubCancel => {
            return Err(Failure::usage("this is no request about keys"));
        }
    })
}

/// Listens for requests until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    directory: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens in the directory of a store that this process has open.
    pub(crate) fn start(directory: &Path, served: Served) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        // Of an earlier process: the lock of the store is ours.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_directory, short) = short_path(directory)?;
        let listener = UnixListener::bind(short)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let ends = Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            let next = || listener.accept().map(|(stream, _)| stream);
            accept(next, &seen, |stream| serve(&served, stream));
        })?;
        Ok(Self { directory: directory.to_owned(), ends, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // Wakes the thread, which sees that this is the end.
        let woken = connect(&self.directory).is_ok_and(|stream| stream.is_some());
        let thread = self.thread.take().inspect(|thread| thread.thread().unpark());
        if let Some(thread) = thread
            && woken
        {
            // Whatever it died of, it is gone.
            let _ = thread.join();
        }
        let _ = fs::remove_file(self.directory.join(SOCKET));
    }
}

/// Gives each connection that `next` waits for to `serve`, until it is told to end and woken.
fn accept(
    mut next: impl FnMut() -> io::Result<UnixStream>,
    ends: &AtomicBool,
    serve: impl Fn(UnixStream) -> io::Result<()>,
) {
    while !ends.load(Ordering::Acquire) {
        match next() {
            Ok(_) if ends.load(Ordering::Acquire) => break,
            Ok(stream) => {
                if let Err(error) = serve(stream) {
                    tracing::warn!(%error, "a request of an administrator was not answered");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a request of an administrator; trying again");
                // Who ends it wakes the thread.
                thread::park_timeout(RETRY_AFTER);
            }
        }
    }
}

/// Answers one request.
fn serve(served: &Served, stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let caller = rustix::net::sockopt::socket_peercred(&stream)?.uid;
    if !caller.is_root() && caller != rustix::process::geteuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the caller is another user"));
    }
    // As large as it can become, so that nothing is moved and left behind.
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX as usize));
    BufReader::new((&stream).take(LINE_BYTES_MAX)).read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let answer = served.answer(&request);
            tell(&request, &answer);
            answer
        }
        Err(_) => Err(Failure::usage("this is no request that is known")),
    };
    let answer = answer.unwrap_or_else(|failure| Answer::Failed {
        message: failure.to_string(),
        exit: failure.exit() as u8,
    });
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    (&stream).write_all(text.as_bytes())
}

/// Notes a change in the log.
fn tell(request: &Request, answer: &Result<Answer, Failure>) {
    let what = match request {
        Request::Status | Request::ScrubStatus => return,
        Request::Scrub { .. } => return tracing::info!("a scrub was asked for"),
        Request::ScrubCancel => return tracing::info!("the scrub is to end"),
        Request::Add { .. } => "a key that opens the store was added",
        Request::Remove { .. } => "a key that opened the store was removed",
        Request::RotateKek { .. } => "a key that opens the store was replaced",
        Request::RotateData { .. } => "a new data key was made",
    };
    match answer {
        Ok(Answer::Slot(slot)) => tracing::info!(slot, "{what}"),
        Ok(Answer::DataKey(id)) => tracing::info!(id, "{what}"),
        Ok(_) => tracing::info!("{what}"),
        Err(error) => tracing::warn!(%error, "keys were not changed"),
    }
}

/// Asks the daemon that has the store in `directory` open; `None` if there is none.
pub(crate) fn ask(directory: &Path, request: &Request) -> Result<Option<Answer>, Failure> {
    let failed = |error: io::Error| {
        let path = directory.join(SOCKET);
        Failure::new(Exit::Failed, format_args!("cannot ask the daemon at {}: {error}", path.display()))
    };
    let Some(stream) = connect(directory).map_err(failed)? else { return Ok(None) };
    let mut text = Zeroizing::new(serde_json::to_string(request).map_err(|error| failed(error.into()))?);
    text.push('\n');
    (&stream).write_all(text.as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(failed)?;
    match serde_json::from_str(&line).map_err(|error| failed(error.into()))? {
        Answer::Failed { message, exit } => Err(Failure::new(Exit::of(exit), message)),
        answer => Ok(Some(answer)),
    }
}

/// `None` if nobody listens.
fn connect(directory: &Path) -> io::Result<Option<UnixStream>> {
    let (_directory, short) = match short_path(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match UnixStream::connect(short) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A path to the socket that is short enough for an address, however deep the directory is; good while the descriptor is
/// open.
fn short_path(directory: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let opened =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(SOCKET);
    Ok((opened, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_can_not_be_accepted_is_waited_for() {
        let (ends, begun, mut calls) = (AtomicBool::new(false), Instant::now(), 0);
        let failing = || {
            calls += 1;
            ends.store(calls == 4, Ordering::Release);
            Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()))
        };
        accept(failing, &ends, |_| unreachable!("nothing was accepted"));
        assert_eq!(calls, 4);
        assert!(begun.elapsed() >= RETRY_AFTER * 2, "it spins: {:?}", begun.elapsed());
    }
}
