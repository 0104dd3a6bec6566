//! The manifest: what the store consists of. Two slots; a change writes and syncs one, and then the other likewise.
//!
//! A slot is a header (see [`crate::format::header`]; its file id is the generation) whose fields hold the length of the
//! body (8 bytes), and at offset 512 one piece (see [`crate::format::piece`]), kind 1, sequence = generation. Its text:
//!
//! | content | encoding |
//! |---|---|
//! | cluster id, member id | 8 bytes each, little-endian |
//! | boot number, next file id, newest log file | numbers (LEB128) |
//! | sequence of the newest log frame that was acknowledged | number |
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
//! - A change that finds no room for both slots changes neither.
//! - Record files that it does not name are leftovers.
//! - Each writing of a slot has a salt of its own. The sealers of both slots are kept, so that neither loses its key.

use super::directory::{Directory, StoreFile, Suffix, file_name, is_missing};
use crate::format::header::{FileKind, HEADER_BYTES, HeaderFault, open_header, seal_header};
use crate::format::piece::{append_piece, open_piece};
use crate::format::wire::{Malformed, Reader, put_bytes, put_number, put_signed};
use crate::format::{corrupt, unknown_version};
use crate::io::OpenMode;
use crate::seal::{Keys, Place, SealRefused, SealedFile, Sealer, Sealing};
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
    pub(super) log_acked: u64,
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
        put_number(out, self.log_acked);
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
        let log_acked = reader.number()?;
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
            log_acked,
            checkpoint,
            segments,
        };
        Ok(ids)
    }

    fn encode(&self, sealing: &Sealing) -> Result<(Vec<u8>, Sealer), StorageError> {
        let sealer = sealing.sealer_for_new_file(FileKind::Manifest as u8, self.generation)?;
        let mut nonces = sealing.nonces();
        let header_nonce = nonces.draw()?;
        let mut out = vec![0; HEADER_BYTES];
        append_piece(&mut out, &sealer, &mut nonces, body_place(self.generation), |out| self.put(out))?;
        let body_bytes = (out.len() - HEADER_BYTES) as u64;
        let (header, _) = seal_header(&sealer, 0, header_nonce, &body_bytes.to_le_bytes());
        out[..HEADER_BYTES].copy_from_slice(&header);
        Ok((out, sealer))
    }

    fn decode(slot: &mut [u8], sealer_of: SealerOf<'_>) -> Result<(Self, Sealer), HeaderFault> {
        let block = slot.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged("a cut header"))?;
        let header = open_header(block, FileKind::Manifest, 0, sealer_of)?;
        let body_bytes = header.fields().u64().map_err(|_| HeaderFault::Damaged("a malformed header"))?;
        let end = usize::try_from(body_bytes).ok().and_then(|bytes| HEADER_BYTES.checked_add(bytes));
        let body =
            end.and_then(|end| slot.get_mut(HEADER_BYTES..end)).ok_or(HeaderFault::Damaged("a cut body"))?;
        let file = header.sealer.file();
        let text =
            open_piece(body, &header.sealer, body_place(file.file_id)).map_err(HeaderFault::Damaged)?;
        let manifest = Self::parse(&body[text], file.file_id, file.store_id)
            .map_err(|_| HeaderFault::Damaged("a malformed body"))?;
        Ok((manifest, header.sealer))
    }
}

/// Makes the sealer of a file that describes itself.
pub(super) type SealerOf<'a> = &'a dyn Fn(SealedFile) -> Result<Sealer, SealRefused>;

fn body_place(generation: u64) -> Place {
    Place { kind: BODY_PIECE, offset: HEADER_BYTES as u64, sequence: generation }
}

/// The two slots on the medium.
pub(super) struct Slots {
    /// Which slot holds the manifest in force.
    current: usize,
    sealers: [Option<Sealer>; 2],
}

impl Slots {
    /// Reads the manifest in force; `None` if the directory has none.
    pub(super) fn load(directory: &Directory, keys: &Keys) -> Result<Option<(Self, Manifest)>, StorageError> {
        let mut best: Option<(usize, Manifest)> = None;
        let mut sealers = [None, None];
        let mut faults = Vec::new();
        for (current, name) in SLOTS.into_iter().enumerate() {
            match read_slot(directory, name, &|file| keys.sealer_of(file))? {
                None => {}
                Some(Ok((manifest, sealer))) => {
                    sealers[current] = Some(sealer);
                    if best.as_ref().is_none_or(|(_, best)| best.generation < manifest.generation) {
                        best = Some((current, manifest));
                    }
                }
                Some(Err(HeaderFault::Version(version))) => {
                    return Err(unknown_version(&directory.file_path(name), version));
                }
                Some(Err(fault)) => faults.push((name, fault)),
            }
        }
        match best {
            Some((current, manifest)) => Ok(Some((Self { current, sealers }, manifest))),
            None if faults.is_empty() => Ok(None),
            None => Err(no_manifest(directory, &faults)),
        }
    }

    /// Whether both slots are there and right.
    pub(super) fn is_whole(directory: &Directory, sealing: &Sealing) -> Result<bool, StorageError> {
        Ok(Self::verify(directory, &|file| sealing.sealer_of(file))?.is_empty())
    }

    /// What is wrong with each of the slots, which nobody writes meanwhile.
    pub(super) fn verify(
        directory: &Directory,
        sealer_of: SealerOf<'_>,
    ) -> Result<Vec<StorageError>, StorageError> {
        let mut faults = Vec::new();
        for name in SLOTS {
            let found = match read_slot(directory, name, sealer_of) {
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(fault))) => fault.to_string(),
                Ok(None) => "no such file".to_owned(),
                Err(error @ StorageError::Io { .. }) => error.to_string(),
                Err(error) => return Err(error),
            };
            faults.push(corrupt(&directory.file_path(name), 0, "a manifest", found));
        }
        Ok(faults)
    }

    /// Writes the first manifest of a store: it is there as a whole or not at all.
    pub(super) fn create(
        directory: &Directory,
        sealing: &Sealing,
        manifest: &Manifest,
    ) -> Result<Self, StorageError> {
        let mut slots = Self { current: 0, sealers: [None, None] };
        slots.replace_slot(directory, sealing, 0, manifest)?;
        Ok(slots)
    }

    /// Makes `manifest` the one in force, as the first change after opening. The slot that was read may stand in a
    /// page cache only, after a sync of an earlier process failed; so the other one, maybe the last on the medium,
    /// is replaced as a whole and not overwritten.
    pub(super) fn write_first(
        &mut self,
        directory: &Directory,
        sealing: &Sealing,
        manifest: &Manifest,
    ) -> Result<(), StorageError> {
        self.current = 1 - self.current;
        self.replace_slot(directory, sealing, self.current, manifest)?;
        self.replace_slot(directory, sealing, 1 - self.current, manifest)
    }

    /// Makes `manifest` the one in force. It is not if there is no room for it; after another error that is unknown.
    pub(super) fn write(
        &mut self,
        directory: &Directory,
        sealing: &Sealing,
        manifest: &Manifest,
    ) -> Result<(), StorageError> {
        let (next, other) = (1 - self.current, self.current);
        let (first, first_sealer) = manifest.encode(sealing)?;
        let (second, second_sealer) = manifest.encode(sealing)?;
        let file = directory.open(SLOTS[next], OpenMode::Write)?;
        let other_file = directory.open(SLOTS[other], OpenMode::Write)?;
        // Both before either is touched, so that what follows needs no room.
        extend(&file, first.len() as u64)?;
        extend(&other_file, second.len() as u64)?;
        file.write(&first, 0)?;
        file.sync()?;
        (self.current, self.sealers[next]) = (next, Some(first_sealer));
        match other_file.write(&second, 0) {
            // Where even overwriting takes room. The next change begins with this slot.
            Err(error) if error.is_no_room() => {
                tracing::warn!(%error, "the manifest stands in one slot only");
                return Ok(());
            }
            written => written?,
        }
        other_file.sync()?;
        self.sealers[other] = Some(second_sealer);
        Ok(())
    }

    /// Whether a slot is sealed with another key than new files are.
    pub(super) fn are_outdated(&self, sealing: &Sealing) -> bool {
        self.sealers.iter().flatten().any(|sealer| sealing.is_outdated(sealer.file()))
    }

    fn replace_slot(
        &mut self,
        directory: &Directory,
        sealing: &Sealing,
        number: usize,
        manifest: &Manifest,
    ) -> Result<(), StorageError> {
        // A name that was never used: whatever a crash keeps of older renames cannot put another file in this place.
        let new = file_name(directory.fresh_id(), Suffix::New);
        let file = directory.open(&new, OpenMode::Create)?;
        let (slot, sealer) = manifest.encode(sealing)?;
        file.write(&slot, 0).inspect_err(|_| directory.discard(&new))?;
        file.sync()?;
        directory.rename(&new, SLOTS[number]).inspect_err(|_| directory.discard(&new))?;
        directory.sync()?;
        self.sealers[number] = Some(sealer);
        Ok(())
    }
}

/// Extends a slot with zeros, so that `bytes` fit. Nothing of it changes if there is no room for that.
fn extend(file: &StoreFile, bytes: u64) -> Result<(), StorageError> {
    let length = file.len()?;
    if length >= bytes {
        return Ok(());
    }
    let extended = file.write(&vec![0; (bytes - length) as usize], length);
    if extended.is_err() {
        file.set_len(length)?;
    }
    extended
}

/// A slot that is there: what it says, or why it says nothing.
type SlotRead = Result<(Manifest, Sealer), HeaderFault>;

fn read_slot(
    directory: &Directory,
    name: &str,
    sealer_of: SealerOf<'_>,
) -> Result<Option<SlotRead>, StorageError> {
    let file = match directory.open(name, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut slot = vec![0; file.len()? as usize];
    let found = file.read(&mut slot, 0)?;
    slot.truncate(found);
    Ok(Some(Manifest::decode(&mut slot, sealer_of)))
}

fn no_manifest(directory: &Directory, faults: &[(&str, HeaderFault)]) -> StorageError {
    let refused = |(_, fault): &(&str, HeaderFault)| match fault {
        HeaderFault::Refused(refused) => Some(*refused),
        _ => None,
    };
    // A store that was opened in the wrong way says so, whatever else is wrong.
    match (faults.iter().find_map(refused), faults.first()) {
        (Some(refused @ (SealRefused::Sealed | SealRefused::InTheClear)), _) => refused.at(directory.path()),
        (_, first) => {
            let (name, found) =
                first.map_or((SLOTS[0], String::new()), |(name, fault)| (*name, fault.to_string()));
            corrupt(&directory.file_path(name), 0, "a manifest, here or in the other slot", found)
        }
    }
}
