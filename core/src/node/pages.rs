//! Reads a range in pages at one revision, so that a large one never lies in memory as a whole.
//!
//! For whatever streams ranges to a client. A page is one read of the node: nothing is held between two pages, no
//! pin either, so that a slow client holds nothing back; a compaction in between may end the range.

use super::{Node, range};
use crate::error::Error;
use crate::key_range::KeyRange;
use crate::request::{RangeRequest, RangeResponse};
use bytes::{BufMut, BytesMut};

/// Most keys in a page.
const PAGE_KEYS_MAX: usize = 4096;
/// Most that a range may take which a surface answers as a whole.
pub const RANGE_BYTES_MAX: usize = 256 << 20;
/// Keys and bytes that a whole answer reads at a time.
const WHOLE_KEYS: usize = 1024;
const WHOLE_BYTES: usize = 1 << 20;

/// The rest of a range. A range in key order and without filters comes in pages; any other needs to be known as a
/// whole before its first pair is, and comes in one.
#[derive(Debug)]
pub struct Pages {
    node: Node,
    request: RangeRequest,
    /// Keys to ask for next.
    page_keys: usize,
    page_bytes: usize,
    /// What an answer that has no pages may take.
    whole_bytes_max: usize,
    /// Keys that the caller's limit still allows; `None` without one.
    allowed: Option<usize>,
    /// Whether the request can be read in pages.
    paged: bool,
    first: bool,
    done: bool,
}

impl Pages {
    /// All of `request`. The first page has at most `first_keys` keys; the others have as many as are expected to
    /// fill `page_bytes`. A page ends behind the pair that reaches `page_bytes`, where a pair counts as its key, its
    /// value and 48 bytes: it exceeds them by no more than one pair.
    pub fn new(node: Node, request: RangeRequest, first_keys: usize, page_bytes: usize) -> Self {
        let allowed = usize::try_from(request.limit).ok().filter(|&limit| limit > 0);
        let paged = request.limit_stops_walk() && !request.count_only && !request.range.is_single();
        let (page_keys, page_bytes) = (first_keys.clamp(1, PAGE_KEYS_MAX), page_bytes.max(1));
        let whole_bytes_max = RANGE_BYTES_MAX;
        Self {
            node,
            request,
            page_keys,
            page_bytes,
            whole_bytes_max,
            allowed,
            paged,
            first: true,
            done: false,
        }
    }

    /// Refuses a range that does not come in pages if it takes more than `whole_bytes_max`, instead of
    /// [`RANGE_BYTES_MAX`].
    #[must_use]
    pub fn with_whole_bytes_max(self, whole_bytes_max: usize) -> Self {
        Self { whole_bytes_max, ..self }
    }

    /// All of `request` in one answer of about `bytes_max` at most.
    ///
    /// # Errors
    /// As [`next`](Self::next); [`Error::AnswerTooLarge`].
    pub async fn whole(node: Node, request: RangeRequest, bytes_max: usize) -> Result<RangeResponse, Error> {
        let pages = Self::new(node, request, WHOLE_KEYS, WHOLE_BYTES.min(bytes_max));
        let mut pages = pages.with_whole_bytes_max(bytes_max);
        let mut whole = pages.next().await?.ok_or(Error::Canceled)?;
        let mut bytes: usize = whole.kvs.iter().map(range::pair_bytes).sum();
        while let Some(page) = pages.next().await? {
            bytes += page.kvs.iter().map(range::pair_bytes).sum::<usize>();
            if bytes > bytes_max {
                return Err(Error::AnswerTooLarge);
            }
            whole.kvs.extend(page.kvs);
            whole.more = page.more;
        }
        Ok(whole)
    }

    /// Whether the page that came last was the last one.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The next page, all of them at the revision of the first; `None` after the last, or after an error. The count
    /// is that of the whole range in the first page and means nothing in the others; `more` of the last page says
    /// whether the caller's limit cut something off.
    ///
    /// # Errors
    /// As [`Node::range`]. [`Error::Compacted`] also where the revision was compacted since the first page;
    /// [`Error::AnswerTooLarge`] of what does not come in pages.
    pub async fn next(&mut self) -> Result<Option<RangeResponse>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        if !self.paged {
            let read = self.node.range_within(self.request.clone(), self.whole_bytes_max).await?;
            return if read.is_cut { Err(Error::AnswerTooLarge) } else { Ok(Some(read.response)) };
        }
        if !self.first {
            // A long range is read at once, without waiting for anything: its thread has other calls.
            coffer_runtime::yield_now().await;
        }
        let keys = self.allowed.map_or(self.page_keys, |allowed| allowed.min(self.page_keys));
        let request = RangeRequest { limit: keys as i64, ..self.request.clone() };
        let page = self.node.range_within(request, self.page_bytes).await?.response;
        self.advance(&page);
        Ok(Some(page))
    }

    fn advance(&mut self, page: &RangeResponse) {
        let Some(last) = page.kvs.last() else { return };
        if let Some(allowed) = &mut self.allowed {
            *allowed -= page.kvs.len();
        }
        self.done = !page.more || self.allowed == Some(0);
        if self.done {
            return;
        }
        let mut start = BytesMut::with_capacity(last.key.len() + 1);
        start.put_slice(&last.key);
        start.put_u8(0);
        self.request.range = KeyRange::from_wire(start.freeze(), self.request.range.wire_end());
        if std::mem::take(&mut self.first) {
            // This node holds the revision that it has answered at.
            self.request.serializable = true;
            if self.request.revision <= 0 {
                self.request.revision = page.header.revision;
            }
        }
        let pair_bytes = page.kvs.iter().map(range::pair_bytes).sum::<usize>() / page.kvs.len();
        let expected = (self.page_bytes / pair_bytes).max(1);
        self.page_keys = expected.min(PAGE_KEYS_MAX).min(self.page_keys * 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::{all, open, put};
    use crate::request::{CompactRequest, SortOrder, SortTarget};
    use crate::storage::MemoryDisk;
    use coffer_runtime::block_on;

    /// A node with `count` keys whose values have `value_bytes` each.
    fn filled(count: usize, value_bytes: usize) -> Node {
        let node = open(&MemoryDisk::default(), 1);
        for number in 0..count {
            put(&node, &format!("page/{number:04}"), &"v".repeat(value_bytes));
        }
        node
    }

    fn request() -> RangeRequest {
        RangeRequest::new(KeyRange::prefix("page/"))
    }

    /// Reads all pages; `between` runs after each.
    fn read(mut pages: Pages, mut between: impl FnMut()) -> Result<Vec<RangeResponse>, Error> {
        let mut read = Vec::new();
        while let Some(page) = block_on(pages.next())? {
            read.push(page);
            between();
            if pages.is_done() {
                break;
            }
        }
        assert!(pages.is_done());
        assert_eq!(block_on(pages.next()), Ok(None), "the end is final");
        Ok(read)
    }

    fn keys(pages: &[RangeResponse]) -> Vec<bytes::Bytes> {
        pages.iter().flat_map(|page| &page.kvs).map(|kv| kv.key.clone()).collect()
    }

    #[test]
    fn no_page_exceeds_its_bytes_by_more_than_a_pair() {
        let node = filled(100, 1000);
        let whole = block_on(node.range(request())).expect("a read succeeds");
        let pair = range::pair_bytes(&whole.kvs[0]);
        for (first_keys, page_bytes) in [(64, 10 * pair), (1024, 1), (1, 1 << 20), (3, 10 * pair - 1)] {
            let pages = read(Pages::new(node.clone(), request(), first_keys, page_bytes), || ())
                .expect("the pages are read");
            let pairs_max = page_bytes.div_ceil(pair);
            assert!(pages.iter().all(|page| (1..=pairs_max).contains(&page.kvs.len())), "{first_keys}");
            assert!(pages[0].kvs.len() <= first_keys);
            assert_eq!(keys(&pages), keys(std::slice::from_ref(&whole)));
            assert_eq!(pages[0].count, 100);
            assert!(!pages.last().expect("there are pages").more);
        }
    }

    #[test]
    fn all_pages_show_the_revision_of_the_first() {
        let node = filled(50, 10);
        let before = all(&node).kvs;
        let mut number = 0;
        let pages = read(Pages::new(node.clone(), request(), 4, 500), || {
            number += 1;
            put(&node, &format!("page/{:04}", 50 - number), "changed");
            put(&node, &format!("page/new/{number}"), "added");
        })
        .expect("the pages are read");
        assert!(pages.len() > 3);
        assert_eq!(pages.iter().flat_map(|page| page.kvs.clone()).collect::<Vec<_>>(), before);
    }

    #[test]
    fn the_limit_of_the_caller_ends_the_range() {
        let node = filled(50, 10);
        for limit in [1, 7, 8, 49, 50, 51] {
            let limited = RangeRequest { limit, ..request() };
            let whole = block_on(node.range(limited.clone())).expect("a read succeeds");
            let pages = read(Pages::new(node.clone(), limited, 4, 200), || ()).expect("the pages are read");
            assert_eq!(keys(&pages), keys(std::slice::from_ref(&whole)));
            assert_eq!(pages.last().map(|page| page.more), Some(whole.more), "{limit}");
            assert_eq!(pages[0].count, whole.count);
        }
    }

    #[test]
    fn what_has_no_pages_comes_at_once() {
        let node = filled(50, 10);
        let descending = RangeRequest { sort_order: SortOrder::Descend, ..request() };
        let filtered = RangeRequest { min_mod_revision: 10, ..request() };
        let counted = RangeRequest { count_only: true, ..request() };
        let single = RangeRequest::new(KeyRange::single("page/0001"));
        for request in [descending, filtered, counted, single] {
            let whole = block_on(node.range(request.clone())).expect("a read succeeds");
            let pages = read(Pages::new(node.clone(), request, 4, 100), || ()).expect("it is read");
            assert_eq!(pages, [whole]);
        }
    }

    #[test]
    fn what_has_no_pages_is_refused_where_it_is_too_large() {
        let node = filled(50, 1000);
        let descending = RangeRequest { sort_order: SortOrder::Descend, ..request() };
        let by_value = RangeRequest { sort_target: SortTarget::Value, ..request() };
        for request in [descending, by_value] {
            let whole = block_on(node.range(request.clone())).expect("a read succeeds");
            let bytes: usize = whole.kvs.iter().map(range::pair_bytes).sum();
            let pages = |request: RangeRequest, bytes_max| {
                Pages::new(node.clone(), request, 4, 100).with_whole_bytes_max(bytes_max)
            };
            assert_eq!(read(pages(request.clone(), bytes), || ()), Ok(vec![whole]));
            let pair = bytes / 50;
            assert_eq!(read_next(pages(request.clone(), bytes - pair)), Err(Error::AnswerTooLarge));
            let some = RangeRequest { limit: 3, ..request };
            let some = read_next(pages(some, 10 * pair)).expect("it is read").expect("there is a page");
            assert_eq!((some.kvs.len(), some.count, some.more), (3, 50, true));
        }
    }

    fn read_next(mut pages: Pages) -> Result<Option<RangeResponse>, Error> {
        block_on(pages.next())
    }

    #[test]
    fn a_whole_range_is_one_answer_or_refused() {
        let node = filled(50, 1000);
        for request in [request(), RangeRequest { sort_order: SortOrder::Descend, limit: 20, ..request() }] {
            let whole = block_on(node.range(request.clone())).expect("a read succeeds");
            let bytes: usize = whole.kvs.iter().map(range::pair_bytes).sum();
            let read = |bytes_max| block_on(Pages::whole(node.clone(), request.clone(), bytes_max));
            assert_eq!(read(bytes), Ok(whole));
            assert_eq!(read(bytes - bytes / 20), Err(Error::AnswerTooLarge));
            assert_eq!(read(1), Err(Error::AnswerTooLarge));
        }
    }

    #[test]
    fn keys_alone_come_in_pages_too() {
        let node = filled(50, 10);
        let keys_only = RangeRequest { keys_only: true, ..request() };
        let pages = read(Pages::new(node.clone(), keys_only, 1024, 570), || ()).expect("the pages are read");
        assert!(pages.iter().all(|page| page.kvs.len() <= 10));
        assert_eq!(keys(&pages).len(), 50);
    }

    #[test]
    fn a_compaction_ends_a_range_that_is_being_read() {
        let node = filled(50, 10);
        let mut pages = Pages::new(node.clone(), request(), 4, 1 << 20);
        block_on(pages.next()).expect("the first page is read");
        let revision = put(&node, "page/0049", "changed");
        block_on(node.compact(CompactRequest { revision, physical: false })).expect("a compaction succeeds");
        assert_eq!(block_on(pages.next()), Err(Error::Compacted { compact_revision: revision }));
        assert_eq!(block_on(pages.next()), Ok(None));
    }
}
