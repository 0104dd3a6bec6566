//! Whether a store is sealed, decided from what its opener gives and what its directory holds.
//!
//! [`Keys::open`](super::sealing::Keys::open) asks once the store's lock is held, so that of two processes that create
//! one store only one makes slots, and the other finds them.
//!
//! | given | new store | sealed store | store in the clear |
//! |---|---|---|---|
//! | nothing | refused | refused | opens |
//! | `Unsealed` | made in the clear | refused | opens |
//! | a key | slots and keyring are made | opens, if it is its key | refused |
//!
//! What is refused is left as it is; a new store that is refused leaves no directory behind.

use super::keyring::is_keyring_slot;
use super::sealing::RootKey;
use super::slots::{SLOTS_FILE, SlotKind, Slots};
use super::source::KeySource;
use crate::io::Io;
use crate::place::random;
use coffer_core::storage::StorageError;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a store is to be opened or created.
#[derive(Clone, Debug, Default)]
pub enum AtRest {
    /// Nobody said. A store in the clear opens; a sealed one does not, and none is created.
    #[default]
    Unstated,
    /// In the clear. Everybody who can read the files can read the store.
    Unsealed,
    /// Sealed: a new store gets a slot for this source, and the slots of an existing one give it the root key.
    Keyed(Arc<KeySource>),
    /// Sealed, under this root key; slots are somebody else's matter.
    Sealed(RootKey),
}

/// What is known of a directory when the question is decided.
pub(super) struct Found<'a> {
    pub(super) io: &'a Arc<dyn Io>,
    pub(super) directory: &'a Path,
    pub(super) names: &'a [String],
    pub(super) store_exists: bool,
}

impl AtRest {
    /// The same once more, for an opening that may have to be tried again.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Unstated => Self::Unstated,
            Self::Unsealed => Self::Unsealed,
            Self::Keyed(source) => Self::Keyed(source.clone()),
            Self::Sealed(root) => Self::Sealed(root.share()),
        }
    }

    /// Refuses to begin a store of which nobody said how it is kept, before there is anything of it.
    pub(crate) fn check_missing(&self, directory: &Path, io: &dyn Io) -> Result<(), StorageError> {
        let is_missing =
            || matches!(io.list(directory), Err(error) if error.kind() == io::ErrorKind::NotFound);
        match self {
            Self::Unstated if is_missing() => Err(unstated(directory)),
            _ => Ok(()),
        }
    }

    /// As [`check_missing`](Self::check_missing), for a directory with these names that holds no store.
    pub(crate) fn check_new(&self, directory: &Path, names: &[String]) -> Result<(), StorageError> {
        match self {
            Self::Unstated if !is_sealed(names) => Err(unstated(directory)),
            _ => Ok(()),
        }
    }

    /// The root key; `None` for a store in the clear.
    pub(super) fn root(self, found: &Found<'_>) -> Result<Option<RootKey>, StorageError> {
        match self {
            Self::Unstated | Self::Unsealed if is_sealed(found.names) => Err(sealed(found)),
            Self::Unstated if !found.store_exists => Err(unstated(found.directory)),
            Self::Unstated | Self::Unsealed => Ok(None),
            Self::Sealed(root) => Ok(Some(root)),
            Self::Keyed(source) => unlock_or_create(&source, found).map(Some),
        }
    }
}

/// Whether a directory with these names holds a sealed store, or the keys of one. What a creation that was cut off
/// before its first whole file has left tells nothing.
fn is_sealed(names: &[String]) -> bool {
    names.iter().any(|name| name == SLOTS_FILE || is_keyring_slot(name))
}

fn unlock_or_create(source: &KeySource, found: &Found<'_>) -> Result<RootKey, StorageError> {
    let Found { io, directory, names, store_exists } = *found;
    if names.iter().any(|name| name == SLOTS_FILE) {
        let slots = Slots::open(io.clone(), directory)?;
        let root = slots.unlock(source)?;
        return Ok(RootKey::new(slots.store_id(), root));
    }
    let refused = |what: &str| Err(StorageError::Key { reason: format!("{} {what}", directory.display()) });
    if names.iter().any(|name| is_keyring_slot(name)) {
        return refused(
            "has a keyring, and not the file `slots` that opens it: put that back, from where it was kept",
        );
    }
    if store_exists {
        return refused(IN_THE_CLEAR);
    }
    let store_id = random(directory, &**io)?;
    let (_, root) = Slots::create(io.clone(), directory, store_id, source, "")?;
    Ok(RootKey::new(store_id, root))
}

/// Why a key does not open a store in the clear.
pub(super) const IN_THE_CLEAR: &str = "is not sealed, although a key was given: open it with --unsealed, or make a \
                                       sealed store from it with `coffer convert --new-key-file`";

fn unstated(directory: &Path) -> StorageError {
    StorageError::Key {
        reason: format!(
            "{} holds no store, and a new one is sealed: make a key with `coffer key generate FILE` and give it with \
             --seal-key-file FILE, or give --seal-passphrase-file, --seal-command or --seal-kms-socket; or have \
             everything stored in the clear with --unsealed",
            directory.display()
        ),
    }
}

/// Says which keys open it, if its slots can be read.
fn sealed(found: &Found<'_>) -> StorageError {
    let slots = Slots::open(found.io.clone(), found.directory);
    let mut kinds: Vec<SlotKind> =
        slots.map_or_else(|_| Vec::new(), |slots| slots.list().iter().map(|slot| slot.kind).collect());
    kinds.sort_unstable();
    kinds.dedup();
    let ways = match kinds.is_empty() {
        true => "--seal-key-file, --seal-passphrase-file, --seal-command or --seal-kms-socket".to_owned(),
        false => kinds.iter().map(|kind| format!("{kind} by {}", flag(*kind))).collect::<Vec<_>>().join(", "),
    };
    StorageError::Key { reason: format!("{} is sealed: give its key ({ways})", found.directory.display()) }
}

fn flag(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Passphrase => "--seal-passphrase-file or --seal-passphrase",
        SlotKind::KeyFile => "--seal-key-file",
        SlotKind::Command => "--seal-command",
        SlotKind::Kms => "--seal-kms-socket",
    }
}
