//! A machine whose store lies on a simulated disk: whatever opens on [`SimDisk`] is tested with it.

use super::sqlite::SimVfs;
use super::{Machine, Stored, sealed};
use coffer_backends::inspect_on;
use coffer_backends::io::{Fault as DiskFault, SimDisk};
use coffer_backends::seal::{AtRest, Keyring};
use coffer_backends::sqlite::Options;
use coffer_core::storage::conformance::{Fault, Harness, LogIo, Medium, Opened, Region};
use coffer_core::storage::{Findings, StorageError};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How a kind of store is opened on a simulated disk, and what its files hold.
#[derive(Clone, Copy)]
pub struct SimulatedStore {
    /// Opens the store on the disk; creates it on an empty one.
    pub open: fn(&Place) -> Result<Stored, StorageError>,
    /// Cuts the content of a file into regions.
    pub regions: fn(&str, &[u8]) -> Vec<Region>,
    /// Makes the checksums right that cover a region; whether there are any.
    pub forge: fn(&Region, &mut [u8]) -> bool,
    /// What was sealed into a file, as far as it shows.
    pub sealed_pieces: fn(&str, &[u8]) -> Vec<SealedPiece>,
}

/// A sealed piece as it lies on the disk. Files have keys of their own, drawn from their salts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPiece {
    /// The salt of its file.
    pub salt: Vec<u8>,
    /// Its nonce.
    pub nonce: Vec<u8>,
    /// Its tag.
    pub tag: Vec<u8>,
}

/// A simulated disk, and the way to it that SQLite knows.
pub struct Place {
    /// The disk.
    pub disk: SimDisk,
    vfs: OnceCell<SimVfs>,
}

impl Place {
    fn new(disk: SimDisk) -> Self {
        Self { disk, vfs: OnceCell::new() }
    }

    /// The VFS through which SQLite reaches the disk.
    pub fn vfs(&self) -> &str {
        self.vfs.get_or_init(|| SimVfs::new(self.disk.clone())).name()
    }
}

/// A machine with such a store.
pub struct Simulated {
    place: Place,
    store: SimulatedStore,
    /// That of the store that was opened last.
    keyring: Option<Arc<Keyring>>,
    has_keys: bool,
    /// The tag under each salt and nonce that was ever seen.
    nonces: HashMap<(Vec<u8>, Vec<u8>), Vec<u8>>,
}

impl Simulated {
    /// A machine with an empty disk.
    pub fn new(store: SimulatedStore, has_keys: bool) -> Self {
        let place = Place::new(SimDisk::new(1));
        Self { place, store, keyring: None, has_keys, nonces: HashMap::new() }
    }

    /// Looks at everything that is stored: no nonce may have sealed two texts under one salt.
    fn look_at_nonces(&mut self) {
        for path in self.place.disk.files() {
            let content = self.place.disk.content(&path).unwrap_or_default();
            for piece in (self.store.sealed_pieces)(&path.to_string_lossy(), &content) {
                let SealedPiece { salt, nonce, tag } = piece;
                let before = self.nonces.entry((salt, nonce)).or_insert_with(|| tag.clone());
                assert!(*before == tag, "a nonce sealed two texts of {}", path.display());
            }
        }
    }
}

impl Machine for Simulated {
    fn open_stored(&mut self) -> Result<Stored, StorageError> {
        self.look_at_nonces();
        self.keyring = None;
        let stored = (self.store.open)(&self.place)?;
        self.keyring.clone_from(&stored.keyring);
        Ok(stored)
    }

    fn set_sync_time(&mut self, sync_time: Duration) {
        self.place.disk.set_sync_time(sync_time);
    }

    fn kill(&self, seed: u64) -> Box<dyn Machine> {
        let place = Place::new(self.place.disk.copy(seed));
        let (store, has_keys, nonces) = (self.store, self.has_keys, self.nonces.clone());
        Box::new(Self { place, store, keyring: None, has_keys, nonces })
    }
}

impl Harness for Simulated {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let Stored { log, records, .. } = self.open_stored()?;
        Ok(Opened { log, records })
    }

    fn operations(&self) -> u64 {
        self.place.disk.counters().operations
    }

    fn arm(&mut self, at: u64, fault: Fault) -> bool {
        let counters = self.place.disk.counters();
        let fault = match fault {
            Fault::Crash => DiskFault::Crash,
            Fault::Error => DiskFault::Eio,
            Fault::NoSpace => DiskFault::NoSpace,
            Fault::ShortWrite => DiskFault::ShortWrite,
            Fault::ReadError => {
                self.place.disk.arm_read(counters.reads + at);
                return true;
            }
        };
        self.place.disk.arm(counters.operations + at, fault);
        true
    }

    fn disarm(&mut self) {
        self.place.disk.disarm();
    }

    fn fired(&self) -> bool {
        self.place.disk.fired()
    }

    fn crash(&mut self, seed: u64) {
        self.place.disk.crash(seed);
        self.look_at_nonces();
    }

    fn flip(&mut self, _: u64) -> Option<String> {
        None
    }

    fn verify_closed(&mut self) -> Option<Result<Findings, StorageError>> {
        let mut findings = Findings::default();
        let at_rest = if self.has_keys { sealed() } else { AtRest::Unsealed };
        let options = Options { vfs: self.place.vfs().into(), ..Options::default() };
        let io = Arc::new(self.place.disk.clone());
        let inspected = inspect_on(Path::new("/store"), at_rest, &options, io, &mut findings);
        Some(inspected.map(|_| findings))
    }

    fn has_keys(&self) -> bool {
        self.has_keys
    }

    fn exchange_keys(&mut self, carries_over: bool) -> Result<(), StorageError> {
        let Some(keyring) = &self.keyring else { return Ok(()) };
        keyring.rotate()?;
        if carries_over { keyring.request_rewrite() } else { Ok(()) }
    }

    fn log_io(&self) -> Option<LogIo> {
        None
    }
}

impl Medium for Simulated {
    fn fork(&self) -> Box<dyn Medium> {
        let place = Place::new(self.place.disk.fork());
        let (store, has_keys, nonces) = (self.store, self.has_keys, self.nonces.clone());
        Box::new(Self { place, store, keyring: None, has_keys, nonces })
    }

    fn regions(&self) -> Vec<Region> {
        let files = self.place.disk.files().into_iter();
        files
            .flat_map(|path| {
                let content = self.place.disk.content(&path).unwrap_or_default();
                (self.store.regions)(&path.to_string_lossy(), &content)
            })
            .collect()
    }

    fn flip_bit(&mut self, file: &str, bit: u64) {
        // Whoever bends bits makes no promise about nonces.
        self.nonces.clear();
        self.store.sealed_pieces = |_, _| Vec::new();
        self.place.disk.flip(Path::new(file), (bit / 8) as usize, (bit % 8) as u8);
    }

    fn forge(&mut self, region: &Region) -> bool {
        let mut forged = false;
        self.place
            .disk
            .tamper(Path::new(&region.file), |content| forged = (self.store.forge)(region, content));
        forged
    }
}
