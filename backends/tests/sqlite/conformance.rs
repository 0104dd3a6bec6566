//! The storage conformance suite on the SQLite backend, on a simulated disk that tears and forgets: in the clear, and
//! sealed. The sealed one gets a new data key at every other opening, and all that older ones sealed is carried over at
//! once, so that every fault of the suite meets that, too; and whenever the suite exchanges them.
//!
//! SQLite writes a page at a time, so that a script has many more operations than on the segment backend. A run strikes
//! one of `COFFER_STRIDE` operations (default 6; 1 strikes each).

use crate::keys::sealed;
use crate::vfs::SimVfs;
use coffer_backends::inspect_on;
use coffer_backends::io::{Fault as DiskFault, SimDisk};
use coffer_backends::seal::{AtRest, Keyring};
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::storage::conformance::{Fault, Harness, LogIo, Opened};
use coffer_core::storage::{Findings, StorageError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct SqliteHarness {
    disk: SimDisk,
    vfs: SimVfs,
    sealed: bool,
    openings: u64,
    keyring: Option<Arc<Keyring>>,
    stride: u64,
    /// Armings so far: each strikes at another place within its stride.
    armed: u64,
}

impl SqliteHarness {
    fn new(sealed: bool) -> Self {
        let disk = SimDisk::new(1);
        let vfs = SimVfs::new(disk.clone());
        let stride = std::env::var("COFFER_STRIDE").ok().map_or(6, |text| text.parse().expect("a number"));
        Self { disk, vfs, sealed, openings: 0, keyring: None, stride, armed: 0 }
    }

    /// Everything that is stored; the lock says nothing, and its file is not ours to check.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.disk.files();
        files.retain(|path| {
            !path.ends_with("LOCK") && self.disk.content(path).is_some_and(|it| !it.is_empty())
        });
        files
    }
}

impl Harness for SqliteHarness {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let options = Options {
            readers_max: 0,
            reserve_bytes_max: 64 << 10,
            vfs: self.vfs.name().into(),
            ..Options::default()
        };
        let at_rest = if self.sealed { sealed() } else { AtRest::Unsealed };
        let io = Arc::new(self.disk.clone());
        self.keyring = None;
        let mut store = SqliteStore::open_on(Path::new("/store"), at_rest, &options, io)?;
        self.openings += 1;
        if let Some(keyring) = &store.keyring
            && self.openings.is_multiple_of(2)
        {
            keyring.rotate()?;
            keyring.request_rewrite()?;
            while store.log.rewrite(4096)?.more {}
            while store.records.rewrite(4096)?.more {}
        }
        self.keyring = store.keyring;
        Ok(Opened { log: store.log, records: store.records })
    }

    fn verify_closed(&mut self) -> Option<Result<Findings, StorageError>> {
        let mut findings = Findings::default();
        let at_rest = if self.sealed { sealed() } else { AtRest::Unsealed };
        let options = Options { vfs: self.vfs.name().into(), ..Options::default() };
        let io = Arc::new(self.disk.clone());
        let inspected = inspect_on(Path::new("/store"), at_rest, &options, io, &mut findings);
        Some(inspected.map(|_| findings))
    }

    fn has_keys(&self) -> bool {
        self.sealed
    }

    fn exchange_keys(&mut self, carries_over: bool) -> Result<(), StorageError> {
        let Some(keyring) = &self.keyring else { return Ok(()) };
        keyring.rotate()?;
        if carries_over { keyring.request_rewrite() } else { Ok(()) }
    }

    fn operations(&self) -> u64 {
        self.disk.counters().operations / self.stride
    }

    fn arm(&mut self, at: u64, fault: Fault) -> bool {
        let counters = self.disk.counters();
        self.disk.set_quota(at.is_multiple_of(2));
        self.armed += 1;
        let within = (at * 7 + self.armed * 5) % self.stride;
        let at = (at - 1) * self.stride + within + 1;
        let fault = match fault {
            Fault::Crash => DiskFault::Crash,
            Fault::Error => DiskFault::Eio,
            Fault::NoSpace => DiskFault::NoSpace,
            Fault::ShortWrite => DiskFault::ShortWrite,
            Fault::ReadError => {
                self.disk.arm_read(counters.reads + at);
                return true;
            }
        };
        self.disk.arm(counters.operations + at, fault);
        true
    }

    fn disarm(&mut self) {
        self.disk.disarm();
    }

    fn fired(&self) -> bool {
        self.disk.fired()
    }

    fn crash(&mut self, seed: u64) {
        self.disk.crash(seed);
    }

    fn flip(&mut self, seed: u64) -> Option<String> {
        let files = self.files();
        let path = &files[seed as usize % files.len()];
        let bytes = self.disk.content(path)?.len();
        let bit = (seed >> 16) as usize % (bytes * 8);
        self.disk.flip(path, bit / 8, (bit % 8) as u8);
        Some(format!("bit {bit} of {}", path.display()))
    }

    fn log_io(&self) -> Option<LogIo> {
        None
    }
}

mod suite {
    use super::SqliteHarness;
    coffer_core::conformance_tests!(|| Box::new(SqliteHarness::new(false)));
}

mod sealed_suite {
    use super::SqliteHarness;
    coffer_core::conformance_tests!(|| Box::new(SqliteHarness::new(true)));
}
