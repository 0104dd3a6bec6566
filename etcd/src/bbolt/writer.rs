//! Making the bytes of a file that was laid out before, from front to back.

use super::layout::{Content, FREELIST_PAGE, Layout, Output, PAGE_BYTES, Plan};
use super::meta::Meta;
use super::page::{BRANCH, BUCKET, ELEMENT_BYTES, FREELIST, LEAF, PAGE_HEADER_BYTES, put_page_header};
use bytes::Bytes;
use thiserror::Error;

/// The rows are not those that were measured: what was written is not a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the rows differ from those that were measured")]
pub struct Differs;

/// Writes the rows that [`Measure`](super::Measure) was told of, in the same order.
#[derive(Debug)]
pub struct Writer {
    plan: Plan,
    layout: Layout<Bytes>,
    pages: PageBytes,
}

impl Writer {
    /// Begins the file.
    pub fn new(plan: Plan) -> Self {
        let mut pages = PageBytes { out: Vec::with_capacity(16 * PAGE_BYTES) };
        for page in 0..2 {
            // Two metas that say the same; the second is the newer one, as in a file that bbolt creates.
            let meta = Meta {
                page_bytes: PAGE_BYTES as u32,
                root: plan.root,
                freelist: FREELIST_PAGE,
                pages: plan.pages,
                txid: page,
            };
            meta.put(page, &mut pages.out);
        }
        pages.page(FREELIST_PAGE, FREELIST, 0, 0, |_| {});
        Self { plan, layout: Layout::new(), pages }
    }

    /// Begins a bucket, whose name is above those before it.
    pub fn bucket(&mut self, name: Bytes) {
        self.layout.bucket(name, &mut self.pages);
    }

    /// Takes a row of the bucket, whose key is above those before it.
    ///
    /// # Errors
    /// The file would be longer than was planned.
    pub fn row(&mut self, key: Bytes, value: Bytes) -> Result<(), Differs> {
        self.layout.row(key, value, &mut self.pages);
        if self.layout.pages() <= self.plan.pages { Ok(()) } else { Err(Differs) }
    }

    /// Bytes that are made and not yet taken.
    pub fn ready_bytes(&self) -> usize {
        self.pages.out.len()
    }

    /// Takes the bytes that are made.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.pages.out).into()
    }

    /// Ends the file; returns its last bytes.
    ///
    /// # Errors
    /// The file has another length or another root than was planned.
    pub fn finish(mut self) -> Result<Bytes, Differs> {
        let done = self.layout.finish(&mut self.pages);
        if done == self.plan { Ok(self.pages.out.into()) } else { Err(Differs) }
    }
}

/// Pages as bytes, one after the other.
#[derive(Debug)]
struct PageBytes {
    out: Vec<u8>,
}

impl PageBytes {
    fn page(&mut self, id: u64, flags: u16, count: usize, overflow: u32, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        // A page that is not alone in its element is at most 4096 bytes, so that the count fits.
        put_page_header(&mut self.out, id, flags, count as u16, overflow);
        body(&mut self.out);
        self.out.resize(start + (1 + overflow as usize) * PAGE_BYTES, 0);
    }
}

impl Output<Bytes> for PageBytes {
    fn leaf(&mut self, id: u64, overflow: u32, elements: &[(Bytes, Content<Bytes>)]) {
        self.page(id, LEAF, elements.len(), overflow, |out| {
            let mut data_at = PAGE_HEADER_BYTES + elements.len() * ELEMENT_BYTES;
            for (index, (key, content)) in elements.iter().enumerate() {
                let flags = if matches!(content, Content::Bucket(_)) { BUCKET } else { 0 };
                let pos = data_at - (PAGE_HEADER_BYTES + index * ELEMENT_BYTES);
                let sizes = (key.len() as u32, content.bytes() as u32);
                put_halves(out, [flags, pos as u32, sizes.0, sizes.1]);
                data_at += key.len() + content.bytes();
            }
            for (key, content) in elements {
                out.extend_from_slice(key);
                match content {
                    Content::Value(value) => out.extend_from_slice(value),
                    Content::Bucket(root) => {
                        out.extend_from_slice(&root.to_le_bytes());
                        out.extend_from_slice(&0u64.to_le_bytes());
                    }
                }
            }
        });
    }

    fn branch(&mut self, id: u64, overflow: u32, children: &[(Bytes, u64)]) {
        self.page(id, BRANCH, children.len(), overflow, |out| {
            let mut data_at = PAGE_HEADER_BYTES + children.len() * ELEMENT_BYTES;
            for (index, (key, child)) in children.iter().enumerate() {
                let pos = data_at - (PAGE_HEADER_BYTES + index * ELEMENT_BYTES);
                put_halves(out, [pos as u32, key.len() as u32, *child as u32, (*child >> 32) as u32]);
                data_at += key.len();
            }
            for (key, _) in children {
                out.extend_from_slice(key);
            }
        });
    }
}

fn put_halves(out: &mut Vec<u8>, halves: [u32; 4]) {
    for half in halves {
        out.extend_from_slice(&half.to_le_bytes());
    }
}
