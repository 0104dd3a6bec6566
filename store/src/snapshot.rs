//! Snapshot files: one file that holds all of a store at one revision, and what can be done with it.

use crate::client::{Client, Place};
use crate::seal::Seal;
use bytes::Bytes;
use coffer_backends::SnapshotReader;
use coffer_backends::seal::slots::SlotInfo;
use coffer_core::Error;
use coffer_core::node::SnapshotFile as Producer;
use coffer_core::node::restore::Restored;
use coffer_core::record::Record;
use coffer_core::state::LeaseInfo;
use coffer_core::storage::{SnapshotSource, StorageError};
use coffer_rpc::client as rpc;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

pub use coffer_core::storage::SnapshotHead;

/// A snapshot file that is being made. Dropping it ends that.
#[derive(Debug)]
pub struct Snapshot {
    from: From,
}

#[derive(Debug)]
enum From {
    Embedded(Box<Producer>),
    Remote(rpc::Snapshot),
}

impl Client {
    /// Begins a snapshot file of everything that the store holds now, at one revision, whatever is written meanwhile. It is
    /// sealed as the store is, and opens with the store's keys.
    ///
    /// # Errors
    /// See [`Error`]. A store in memory makes none.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let from = match self.place() {
            Place::Embedded(node) => From::Embedded(Box::new(node.get()?.snapshot_file().await?)),
            Place::Remote(client) => From::Remote(client.get()?.snapshot().await?),
        };
        Ok(Snapshot { from })
    }
}

impl Snapshot {
    /// What the file says of itself.
    pub fn head(&self) -> &SnapshotHead {
        match &self.from {
            From::Embedded(file) => file.head(),
            From::Remote(file) => file.head(),
        }
    }

    /// The next bytes of the file, not none; `None` at its end.
    ///
    /// # Errors
    /// See [`Error`]. What came is then no snapshot, and nothing follows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.from {
            From::Embedded(file) => file.next().await,
            From::Remote(file) => file.next().await,
        }
    }
}

/// A snapshot file that is there. As a [`SnapshotSource`] it is what [`Options::restore`](crate::Options::restore) makes a
/// store from.
#[derive(Debug)]
pub struct SnapshotInput {
    reader: SnapshotReader,
    file_bytes: u64,
    records: u64,
}

impl SnapshotInput {
    /// Opens a snapshot file, and reads what stands before its records. Blocks.
    ///
    /// # Errors
    /// [`Error::Open`] if it cannot be read, is no snapshot, or is sealed and `seal` does not open it, or the other way round;
    /// [`Error::Corrupt`] if it is damaged or was cut.
    pub fn open(path: &Path, seal: Option<&Seal>) -> Result<Self, Error> {
        let failed = |error| Error::Open(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Error::Open(format!("{}: is a directory", path.display())));
        }
        let file_bytes = metadata.len();
        let source = seal.map_or(Ok(None), Seal::source)?;
        let input = Box::new(BufReader::with_capacity(1 << 20, file));
        let reader = SnapshotReader::open(input, path, source.as_ref()).map_err(StorageError::from)?;
        Ok(Self { reader, file_bytes, records: 0 })
    }

    /// Whether a file is a snapshot of Coffer, and none of etcd or anything else.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_one(path: &Path) -> std::io::Result<bool> {
        let mut beginning = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(File::open(path)?, 8), &mut beginning)?;
        Ok(coffer_backends::is_snapshot(&beginning))
    }

    /// What it says of itself.
    pub fn head(&self) -> &SnapshotHead {
        self.reader.head()
    }

    /// How many leases it holds.
    pub fn leases(&self) -> usize {
        self.reader.leases().len()
    }

    /// Reads what is left of it: a file that ends well is whole. Blocks.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is damaged or was cut; it cannot be read.
    pub fn check(&mut self) -> Result<(), Error> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// How many records were read so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes that were read so far, and those of the file.
    pub fn progress(&self) -> (u64, u64) {
        (self.reader.bytes_read(), self.file_bytes)
    }

    /// Whether it is sealed.
    pub fn is_sealed(&self) -> bool {
        self.reader.is_sealed()
    }

    /// Which keys open it, if it is sealed.
    pub fn slots(&self) -> &[SlotInfo] {
        self.reader.slots()
    }

    /// What a store that is made from it holds beside the records.
    pub fn restored(&self) -> Restored {
        let head = self.head();
        let lease = |lease: &coffer_core::storage::SnapshotLease| {
            (lease.id, LeaseInfo { ttl_s: lease.ttl_s, remaining_s: lease.remaining_s })
        };
        Restored {
            revision: head.revision,
            compact_revision: head.compact_revision,
            leases: self.reader.leases().iter().map(lease).collect(),
        }
    }
}

impl SnapshotSource for SnapshotInput {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        let record = self.reader.next()?;
        self.records += u64::from(record.is_some());
        Ok(record)
    }
}
