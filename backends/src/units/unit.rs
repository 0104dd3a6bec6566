//! A unit: records that were stored together, in boxes by revision and in a directory by key; written once from front
//! to back, then never changed.
//!
//! A unit consists of pieces (see [`crate::format::piece`]): boxes (kind 2), directory blocks (kind 3) and a footer
//! (kind 4); see [`super::codec`] for the first two. The text of the footer:
//!
//! | content | encoding |
//! |---|---|
//! | records | number |
//! | last revision | signed main, number sub |
//! | boxes | number |
//! | each: main less the one before (0), sub, bytes of the piece, records | signed, numbers |
//! | directory blocks | number |
//! | each: bytes of the piece, its first key | number, length and bytes |

use super::codec::{BOX_PIECE, DIRECTORY_PIECE, Line, parse_box, put_line, put_record};
use crate::format::piece::open_piece;
use crate::format::wire::{Malformed, Reader, put_bytes, put_number, put_signed};
use crate::seal::{Place, SealedFile, Sealer, Tag};
use bytes::Bytes;
use coffer_core::record::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{RecordBlock, StorageError};
use std::ops::Range;

const DIRECTORY_BLOCK_BYTES: usize = 32 << 10;

/// A unit, as the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitEntry {
    /// Its id, never used twice.
    pub(crate) id: u64,
    /// All that it takes on the medium.
    pub(crate) bytes: u64,
    /// The tag of its footer.
    pub(crate) footer_tag: Tag,
}

/// How the pieces of one unit are read.
pub(crate) trait Pieces: Send + Sync + 'static {
    /// Reads the piece of this kind that stands at `at` and fills `piece`.
    fn read(&self, kind: u8, at: u64, piece: &mut [u8]) -> Result<(), StorageError>;

    /// Reads again what stands around the pieces, and checks that it is that of `entry`.
    fn verify_frame(&self, entry: &UnitEntry) -> Result<(), StorageError>;

    /// What the pieces are sealed with.
    fn sealer(&self) -> &Sealer;

    /// The error that something else was found at `at`.
    fn corrupt(&self, at: u64, expected: String, found: &str) -> StorageError;
}

/// Takes the pieces of a unit that is being written.
pub(crate) trait Sink {
    /// Bytes of records in a box, at most, unless one alone is larger.
    const BOX_BYTES: usize;

    /// The id of the unit.
    fn id(&self) -> u64;

    /// What it takes on the medium so far.
    fn bytes(&self) -> u64;

    /// How it is sealed.
    fn sealed(&self) -> &SealedFile;

    /// Stores the next piece of this kind, its `number` counting from 0; `fill` appends its text. Returns where it
    /// stands and its length.
    fn put(&mut self, kind: u8, number: u64, fill: &dyn Fn(&mut Vec<u8>))
    -> Result<(u64, u32), StorageError>;

    /// Has the medium take what was stored so far, so that little is left to do at the end.
    fn settle(&mut self) -> Result<(), StorageError>;

    /// Stores the footer and makes all of the unit durable.
    fn finish(self, footer: &[u8]) -> Result<(UnitEntry, Box<dyn Pieces>), StorageError>;
}

/// Where a box stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoxAt {
    pub(crate) first: Revision,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) records: u32,
}

/// Where a directory block stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockAt {
    pub(crate) first_key: Box<[u8]>,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// A unit, open for reading.
pub(crate) struct Unit {
    pub(crate) entry: UnitEntry,
    pub(crate) records: u64,
    pub(crate) last: Revision,
    pub(crate) boxes: Vec<BoxAt>,
    pub(crate) blocks: Vec<BlockAt>,
    pieces: Box<dyn Pieces>,
}

impl Unit {
    pub(crate) fn first(&self) -> Revision {
        self.boxes.first().map_or(self.last, |first| first.first)
    }

    /// A unit whose footer was read. `place` says where a piece stands, given its kind, its number and its length;
    /// it is asked in the order in which they were stored.
    pub(crate) fn new(
        entry: UnitEntry,
        footer: &[u8],
        pieces: Box<dyn Pieces>,
        place: impl FnMut(u8, u64, u32) -> u64,
    ) -> Result<Self, Malformed> {
        let Footer { records, last, boxes, blocks } = parse_footer(footer, place)?;
        Ok(Self { entry, records, last, boxes, blocks, pieces })
    }

    /// Reads again what was read when the unit was opened, and checks it.
    pub(crate) fn verify_frame(&self) -> Result<(), StorageError> {
        self.pieces.verify_frame(&self.entry)
    }

    /// Bytes of all boxes.
    pub(crate) fn box_bytes(&self) -> u64 {
        self.boxes.iter().map(|at| u64::from(at.bytes)).sum()
    }

    /// How it is sealed.
    pub(crate) fn sealed(&self) -> &SealedFile {
        self.pieces.sealer().file()
    }

    /// Number of the box that would hold `revision`.
    pub(crate) fn box_number(&self, revision: Revision) -> Option<usize> {
        self.boxes.partition_point(|at| at.first <= revision).checked_sub(1)
    }

    pub(crate) fn read_box(&self, number: usize) -> Result<RecordBlock, StorageError> {
        let Some(at) = self.boxes.get(number) else {
            return Err(self.pieces.corrupt(0, format!("record box {number}"), "no such box"));
        };
        let mut piece = vec![0; at.bytes as usize];
        self.pieces.read(BOX_PIECE, at.offset, &mut piece)?;
        let place = Place { kind: BOX_PIECE, offset: at.offset, sequence: number as u64 };
        let wrong = |found: &str| self.pieces.corrupt(at.offset, format!("record box {number}"), found);
        let text = open_piece(&mut piece, self.pieces.sealer(), place).map_err(wrong)?;
        let memory_bytes = piece.len();
        let records = parse_box(&Bytes::from(piece).slice(text)).map_err(|_| wrong("malformed records"))?;
        if records.first().map(|first| first.revision) != Some(at.first)
            || records.len() != at.records as usize
        {
            return Err(wrong("other records"));
        }
        let memory_bytes = memory_bytes + size_of_val(&*records) + size_of::<RecordBlock>();
        Ok(RecordBlock { records, memory_bytes })
    }

    /// Reads directory block `number` into `block`. Returns where its text stands.
    pub(crate) fn read_directory_block(
        &self,
        number: usize,
        block: &mut Vec<u8>,
    ) -> Result<Range<usize>, StorageError> {
        let Some(at) = self.blocks.get(number) else {
            return Err(self.malformed_directory(number, "no such block"));
        };
        block.resize(at.bytes as usize, 0);
        self.pieces.read(DIRECTORY_PIECE, at.offset, block)?;
        let place = Place { kind: DIRECTORY_PIECE, offset: at.offset, sequence: number as u64 };
        open_piece(block, self.pieces.sealer(), place)
            .map_err(|found| self.malformed_directory(number, found))
    }

    /// Number of the first directory block that may hold `key`.
    pub(crate) fn block_number(&self, key: &[u8]) -> usize {
        // A key that begins a block may have lines at the end of the one before.
        self.blocks.partition_point(|at| *at.first_key < *key).saturating_sub(1)
    }

    pub(crate) fn malformed_directory(&self, number: usize, found: &str) -> StorageError {
        let offset = self.blocks.get(number).map_or(0, |at| at.offset);
        self.pieces.corrupt(offset, format!("directory block {number}"), found)
    }

    pub(crate) fn wrong_record(&self, revision: Revision, found: &str) -> StorageError {
        let offset =
            self.box_number(revision).and_then(|number| self.boxes.get(number)).map_or(0, |at| at.offset);
        self.pieces.corrupt(
            offset,
            format!("the record at revision {revision} as the directory has it"),
            found,
        )
    }
}

/// Between two pieces, background work lets others have the processor first: what it does at one stretch is long for a
/// put that waits for it.
pub(crate) fn give_way() {
    std::thread::yield_now();
}

struct Footer {
    records: u64,
    last: Revision,
    boxes: Vec<BoxAt>,
    blocks: Vec<BlockAt>,
}

fn parse_footer(text: &[u8], mut place: impl FnMut(u8, u64, u32) -> u64) -> Result<Footer, Malformed> {
    let mut reader = Reader::new(text);
    let records = reader.number()?;
    let last = Revision { main: reader.signed()?, sub: reader.small()? };
    let mut main = 0i64;
    let count: usize = reader.small()?;
    let mut boxes = Vec::with_capacity(count.min(text.len() / 4));
    for number in 0..count {
        main = main.wrapping_add(reader.signed()?);
        let first = Revision { main, sub: reader.small()? };
        let (bytes, records) = (reader.small()?, reader.small()?);
        boxes.push(BoxAt { first, offset: place(BOX_PIECE, number as u64, bytes), bytes, records });
    }
    let count: usize = reader.small()?;
    let mut blocks = Vec::with_capacity(count.min(text.len() / 2));
    for number in 0..count {
        let bytes = reader.small()?;
        let offset = place(DIRECTORY_PIECE, number as u64, bytes);
        blocks.push(BlockAt { first_key: reader.bytes()?.into(), offset, bytes });
    }
    if reader.is_empty() { Ok(Footer { records, last, boxes, blocks }) } else { Err(Malformed) }
}

/// Writes a unit. First all records, then all lines of the directory, then [`finish`](Self::finish).
pub(crate) struct UnitWriter<S> {
    sink: S,
    records: u64,
    last: Revision,
    boxes: Vec<BoxAt>,
    /// The records of the box that is being built.
    pending: Vec<u8>,
    pending_records: u32,
    pending_first: Revision,
    blocks: Vec<BlockAt>,
    lines: Vec<u8>,
    lines_count: u64,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

impl<S: Sink> UnitWriter<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            sink,
            records: 0,
            last: Revision::default(),
            boxes: Vec::new(),
            pending: Vec::new(),
            pending_records: 0,
            pending_first: Revision::default(),
            blocks: Vec::new(),
            lines: Vec::new(),
            lines_count: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.sink.id()
    }

    /// Has the medium take the pieces that are complete.
    pub(crate) fn settle(&mut self) -> Result<(), StorageError> {
        self.sink.settle()
    }

    /// How the unit is sealed.
    pub(crate) fn sealed(&self) -> &SealedFile {
        self.sink.sealed()
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the unit so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.sink.bytes() + self.pending.len() as u64
    }

    /// Number of the box that holds `revision`, of those that were written.
    pub(crate) fn box_of(&self, revision: Revision) -> u32 {
        self.boxes.partition_point(|at| at.first <= revision).saturating_sub(1) as u32
    }

    /// Appends a record above all before it; returns the number of its box.
    pub(crate) fn push(&mut self, record: &Record) -> Result<u32, StorageError> {
        assert!(self.records == 0 || self.last < record.revision, "records are stored in revision order");
        if self.pending_records > 0 && self.pending.len() + record.payload_bytes() > S::BOX_BYTES {
            self.finish_box()?;
        }
        let previous = if self.pending_records == 0 { 0 } else { self.last.main };
        if self.pending_records == 0 {
            self.pending_first = record.revision;
        }
        put_record(&mut self.pending, record, previous);
        self.pending_records += 1;
        self.records += 1;
        self.last = record.revision;
        Ok(self.boxes.len() as u32)
    }

    fn finish_box(&mut self) -> Result<(), StorageError> {
        if self.pending_records == 0 {
            return Ok(());
        }
        give_way();
        let (records, pending) = (self.pending_records, &self.pending);
        let (offset, bytes) = self.sink.put(BOX_PIECE, self.boxes.len() as u64, &|out| {
            put_number(out, records.into());
            out.extend_from_slice(pending);
        })?;
        self.boxes.push(BoxAt { first: self.pending_first, offset, bytes, records });
        self.pending.clear();
        self.pending_records = 0;
        Ok(())
    }

    /// Ends the records; now come the lines of the directory.
    pub(crate) fn end_records(&mut self) -> Result<(), StorageError> {
        self.finish_box()
    }

    /// Appends a line above all before it.
    pub(crate) fn push_line(&mut self, key: &[u8], line: &Line) -> Result<(), StorageError> {
        if self.lines_count > 0 && self.lines.len() + key.len() > DIRECTORY_BLOCK_BYTES {
            self.finish_block()?;
        }
        if self.lines_count == 0 {
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
        }
        let first_main = self.boxes.first().map_or(0, |first| first.first.main);
        put_line(&mut self.lines, &self.last_key, key, line, first_main);
        self.lines_count += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    fn finish_block(&mut self) -> Result<(), StorageError> {
        if self.lines_count == 0 {
            return Ok(());
        }
        give_way();
        let (count, lines) = (self.lines_count, &self.lines);
        let (offset, bytes) = self.sink.put(DIRECTORY_PIECE, self.blocks.len() as u64, &|out| {
            put_number(out, count);
            out.extend_from_slice(lines);
        })?;
        self.blocks.push(BlockAt { first_key: self.first_key.as_slice().into(), offset, bytes });
        self.lines.clear();
        self.lines_count = 0;
        self.last_key.clear();
        Ok(())
    }

    /// Completes the unit and makes it durable. It counts once a manifest names it.
    pub(crate) fn finish(mut self) -> Result<Unit, StorageError> {
        self.finish_block()?;
        let footer = self.footer();
        let (entry, pieces) = self.sink.finish(&footer)?;
        let (boxes, blocks) = (self.boxes, self.blocks);
        Ok(Unit { entry, records: self.records, last: self.last, boxes, blocks, pieces })
    }

    fn footer(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.records);
        put_signed(&mut out, self.last.main);
        put_number(&mut out, self.last.sub.into());
        put_number(&mut out, self.boxes.len() as u64);
        let mut main = 0;
        for at in &self.boxes {
            put_signed(&mut out, at.first.main.wrapping_sub(main));
            put_number(&mut out, at.first.sub.into());
            put_number(&mut out, at.bytes.into());
            put_number(&mut out, at.records.into());
            main = at.first.main;
        }
        put_number(&mut out, self.blocks.len() as u64);
        for at in &self.blocks {
            put_number(&mut out, at.bytes.into());
            put_bytes(&mut out, &at.first_key);
        }
        out
    }
}
