//! The manifest: what the store consists of. Two slots; a change writes and syncs one, and then the other likewise.
//!
//! A slot is a header (see [`crate::format::header`]; its file id is the generation) whose fields hold the length of the
//! body (8 bytes), and at offset 512 one piece (see [`crate::format::piece`]), kind 1, sequence = generation. Its text:
//!
//! | content | encoding |
//! |---|---|
//! | cluster id, member id | 8 bytes each, little-endian |
//! | boot number, next file id, newest log file | numbers (LEB128) |
//! | checkpoint present | 1 byte |
//! | if so: applied term, applied index | numbers |
//! | revision, compact revision | signed numbers (zigzag) |
//! | state | length and bytes |
//! | number of record files | number |
//! | each: id, file bytes | numbers |
//! | and the tag of its footer | 16 bytes |
//!
//! # Invariants
//! - The valid slot of the highest generation is the store. Everything that it names was synced before it.
//! - While a change writes one slot the other is whole, so that a torn one costs the change and nothing else.
//!   Afterwards both say the same, so that a rotten one costs nothing.
//! - Record files that it does not name are leftovers.

use super::directory::{Directory, Suffix, file_name, is_missing};
use crate::format::header::{FileKind, HEADER_BYTES, HeaderFault, open_header, seal_header};
use crate::format::piece::{PIECE_HEADER_BYTES, append_piece, open_piece};
use crate::format::wire::{Malformed, Reader, put_bytes, put_number, put_signed};
use crate::format::{corrupt, unknown_version};
use crate::io::OpenMode;
use crate::seal::{Algorithm, Nonces, Place, SealedFile, Sealer};
use crate::units::unit::UnitEntry;
use bytes::Bytes;
use coffer_core::storage::{Checkpoint, LogId, StorageError};

pub(crate) const SLOTS: [&str; 2] = ["manifest.a", "manifest.b"];
const BODY_PIECE: u8 = 1;

/// What the store consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) generation: u64,
    pub(super) store_id: [u8; 16],
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    pub(super) boot: u64,
    pub(super) next_id: u64,
    pub(super) newest_log: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) segments: Vec<UnitEntry>,
}

impl Manifest {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cluster_id.to_le_bytes());
        out.extend_from_slice(&self.member_id.to_le_bytes());
        put_number(out, self.boot);
        put_number(out, self.next_id);
        put_number(out, self.newest_log);
        out.push(self.checkpoint.is_some().into());
        if let Some(checkpoint) = &self.checkpoint {
            put_number(out, checkpoint.applied.term);
            put_number(out, checkpoint.applied.index);
            put_signed(out, checkpoint.revision);
            put_signed(out, checkpoint.compact_revision);
            put_bytes(out, &checkpoint.state);
        }
        put_number(out, self.segments.len() as u64);
        for segment in &self.segments {
            put_number(out, segment.id);
            put_number(out, segment.bytes);
            out.extend_from_slice(&segment.footer_tag);
        }
    }

    fn parse(text: &[u8], generation: u64, store_id: [u8; 16]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(text);
        let (cluster_id, member_id) = (reader.u64()?, reader.u64()?);
        let (boot, next_id, newest_log) = (reader.number()?, reader.number()?, reader.number()?);
        let checkpoint = match reader.u8()? {
            0 => None,
            1 => Some(Checkpoint {
                applied: LogId { term: reader.number()?, index: reader.number()? },
                revision: reader.signed()?,
                compact_revision: reader.signed()?,
                state: Bytes::copy_from_slice(reader.bytes()?),
            }),
            _ => return Err(Malformed),
        };
        let mut segments = Vec::new();
        for _ in 0..reader.number()? {
            let (id, bytes) = (reader.number()?, reader.number()?);
            segments.push(UnitEntry { id, bytes, footer_tag: reader.array()? });
        }
        if !reader.is_empty() {
            return Err(Malformed);
        }
        let ids = Self {
            generation,
            store_id,
            cluster_id,
            member_id,
            boot,
            next_id,
            newest_log,
            checkpoint,
            segments,
        };
        Ok(ids)
    }

    fn encode(&self, directory: &Directory) -> Result<Vec<u8>, StorageError> {
        let sealer = Sealer::new(SealedFile {
            store_id: self.store_id,
            file_id: self.generation,
            kind: FileKind::Manifest as u8,
            algorithm: Algorithm::Unsealed,
            data_key_id: 0,
            salt: directory.random()?,
        });
        let mut nonces = Nonces::new(directory.random()?);
        let header_nonce = nonces.draw();
        let mut out = vec![0; HEADER_BYTES];
        append_piece(&mut out, &sealer, &mut nonces, body_place(self.generation), |out| self.put(out));
        let body_bytes = (out.len() - HEADER_BYTES) as u64;
        let (header, _) = seal_header(&sealer, 0, header_nonce, &body_bytes.to_le_bytes());
        out[..HEADER_BYTES].copy_from_slice(&header);
        Ok(out)
    }

    fn decode(slot: &mut [u8]) -> Result<Self, HeaderFault> {
        let block = slot.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged("a cut header"))?;
        let header = open_header(block, FileKind::Manifest, 0)?;
        let body_bytes = header.fields().u64().map_err(|_| HeaderFault::Damaged("a malformed header"))?;
        let end = usize::try_from(body_bytes).ok().and_then(|bytes| HEADER_BYTES.checked_add(bytes));
        let body =
            end.and_then(|end| slot.get_mut(HEADER_BYTES..end)).ok_or(HeaderFault::Damaged("a cut body"))?;
        let file = header.sealer.file();
        open_piece(body, &header.sealer, body_place(file.file_id)).map_err(HeaderFault::Damaged)?;
        Self::parse(&body[PIECE_HEADER_BYTES..], file.file_id, file.store_id)
            .map_err(|_| HeaderFault::Damaged("a malformed body"))
    }
}

fn body_place(generation: u64) -> Place {
    Place { kind: BODY_PIECE, offset: HEADER_BYTES as u64, sequence: generation }
}

/// The two slots on the medium.
pub(super) struct Slots {
    /// Which slot holds the manifest in force.
    current: usize,
}

impl Slots {
    /// Reads the manifest in force; `None` if the directory has none.
    pub(super) fn load(directory: &Directory) -> Result<Option<(Self, Manifest)>, StorageError> {
        let mut best: Option<(Self, Manifest)> = None;
        let mut damage = None;
        for (current, name) in SLOTS.into_iter().enumerate() {
            match read_slot(directory, name)? {
                None => {}
                Some(Ok(manifest)) => {
                    let newer = best.as_ref().is_none_or(|(_, best)| best.generation < manifest.generation);
                    if newer {
                        best = Some((Self { current }, manifest));
                    }
                }
                Some(Err(HeaderFault::Damaged(found))) => damage = damage.or(Some((name, found))),
                Some(Err(HeaderFault::Version(version))) => {
                    return Err(unknown_version(&directory.file_path(name), version));
                }
            }
        }
        match (best, damage) {
            (None, Some((name, found))) => {
                let path = directory.file_path(name);
                Err(corrupt(&path, 0, "a manifest, here or in the other slot", found))
            }
            (best, _) => Ok(best),
        }
    }

    /// Writes the first manifest of a store: it is there as a whole or not at all.
    pub(super) fn create(directory: &Directory, manifest: &Manifest) -> Result<Self, StorageError> {
        replace_slot(directory, SLOTS[0], manifest)?;
        Ok(Self { current: 0 })
    }

    /// Makes `manifest` the one in force, as the first change after opening. The slot that was read may stand in a
    /// page cache only, after a sync of an earlier process failed; so the other one, maybe the last on the medium,
    /// is replaced as a whole and not overwritten.
    pub(super) fn write_first(
        &mut self,
        directory: &Directory,
        manifest: &Manifest,
    ) -> Result<(), StorageError> {
        self.current = 1 - self.current;
        replace_slot(directory, SLOTS[self.current], manifest)?;
        replace_slot(directory, SLOTS[1 - self.current], manifest)
    }

    /// Makes `manifest` the one in force. After an error it is unknown whether it is.
    pub(super) fn write(&mut self, directory: &Directory, manifest: &Manifest) -> Result<(), StorageError> {
        self.current = 1 - self.current;
        write_slot(directory, SLOTS[self.current], manifest)?;
        write_slot(directory, SLOTS[1 - self.current], manifest)
    }
}

fn write_slot(directory: &Directory, name: &str, manifest: &Manifest) -> Result<(), StorageError> {
    let file = directory.open(name, OpenMode::Write)?;
    file.write(&manifest.encode(directory)?, 0)?;
    file.sync()
}

fn replace_slot(directory: &Directory, name: &str, manifest: &Manifest) -> Result<(), StorageError> {
    // A name that was never used: whatever a crash keeps of older renames cannot put another file in this place.
    let new = file_name(directory.fresh_id(), Suffix::New);
    let file = directory.open(&new, OpenMode::Create)?;
    file.write(&manifest.encode(directory)?, 0)?;
    file.sync()?;
    directory.rename(&new, name)?;
    directory.sync()
}

fn read_slot(
    directory: &Directory,
    name: &str,
) -> Result<Option<Result<Manifest, HeaderFault>>, StorageError> {
    let file = match directory.open(name, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut slot = vec![0; file.len()? as usize];
    let found = file.read(&mut slot, 0)?;
    slot.truncate(found);
    Ok(Some(Manifest::decode(&mut slot)))
}
