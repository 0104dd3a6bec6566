//! The storage conformance suite on the real file system, with the thread of the store at work. Nothing can be cut or
//! broken there; what that needs, the suite leaves out.

use coffer_backends::inspect;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::storage::conformance::{Fault, Harness, LogIo, Opened, SuiteConfig, run};
use coffer_core::storage::{Findings, StorageError};
use std::fs;
use tempfile::TempDir;

struct FileHarness {
    directory: TempDir,
}

impl Harness for FileHarness {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let options = Options { log_file_bytes: 64 << 10, ..Options::default() };
        let store = SegmentStore::open(&self.directory.path().join("store"), AtRest::Unsealed, options)?;
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
        files.retain(|file| file.file_name() != "LOCK");
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
        let inspected = inspect(&self.directory.path().join("store"), AtRest::Unsealed, &mut findings);
        Some(inspected.map(|_| findings))
    }

    fn log_io(&self) -> Option<LogIo> {
        None
    }
}

#[test]
fn the_suite_passes_on_files() {
    let make = || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Box::new(FileHarness { directory }) as Box<dyn Harness>
    };
    let config = SuiteConfig::from_env();
    // Every case waits for a real disk many times.
    run(&make, &SuiteConfig { cases: config.cases / 32, ..config });
}
