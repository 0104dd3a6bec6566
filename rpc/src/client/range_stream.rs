//! Reading a range in pieces.

use super::engine::{BACKOFF_MAX, BACKOFF_MIN, Engine, Kind, jittered};
use super::{Client, call};
use crate::schema::kv_capnp::range_sink;
use crate::wire;
use async_channel::{Receiver, Sender};
use bytes::{BufMut, Bytes, BytesMut};
use coffer_core::request::{RangeRequest, RangeResponse};
use coffer_core::{Error, KeyRange, KeyValue};
use futures_util::FutureExt;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Pieces that wait for the user. While it is full, the server waits.
const PIECES_MAX: usize = 2;
/// Pieces that a server may send without being acknowledged. An honest one sends about two.
const UNACKNOWLEDGED_MAX: usize = 64;

/// A range that arrives in pieces, all at one revision. Dropping it stops the server.
pub struct RangeStream {
    pieces: Pin<Box<Receiver<Result<Piece, Error>>>>,
    ended: Option<RangeResponse>,
    _client: Client,
}

enum Piece {
    Pairs(Vec<KeyValue>),
    /// The last: everything but the pairs.
    End(RangeResponse),
}

impl RangeStream {
    pub(super) fn new(client: Client, request: RangeRequest) -> Self {
        let (pieces, receiver) = async_channel::bounded(PIECES_MAX);
        let deadline = client.deadline;
        let failed = pieces.clone();
        let started = client.run(move |engine| {
            let engine = engine.clone();
            coffer_runtime::local::spawn(async move {
                let pieces_out = pieces.clone();
                let fetch =
                    Fetch { engine, request, deadline, pieces: pieces_out, delivered: 0, only_more: false };
                if let Err(error) = fetch.run().await {
                    let _ = pieces.send(Err(error)).await;
                }
            });
        });
        if let Err(error) = started {
            let _ = failed.try_send(Err(error));
        }
        Self { pieces: Box::pin(receiver), ended: None, _client: client }
    }

    /// The next pairs; `None` after the last.
    ///
    /// # Errors
    /// Those of a range. [`Error::Compacted`] if the revision was compacted on the way. Nothing follows an error.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, Error> {
        if self.ended.is_some() {
            return Ok(None);
        }
        match self.pieces.recv().await {
            Ok(Ok(Piece::Pairs(pairs))) => Ok(Some(pairs)),
            Ok(Ok(Piece::End(end))) => {
                self.ended = Some(end);
                Ok(None)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Unavailable("the connection was lost".into())),
        }
    }

    /// After the last piece: header, count and whether a limit cut something off. The pairs are empty.
    pub fn end(&self) -> Option<&RangeResponse> {
        self.ended.as_ref()
    }

    /// Everything in one answer.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn collect(mut self) -> Result<RangeResponse, Error> {
        let mut kvs = Vec::new();
        while let Some(pairs) = self.next().await? {
            kvs.extend(pairs);
        }
        let mut response = self.ended.unwrap_or_default();
        response.kvs = kvs;
        Ok(response)
    }
}

impl fmt::Debug for RangeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The work of one stream on the client's thread.
struct Fetch {
    engine: Rc<Engine>,
    /// What is left to ask for.
    request: RangeRequest,
    deadline: Duration,
    pieces: Sender<Result<Piece, Error>>,
    /// Pairs delivered by connections that broke.
    delivered: i64,
    /// The limit was reached just as a connection broke: what is left to learn is whether it cut something off.
    only_more: bool,
}

/// Nobody takes the pieces any more.
struct Abandoned;

impl Fetch {
    /// Fetches piece after piece, again where it is refused and on another connection where one breaks. The deadline is that of each connection that
    /// brings nothing.
    async fn run(mut self) -> Result<(), Error> {
        let resumable = self.request.limit_stops_walk();
        let mut at = Instant::now() + self.deadline;
        let mut backoff = BACKOFF_MIN;
        loop {
            let no_connection = Error::Unavailable("no connection in time".into());
            let connection =
                self.engine.ticker.within(at, self.engine.connection()).await.ok_or(no_connection)??;
            let sink = Rc::new(Sink::default());
            let client = capnp_rpc::new_client_from_rc(sink.clone());
            let call = call::range_stream(&connection, &self.request, client);
            let Ok(outcome) = self.forward(call, &sink).await else { return Ok(()) };
            let failure = match outcome {
                Ok(Ok(mut end)) => {
                    end.more = if self.only_more { end.count > 0 } else { end.more };
                    end.count += self.delivered;
                    let _ = self.pieces.send(Ok(Piece::End(end))).await;
                    return Ok(());
                }
                Ok(Err(error)) => self.engine.refused(&connection, error)?,
                Err(error) => match error.kind {
                    capnp::ErrorKind::Overloaded => Error::TooManyRequests,
                    capnp::ErrorKind::Unimplemented => return Err(Error::Unsupported(error.to_string())),
                    capnp::ErrorKind::Disconnected => Kind::Read.lost(),
                    _ => return Err(Error::Unavailable(format!("unusable answer: {error}"))),
                },
            };
            let has_begun = sink.last.borrow().is_some();
            if has_begun && !resumable {
                return Err(failure);
            }
            if has_begun {
                self.resume_after(&sink);
                (at, backoff) = (Instant::now() + self.deadline, BACKOFF_MIN);
            }
            // Never at once: the connection learns only now that it is broken.
            let pause = jittered(backoff);
            if Instant::now() + pause >= at {
                return Err(failure);
            }
            self.engine.ticker.after(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Passes on what arrives at `sink` until the call has ended and everything is passed on.
    async fn forward<T>(&self, call: impl Future<Output = T>, sink: &Sink) -> Result<T, Abandoned> {
        let mut call = pin!(call.fuse());
        let mut outcome = None;
        loop {
            let piece = poll_fn(|cx| {
                if outcome.is_none()
                    && let Poll::Ready(ended) = call.as_mut().poll(cx)
                {
                    outcome = Some(ended);
                }
                match sink.poll_take(cx) {
                    Poll::Ready(piece) => Poll::Ready(Some(piece)),
                    Poll::Pending if outcome.is_some() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            match piece {
                Some(_) if self.only_more => {}
                Some(pairs) => self.pieces.send(Ok(Piece::Pairs(pairs))).await.map_err(|_| Abandoned)?,
                None => match outcome.take() {
                    Some(outcome) => return Ok(outcome),
                    None => return Err(Abandoned),
                },
            }
        }
    }

    /// Asks for what comes after the last pair, at the same revision.
    fn resume_after(&mut self, sink: &Sink) {
        let Some((last, revision)) = sink.last.take() else { return };
        if self.only_more {
            return;
        }
        let count = sink.count.get();
        self.delivered += count;
        if self.request.limit > 0 {
            self.only_more = self.request.limit <= count;
            self.request.limit = (self.request.limit - count).max(1);
        }
        let mut start = BytesMut::with_capacity(last.len() + 1);
        start.put_slice(&last);
        start.put_u8(0);
        self.request.range = KeyRange::from_wire(start.freeze(), self.request.range.wire_end());
        self.request.revision = revision;
    }
}

/// The client's end of one call.
#[derive(Default)]
struct Sink {
    pieces: RefCell<VecDeque<Vec<KeyValue>>>,
    /// The last key that arrived, and its revision.
    last: RefCell<Option<(Bytes, i64)>>,
    /// Pairs that arrived.
    count: Cell<i64>,
    taker: Cell<Option<Waker>>,
    /// Calls that wait with their acknowledgement.
    full: RefCell<Vec<Waker>>,
}

impl Sink {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Vec<KeyValue>> {
        match self.pieces.borrow_mut().pop_front() {
            Some(piece) => {
                self.full.take().into_iter().for_each(Waker::wake);
                Poll::Ready(piece)
            }
            None => {
                self.taker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl range_sink::Server for Sink {
    async fn chunk(self: Rc<Self>, params: range_sink::ChunkParams) -> capnp::Result<()> {
        let chunk = params.get()?;
        let pairs = wire::get_key_values(chunk.get_kvs()?)?;
        if self.pieces.borrow().len() >= UNACKNOWLEDGED_MAX {
            return Err(capnp::Error::overloaded("chunks are sent without waiting".into()));
        }
        // The last piece is empty: it is there to be acknowledged.
        let Some(last) = pairs.last() else { return Ok(()) };
        self.last.replace(Some((last.key.clone(), chunk.get_revision())));
        self.count.set(self.count.get() + pairs.len() as i64);
        self.pieces.borrow_mut().push_back(pairs);
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
        drop(params);
        poll_fn(|cx| {
            if self.pieces.borrow().len() < PIECES_MAX {
                return Poll::Ready(());
            }
            self.full.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(())
    }
}
