//! Pages, and what stands in them.

use super::file::BoltFile;
use bytes::Bytes;
use coffer_core::storage::StorageError;

pub(super) const PAGE_HEADER_BYTES: usize = 16;
pub(super) const ELEMENT_BYTES: usize = 16;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
pub(super) const FREELIST: u16 = 0x10;

/// The flag of a leaf's element whose value is a bucket.
pub(super) const BUCKET: u32 = 0x01;

/// Appends a page's header.
pub(super) fn put_page_header(out: &mut Vec<u8>, id: u64, flags: u16, count: u16, overflow: u32) {
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&overflow.to_le_bytes());
}

/// What the header of a tree's page says.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    pub(super) id: u64,
    flags: u16,
    count: u16,
    pub(super) overflow: u32,
}

impl PageHeader {
    pub(super) fn parse(bytes: [u8; PAGE_HEADER_BYTES]) -> Self {
        let number = u128::from_le_bytes(bytes);
        Self {
            id: number as u64,
            flags: (number >> 64) as u16,
            count: (number >> 80) as u16,
            overflow: (number >> 96) as u32,
        }
    }
}

/// One element of a leaf.
#[derive(Clone, Debug)]
pub(super) struct LeafElement {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) is_bucket: bool,
    /// Where the value begins in the file.
    pub(super) value_offset: u64,
}

/// A branch or a leaf with its overflow, as it was read.
#[derive(Clone, Debug)]
pub(super) struct TreePage {
    bytes: Bytes,
    /// Where it begins in the file.
    offset: u64,
    is_leaf: bool,
    count: usize,
}

impl TreePage {
    /// Checks the header and that the table of elements fits.
    pub(super) fn parse(file: &BoltFile, bytes: Bytes, offset: u64) -> Result<Self, StorageError> {
        let Some(header) = bytes.first_chunk().copied().map(PageHeader::parse) else {
            return Err(file.corrupt(offset, "a page", "a cut one"));
        };
        let (is_leaf, count) = (header.flags == LEAF, usize::from(header.count));
        if !is_leaf && header.flags != BRANCH {
            return Err(file.corrupt(offset + 8, "a branch or a leaf", format!("flags {:#x}", header.flags)));
        }
        if PAGE_HEADER_BYTES + count * ELEMENT_BYTES > bytes.len() || (count == 0 && !is_leaf) {
            return Err(file.corrupt(offset + 10, "as many elements as fit", count.to_string()));
        }
        Ok(Self { bytes, offset, is_leaf, count })
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.is_leaf
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The element `index` of a leaf; the caller keeps below the count.
    pub(super) fn leaf_element(&self, file: &BoltFile, index: usize) -> Result<LeafElement, StorageError> {
        let [flags, pos, key_bytes, value_bytes] = self.element(file, index)?;
        let key_at = self.place(file, index, pos, u64::from(key_bytes) + u64::from(value_bytes))?;
        let value_at = key_at + key_bytes as usize;
        if flags > BUCKET {
            return Err(file.corrupt(self.element_offset(index), "flags 0 or 1", flags.to_string()));
        }
        Ok(LeafElement {
            key: self.bytes.slice(key_at..value_at),
            value: self.bytes.slice(value_at..value_at + value_bytes as usize),
            is_bucket: flags == BUCKET,
            value_offset: self.offset + value_at as u64,
        })
    }

    /// The page below element `index` of a branch; the caller keeps below the count.
    pub(super) fn child(&self, file: &BoltFile, index: usize) -> Result<u64, StorageError> {
        let [pos, key_bytes, low, high] = self.element(file, index)?;
        self.place(file, index, pos, key_bytes.into())?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// Where element `index` is described in the file.
    pub(super) fn element_offset(&self, index: usize) -> u64 {
        self.offset + (PAGE_HEADER_BYTES + index * ELEMENT_BYTES) as u64
    }

    fn element(&self, file: &BoltFile, index: usize) -> Result<[u32; 4], StorageError> {
        let at = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
        let bytes: Option<[u8; ELEMENT_BYTES]> =
            self.bytes.get(at..at + ELEMENT_BYTES).and_then(|bytes| bytes.try_into().ok());
        let Some(bytes) = bytes else {
            return Err(file.corrupt(self.element_offset(index), "an element", "the end of the page"));
        };
        let number = u128::from_le_bytes(bytes);
        Ok([number as u32, (number >> 32) as u32, (number >> 64) as u32, (number >> 96) as u32])
    }

    /// Where in the page the data of an element begins, if all of it is behind the table and within the page.
    fn place(&self, file: &BoltFile, index: usize, pos: u32, bytes: u64) -> Result<usize, StorageError> {
        let start = (PAGE_HEADER_BYTES + index * ELEMENT_BYTES) as u64 + u64::from(pos);
        let table = (PAGE_HEADER_BYTES + self.count * ELEMENT_BYTES) as u64;
        if start < table || start + bytes > self.bytes.len() as u64 {
            let found = format!("{bytes} bytes at {start} of {}", self.bytes.len());
            return Err(file.corrupt(self.element_offset(index), "an element within its page", found));
        }
        Ok(start as usize)
    }
}
