//! Units as record files, and the manifest in two slots.
//!
//! | part of a file | content |
//! |---|---|
//! | header, 512 bytes | see [`crate::format::header`], no fields |
//! | boxes, directory blocks, footer | see [`crate::units`] |
//! | trailer, 24 bytes | footer offset 8, footer bytes 4, CRC-32C of these 12 bytes 4, magic `CFRSEND1` |
//!
//! Parts follow each other without gaps.
//!
//! # Invariants
//! - A file is complete, synced and its name durable before the manifest names it.
//! - A file that was replaced is unlinked at once; readers hold it open until they are done. If there are none it is cut
//!   shorter in slices before it is closed: freeing a large file in one go keeps a journaling file system from
//!   everything else.

use super::directory::{Directory, StoreFile, Suffix, file_name, is_missing};
use super::log::{LogProgress, SparePool};
use super::manifest::{Manifest, Slots};
use crate::format::corrupt;
use crate::format::header::{FileKind, HEADER_BYTES, open_header, seal_header};
use crate::format::piece::{PIECE_HEADER_BYTES, append_piece, open_piece};
use crate::format::wire::Reader;
use crate::io::OpenMode;
use crate::seal::{Nonces, Place, SealRefused, SealedFile, Sealer, Sealing, Tag, verify_keys};
use crate::units::codec::FOOTER_PIECE;
use crate::units::medium::Medium;
use crate::units::unit::{Pieces, Sink, Unit, UnitEntry};
use coffer_core::storage::{Checking, Checkpoint, Finding, Halt, ReclaimProgress, StorageError};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// So much is written and synced at once: more in one go would hold up the log's syncs.
const WRITE_BYTES: usize = 1 << 20;
/// So much of a retired file is cut off at once.
const CUT_BYTES: u64 = 1 << 20;
const TRAILER_BYTES: usize = 24;
const TRAILER_MAGIC: &[u8; 8] = b"CFRSEND1";

/// The record files of a store, and its manifest.
pub(super) struct RecordFiles {
    directory: Arc<Directory>,
    sealing: Sealing,
    manifest: Mutex<(Slots, Manifest)>,
    /// How far the log is, to be named in the manifest.
    log: Arc<LogProgress>,
    /// The log's files in waiting: a missing one is a lack of room.
    log_files: Option<Arc<SparePool>>,
    retired: Mutex<Vec<Retired>>,
}

/// A file that has no name any more.
struct Retired {
    file: StoreFile,
    bytes: u64,
    readers: Weak<Unit>,
}

impl RecordFiles {
    pub(super) fn new(
        directory: Arc<Directory>,
        sealing: Sealing,
        slots: Slots,
        manifest: Manifest,
        log: Arc<LogProgress>,
    ) -> Self {
        let (manifest, retired) = (Mutex::new((slots, manifest)), Mutex::default());
        Self { directory, sealing, manifest, log, log_files: None, retired }
    }

    /// Learns of the other half.
    pub(super) fn join(&mut self, log_files: Arc<SparePool>) {
        self.log_files = Some(log_files);
    }

    /// Opens the files that the manifest names.
    pub(super) fn open_units(&self) -> Result<Vec<Arc<Unit>>, StorageError> {
        let entries = self.manifest.lock().1.segments.clone();
        let open = |entry: &UnitEntry| open_file(&self.directory, &self.sealing, *entry).map(Arc::new);
        entries.iter().map(open).collect()
    }

    /// Writes the manifest with a new boot number; with that the store is open.
    pub(super) fn begin(&self, boot: u64) -> Result<(), StorageError> {
        let (slots, current) = &mut *self.manifest.lock();
        let manifest = self.next_manifest(Manifest { boot, ..current.clone() });
        slots.write_first(&self.directory, &self.sealing, &manifest)?;
        *current = manifest;
        Ok(())
    }

    /// Removes record files that the manifest does not name.
    pub(super) fn remove_leftovers(&self, names: &[(u64, Suffix)]) {
        let current = &self.manifest.lock().1;
        for (id, _) in names.iter().filter(|name| name.1 == Suffix::Records) {
            if !current.segments.iter().any(|entry| entry.id == *id) {
                self.directory.discard(&file_name(*id, Suffix::Records));
            }
        }
    }

    /// The next generation, with what it says of ids and the log brought up to date.
    fn next_manifest(&self, manifest: Manifest) -> Manifest {
        Manifest {
            generation: manifest.generation + 1,
            next_id: self.directory.next_id(),
            newest_log: self.log.newest_file.load(Ordering::Acquire).max(manifest.newest_log),
            log_acked: self.log.acked.load(Ordering::Acquire).max(manifest.log_acked),
            ..manifest
        }
    }
}

impl Medium for RecordFiles {
    type Sink = FileSink;

    fn begin_unit(&self, presses: bool) -> Result<FileSink, StorageError> {
        FileSink::create(&self.directory, &self.sealing, presses)
    }

    fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    fn is_manifest_outdated(&self) -> bool {
        self.manifest.lock().0.are_outdated(&self.sealing)
    }

    fn settle(&self) -> Result<(), StorageError> {
        self.directory.sync()
    }

    fn put_manifest(&self, units: &[Arc<Unit>], checkpoint: Option<&Checkpoint>) -> Result<(), StorageError> {
        let (slots, current) = &mut *self.manifest.lock();
        let segments = units.iter().map(|unit| unit.entry).collect();
        let changed = Manifest { segments, checkpoint: checkpoint.cloned(), ..current.clone() };
        let manifest = self.next_manifest(changed);
        slots.write(&self.directory, &self.sealing, &manifest)?;
        *current = manifest;
        Ok(())
    }

    fn remove(&self, id: u64, _: Weak<Unit>) {
        self.directory.discard(&file_name(id, Suffix::Records));
    }

    fn retire(&self, unit: &Arc<Unit>) {
        let name = file_name(unit.entry.id, Suffix::Records);
        // Without a handle the last reader closes it, with all that it takes.
        let file = self.directory.open_sparing(&name, OpenMode::Write);
        self.directory.discard(&name);
        match file {
            Ok(file) => {
                let (bytes, readers) = (unit.entry.bytes, Arc::downgrade(unit));
                self.retired.lock().push(Retired { file, bytes, readers });
            }
            Err(error) => tracing::debug!(%error, "a file is given up in one go"),
        }
    }

    fn cut_retired(&self) -> bool {
        let mut retired = self.retired.lock();
        // What is still read goes with its last reader.
        retired.retain(|one| one.readers.strong_count() == 0);
        let Some(one) = retired.last_mut() else { return false };
        one.bytes = one.bytes.saturating_sub(CUT_BYTES);
        let cut = one.file.set_len(one.bytes);
        if cut.is_err() || one.bytes == 0 {
            retired.pop();
        }
        true
    }

    fn give_back(&self) -> Result<ReclaimProgress, StorageError> {
        Ok(ReclaimProgress::default())
    }

    fn has_garbage(&self) -> bool {
        !self.retired.lock().is_empty()
    }

    fn verify(&self, checking: &mut Checking<'_>) -> Result<(), Halt> {
        // A slot that is being written is not judged: a second look comes when nobody writes.
        if !Slots::is_whole(&self.directory, &self.sealing)? {
            let faults = {
                let _slots = self.manifest.lock();
                Slots::verify(&self.directory, &|file| self.sealing.sealer_of(file))?
            };
            // What the slots said when the store was opened is known, and is written anew with the next change.
            faults.into_iter().for_each(|fault| checking.found(Finding::Weakened(fault)));
        }
        if let Some(keyring) = self.sealing.keyring() {
            verify_keys(keyring, checking)?;
        }
        checking.checked(0)
    }

    fn disk_bytes(&self, units: u64) -> u64 {
        units
    }

    fn has_room(&self) -> bool {
        !self.directory.room().is_full()
    }

    fn recover_room(&self, disk_bytes: u64) -> Result<bool, StorageError> {
        let log_files = &self.log_files;
        let spare_bytes = log_files.as_ref().map_or(0, |files| files.missing_bytes());
        let make_spare = || log_files.as_ref().map_or(Ok(()), |files| files.make_missing());
        self.directory.room().recover(disk_bytes, spare_bytes, make_spare)
    }

    fn flush_room_bytes(&self) -> u64 {
        self.directory.room().flush_bytes(1)
    }
}

/// Opens a file that the manifest names.
pub(super) fn open_file(
    directory: &Directory,
    sealing: &Sealing,
    entry: UnitEntry,
) -> Result<Unit, StorageError> {
    let name = file_name(entry.id, Suffix::Records);
    let file = directory.open(&name, OpenMode::Read).map_err(|error| match is_missing(&error) {
        true => {
            corrupt(&directory.file_path(&name), 0, "a record file that the manifest names", "no such file")
        }
        false => error,
    })?;
    open_frame(file, entry, |file| sealing.sealer_of(file))
}

/// Reads header, trailer and footer of a file.
fn open_frame(
    file: StoreFile,
    entry: UnitEntry,
    sealer_of: impl FnOnce(SealedFile) -> Result<Sealer, SealRefused>,
) -> Result<Unit, StorageError> {
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
    let header = open_header(&block, FileKind::Records, 0, sealer_of)
        .map_err(|fault| file.corrupt(0, "a record file header", fault.to_string()))?;
    if header.sealer.file().file_id != entry.id {
        return Err(file.corrupt(0, "the header of this file", "that of another"));
    }
    open_footer(file, header.sealer, entry)
}

fn open_footer(file: StoreFile, sealer: Sealer, entry: UnitEntry) -> Result<Unit, StorageError> {
    let trailer_offset = entry.bytes.saturating_sub(TRAILER_BYTES as u64);
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer, trailer_offset)?;
    let Some((offset, bytes)) = parse_trailer(&trailer, trailer_offset) else {
        return Err(file.corrupt(trailer_offset, "a record file trailer", "a damaged one"));
    };
    let mut footer = vec![0; bytes];
    file.read_exact(&mut footer, offset)?;
    let text = open_piece(&mut footer, &sealer, footer_place(offset))
        .map_err(|found| file.corrupt(offset, "a record file footer", found))?;
    if footer[24..40] != entry.footer_tag {
        return Err(file.corrupt(offset, "the footer that the manifest names", "another"));
    }
    let mut next = HEADER_BYTES as u64;
    let place = |_, _, bytes: u32| {
        let at = next;
        next = next.saturating_add(bytes.into());
        at
    };
    let pieces = Box::new(FilePieces { file: file.clone(), sealer });
    Unit::new(entry, &footer[text], pieces, place)
        .map_err(|_| file.corrupt(offset, "a record file footer", "a malformed one"))
}

fn parse_trailer(trailer: &[u8; TRAILER_BYTES], trailer_offset: u64) -> Option<(u64, usize)> {
    let mut reader = Reader::new(trailer);
    let (offset, bytes, checksum) = (reader.u64().ok()?, reader.u32().ok()?, reader.u32().ok()?);
    let right = checksum == crc32c::crc32c(&trailer[..12]) && trailer[16..] == *TRAILER_MAGIC;
    (right && offset.checked_add(bytes.into()) == Some(trailer_offset)).then_some((offset, bytes as usize))
}

/// Where the footer stands, as the trailer says.
fn footer_offset(file: &StoreFile, entry: &UnitEntry) -> Result<u64, StorageError> {
    let at = entry.bytes.saturating_sub(TRAILER_BYTES as u64);
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact(&mut trailer, at)?;
    let parsed = parse_trailer(&trailer, at).map(|(offset, _)| offset);
    parsed.ok_or_else(|| file.corrupt(at, "a record file trailer", "a damaged one"))
}

fn footer_place(offset: u64) -> Place {
    Place { kind: FOOTER_PIECE, offset, sequence: 0 }
}

/// An open record file.
struct FilePieces {
    file: StoreFile,
    sealer: Sealer,
}

impl Pieces for FilePieces {
    fn read(&self, _: u8, at: u64, piece: &mut [u8]) -> Result<(), StorageError> {
        self.file.read_exact(piece, at)
    }

    fn verify_frame(&self, entry: &UnitEntry) -> Result<(), StorageError> {
        let unit = open_frame(self.file.clone(), *entry, |file| match file == *self.sealer.file() {
            true => Ok(self.sealer.clone()),
            false => Err(SealRefused::OtherStore),
        })?;
        // Nothing lies between the last block and the footer.
        let pieces: u64 = unit.box_bytes() + unit.blocks.iter().map(|at| u64::from(at.bytes)).sum::<u64>();
        let footer = footer_offset(&self.file, entry)?;
        if HEADER_BYTES as u64 + pieces == footer {
            return Ok(());
        }
        Err(self.file.corrupt(footer, "a footer behind the last piece", "a gap"))
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    fn corrupt(&self, at: u64, expected: String, found: &str) -> StorageError {
        self.file.corrupt(at, expected, found)
    }
}

/// A record file that is being written.
pub(super) struct FileSink {
    id: u64,
    file: StoreFile,
    sealer: Sealer,
    nonces: Nonces,
    /// Bytes before `buffer` in the file.
    written: u64,
    buffer: Vec<u8>,
}

impl FileSink {
    fn create(directory: &Directory, sealing: &Sealing, presses: bool) -> Result<Self, StorageError> {
        let id = directory.fresh_id();
        let sealer = sealing.sealer_for_new_file(FileKind::Records as u8, id)?;
        let mut nonces = sealing.nonces();
        let (header, _) = seal_header(&sealer, 0, nonces.draw()?, &[]);
        let name = file_name(id, Suffix::Records);
        let file = match presses {
            true => directory.open(&name, OpenMode::Create)?,
            false => directory.open_sparing(&name, OpenMode::Create)?,
        };
        Ok(Self { id, file, sealer, nonces, written: 0, buffer: header.to_vec() })
    }

    fn write(&mut self) -> Result<(), StorageError> {
        self.file.write(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Sink for FileSink {
    const BOX_BYTES: usize = 4096;

    fn id(&self) -> u64 {
        self.id
    }

    fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn sealed(&self) -> &SealedFile {
        self.sealer.file()
    }

    fn put(
        &mut self,
        kind: u8,
        number: u64,
        fill: &dyn Fn(&mut Vec<u8>),
    ) -> Result<(u64, u32), StorageError> {
        let start = self.buffer.len();
        let offset = self.bytes();
        let place = Place { kind, offset, sequence: number };
        append_piece(&mut self.buffer, &self.sealer, &mut self.nonces, place, fill)?;
        let bytes = (self.buffer.len() - start) as u32;
        if self.buffer.len() >= WRITE_BYTES {
            self.settle()?;
        }
        Ok((offset, bytes))
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        self.write()?;
        self.file.sync()
    }

    fn finish(mut self, footer: &[u8]) -> Result<(UnitEntry, Box<dyn Pieces>), StorageError> {
        let start = self.buffer.len();
        let offset = self.bytes();
        append_piece(&mut self.buffer, &self.sealer, &mut self.nonces, footer_place(offset), |out| {
            out.extend_from_slice(footer);
        })?;
        let footer_tag: Tag =
            self.buffer[start + 24..start + PIECE_HEADER_BYTES].try_into().unwrap_or_default();
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..8].copy_from_slice(&offset.to_le_bytes());
        trailer[8..12].copy_from_slice(&((self.buffer.len() - start) as u32).to_le_bytes());
        let checksum = crc32c::crc32c(&trailer[..12]);
        trailer[12..16].copy_from_slice(&checksum.to_le_bytes());
        trailer[16..].copy_from_slice(TRAILER_MAGIC);
        self.buffer.extend_from_slice(&trailer);
        self.settle()?;
        let entry = UnitEntry { id: self.id, bytes: self.written, footer_tag };
        Ok((entry, Box::new(FilePieces { file: self.file, sealer: self.sealer })))
    }
}
