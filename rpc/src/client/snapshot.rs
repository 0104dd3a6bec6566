//! Reading a snapshot file from a server.
//!
//! A snapshot belongs to one connection: where that breaks, the file is not whole and cannot be gone on with.

use super::engine::{Engine, Kind};
use super::{Client, call};
use async_channel::{Receiver, Sender};
use bytes::Bytes;
use coffer_core::Error;
use coffer_core::storage::SnapshotHead;
use futures_channel::oneshot;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Pieces that wait for the user. While they are that many, no more are asked for.
const PIECES_MAX: usize = 2;

/// A snapshot file that arrives in pieces.
pub struct Snapshot {
    head: SnapshotHead,
    /// Empty bytes are the end.
    pieces: Pin<Box<Receiver<Result<Bytes, Error>>>>,
    ended: bool,
    _client: Client,
}

impl Snapshot {
    pub(super) async fn begin(client: Client) -> Result<Self, Error> {
        let (pieces, receiver) = async_channel::bounded(PIECES_MAX);
        let (begun, head) = oneshot::channel();
        let deadline = client.deadline;
        client.run(move |engine| {
            coffer_runtime::local::spawn(fetch(engine.clone(), deadline, begun, pieces));
        })?;
        let head = head.await.unwrap_or_else(|_| Err(Kind::Read.lost()))?;
        Ok(Self { head, pieces: Box::pin(receiver), ended: false, _client: client })
    }

    /// What the file says of itself.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next bytes of the file, not none; `None` at its end.
    ///
    /// # Errors
    /// The node has stopped or its medium failed, the connection broke, or nothing came within the client's deadline.
    /// What arrived is then no snapshot, and nothing follows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.ended {
            return Ok(None);
        }
        let piece = self.pieces.recv().await.unwrap_or_else(|_| Err(lost()));
        self.ended = piece.as_ref().map_or(true, Bytes::is_empty);
        Ok(piece.map(Some)?.filter(|bytes| !bytes.is_empty()))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("head", &self.head).finish_non_exhaustive()
    }
}

/// The work on the client's thread. The deadline is that of the beginning, and of each piece.
async fn fetch(
    engine: Rc<Engine>,
    deadline: Duration,
    begun: oneshot::Sender<Result<SnapshotHead, Error>>,
    pieces: Sender<Result<Bytes, Error>>,
) {
    let opened = engine.clone().call(Kind::Read, Instant::now() + deadline, call::snapshot).await;
    let stream = match opened {
        Ok((head, stream)) => match begun.send(Ok(head)) {
            Ok(()) => stream,
            // Nobody waits any more.
            Err(_) => return,
        },
        Err(error) => return drop(begun.send(Err(error))),
    };
    loop {
        let answer = engine.ticker.within(Instant::now() + deadline, call::snapshot_bytes(&stream)).await;
        let piece = match answer {
            Some(Ok(piece)) => piece,
            Some(Err(error)) if error.kind == capnp::ErrorKind::Disconnected => Err(lost()),
            Some(Err(error)) => Err(Error::Unavailable(format!("unusable answer: {error}"))),
            None => Err(Error::Timeout),
        };
        let is_last = piece.as_ref().map_or(true, Bytes::is_empty);
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

fn lost() -> Error {
    Error::Unavailable("the connection was lost before the end of the snapshot".into())
}
