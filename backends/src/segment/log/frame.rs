//! A frame: one group of log operations, as it stands in a log file.
//!
//! Frames begin at multiples of 4 KiB and are padded with zeros to the next one, so that no later write touches a
//! sector that holds acknowledged data.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | magic `CFRM` |
//! | 4 | 4 | CRC-32C of the file's salt, then of bytes 8 to 96 |
//! | 8 | 4 | CRC-32C of the stored body |
//! | 12 | 4 | bytes of the frame with padding |
//! | 16 | 4 | bytes of the stored body |
//! | 20 | 2 | flags: 1 = last frame of a log that was closed in order |
//! | 22 | 2 | zero |
//! | 24 | 8 | file id |
//! | 32 | 8 | sequence: one above that of the frame before, across files |
//! | 40 | 8 | acknowledged sequence: every frame up to it was synced when this one was written |
//! | 48 | 12 | nonce |
//! | 60 | 4 | zero |
//! | 64 | 16 | chain: tag of the frame before, or of the file header |
//! | 80 | 16 | tag over the body, with bytes 12 to 80 as context |
//! | 96 | n | body |
//!
//! A body that is encrypted is padded before up to the end of the frame (a byte 0x80, and zeros), so that only the
//! number of blocks is seen.
//!
//! The body is a sequence of steps: see [`crate::groups::steps`].

use crate::format::piece::{pad, unpadded};
use crate::format::wire::{Malformed, Reader};
use crate::seal::{Nonce, Place, Sealer, Tag};
use coffer_core::planted::{Bug, planted};

pub(super) const FRAME_HEADER_BYTES: usize = 96;
pub(super) const FRAME_ALIGNMENT: usize = 4096;
/// Longest body: lengths are 32 bits, and a group is never that large.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;
/// Longest body with its padding.
const STORED_BYTES_MAX: usize = BODY_BYTES_MAX + FRAME_ALIGNMENT;

const MAGIC: &[u8; 4] = b"CFRM";
const FINAL: u16 = 1;
const FRAME_PIECE: u8 = 2;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) sequence: u64,
    pub(super) acked: u64,
    pub(super) chain: Tag,
    pub(super) last: bool,
    pub(super) frame_bytes: usize,
    body_bytes: usize,
    tag: Tag,
    nonce: Nonce,
    body_checksum: u32,
}

/// Bytes that a frame with such a stored body takes in the file.
fn frame_bytes(body_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(FRAME_ALIGNMENT)
}

/// Bytes that a frame with such a body takes in the file at most: with one byte of padding.
pub(super) fn frame_bytes_max(body_bytes: usize) -> usize {
    frame_bytes(body_bytes + 1)
}

/// What [`seal_frame`] needs to know beside the body.
pub(super) struct FramePlace {
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) acked: u64,
    pub(super) chain: Tag,
    pub(super) last: bool,
}

/// Completes a frame: `frame` holds room for the header, then the body. Pads it; returns its tag.
pub(super) fn seal_frame(
    frame: &mut Vec<u8>,
    start: usize,
    sealer: &Sealer,
    place: &FramePlace,
    nonce: Nonce,
) -> Tag {
    if sealer.encrypts() {
        pad(frame, start, FRAME_ALIGNMENT);
    }
    let body_bytes = frame.len() - start - FRAME_HEADER_BYTES;
    let total = frame_bytes(body_bytes);
    frame.resize(start + total, 0);
    let (header, body) = frame[start..].split_at_mut(FRAME_HEADER_BYTES);
    header.fill(0);
    header[..4].copy_from_slice(MAGIC);
    header[12..16].copy_from_slice(&(total as u32).to_le_bytes());
    header[16..20].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    header[20..22].copy_from_slice(&(if place.last { FINAL } else { 0 }).to_le_bytes());
    header[24..32].copy_from_slice(&sealer.file().file_id.to_le_bytes());
    header[32..40].copy_from_slice(&place.sequence.to_le_bytes());
    header[40..48].copy_from_slice(&place.acked.to_le_bytes());
    header[48..60].copy_from_slice(&nonce);
    header[64..80].copy_from_slice(&place.chain);
    let body = &mut body[..body_bytes];
    let sealed_at = Place { kind: FRAME_PIECE, offset: place.offset, sequence: place.sequence };
    let tag = sealer.seal(sealed_at, &nonce, &header[12..80], body);
    header[80..96].copy_from_slice(&tag);
    header[8..12].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let check = header_check(sealer, header);
    header[4..8].copy_from_slice(&check.to_le_bytes());
    tag
}

fn header_check(sealer: &Sealer, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sealer.file().salt), &header[8..96])
}

/// Whether a frame of the life of a file that began with `file_id` stands here, as far as can be told without the
/// file's header.
pub(super) fn looks_like_frame_of(header: &[u8], file_id: u64) -> bool {
    header.starts_with(MAGIC) && header.get(24..32) == Some(&file_id.to_le_bytes())
}

impl FrameHeader {
    /// Reads a frame header of this life of the file; says what is wrong otherwise.
    pub(super) fn decode(bytes: &[u8], sealer: &Sealer) -> Result<Self, &'static str> {
        if bytes.len() < FRAME_HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err("no frame");
        }
        if bytes[4..8] != header_check(sealer, bytes).to_le_bytes() {
            return Err("a wrong frame header checksum");
        }
        let header = Self::fields(&bytes[8..]).map_err(|_| "a malformed frame header")?;
        let sane =
            header.body_bytes <= STORED_BYTES_MAX && header.frame_bytes == frame_bytes(header.body_bytes);
        let ours = bytes[24..32] == sealer.file().file_id.to_le_bytes();
        if sane && ours { Ok(header) } else { Err("a malformed frame header") }
    }

    fn fields(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let body_checksum = reader.u32()?;
        let (frame_bytes, body_bytes) = (reader.u32()? as usize, reader.u32()? as usize);
        let flags = u16::from_le_bytes(reader.array()?);
        reader.take(2 + 8)?;
        let (sequence, acked) = (reader.u64()?, reader.u64()?);
        let nonce = reader.array()?;
        reader.take(4)?;
        let (chain, tag) = (reader.array()?, reader.array()?);
        let last = flags & FINAL != 0;
        Ok(Self { sequence, acked, chain, last, frame_bytes, body_bytes, tag, nonce, body_checksum })
    }

    /// What the next frame chains to.
    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// Opens the body of this frame: `frame` holds the frame from `offset` of the file on. Returns the body.
    pub(super) fn open_body<'a>(
        &self,
        frame: &'a mut [u8],
        sealer: &Sealer,
        offset: u64,
    ) -> Result<&'a [u8], &'static str> {
        let (header, rest) = frame.split_at_mut(FRAME_HEADER_BYTES);
        let body = rest.get_mut(..self.body_bytes).ok_or("a cut frame")?;
        if crc32c::crc32c(body) != self.body_checksum && !planted(Bug::ChecksumNotChecked) {
            return Err("a wrong frame checksum");
        }
        let place = Place { kind: FRAME_PIECE, offset, sequence: self.sequence };
        sealer
            .unseal(place, &self.nonce, &header[12..80], body, &self.tag)
            .map_err(|_| "a frame with a wrong tag")?;
        if !sealer.encrypts() {
            return Ok(body);
        }
        let end = unpadded(body).ok_or("a body without an end")?;
        Ok(&body[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::steps::put_ops;
    use crate::seal::{Algorithm, SALT_BYTES, SealedFile};
    use coffer_core::storage::{EntryKind, LogEntry, LogId, LogOp};

    fn sealer(salt: u8) -> Sealer {
        Sealer::unsealed(SealedFile {
            store_id: [1; 16],
            file_id: 2,
            kind: 1,
            algorithm: Algorithm::Unsealed,
            data_key_id: 0,
            salt: [salt; SALT_BYTES],
        })
    }

    fn frame(salt: u8) -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        let id = LogId { term: 1, index: 2 };
        put_ops(
            &mut frame,
            &[LogOp::Append(vec![LogEntry { id, kind: EntryKind::Normal, payload: "abc".into() }])],
        );
        let place = FramePlace { offset: 4096, sequence: 7, acked: 6, chain: [4; 16], last: false };
        seal_frame(&mut frame, 0, &sealer(salt), &place, [5; 12]);
        frame
    }

    fn open(mut frame: Vec<u8>, sealer: &Sealer, offset: u64) -> Result<Vec<u8>, &'static str> {
        let header = FrameHeader::decode(&frame, sealer)?;
        header.open_body(&mut frame, sealer, offset).map(<[u8]>::to_vec)
    }

    #[test]
    fn every_flipped_bit_that_matters_is_found() {
        let intact = frame(3);
        assert_eq!(intact.len(), FRAME_ALIGNMENT);
        let body = open(intact.clone(), &sealer(3), 4096).expect("an intact frame opens");
        for bit in 0..(FRAME_HEADER_BYTES + body.len()) * 8 {
            let mut rotten = intact.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(open(rotten, &sealer(3), 4096).is_err(), "bit {bit}");
        }
        assert!(open(intact.clone(), &sealer(3), 8192).is_err(), "a frame is bound to its offset");
        assert!(open(intact, &sealer(4), 4096).is_err(), "a frame of an earlier life of the file");
    }
}
