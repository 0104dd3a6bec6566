//! A node's content as the bytes of a snapshot file.
//!
//! # Data path
//! [`SnapshotView`] -> records in pages -> the record store's [`SnapshotWriter`], which seals them -> [`SnapshotFile`].
//!
//! # Invariants
//! - The file shows one revision, whatever is written meanwhile. Reclaiming is held back until the stream is dropped.
//! - Nothing is made before it is asked for: memory is bounded by a page.

use super::{Node, SnapshotView};
use crate::error::Error;
use crate::revision::Revision;
use crate::storage::{SnapshotHead, SnapshotLease, SnapshotWriter};
use bytes::Bytes;
use coffer_runtime::{TaskError, unblock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of records that one step takes.
const STEP_BYTES: usize = 1 << 20;

/// A snapshot file that is being made.
#[derive(Debug)]
pub struct SnapshotFile {
    head: SnapshotHead,
    /// `None` at the end, and after an error.
    producer: Option<Box<Producer>>,
}

impl Node {
    /// Begins a snapshot file of everything that the node holds now, sealed as its store is.
    ///
    /// Any executor: what blocks runs on other threads.
    ///
    /// # Errors
    /// The node has stopped; its store makes no such files, or its keys cannot be read.
    pub async fn snapshot_file(&self) -> Result<SnapshotFile, Error> {
        let view = self.snapshot_view().await?;
        let header = self.header();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let head = SnapshotHead {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: view.revision(),
            compact_revision: view.compact_revision(),
            applied: view.applied(),
            created_s: since.map_or(0, |since| since.as_secs()),
        };
        let writer = unblock(move || view.writer().map(|writer| (view, writer)));
        let (view, writer) = writer.await.map_err(panicked)??;
        Ok(SnapshotFile {
            head,
            producer: Some(Box::new(Producer { head, view, writer, stage: Stage::Begin })),
        })
    }
}

impl SnapshotFile {
    /// What the file says of itself.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next bytes of the file, not none; `None` at its end, and after an error.
    ///
    /// # Errors
    /// The node has stopped, or its medium failed. What was made is then no snapshot.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(mut producer) = self.producer.take() {
            let step = unblock(move || producer.step().map(|bytes| (producer, bytes)));
            let (producer, bytes) = step.await.map_err(panicked)??;
            if !producer.is_done() {
                self.producer = Some(producer);
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Makes the file in steps. Blocks on the node's medium.
#[derive(Debug)]
struct Producer {
    head: SnapshotHead,
    view: SnapshotView,
    writer: Box<dyn SnapshotWriter>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    /// From this revision on.
    Records(Revision),
    Done,
}

impl Producer {
    fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Some more bytes of the file.
    fn step(&mut self) -> Result<Bytes, Error> {
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Records(Revision::default());
                let head = self.writer.begin(&self.head)?;
                let leases = self.view.leases().iter();
                let leases: Vec<SnapshotLease> = leases
                    .map(|(id, info)| SnapshotLease {
                        id: *id,
                        ttl_s: info.ttl_s,
                        remaining_s: info.remaining_s,
                    })
                    .collect();
                Ok([head, self.writer.leases(&leases)?].concat().into())
            }
            Stage::Records(next) => {
                let page = self.view.page(next, STEP_BYTES)?;
                match page.last().map(|record| record.revision) {
                    Some(last) => {
                        self.stage = Stage::Records(Revision { sub: last.sub.saturating_add(1), ..last });
                        Ok(self.writer.records(&page)?)
                    }
                    None => {
                        self.stage = Stage::Done;
                        Ok(self.writer.end()?)
                    }
                }
            }
            Stage::Done => Ok(Bytes::new()),
        }
    }
}

fn panicked(error: TaskError) -> Error {
    Error::Fatal(error.to_string())
}
