//! Looking at a closed store of flat files without changing it.

use super::directory::{Directory, parse_name};
use super::log::{LogProgress, inspect_log};
use super::manifest::{Manifest, Slots};
use super::records::{RecordFiles, open_file};
use crate::inspect::Halves;
use crate::io::Io;
use crate::place::StoreLock;
use crate::seal::{AtRest, Keys, Sealing, verify_keys};
use crate::units::UnitRecords;
use coffer_core::storage::{Checking, Finding, Halt, Inspector, LogState, Records, StorageError, ended};
use std::path::Path;
use std::sync::Arc;

/// Looks at the store in `path`, whose lock is held.
pub(crate) fn inspect(
    path: &Path,
    at_rest: AtRest,
    io: Arc<dyn Io>,
    lock: Arc<StoreLock>,
    inspector: &mut dyn Inspector,
) -> Result<Halves, StorageError> {
    let directory = Arc::new(Directory::new(path, io.clone(), 0));
    let keys = Keys::open(at_rest, io.clone(), path, &directory.list()?, true)?;
    if let Some(keyring) = keys.keyring() {
        lock.covers(keyring);
    }
    let mut halves = Halves { log: None, records: None, intact: 0, sealed: keys.keyring().is_some() };
    let (slots, manifest) = match Slots::load(&directory, &keys) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => {
            let reason = "holds no store: name the directory of one".into();
            return Err(StorageError::Format { path: path.to_owned(), reason });
        }
        Err(StorageError::Corrupt { .. }) => {
            // Nothing says which files count.
            let faults = Slots::verify(&directory, &|file| keys.sealer_of(file))?;
            faults.into_iter().for_each(|fault| inspector.found(Finding::Damage(fault)));
            if let Some(keyring) = keys.keyring() {
                ended(verify_keys(keyring, &mut Checking::new(inspector)))?;
            }
            return Ok(halves);
        }
        Err(error) => return Err(error),
    };
    let sealing = Sealing::new(manifest.store_id, keys, io, path);
    let mut checking = Checking::new(inspector);
    let log = log_of(&directory, &sealing, &manifest, &mut checking);
    let is_ended = matches!(log, Err(Halt::Ended));
    halves.log = match log {
        Ok(log) => log,
        Err(Halt::Ended) => None,
        Err(Halt::Failed(error)) => return Err(error),
    };
    if is_ended {
        return Ok(halves);
    }
    let (mut units, mut is_whole) = (Vec::new(), true);
    for entry in &manifest.segments {
        match checking.take(open_file(&directory, &sealing, *entry)) {
            Ok(Some(unit)) => units.push(Arc::new(unit)),
            Ok(None) => is_whole = false,
            Err(Halt::Ended) => return Ok(halves),
            Err(Halt::Failed(error)) => return Err(error),
        }
    }
    let checkpoint = manifest.checkpoint.clone();
    let files = RecordFiles::new(directory, sealing, slots, manifest, Arc::new(LogProgress::default()));
    let records: Arc<dyn Records> = Arc::new(UnitRecords::new(Arc::new(files), units, checkpoint, lock));
    halves.intact = records.verify(inspector)?;
    halves.records = is_whole.then_some(records);
    Ok(halves)
}

fn log_of(
    directory: &Directory,
    sealing: &Sealing,
    manifest: &Manifest,
    checking: &mut Checking<'_>,
) -> Result<Option<LogState>, Halt> {
    let names: Vec<_> = directory.list()?.iter().filter_map(|name| parse_name(name)).collect();
    inspect_log(directory, sealing, &names, (manifest.newest_log, manifest.log_acked), checking)
}
