//! Reads a snapshot file.

use super::{END_PIECE, HEAD_PIECE, LEASES_PIECE, RECORDS_PIECE};
use crate::format::header::{FileKind, HEADER_BYTES, HeaderFault, open_header};
use crate::format::piece::{PIECE_HEADER_BYTES, open_piece};
use crate::format::wire::{Malformed, Reader};
use crate::format::{corrupt, unknown_version};
use crate::seal::slots::{SlotInfo, Slots};
use crate::seal::source::KeySource;
use crate::seal::{Algorithm, KeyError, Place, RootKey, SealRefused, SealedFile, Sealer};
use crate::units::codec::parse_box;
use bytes::Bytes;
use coffer_core::record::Record;
use coffer_core::revision::LeaseId;
use coffer_core::storage::{LogId, SnapshotHead, SnapshotLease, SnapshotSource, StorageError};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No file has more bytes of slots.
const SLOTS_BYTES_MAX: u32 = 2 << 20;

/// Whether a file begins as a snapshot does.
pub fn is_snapshot(beginning: &[u8]) -> bool {
    beginning.starts_with(FileKind::Snapshot.magic())
}

/// A snapshot that is being read. As a [`SnapshotSource`] it yields the records, and fails at the end of a file that was
/// cut.
pub struct SnapshotReader {
    input: Box<dyn Read + Send>,
    path: PathBuf,
    slots: Vec<SlotInfo>,
    sealer: Sealer,
    offset: u64,
    pieces: u64,
    head: SnapshotHead,
    leases: Vec<SnapshotLease>,
    records: u64,
    /// Of the piece that was read last, in reverse order.
    ready: Vec<Record>,
    /// Whether the end was read, and was right.
    ended: bool,
}

impl SnapshotReader {
    /// Begins to read `input`, which errors call `path`: the header, the head and the leases. `source` opens a sealed one.
    ///
    /// # Errors
    /// It is no snapshot, damaged, or of another version; it is sealed and the source does not open it, or there is none; it
    /// is in the clear and there is a source.
    pub fn open(
        mut input: Box<dyn Read + Send>,
        path: &Path,
        source: Option<&KeySource>,
    ) -> Result<Self, KeyError> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let read = (&mut input).take(HEADER_BYTES as u64).read_to_end(&mut header);
        read.map_err(|error| StorageError::io("read", path, error))?;
        if !is_snapshot(&header) {
            let reason = "is no snapshot of Coffer".into();
            return Err(StorageError::Format { path: path.to_owned(), reason }.into());
        }
        if header.len() < HEADER_BYTES {
            return Err(cut(path, 0).into());
        }
        let slots = read_slots(&mut input, &header, path)?;
        let sealer = open_sealer(&header, &slots, path, source)?;
        let head = SnapshotHead {
            cluster_id: 0,
            member_id: 0,
            revision: 0,
            compact_revision: 0,
            applied: LogId::default(),
            created_s: 0,
        };
        let mut reader = Self {
            input,
            path: path.to_owned(),
            slots: slots.list,
            sealer,
            offset: HEADER_BYTES as u64 + slots.bytes,
            pieces: 0,
            head,
            leases: Vec::new(),
            records: 0,
            ready: Vec::new(),
            ended: false,
        };
        let (at, kind, text) = reader.piece()?;
        reader.head = match kind {
            HEAD_PIECE => {
                parse_head(&text).map_err(|Malformed| reader.damaged(at, "a head", "something else"))?
            }
            _ => return Err(reader.damaged(at, "the head", format!("a piece of kind {kind}")).into()),
        };
        reader.advance()?;
        Ok(reader)
    }

    /// What it says of itself.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// All leases, ascending.
    pub fn leases(&self) -> &[SnapshotLease] {
        &self.leases
    }

    /// The key slots of a sealed one: which keys open it.
    pub fn slots(&self) -> &[SlotInfo] {
        &self.slots
    }

    /// Whether it is sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealer.encrypts()
    }

    /// Bytes of the file that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.offset
    }

    /// Reads on until there are records, or the end.
    fn advance(&mut self) -> Result<(), StorageError> {
        while self.ready.is_empty() && !self.ended {
            let (at, kind, text) = self.piece()?;
            let malformed = |_: Malformed| self.damaged(at, "a piece that was written here", "another text");
            match kind {
                LEASES_PIECE if self.records == 0 => {
                    let mut leases = parse_leases(&text).map_err(malformed)?;
                    self.leases.append(&mut leases);
                }
                RECORDS_PIECE => {
                    self.ready = parse_box(&text).map_err(malformed)?;
                    self.records += self.ready.len() as u64;
                    self.ready.reverse();
                }
                END_PIECE => {
                    let totals = parse_end(&text).map_err(malformed)?;
                    let found = [self.leases.len() as u64, self.records, self.pieces - 1];
                    if totals != found {
                        return Err(self.damaged(at, format!("{totals:?}"), format!("{found:?}")));
                    }
                    self.check_end()?;
                    self.ended = true;
                }
                kind => return Err(self.damaged(at, "a piece of a snapshot", format!("one of kind {kind}"))),
            }
        }
        Ok(())
    }

    /// The next piece: where it stands, its kind and its text.
    fn piece(&mut self) -> Result<(u64, u8, Bytes), StorageError> {
        let at = self.offset;
        let mut piece = vec![0; PIECE_HEADER_BYTES];
        read_exact(&mut self.input, &mut piece, &self.path, at)?;
        let length = u32::from_le_bytes([piece[4], piece[5], piece[6], piece[7]]);
        // A length may be rotten: memory grows with what is there.
        let read = (&mut self.input).take(length.into()).read_to_end(&mut piece);
        let read = read.map_err(|error| StorageError::io("read", &self.path, error))?;
        if read < length as usize {
            return Err(self.cut(at));
        }
        let place = Place { kind: piece[8], offset: at, sequence: self.pieces };
        let text = open_piece(&mut piece, &self.sealer, place)
            .map_err(|found| self.damaged(at, "the piece that was written here", found))?;
        self.offset += piece.len() as u64;
        self.pieces += 1;
        Ok((at, place.kind, Bytes::from(piece).slice(text)))
    }

    fn check_end(&mut self) -> Result<(), StorageError> {
        let mut more = [0];
        match self.input.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged(self.offset, "the end of the file", "more bytes")),
            Err(error) => Err(StorageError::io("read", &self.path, error)),
        }
    }

    fn cut(&self, at: u64) -> StorageError {
        cut(&self.path, at)
    }

    fn damaged(&self, at: u64, expected: impl Into<String>, found: impl Into<String>) -> StorageError {
        corrupt(&self.path, at, expected, found)
    }
}

impl SnapshotSource for SnapshotReader {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        if self.ready.is_empty() {
            self.advance()?;
        }
        Ok(self.ready.pop())
    }
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("path", &self.path)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// The slots that stand in a file.
struct CopiedSlots {
    slots: Option<Slots>,
    list: Vec<SlotInfo>,
    bytes: u64,
}

/// Reads the slots behind a header that is not believed yet.
fn read_slots(input: &mut dyn Read, header: &[u8], path: &Path) -> Result<CopiedSlots, KeyError> {
    let length = u32::from_le_bytes([header[80], header[81], header[82], header[83]]);
    if length > SLOTS_BYTES_MAX {
        let expected = format!("at most {SLOTS_BYTES_MAX} bytes of key slots");
        return Err(corrupt(path, 80, expected, length.to_string()).into());
    }
    let mut bytes = vec![0; length as usize];
    read_exact(input, &mut bytes, path, HEADER_BYTES as u64)?;
    let slots = (length > 0).then(|| Slots::of_copy(&bytes, path)).transpose()?;
    let list = slots.as_ref().map(Slots::list).unwrap_or_default();
    Ok(CopiedSlots { slots, list, bytes: length.into() })
}

fn open_sealer(
    header: &[u8],
    slots: &CopiedSlots,
    path: &Path,
    source: Option<&KeySource>,
) -> Result<Sealer, KeyError> {
    let root = match (&slots.slots, source) {
        (Some(slots), Some(source)) => Some(RootKey::new(slots.store_id(), slots.unlock(source)?)),
        (None, None) => None,
        (Some(_), None) => return Err(SealRefused::Sealed.at(path).into()),
        (None, Some(_)) => return Err(SealRefused::InTheClear.at(path).into()),
    };
    let sealer_of = |file: SealedFile| match (&root, file.algorithm) {
        (None, Algorithm::Unsealed) => Ok(Sealer::unsealed(file)),
        (None, Algorithm::Aes256Gcm) => Err(SealRefused::Sealed),
        (Some(_), Algorithm::Unsealed) => Err(SealRefused::InTheClear),
        (Some(root), Algorithm::Aes256Gcm) if *root.store_id() == file.store_id => Ok(root.sealer(file)),
        (Some(_), Algorithm::Aes256Gcm) => Err(SealRefused::OtherStore),
    };
    match open_header(header, FileKind::Snapshot, 0, sealer_of) {
        Ok(header) => Ok(header.sealer),
        Err(HeaderFault::Version(version)) => Err(unknown_version(path, version).into()),
        Err(HeaderFault::Refused(refused)) => Err(refused.at(path).into()),
        Err(fault @ (HeaderFault::Damaged(_) | HeaderFault::Broken)) => {
            Err(corrupt(path, 0, "the header of a snapshot", fault.to_string()).into())
        }
    }
}

fn read_exact(input: &mut dyn Read, bytes: &mut [u8], path: &Path, at: u64) -> Result<(), StorageError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => cut(path, at),
        _ => StorageError::io("read", path, error),
    })
}

fn cut(path: &Path, at: u64) -> StorageError {
    corrupt(path, at, "more of the snapshot", "the end of the file: it is not whole, save it again")
}

fn parse_head(text: &[u8]) -> Result<SnapshotHead, Malformed> {
    let mut reader = Reader::new(text);
    let head = SnapshotHead {
        cluster_id: reader.u64()?,
        member_id: reader.u64()?,
        revision: reader.signed()?,
        compact_revision: reader.signed()?,
        applied: LogId { term: reader.number()?, index: reader.number()? },
        created_s: reader.number()?,
    };
    if reader.is_empty() { Ok(head) } else { Err(Malformed) }
}

fn parse_leases(text: &[u8]) -> Result<Vec<SnapshotLease>, Malformed> {
    let mut reader = Reader::new(text);
    let count: usize = reader.small()?;
    let mut leases = Vec::with_capacity(count.min(text.len() / 3));
    for _ in 0..count {
        let (id, ttl_s) = (LeaseId(reader.signed()?), reader.signed()?);
        leases.push(SnapshotLease { id, ttl_s, remaining_s: reader.signed()? });
    }
    if reader.is_empty() { Ok(leases) } else { Err(Malformed) }
}

fn parse_end(text: &[u8]) -> Result<[u64; 3], Malformed> {
    let mut reader = Reader::new(text);
    let totals = [reader.number()?, reader.number()?, reader.number()?];
    if reader.is_empty() { Ok(totals) } else { Err(Malformed) }
}
