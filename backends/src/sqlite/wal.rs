//! A look at the write-ahead log of a database before SQLite sees it.
//!
//! SQLite takes the first frame that does not verify for the end of its WAL, whatever follows. That is right for a torn
//! write, and wrong for rot: transactions that were acknowledged would silently be gone. And it takes what it reads for
//! durable, which is wrong after a failed sync: the page cache may show what the medium does not hold.
//!
//! So each opening reads the WAL that a crash left, refuses it if a transaction that does not verify is followed by
//! frames of another one (which was begun only after the first was synced), and otherwise puts a synced copy of what
//! counts into its place. An empty WAL is replaced as well: SQLite does not sync a WAL that it cut.
//!
//! Where a transaction ends is said by its last frame. If that frame is the one that does not verify, its word is taken
//! only if it verifies but for one flipped bit: what a torn write leaves there may be of an earlier life of the file.
//!
//! What cannot be told: rot in the last transaction looks like a torn one, and so does more than one flipped bit in the
//! last frame of the transaction before.
//!
//! The format is SQLite's own, see <https://sqlite.org/fileformat2.html#the_write_ahead_log>: a header of 32 bytes,
//! frames of 24 bytes and a page. Integers are big-endian; checksums are chained, and begin with the header's.

use crate::format::corrupt;
use crate::io::{File, Io, OpenMode, read_full, write_full};
use coffer_core::storage::StorageError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;
/// The second word of a frame: pages of the database after a transaction that it ends, or 0.
const COMMIT_WORD: usize = 1;
/// Where the salts stand in a frame.
const SALTS: usize = 8;
const COPY_BYTES: usize = 1 << 20;

/// The WAL of a database.
pub(super) fn wal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Judges the WAL of the database at `path` and makes what counts in it durable. Nobody has the database open.
pub(super) fn recover(io: &dyn Io, path: &Path, new: &Path) -> Result<(), StorageError> {
    match read(io, path)? {
        None => Ok(()),
        Some((file, counts)) => {
            let replaced = replace(io, &*file, counts, &wal_path(path), new);
            if replaced.as_ref().is_err_and(StorageError::is_no_room) {
                // What there is of the copy takes room that others need. If this fails the next opening does it.
                let _ = io.remove(new);
            }
            replaced
        }
    }
}

/// Judges the WAL of the database at `path` and changes nothing; returns how many bytes it has.
pub(super) fn judge(io: &dyn Io, path: &Path) -> Result<u64, StorageError> {
    match read(io, path)? {
        None => Ok(0),
        Some((file, _)) => file.len().map_err(|error| StorageError::io("stat", wal_path(path), error)),
    }
}

/// A WAL, and how many bytes of it count.
type Judged = (Arc<dyn File>, u64);

/// Reads the WAL; `None` if there is none.
fn read(io: &dyn Io, path: &Path) -> Result<Option<Judged>, StorageError> {
    let wal = wal_path(path);
    let file = match io.open(&wal, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("open", wal, error)),
    };
    let failed = |operation| {
        let wal = wal.clone();
        move |error| StorageError::io(operation, wal, error)
    };
    let bytes = file.len().map_err(failed("stat"))?;
    match Frames::read(&*file, bytes).map_err(failed("read"))? {
        Ok(counts) => Ok(Some((file, counts))),
        Err((offset, expected, found)) => Err(corrupt(&wal, offset, expected, found)),
    }
}

/// Puts a synced file with the first `bytes` of the WAL into its place.
fn replace(io: &dyn Io, file: &dyn File, bytes: u64, wal: &Path, new: &Path) -> Result<(), StorageError> {
    let copy =
        io.open(new, OpenMode::Create).map_err(|error| StorageError::io_or_no_room("create", new, error))?;
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
            .map_err(|error| StorageError::io_or_no_room("write", new, error))?;
        offset += count as u64;
    }
    copy.sync_data().map_err(|error| StorageError::io("fdatasync", new, error))?;
    io.rename(new, wal).map_err(|error| StorageError::io_or_no_room("rename", new, error))?;
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
            let mut salts = [0; 8];
            read_full(file, &mut salts, (HEADER_BYTES + SALTS) as u64)?;
            return Ok(without_header(header, salts, bytes));
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
            if !frames.is_ours() || number(&frames.frame) == 0 || after != frames.stored_sums() {
                return frames.behind_the_end(sums, counts);
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
        self.frame[SALTS..SALTS + 8] == self.salts
    }

    /// Whether the frame ends a transaction.
    fn commits(&self) -> bool {
        number(&self.frame[4..]) != 0
    }

    fn sums(&self, sums: [u32; 2]) -> [u32; 2] {
        let sums = checksum(&self.frame[..8], self.big_endian, sums);
        checksum(&self.frame[FRAME_HEADER_BYTES..], self.big_endian, sums)
    }

    fn stored_sums(&self) -> [u32; 2] {
        [number(&self.frame[16..]), number(&self.frame[20..])]
    }

    /// The frame at the offset does not verify after `sums`: tells a torn transaction from rot in one that others
    /// follow.
    fn behind_the_end(mut self, sums: [u32; 2], counts: u64) -> io::Result<Result<u64, Damage>> {
        let first = self.offset;
        let (found, stored) = (self.sums(sums), self.stored_sums());
        let mut ended = self.ends_but_for_one_bit(found, stored);
        // If a bit of the sums themselves is wrong, the next frame goes on from the right ones.
        let mut before = [stored, if bits_apart(found, stored) == 1 { found } else { stored }];
        loop {
            self.offset += self.frame.len() as u64;
            if !self.load()? {
                return Ok(Ok(counts));
            }
            let stored = self.stored_sums();
            let verifies = self.is_ours() && before.iter().any(|before| self.sums(*before) == stored);
            if ended && verifies {
                let expected = "a frame of an acknowledged transaction";
                return Ok(Err((first, expected, "one that does not verify")));
            }
            ended |= verifies && self.commits();
            before = [stored; 2];
        }
    }

    /// Whether the frame ends a transaction of this life of the WAL, if one bit of it may be wrong.
    fn ends_but_for_one_bit(&self, found: [u32; 2], stored: [u32; 2]) -> bool {
        let salts = [number(&self.frame[8..]), number(&self.frame[12..])];
        let expected = [number(&self.salts), number(&self.salts[4..])];
        // The salts are not covered by the sums.
        if bits_apart(salts, expected) > 0 {
            return bits_apart(salts, expected) == 1 && found == stored && self.commits();
        }
        let words = (8 + self.frame.len() - FRAME_HEADER_BYTES) / 4;
        let flipped = flipped_words(found, stored, words).into_iter().any(|(at, change)| match at {
            COMMIT_WORD => word(&self.frame[4..], self.big_endian) != change.wrapping_neg(),
            _ => self.commits(),
        });
        flipped || bits_apart(found, stored) <= 1 && self.commits()
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

/// A header is synced before any frame follows it. So one that does not verify is all there is; or the WAL was about to
/// be used again from its start, after all of it was copied into the database, and its frames are of the life before,
/// with the salts `frame_salts`; or it rotted.
fn without_header(mut header: [u8; HEADER_BYTES], frame_salts: [u8; 8], bytes: u64) -> Result<u64, Damage> {
    if bytes <= HEADER_BYTES as u64 {
        return Ok(0);
    }
    let before = number(&header[12..]).wrapping_sub(1);
    header[12..16].copy_from_slice(&before.to_be_bytes());
    header[16..24].copy_from_slice(&frame_salts);
    match valid_header(&header) {
        Some(_) => Ok(0),
        None => Err((0, "the header of a write-ahead log", "one that does not verify")),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
}

fn bits_apart(one: [u32; 2], other: [u32; 2]) -> u32 {
    (one[0] ^ other[0]).count_ones() + (one[1] ^ other[1]).count_ones()
}

/// Which of `words` words, if one bit of one of them were the other way, would make the sums `found` those that are
/// `stored`, and what that adds to the word. The sums are linear: a change of a word appears in them times two factors,
/// which follow from how many words come after it.
fn flipped_words(found: [u32; 2], stored: [u32; 2], words: usize) -> Vec<(usize, u32)> {
    let mut flipped = Vec::new();
    let wanted = [stored[0].wrapping_sub(found[0]), stored[1].wrapping_sub(found[1])];
    // Factors of a change in the first and in the second word of the last pair.
    let mut factors = [[1u32, 1u32], [0, 1]];
    for pair in (0..words / 2).rev() {
        for (second, [a, b]) in factors.into_iter().enumerate() {
            let is_it = |change: &u32| [change.wrapping_mul(a), change.wrapping_mul(b)] == wanted;
            let changes = (0..32).flat_map(|bit| [1u32 << bit, (1u32 << bit).wrapping_neg()]);
            flipped.extend(changes.filter(is_it).map(|change| (2 * pair + second, change)));
        }
        factors = factors.map(|[a, b]| [a.wrapping_add(b), a.wrapping_add(b).wrapping_add(b)]);
    }
    flipped
}

/// A word as the sums take it.
fn word(bytes: &[u8], big_endian: bool) -> u32 {
    let four = bytes.first_chunk().copied().unwrap_or_default();
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

fn checksum(bytes: &[u8], big_endian: bool, [mut a, mut b]: [u32; 2]) -> [u32; 2] {
    for eight in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(eight, big_endian)).wrapping_add(b);
        b = b.wrapping_add(word(&eight[4..], big_endian)).wrapping_add(a);
    }
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;

    const PAGE: usize = 512;
    const WAL: &str = "/store/log.db-wal";

    /// A WAL of transactions of so many frames each, and where its frames begin.
    fn wal(transactions: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut wal = Vec::new();
        for word in [MAGIC, 3_007_000, PAGE as u32, 1, 0xdead, 0xbeef] {
            wal.extend_from_slice(&word.to_be_bytes());
        }
        let mut sums = checksum(&wal, false, [0; 2]);
        let put_sums = |wal: &mut Vec<u8>, sums: [u32; 2]| {
            sums.iter().for_each(|sum| wal.extend_from_slice(&sum.to_be_bytes()));
        };
        put_sums(&mut wal, sums);
        let mut starts = Vec::new();
        for (number, frames) in transactions.iter().enumerate() {
            for frame in 1..=*frames {
                let start = wal.len();
                starts.push(start);
                wal.extend_from_slice(&(frame as u32).to_be_bytes());
                // A power of two: one flipped bit hides the end of the transaction.
                wal.extend_from_slice(&(if frame == *frames { 4u32 } else { 0 }).to_be_bytes());
                let page: Vec<u8> = (0..PAGE).map(|at| (at * 7 + number * 31 + frame) as u8).collect();
                sums = checksum(&wal[start..start + 8], false, sums);
                sums = checksum(&page, false, sums);
                wal.extend_from_slice(&[0, 0, 0xde, 0xad, 0, 0, 0xbe, 0xef]);
                put_sums(&mut wal, sums);
                wal.extend_from_slice(&page);
            }
        }
        (wal, starts)
    }

    /// What is left of a WAL, or why it is refused.
    fn recovered(content: &[u8]) -> Result<Vec<u8>, StorageError> {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/store")).expect("created");
        disk.place(Path::new(WAL), content);
        recover(&disk, Path::new("/store/log.db"), Path::new("/store/new.log.db-wal"))?;
        Ok(disk.content(Path::new(WAL)).expect("a WAL"))
    }

    #[test]
    fn a_whole_wal_stays_as_it_is() {
        let (wal, _) = wal(&[2, 1, 3]);
        assert_eq!(recovered(&wal).expect("it is sound"), wal);
        assert!(recovered(&[]).expect("it is empty").is_empty());
    }

    #[test]
    fn a_cut_wal_ends_with_its_last_whole_transaction() {
        let (wal, starts) = wal(&[2, 1, 3]);
        for bytes in HEADER_BYTES..wal.len() {
            let counts = match bytes {
                bytes if bytes >= starts[3] => starts[3],
                bytes if bytes >= starts[2] => starts[2],
                _ => 0,
            };
            assert_eq!(recovered(&wal[..bytes]).expect("it is torn"), wal[..counts], "cut at {bytes}");
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_unless_it_is_in_the_last_transaction() {
        let (wal, starts) = wal(&[2, 1, 3]);
        // In the last transaction it looks torn, but for a few bits that tell.
        let mut refused = 0;
        for bit in 0..wal.len() * 8 {
            let mut rotten = wal.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            match recovered(&rotten) {
                Err(StorageError::Corrupt { .. }) => refused += 1,
                Err(error) => panic!("bit {bit}: {error}"),
                Ok(left) if bit / 8 >= starts[3] => assert_eq!(left, wal[..starts[3]], "bit {bit}"),
                // The header's sequence number: as if the WAL was about to be used again.
                Ok(left) => assert!(left.is_empty() && bit / 8 == 15, "bit {bit} goes unnoticed"),
            }
        }
        assert!((starts[3] * 8..starts[3] * 8 + 400).contains(&refused), "{refused} bits are refused");
    }

    #[test]
    fn what_an_earlier_life_left_is_no_proof() {
        let (old, starts) = wal(&[1, 1, 1, 1, 1, 1]);
        let (mut new, _) = wal(&[2, 3]);
        // Of the torn second transaction the first frame is missing: what stands there ended one before.
        let frame = starts[1] - starts[0];
        let mut stale = old[starts[2]..starts[3]].to_vec();
        stale[8..16].copy_from_slice(&[7; 8]);
        new[starts[2]..starts[2] + frame].copy_from_slice(&stale);
        assert_eq!(recovered(&new).expect("it is torn"), new[..starts[2]]);
        // The same where the sector with the salts and the sums is new, and the one with the end is old.
        let (mut new, _) = wal(&[2, 3]);
        new[starts[2] + 4..starts[2] + 8].copy_from_slice(&9u32.to_be_bytes());
        assert_eq!(recovered(&new).expect("it is torn"), new[..starts[2]]);
    }
}
