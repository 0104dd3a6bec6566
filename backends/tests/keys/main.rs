//! The keys above the data keys: who opens a store, what it takes to change that, and what a crash or a hostile hand leaves.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod command;
mod crash;
mod kms;
mod slots;
mod sources;
mod tampered;
mod vectors;

use coffer_backends::io::{Io, SimDisk};
use coffer_backends::seal::SecretKey;
use coffer_backends::seal::slots::Slots;
use coffer_backends::seal::source::{KeyFile, KeySource};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STORE_ID: [u8; 16] = *b"the store's id..";
const STORE: &str = "/store";

/// A disk with the directory of a store.
fn disk() -> SimDisk {
    let disk = SimDisk::new(7);
    disk.create_dir(Path::new(STORE)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn open(disk: &SimDisk) -> Slots {
    Slots::open(Arc::new(disk.clone()), Path::new(STORE)).unwrap()
}

fn create(disk: &SimDisk, source: &KeySource) -> (Slots, SecretKey) {
    Slots::create(Arc::new(disk.clone()), Path::new(STORE), STORE_ID, source, "first").unwrap()
}

/// A file with this mode.
fn write(path: &Path, mode: u32, content: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).unwrap();
    file.write_all(content).unwrap();
}

/// Key files in a directory that goes away with it.
struct Keys {
    directory: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The key file `name`, made at its first use.
    fn key(&self, name: &str) -> KeySource {
        let path = self.path(name);
        let file = if path.exists() { KeyFile::open(&path) } else { KeyFile::generate(&path) };
        KeySource::KeyFile(file.unwrap())
    }
}
