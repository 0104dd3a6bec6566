//! Reads a range in pages at one revision, so that a large one never lies in memory as a whole.

use crate::wire::size;
use bytes::{BufMut, Bytes, BytesMut};
use coffer_core::node::Node;
use coffer_core::request::{RangeRequest, RangeResponse};
use coffer_core::{Error, KeyRange};

/// About how much one page may take.
const PAGE_BYTES: usize = 1 << 20;
/// Most keys in a page.
const PAGE_KEYS_MAX: usize = 4096;

/// The rest of a range.
pub(super) struct Pages {
    node: Node,
    request: RangeRequest,
    /// Keys to ask for next.
    page_keys: usize,
    /// Keys that the caller's limit still allows; `None` without one.
    allowed: Option<i64>,
    /// Whether the request can be read in pages: in key order, without filters.
    paged: bool,
    first: bool,
    done: bool,
}

impl Pages {
    /// The first page is of at most `first_keys` keys.
    pub(super) fn new(node: Node, request: RangeRequest, first_keys: usize) -> Self {
        let allowed = (request.limit > 0).then_some(request.limit);
        let paged = request.limit_stops_walk() && !request.count_only && !request.range.is_single();
        Self { node, request, page_keys: first_keys, allowed, paged, first: true, done: false }
    }

    /// The next page; `None` after the last. The count is that of the whole range in the first page and means
    /// nothing in the others; `more` of the last page says whether the caller's limit cut something off.
    pub(super) async fn next(&mut self) -> Result<Option<RangeResponse>, Error> {
        if std::mem::replace(&mut self.done, !self.paged) {
            return Ok(None);
        }
        let mut request = self.request.clone();
        if self.paged {
            let keys = self.page_keys as i64;
            request.limit = self.allowed.map_or(keys, |allowed| allowed.min(keys));
        }
        let page = self.node.range(request).await?;
        if self.paged {
            self.advance(&page);
        }
        Ok(Some(page))
    }

    fn advance(&mut self, page: &RangeResponse) {
        if let Some(allowed) = &mut self.allowed {
            *allowed -= page.kvs.len() as i64;
        }
        let Some(last) = page.kvs.last() else {
            self.done = true;
            return;
        };
        self.done = !page.more || self.allowed == Some(0);
        if self.done {
            return;
        }
        let mut start = BytesMut::with_capacity(last.key.len() + 1);
        start.put_slice(&last.key);
        start.put_u8(0);
        self.request.range = KeyRange::from_wire(start.freeze(), self.end());
        if std::mem::take(&mut self.first) {
            // This node holds the revision that it has answered at.
            self.request.serializable = true;
            if self.request.revision <= 0 {
                self.request.revision = page.header.revision;
            }
        }
        let key_bytes = (size::key_values(&page.kvs) * 8 / page.kvs.len()).max(1);
        self.page_keys = (PAGE_BYTES / key_bytes).clamp(1, PAGE_KEYS_MAX.min(self.page_keys * 4));
    }

    fn end(&self) -> Bytes {
        self.request.range.wire_end()
    }
}
