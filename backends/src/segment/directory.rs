//! The directory of a store: names of files, ids, and operations with errors that name the file.
//!
//! | name | content |
//! |---|---|
//! | `LOCK` | locked while the store is open; holds the owner's process id |
//! | `manifest.a`, `manifest.b` | the two slots of the manifest |
//! | `keyring.a`, `keyring.b`, `keyring.<id>.new` | the data keys; see [`crate::seal`] |
//! | `<id>.log` | log files |
//! | `<id>.spare` | log files in waiting: filled before, their content means nothing |
//! | `<id>.records` | record files |
//! | `reserve` | random bytes that are given up when the disk is full; see [`crate::room`] |
//! | `*.new` | begun and not finished; removed at opening |
//!
//! Ids are 16 hexadecimal digits, count up over all kinds, and are never used twice.

use crate::format::corrupt;
use crate::io::{File, Io, OpenMode, read_full, write_full};
use crate::room::{PressingIo, RESERVE, Room};
use coffer_core::planted::{Bug, planted};
use coffer_core::storage::StorageError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of file a name with an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    Log,
    Spare,
    Records,
    New,
}

impl Suffix {
    fn text(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Spare => "spare",
            Self::Records => "records",
            Self::New => "new",
        }
    }
}

pub(super) fn file_name(id: u64, suffix: Suffix) -> String {
    format!("{id:016x}.{}", suffix.text())
}

/// The id and the kind that a name stands for, if it is one of ours.
pub(super) fn parse_name(name: &str) -> Option<(u64, Suffix)> {
    let (id, suffix) = name.split_once('.')?;
    let suffix = [Suffix::Log, Suffix::Spare, Suffix::Records, Suffix::New]
        .into_iter()
        .find(|known| known.text() == suffix)?;
    let canonical = id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    Some((u64::from_str_radix(id, 16).ok().filter(|_| canonical)?, suffix))
}

/// The open directory of a store. What must not fail for lack of room lets the reserve go and is tried again, here
/// and in the files that it opens.
pub(super) struct Directory {
    path: PathBuf,
    io: Arc<dyn Io>,
    next_id: AtomicU64,
    room: Arc<Room>,
}

impl Directory {
    /// At most `reserve_bytes_max` are set aside in it.
    pub(super) fn new(path: &Path, io: Arc<dyn Io>, reserve_bytes_max: u64) -> Self {
        let room = Arc::new(Room::new(path.join(RESERVE), io.clone(), reserve_bytes_max));
        Self { path: path.to_owned(), io, next_id: AtomicU64::new(1), room }
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// The file system for what must not fail for lack of room.
    pub(super) fn pressing_io(&self) -> Arc<dyn Io> {
        Arc::new(PressingIo::new(self.room.clone()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn io(&self) -> &dyn Io {
        &*self.io
    }

    /// An id that no file has had.
    pub(super) fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Learns of an id in use.
    pub(super) fn reserve_id(&self, id: u64) {
        self.next_id.fetch_max(id.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    pub(super) fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn list(&self) -> Result<Vec<String>, StorageError> {
        self.io.list(&self.path).map_err(|error| StorageError::io("list", &self.path, error))
    }

    pub(super) fn open(&self, name: &str, mode: OpenMode) -> Result<StoreFile, StorageError> {
        self.room.pressing(true, || self.try_open(name, mode))
    }

    /// Opens a file for something that can wait: nothing of it is worth the reserve.
    pub(super) fn open_sparing(&self, name: &str, mode: OpenMode) -> Result<StoreFile, StorageError> {
        self.try_open(name, mode).map(StoreFile::sparing)
    }

    fn try_open(&self, name: &str, mode: OpenMode) -> Result<StoreFile, StorageError> {
        let path = self.path.join(name);
        let operation = if mode == OpenMode::Create { "create" } else { "open" };
        match self.io.open(&path, mode) {
            Ok(file) => Ok(StoreFile { path, file, room: self.room.clone(), presses: true }),
            Err(error) => Err(StorageError::io_or_no_room(operation, path, error)),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let path = self.path.join(from);
        self.room.pressing(true, || {
            let renamed = self.io.rename(&path, &self.path.join(to));
            renamed.map_err(|error| StorageError::io_or_no_room("rename", &path, error))
        })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path.join(name);
        self.io.remove(&path).map_err(|error| StorageError::io("remove", path, error))
    }

    /// Removes what nobody needs. A failure costs space only; the next opening tries again.
    pub(super) fn discard(&self, name: &str) {
        if let Err(error) = self.remove(name) {
            tracing::warn!(%error, "a file that is no longer needed stays");
        }
    }

    pub(super) fn sync(&self) -> Result<(), StorageError> {
        if planted(Bug::DirectoryNotSynced) {
            return Ok(());
        }
        self.io.sync_dir(&self.path).map_err(|error| StorageError::io("sync directory", &self.path, error))
    }

    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], StorageError> {
        crate::place::random(&self.path, &*self.io)
    }
}

/// An open file that knows its path.
#[derive(Clone)]
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) room: Arc<Room>,
    /// Whether writing it is worth the reserve.
    pub(super) presses: bool,
}

impl StoreFile {
    /// The same file, written only while there is room without the reserve.
    pub(super) fn sparing(self) -> Self {
        Self { presses: false, ..self }
    }

    /// The same file, whose writes are worth the reserve.
    pub(super) fn pressing(self) -> Self {
        Self { presses: true, ..self }
    }

    /// Reads what is there, at most `bytes.len()`; returns how much.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        read_full(&*self.file, bytes, offset).map_err(|error| StorageError::io("read", &self.path, error))
    }

    /// Reads exactly `bytes.len()` bytes; a file that ends before is damaged.
    pub(super) fn read_exact(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let found = self.read(bytes, offset)?;
        if found == bytes.len() {
            return Ok(());
        }
        Err(self.corrupt(offset, format!("{} bytes", bytes.len()), format!("the end after {found}")))
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.room.pressing(self.presses, || {
            let written = write_full(&*self.file, bytes, offset);
            written.map_err(|error| StorageError::io_or_no_room("write", &self.path, error))
        })
    }

    pub(super) fn set_len(&self, bytes: u64) -> Result<(), StorageError> {
        self.file.set_len(bytes).map_err(|error| StorageError::io("cut", &self.path, error))
    }

    pub(super) fn sync(&self) -> Result<(), StorageError> {
        if planted(Bug::NoSync) {
            return Ok(());
        }
        let synced = self.file.sync_data().map_err(|error| StorageError::io("fdatasync", &self.path, error));
        if planted(Bug::SyncErrorIgnored) { Ok(()) } else { synced }
    }

    pub(super) fn len(&self) -> Result<u64, StorageError> {
        self.file.len().map_err(|error| StorageError::io("stat", &self.path, error))
    }

    pub(super) fn corrupt(
        &self,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> StorageError {
        corrupt(&self.path, offset, expected, found)
    }
}

/// Whether an error says that a file does not exist.
pub(super) fn is_missing(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for suffix in [Suffix::Log, Suffix::Spare, Suffix::Records, Suffix::New] {
            assert_eq!(parse_name(&file_name(0xab, suffix)), Some((0xab, suffix)));
        }
        for foreign in ["LOCK", "ab.log", "00000000000000AB.log", "00000000000000ab.txt", "manifest.a", ""] {
            assert_eq!(parse_name(foreign), None, "{foreign}");
        }
    }
}
