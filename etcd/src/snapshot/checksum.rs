//! The SHA-256 that `snapshot save` puts behind the file.

use crate::bbolt::BoltFile;
use coffer_core::storage::StorageError;
use sha2::{Digest, Sha256};

const CHECKSUM_BYTES: u64 = 32;
/// Every page size is a multiple of it, so that what is left over of a file's length is no page.
const SECTOR_BYTES: u64 = 512;
const READ_BYTES: usize = 1 << 20;

/// What is known of a file's integrity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It ends with its checksum, which is right.
    Verified,
    /// It ends with none: a copy of a database and no saved snapshot.
    Absent,
    /// It was not to be checked.
    Skipped,
}

/// Checks a file. Returns the outcome and the length of what is before the checksum.
pub(super) fn verify(file: &BoltFile, skip: bool) -> Result<(Checksum, u64), StorageError> {
    let content_bytes = match file.bytes() % SECTOR_BYTES {
        0 => return Ok((if skip { Checksum::Skipped } else { Checksum::Absent }, file.bytes())),
        CHECKSUM_BYTES => file.bytes() - CHECKSUM_BYTES,
        _ if skip => file.bytes(),
        _ => {
            let found = format!("{} bytes: it was cut, or is something else", file.bytes());
            return Err(file.corrupt(file.bytes(), "whole pages, and perhaps a checksum", found));
        }
    };
    if skip {
        return Ok((Checksum::Skipped, content_bytes));
    }
    let mut expected = [0; CHECKSUM_BYTES as usize];
    file.read(&mut expected, content_bytes)?;
    let found = digest(file, content_bytes)?;
    if found == expected {
        return Ok((Checksum::Verified, content_bytes));
    }
    Err(file.corrupt(content_bytes, format!("the SHA-256 {}", hex(&found)), hex(&expected)))
}

fn digest(file: &BoltFile, bytes: u64) -> Result<[u8; CHECKSUM_BYTES as usize], StorageError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let length = (bytes - offset).min(READ_BYTES as u64) as usize;
        file.read(&mut buffer[..length], offset)?;
        hasher.update(&buffer[..length]);
        offset += length as u64;
    }
    Ok(hasher.finalize().into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
