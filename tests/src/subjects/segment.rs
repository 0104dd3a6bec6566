//! The segment backend: how it is opened, and what its files hold byte by byte (`docs/formats.md`).

use super::{Machine, Place, SealedPiece, Simulated, SimulatedStore, Stored, Subject, sealed};
use coffer_backends::io::{Io, RealIo};
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::storage::StorageError;
use coffer_core::storage::conformance::Region;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Unsealed.
pub const UNSEALED: Subject = Subject {
    backend: "segment",
    sealed: false,
    simulated: || simulated(false, |place| open_simulated(place, AtRest::Unsealed)),
    open: |path| open_on(path, AtRest::Unsealed, Options::default(), Arc::new(RealIo)),
};

/// Sealed.
pub const SEALED: Subject = Subject {
    backend: "segment",
    sealed: true,
    simulated: || simulated(true, |place| open_simulated(place, sealed())),
    open: |path| open_on(path, sealed(), Options::default(), Arc::new(RealIo)),
};

fn simulated(has_keys: bool, open: fn(&Place) -> Result<Stored, StorageError>) -> Box<dyn Machine> {
    Box::new(Simulated::new(SimulatedStore { open, regions, forge, sealed_pieces }, has_keys))
}

/// Small files, so that they are changed and recycled often; no thread, so that a history repeats.
fn open_simulated(place: &Place, at_rest: AtRest) -> Result<Stored, StorageError> {
    let options = Options {
        log_file_bytes: 64 << 10,
        reserve_bytes_max: 64 << 10,
        background: false,
        ..Options::default()
    };
    open_on(Path::new("/store"), at_rest, options, Arc::new(place.disk.clone()))
}

fn open_on(path: &Path, at_rest: AtRest, options: Options, io: Arc<dyn Io>) -> Result<Stored, StorageError> {
    let SegmentStore { log, records, identity, keyring } = SegmentStore::open_on(path, at_rest, options, io)?;
    let (cluster_id, member_id, boot) = (identity.cluster_id, identity.member_id, identity.boot);
    Ok(Stored { log, records, cluster_id, member_id, boot, keyring })
}

const HEADER_BYTES: usize = 512;
const LOG_HEADER_COPY: usize = 2048;
const FRAME_ALIGNMENT: usize = 4096;
const FRAME_HEADER_BYTES: usize = 96;
const PIECE_HEADER_BYTES: usize = 40;
const TRAILER_BYTES: usize = 24;
const HEADER_CHECKSUM: usize = 508;
const SALT: Range<usize> = 48..80;

/// Cuts a file into regions. Reads lengths as they stand: the files are intact.
pub fn regions(path: &str, content: &[u8]) -> Vec<Region> {
    let mut parts = Parts { file: path, kind: "unknown", length: content.len(), regions: Vec::new() };
    match path.rsplit(['.', '/']).next().unwrap_or_default() {
        "LOCK" => {
            parts.kind = "lock";
            parts.idle("content", 0..content.len());
        }
        "reserve" => {
            parts.kind = "reserve";
            parts.idle("content", 0..content.len());
        }
        "spare" => {
            parts.kind = "spare";
            parts.idle("content", 0..content.len());
        }
        "log" => {
            parts.kind = "log";
            log(&mut parts, content);
        }
        "records" => {
            parts.kind = "records";
            parts.says("header", 0..HEADER_BYTES);
            let end = pieces(&mut parts, content, content.len().saturating_sub(TRAILER_BYTES));
            parts.says("trailer", end..content.len());
        }
        "a" | "b" => {
            parts.kind = if path.contains("keyring.") { "keyring" } else { "manifest" };
            parts.says("header", 0..HEADER_BYTES);
            let body_bytes = word64(content, 80) as usize;
            let end = pieces(&mut parts, content, HEADER_BYTES + body_bytes);
            parts.idle("behind the body", end..content.len());
        }
        _ => parts.says("content", 0..content.len()),
    }
    parts.regions
}

struct Parts<'a> {
    file: &'a str,
    kind: &'static str,
    length: usize,
    regions: Vec<Region>,
}

impl Parts<'_> {
    fn says(&mut self, part: &'static str, bytes: Range<usize>) {
        self.add(part, bytes, true);
    }

    fn idle(&mut self, part: &'static str, bytes: Range<usize>) {
        self.add(part, bytes, false);
    }

    fn add(&mut self, part: &'static str, bytes: Range<usize>, counts: bool) {
        let end = bytes.end.min(self.length) as u64;
        let bytes = (bytes.start as u64).min(end)..end;
        self.regions.push(Region { file: self.file.into(), kind: self.kind, part, counts, bytes });
    }
}

fn log(parts: &mut Parts<'_>, content: &[u8]) {
    parts.says("header", 0..HEADER_BYTES);
    parts.idle("header padding", HEADER_BYTES..LOG_HEADER_COPY);
    parts.says("header copy", LOG_HEADER_COPY..LOG_HEADER_COPY + HEADER_BYTES);
    parts.idle("header padding", LOG_HEADER_COPY + HEADER_BYTES..FRAME_ALIGNMENT);
    let file_id = word64(content, 32);
    let (mut at, mut sequence) = (FRAME_ALIGNMENT, None);
    while content[at.min(content.len())..].starts_with(b"CFRM") && word64(content, at + 24) == file_id {
        let (bytes, body_bytes) = (word32(content, at + 12), word32(content, at + 16));
        let here = word64(content, at + 32);
        if bytes < FRAME_ALIGNMENT || sequence.is_some_and(|before: u64| here != before + 1) {
            break;
        }
        let body = at + FRAME_HEADER_BYTES;
        parts.says("frame header", at..body);
        parts.says("frame body", body..body + body_bytes);
        parts.idle("frame padding", body + body_bytes..at + bytes);
        (at, sequence) = (at + bytes, Some(here));
    }
    parts.idle("tail", at..content.len());
}

/// The pieces from the header on, up to `end`; returns where they end.
fn pieces(parts: &mut Parts<'_>, content: &[u8], end: usize) -> usize {
    let mut at = HEADER_BYTES;
    while at + PIECE_HEADER_BYTES <= end.min(content.len()) {
        let bytes = word32(content, at + 4);
        let (header, body) = match (parts.kind, content[at + 8]) {
            ("manifest" | "keyring", _) => ("body's piece header", "body"),
            (_, 2) => ("box header", "box"),
            (_, 3) => ("directory header", "directory"),
            _ => ("footer header", "footer"),
        };
        let text = at + PIECE_HEADER_BYTES;
        parts.says(header, at..text);
        parts.says(body, text..text + bytes);
        at = text + bytes;
    }
    at
}

/// Makes the checksums right that cover a region.
pub fn forge(region: &Region, content: &mut [u8]) -> bool {
    let (start, end) = (region.bytes.start as usize, region.bytes.end as usize);
    match region.part {
        "header" | "header copy" => {
            put(content, start + 12, crc32c::crc32c(&content[start..start + 12]));
            put(content, start + HEADER_CHECKSUM, crc32c::crc32c(&content[start..start + HEADER_CHECKSUM]));
        }
        "frame header" => forge_frame_header(content, start),
        "frame body" => {
            put(content, start - FRAME_HEADER_BYTES + 8, crc32c::crc32c(&content[start..end]));
            forge_frame_header(content, start - FRAME_HEADER_BYTES);
        }
        "box" | "directory" | "footer" | "body" => {
            let piece = start - PIECE_HEADER_BYTES;
            put(content, piece, crc32c::crc32c(&content[piece + 4..end]));
        }
        _ => return false,
    }
    true
}

fn forge_frame_header(content: &mut [u8], at: usize) {
    let covered = &content[at + 8..at + FRAME_HEADER_BYTES];
    put(content, at + 4, crc32c::crc32c_append(salt_checksum(content), covered));
}

fn put(content: &mut [u8], at: usize, word: u32) {
    content[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// What was sealed into a file: nonce and tag of its headers, frames and pieces. What a power cut tore says nothing.
pub fn sealed_pieces(path: &str, content: &[u8]) -> Vec<SealedPiece> {
    if !is_whole("header", 0, content) {
        return Vec::new();
    }
    let piece = |region: Region| {
        let start = region.bytes.start as usize;
        let (nonce, tag) = match region.part {
            "header" | "header copy" => (480..492, 492..508),
            "frame header" => (48..60, 80..96),
            "box header" | "directory header" | "footer header" | "body's piece header" => (12..24, 24..40),
            _ => return None,
        };
        let bytes = |range: Range<usize>| Some(content.get(range)?.to_vec());
        let at = |range: Range<usize>| bytes(start + range.start..start + range.end);
        let found = SealedPiece { salt: bytes(SALT)?, nonce: at(nonce)?, tag: at(tag)? };
        is_whole(region.part, start, content).then_some(found)
    };
    regions(path, content).into_iter().filter_map(piece).collect()
}

/// Whether what begins at `start` has its checksum.
fn is_whole(part: &str, start: usize, content: &[u8]) -> bool {
    let (checksum, covered, seed) = match part {
        "header" | "header copy" => (start + HEADER_CHECKSUM, start..start + HEADER_CHECKSUM, 0),
        "frame header" => (start + 4, start + 8..start + FRAME_HEADER_BYTES, salt_checksum(content)),
        _ => (start, start + 4..start + PIECE_HEADER_BYTES + word32(content, start + 4), 0),
    };
    content
        .get(covered)
        .is_some_and(|covered| word32(content, checksum) == crc32c::crc32c_append(seed, covered) as usize)
}

fn salt_checksum(content: &[u8]) -> u32 {
    content.get(SALT).map_or(0, crc32c::crc32c)
}

fn word32(content: &[u8], at: usize) -> usize {
    content
        .get(at..at + 4)
        .map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()) as usize)
}

fn word64(content: &[u8], at: usize) -> u64 {
    content.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
}
