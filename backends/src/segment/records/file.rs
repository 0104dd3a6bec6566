//! A record file: written once from front to back, then never changed.
//!
//! | part | content |
//! |---|---|
//! | header, 512 bytes | see [`super::super::header`], no fields |
//! | boxes | records in revision order; see [`super::codec`] |
//! | directory blocks | the same records by key; see [`super::codec`] |
//! | footer | one piece, kind 4, sequence 0 |
//! | trailer, 24 bytes | footer offset 8, footer bytes 4, CRC-32C of these 12 bytes 4, magic `CFRSEND1` |
//!
//! Parts follow each other without gaps. The text of the footer:
//!
//! | content | encoding |
//! |---|---|
//! | records | number |
//! | last revision | signed main, number sub |
//! | boxes | number |
//! | each: main less the one before (0), sub, bytes of the piece, records | signed, numbers |
//! | directory blocks | number |
//! | each: bytes of the piece, its first key | number, length and bytes |

use super::super::directory::{Directory, StoreFile, Suffix, corrupt, file_name, is_missing};
use super::super::header::{FileKind, HEADER_BYTES, open_header, seal_header};
use super::super::manifest::SegmentEntry;
use super::super::piece::{PIECE_HEADER_BYTES, append_piece, open_piece};
use super::super::wire::{Malformed, Reader, put_bytes, put_number, put_signed};
use super::codec::{BOX_PIECE, DIRECTORY_PIECE, FOOTER_PIECE, Line, parse_box, put_line, put_record};
use crate::io::OpenMode;
use crate::seal::{Algorithm, Nonces, Place, SealedFile, Sealer, Tag};
use bytes::Bytes;
use coffer_core::record::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{RecordBlock, StorageError};

const BOX_BYTES: usize = 4096;
const DIRECTORY_BLOCK_BYTES: usize = 32 << 10;
const WRITE_BYTES: usize = 1 << 20;
const TRAILER_BYTES: usize = 24;
const TRAILER_MAGIC: &[u8; 8] = b"CFRSEND1";

/// Where a box stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoxAt {
    pub(super) first: Revision,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) records: u32,
}

/// Where a directory block stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockAt {
    pub(super) first_key: Box<[u8]>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// An open record file.
pub(super) struct Segment {
    pub(super) entry: SegmentEntry,
    pub(super) records: u64,
    pub(super) last: Revision,
    pub(super) boxes: Vec<BoxAt>,
    pub(super) blocks: Vec<BlockAt>,
    /// Bytes of the file before its directory.
    pub(super) directory_offset: u64,
    file: StoreFile,
    sealer: Sealer,
}

impl Segment {
    pub(super) fn first(&self) -> Revision {
        self.boxes.first().map_or(self.last, |first| first.first)
    }

    /// Opens a file that the manifest names.
    pub(super) fn open(
        directory: &Directory,
        store_id: &[u8; 16],
        entry: SegmentEntry,
    ) -> Result<Self, StorageError> {
        let name = file_name(entry.id, Suffix::Records);
        let file = directory.open(&name, OpenMode::Read).map_err(|error| match is_missing(&error) {
            true => corrupt(
                &directory.file_path(&name),
                0,
                "a record file that the manifest names",
                "no such file",
            ),
            false => error,
        })?;
        let bytes = file.len()?;
        if bytes != entry.bytes {
            return Err(file.corrupt(
                bytes,
                format!("a file of {} bytes", entry.bytes),
                format!("{bytes} bytes"),
            ));
        }
        let mut block = [0; HEADER_BYTES];
        file.read_exact(&mut block, 0)?;
        let header = open_header(&block, FileKind::Records, 0)
            .map_err(|_| file.corrupt(0, "a record file header", "a damaged one"))?;
        let sealed = header.sealer.file();
        if sealed.file_id != entry.id || sealed.store_id != *store_id {
            return Err(file.corrupt(0, "the header of this file", "that of another"));
        }
        Self::open_footer(file, header.sealer, entry)
    }

    fn open_footer(file: StoreFile, sealer: Sealer, entry: SegmentEntry) -> Result<Self, StorageError> {
        let trailer_offset = entry.bytes.saturating_sub(TRAILER_BYTES as u64);
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact(&mut trailer, trailer_offset)?;
        let Some((offset, bytes)) = parse_trailer(&trailer, trailer_offset) else {
            return Err(file.corrupt(trailer_offset, "a record file trailer", "a damaged one"));
        };
        let mut footer = vec![0; bytes];
        file.read_exact(&mut footer, offset)?;
        open_piece(&mut footer, &sealer, footer_place(offset))
            .map_err(|found| file.corrupt(offset, "a record file footer", found))?;
        if footer[24..40] != entry.footer_tag {
            return Err(file.corrupt(offset, "the footer that the manifest names", "another"));
        }
        let parts = parse_footer(&footer[PIECE_HEADER_BYTES..]);
        let Footer { records, last, boxes, blocks, directory_offset } =
            parts.map_err(|_| file.corrupt(offset, "a record file footer", "a malformed one"))?;
        Ok(Self { entry, records, last, boxes, blocks, directory_offset, file, sealer })
    }

    /// Number of the box that would hold `revision`.
    pub(super) fn box_number(&self, revision: Revision) -> Option<usize> {
        self.boxes.partition_point(|at| at.first <= revision).checked_sub(1)
    }

    pub(super) fn read_box(&self, number: usize) -> Result<RecordBlock, StorageError> {
        let Some(at) = self.boxes.get(number) else {
            return Err(self.file.corrupt(0, format!("record box {number}"), "no such box"));
        };
        let mut piece = vec![0; at.bytes as usize];
        self.file.read_exact(&mut piece, at.offset)?;
        let place = Place { kind: BOX_PIECE, offset: at.offset, sequence: number as u64 };
        let wrong = |found: &str| self.file.corrupt(at.offset, format!("record box {number}"), found);
        open_piece(&mut piece, &self.sealer, place).map_err(wrong)?;
        let memory_bytes = piece.len();
        let records = parse_box(&Bytes::from(piece).slice(PIECE_HEADER_BYTES..))
            .map_err(|_| wrong("malformed records"))?;
        if records.first().map(|first| first.revision) != Some(at.first)
            || records.len() != at.records as usize
        {
            return Err(wrong("other records"));
        }
        let memory_bytes = memory_bytes + size_of_val(&*records) + size_of::<RecordBlock>();
        Ok(RecordBlock { records, memory_bytes })
    }

    /// Reads directory block `number` into `block`.
    pub(super) fn read_directory_block(
        &self,
        number: usize,
        block: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        let Some(at) = self.blocks.get(number) else {
            return Err(self.malformed_directory(number, "no such block"));
        };
        block.resize(at.bytes as usize, 0);
        self.file.read_exact(block, at.offset)?;
        let place = Place { kind: DIRECTORY_PIECE, offset: at.offset, sequence: number as u64 };
        open_piece(block, &self.sealer, place).map_err(|found| self.malformed_directory(number, found))
    }

    /// Number of the first directory block that may hold `key`.
    pub(super) fn block_number(&self, key: &[u8]) -> usize {
        // A key that begins a block may have lines at the end of the one before.
        self.blocks.partition_point(|at| *at.first_key < *key).saturating_sub(1)
    }

    pub(super) fn malformed_directory(&self, number: usize, found: &str) -> StorageError {
        let offset = self.blocks.get(number).map_or(self.directory_offset, |at| at.offset);
        self.file.corrupt(offset, format!("directory block {number}"), found)
    }

    pub(super) fn wrong_record(&self, revision: Revision, found: &str) -> StorageError {
        let offset =
            self.box_number(revision).and_then(|number| self.boxes.get(number)).map_or(0, |at| at.offset);
        self.file.corrupt(offset, format!("the record at revision {revision} as the directory has it"), found)
    }
}

fn parse_trailer(trailer: &[u8; TRAILER_BYTES], trailer_offset: u64) -> Option<(u64, usize)> {
    let mut reader = Reader::new(trailer);
    let (offset, bytes, checksum) = (reader.u64().ok()?, reader.u32().ok()?, reader.u32().ok()?);
    let right = checksum == crc32c::crc32c(&trailer[..12]) && trailer[16..] == *TRAILER_MAGIC;
    (right && offset.checked_add(bytes.into()) == Some(trailer_offset)).then_some((offset, bytes as usize))
}

struct Footer {
    records: u64,
    last: Revision,
    boxes: Vec<BoxAt>,
    blocks: Vec<BlockAt>,
    directory_offset: u64,
}

fn parse_footer(text: &[u8]) -> Result<Footer, Malformed> {
    let mut reader = Reader::new(text);
    let records = reader.number()?;
    let last = Revision { main: reader.signed()?, sub: reader.small()? };
    let mut offset = HEADER_BYTES as u64;
    let mut main = 0i64;
    let count: usize = reader.small()?;
    let mut boxes = Vec::with_capacity(count.min(text.len() / 4));
    for _ in 0..count {
        main = main.wrapping_add(reader.signed()?);
        let first = Revision { main, sub: reader.small()? };
        let (bytes, records) = (reader.small()?, reader.small()?);
        boxes.push(BoxAt { first, offset, bytes, records });
        offset = offset.checked_add(u64::from(bytes)).ok_or(Malformed)?;
    }
    let count: usize = reader.small()?;
    let directory_offset = offset;
    let mut blocks = Vec::with_capacity(count.min(text.len() / 2));
    for _ in 0..count {
        let bytes = reader.small()?;
        blocks.push(BlockAt { first_key: reader.bytes()?.into(), offset, bytes });
        offset = offset.checked_add(u64::from(bytes)).ok_or(Malformed)?;
    }
    if !reader.is_empty() {
        return Err(Malformed);
    }
    Ok(Footer { records, last, boxes, blocks, directory_offset })
}

fn footer_place(offset: u64) -> Place {
    Place { kind: FOOTER_PIECE, offset, sequence: 0 }
}

/// Writes a record file. First all records, then all lines of the directory, then [`finish`](Self::finish).
pub(super) struct SegmentWriter {
    id: u64,
    file: StoreFile,
    sealer: Sealer,
    nonces: Nonces,
    /// Bytes before `buffer` in the file.
    written: u64,
    buffer: Vec<u8>,
    records: u64,
    last: Revision,
    boxes: Vec<BoxAt>,
    /// The records of the box that is being built.
    pending: Vec<u8>,
    pending_records: u32,
    pending_first: Revision,
    directory_offset: Option<u64>,
    blocks: Vec<BlockAt>,
    lines: Vec<u8>,
    lines_count: u64,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

impl SegmentWriter {
    pub(super) fn create(directory: &Directory, store_id: [u8; 16]) -> Result<Self, StorageError> {
        let id = directory.fresh_id();
        let sealer = Sealer::new(SealedFile {
            store_id,
            file_id: id,
            kind: FileKind::Records as u8,
            algorithm: Algorithm::Unsealed,
            data_key_id: 0,
            salt: directory.random()?,
        });
        let mut nonces = Nonces::new(directory.random()?);
        let (header, _) = seal_header(&sealer, 0, nonces.draw(), &[]);
        let file = directory.open(&file_name(id, Suffix::Records), OpenMode::Create)?;
        Ok(Self {
            id,
            file,
            sealer,
            nonces,
            written: 0,
            buffer: header.to_vec(),
            records: 0,
            last: Revision::default(),
            boxes: Vec::new(),
            pending: Vec::new(),
            pending_records: 0,
            pending_first: Revision::default(),
            directory_offset: None,
            blocks: Vec::new(),
            lines: Vec::new(),
            lines_count: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Removes a file that was not finished.
    pub(super) fn discard(self, directory: &Directory) {
        directory.discard(&file_name(self.id, Suffix::Records));
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.written + (self.buffer.len() + self.pending.len()) as u64
    }

    /// Number of the box that holds `revision`, of those that were written.
    pub(super) fn box_of(&self, revision: Revision) -> u32 {
        self.boxes.partition_point(|at| at.first <= revision).saturating_sub(1) as u32
    }

    /// Appends a record above all before it; returns the number of its box.
    pub(super) fn push(&mut self, record: &Record) -> Result<u32, StorageError> {
        assert!(self.records == 0 || self.last < record.revision, "records are stored in revision order");
        if self.pending_records > 0 && self.pending.len() + record.payload_bytes() > BOX_BYTES {
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
        let start = self.buffer.len();
        let offset = self.written + start as u64;
        let place = Place { kind: BOX_PIECE, offset, sequence: self.boxes.len() as u64 };
        let (records, pending) = (self.pending_records, &self.pending);
        append_piece(&mut self.buffer, &self.sealer, &mut self.nonces, place, |out| {
            put_number(out, records.into());
            out.extend_from_slice(pending);
        });
        let bytes = (self.buffer.len() - start) as u32;
        self.boxes.push(BoxAt { first: self.pending_first, offset, bytes, records });
        self.pending.clear();
        self.pending_records = 0;
        self.write_if_full()
    }

    /// Ends the records; now come the lines of the directory.
    pub(super) fn end_records(&mut self) -> Result<(), StorageError> {
        self.finish_box()?;
        self.directory_offset = Some(self.written + self.buffer.len() as u64);
        Ok(())
    }

    /// Appends a line above all before it.
    pub(super) fn push_line(&mut self, key: &[u8], line: &Line) -> Result<(), StorageError> {
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
        let start = self.buffer.len();
        let offset = self.written + start as u64;
        let place = Place { kind: DIRECTORY_PIECE, offset, sequence: self.blocks.len() as u64 };
        let (count, lines) = (self.lines_count, &self.lines);
        append_piece(&mut self.buffer, &self.sealer, &mut self.nonces, place, |out| {
            put_number(out, count);
            out.extend_from_slice(lines);
        });
        let bytes = (self.buffer.len() - start) as u32;
        self.blocks.push(BlockAt { first_key: self.first_key.as_slice().into(), offset, bytes });
        self.lines.clear();
        self.lines_count = 0;
        self.last_key.clear();
        self.write_if_full()
    }

    /// Completes and syncs the file. Its name is not yet durable.
    pub(super) fn finish(mut self) -> Result<Segment, StorageError> {
        self.finish_block()?;
        let start = self.buffer.len();
        let offset = self.written + start as u64;
        let footer = self.footer();
        append_piece(&mut self.buffer, &self.sealer, &mut self.nonces, footer_place(offset), |out| {
            out.extend_from_slice(&footer);
        });
        let footer_tag: Tag =
            self.buffer[start + 24..start + PIECE_HEADER_BYTES].try_into().unwrap_or_default();
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..8].copy_from_slice(&offset.to_le_bytes());
        trailer[8..12].copy_from_slice(&((self.buffer.len() - start) as u32).to_le_bytes());
        let checksum = crc32c::crc32c(&trailer[..12]);
        trailer[12..16].copy_from_slice(&checksum.to_le_bytes());
        trailer[16..].copy_from_slice(TRAILER_MAGIC);
        self.buffer.extend_from_slice(&trailer);
        self.write()?;
        self.file.sync()?;
        Ok(Segment {
            entry: SegmentEntry { id: self.id, bytes: self.written, footer_tag },
            records: self.records,
            last: self.last,
            boxes: self.boxes,
            blocks: self.blocks,
            directory_offset: self.directory_offset.unwrap_or(offset),
            file: self.file,
            sealer: self.sealer,
        })
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

    fn write_if_full(&mut self) -> Result<(), StorageError> {
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        self.file.write(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
