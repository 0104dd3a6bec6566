//! A node's content as a stream in etcd's format.

use super::schema::{self, named, number};
use crate::bbolt::{Differs, Measure, Plan, Writer};
use bytes::Bytes;
use coffer_core::Error;
use coffer_core::node::{Node, SnapshotView};
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::state::LeaseInfo;
use coffer_runtime::unblock;
use futures_util::{Stream, stream as streams};
use sha2::{Digest, Sha256};

/// Bytes of a blob, as etcd cuts them.
const BLOB_BYTES: usize = 32 << 10;
/// Bytes of records that one step takes.
const STEP_BYTES: usize = 512 << 10;
/// Leases that one step takes.
const STEP_LEASES: usize = 4096;

/// One message of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// Bytes of the file that follow. 0 with the file's last bytes, and with the checksum after them.
    pub remaining_bytes: u64,
    /// Bytes of the file; in the last message of the stream the SHA-256 of them all.
    pub blob: Bytes,
}

/// Begins a snapshot of everything that the node holds now. It holds back reclaiming until it is dropped.
///
/// Any executor: what blocks runs on other threads.
///
/// # Errors
/// The node has stopped, or its medium failed.
pub async fn stream(node: &Node) -> Result<SnapshotStream, Error> {
    let member_id = node.header().member_id;
    let view = node.snapshot_view().await?;
    let producer = unblock(move || Producer::new(view, member_id)).await.map_err(panicked)??;
    let file_bytes = producer.plan.file_bytes();
    Ok(SnapshotStream {
        revision: producer.view.revision(),
        file_bytes,
        remaining_bytes: file_bytes,
        ready: Bytes::new(),
        state: State::Producing(Box::new(producer)),
    })
}

/// A snapshot under way.
#[derive(Debug)]
pub struct SnapshotStream {
    revision: i64,
    file_bytes: u64,
    remaining_bytes: u64,
    ready: Bytes,
    state: State,
}

#[derive(Debug)]
enum State {
    Producing(Box<Producer>),
    /// The file is out, its checksum is not.
    Checksum(Bytes),
    Ended,
}

impl SnapshotStream {
    /// The store's revision that the snapshot shows.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Length of the file, without the 32 bytes of the checksum that the stream ends with.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The next message; `None` after the checksum, and after an error.
    ///
    /// # Errors
    /// The node has stopped, or its medium failed. What was streamed is then no snapshot.
    pub async fn next(&mut self) -> Result<Option<SnapshotChunk>, Error> {
        while self.ready.is_empty() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Producing(mut producer) => {
                    let step = unblock(move || producer.step().map(|bytes| (producer, bytes)));
                    let (producer, bytes) = step.await.map_err(panicked)??;
                    self.ready = bytes;
                    self.state = match producer.is_done() {
                        true => State::Checksum(producer.checksum()),
                        false => State::Producing(producer),
                    };
                }
                State::Checksum(blob) => return Ok(Some(SnapshotChunk { remaining_bytes: 0, blob })),
                State::Ended => return Ok(None),
            }
        }
        let blob = self.ready.split_to(BLOB_BYTES.min(self.ready.len()));
        self.remaining_bytes -= blob.len() as u64;
        Ok(Some(SnapshotChunk { remaining_bytes: self.remaining_bytes, blob }))
    }

    /// As a [`Stream`] that ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<SnapshotChunk, Error>> + Send {
        streams::unfold(Some(self), async |snapshot| {
            let mut snapshot = snapshot?;
            match snapshot.next().await {
                Ok(chunk) => chunk.map(|chunk| (Ok(chunk), Some(snapshot))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

/// Makes the file in steps. Blocks on the node's medium.
#[derive(Debug)]
struct Producer {
    view: SnapshotView,
    member_id: u64,
    plan: Plan,
    /// `None` once the file is done.
    writer: Option<Writer>,
    stage: Stage,
    hasher: Sha256,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Begin,
    /// From this revision on.
    Keys(Revision),
    /// From this lease on.
    Leases(usize),
}

impl Producer {
    fn new(view: SnapshotView, member_id: u64) -> Result<Self, Error> {
        let plan = plan(&view, member_id)?;
        let writer = Some(Writer::new(plan));
        Ok(Self { view, member_id, plan, writer, stage: Stage::Begin, hasher: Sha256::new() })
    }

    fn is_done(&self) -> bool {
        self.writer.is_none()
    }

    fn checksum(self) -> Bytes {
        Bytes::copy_from_slice(&self.hasher.finalize())
    }

    /// Some more bytes of the file, perhaps none.
    fn step(&mut self) -> Result<Bytes, Error> {
        let Some(mut writer) = self.writer.take() else { return Ok(Bytes::new()) };
        let goes_on = self.advance(&mut writer)?;
        let bytes = match goes_on {
            true => {
                let bytes = writer.take();
                self.writer = Some(writer);
                bytes
            }
            false => writer.finish().map_err(inconsistent)?,
        };
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// Writes some rows. Returns whether there are more.
    fn advance(&mut self, writer: &mut Writer) -> Result<bool, Error> {
        match self.stage {
            Stage::Begin => {
                write_buckets(writer, before_keys())?;
                writer.bucket(Bytes::from_static(schema::KEY.as_bytes()));
                self.stage = Stage::Keys(Revision::default());
            }
            Stage::Keys(next) => {
                let page = self.view.page(next, STEP_BYTES)?;
                for record in &page {
                    let (key, value) = schema::record_row(record);
                    writer.row(key, value).map_err(inconsistent)?;
                }
                self.stage = match page.last() {
                    Some(last) => {
                        Stage::Keys(Revision { sub: last.revision.sub.saturating_add(1), ..last.revision })
                    }
                    None => {
                        writer.bucket(Bytes::from_static(schema::LEASE.as_bytes()));
                        Stage::Leases(0)
                    }
                };
            }
            Stage::Leases(next) => {
                for (id, lease) in lease_rows(&self.view).skip(next).take(STEP_LEASES) {
                    let (key, value) = schema::lease_row(*id, *lease);
                    writer.row(key, value).map_err(inconsistent)?;
                }
                let end = next + STEP_LEASES;
                if end >= self.view.leases().len() {
                    write_buckets(writer, after_leases(&self.view, self.member_id))?;
                    return Ok(false);
                }
                self.stage = Stage::Leases(end);
            }
        }
        Ok(true)
    }
}

/// Lays out the file without reading a value.
fn plan(view: &SnapshotView, member_id: u64) -> Result<Plan, Error> {
    let mut measure = Measure::new();
    measure_buckets(&mut measure, before_keys());
    measure.bucket(schema::KEY.len());
    let sizes = view.measure(&mut |key, entry| {
        // The key of the row is one byte longer of a deletion.
        let value_bytes = schema::record_row_bytes(key, entry) as u32;
        value_bytes << 1 | u32::from(entry.tombstone)
    })?;
    for (_, size) in sizes {
        measure.row(schema::revision_key_bytes(size & 1 == 1), (size >> 1) as usize);
    }
    measure.bucket(schema::LEASE.len());
    for (id, lease) in lease_rows(view) {
        let (key, value) = schema::lease_row(*id, *lease);
        measure.row(key.len(), value.len());
    }
    measure_buckets(&mut measure, after_leases(view, member_id));
    Ok(measure.finish())
}

/// The leases in the order of their rows, whose keys are unsigned: negative ids come last.
fn lease_rows(view: &SnapshotView) -> impl Iterator<Item = &(LeaseId, LeaseInfo)> {
    let leases = view.leases();
    let (negative, positive) = leases.split_at(leases.partition_point(|(id, _)| id.0 < 0));
    positive.iter().chain(negative)
}

type SmallBucket = (&'static str, Vec<(Bytes, Bytes)>);

/// The buckets whose names sort before `key`.
fn before_keys() -> Vec<SmallBucket> {
    let auth = vec![named(schema::AUTH_ENABLED, &[0][..]), named(schema::AUTH_REVISION, number(1))];
    vec![
        (schema::ALARM, Vec::new()),
        (schema::AUTH, auth),
        (schema::AUTH_ROLES, Vec::new()),
        (schema::AUTH_USERS, Vec::new()),
        // Without a cluster version: a restored cluster finds its own, and one that is too new would keep an older
        // etcd from starting.
        (schema::CLUSTER, Vec::new()),
    ]
}

/// The buckets whose names sort after `lease`.
fn after_leases(view: &SnapshotView, member_id: u64) -> Vec<SmallBucket> {
    // Whoever restores a snapshot replaces members, term and index.
    let member = format!(r#"{{"id":{member_id},"peerURLs":[]}}"#);
    let members = vec![(Bytes::from(format!("{member_id:x}")), member.into())];
    let conf_state = format!(r#"{{"voters":[{member_id}],"auto_leave":false}}"#);
    let mut meta = vec![
        named(schema::CONF_STATE, conf_state),
        named(schema::CONSISTENT_INDEX, number(view.applied().index)),
    ];
    let compact_revision = view.compact_revision();
    let compacted = schema::revision_key(Revision::first(compact_revision), false);
    if compact_revision > 0 {
        meta.push(named(schema::FINISHED_COMPACT, compacted.clone()));
        meta.push(named(schema::SCHEDULED_COMPACT, compacted));
    }
    meta.push(named(schema::STORAGE_VERSION_KEY, schema::STORAGE_VERSION));
    meta.push(named(schema::TERM, number(view.applied().term)));
    vec![(schema::MEMBERS, members), (schema::MEMBERS_REMOVED, Vec::new()), (schema::META, meta)]
}

fn measure_buckets(measure: &mut Measure, buckets: Vec<SmallBucket>) {
    for (name, rows) in buckets {
        measure.bucket(name.len());
        rows.iter().for_each(|(key, value)| measure.row(key.len(), value.len()));
    }
}

fn write_buckets(writer: &mut Writer, buckets: Vec<SmallBucket>) -> Result<(), Error> {
    for (name, rows) in buckets {
        writer.bucket(Bytes::from_static(name.as_bytes()));
        for (key, value) in rows {
            writer.row(key, value).map_err(inconsistent)?;
        }
    }
    Ok(())
}

/// The two passes over a pinned view saw different rows.
fn inconsistent(differs: Differs) -> Error {
    Error::Corrupt(format!("snapshot: {differs}"))
}

fn panicked(error: coffer_runtime::TaskError) -> Error {
    Error::Fatal(error.to_string())
}
