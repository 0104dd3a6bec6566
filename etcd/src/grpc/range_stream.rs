//! A range in pieces: chunk by chunk, at the revision of the first.
//!
//! A chunk is read when the connection asks for it: a client that reads slowly has at most one of them in memory, and
//! holds nothing back in the store. So a compaction may end its range, with the error that says so.

use crate::convert::status;
use crate::proto::etcdserverpb::{RangeResponse, RangeStreamResponse};
use coffer_core::Error;
use coffer_core::node::{Node, Pages};
use coffer_core::request::{Header, RangeRequest, SortOrder, SortTarget};
use coffer_runtime::timeout;
use futures_util::stream::{self, Stream};
use std::time::Duration;
use tonic::Status;

/// Keys in the first chunk. What they take tells how many the next ones can have.
const FIRST_KEYS: usize = 10;

/// The chunks of `request`; each may take `patience`.
pub(super) fn chunks(
    node: &Node,
    mut request: RangeRequest,
    patience: Duration,
) -> Result<impl Stream<Item = Result<RangeStreamResponse, Status>> + use<>, Status> {
    check(&request)?;
    // Where no order is asked for etcd takes no notice of the target either.
    request.sort_target = SortTarget::Key;
    let chunk_bytes = node.request_bytes_max();
    let pages = Pages::new(node.clone(), request, FIRST_KEYS, chunk_bytes);
    let chunks = Chunks { pages, patience, first: None };
    Ok(stream::try_unfold(chunks, |mut chunks| async move {
        let chunk = chunks.next().await.map_err(status)?;
        Ok(chunk.map(|chunk| (chunk, chunks)))
    }))
}

/// Refuses what can not be told before all of it is known.
fn check(request: &RangeRequest) -> Result<(), Status> {
    let in_key_order = match request.sort_order {
        SortOrder::None => true,
        SortOrder::Ascend => request.sort_target == SortTarget::Key,
        SortOrder::Descend => false,
    };
    if request.range.start().is_empty() {
        Err(status(Error::EmptyKey))
    } else if !in_key_order {
        Err(Status::unimplemented("RangeStream does not support custom sort orders"))
    } else if request.has_filters() {
        Err(Status::unimplemented("RangeStream does not support revision filters"))
    } else {
        Ok(())
    }
}

struct Chunks {
    pages: Pages,
    patience: Duration,
    /// What the first page said of the whole range.
    first: Option<(Header, i64)>,
}

impl Chunks {
    /// The last chunk has the header, the count and whether there is more; the others have pairs alone, so that all of
    /// them merge to what a range would have answered.
    async fn next(&mut self) -> Result<Option<RangeStreamResponse>, Error> {
        let page = timeout(self.patience, self.pages.next()).await.unwrap_or(Err(Error::Timeout))?;
        let Some(page) = page else { return Ok(None) };
        let (header, count) = *self.first.get_or_insert((page.header, page.count));
        let mut chunk = RangeResponse::from(page);
        if self.pages.is_done() {
            chunk.header = Some(header.into());
            chunk.count = count;
        } else {
            (chunk.header, chunk.more, chunk.count) = (None, false, 0);
        }
        Ok(Some(RangeStreamResponse { range_response: Some(chunk) }))
    }
}
