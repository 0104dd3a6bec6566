//! The keyring: the data keys of a store, sealed with its root key, in two slots; and the handle by which the layers
//! above ask for and change them while the store is open.
//!
//! One data key is active: new files are sealed with it. Others only open what was sealed with them. A rotation makes
//! a new active key; the files of the old one are carried over by compaction, or at once if a rewriting was asked
//! for; and a key that no file needs any more is destroyed.
//!
//! - `content`: the keys, and their encoding.
//! - `slots`: the two files.
//!
//! # Invariants
//! - A data key is durable in both slots before anything is sealed with it.
//! - A key is destroyed only when no [`Sealer`] of it lives. A backend keeps the sealers of all files
//!   that it still needs, so no file loses its key. Sealers are made under the lock under which keys are destroyed.
//! - A backend lets go of a file's name before its sealer, and the directory is synced before a key is destroyed: no power
//!   cut brings back a file that nobody can open.
//! - Ids of data keys are never used twice.
//! - After a write that failed nothing is written any more: it is unknown what the medium holds. The keys in memory
//!   stay those that are surely on it. A lack of room is no such failure: the change can be asked for again.
//!
//! # Crash behaviour
//! A change is done when both slots are synced; the valid slot of the highest generation is the keyring. Opening
//! writes both slots anew before the active key is used, because what was read may stand in a page cache only.

mod content;
mod slots;

use super::file::SealedFile;
use super::nonce::Generator;
use super::sealer::Sealer;
use super::sealing::RootKey;
use super::secret::SecretKey;
use crate::io::Io;
use crate::poison::Poison;
use coffer_core::storage::StorageError;
use content::{Content, Held};
use parking_lot::Mutex;
use slots::KeyringSlots;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::SystemTime;

pub(crate) use slots::is_keyring_name;
pub(super) use slots::is_keyring_slot;

/// How much is sealed between two updates of the stored counts.
const COUNT_BYTES: u64 = 64 << 20;

/// What a data key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// New files are sealed with it.
    Active,
    /// It opens what was sealed with it, and nothing new is.
    DecryptOnly,
}

/// What can be said of a data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its id, which the files that it seals bear.
    pub id: u32,
    /// What it is for.
    pub state: KeyState,
    /// When it was made.
    pub created: SystemTime,
    /// Bytes that were sealed with it. After a crash what was sealed last may not be counted.
    pub sealed_bytes: u64,
    /// Whether anything needs it now.
    pub in_use: bool,
}

/// What can be said of a keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringStatus {
    /// The store.
    pub store_id: [u8; 16],
    /// How often the keyring changed.
    pub generation: u64,
    /// Its keys, oldest first.
    pub keys: Vec<KeyStatus>,
    /// Whether what older keys sealed is to be carried over to the active one.
    pub rewriting: bool,
    /// Bytes of records that older keys sealed.
    pub outdated_bytes: u64,
}

/// One data key. Who holds it keeps it from being destroyed.
pub(crate) struct DataKey {
    pub(super) id: u32,
    pub(super) key: SecretKey,
    sealed_bytes: AtomicU64,
}

impl DataKey {
    pub(super) fn new(id: u32, key: SecretKey, sealed_bytes: u64) -> Self {
        Self { id, key, sealed_bytes: AtomicU64::new(sealed_bytes) }
    }

    pub(super) fn count(&self, bytes: usize) {
        self.sealed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The data keys of an open store. Shared by the backend, which seals with them, and the layers above, which ask and
/// rotate. Once the store is closed it changes nothing more.
pub struct Keyring {
    root: RootKey,
    slots: KeyringSlots,
    io: Arc<dyn Io>,
    state: Mutex<State>,
    poison: Poison,
    active_id: AtomicU32,
    outdated_bytes: AtomicU64,
}

struct State {
    content: Content,
    generation: u64,
    /// Whether this process has written the slots.
    begun: bool,
    closed: bool,
    /// What was counted when the slots were written last.
    counted_bytes: u64,
}

impl Keyring {
    /// Opens the keyring in a directory. Without one it makes the first, if the store does not exist yet.
    ///
    /// # Errors
    /// [`StorageError::Key`] if it does not open with this root key, or is missing in a store that exists;
    /// damage of both slots; I/O. Nothing is changed then.
    pub(super) fn open(
        io: Arc<dyn Io>,
        directory: &Path,
        root: RootKey,
        store_exists: bool,
    ) -> Result<Self, StorageError> {
        let slots = KeyringSlots::new(io.clone(), directory);
        match slots.load(&root)? {
            Some((generation, content)) => Ok(Self::new(io, root, slots, generation, content)),
            None if store_exists => Err(StorageError::Key {
                reason: format!(
                    "{} holds a store without a keyring: open it with --unsealed, or put its keyring back if it had \
                     one",
                    directory.display()
                ),
            }),
            None => Self::create(io, root, slots),
        }
    }

    fn create(io: Arc<dyn Io>, root: RootKey, slots: KeyringSlots) -> Result<Self, StorageError> {
        let empty = Content { next_id: 1, rewrite: false, keys: Vec::new() };
        let keyring = Self::new(io, root, slots, 0, empty);
        let mut state = keyring.state.lock();
        let content = keyring.with_new_key(&state.content)?;
        keyring.put(&mut state, content)?;
        drop(state);
        Ok(keyring)
    }

    fn new(io: Arc<dyn Io>, root: RootKey, slots: KeyringSlots, generation: u64, content: Content) -> Self {
        let active_id = AtomicU32::new(content.active().map_or(0, |held| held.key.id));
        let counted_bytes = content.sealed_bytes();
        let state = Mutex::new(State { content, generation, begun: false, closed: false, counted_bytes });
        let (poison, outdated_bytes) = (Poison::default(), AtomicU64::new(0));
        Self { root, slots, io, state, poison, active_id, outdated_bytes }
    }

    /// The store that the keys are for.
    pub fn store_id(&self) -> &[u8; 16] {
        &self.root.store_id
    }

    /// The root key, to be wrapped anew.
    pub fn root(&self) -> &SecretKey {
        self.root.key()
    }

    /// The sealer of a file that the root key itself seals.
    pub(super) fn sealer_of_root(&self, file: SealedFile) -> Sealer {
        self.root.sealer(file)
    }

    /// The bytes of the store's key slots, which the keyring lies beside.
    pub(super) fn copy_slots(&self) -> Result<Vec<u8>, StorageError> {
        super::slots::Slots::copy(&*self.io, self.slots.directory())
    }

    /// What can be said of the keys.
    pub fn status(&self) -> KeyringStatus {
        let state = self.state.lock();
        let status = |held: &Held| KeyStatus {
            id: held.key.id,
            state: held.state,
            created: held.created(),
            sealed_bytes: held.key.sealed_bytes.load(Ordering::Relaxed),
            in_use: held.is_in_use(),
        };
        KeyringStatus {
            store_id: *self.store_id(),
            generation: state.generation,
            keys: state.content.keys.iter().map(status).collect(),
            rewriting: state.content.rewrite,
            outdated_bytes: self.outdated_bytes.load(Ordering::Relaxed),
        }
    }

    /// Makes a new data key, durably, and seals every new file with it. Returns its id.
    ///
    /// # Errors
    /// I/O; or the store is closed. Then the keys are those of before; after an I/O error other than a lack of room
    /// they cannot be changed until the store is opened again.
    pub fn rotate(&self) -> Result<u32, StorageError> {
        let mut state = self.state.lock();
        let content = self.with_new_key(&state.content)?;
        self.put(&mut state, content)?;
        Ok(self.active_id())
    }

    /// Asks, durably, that everything that older keys sealed be carried over to the active one. A store that is
    /// closed or dies before it is done goes on with it when it is opened again.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub fn request_rewrite(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if state.content.rewrite || state.content.keys.len() == 1 {
            return Ok(());
        }
        let content = Content { rewrite: true, ..state.content.clone() };
        self.put(&mut state, content)
    }

    /// Whether everything that older keys sealed is to be carried over.
    pub fn is_rewriting(&self) -> bool {
        self.state.lock().content.rewrite
    }

    /// The key for new files.
    pub(crate) fn active_id(&self) -> u32 {
        self.active_id.load(Ordering::Acquire)
    }

    /// The active key, to be used. See [`Self::with_key`].
    pub(super) fn with_active<T>(&self, take: impl FnOnce(Arc<DataKey>) -> T) -> Option<T> {
        let state = self.state.lock();
        state.content.active().map(|held| take(held.key.clone()))
    }

    /// The key with this id, to be used.
    pub(super) fn with_key<T>(&self, id: u32, take: impl FnOnce(Arc<DataKey>) -> T) -> Option<T> {
        let state = self.state.lock();
        state.content.keys.iter().find(|held| held.key.id == id).map(|held| take(held.key.clone()))
    }

    /// Makes sure that what was read is on the medium. Comes before the first file of this process is sealed.
    pub(crate) fn begin(&self) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if state.begun {
            return Ok(());
        }
        self.slots.clean()?;
        let content = state.content.clone();
        self.put(&mut state, content)
    }

    /// Destroys the keys that nothing needs any more, ends a rewriting that has nothing left, and stores the counts
    /// from time to time. A failure is told and left: the next opening tries again.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        if state.closed || self.poison.check().is_err() {
            return;
        }
        let needed = |held: &&Held| held.state == KeyState::Active || held.is_in_use();
        let kept: Vec<u32> = state.content.keys.iter().filter(needed).map(|held| held.key.id).collect();
        let destroys = kept.len() < state.content.keys.len();
        let ends = state.content.rewrite && kept.len() == 1;
        if !destroys && !ends && state.content.sealed_bytes() < state.counted_bytes + COUNT_BYTES {
            return;
        }
        // Names of files that were given up must not come back once nobody can open them.
        if destroys && let Err(error) = self.slots.sync_directory() {
            tracing::warn!(%error, "data keys that nothing needs any more stay");
            return;
        }
        let mut content = state.content.clone();
        content.keys.retain(|held| kept.contains(&held.key.id));
        content.rewrite &= !ends;
        match self.put(&mut state, content) {
            Ok(()) if destroys => tracing::info!("data keys that nothing needs any more were destroyed"),
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the keyring could not be written"),
        }
    }

    pub(crate) fn set_outdated_bytes(&self, bytes: u64) {
        self.outdated_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Slots that a keyring has.
    pub(super) const SLOTS: usize = slots::NAMES.len();

    /// What is wrong with the slots.
    pub(super) fn verify_slots(&self) -> Result<Vec<StorageError>, StorageError> {
        // Under the lock under which they are written.
        let _state = self.state.lock();
        self.slots.verify(&self.root)
    }

    pub(super) fn io(&self) -> &dyn Io {
        &*self.io
    }

    pub(super) fn directory(&self) -> &Path {
        self.slots.directory()
    }

    /// Nothing is changed after this: the store may be another's.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    fn with_new_key(&self, content: &Content) -> Result<Content, StorageError> {
        let path = self.slots.directory();
        let mut key = Generator::new(self.io.clone(), path).draw()?;
        let key = DataKey::new(content.next_id, SecretKey::from_bytes(&mut key), 0);
        let next_id = content.next_id.checked_add(1).ok_or_else(|| StorageError::Format {
            path: path.to_owned(),
            reason: "has used up all ids of data keys: copy it to a new store".into(),
        })?;
        let mut keys = content.keys.clone();
        keys.iter_mut().for_each(|held| held.state = KeyState::DecryptOnly);
        keys.push(Held::new(Arc::new(key), self.io.now()));
        Ok(Content { next_id, keys, ..content.clone() })
    }

    /// Makes `content` durable in both slots, and then the one in force.
    fn put(&self, state: &mut State, content: Content) -> Result<(), StorageError> {
        self.poison.check()?;
        if state.closed {
            return Err(StorageError::Poisoned { reason: "the store is closed".into() });
        }
        let generation = state.generation + 1;
        self.poison.note(self.slots.write(&self.root, generation, &content, !state.begun))?;
        self.active_id.store(content.active().map_or(0, |held| held.key.id), Ordering::Release);
        state.counted_bytes = content.sealed_bytes();
        (state.content, state.generation, state.begun) = (content, generation, true);
        Ok(())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("active_id", &self.active_id()).finish_non_exhaustive()
    }
}
