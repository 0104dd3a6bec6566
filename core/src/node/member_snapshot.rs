//! What a member that lags gets from another: all that the node holds at one log entry, as a stream of bytes.
//!
//! # Data path
//! Out: a checkpoint and a [pinned view](super::SnapshotView) of one moment -> frames -> chunks for the transport, as long as
//! the member [serves](Served). In:
//! chunks -> frames -> records, staged beside the old content ([`Records::stage`]) -> checked whole -> raft ->
//! [`Machine::install`](crate::consensus::Machine::install).
//!
//! # Format, version 1
//! Frames, one after the other; chunks cut the stream anywhere. Primitives are those of [`crate::codec`].
//!
//! ```text
//! frame   := kind:u8 length:4 bytes little-endian  that many bytes
//! head    := kind 1  version:u8 = 1  term:u64 index:u64  revision:i64 compact_revision:i64      the first frame
//! state   := kind 2  a part of the state of the checkpoint, in order
//! records := kind 3  (main:i64 sub:u64 tombstone:bool key:bytes [create_revision:i64 version:i64 lease:i64 value:bytes])*
//! end     := kind 4  records:u64 hash:u64                                                       the last frame
//! ```
//!
//! A tombstone has no more than its key. The hash is that of [`KvHasher`] over every record, live or not.
//!
//! # Invariants
//! - Memory on both sides is bounded by a page of records and the state of the checkpoint.
//! - What is not whole, or could not be of one store, is refused before raft hears of it. It is removed with whoever
//!   received it.
//! - A fault of the own record store stops the node, as anywhere else: what is poisoned takes no later snapshot either, and
//!   whoever sends them would try for ever. A lack of room is no fault: a later attempt may find some.

use super::SnapshotView;
use super::equality::Equality;
use super::failure::Failure;
use super::restore::check_record;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::consensus::snapshots::{SnapshotReader, SnapshotWriter, Staged, Staging};
use crate::planted::{Bug, planted};
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::state::KvHasher;
use crate::storage::{Checkpoint, LogId, Records, RecordsStage, StagedRecords, StorageError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::sync::Arc;

const VERSION: u8 = 1;
const HEAD: u8 = 1;
const STATE: u8 = 2;
const RECORDS: u8 = 3;
const END: u8 = 4;
const FRAME_HEADER_BYTES: usize = 5;
/// Bytes of records that are read together, and of state in one frame.
const PAGE_BYTES: usize = 256 << 10;
/// No frame is larger: more than any entry of the log may hold.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// The bytes of a snapshot, from the front.
pub(super) struct Outgoing {
    view: SnapshotView,
    state: Bytes,
    buffer: BytesMut,
    next: Next,
    hasher: KvHasher,
    records: u64,
}

/// What the next frame holds.
enum Next {
    State,
    Records(Revision),
    End,
    Nothing,
}

impl Outgoing {
    /// Of a view and the checkpoint of the same moment.
    pub(super) fn new(view: SnapshotView, checkpoint: Checkpoint) -> Self {
        let mut head = Encoder::default();
        head.u8(VERSION);
        head.u64(checkpoint.applied.term);
        head.u64(checkpoint.applied.index);
        head.i64(checkpoint.revision);
        head.i64(checkpoint.compact_revision);
        let mut buffer = BytesMut::new();
        put_frame(&mut buffer, HEAD, &head.finish());
        let hasher = hasher(&checkpoint);
        Self { view, state: checkpoint.state, buffer, next: Next::State, hasher, records: 0 }
    }

    fn fill(&mut self) -> Result<(), StorageError> {
        self.next = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::State => {
                let part = self.state.split_to(self.state.len().min(PAGE_BYTES));
                put_frame(&mut self.buffer, STATE, &part);
                if self.state.is_empty() { Next::Records(Revision::first(0)) } else { Next::State }
            }
            Next::Records(from) => self.put_records(from)?,
            Next::End => {
                let mut end = Encoder::default();
                end.u64(self.records);
                end.u64(self.hasher.clone().finish().into());
                put_frame(&mut self.buffer, END, &end.finish());
                Next::Nothing
            }
            Next::Nothing => Next::Nothing,
        };
        Ok(())
    }

    fn put_records(&mut self, from: Revision) -> Result<Next, StorageError> {
        let failed = |error: crate::Error| StorageError::io("read", "a snapshot", io::Error::other(error));
        let page = self.view.page(from, PAGE_BYTES).map_err(failed)?;
        let Some(last) = page.last() else { return Ok(Next::End) };
        let next = Revision { sub: last.revision.sub.saturating_add(1), ..last.revision };
        let mut out = Encoder::with_capacity(PAGE_BYTES);
        for record in page.iter().filter(|it| !(it.tombstone && planted(Bug::SnapshotWithoutTombstones))) {
            put_record(&mut out, record);
            self.hasher.write(record, || true);
            self.records += 1;
        }
        put_frame(&mut self.buffer, RECORDS, &out.finish());
        Ok(Next::Records(next))
    }
}

impl SnapshotReader for Outgoing {
    fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let bytes_max = bytes_max.max(1);
        while self.buffer.len() < bytes_max && !matches!(self.next, Next::Nothing) {
            self.fill()?;
        }
        let bytes = self.buffer.len().min(bytes_max);
        Ok((bytes > 0).then(|| self.buffer.split_to(bytes).freeze()))
    }
}

/// What a member gives away only while it serves: one that is apart must not make others like itself, not even with what it had
/// begun to send before it knew, nor with the rest of that when it serves again.
pub(super) struct Served {
    content: Outgoing,
    equality: Arc<Equality>,
    turns: u64,
}

impl Served {
    pub(super) fn new(content: Outgoing, equality: Arc<Equality>) -> Self {
        let turns = equality.turns();
        Self { content, equality, turns }
    }
}

impl SnapshotReader for Served {
    fn next(&mut self, bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        let refused = |error| StorageError::io("send", "a snapshot", io::Error::other(error));
        self.equality.check_since(self.turns).map_err(refused)?;
        self.content.next(bytes_max)
    }
}

/// Where snapshots that arrive are put: into the record store, beside what is in force.
pub(super) struct NodeStaging {
    pub(super) records: Arc<dyn Records>,
    pub(super) failure: Arc<Failure>,
}

impl Staging for NodeStaging {
    fn begin(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        let stage = Some(stored(&self.failure, self.records.stage())?);
        let failure = Arc::clone(&self.failure);
        Ok(Box::new(Incoming { failure, stage, buffer: BytesMut::new(), head: None, last: None, end: None }))
    }
}

/// Passes on what the record store answered. A fault of it stops the node.
fn stored<T>(failure: &Failure, answer: Result<T, StorageError>) -> Result<T, StorageError> {
    answer.inspect_err(|error| {
        if !error.is_no_room() && failure.set(error.clone().into()) {
            tracing::error!(%error, "taking a snapshot met a fault; the node stops");
        }
    })
}

/// A snapshot that arrives.
struct Incoming {
    failure: Arc<Failure>,
    /// `None` once something of it was wrong.
    stage: Option<Box<dyn RecordsStage>>,
    buffer: BytesMut,
    head: Option<Head>,
    last: Option<Revision>,
    /// The number of records and their hash, as the end says.
    end: Option<(u64, u32)>,
}

struct Head {
    checkpoint: Checkpoint,
    state: BytesMut,
    hasher: KvHasher,
    records: u64,
}

/// A whole snapshot that waits to be installed.
pub(super) struct StagedSnapshot {
    pub(super) checkpoint: Checkpoint,
    pub(super) records: StagedRecords,
}

impl Incoming {
    fn take(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        self.buffer.put_slice(chunk);
        while let Some((kind, frame)) = take_frame(&mut self.buffer)? {
            if self.end.is_some() {
                return Err(refused("goes on behind its end"));
            }
            match (kind, &mut self.head) {
                (HEAD, head @ None) => *head = Some(Head::parse(frame).map_err(malformed)?),
                (STATE, Some(head)) if self.last.is_none() => head.state.put_slice(&frame),
                (RECORDS, Some(_)) => self.take_records(frame)?,
                (END, Some(_)) => self.end = Some(parse_end(frame).map_err(malformed)?),
                _ => return Err(refused("has a part where it does not belong")),
            }
        }
        Ok(())
    }

    fn take_records(&mut self, frame: Bytes) -> Result<(), StorageError> {
        let (Some(head), Some(stage)) = (&mut self.head, &mut self.stage) else {
            return Err(refused("was given up before"));
        };
        let mut input = Decoder::new(frame);
        while !input.is_empty() {
            let record = get_record(&mut input).map_err(malformed)?;
            check_record(&record, self.last, head.checkpoint.revision).map_err(|wrong| refused(&wrong))?;
            self.last = Some(record.revision);
            head.hasher.write(&record, || true);
            head.records += 1;
            stored(&self.failure, stage.push(record))?;
        }
        Ok(())
    }
}

impl SnapshotWriter for Incoming {
    fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.take(&chunk).inspect_err(|_| self.stage = None)
    }

    fn finish(self: Box<Self>) -> Result<Staged, StorageError> {
        let (Some(stage), Some(head), Some((records, hash))) = (self.stage, self.head, self.end) else {
            return Err(refused("ends too early"));
        };
        if !self.buffer.is_empty() {
            return Err(refused("goes on behind its end"));
        }
        if (records, hash) != (head.records, head.hasher.finish()) {
            return Err(refused("holds other records than were sent"));
        }
        let checkpoint = Checkpoint { state: head.state.freeze(), ..head.checkpoint };
        let records = stored(&self.failure, stage.finish())?;
        Ok(Box::new(StagedSnapshot { checkpoint, records }))
    }
}

impl Head {
    fn parse(frame: Bytes) -> Result<Self, Malformed> {
        let mut input = Decoder::new(frame);
        if input.u8()? != VERSION {
            return Err(Malformed("a snapshot of an unknown version: this member is to be upgraded first"));
        }
        let applied = LogId { term: input.u64()?, index: input.u64()? };
        let (revision, compact_revision) = (input.i64()?, input.i64()?);
        input.finish()?;
        if revision < Revision::FRESH || !(0..=revision).contains(&compact_revision) {
            return Err(Malformed("revisions that cannot be"));
        }
        let checkpoint = Checkpoint { applied, revision, compact_revision, state: Bytes::new() };
        Ok(Self { hasher: hasher(&checkpoint), checkpoint, state: BytesMut::new(), records: 0 })
    }
}

fn parse_end(frame: Bytes) -> Result<(u64, u32), Malformed> {
    let mut input = Decoder::new(frame);
    let (records, hash) = (input.u64()?, input.u64()?);
    input.finish()?;
    Ok((records, u32::try_from(hash).map_err(|_| Malformed("a hash of more than 32 bits"))?))
}

fn hasher(checkpoint: &Checkpoint) -> KvHasher {
    // As if nothing had been compacted, so that nothing is left out.
    KvHasher::new(0, checkpoint.revision)
}

fn put_frame(out: &mut BytesMut, kind: u8, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("a page is smaller than the largest frame");
    out.reserve(FRAME_HEADER_BYTES + content.len());
    out.put_u8(kind);
    out.put_u32_le(length);
    out.put_slice(content);
}

/// The frame at the front, once all of it is there.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>, StorageError> {
    let Some(mut header) = buffer.get(..FRAME_HEADER_BYTES) else { return Ok(None) };
    let (kind, length) = (header.get_u8(), header.get_u32_le() as usize);
    if length > FRAME_BYTES_MAX {
        return Err(refused("has a part that is too long"));
    }
    if buffer.len() < FRAME_HEADER_BYTES + length {
        return Ok(None);
    }
    buffer.advance(FRAME_HEADER_BYTES);
    // Copied: what is kept of it must not hold the buffer.
    Ok(Some((kind, Bytes::copy_from_slice(&buffer.split_to(length)))))
}

fn put_record(out: &mut Encoder, record: &Record) {
    out.i64(record.revision.main);
    out.u64(record.revision.sub.into());
    out.bool(record.tombstone);
    out.bytes(&record.key);
    if !record.tombstone {
        out.i64(record.create_revision);
        out.i64(record.version);
        out.i64(record.lease.0);
        out.bytes(&record.value);
    }
}

fn get_record(input: &mut Decoder) -> Result<Record, Malformed> {
    let main = input.i64()?;
    let sub = input.u64()?.try_into().map_err(|_| Malformed("a sub revision that is too large"))?;
    let revision = Revision { main, sub };
    let (tombstone, key) = (input.bool()?, input.bytes()?);
    if tombstone {
        return Ok(Record::deletion(revision, key));
    }
    let (create_revision, version, lease) = (input.i64()?, input.i64()?, LeaseId(input.i64()?));
    Ok(Record { revision, key, value: input.bytes()?, create_revision, version, lease, tombstone })
}

fn malformed(what: Malformed) -> StorageError {
    refused(&format!("cannot be read: {what}"))
}

fn refused(why: &str) -> StorageError {
    StorageError::Format { path: "a snapshot of another member".into(), reason: format!("it {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::{open, put};
    use crate::request::{AlarmAction, AlarmKind, AlarmRequest};
    use crate::state::Command;
    use crate::storage::MemoryDisk;
    use crate::storage::conformance::Fault;
    use coffer_runtime::block_on;

    fn outgoing(node: &crate::node::Node) -> Outgoing {
        let state = node.inner.state.lock();
        let view = SnapshotView::take(&state, &node.inner.reader, &node.inner.values, &node.inner.failure);
        Outgoing::new(view, state.checkpoint().expect("something was applied"))
    }

    fn bytes_of(mut outgoing: Outgoing, chunk: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = outgoing.next(chunk).expect("a chunk") {
            assert!(bytes.len() <= chunk);
            all.extend_from_slice(&bytes);
        }
        all
    }

    fn receive(bytes: &[u8], chunk: usize) -> Result<Staged, StorageError> {
        let failure = Arc::default();
        let received = receive_on(&MemoryDisk::new(), &failure, bytes, chunk);
        assert_eq!(failure.get(), None, "what was sent is no fault of the store");
        received
    }

    fn receive_on(
        disk: &MemoryDisk,
        failure: &Arc<Failure>,
        bytes: &[u8],
        chunk: usize,
    ) -> Result<Staged, StorageError> {
        let (_log, records) = disk.open().expect("a medium");
        let staging = NodeStaging { records: Arc::new(records), failure: Arc::clone(failure) };
        let mut writer = staging.begin()?;
        for chunk in bytes.chunks(chunk) {
            writer.write(Bytes::copy_from_slice(chunk))?;
        }
        writer.finish()
    }

    /// A node with deletions, history and large values.
    fn node() -> crate::node::Node {
        let node = open(&MemoryDisk::new(), 1);
        for number in 0..300 {
            put(&node, &format!("k/{:03}", number % 90), &"v".repeat(number * 20));
        }
        node
    }

    #[test]
    fn every_cut_of_the_stream_gives_the_same() {
        let node = node();
        let whole = bytes_of(outgoing(&node), usize::MAX);
        assert!(whole.len() > 3 * PAGE_BYTES, "there are several pages");
        for chunk in [7, 1000, 300_000, usize::MAX] {
            assert!(bytes_of(outgoing(&node), chunk) == whole, "cut into {chunk}");
            let staged = receive(&whole, chunk).expect("it is whole");
            let staged = staged.downcast::<StagedSnapshot>().expect("a snapshot");
            assert_eq!(Some(staged.checkpoint), node.inner.state.lock().checkpoint());
        }
    }

    #[test]
    fn a_fault_of_the_own_store_stops_the_node_and_a_lack_of_room_does_not() {
        let whole = bytes_of(outgoing(&node()), usize::MAX);
        let mut faults = 0;
        loop {
            let (disk, failure) = (MemoryDisk::new(), Arc::default());
            disk.arm(faults, Fault::Error);
            let received = receive_on(&disk, &failure, &whole, 4096);
            if !disk.fired() {
                assert!(received.is_ok());
                break;
            }
            let error = received.expect_err("the store refused");
            assert_eq!(failure.get(), Some(error.into()));
            faults += 1;
        }
        assert!(faults >= 2, "it is written and synced");
        let (disk, failure) = (MemoryDisk::new(), Arc::default());
        disk.arm(0, Fault::NoSpace);
        assert!(receive_on(&disk, &failure, &whole, 4096).err().is_some_and(|error| error.is_no_room()));
        assert_eq!(failure.get(), None);
    }

    #[test]
    fn a_member_that_is_apart_gives_nothing_away() {
        let node = node();
        let mut content = Served::new(outgoing(&node), Arc::clone(&node.inner.equality));
        assert!(content.next(1000).is_ok_and(|chunk| chunk.is_some()));
        let member = node.inner.config.member_id;
        block_on(node.inner.proposals.propose(Command::Differs { member })).expect("the alarm is raised");
        let refused = content.next(1000).expect_err("it is apart").to_string();
        assert!(refused.contains("is not that of the others"), "{refused}");
        let action = AlarmAction::Deactivate;
        let clear = AlarmRequest { action, member, kind: Some(AlarmKind::Corrupt) };
        block_on(node.alarm(clear)).expect("the alarm is cleared");
        assert!(content.next(1000).is_err(), "this was begun by one that was apart");
        let mut content = Served::new(outgoing(&node), Arc::clone(&node.inner.equality));
        assert!(content.next(1000).is_ok());
    }

    #[test]
    fn a_stream_that_is_cut_or_damaged_is_refused() {
        let whole = bytes_of(outgoing(&node()), usize::MAX);
        for end in (0..whole.len()).step_by(whole.len() / 97).chain(whole.len() - 20..whole.len()) {
            assert!(receive(&whole[..end], 4096).is_err(), "cut at {end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(receive(&longer, 4096).is_err(), "longer by a byte");
        // Behind the state, which its own format protects no further.
        for at in (whole.len() - 100_000..whole.len()).step_by(1009) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(receive(&flipped, 4096).is_err(), "a flipped bit at {at}");
        }
    }
}
