//! A look at the write-ahead log of a database before SQLite sees it.
//!
//! SQLite takes the first frame that does not verify for the end of its WAL, whatever follows. That is right for a torn
//! write, and wrong for rot: transactions that were acknowledged would silently be gone. And it takes what it reads for
//! durable, which is wrong after a failed sync: the page cache may show what the medium does not hold.
//!
//! So each opening reads the WAL that a crash left, refuses it if it holds a transaction behind a frame that does not
//! verify (a transaction is written only after the one before it was synced), and otherwise puts a synced copy of what
//! counts into its place.
//!
//! What cannot be told: rot in the last transaction looks like a torn one.
//!
//! The format is SQLite's own, see <https://sqlite.org/fileformat2.html#the_write_ahead_log>: a header of 32 bytes,
//! frames of 24 bytes and a page. Integers are big-endian; checksums are chained, and begin with the header's.

use crate::format::corrupt;
use crate::io::{File, Io, OpenMode, read_full, write_full};
use coffer_core::storage::StorageError;
use std::io;
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;
const COPY_BYTES: usize = 1 << 20;

/// The WAL of a database.
pub(super) fn wal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Judges the WAL of the database at `path` and makes what counts in it durable. Nobody has the database open.
pub(super) fn recover(io: &dyn Io, path: &Path, new: &Path) -> Result<(), StorageError> {
    let wal = wal_path(path);
    let file = match io.open(&wal, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StorageError::io("open", wal, error)),
    };
    let failed = |operation| {
        let wal = wal.clone();
        move |error| StorageError::io(operation, wal, error)
    };
    let bytes = file.len().map_err(failed("stat"))?;
    if bytes == 0 {
        return Ok(());
    }
    let counts = match Frames::read(&*file, bytes).map_err(failed("read"))? {
        Ok(counts) => counts,
        Err((offset, expected, found)) => return Err(corrupt(&wal, offset, expected, found)),
    };
    replace(io, &*file, counts, &wal, new)
}

/// Puts a synced file with the first `bytes` of the WAL into its place.
fn replace(io: &dyn Io, file: &dyn File, bytes: u64, wal: &Path, new: &Path) -> Result<(), StorageError> {
    let copy = io.open(new, OpenMode::Create).map_err(|error| StorageError::io("create", new, error))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let count = COPY_BYTES.min((bytes - offset) as usize);
        let found = read_full(file, &mut buffer[..count], offset)
            .map_err(|error| StorageError::io("read", wal, error))?;
        if found < count {
            return Err(corrupt(wal, offset, format!("{count} bytes"), format!("the end after {found}")));
        }
        write_full(&*copy, &buffer[..count], offset)
            .map_err(|error| StorageError::io("write", new, error))?;
        offset += count as u64;
    }
    copy.sync_data().map_err(|error| StorageError::io("fdatasync", new, error))?;
    io.rename(new, wal).map_err(|error| StorageError::io("rename", new, error))?;
    let directory = wal.parent().unwrap_or(Path::new("."));
    io.sync_dir(directory).map_err(|error| StorageError::io("sync directory", directory, error))
}

type Damage = (u64, &'static str, &'static str);

/// The frames of a WAL, read from front to back.
struct Frames<'a> {
    file: &'a dyn File,
    bytes: u64,
    big_endian: bool,
    salts: [u8; 8],
    frame: Vec<u8>,
    offset: u64,
}

impl<'a> Frames<'a> {
    /// Returns how many bytes of the WAL count.
    fn read(file: &'a dyn File, bytes: u64) -> io::Result<Result<u64, Damage>> {
        let mut header = [0; HEADER_BYTES];
        let found = read_full(file, &mut header, 0)?;
        let Some(page_bytes) = valid_header(&header[..found]) else {
            return Ok(without_header(&mut header, bytes));
        };
        let mut frames = Frames {
            file,
            bytes,
            big_endian: header[3] & 1 == 1,
            salts: header[16..24].try_into().unwrap_or_default(),
            frame: vec![0; FRAME_HEADER_BYTES + page_bytes],
            offset: HEADER_BYTES as u64,
        };
        let mut sums = [number(&header[24..]), number(&header[28..])];
        let mut counts = 0;
        while frames.load()? {
            let after = frames.sums(sums);
            let stored = [number(&frames.frame[16..]), number(&frames.frame[20..])];
            if !frames.is_ours() || number(&frames.frame) == 0 || after != stored {
                return Ok(frames.behind_the_end(counts));
            }
            sums = after;
            frames.offset += frames.frame.len() as u64;
            if frames.commits() {
                counts = frames.offset;
            }
        }
        Ok(Ok(counts))
    }

    /// Reads the frame at the offset; `false` if the file ends before.
    fn load(&mut self) -> io::Result<bool> {
        if self.offset + self.frame.len() as u64 > self.bytes {
            return Ok(false);
        }
        let found = read_full(self.file, &mut self.frame, self.offset)?;
        Ok(found == self.frame.len())
    }

    /// Whether the frame belongs to this life of the WAL.
    fn is_ours(&self) -> bool {
        self.frame[8..16] == self.salts
    }

    /// Whether the frame ends a transaction.
    fn commits(&self) -> bool {
        number(&self.frame[4..]) != 0
    }

    fn sums(&self, sums: [u32; 2]) -> [u32; 2] {
        let sums = checksum(&self.frame[..8], self.big_endian, sums);
        checksum(&self.frame[FRAME_HEADER_BYTES..], self.big_endian, sums)
    }

    /// The frame at the offset does not verify: tells a torn transaction from rot in one that others follow.
    fn behind_the_end(mut self, counts: u64) -> Result<u64, Damage> {
        let (first, mut ended) = (self.offset, false);
        loop {
            let (ours, commits) = (self.is_ours() || self.offset == first, self.commits());
            if ended && ours {
                return Err((first, "a frame of an acknowledged transaction", "one that does not verify"));
            }
            ended |= ours && commits;
            self.offset += self.frame.len() as u64;
            match self.load() {
                Ok(true) => {}
                Ok(false) => return Ok(counts),
                Err(_) => return Err((self.offset, "a readable frame", "an error")),
            }
        }
    }
}

/// The page size of a header that verifies.
fn valid_header(header: &[u8]) -> Option<usize> {
    if header.len() < HEADER_BYTES || number(header) & !1 != MAGIC {
        return None;
    }
    let sums = checksum(&header[..24], header[3] & 1 == 1, [0; 2]);
    let page_bytes = number(&header[8..]) as usize;
    let right = sums == [number(&header[24..]), number(&header[28..])];
    (right && page_bytes.is_power_of_two() && (512..=65536).contains(&page_bytes)).then_some(page_bytes)
}

/// A header that does not verify is synced before any frame follows it. So either nothing follows, or the WAL was
/// about to be used again from its start, after all of it was copied into the database; or it rotted.
fn without_header(header: &mut [u8; HEADER_BYTES], bytes: u64) -> Result<u64, Damage> {
    let before = number(&header[12..]).wrapping_sub(1);
    header[12..16].copy_from_slice(&before.to_be_bytes());
    let half_written = valid_header(header).is_some();
    if bytes <= HEADER_BYTES as u64 || half_written {
        return Ok(0);
    }
    Err((0, "the header of a write-ahead log", "one that does not verify"))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
}

fn checksum(bytes: &[u8], big_endian: bool, [mut a, mut b]: [u32; 2]) -> [u32; 2] {
    let word = |four: &[u8]| {
        let four = four.first_chunk().copied().unwrap_or_default();
        if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for eight in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(eight)).wrapping_add(b);
        b = b.wrapping_add(word(&eight[4..])).wrapping_add(a);
    }
    [a, b]
}
