//! The block of 512 bytes that every file of a store begins with.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic: `COFFERLG` log, `COFFERRS` records, `COFFERMF` manifest, `COFFERKR` keyring, `COFFERSL` and `COFFERSS` SQLite, `COFFERSN` snapshot |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | CRC-32C of bytes 0 to 12: the version can be trusted whatever the rest looks like |
//! | 16 | 16 | store id |
//! | 32 | 8 | file id (of a manifest or keyring: its generation) |
//! | 40 | 1 | file kind: 1 log, 2 records, 3 manifest, 4 log in SQLite, 5 records in SQLite, 6 keyring, 7 snapshot |
//! | 41 | 1 | algorithm of [`crate::seal`] |
//! | 42 | 2 | zero |
//! | 44 | 4 | data-key id |
//! | 48 | 32 | salt |
//! | 80 | 400 | fields of the file kind, zero-padded |
//! | 480 | 12 | nonce |
//! | 492 | 16 | tag over an empty text, with bytes 0 to 480 as context, at (kind 1, this offset, sequence 0) |
//! | 508 | 4 | CRC-32C of bytes 0 to 508 |
//!
//! Integers are little-endian. The first 16 bytes mean the same in every format version.

use super::wire::Reader;
use crate::seal::{Algorithm, Nonce, Place, SealRefused, SealedFile, Sealer, Tag};
use std::fmt;

pub(crate) const HEADER_BYTES: usize = 512;
pub(crate) const FORMAT_VERSION: u32 = 1;

const FIELDS: usize = 80;
const NONCE: usize = 480;
const TAG: usize = 492;
const CHECKSUM: usize = 508;
const HEADER_PIECE: u8 = 1;

/// The kinds of files, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log = 1,
    Records = 2,
    Manifest = 3,
    SqliteLog = 4,
    SqliteState = 5,
    Keyring = 6,
    Snapshot = 7,
}

impl FileKind {
    pub(crate) fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => b"COFFERLG",
            Self::Records => b"COFFERRS",
            Self::Manifest => b"COFFERMF",
            Self::SqliteLog => b"COFFERSL",
            Self::SqliteState => b"COFFERSS",
            Self::Keyring => b"COFFERKR",
            Self::Snapshot => b"COFFERSN",
        }
    }
}

/// Why a block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Another version of Coffer wrote it.
    Version(u32),
    /// It is damaged, torn, or was never written. Names what is wrong.
    Damaged(&'static str),
    /// It is whole, but was not written at this place with this key.
    Broken,
    /// The file cannot belong to the store as it was opened.
    Refused(SealRefused),
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "format version {version}"),
            Self::Damaged(found) => f.write_str(found),
            Self::Broken => f.write_str("a header with a wrong tag"),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

/// A header that was read and verified.
pub(crate) struct Header {
    pub(crate) sealer: Sealer,
    pub(crate) tag: Tag,
    block: [u8; HEADER_BYTES],
}

impl Header {
    /// The fields of the file kind.
    pub(crate) fn fields(&self) -> Reader<'_> {
        Reader::new(&self.block[FIELDS..NONCE])
    }
}

/// Builds the block that stands at `offset`. Returns it with its tag.
pub(crate) fn seal_header(
    sealer: &Sealer,
    offset: u64,
    nonce: Nonce,
    fields: &[u8],
) -> ([u8; HEADER_BYTES], Tag) {
    let file = sealer.file();
    let kind = kind_of(file.kind);
    let mut block = [0; HEADER_BYTES];
    block[..8].copy_from_slice(kind.magic());
    block[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let prelude = crc32c::crc32c(&block[..12]);
    block[12..16].copy_from_slice(&prelude.to_le_bytes());
    block[16..32].copy_from_slice(&file.store_id);
    block[32..40].copy_from_slice(&file.file_id.to_le_bytes());
    block[40] = file.kind;
    block[41] = file.algorithm.id();
    block[44..48].copy_from_slice(&file.data_key_id.to_le_bytes());
    block[48..80].copy_from_slice(&file.salt);
    block[FIELDS..FIELDS + fields.len()].copy_from_slice(fields);
    block[NONCE..TAG].copy_from_slice(&nonce);
    let tag = sealer.seal(place(offset), &nonce, &block[..NONCE], &mut []);
    block[TAG..CHECKSUM].copy_from_slice(&tag);
    let checksum = crc32c::crc32c(&block[..CHECKSUM]);
    block[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    (block, tag)
}

/// Checks the block that stands at `offset` of a file of this kind. `sealer_of` makes the sealer of the file that the
/// header describes.
pub(crate) fn open_header(
    block: &[u8],
    kind: FileKind,
    offset: u64,
    sealer_of: impl FnOnce(SealedFile) -> Result<Sealer, SealRefused>,
) -> Result<Header, HeaderFault> {
    let block: [u8; HEADER_BYTES] =
        block.try_into().map_err(|_| HeaderFault::Damaged("file is shorter than its header"))?;
    let mut reader = Reader::new(&block);
    let mut read = || -> Result<_, super::wire::Malformed> {
        let magic: [u8; 8] = reader.array()?;
        let (version, prelude) = (reader.u32()?, reader.u32()?);
        let (store_id, file_id) = (reader.array()?, reader.u64()?);
        let (stored_kind, algorithm) = (reader.u8()?, reader.u8()?);
        reader.take(2)?;
        let (data_key_id, salt) = (reader.u32()?, reader.array()?);
        Ok((magic, version, prelude, store_id, file_id, stored_kind, algorithm, data_key_id, salt))
    };
    let (magic, version, prelude, store_id, file_id, stored_kind, algorithm, data_key_id, salt) =
        read().map_err(|_| HeaderFault::Damaged("header is cut"))?;
    if magic != *kind.magic() || prelude != crc32c::crc32c(&block[..12]) {
        return Err(HeaderFault::Damaged("no header of this kind"));
    }
    if version != FORMAT_VERSION {
        return Err(HeaderFault::Version(version));
    }
    if block[CHECKSUM..] != crc32c::crc32c(&block[..CHECKSUM]).to_le_bytes() {
        return Err(HeaderFault::Damaged("wrong header checksum"));
    }
    if stored_kind != kind as u8 {
        return Err(HeaderFault::Damaged("file kind and magic disagree"));
    }
    let algorithm = Algorithm::from_id(algorithm).ok_or(HeaderFault::Damaged("unknown sealing algorithm"))?;
    let file = SealedFile { store_id, file_id, kind: stored_kind, algorithm, data_key_id, salt };
    let sealer = sealer_of(file).map_err(HeaderFault::Refused)?;
    let mut rest = Reader::new(&block[NONCE..CHECKSUM]);
    let (Ok(nonce), Ok(tag)) = (rest.array(), rest.array()) else {
        return Err(HeaderFault::Damaged("header is cut"));
    };
    sealer.unseal(place(offset), &nonce, &block[..NONCE], &mut [], &tag).map_err(|_| HeaderFault::Broken)?;
    Ok(Header { sealer, tag, block })
}

fn place(offset: u64) -> Place {
    Place { kind: HEADER_PIECE, offset, sequence: 0 }
}

fn kind_of(stored: u8) -> FileKind {
    match stored {
        1 => FileKind::Log,
        2 => FileKind::Records,
        4 => FileKind::SqliteLog,
        5 => FileKind::SqliteState,
        6 => FileKind::Keyring,
        7 => FileKind::Snapshot,
        _ => FileKind::Manifest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SALT_BYTES;

    fn sealer() -> Sealer {
        Sealer::unsealed(SealedFile {
            store_id: [1; 16],
            file_id: 2,
            kind: FileKind::Log as u8,
            algorithm: Algorithm::Unsealed,
            data_key_id: 0,
            salt: [3; SALT_BYTES],
        })
    }

    fn open(block: &[u8], kind: FileKind, offset: u64) -> Result<Header, HeaderFault> {
        open_header(block, kind, offset, |file| Ok(Sealer::unsealed(file)))
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (block, tag) = seal_header(&sealer(), 0, [4; 12], b"fields");
        let Ok(header) = open(&block, FileKind::Log, 0) else { panic!("an intact header opens") };
        assert_eq!(header.fields().take(6), Ok(&b"fields"[..]));
        assert_eq!(header.tag, tag);
        assert_eq!(header.sealer.file(), sealer().file());
        for bit in 0..block.len() * 8 {
            let mut rotten = block;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(&rotten, FileKind::Log, 0), Err(HeaderFault::Damaged(_))), "bit {bit}");
        }
        assert!(open(&block, FileKind::Log, 2048).is_err(), "a header is bound to its offset");
        assert!(open(&block, FileKind::Records, 0).is_err());
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let (mut block, _) = seal_header(&sealer(), 0, [4; 12], b"");
        block[8] = 2;
        let prelude = crc32c::crc32c(&block[..12]);
        block[12..16].copy_from_slice(&prelude.to_le_bytes());
        assert_eq!(open(&block, FileKind::Log, 0).err(), Some(HeaderFault::Version(2)));
    }
}
