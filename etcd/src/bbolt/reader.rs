//! Reading a file: its buckets.

use super::file::BoltFile;
use super::meta::Meta;
use super::page::{PAGE_HEADER_BYTES, PageHeader, TreePage};
use super::rows::{Element, Rows, Walk};
use bytes::{Bytes, BytesMut};
use coffer_core::storage::StorageError;
use std::sync::Arc;

/// The largest page with its overflow that is read. A row lies in one; bbolt's own limit for a value is 2 GiB, etcd's
/// for a request is 1.5 MiB unless it is raised.
const PAGE_RUN_BYTES_MAX: u64 = 1 << 30;

/// An open file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) pages: Arc<Pages>,
    root: u64,
}

/// The pages of a file.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) file: BoltFile,
    page_bytes: u64,
    /// All pages in use are below.
    pub(super) count: u64,
}

impl Database {
    /// Reads what is the first `bytes` of a file: without a checksum that may follow.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is no bbolt file; I/O.
    pub fn open(file: BoltFile, bytes: u64) -> Result<Self, StorageError> {
        let meta = Meta::load(&file)?;
        let page_bytes = u64::from(meta.page_bytes);
        let count = meta.pages.min(bytes.min(file.bytes()) / page_bytes);
        Ok(Self { pages: Arc::new(Pages { file, page_bytes, count }), root: meta.root })
    }

    /// The file.
    pub fn file(&self) -> &BoltFile {
        &self.pages.file
    }

    /// The bucket of this name.
    ///
    /// # Errors
    /// Damage, or I/O.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, StorageError> {
        self.buckets().find(|bucket| bucket.as_ref().map_or(true, |bucket| bucket.name == name)).transpose()
    }

    /// All buckets, ascending by name.
    pub fn buckets(&self) -> impl Iterator<Item = Result<Bucket, StorageError>> {
        let mut walk = Walk::new(self.pages.clone(), Root::Page(self.root));
        std::iter::from_fn(move || walk.next_element().transpose()).map(|element| self.bucket_of(element?))
    }

    fn bucket_of(&self, element: Element) -> Result<Bucket, StorageError> {
        let file = &self.pages.file;
        if !element.is_bucket {
            return Err(file.corrupt(element.value_offset, "a bucket", "a row outside of any"));
        }
        let Some(root) = element.value.first_chunk().copied().map(u64::from_le_bytes) else {
            return Err(file.corrupt(element.value_offset, "a bucket's header", "a cut one"));
        };
        let root = match root {
            0 if element.value.len() >= 16 => {
                Root::Inline { page: element.value.slice(16..), offset: element.value_offset + 16 }
            }
            0 => return Err(file.corrupt(element.value_offset, "a bucket's page", "a cut one")),
            page => Root::Page(page),
        };
        Ok(Bucket { name: element.key, pages: self.pages.clone(), root })
    }
}

/// Where a bucket's tree begins.
#[derive(Clone, Debug)]
pub(super) enum Root {
    /// At this page.
    Page(u64),
    /// At this page, which lies in the value that describes the bucket.
    Inline { page: Bytes, offset: u64 },
}

/// A bucket of rows.
#[derive(Clone, Debug)]
pub struct Bucket {
    name: Bytes,
    pages: Arc<Pages>,
    root: Root,
}

impl Bucket {
    /// Its name.
    pub fn name(&self) -> &Bytes {
        &self.name
    }

    /// All rows, ascending by key.
    pub fn rows(&self) -> Rows {
        Rows::new(Walk::new(self.pages.clone(), self.root.clone()))
    }

    /// The value of this key. Looks at every row before it: for small buckets.
    ///
    /// # Errors
    /// Damage, or I/O.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        for row in self.rows() {
            let (found, value) = row?;
            if found == key {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The row with the largest key.
    ///
    /// # Errors
    /// Damage, or I/O.
    pub fn last_row(&self) -> Result<Option<(Bytes, Bytes)>, StorageError> {
        let last = Walk::last(self.pages.clone(), self.root.clone()).next_element()?;
        Ok(last.map(|element| (element.key, element.value)))
    }
}

impl Pages {
    /// Reads page `id` with its overflow; `from` is the offset of what refers to it. Also tells how many pages that is.
    pub(super) fn load(&self, id: u64, from: u64) -> Result<(TreePage, u64), StorageError> {
        if id < 2 || id >= self.count {
            return Err(self.file.corrupt(
                from,
                format!("a page below {}", self.count),
                format!("page {id}"),
            ));
        }
        let offset = id * self.page_bytes;
        let mut bytes = BytesMut::zeroed(self.page_bytes as usize);
        self.file.read(&mut bytes, offset)?;
        let header = bytes.first_chunk::<PAGE_HEADER_BYTES>().copied().map(PageHeader::parse);
        let Some(header) = header.filter(|header| header.id == id) else {
            return Err(self.file.corrupt(offset, format!("page {id}"), "another"));
        };
        let pages = u64::from(header.overflow) + 1;
        let run_bytes = pages * self.page_bytes;
        if pages > self.count - id || run_bytes > PAGE_RUN_BYTES_MAX {
            let expected = format!("at most {} more pages of this one", self.count - id - 1);
            return Err(self.file.corrupt(offset + 12, expected, header.overflow.to_string()));
        }
        if pages > 1 {
            bytes.resize(run_bytes as usize, 0);
            self.file.read(&mut bytes[self.page_bytes as usize..], offset + self.page_bytes)?;
        }
        Ok((TreePage::parse(&self.file, bytes.freeze(), offset)?, pages))
    }
}
