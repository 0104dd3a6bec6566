//! The meta pages: where everything begins.

use super::file::BoltFile;
use super::page::{META, PAGE_HEADER_BYTES, put_page_header};
use coffer_core::storage::StorageError;
use std::ops::Range;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// Bytes of a meta behind its page header, the checksum included.
const META_BYTES: usize = 64;
/// Page sizes that systems have.
const PAGE_BYTES: Range<u32> = 512..(64 << 10) + 1;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_bytes: u32,
    /// The root page of the bucket of buckets.
    pub(super) root: u64,
    /// The page that lists the free ones; all ones if they are not listed.
    pub(super) freelist: u64,
    /// Every page in use is below.
    pub(super) pages: u64,
    /// The transaction that wrote it.
    pub(super) txid: u64,
}

impl Meta {
    /// Reads the meta in force.
    pub(super) fn load(file: &BoltFile) -> Result<Self, StorageError> {
        let first = Self::read(file, 0)?;
        let second = match first {
            Ok(meta) => Self::read(file, meta.page_bytes.into())?,
            // Where the second begins, only the first can tell: look wherever it can be.
            Err(_) => (9..=16)
                .map(|shift| 1u64 << shift)
                .find_map(|at| match Self::read(file, at) {
                    Ok(Ok(meta)) if u64::from(meta.page_bytes) == at => Some(Ok(Ok(meta))),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                })
                .unwrap_or(Ok(Err("none")))?,
        };
        match (first, second) {
            (Ok(first), Ok(second)) if second.txid > first.txid => Ok(second),
            (Ok(first), _) => Ok(first),
            (Err(_), Ok(second)) => Ok(second),
            (Err(found), Err(_)) => Err(file.corrupt(0, "a meta page of a bbolt file", found)),
        }
    }

    /// Outside an error of the medium, inside what is wrong with the page.
    fn read(file: &BoltFile, offset: u64) -> Result<Result<Self, &'static str>, StorageError> {
        let mut bytes = [0; PAGE_HEADER_BYTES + META_BYTES];
        if file.bytes() < offset.saturating_add(bytes.len() as u64) {
            return Ok(Err("the end of the file"));
        }
        file.read(&mut bytes, offset)?;
        Ok(Self::decode(&bytes[PAGE_HEADER_BYTES..]))
    }

    fn decode(meta: &[u8]) -> Result<Self, &'static str> {
        let number = |at: usize| meta.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        let number = |at| number(at).map(u64::from_le_bytes).ok_or("a cut page");
        let (magic, version) = (number(0)? as u32, (number(0)? >> 32) as u32);
        if magic != MAGIC {
            return Err("something else");
        }
        if version != VERSION {
            return Err("another version of the format");
        }
        if number(META_BYTES - 8)? != checksum(&meta[..META_BYTES - 8]) {
            return Err("a wrong checksum");
        }
        let page_bytes = number(8)? as u32;
        if !PAGE_BYTES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
            return Err("an impossible page size");
        }
        let (root, freelist) = (number(16)?, number(32)?);
        Ok(Self { page_bytes, root, freelist, pages: number(40)?, txid: number(48)? })
    }

    /// Appends the meta page that is page `id`.
    pub(super) fn put(&self, id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        put_page_header(out, id, META, 0, 0);
        let meta = out.len();
        for half in [MAGIC, VERSION, self.page_bytes, 0] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        for number in [self.root, 0, self.freelist, self.pages, self.txid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = checksum(&out[meta..]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.resize(start + self.page_bytes as usize, 0);
    }
}

/// FNV-1a of 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_survives_its_page_and_no_byte_of_it_can_change() {
        let meta = Meta { page_bytes: 4096, root: 77, freelist: 2, pages: 80, txid: 5 };
        let mut page = Vec::new();
        meta.put(1, &mut page);
        assert_eq!(page.len(), 4096);
        let written = &page[PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + META_BYTES];
        assert_eq!(Meta::decode(written), Ok(meta));
        for at in 0..META_BYTES {
            let mut damaged = written.to_vec();
            damaged[at] ^= 1;
            assert!(Meta::decode(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(checksum(b""), 0xcbf29ce484222325);
        assert_eq!(checksum(b"foobar"), 0x85944171f73967e8);
    }
}
