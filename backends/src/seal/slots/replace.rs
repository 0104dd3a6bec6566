//! Reads and replaces the one small file.
//!
//! A crash leaves the old file or the new one under the name, whole, and perhaps a meaningless one beside it.

use super::SLOTS_FILE_NEW;
use crate::format::corrupt;
use crate::io::{Io, OpenMode, read_full, write_full};
use coffer_core::storage::StorageError;
use std::io::ErrorKind;
use std::path::Path;

/// More than all slots together can have: a slot of a plugin with as many annotations as are allowed has 40 KiB.
const FILE_BYTES_MAX: u64 = 2 << 20;

pub(super) fn read(io: &dyn Io, path: &Path) -> Result<Vec<u8>, StorageError> {
    let failed = |operation| move |error| StorageError::io(operation, path, error);
    let file = io.open(path, OpenMode::Read).map_err(failed("open"))?;
    let length = file.len().map_err(failed("stat"))?;
    if length > FILE_BYTES_MAX {
        return Err(corrupt(path, 0, format!("at most {FILE_BYTES_MAX} bytes"), length.to_string()));
    }
    let mut bytes = vec![0; length as usize];
    let found = read_full(&*file, &mut bytes, 0).map_err(failed("read"))?;
    bytes.truncate(found);
    Ok(bytes)
}

/// Puts `bytes` in the place of what the file holds. On an error the old content stays, unless only the directory could
/// not be synced: then it is the old or the new one.
pub(super) fn replace(io: &dyn Io, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let new = directory.join(SLOTS_FILE_NEW);
    let failed = |operation| move |error| StorageError::io(operation, path, error);
    match io.remove(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    let file = io.open(&new, OpenMode::Create).map_err(failed("replace"))?;
    write_full(&*file, bytes, 0).map_err(failed("write"))?;
    file.sync_data().map_err(failed("fdatasync"))?;
    io.rename(&new, path).map_err(failed("rename"))?;
    sync_directory(io, directory)
}

pub(super) fn sync_directory(io: &dyn Io, directory: &Path) -> Result<(), StorageError> {
    io.sync_dir(directory).map_err(|error| StorageError::io("sync directory", directory, error))
}
