//! Snapshot files, made as fast as the client asks for them.
//!
//! # Invariants
//! - One piece at a time is made and sent; nothing is made ahead.
//! - A snapshot holds back reclaiming, and therefore ends: with its capability, its connection, or once nobody has asked for
//!   more of it for a while.

use super::connection::{Connection, Counted};
use crate::schema::maintenance_capnp::snapshot_stream;
use crate::ticker::Ticker;
use crate::wire;
use bytes::Bytes;
use coffer_core::Error;
use coffer_core::node::SnapshotFile;
use coffer_core::storage::SnapshotHead;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// Bytes of one answer.
const CHUNK_BYTES: usize = 256 << 10;

/// Begins a snapshot for a connection.
pub(super) async fn open(
    connection: &Rc<Connection>,
    deadline_ms: u32,
) -> Result<(SnapshotHead, snapshot_stream::Client), Error> {
    let thread = &connection.thread;
    let count = Counted::take(&connection.counts.snapshots, thread.config.snapshots_max)?;
    let file = connection.read(deadline_ms, thread.node.snapshot_file()).await?;
    let head = *file.head();
    let stream = Rc::new(Stream {
        connection: connection.clone(),
        work: RefCell::new(Some(Work { file, ready: Bytes::new(), _count: count })),
        asked: Cell::new(Instant::now()),
    });
    let (ticker, timeout) = (thread.ticker.clone(), thread.config.snapshot_timeout);
    coffer_runtime::local::spawn(expire(ticker, timeout, Rc::downgrade(&stream)));
    Ok((head, capnp_rpc::new_client_from_rc(stream)))
}

/// The capability of one snapshot.
struct Stream {
    connection: Rc<Connection>,
    /// `None` while a piece is being made, at the end, and after an error.
    work: RefCell<Option<Work>>,
    asked: Cell<Instant>,
}

struct Work {
    file: SnapshotFile,
    /// What is made and not sent.
    ready: Bytes,
    _count: Counted,
}

impl Work {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Bytes, Error> {
        if self.ready.is_empty() {
            self.ready = self.file.next().await?.unwrap_or_default();
        }
        Ok(self.ready.split_to(CHUNK_BYTES.min(self.ready.len())))
    }
}

/// Lets go of a snapshot that nobody asks for. Holds nothing of it meanwhile.
async fn expire(ticker: Ticker, timeout: Duration, stream: Weak<Stream>) {
    let mut wait = timeout;
    loop {
        ticker.after(wait).await;
        let Some(stream) = stream.upgrade() else { return };
        wait = timeout.saturating_sub(stream.asked.get().elapsed());
        if wait.is_zero() && stream.work.take().is_some() {
            tracing::warn!("a snapshot ends: its client asks for no more of it");
            return;
        }
        // A piece that is being made now counts as asked for.
        wait = wait.max(Duration::from_millis(100));
    }
}

impl snapshot_stream::Server for Stream {
    async fn next(
        self: Rc<Self>,
        _: snapshot_stream::NextParams,
        mut results: snapshot_stream::NextResults,
    ) -> capnp::Result<()> {
        self.connection.link.room().await;
        self.asked.set(Instant::now());
        let outcome = match self.work.take() {
            Some(mut work) => match work.next().await {
                Ok(bytes) => {
                    if !bytes.is_empty() {
                        self.work.replace(Some(work));
                    }
                    Ok(bytes)
                }
                Err(error) => Err(error),
            },
            None => Err(Error::InvalidArgument(
                "the snapshot has ended, or more of it was asked for before an answer".into(),
            )),
        };
        self.asked.set(Instant::now());
        match outcome {
            Ok(bytes) if bytes.is_empty() => results.get().set_end(()),
            Ok(bytes) => {
                self.connection.link.expect_words(bytes.len() / 8 + 64);
                results.get().set_bytes(&bytes);
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }
}
