//! The storage conformance suite on the real file system. Nothing can be cut or broken there; what that needs, the suite
//! leaves out.

use crate::keys::{Opening, sealed};
use coffer_backends::inspect;
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::storage::conformance::{Fault, Harness, LogIo, Opened, SuiteConfig, run};
use coffer_core::storage::{Findings, StorageError};
use std::fs;
use tempfile::TempDir;

struct FileHarness {
    directory: TempDir,
    at_rest: Opening,
}

impl Harness for FileHarness {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let store =
            SqliteStore::open(&self.directory.path().join("store"), (self.at_rest)(), &Options::default())?;
        Ok(Opened { log: store.log, records: store.records })
    }

    fn operations(&self) -> u64 {
        0
    }

    fn arm(&mut self, _: u64, _: Fault) -> bool {
        false
    }

    fn disarm(&mut self) {}

    fn fired(&self) -> bool {
        false
    }

    fn crash(&mut self, _: u64) {}

    fn flip(&mut self, seed: u64) -> Option<String> {
        let mut files: Vec<_> = fs::read_dir(self.directory.path().join("store")).ok()?.flatten().collect();
        files.retain(|file| file.file_name() != "LOCK" && file.metadata().is_ok_and(|file| file.len() > 0));
        files.sort_by_key(fs::DirEntry::file_name);
        let path = files.get(seed as usize % files.len().max(1))?.path();
        let mut bytes = fs::read(&path).ok()?;
        let bit = (seed >> 16) as usize % (bytes.len() * 8).max(1);
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        fs::write(&path, bytes).ok()?;
        Some(format!("bit {bit} of {}", path.display()))
    }

    fn verify_closed(&mut self) -> Option<Result<Findings, StorageError>> {
        let mut findings = Findings::default();
        let store = self.directory.path().join("store");
        Some(inspect(&store, (self.at_rest)(), &mut findings).map(|_| findings))
    }

    fn log_io(&self) -> Option<LogIo> {
        None
    }
}

fn run_suite(at_rest: Opening) {
    let make = || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Box::new(FileHarness { directory, at_rest }) as Box<dyn Harness>
    };
    let config = SuiteConfig::from_env();
    // Every case waits for a real disk many times.
    run(&make, &SuiteConfig { cases: config.cases / 32, ..config });
}

#[test]
fn the_suite_passes_on_files() {
    run_suite(|| AtRest::Unsealed);
}

#[test]
fn the_suite_passes_on_sealed_files() {
    run_suite(sealed);
}
