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

use crate::seal::{Nonces, Place, Sealer};

pub(crate) const PIECE_HEADER_BYTES: usize = 40;

/// Appends the piece that stands at `place` to `out`; `fill` appends its text.
pub(crate) fn append_piece(
    out: &mut Vec<u8>,
    sealer: &Sealer,
    nonces: &mut Nonces,
    place: Place,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.resize(start + PIECE_HEADER_BYTES, 0);
    fill(out);
    let (header, text) = out[start..].split_at_mut(PIECE_HEADER_BYTES);
    let nonce = nonces.draw();
    header[4..8].copy_from_slice(&(text.len() as u32).to_le_bytes());
    header[8] = place.kind;
    header[12..24].copy_from_slice(&nonce);
    let tag = sealer.seal(place, &nonce, &header[4..12], text);
    header[24..40].copy_from_slice(&tag);
    let checksum = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Opens the piece that fills `bytes`; its text then begins at [`PIECE_HEADER_BYTES`]. Fails with what is wrong.
pub(crate) fn open_piece(bytes: &mut [u8], sealer: &Sealer, place: Place) -> Result<(), &'static str> {
    if bytes.len() < PIECE_HEADER_BYTES {
        return Err("a cut piece");
    }
    if bytes[..4] != crc32c::crc32c(&bytes[4..]).to_le_bytes() {
        return Err("a wrong checksum");
    }
    let (header, text) = bytes.split_at_mut(PIECE_HEADER_BYTES);
    if header[4..8] != (text.len() as u32).to_le_bytes() || header[8] != place.kind {
        return Err("another piece");
    }
    let (mut nonce, mut tag) = ([0; 12], [0; 16]);
    nonce.copy_from_slice(&header[12..24]);
    tag.copy_from_slice(&header[24..40]);
    sealer.unseal(place, &nonce, &header[4..12], text, &tag).map_err(|_| "a piece with a wrong tag")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Algorithm, SALT_BYTES, SealedFile};

    #[test]
    fn every_flipped_bit_is_found() {
        let sealer = Sealer::new(SealedFile {
            store_id: [1; 16],
            file_id: 2,
            kind: 2,
            algorithm: Algorithm::Unsealed,
            data_key_id: 0,
            salt: [3; SALT_BYTES],
        });
        let place = Place { kind: 4, offset: 512, sequence: 0 };
        let mut piece = Vec::new();
        append_piece(&mut piece, &sealer, &mut Nonces::new([5; 8]), place, |out| {
            out.extend_from_slice(b"text")
        });
        assert_eq!(open_piece(&mut piece.clone(), &sealer, place), Ok(()));
        for bit in 0..piece.len() * 8 {
            let mut rotten = piece.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(open_piece(&mut rotten, &sealer, place).is_err(), "bit {bit}");
        }
        assert!(open_piece(&mut piece, &sealer, Place { offset: 0, ..place }).is_err());
    }
}
