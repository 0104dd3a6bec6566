//! A big range, piece by piece, at one revision, with bounded memory.

use crate::client::{Client, Place};
use bytes::{BufMut, Bytes, BytesMut};
use coffer_core::request::{RangeRequest, SortOrder, SortTarget};
use coffer_core::{Error, KeyRange, KeyValue};
use coffer_rpc::client::RangeStream;
use std::ops::Bound;

/// Keys in the first page: few, because the largest values of all may come first.
const FIRST_KEYS: i64 = 16;
/// Most keys in a page, however small they are.
const KEYS_MAX: i64 = 16 * 1024;
/// What a page should weigh. Pages grow and shrink towards it.
const TARGET_BYTES: i64 = 2 * 1024 * 1024;
/// What a key weighs beside its own bytes.
const OVERHEAD_BYTES: i64 = 96;

/// Reads a range in pages. Made by [`crate::Range::pages`].
///
/// All pages show the store at one revision: the one asked for, or the newest when the first page was read. If that
/// revision is compacted away meanwhile, the next page fails with [`Error::Compacted`].
#[derive(Debug)]
pub struct Pages {
    client: Client,
    /// The request for the next page; its range is what is left to read.
    request: RangeRequest,
    /// Keys that the caller still wants; `None` for all.
    left: Option<i64>,
    page_keys: i64,
    /// What brings all pages but the first from a remote store.
    stream: Option<RangeStream>,
    finished: bool,
}

impl Pages {
    pub(crate) fn new(client: Client, request: RangeRequest) -> Self {
        let left = (request.limit > 0).then_some(request.limit);
        Self { client, request, left, page_keys: FIRST_KEYS, stream: None, finished: false }
    }

    /// As [`new`](Self::new), for a request that somebody else put together.
    fn checked(client: Client, request: RangeRequest) -> Result<Self, Error> {
        let pages = Self::new(client, request);
        pages.check()?;
        Ok(pages)
    }

    /// The revision that all pages show: 0 until the first page was read, if none was asked for.
    pub fn revision(&self) -> i64 {
        self.request.revision.max(0)
    }

    /// The next page, never empty; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a range that is sorted other than by key, ascending, or that only counts;
    /// else as a range. Nothing follows an error.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, Error> {
        self.check()?;
        while !self.finished {
            let page = match &mut self.stream {
                Some(stream) => stream.next().await,
                None => self.page().await.map(Some),
            };
            match page {
                Ok(Some(kvs)) if kvs.is_empty() => {}
                Ok(Some(kvs)) => return Ok(Some(kvs)),
                Ok(None) => self.finished = true,
                Err(error) => {
                    self.finished = true;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Asks for one page. The first tells the revision of the others.
    async fn page(&mut self) -> Result<Vec<KeyValue>, Error> {
        self.request.limit = self.left.map_or(self.page_keys, |left| left.min(self.page_keys));
        let response = self.client.range_request(self.request.clone()).await?;
        if self.request.revision <= 0 {
            self.request.revision = response.header.revision;
        }
        if let Some(left) = &mut self.left {
            *left -= response.kvs.len() as i64;
        }
        match response.kvs.last() {
            Some(last) if response.more && self.left != Some(0) => {
                self.request.range = rest_after(&self.request.range, &last.key);
                self.adapt(&response.kvs);
                self.stream = self.stream()?;
            }
            _ => self.finished = true,
        }
        Ok(response.kvs)
    }

    /// A remote store sends the rest by itself, as fast as it is taken.
    fn stream(&self) -> Result<Option<RangeStream>, Error> {
        match self.client.place() {
            Place::Embedded(_) => Ok(None),
            Place::Remote(client) => {
                let request = RangeRequest { limit: self.left.unwrap_or(0), ..self.request.clone() };
                Ok(Some(client.get()?.range_stream(request)))
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        let request = &self.request;
        if request.sort_target != SortTarget::Key || request.sort_order == SortOrder::Descend {
            return Err(Error::InvalidArgument("pages come in key order: ask for no other sort".into()));
        }
        if request.has_filters() || request.count_only {
            return Err(Error::InvalidArgument("a count or a filtered range has no pages: await it".into()));
        }
        Ok(())
    }

    /// Chooses the size of the next page by the weight of this one.
    fn adapt(&mut self, kvs: &[KeyValue]) {
        let keys = kvs.len() as i64;
        let bytes: i64 = kvs.iter().map(|kv| (kv.key.len() + kv.value.len()) as i64 + OVERHEAD_BYTES).sum();
        if keys > 0 {
            let fitting = (TARGET_BYTES * keys / bytes).max(1);
            self.page_keys = fitting.min(self.page_keys * 4).min(KEYS_MAX);
        }
    }
}

impl Client {
    /// Reads a range piece by piece, as the request says: see [`Range::pages`](crate::Range::pages). Nothing is read yet.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a range that has no pages.
    pub fn pages(&self, request: RangeRequest) -> Result<Pages, Error> {
        Pages::checked(self.clone(), request)
    }
}

/// What of `range` lies above `last`.
fn rest_after(range: &KeyRange, last: &Bytes) -> KeyRange {
    let mut start = BytesMut::with_capacity(last.len() + 1);
    start.put_slice(last);
    start.put_u8(0);
    match range.end_bound() {
        Bound::Excluded(_) => KeyRange::between(start, range.wire_end()),
        Bound::Unbounded => KeyRange::from(start),
        Bound::Included(_) => range.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_starts_right_above_the_last_key() {
        let last = Bytes::from_static(b"ab");
        let rest = rest_after(&KeyRange::prefix("a"), &last);
        assert!(
            !rest.contains(b"ab") && rest.contains(b"ab\0") && rest.contains(b"az") && !rest.contains(b"b")
        );
        let rest = rest_after(&KeyRange::all(), &last);
        assert!(!rest.contains(b"ab") && rest.contains(b"ab\0") && rest.contains(b"\xff"));
    }
}
