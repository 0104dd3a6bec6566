//! Watch streams: what core's stream delivers goes to the client's sink, as fast as the client takes it.
//!
//! Responses that are ready together travel together: an event costs a fraction of a message. Where many streams are
//! busy, each waits a little so that more of them are ([`Pace`](super::pace::Pace)). While the client does not
//! acknowledge, nothing is taken from core's stream, whose queue is bounded.

use super::connection::{Connection, Counted};
use crate::schema::watch_capnp::{watch, watch_sink, watch_stream};
use crate::wire::{self, size};
use coffer_core::Error;
use coffer_core::watch::{WatchKind, WatchResponse, WatchStream};
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, abortable};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;

/// About how much one message carries.
const MESSAGE_BYTES: usize = 64 << 10;

pub(super) struct Watch {
    connection: Rc<Connection>,
}

impl Watch {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        Self { connection }
    }
}

impl watch::Server for Watch {
    async fn open(
        self: Rc<Self>,
        params: watch::OpenParams,
        mut results: watch::OpenResults,
    ) -> capnp::Result<()> {
        let sink = params.get()?.get_sink()?;
        let connection = &self.connection;
        let max = connection.thread.config.watch_streams_max;
        let count = Counted::take(&connection.counts.watch_streams, max)
            .map_err(|_| capnp::Error::overloaded("too many watch streams on one connection".into()))?;
        let shared = Rc::new(Shared {
            connection: connection.clone(),
            stream: RefCell::new(connection.thread.node.watch()),
            watchers: RefCell::default(),
            _count: count,
        });
        let (pump, abort) = abortable(shared.clone().pump(sink));
        coffer_runtime::local::spawn(pump);
        results.get().set_stream(capnp_rpc::new_client(Stream { shared, pump: abort }));
        Ok(())
    }
}

/// What a stream's capability and its pump share.
struct Shared {
    connection: Rc<Connection>,
    stream: RefCell<WatchStream>,
    watchers: RefCell<HashMap<i64, Counted>>,
    _count: Counted,
}

/// The capability. The pump ends with it.
struct Stream {
    shared: Rc<Shared>,
    pump: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl watch_stream::Server for Stream {
    async fn create(
        self: Rc<Self>,
        params: watch_stream::CreateParams,
        mut results: watch_stream::CreateResults,
    ) -> capnp::Result<()> {
        let created = wire::watch::get_request(params.get()?).and_then(|request| {
            let connection = &self.shared.connection;
            let count = Counted::take(&connection.counts.watchers, connection.thread.config.watchers_max)?;
            let id = self.shared.stream.borrow_mut().create(request)?;
            self.shared.watchers.borrow_mut().insert(id, count);
            Ok(id)
        });
        match created {
            Ok(id) => results.get().set_ok(id),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn cancel(
        self: Rc<Self>,
        params: watch_stream::CancelParams,
        _: watch_stream::CancelResults,
    ) -> capnp::Result<()> {
        self.shared.stream.borrow_mut().cancel(params.get()?.get_watch_id());
        Ok(())
    }

    async fn progress(
        self: Rc<Self>,
        _: watch_stream::ProgressParams,
        _: watch_stream::ProgressResults,
    ) -> capnp::Result<()> {
        self.shared.stream.borrow_mut().request_progress();
        Ok(())
    }
}

impl Shared {
    /// Takes from core and sends to the client, until either has nothing more to say.
    async fn pump(self: Rc<Self>, sink: watch_sink::Client) {
        let next = || poll_fn(|cx| self.stream.borrow_mut().poll_next(cx));
        let pace = &self.connection.thread.pace;
        let mut round = 0;
        while let Some(mut responses) = next().await {
            if message_len(&responses) == responses.len() {
                pace.turn(round).await;
                // What came meanwhile. The end of the stream is found by the next wait.
                responses.extend(next().now_or_never().flatten().unwrap_or_default());
            }
            self.forget_canceled(&responses);
            for batch in batches(&responses) {
                round = pace.sent();
                if self.send(&sink, batch).await.is_err() {
                    return;
                }
            }
        }
        let mut end = sink.end_request();
        wire::error::put(&Error::Stopped, end.get().init_error());
        let promise = end.send().promise;
        let _ = promise.await;
    }

    async fn send(&self, sink: &watch_sink::Client, batch: &[WatchResponse]) -> capnp::Result<()> {
        let words = size::FRAME_WORDS + batch.iter().map(size::watch_response).sum::<usize>();
        self.connection.link.expect_words(words);
        let mut call = sink.responses_request();
        let mut list = call.get().init_responses(wire::list_len(batch.len()));
        for (index, response) in (0..).zip(batch) {
            wire::watch::put_response(response, list.reborrow().get(index));
        }
        call.send().await
    }

    fn forget_canceled(&self, responses: &[WatchResponse]) {
        let canceled =
            responses.iter().filter(|response| matches!(response.kind, WatchKind::Canceled { .. }));
        for response in canceled {
            response.watch_ids.iter().for_each(|id| drop(self.watchers.borrow_mut().remove(id)));
        }
    }
}

/// Pieces of about [`MESSAGE_BYTES`], of at least one response each.
fn batches(responses: &[WatchResponse]) -> impl Iterator<Item = &[WatchResponse]> {
    let mut rest = responses;
    std::iter::from_fn(move || {
        let (batch, left) = rest.split_at(message_len(rest));
        rest = left;
        (!batch.is_empty()).then_some(batch)
    })
}

/// How many of the responses travel in one message.
fn message_len(responses: &[WatchResponse]) -> usize {
    let mut bytes = 0;
    let fits = responses.iter().take_while(|response| {
        let fits = bytes < MESSAGE_BYTES;
        bytes += size::watch_response(response) * 8;
        fits
    });
    fits.count()
}
