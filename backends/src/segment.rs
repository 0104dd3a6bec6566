//! Flat files: a write-ahead log and immutable record files in one directory.
//!
//! - `log`: group commit into files that were filled ahead and are recycled.
//! - `records`: units of records as files, written once and replaced as wholes.
//! - `manifest`: two slots that say what the store consists of.
//!
//! `docs/formats.md` has the formats byte by byte.
//!
//! # Invariants
//! - One process has a store open: `LOCK` is locked for as long as either half lives.
//! - The log is synced before records, records before the manifest that names them.
//! - Every stored byte that matters is covered by a tag that is bound to its place; see [`crate::seal`]. In a sealed
//!   store everything but headers of fixed size, with numbers only, is encrypted.
//! - A full disk is no fault: what needs room lets the reserve go, then fails and can be tried again.
//! - No memory mapping: a read error is an error, not a signal.
//!
//! # Crash behaviour
//! Opening reads the manifest and the files that it names, recovers the log, starts a new log file, and only then
//! removes what a crash left behind. A store whose creation did not end is created again.

mod directory;
mod inspect;
mod log;
mod manifest;
#[cfg(test)]
mod nonces;
mod records;

use crate::Backend;
use crate::format::corrupt;
use crate::io::{Io, RealIo};
use crate::place::{Founding, Identity, LOCK, StoreLock, create_directories, explain, sync_way_to};
use crate::room::RESERVE;
use crate::seal::{AtRest, Keyring, Keys, Sealing, is_keys_file};
use crate::units::UnitRecords;
use coffer_core::storage::{Log, Records, StorageError};
use directory::{Directory, Suffix, file_name, parse_name};
pub(crate) use inspect::inspect;
use log::{LogConfig, LogProgress, SegmentLog};
pub(crate) use manifest::SLOTS;
use manifest::{Manifest, Slots};
use records::RecordFiles;
use std::path::Path;
use std::sync::Arc;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of a log file. A group that is larger gets a file of its own.
    pub log_file_bytes: u64,
    /// Purged log files that are kept to be used again.
    pub log_spares_max: usize,
    /// The most that is set aside for a full disk: what it takes to get out of it again. 0 for nothing.
    pub reserve_bytes_max: u64,
    /// Whether log files are prepared and recycled by a thread of the store. Without it the caller of
    /// [`Log::write`] does that, in an order that repeats: for simulations.
    pub background: bool,
    /// Whether a directory that holds no store becomes one.
    pub create: bool,
    /// Who a store becomes that is created; drawn if nobody says.
    pub founding: Option<Founding>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log_file_bytes: 8 << 20,
            log_spares_max: 4,
            reserve_bytes_max: 32 << 20,
            background: true,
            create: true,
            founding: None,
        }
    }
}

/// A store that was opened. The halves share its lock and are closed by dropping them.
pub struct SegmentStore {
    /// What must be durable now.
    pub log: Box<dyn Log>,
    /// What may be durable later.
    pub records: Arc<dyn Records>,
    /// Who it is.
    pub identity: Identity,
    /// Its data keys, if it is sealed: to ask for them, and to replace them while the store is open. They may be
    /// held for longer than the store.
    pub keyring: Option<Arc<Keyring>>,
}

impl SegmentStore {
    /// Opens the store in a directory of the file system, creating both if need be.
    ///
    /// # Errors
    /// As [`open_on`](Self::open_on).
    pub fn open(path: &Path, at_rest: AtRest, options: Options) -> Result<Self, StorageError> {
        Self::open_on(path, at_rest, options, Arc::new(RealIo))
    }

    /// Opens the store in a directory that `io` reaches.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if another process (or another handle) has it open; [`StorageError::Format`] for a
    /// directory that is no store, cannot be used, or is of another format version, with what to do;
    /// [`StorageError::Key`] if the store is sealed and no key was given, or the other way round, or it is the key of
    /// another; then nothing was changed. [`StorageError::Corrupt`] for damage; or an I/O error.
    pub fn open_on(
        path: &Path,
        at_rest: AtRest,
        options: Options,
        io: Arc<dyn Io>,
    ) -> Result<Self, StorageError> {
        open(path, at_rest, options, io).map_err(|error| explain(path, error))
    }
}

fn open(
    path: &Path,
    at_rest: AtRest,
    options: Options,
    io: Arc<dyn Io>,
) -> Result<SegmentStore, StorageError> {
    if options.create {
        at_rest.check_missing(path, &*io)?;
    }
    create_directories(path, &*io, options.create)?;
    let directory = Arc::new(Directory::new(path, io.clone(), options.reserve_bytes_max));
    check_ours(&directory, &at_rest, options.create)?;
    let lock = Arc::new(StoreLock::take(path, directory.io())?);
    directory.room().adopt()?;
    let names = directory.list()?;
    let exists = names.iter().any(|name| SLOTS.contains(&name.as_str()));
    let keys = Keys::open(at_rest, directory.pressing_io(), path, &names, exists)?;
    if let Some(keyring) = keys.keyring() {
        lock.covers(keyring);
    }
    // Until here nothing has changed but the lock, and the slots and the first keyring of a new store.
    let loaded = Slots::load(&directory, &keys)?;
    let names = clean(&directory)?;
    let (slots, manifest, sealing) = match loaded {
        Some((slots, manifest)) => {
            let sealing = Sealing::new(manifest.store_id, keys, io, path);
            (slots, manifest, sealing)
        }
        None => found_store(&directory, &names, options.founding, keys, io)?,
    };
    directory.reserve_id(manifest.next_id.saturating_sub(1));

    let progress = Arc::new(LogProgress::default());
    let (store_id, boot_min) = (manifest.store_id, manifest.boot.saturating_add(1));
    let (cluster_id, member_id) = (manifest.cluster_id, manifest.member_id);
    let keyring = sealing.keyring().cloned();
    let config = LogConfig {
        sealing: sealing.clone(),
        file_bytes: options.log_file_bytes.next_multiple_of(4096).max(16 << 10),
        spares_max: options.log_spares_max,
        thread: options.background,
        newest_known: manifest.newest_log,
        acked_known: manifest.log_acked,
        boot_min,
        progress: progress.clone(),
    };
    // Records first: they are only read, so that a damaged one is reported before anything changes.
    let checkpoint = manifest.checkpoint.clone();
    let mut files = RecordFiles::new(directory.clone(), sealing, slots, manifest, progress);
    let units = files.open_units()?;
    let log = SegmentLog::open(directory, config, &names, lock.clone())?;
    let boot = log.boot();
    files.join(log.pool());
    files.begin(boot)?;
    files.remove_leftovers(&names);
    let records = UnitRecords::new(Arc::new(files), units, checkpoint, lock);
    records.settle_keys();
    let identity = Identity { store_id, cluster_id, member_id, boot };
    Ok(SegmentStore { log: Box::new(log), records: Arc::new(records), identity, keyring })
}

/// Refuses a directory that holds something else, before anything in it changes.
fn check_ours(directory: &Directory, at_rest: &AtRest, create: bool) -> Result<(), StorageError> {
    let names = directory.list()?;
    let has_manifest = names.iter().any(|name| SLOTS.contains(&name.as_str()));
    if has_manifest {
        return Ok(());
    }
    let path = directory.path().to_owned();
    if Backend::of_names(&names) == Some(Backend::Sqlite) {
        return Err(StorageError::Format { path, reason: Backend::Sqlite.holds() });
    }
    if !create {
        let reason = "holds no store: name the directory of one, or allow it to be created".into();
        return Err(StorageError::Format { path, reason });
    }
    // A file system's own directory does not make its root somebody's.
    let foreign = |name: &&String| {
        let plain = [LOCK, RESERVE, "lost+found"].contains(&name.as_str());
        parse_name(name).is_none() && !is_keys_file(name) && !plain
    };
    match names.iter().find(foreign) {
        None => at_rest.check_new(&path, &names),
        Some(name) => {
            let reason = format!(
                "is not empty and holds no store (found {name:?}): name an empty directory, or a new one"
            );
            Err(StorageError::Format { path, reason })
        }
    }
}

/// Removes what was begun and not finished; returns the other files that have ids.
fn clean(directory: &Directory) -> Result<Vec<(u64, Suffix)>, StorageError> {
    let mut names: Vec<_> = directory.list()?.iter().filter_map(|name| parse_name(name)).collect();
    names.sort_unstable_by_key(|name| name.0);
    names.iter().for_each(|(id, _)| directory.reserve_id(*id));
    for (id, _) in names.extract_if(.., |name| name.1 == Suffix::New) {
        directory.remove(&file_name(id, Suffix::New))?;
    }
    Ok(names)
}

/// Creates a store in an empty directory.
fn found_store(
    directory: &Directory,
    names: &[(u64, Suffix)],
    founding: Option<Founding>,
    keys: Keys,
    io: Arc<dyn Io>,
) -> Result<(Slots, Manifest, Sealing), StorageError> {
    if let Some((id, suffix)) = names.first() {
        let found = format!("none, but {}", file_name(*id, *suffix));
        return Err(corrupt(&directory.file_path(SLOTS[0]), 0, "a manifest", found));
    }
    sync_way_to(directory.path(), directory.io())?;
    // A manifest that is sealed with keys that may stand in a page cache only could outlive them.
    if let Some(keyring) = keys.keyring() {
        keyring.begin()?;
    }
    let founding = match founding {
        Some(founding) => founding,
        None => Founding::draw(directory.path(), directory.io())?,
    };
    let manifest = Manifest {
        generation: 1,
        store_id: match keys.store_id() {
            Some(store_id) => store_id,
            None => directory.random()?,
        },
        cluster_id: founding.cluster_id,
        member_id: founding.member_id,
        boot: founding.boot,
        next_id: 1,
        newest_log: 0,
        log_acked: 0,
        checkpoint: None,
        segments: Vec::new(),
    };
    let sealing = Sealing::new(manifest.store_id, keys, io, directory.path());
    Ok((Slots::create(directory, &sealing, &manifest)?, manifest, sealing))
}
