//! The SQLite backend: how it is opened, and what its files hold, as far as that shows without walking its trees.

// What the backend's own tests use, too: it is no part of the backend.
#[path = "../../../backends/tests/sqlite/vfs.rs"]
mod vfs;

pub(crate) use vfs::SimVfs;

use super::{Machine, Place, Simulated, SimulatedStore, Stored, Subject, sealed, segment};
use coffer_backends::io::{Io, RealIo};
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use coffer_core::storage::StorageError;
use coffer_core::storage::conformance::Region;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Unsealed.
pub const UNSEALED: Subject = Subject {
    backend: "sqlite",
    sealed: false,
    simulated: || simulated(false, |place| open_simulated(place, AtRest::Unsealed)),
    open: |path| open_on(path, AtRest::Unsealed, &Options::default(), Arc::new(RealIo)),
};

/// Sealed.
pub const SEALED: Subject = Subject {
    backend: "sqlite",
    sealed: true,
    simulated: || simulated(true, |place| open_simulated(place, sealed())),
    open: |path| open_on(path, sealed(), &Options::default(), Arc::new(RealIo)),
};

fn simulated(has_keys: bool, open: fn(&Place) -> Result<Stored, StorageError>) -> Box<dyn Machine> {
    // Only of the keyring: what is sealed in a page does not show without walking the trees.
    let sealed_pieces = |path: &str, content: &[u8]| match is_keyring(path) {
        true => segment::sealed_pieces(path, content),
        false => Vec::new(),
    };
    let forge =
        |region: &Region, content: &mut [u8]| is_keyring(&region.file) && segment::forge(region, content);
    Box::new(Simulated::new(SimulatedStore { open, regions, forge, sealed_pieces }, has_keys))
}

/// The keyring is the same with every backend.
fn is_keyring(path: &str) -> bool {
    path.contains("/keyring.")
}

/// Without readers of their own: they would need memory that processes share.
fn open_simulated(place: &Place, at_rest: AtRest) -> Result<Stored, StorageError> {
    let options = Options {
        readers_max: 0,
        reserve_bytes_max: 64 << 10,
        vfs: place.vfs().into(),
        ..Options::default()
    };
    open_on(Path::new("/store"), at_rest, &options, Arc::new(place.disk.clone()))
}

fn open_on(path: &Path, at_rest: AtRest, options: &Options, io: Arc<dyn Io>) -> Result<Stored, StorageError> {
    let SqliteStore { log, records, identity, keyring } = SqliteStore::open_on(path, at_rest, options, io)?;
    let (cluster_id, member_id, boot) = (identity.cluster_id, identity.member_id, identity.boot);
    Ok(Stored { log, records, cluster_id, member_id, boot, keyring })
}

const PAGE_BYTES: usize = 8192;
const DATABASE_HEADER_BYTES: usize = 100;
const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// Cuts a file into regions.
fn regions(path: &str, content: &[u8]) -> Vec<Region> {
    if is_keyring(path) {
        return segment::regions(path, content);
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let kind = match name.trim_start_matches("new.") {
        "log.db" => "log",
        "log.db-wal" => "WAL of the log",
        "state.db" => "records",
        "state.db-wal" => "WAL of the records",
        "LOCK" => "lock",
        _ => "unknown",
    };
    let mut parts = Parts { file: path, kind, regions: Vec::new() };
    match kind {
        "log" | "records" => {
            for (number, page) in content.chunks(PAGE_BYTES).enumerate() {
                parts.page(number * PAGE_BYTES, page, number == 0);
            }
        }
        "WAL of the log" | "WAL of the records" => {
            parts.add("header", 0..WAL_HEADER_BYTES.min(content.len()), true);
            let mut at = WAL_HEADER_BYTES;
            while at < content.len() {
                let page = content.len().min(at + FRAME_HEADER_BYTES);
                let end = content.len().min(page + PAGE_BYTES);
                // Also of earlier lives of the WAL: those say nothing, which shows in the salts.
                let counts = content.get(at + 8..at + 16) == content.get(16..24);
                parts.add("frame header", at..page, counts);
                parts.add("frame", page..end, counts);
                at = end;
            }
        }
        _ => parts.add("content", 0..content.len(), kind == "unknown"),
    }
    parts.regions
}

struct Parts<'a> {
    file: &'a str,
    kind: &'static str,
    regions: Vec<Region>,
}

impl Parts<'_> {
    /// A page of a database. One that went out of use looks like what it was.
    fn page(&mut self, start: usize, page: &[u8], is_first: bool) {
        let mut at = 0;
        if is_first {
            at = DATABASE_HEADER_BYTES.min(page.len());
            self.add("database header", start..start + at, true);
        }
        let (header, is_tree) = match page.get(at) {
            Some(2 | 5) => (12, true),
            Some(10 | 13) => (8, true),
            _ => (0, false),
        };
        let word = |offset: usize| {
            page.get(at + offset..at + offset + 2)
                .map_or(0, |bytes| usize::from(u16::from_be_bytes(bytes.try_into().unwrap_or_default())))
        };
        let pointers = at + header + 2 * word(3);
        let cells = if word(5) == 0 { 65536 } else { word(5) };
        if !is_tree || pointers > cells || cells > page.len() {
            self.add("overflow, free or pointer page", start + at..start + page.len(), true);
            return;
        }
        self.add("tree page header", start + at..start + at + header, true);
        self.add("cell pointers", start + at + header..start + pointers, true);
        self.add("unused room", start + pointers..start + cells, false);
        self.add("cells", start + cells..start + page.len(), true);
    }

    fn add(&mut self, part: &'static str, bytes: Range<usize>, counts: bool) {
        let bytes = bytes.start as u64..bytes.end as u64;
        self.regions.push(Region { file: self.file.into(), kind: self.kind, part, counts, bytes });
    }
}
