//! A sealed piece of a records file or a manifest: a header of 40 bytes and the stored bytes.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of everything after it: tells rot from a wrong key without the key |
//! | 4 | 4 | number of stored bytes |
//! | 8 | 1 | piece kind |
//! | 9 | 3 | zero |
//! | 12 | 12 | nonce |
//! | 24 | 16 | tag over the text, with bytes 4 to 12 as context |
//! | 40 | n | the stored bytes |
//!
//! What is encrypted is padded before, so that its length says less: a byte 0x80 after the text, and zeros up to a
//! multiple of 64.

use crate::seal::{Nonces, Place, Sealer};
use coffer_core::planted::{Bug, planted};
use coffer_core::storage::StorageError;
use std::ops::Range;

pub(crate) const PIECE_HEADER_BYTES: usize = 40;

const PADDED_BYTES: usize = 64;
const END_OF_TEXT: u8 = 0x80;

/// Pads the text that begins at `start` up to a multiple of `unit`, at least by one byte.
pub(crate) fn pad(out: &mut Vec<u8>, start: usize, unit: usize) {
    out.push(END_OF_TEXT);
    out.resize(start + (out.len() - start).next_multiple_of(unit), 0);
}

/// Where the text ends that was padded to `padded`; `None` if it was not.
pub(crate) fn unpadded(padded: &[u8]) -> Option<usize> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    (padded[end] == END_OF_TEXT).then_some(end)
}

/// Appends the piece that stands at `place` to `out`; `fill` appends its text.
pub(crate) fn append_piece(
    out: &mut Vec<u8>,
    sealer: &Sealer,
    nonces: &mut Nonces,
    place: Place,
    fill: impl FnOnce(&mut Vec<u8>),
) -> Result<(), StorageError> {
    let start = out.len();
    out.resize(start + PIECE_HEADER_BYTES, 0);
    fill(out);
    if sealer.encrypts() {
        pad(out, start + PIECE_HEADER_BYTES, PADDED_BYTES);
    }
    let (header, text) = out[start..].split_at_mut(PIECE_HEADER_BYTES);
    let nonce = nonces.draw()?;
    header[4..8].copy_from_slice(&(text.len() as u32).to_le_bytes());
    header[8] = place.kind;
    header[12..24].copy_from_slice(&nonce);
    let tag = sealer.seal(place, &nonce, &header[4..12], text);
    header[24..40].copy_from_slice(&tag);
    let checksum = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Opens the piece that fills `bytes`. Returns where its text stands, or what is wrong.
pub(crate) fn open_piece(
    bytes: &mut [u8],
    sealer: &Sealer,
    place: Place,
) -> Result<Range<usize>, &'static str> {
    if bytes.len() < PIECE_HEADER_BYTES {
        return Err("a cut piece");
    }
    let right = bytes[..4] == crc32c::crc32c(&bytes[4..]).to_le_bytes();
    if !right && !planted(Bug::ChecksumNotChecked) {
        return Err("a wrong checksum");
    }
    let (header, text) = bytes.split_at_mut(PIECE_HEADER_BYTES);
    if header[4..8] != (text.len() as u32).to_le_bytes() || header[8] != place.kind {
        return Err("another piece");
    }
    let (mut nonce, mut tag) = ([0; 12], [0; 16]);
    nonce.copy_from_slice(&header[12..24]);
    tag.copy_from_slice(&header[24..40]);
    sealer.unseal(place, &nonce, &header[4..12], text, &tag).map_err(|_| "a piece with a wrong tag")?;
    let text_bytes =
        if sealer.encrypts() { unpadded(text).ok_or("a text without an end")? } else { text.len() };
    Ok(PIECE_HEADER_BYTES..PIECE_HEADER_BYTES + text_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;
    use crate::seal::Sealing;
    use std::path::Path;
    use std::sync::Arc;

    fn sealings() -> [Sealing; 2] {
        let disk = Arc::new(SimDisk::new(1));
        [Sealing::unsealed([1; 16], disk.clone(), Path::new("/")), Sealing::for_test(disk, Path::new("/"))]
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for sealing in sealings() {
            let sealer = sealing.sealer_for_new_file(2, 2).expect("a sealer");
            let place = Place { kind: 4, offset: 512, sequence: 0 };
            let mut piece = Vec::new();
            append_piece(&mut piece, &sealer, &mut sealing.nonces(), place, |out| {
                out.extend_from_slice(b"text")
            })
            .expect("random bytes are to be had");
            let mut opened = piece.clone();
            let text = open_piece(&mut opened, &sealer, place).expect("an intact piece opens");
            assert_eq!(&opened[text], b"text");
            for bit in 0..piece.len() * 8 {
                let mut rotten = piece.clone();
                rotten[bit / 8] ^= 1 << (bit % 8);
                assert!(open_piece(&mut rotten, &sealer, place).is_err(), "bit {bit}");
            }
            assert!(open_piece(&mut piece, &sealer, Place { offset: 0, ..place }).is_err());
        }
    }

    #[test]
    fn the_length_of_an_encrypted_text_says_little() {
        let [clear, sealing] = sealings();
        let bytes = |sealing: &Sealing, text: &[u8]| {
            let sealer = sealing.sealer_for_new_file(2, 2).expect("a sealer");
            let (mut piece, place) = (Vec::new(), Place { kind: 4, offset: 0, sequence: 0 });
            append_piece(&mut piece, &sealer, &mut sealing.nonces(), place, |out| {
                out.extend_from_slice(text)
            })
            .expect("random bytes are to be had");
            let text_at = open_piece(&mut piece, &sealer, place).expect("it opens");
            assert_eq!(&piece[text_at], text);
            piece.len() - PIECE_HEADER_BYTES
        };
        for (text_bytes, padded) in [(0, 64), (1, 64), (63, 64), (64, 128), (100, 128)] {
            for end in [0, END_OF_TEXT] {
                let mut text = vec![7; text_bytes];
                text.iter_mut().rev().take(3).for_each(|byte| *byte = end);
                assert_eq!((bytes(&clear, &text), bytes(&sealing, &text)), (text_bytes, padded));
            }
        }
    }
}
