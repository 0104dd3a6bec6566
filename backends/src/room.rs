//! The reserve: room on the medium that is taken while there is some, and given up when there is none.
//!
//! A file `reserve` of random bytes lies beside the others. Whoever meets a full medium on the way out of it (a group
//! that needs the next log file, a flush, a manifest, the rewriting of what is mostly dead) lets the reserve go and
//! tries again. From then on, and also once a log file could not be prepared in advance, there is no room: core
//! proposes nothing that grows the store until [`Room::recover`] has the reserve back.
//!
//! # Size
//! What is needed to get out of a full medium is a flush, and the rewriting of a record file of which most is dead: so
//! about a quarter of what the records take, between 1 MiB and what the options of the store say (32 MiB: half of a record
//! file is seldom larger). It is rounded down by up to a fifth and follows the records with some reluctance, so that it
//! seldom changes: records of 31 MiB have a reserve of 7, which becomes 8 when they are 32, and 7 again below 28.5.
//!
//! # What the reserve carries
//! Core takes no more that grows the store than [`Room::flush_bytes`] says: what waits for a flush then fits into the
//! reserve and what was free at the last look. So a flush that meets a full disk succeeds, and
//! deletions and a compaction after it, unless somebody else took what was free since that look (about a second at
//! most) and more than the reserve was waiting.
//!
//! # Invariants
//! - The content of the reserve means nothing. It is random, because a file system that compresses would not set aside
//!   anything for zeros.
//! - The reserve is synced before it counts, so that the medium really has it.
//! - There is room exactly while the reserve is whole and no log file that is wanted is missing.

use crate::io::{File, Io, LockAttempt, OpenMode, write_full};
use coffer_core::storage::StorageError;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// Its name in the directory of a store.
pub(crate) const RESERVE: &str = "reserve";
const FILL_BYTES: usize = 256 << 10;

/// What is known of the room of an open store. Shared by both halves.
pub(crate) struct Room {
    reserve: PathBuf,
    io: Arc<dyn Io>,
    bytes_min: u64,
    bytes_max: u64,
    full: AtomicBool,
    /// Whether the reserve was ever given up.
    let_go: AtomicBool,
    /// Bytes of the reserve that are synced; 0 if there is none.
    held: Mutex<u64>,
    /// Bytes that the log may take besides what it is given.
    log_bytes: AtomicU64,
}

/// The smallest reserve: the next log file of a full disk, and a small flush.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
/// The most that must be free beside the reserve before a full store takes more again.
const MARGIN_BYTES_MAX: u64 = 8 << 20;

impl Room {
    /// Without a reserve yet; at most `bytes_max` are set aside at `reserve`, none if that is 0.
    pub(crate) fn new(reserve: PathBuf, io: Arc<dyn Io>, bytes_max: u64) -> Self {
        Self {
            reserve,
            io,
            bytes_min: RESERVE_BYTES_MIN.min(bytes_max),
            bytes_max,
            full: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            held: Mutex::new(0),
            log_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Something that must be set aside could not be.
    pub(crate) fn is_short(&self) {
        if !self.full.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "the disk is full: nothing that grows the store is taken until there is room again"
            );
        }
    }

    /// Takes over what an earlier life set aside.
    pub(crate) fn adopt(&self) -> Result<(), StorageError> {
        let length = self.io.open(&self.reserve, OpenMode::Read).and_then(|file| file.len());
        match length {
            Ok(length) => *self.held.lock() = length,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StorageError::io("open", &self.reserve, error)),
        }
        Ok(())
    }

    /// Gives up the reserve. Returns whether there was any, so that it is worth trying again.
    pub(crate) fn let_go(&self) -> bool {
        self.is_short();
        let mut held = self.held.lock();
        if *held == 0 {
            return false;
        }
        // One that can not be removed is no help, and is met again when it is to be made.
        match self.io.remove(&self.reserve) {
            Ok(()) => {
                self.let_go.store(true, Ordering::Release);
                tracing::warn!(bytes = *held, "the reserve is used");
            }
            Err(error) => tracing::warn!(%error, "the reserve can not be used"),
        }
        *held = 0;
        true
    }

    /// Bytes that are set aside.
    pub(crate) fn held_bytes(&self) -> u64 {
        *self.held.lock()
    }

    /// Whether the reserve was given up since the store began to be opened.
    pub(crate) fn was_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// Makes a call that `presses` once more without the reserve, if there was no room with it.
    pub(crate) fn pressing<T>(
        &self,
        presses: bool,
        call: impl Fn() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match call() {
            Err(error) if presses && error.is_no_room() => match self.let_go() {
                true => call(),
                false => Err(error),
            },
            result => result,
        }
    }

    /// Sets aside what is missing for a store whose records take `records_bytes`; `spare_bytes` more are wanted by
    /// the log, and `make_spare` takes them. Returns whether everything is there.
    pub(crate) fn recover(
        &self,
        records_bytes: u64,
        spare_bytes: u64,
        make_spare: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<bool, StorageError> {
        let wanted = self.wanted(records_bytes);
        let missing = wanted.saturating_sub(*self.held.lock()) + spare_bytes;
        // Once full, something more must be free: a store at the very edge would be full and not full in turns.
        let margin = match self.is_full() {
            true => wanted.min(MARGIN_BYTES_MAX) + self.log_bytes.load(Ordering::Acquire),
            false => 0,
        };
        let needed = missing + margin;
        let has_room = needed == 0 && wanted == *self.held.lock()
            || self.free_bytes().is_none_or(|free| free >= needed)
                && taken(make_spare())?
                && taken(self.resize(wanted))?;
        if !has_room {
            self.is_short();
        } else if self.full.swap(false, Ordering::AcqRel) {
            tracing::info!("there is room on the disk again");
        }
        Ok(has_room)
    }

    /// How much is to be set aside. Less than there is only if that is much too large.
    fn wanted(&self, records_bytes: u64) -> u64 {
        let share = |bytes: u64| {
            let quarter = bytes / 4;
            let step = 1 << quarter.max(4).ilog2().saturating_sub(2);
            (quarter / step * step).clamp(self.bytes_min, self.bytes_max)
        };
        let held = *self.held.lock();
        match share(records_bytes) {
            less if less < held => share(records_bytes + records_bytes / 8).min(held),
            wanted => wanted,
        }
    }

    /// What the log may take before the next flush besides as much as the records take.
    pub(crate) fn set_log_bytes(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Release);
    }

    /// Bytes of records that a flush surely finds room for, if each is written `copies` times on the way. With its
    /// directory a record takes up to twice of what it takes in memory, and the log may need as much again before.
    pub(crate) fn flush_bytes(&self, copies: u64) -> u64 {
        let free = self.free_bytes().unwrap_or(u64::MAX);
        let room = self.held_bytes().saturating_add(free);
        room.saturating_sub(self.log_bytes.load(Ordering::Acquire)) / (2 * copies + 1)
    }

    fn free_bytes(&self) -> Option<u64> {
        let directory = self.reserve.parent().unwrap_or(Path::new("."));
        // Where that can not be told it is found out by trying.
        self.io.free_bytes(directory).ok().flatten()
    }

    /// Extends or cuts the reserve to `wanted` bytes, or leaves it as it was. Never lets it go.
    fn resize(&self, wanted: u64) -> Result<(), StorageError> {
        let mut held = self.held.lock();
        if *held == wanted {
            return Ok(());
        }
        let failed = |operation| {
            let path = &self.reserve;
            move |error| StorageError::io_or_no_room(operation, path, error)
        };
        if *held == 0 {
            // What could not be removed, or was not finished, before.
            match self.io.remove(&self.reserve) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
                _ => {}
            }
        }
        let mode = if *held == 0 { OpenMode::Create } else { OpenMode::Write };
        let file = self.io.open(&self.reserve, mode).map_err(failed("create"))?;
        if wanted < *held {
            file.set_len(wanted).map_err(failed("cut"))?;
            *held = wanted;
            return Ok(());
        }
        let mut random = vec![0; FILL_BYTES.min((wanted - *held) as usize)];
        self.io.random(&mut random).map_err(failed("draw random bytes for"))?;
        let mut at = *held;
        while at < wanted {
            let count = (random.len() as u64).min(wanted - at);
            if let Err(error) = write_full(&*file, &random[..count as usize], at) {
                // Back to what it was: the last of a full medium is not for the reserve. If that fails more is set
                // aside than is known.
                let undone = if *held == 0 { self.io.remove(&self.reserve) } else { file.set_len(*held) };
                undone.unwrap_or_else(|error| tracing::warn!(%error, "the reserve stays too large"));
                return Err(failed("write")(error));
            }
            at += count;
        }
        file.sync_data().map_err(|error| StorageError::io("fdatasync", &self.reserve, error))?;
        *held = wanted;
        Ok(())
    }
}

/// Whether room was found; a lack of it is no error here.
fn taken(result: Result<(), StorageError>) -> Result<bool, StorageError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_no_room() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file system for those who know nothing of the reserve, and whose every write is worth it: the keys.
pub(crate) struct PressingIo {
    room: Arc<Room>,
}

impl PressingIo {
    /// What finds no room lets the reserve of `room` go and is tried again.
    pub(crate) fn new(room: Arc<Room>) -> Self {
        Self { room }
    }
}

struct PressingFile {
    file: Arc<dyn File>,
    room: Arc<Room>,
}

/// Makes a call once more without the reserve, if there was no room with it.
fn pressing<T>(room: &Room, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match call() {
        Err(error) if lacks_room(&error) && room.let_go() => call(),
        result => result,
    }
}

fn lacks_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Io for PressingIo {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        pressing(&self.room, || self.room.io.create_dir(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.room.io.list(directory)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = pressing(&self.room, || self.room.io.open(path, mode))?;
        Ok(Arc::new(PressingFile { file, room: self.room.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        pressing(&self.room, || self.room.io.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.room.io.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.room.io.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        self.room.io.lock(path)
    }

    fn lock_unchanged(&self, path: &Path) -> io::Result<LockAttempt> {
        self.room.io.lock_unchanged(path)
    }

    fn now(&self) -> SystemTime {
        self.room.io.now()
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<Option<u64>> {
        self.room.io.free_bytes(directory)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.room.io.random(bytes)
    }
}

impl File for PressingFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        pressing(&self.room, || self.file.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::RealIo;

    #[test]
    fn the_reserve_follows_the_records_with_some_reluctance() {
        const KIB: u64 = 1 << 10;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(RESERVE);
        let room = Room::new(path.clone(), Arc::new(RealIo), 8 << 20);
        for (records_kib, reserve_kib) in [
            (0, 1024),
            (5 << 10, 1280),
            (6143, 1280),
            (6144, 1536),
            (5500, 1536),
            (5400, 1280),
            (64 << 10, 8 << 10),
            (29 << 10, 8 << 10),
            (28 << 10, 7 << 10),
            (1 << 10, 1 << 10),
        ] {
            let recovered = room.recover(records_kib * KIB, 0, || Ok(()));
            assert!(recovered.expect("there is room"));
            assert_eq!(room.held_bytes(), reserve_kib * KIB, "for {records_kib} KiB of records");
            assert_eq!(path.metadata().expect("a file").len(), reserve_kib * KIB);
        }
        assert!(room.let_go() && !path.exists() && room.is_full());
        assert!(room.recover(0, 0, || Ok(())).expect("there is room") && !room.is_full());
        assert_eq!(room.held_bytes(), 1024 * KIB);
    }
}
