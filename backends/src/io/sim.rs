//! A disk in memory that forgets what was never synced.
//!
//! Each file has what a reader sees (the page cache) and what the medium holds. Writes dirty 512-byte sectors;
//! a sync copies them to the medium. Directory operations wait in order for a sync of their directory.
//! [`SimDisk::crash`] keeps an arbitrary, seed-chosen subset of what waits: torn, reordered, lost. How much of it is
//! drawn for each file, from nothing over nearly nothing, half and nearly everything to everything, because bugs hide
//! at the ends. A sector that was written several times may stay as any of the last two of them left it.
//!
//! A failed sync behaves as Linux does: some sectors reached the medium, the others are no longer dirty although
//! readers still see them, so that a later sync will not write them ("fsyncgate").
//!
//! Mutating operations are numbered from 1, over all files. A [`Fault`] is armed for one of them.

use super::{File, Io, LockAttempt, LockGuard, OpenMode};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECTOR_BYTES: usize = 512;

/// What goes wrong at one mutating operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power is cut during the operation: it and everything after it fails until [`SimDisk::crash`].
    Crash,
    /// The operation fails with EIO; a write happens in part.
    Eio,
    /// The disk is full: the operation and every later one that needs room fails with ENOSPC, or EDQUOT after
    /// [`SimDisk::set_quota`], until [`SimDisk::disarm`].
    NoSpace,
    /// The first write from this operation on takes only a part of its bytes, and the call after it fails with EIO.
    ShortWrite,
}

/// How often what was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCounters {
    /// All mutating operations.
    pub operations: u64,
    /// `write_at` calls.
    pub writes: u64,
    /// `sync_data` calls.
    pub syncs: u64,
    /// `sync_dir` calls.
    pub directory_syncs: u64,
    /// `read_at` calls.
    pub reads: u64,
}

/// A disk in memory; clones are handles to the same one.
#[derive(Clone)]
pub struct SimDisk {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    directories: BTreeSet<PathBuf>,
    durable_directories: BTreeSet<PathBuf>,
    pending: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    /// Handles of an earlier life are dead.
    life: u64,
    crashed: bool,
    fault: Option<(u64, Fault)>,
    full: bool,
    fired: bool,
    read_fault: Option<u64>,
    capacity_bytes: Option<u64>,
    quota: bool,
    counters: SimCounters,
    by_extension: BTreeMap<String, SimCounters>,
    sync_time: Duration,
    random: Random,
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that wait for a sync, with what they held before the last write if that waited already.
    dirty: BTreeMap<usize, Option<Vec<u8>>>,
    length_dirty: bool,
}

/// What a mutating operation is, as far as faults care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A write, create or mkdir that takes space.
    NeedsRoom,
    /// A write into space that the file has.
    Overwrite,
    /// A sync, cut, rename or unlink.
    NeedsNoRoom,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    Directory(PathBuf),
}

impl NameChange {
    fn directory(&self) -> &Path {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, _) | Self::Directory(path)) = self;
        path.parent().unwrap_or(Path::new("/"))
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>, directories: &mut BTreeSet<PathBuf>) {
        match self {
            Self::Link(path, inode) => _ = names.insert(path.clone(), *inode),
            Self::Unlink(path) => _ = names.remove(path),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Directory(path) => _ = directories.insert(path.clone()),
        }
    }
}

/// SplitMix64: the same seed gives the same disk.
#[derive(Clone, Default)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True `sixteenths` times of 16.
    fn chance(&mut self, sixteenths: u64) -> bool {
        self.next() % 16 < sixteenths
    }

    /// How much of what waits a crash keeps, in sixteenths.
    fn share(&mut self) -> u64 {
        [0, 1, 8, 8, 15, 16][(self.next() % 6) as usize]
    }
}

impl SimDisk {
    /// An empty disk; `seed` decides the random bytes that it hands out.
    pub fn new(seed: u64) -> Self {
        let disk = Disk { random: Random(seed), ..Disk::default() };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Arms a fault for the mutating operation number `operation`, counted as [`SimCounters::operations`] counts.
    pub fn arm(&self, operation: u64, fault: Fault) {
        let mut disk = self.disk.lock();
        disk.fault = Some((operation, fault));
        disk.read_fault = None;
        disk.fired = false;
    }

    /// Whether the fault that was armed last has struck.
    pub fn fired(&self) -> bool {
        self.disk.lock().fired
    }

    /// Disarms every fault.
    pub fn disarm(&self) {
        let mut disk = self.disk.lock();
        disk.fault = None;
        disk.read_fault = None;
        disk.full = false;
    }

    /// Lets the read number `read` fail with EIO, counted as [`SimCounters::reads`] counts.
    pub fn arm_read(&self, read: u64) {
        let mut disk = self.disk.lock();
        disk.read_fault = Some(read);
        disk.fault = None;
        disk.fired = false;
    }

    /// Bounds the sum of all file lengths; beyond it writes that extend a file fail with ENOSPC.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity_bytes = bytes;
    }

    /// Whether it is a quota of the user that is exhausted, wherever there is no room: EDQUOT instead of ENOSPC.
    pub fn set_quota(&self, quota: bool) {
        self.disk.lock().quota = quota;
    }

    /// Lets every sync take so long, so that threads meet each other in the middle of what they do, as on a disk.
    pub fn set_sync_time(&self, sync_time: Duration) {
        self.disk.lock().sync_time = sync_time;
    }

    /// How often what was called.
    pub fn counters(&self) -> SimCounters {
        self.disk.lock().counters
    }

    /// How often what was called on files whose name ends with `.extension`.
    pub fn counters_of(&self, extension: &str) -> SimCounters {
        self.disk.lock().by_extension.get(extension).copied().unwrap_or_default()
    }

    /// Whether an armed [`Fault::Crash`] was reached.
    pub fn is_crashed(&self) -> bool {
        self.disk.lock().crashed
    }

    /// Cuts the power and starts again: of what was not synced a subset chosen by `seed` stays. Open handles and
    /// locks are dead.
    pub fn crash(&self, seed: u64) {
        self.disk.lock().crash(&mut Random(seed));
    }

    /// Another disk that holds and waits for the same. Handles stay with the disk that they were opened on.
    pub fn fork(&self) -> Self {
        Self { disk: Arc::new(Mutex::new(self.disk.lock().clone())) }
    }

    /// A copy of the disk as a reader sees it now, with random bytes of its own: a machine that was copied while it was
    /// off.
    pub fn copy(&self, seed: u64) -> Self {
        let disk = self.disk.lock();
        let inode = |(id, inode): (&u64, &Inode)| {
            let (seen, durable) = (inode.seen.clone(), inode.seen.clone());
            (*id, Inode { seen, durable, ..Inode::default() })
        };
        let copy = Disk {
            inodes: disk.inodes.iter().map(inode).collect(),
            next_inode: disk.next_inode,
            names: disk.names.clone(),
            durable_names: disk.names.clone(),
            directories: disk.directories.clone(),
            durable_directories: disk.directories.clone(),
            random: Random(seed),
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(copy)) }
    }

    /// Sum of the lengths of all files.
    pub fn bytes(&self) -> u64 {
        self.disk.lock().bytes()
    }

    /// Every file, by path.
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk.lock().names.keys().cloned().collect()
    }

    /// What a reader of the file sees.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk.lock();
        Some(disk.inodes.get(disk.names.get(path)?)?.seen.clone())
    }

    /// Changes bytes of a file behind everybody's back, durably: rot, or a hostile hand.
    ///
    /// # Panics
    /// There is no such file, or it is shorter.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk.lock();
        let inode = *disk.names.get(path).expect("tampering needs an existing file");
        let inode = disk.inodes.get_mut(&inode).expect("every name has its inode");
        change(&mut inode.seen);
        inode.durable.clone_from(&inode.seen);
        inode.dirty.clear();
        inode.length_dirty = false;
    }

    /// Flips one bit.
    ///
    /// # Panics
    /// As [`tamper`](Self::tamper).
    pub fn flip(&self, path: &Path, offset: usize, bit: u8) {
        self.tamper(path, |bytes| bytes[offset] ^= 1 << (bit % 8));
    }

    /// Places a file, durably.
    pub fn place(&self, path: &Path, content: &[u8]) {
        let mut disk = self.disk.lock();
        let inode = disk.new_inode();
        let held = disk.inodes.get_mut(&inode).expect("just made");
        held.seen = content.to_vec();
        held.durable = content.to_vec();
        disk.names.insert(path.to_owned(), inode);
        disk.durable_names.insert(path.to_owned(), inode);
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl Disk {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    fn bytes(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].seen.len() as u64).sum()
    }

    fn no_space(&self) -> io::Error {
        let errno = if self.quota { rustix::io::Errno::DQUOT } else { rustix::io::Errno::NOSPC };
        errno.into()
    }

    /// Counts a mutating operation and says what is to go wrong with it.
    fn gate(&mut self, kind: Kind, writes: bool) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(eio());
        }
        self.counters.operations += 1;
        if self.full && kind == Kind::NeedsRoom {
            return Err(self.no_space());
        }
        let Some((at, fault)) = self.fault else { return Ok(None) };
        let waits =
            fault == Fault::ShortWrite && !writes || fault == Fault::NoSpace && kind != Kind::NeedsRoom;
        if self.counters.operations < at || waits {
            return Ok(None);
        }
        self.fired = true;
        self.fault = match fault {
            Fault::ShortWrite => Some((at, Fault::Eio)),
            _ => None,
        };
        self.crashed = fault == Fault::Crash;
        self.full = fault == Fault::NoSpace;
        Ok(Some(fault))
    }

    /// Counters of the files with the extension that this one has now.
    fn extension_counters(&mut self, inode: u64) -> &mut SimCounters {
        let path = self.names.iter().find(|(_, named)| **named == inode).map(|(path, _)| path);
        let extension =
            path.and_then(|path| path.extension()).map(|name| name.to_string_lossy().into_owned());
        self.by_extension.entry(extension.unwrap_or_default()).or_default()
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let kind = match change {
            NameChange::Link(..) | NameChange::Directory(_) => Kind::NeedsRoom,
            NameChange::Unlink(_) | NameChange::Rename(..) => Kind::NeedsNoRoom,
        };
        let fault = self.gate(kind, false)?;
        match fault {
            Some(Fault::Eio) => return Err(eio()),
            Some(Fault::NoSpace) => return Err(self.no_space()),
            _ => {}
        }
        change.apply(&mut self.names, &mut self.directories);
        self.pending.push(change);
        if fault == Some(Fault::Crash) { Err(eio()) } else { Ok(()) }
    }

    fn sync_dir(&mut self, directory: &Path) -> io::Result<()> {
        self.counters.directory_syncs += 1;
        if self.gate(Kind::NeedsNoRoom, false)?.is_some() {
            return Err(eio());
        }
        for change in std::mem::take(&mut self.pending) {
            if change.directory() == directory {
                change.apply(&mut self.durable_names, &mut self.durable_directories);
            } else {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.counters.writes += 1;
        self.extension_counters(inode).writes += 1;
        let offset = offset as usize;
        let grows = (offset + bytes.len()).saturating_sub(self.inodes[&inode].seen.len());
        let fault = self.gate(if grows > 0 { Kind::NeedsRoom } else { Kind::Overwrite }, true)?;
        let over = self.capacity_bytes.is_some_and(|capacity| self.bytes() + grows as u64 > capacity);
        if fault == Some(Fault::NoSpace) || grows > 0 && over {
            return Err(self.no_space());
        }
        let taken = match fault {
            Some(Fault::Eio) => bytes.len() / 2,
            Some(Fault::ShortWrite) => bytes.len().div_ceil(2),
            _ => bytes.len(),
        };
        let held = self.inodes.get_mut(&inode).expect("a handle keeps its inode");
        if held.seen.len() < offset + taken {
            held.seen.resize(offset + taken, 0);
            held.length_dirty = true;
        }
        if taken > 0 {
            (offset / SECTOR_BYTES..=(offset + taken - 1) / SECTOR_BYTES)
                .for_each(|sector| held.mark(sector));
        }
        held.seen[offset..offset + taken].copy_from_slice(&bytes[..taken]);
        match fault {
            Some(Fault::Crash | Fault::Eio) => Err(eio()),
            _ => Ok(taken),
        }
    }

    fn set_len(&mut self, inode: u64, bytes: u64) -> io::Result<()> {
        let fault = self.gate(Kind::NeedsNoRoom, false)?;
        if fault == Some(Fault::Eio) {
            return Err(eio());
        }
        let held = self.inodes.get_mut(&inode).expect("a handle keeps its inode");
        held.seen.resize(bytes as usize, 0);
        held.dirty.retain(|sector, _| sector * SECTOR_BYTES < bytes as usize);
        held.length_dirty = true;
        if fault == Some(Fault::Crash) { Err(eio()) } else { Ok(()) }
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.counters.syncs += 1;
        self.extension_counters(inode).syncs += 1;
        let fault = self.gate(Kind::NeedsNoRoom, false)?;
        if fault == Some(Fault::Crash) {
            return Err(eio());
        }
        let mut random = self.random.clone();
        let held = self.inodes.get_mut(&inode).expect("a handle keeps its inode");
        if fault.is_some() {
            held.keep_some(&mut random);
            self.random = random;
            return Err(eio());
        }
        held.keep_all();
        Ok(())
    }

    fn crash(&mut self, random: &mut Random) {
        let share = random.share();
        for change in std::mem::take(&mut self.pending) {
            if random.chance(share) {
                change.apply(&mut self.durable_names, &mut self.durable_directories);
            }
        }
        let directories = self.durable_directories.clone();
        self.durable_names.retain(|path, _| path.parent().is_none_or(|parent| directories.contains(parent)));
        self.directories = directories;
        self.names = self.durable_names.clone();
        for inode in self.inodes.values_mut() {
            inode.keep_some(random);
            inode.seen.clone_from(&inode.durable);
        }
        let names = &self.names;
        self.inodes.retain(|inode, _| names.values().any(|named| named == inode));
        self.locks.clear();
        self.life += 1;
        self.crashed = false;
        self.fault = None;
        self.full = false;
        self.read_fault = None;
    }
}

impl Inode {
    /// Notes that a sector is about to be written.
    fn mark(&mut self, sector: usize) {
        let waits = self.dirty.contains_key(&sector);
        let before = waits.then(|| self.seen[span(sector, self.seen.len())].to_vec());
        self.dirty.insert(sector, before);
    }

    fn keep_sector(&mut self, sector: usize) {
        let span = span(sector, self.seen.len());
        if self.durable.len() < span.end {
            self.durable.resize(span.end, 0);
        }
        self.durable[span.clone()].copy_from_slice(&self.seen[span]);
    }

    fn keep_all(&mut self) {
        self.durable.resize(self.seen.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            self.keep_sector(sector);
        }
        self.length_dirty = false;
    }

    fn keep_some(&mut self, random: &mut Random) {
        let share = random.share();
        if std::mem::take(&mut self.length_dirty) && random.chance(share) {
            self.durable.resize(self.seen.len(), 0);
        }
        for (sector, before) in std::mem::take(&mut self.dirty) {
            if !random.chance(share) {
                continue;
            }
            self.keep_sector(sector);
            if let Some(before) = before.filter(|_| random.chance(4)) {
                let span = span(sector, self.seen.len().min(sector * SECTOR_BYTES + before.len()));
                self.durable[span.clone()].copy_from_slice(&before[..span.len()]);
            }
        }
    }
}

/// The bytes of a sector in a file of `length` bytes.
fn span(sector: usize, length: usize) -> std::ops::Range<usize> {
    let start = (sector * SECTOR_BYTES).min(length);
    start..(start + SECTOR_BYTES).min(length)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

impl Io for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.directories.contains(path) || disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.change_name(NameChange::Directory(path.to_owned()))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        if disk.crashed {
            return Err(eio());
        }
        if disk.names.contains_key(directory) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !disk.directories.contains(directory) && directory.parent().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |path: &&PathBuf| path.parent() == Some(directory);
        let names = disk.names.keys().chain(&disk.directories).filter(inside);
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        if disk.crashed {
            return Err(eio());
        }
        let inode = match (disk.names.get(path).copied(), mode) {
            (Some(_), OpenMode::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create) => {
                let inode = disk.new_inode();
                disk.change_name(NameChange::Link(path.to_owned(), inode))?;
                inode
            }
        };
        Ok(Arc::new(SimFile {
            disk: self.disk.clone(),
            inode,
            life: disk.life,
            writes: mode != OpenMode::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_name(NameChange::Unlink(path.to_owned()))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        wait_for_sync(&self.disk);
        self.disk.lock().sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<LockAttempt> {
        let mut disk = self.disk.lock();
        if disk.locks.contains(path) {
            return Ok(LockAttempt::Busy { owner: Some(std::process::id()) });
        }
        if !disk.names.contains_key(path) {
            let inode = disk.new_inode();
            disk.change_name(NameChange::Link(path.to_owned(), inode))?;
            if let Some(held) = disk.inodes.get_mut(&inode) {
                held.seen = format!("{}\n", std::process::id()).into_bytes();
                held.length_dirty = true;
                held.mark(0);
            }
        }
        disk.locks.insert(path.to_owned());
        let guard = SimLock { disk: self.disk.clone(), path: path.to_owned(), life: disk.life };
        Ok(LockAttempt::Held(Box::new(guard)))
    }

    fn lock_unchanged(&self, path: &Path) -> io::Result<LockAttempt> {
        let mut disk = self.disk.lock();
        if !disk.locks.insert(path.to_owned()) {
            return Ok(LockAttempt::Busy { owner: Some(std::process::id()) });
        }
        let guard = SimLock { disk: self.disk.clone(), path: path.to_owned(), life: disk.life };
        Ok(LockAttempt::Held(Box::new(guard)))
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<Option<u64>> {
        let disk = self.disk.lock();
        Ok(disk.capacity_bytes.map(|capacity| capacity.saturating_sub(disk.bytes())))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        for chunk in bytes.chunks_mut(8) {
            let word = disk.random.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    inode: u64,
    life: u64,
    writes: bool,
}

impl SimFile {
    fn with<T>(&self, call: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        if disk.crashed || disk.life != self.life {
            return Err(eio());
        }
        call(&mut disk)
    }

    fn mutate<T>(&self, call: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        if !self.writes {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(call)
    }
}

impl File for SimFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|disk| {
            disk.counters.reads += 1;
            if disk.read_fault.is_some_and(|at| at <= disk.counters.reads) {
                disk.read_fault = None;
                disk.fired = true;
                return Err(eio());
            }
            let seen = &disk.inodes[&self.inode].seen;
            let start = (offset as usize).min(seen.len());
            let end = (start + bytes.len()).min(seen.len());
            bytes[..end - start].copy_from_slice(&seen[start..end]);
            Ok(end - start)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.mutate(|disk| disk.write(self.inode, bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        wait_for_sync(&self.disk);
        self.mutate(|disk| disk.sync(self.inode))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.mutate(|disk| disk.set_len(self.inode, bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|disk| Ok(disk.inodes[&self.inode].seen.len() as u64))
    }
}

fn wait_for_sync(disk: &Mutex<Disk>) {
    let sync_time = disk.lock().sync_time;
    if !sync_time.is_zero() {
        std::thread::sleep(sync_time);
    }
}

struct SimLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    life: u64,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if disk.life == self.life {
            disk.locks.remove(&self.path);
        }
    }
}
