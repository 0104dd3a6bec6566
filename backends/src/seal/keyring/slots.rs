//! The two files of a keyring, `keyring.a` and `keyring.b`.
//!
//! Each is a header (see [`crate::format::header`]; kind 6, its file id is the generation, its data-key id 0: the
//! root key seals it) whose fields hold the length of the body (8 bytes), and at offset 512 one piece (see
//! [`crate::format::piece`]), kind 1, sequence = generation, with the text of [`super::content`].
//!
//! Each change writes and syncs one slot and then the other, so that a torn slot costs the change and a rotten one
//! nothing. The first change of a process replaces each by a renamed file, because what was read may stand in a page
//! cache only; later ones overwrite and cut it, so that a destroyed key does not stay behind the end.
//!
//! A change that finds no room may be made again. Where even overwriting takes room it may have torn one slot; the other
//! is whole then, and the next change begins with the torn one. Each attempt has salts of its own, and nothing was sealed
//! with a key that only an attempt has stored.

use super::super::file::{Algorithm, Place, SealRefused, SealedFile};
use super::super::nonce::{Generator, Nonces};
use super::super::sealer::Sealer;
use super::super::sealing::RootKey;
use super::content::Content;
use crate::format::header::{FileKind, HEADER_BYTES, HeaderFault, open_header, seal_header};
use crate::format::piece::{PIECE_HEADER_BYTES, append_piece, open_piece};
use crate::format::{corrupt, unknown_version};
use crate::io::{Io, OpenMode, read_full, write_full};
use coffer_core::storage::StorageError;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use zeroize::Zeroizing;

pub(super) const NAMES: [&str; 2] = ["keyring.a", "keyring.b"];
const BODY_PIECE: u8 = 1;
/// No keyring is as large.
const SLOT_BYTES_MAX: u64 = 16 << 20;

/// Whether a name in the directory of a store is one of a keyring's.
pub(crate) fn is_keyring_name(name: &str) -> bool {
    is_keyring_slot(name) || is_unfinished(name)
}

/// Whether it is one of a keyring that is there, and nothing that was begun and not finished.
pub(crate) fn is_keyring_slot(name: &str) -> bool {
    NAMES.contains(&name)
}

fn is_unfinished(name: &str) -> bool {
    name.starts_with("keyring.") && name.ends_with(".new")
}

pub(super) struct KeyringSlots {
    io: Arc<dyn Io>,
    directory: PathBuf,
    /// The slot that the next change writes first: the one that may be torn, if one may.
    first: AtomicUsize,
}

impl KeyringSlots {
    pub(super) fn new(io: Arc<dyn Io>, directory: &Path) -> Self {
        Self { io, directory: directory.to_owned(), first: AtomicUsize::new(0) }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The keyring in force and its generation; `None` if there are no slots.
    pub(super) fn load(&self, root: &RootKey) -> Result<Option<(u64, Content)>, StorageError> {
        let mut best: Option<(u64, Content)> = None;
        let mut faults = Vec::new();
        for name in NAMES {
            let path = self.directory.join(name);
            let Some(mut slot) = self.read(&path)? else { continue };
            match decode(&mut slot, root) {
                Ok(found) if best.as_ref().is_none_or(|best| best.0 < found.0) => best = Some(found),
                Ok(_) => {}
                Err(fault) => faults.push((path, fault)),
            }
        }
        if best.is_some() {
            return Ok(best);
        }
        // A fault that a person can cure says more than damage.
        let curable = |fault: &HeaderFault| !matches!(fault, HeaderFault::Damaged(_));
        let told = faults.iter().position(|(_, fault)| curable(fault)).unwrap_or(0);
        match faults.into_iter().nth(told) {
            None => Ok(None),
            Some((path, fault)) => Err(refusal(path, fault)),
        }
    }

    /// What is wrong with each of the slots.
    pub(super) fn verify(&self, root: &RootKey) -> Result<Vec<StorageError>, StorageError> {
        let mut faults = Vec::new();
        for name in NAMES {
            let path = self.directory.join(name);
            let found = match self.read(&path)? {
                Some(mut slot) => match decode(&mut slot, root) {
                    Ok(_) => continue,
                    Err(fault) => fault.to_string(),
                },
                None => "no such file".to_owned(),
            };
            faults.push(corrupt(&path, 0, "a keyring", found));
        }
        Ok(faults)
    }

    fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StorageError> {
        let file = match self.io.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("open", path, error)),
        };
        let failed = |error| StorageError::io("read", path, error);
        let bytes = file.len().map_err(failed)?.min(SLOT_BYTES_MAX);
        let mut slot = Zeroizing::new(vec![0; bytes as usize]);
        let found = read_full(&*file, &mut slot, 0).map_err(failed)?;
        slot.truncate(found);
        Ok(Some(slot))
    }

    /// Makes `content` durable in both slots; `first` if nothing was written since they were read.
    pub(super) fn write(
        &self,
        root: &RootKey,
        generation: u64,
        content: &Content,
        first: bool,
    ) -> Result<(), StorageError> {
        let slots = [self.encode(root, generation, content)?, self.encode(root, generation, content)?];
        let paths = NAMES.map(|name| self.directory.join(name));
        if !first {
            // Both before either is touched, so that what follows needs no room.
            for (path, slot) in paths.iter().zip(&slots) {
                self.extend(path, slot.len() as u64)?;
            }
        }
        let begin = self.first.load(Ordering::Relaxed);
        for at in [begin, 1 - begin] {
            let (path, slot) = (&paths[at], &slots[at]);
            let written = if first { self.replace(path, slot) } else { self.overwrite(path, slot) };
            written.inspect_err(|_| self.first.store(at, Ordering::Relaxed))?;
        }
        Ok(())
    }

    /// Extends a slot with zeros, so that `bytes` fit. Nothing of it changes if there is no room for that.
    fn extend(&self, path: &Path, bytes: u64) -> Result<(), StorageError> {
        let failed = |operation, error| StorageError::io(operation, path, error);
        let file = self.io.open(path, OpenMode::Write).map_err(|error| failed("open", error))?;
        let length = file.len().map_err(|error| failed("stat", error))?;
        if length >= bytes {
            return Ok(());
        }
        let extended = write_full(&*file, &vec![0; (bytes - length) as usize], length);
        if extended.is_err() {
            file.set_len(length).map_err(|error| failed("cut", error))?;
        }
        extended.map_err(|error| StorageError::io_or_no_room("write", path, error))
    }

    fn overwrite(&self, path: &Path, slot: &[u8]) -> Result<(), StorageError> {
        let failed = |operation, error| StorageError::io(operation, path, error);
        let no_room = |error| StorageError::io_or_no_room("write", path, error);
        let file = self.io.open(path, OpenMode::Write).map_err(|error| failed("open", error))?;
        write_full(&*file, slot, 0).map_err(no_room)?;
        file.set_len(slot.len() as u64).map_err(|error| failed("cut", error))?;
        file.sync_data().map_err(|error| failed("fdatasync", error))
    }

    fn replace(&self, path: &Path, slot: &[u8]) -> Result<(), StorageError> {
        // A name that was never used: whatever a crash keeps of older renames cannot put another file in this place.
        let drawn: [u8; 8] = Generator::new(self.io.clone(), &self.directory).draw()?;
        let new = self.directory.join(format!("keyring.{:016x}.new", u64::from_le_bytes(drawn)));
        let failed = |operation, error: io::Error| StorageError::io_or_no_room(operation, &new, error);
        let file = self.io.open(&new, OpenMode::Create).map_err(|error| failed("create", error))?;
        write_full(&*file, slot, 0).map_err(|error| self.unwritten(&new, failed("write", error)))?;
        file.sync_data().map_err(|error| StorageError::io("fdatasync", &new, error))?;
        self.io.rename(&new, path).map_err(|error| self.unwritten(&new, failed("rename", error)))?;
        self.sync_directory()
    }

    /// Makes the names in the store's directory durable, and the absence of others.
    pub(super) fn sync_directory(&self) -> Result<(), StorageError> {
        let synced = self.io.sync_dir(&self.directory);
        synced.map_err(|error| StorageError::io("sync directory", &self.directory, error))
    }

    /// Removes a slot that was begun, so that it takes no room. If that fails the next opening does it.
    fn unwritten(&self, new: &Path, error: StorageError) -> StorageError {
        if let Err(error) = self.io.remove(new) {
            tracing::warn!(%error, "a keyring that was not finished stays");
        }
        error
    }

    /// Removes what was begun and not finished.
    pub(super) fn clean(&self) -> Result<(), StorageError> {
        let list = self.io.list(&self.directory);
        let names = list.map_err(|error| StorageError::io("list", &self.directory, error))?;
        for name in names.iter().filter(|name| is_unfinished(name)) {
            let path = self.directory.join(name);
            self.io.remove(&path).map_err(|error| StorageError::io("remove", path, error))?;
        }
        Ok(())
    }

    fn encode(&self, root: &RootKey, generation: u64, content: &Content) -> Result<Vec<u8>, StorageError> {
        let generator = Generator::new(self.io.clone(), &self.directory);
        let sealer = root.sealer(SealedFile {
            store_id: root.store_id,
            file_id: generation,
            kind: FileKind::Keyring as u8,
            algorithm: Algorithm::Aes256Gcm,
            data_key_id: 0,
            salt: generator.draw()?,
        });
        let mut nonces = Nonces::new(generator);
        let header_nonce = nonces.draw()?;
        // Enough room from the start, so that no copy of the keys is left behind by growing.
        let mut out = Vec::with_capacity(HEADER_BYTES + PIECE_HEADER_BYTES + content.bytes_max() + 64);
        out.resize(HEADER_BYTES, 0);
        append_piece(&mut out, &sealer, &mut nonces, body_place(generation), |out| content.put(out))?;
        let body_bytes = (out.len() - HEADER_BYTES) as u64;
        let (header, _) = seal_header(&sealer, 0, header_nonce, &body_bytes.to_le_bytes());
        out[..HEADER_BYTES].copy_from_slice(&header);
        Ok(out)
    }
}

fn decode(slot: &mut [u8], root: &RootKey) -> Result<(u64, Content), HeaderFault> {
    let block = slot.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged("a cut header"))?;
    let header = open_header(block, FileKind::Keyring, 0, |file| sealer_of(root, file))?;
    let body_bytes = header.fields().u64().map_err(|_| HeaderFault::Damaged("a malformed header"))?;
    let end = usize::try_from(body_bytes).ok().and_then(|bytes| HEADER_BYTES.checked_add(bytes));
    let body =
        end.and_then(|end| slot.get_mut(HEADER_BYTES..end)).ok_or(HeaderFault::Damaged("a cut body"))?;
    let generation = header.sealer.file().file_id;
    let text = open_piece(body, &header.sealer, body_place(generation)).map_err(HeaderFault::Damaged)?;
    let content = Content::parse(&body[text]).map_err(|_| HeaderFault::Damaged("malformed keys"))?;
    Ok((generation, content))
}

fn sealer_of(root: &RootKey, file: SealedFile) -> Result<Sealer, SealRefused> {
    match file {
        SealedFile { algorithm: Algorithm::Unsealed, .. } => Err(SealRefused::InTheClear),
        SealedFile { store_id, .. } if store_id != root.store_id => Err(SealRefused::OtherStore),
        SealedFile { data_key_id: 0, .. } => Ok(root.sealer(file)),
        SealedFile { data_key_id, .. } => Err(SealRefused::UnknownKey(data_key_id)),
    }
}

fn body_place(generation: u64) -> Place {
    Place { kind: BODY_PIECE, offset: HEADER_BYTES as u64, sequence: generation }
}

fn refusal(path: PathBuf, fault: HeaderFault) -> StorageError {
    let key = |reason: String| StorageError::Key { reason: format!("{} {reason}", path.display()) };
    match fault {
        HeaderFault::Version(version) => unknown_version(&path, version),
        HeaderFault::Broken => key(
            "does not open with this key: give the key of this store, or put back its own keyring and key slots from \
             a backup"
                .into(),
        ),
        HeaderFault::Refused(refused) => {
            key(format!("is {refused}: put back the keyring and the key slots of this store"))
        }
        HeaderFault::Damaged(found) => StorageError::Corrupt {
            path: path.clone(),
            offset: 0,
            expected: "a keyring, here or in the other slot".into(),
            found: found.into(),
        },
    }
}
