//! Keys and values.

use super::connection::{Connection, Counted};
use crate::schema::kv_capnp::{kv, range_sink};
use crate::wire::{self, size};
use capnp::capability::StreamingRequest;
use coffer_core::node::{Node, Pages};
use coffer_core::request::{RangeRequest, RangeResponse};
use coffer_core::{Error, KeyValue};
use std::rc::Rc;

/// Keys in the first page of a stream: it is most often cut by its bytes.
const STREAM_KEYS: usize = 64;
/// About how much one page takes.
const PAGE_BYTES: usize = 1 << 20;
/// About how much one message of a stream takes.
const CHUNK_BYTES: usize = 128 << 10;

pub(super) struct Kv {
    connection: Rc<Connection>,
    node: Node,
}

impl Kv {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        let node = connection.thread.node.clone();
        Self { connection, node }
    }

    /// Reads a range that fits one message, and tells how many words that takes.
    async fn read_range(&self, request: RangeRequest) -> Result<(RangeResponse, usize), Error> {
        let bytes_max = self.connection.thread.config.reply_bytes_max;
        // In words a pair takes no less than it counts for here: whatever is refused is too large.
        let response = Pages::whole(self.node.clone(), request, bytes_max).await?;
        let words = size::range_response(&response);
        if words * 8 > bytes_max { Err(Error::AnswerTooLarge) } else { Ok((response, words)) }
    }

    /// Sends a range in pieces and returns it without its pairs.
    async fn send_range(
        &self,
        request: RangeRequest,
        sink: &range_sink::Client,
    ) -> Result<RangeResponse, Error> {
        let asked_revision = request.revision;
        let mut pages = Pages::new(self.node.clone(), request, STREAM_KEYS, PAGE_BYTES);
        let mut whole: Option<RangeResponse> = None;
        loop {
            self.connection.link.room().await;
            let Some(mut page) = pages.next().await? else { break };
            let kvs = std::mem::take(&mut page.kvs);
            let revision = if asked_revision > 0 {
                asked_revision
            } else {
                whole.as_ref().unwrap_or(&page).header.revision
            };
            for chunk in chunks(&kvs) {
                let mut call = self.chunk(sink, chunk);
                call.get().set_revision(revision);
                call.send().await.map_err(|_| Error::Canceled)?;
            }
            match &mut whole {
                Some(whole) => whole.more = page.more,
                None => whole = Some(page),
            }
        }
        self.all_arrived(sink).await?;
        whole.ok_or(Error::Canceled)
    }

    /// Waits until the receiver has every piece, because the answer to the whole call can overtake pieces that were
    /// only sent: an empty piece that is acknowledged comes after them.
    async fn all_arrived(&self, sink: &range_sink::Client) -> Result<(), Error> {
        let StreamingRequest { hook, .. } = self.chunk(sink, &[]);
        hook.send().promise.await.map(drop).map_err(|_| Error::Canceled)
    }

    fn chunk(
        &self,
        sink: &range_sink::Client,
        kvs: &[KeyValue],
    ) -> StreamingRequest<range_sink::chunk_params::Owned> {
        self.connection.link.expect_words(size::FRAME_WORDS + size::key_values(kvs));
        let mut call = sink.chunk_request();
        wire::put_key_values(kvs, call.get().init_kvs(wire::list_len(kvs.len())));
        call
    }
}

/// Pieces of about [`CHUNK_BYTES`], of at least one pair each.
fn chunks(kvs: &[KeyValue]) -> impl Iterator<Item = &[KeyValue]> {
    let mut rest = kvs;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|kv| {
            let fits = bytes < CHUNK_BYTES;
            bytes += size::key_value(kv) * 8;
            fits
        });
        let (chunk, left) = rest.split_at(fits.count());
        rest = left;
        (!chunk.is_empty()).then_some(chunk)
    })
}

impl kv::Server for Kv {
    async fn range(
        self: Rc<Self>,
        params: kv::RangeParams,
        mut results: kv::RangeResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let link = &self.connection.link;
        link.room().await;
        let work = async { self.read_range(wire::kv::get_range_request(request)?).await };
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok((response, words)) => {
                link.room().await;
                link.expect_words(words);
                wire::kv::put_range_response(&response, results.get().init_ok());
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn put(self: Rc<Self>, params: kv::PutParams, mut results: kv::PutResults) -> capnp::Result<()> {
        let request = params.get()?;
        let work = async { self.node.put(wire::kv::get_put_request(request)?).await };
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(response) => {
                let words = size::FRAME_WORDS + response.prev_kv.as_ref().map_or(0, size::key_value);
                self.connection.link.expect_words(words);
                wire::kv::put_put_response(&response, results.get().init_ok());
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn delete_range(
        self: Rc<Self>,
        params: kv::DeleteRangeParams,
        mut results: kv::DeleteRangeResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = async { self.node.delete_range(wire::kv::get_delete_range_request(request)?).await };
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(response) => {
                self.connection.link.room().await;
                self.connection.link.expect_words(size::FRAME_WORDS + size::key_values(&response.prev_kvs));
                wire::kv::put_delete_range_response(&response, results.get().init_ok());
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn txn(self: Rc<Self>, params: kv::TxnParams, mut results: kv::TxnResults) -> capnp::Result<()> {
        let request = params.get()?;
        let work = async { self.node.txn(wire::txn::get_request(request)?).await };
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(response) => {
                self.connection.link.room().await;
                self.connection.link.expect_words(size::txn_response(&response));
                wire::txn::put_response(&response, results.get().init_ok());
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn compact(
        self: Rc<Self>,
        params: kv::CompactParams,
        mut results: kv::CompactResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.node.compact(wire::kv::get_compact_request(request));
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(response) => wire::kv::put_compact_response(&response, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn range_stream(
        self: Rc<Self>,
        params: kv::RangeStreamParams,
        mut results: kv::RangeStreamResults,
    ) -> capnp::Result<()> {
        let counts = &self.connection.counts;
        let prepared = {
            let params = params.get()?;
            let sink = params.get_sink()?;
            Counted::take(&counts.range_streams, self.connection.thread.config.range_streams_max).and_then(
                |count| {
                    Ok((
                        wire::kv::get_range_request(params.get_request().map_err(wire::malformed)?)?,
                        sink,
                        count,
                    ))
                },
            )
        };
        // The stream waits for its receiver's acknowledgements, which must not wait for the stream.
        drop(params);
        let outcome = match prepared {
            Ok((request, sink, _count)) => self.send_range(request, &sink).await,
            Err(error) => Err(error),
        };
        let result = results.get().init_result();
        match outcome {
            Ok(response) => wire::kv::put_range_response(&response, result.init_ok()),
            Err(error) => wire::error::put(&error, result.init_err()),
        }
        Ok(())
    }
}
