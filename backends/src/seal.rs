//! How stored bytes are authenticated, and the seam where encryption comes in.
//!
//! Whatever a backend stores in pieces (log frames, record boxes, directory blocks, manifest slots) gets a 16-byte
//! tag that binds the bytes to their place: store, file, kind, offset and sequence. A piece that was moved, swapped
//! with another, or left over from an earlier life of a recycled file does not verify.
//!
//! Algorithm 0, the only one so far, leaves the text as it is. Its tag is XXH3-128 seeded with the file's random
//! 32-byte salt, over `associated data || text`: it detects accidents, and because the salt is drawn afresh for each
//! life of a file, neither stale content nor a value that imitates a frame passes. It does not stop a person who can
//! read and write the file. AES-256-GCM takes algorithm id 1 without a change of format: file headers carry
//! algorithm, data-key id and salt, and every piece carries a 12-byte nonce and a 16-byte tag.
//!
//! # Associated data, algorithm 0
//!
//! | bytes | content |
//! |---|---|
//! | 16 | store id |
//! | 8 | file id |
//! | 4 | data-key id |
//! | 1 | file kind |
//! | 1 | algorithm |
//! | 1 | piece kind |
//! | 1 | zero |
//! | 8 | offset of the piece in the file |
//! | 8 | sequence of the piece |
//! | 12 | nonce |
//! | 4 | length of the context |
//! | n | context: the part of the piece that is stored beside the text |
//!
//! Integers are little-endian.

mod key_error;
mod secret;
pub mod slots;
pub mod source;

pub use key_error::KeyError;
pub use secret::{KEY_BYTES, SecretKey};

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a file's salt.
pub const SALT_BYTES: usize = 32;

/// An authentication tag.
pub type Tag = [u8; TAG_BYTES];
/// A nonce. Under one salt no nonce is used twice.
pub type Nonce = [u8; NONCE_BYTES];

/// How a file's pieces are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In the clear, with a checksum that is bound to its place.
    Unsealed,
}

impl Algorithm {
    /// As stored.
    pub fn id(self) -> u8 {
        match self {
            Self::Unsealed => 0,
        }
    }

    /// The algorithm that is stored as `id`.
    pub fn from_id(id: u8) -> Option<Self> {
        (id == 0).then_some(Self::Unsealed)
    }
}

/// What every piece of one file shares. Stored in the clear in the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// The store that the file belongs to.
    pub store_id: [u8; 16],
    /// The file; ids are never used twice in a store.
    pub file_id: u64,
    /// What kind of file it is.
    pub kind: u8,
    /// How it is sealed.
    pub algorithm: Algorithm,
    /// The data key; 0 if unsealed.
    pub data_key_id: u32,
    /// Random, drawn for each life of the file.
    pub salt: [u8; SALT_BYTES],
}

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What kind of piece it is.
    pub kind: u8,
    /// Its offset in the file.
    pub offset: u64,
    /// Its number among the file's pieces of that kind.
    pub sequence: u64,
}

/// The text is not what was sealed at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("authentication failed")]
pub struct SealBroken;

/// Seals and opens the pieces of one file.
#[derive(Clone)]
pub struct Sealer {
    file: SealedFile,
    salted: Xxh3,
}

impl Sealer {
    /// A sealer for `file`.
    pub fn new(file: SealedFile) -> Self {
        let mut salted = Xxh3::with_seed(u64::from_le_bytes([
            file.salt[0],
            file.salt[1],
            file.salt[2],
            file.salt[3],
            file.salt[4],
            file.salt[5],
            file.salt[6],
            file.salt[7],
        ]));
        salted.update(&file.salt);
        Self { file, salted }
    }

    /// The file.
    pub fn file(&self) -> &SealedFile {
        &self.file
    }

    /// Seals `text` in place and returns its tag. `context` is bound to it and stays readable.
    pub fn seal(&self, place: Place, nonce: &Nonce, context: &[u8], text: &mut [u8]) -> Tag {
        match self.file.algorithm {
            Algorithm::Unsealed => self.checksum(place, nonce, context, text),
        }
    }

    /// Opens `text` in place.
    ///
    /// # Errors
    /// It was not sealed in this file at this place with this nonce, context and tag; the text is not to be used.
    pub fn unseal(
        &self,
        place: Place,
        nonce: &Nonce,
        context: &[u8],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), SealBroken> {
        let right = match self.file.algorithm {
            Algorithm::Unsealed => self.checksum(place, nonce, context, text) == *tag,
        };
        if right { Ok(()) } else { Err(SealBroken) }
    }

    fn checksum(&self, place: Place, nonce: &Nonce, context: &[u8], text: &[u8]) -> Tag {
        let mut bound = [0; 64];
        bound[..16].copy_from_slice(&self.file.store_id);
        bound[16..24].copy_from_slice(&self.file.file_id.to_le_bytes());
        bound[24..28].copy_from_slice(&self.file.data_key_id.to_le_bytes());
        bound[28..31].copy_from_slice(&[self.file.kind, self.file.algorithm.id(), place.kind]);
        bound[32..40].copy_from_slice(&place.offset.to_le_bytes());
        bound[40..48].copy_from_slice(&place.sequence.to_le_bytes());
        bound[48..60].copy_from_slice(nonce);
        bound[60..64].copy_from_slice(&(context.len() as u32).to_le_bytes());
        let mut state = self.salted.clone();
        state.update(&bound);
        state.update(context);
        state.update(text);
        state.digest128().to_le_bytes()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("file_id", &self.file.file_id).finish_non_exhaustive()
    }
}

/// Hands out nonces for one life of one file: a counter that never goes back, and random bytes that keep two copies
/// of a running process apart.
#[derive(Debug)]
pub struct Nonces {
    next: u32,
    random: [u8; 8],
}

impl Nonces {
    /// Starts at 0 with these random bytes.
    pub fn new(random: [u8; 8]) -> Self {
        Self { next: 0, random }
    }

    /// Replaces the random bytes.
    pub fn refresh(&mut self, random: [u8; 8]) {
        self.random = random;
    }

    /// A nonce that this file has not used: the counter big-endian, then the random bytes.
    ///
    /// # Panics
    /// After 2^32 nonces. Files end long before.
    pub fn draw(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&self.next.to_be_bytes());
        nonce[4..].copy_from_slice(&self.random);
        self.next = self.next.checked_add(1).expect("a file holds fewer than 2^32 pieces");
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(file_id: u64, salt: u8) -> Sealer {
        Sealer::new(SealedFile {
            store_id: [7; 16],
            file_id,
            kind: 1,
            algorithm: Algorithm::Unsealed,
            data_key_id: 0,
            salt: [salt; SALT_BYTES],
        })
    }

    #[test]
    fn a_piece_opens_only_at_its_place() {
        let place = Place { kind: 2, offset: 4096, sequence: 9 };
        let nonce = [1; NONCE_BYTES];
        let mut text = b"some text".to_vec();
        let tag = sealer(3, 5).seal(place, &nonce, b"context", &mut text);
        let open = |sealer: Sealer, place: Place, nonce: &Nonce, context: &[u8], text: &[u8]| {
            sealer.unseal(place, nonce, context, &mut text.to_vec(), &tag)
        };
        assert_eq!(open(sealer(3, 5), place, &nonce, b"context", &text), Ok(()));
        for moved in
            [Place { kind: 3, ..place }, Place { offset: 0, ..place }, Place { sequence: 8, ..place }]
        {
            assert_eq!(open(sealer(3, 5), moved, &nonce, b"context", &text), Err(SealBroken));
        }
        assert_eq!(open(sealer(4, 5), place, &nonce, b"context", &text), Err(SealBroken));
        assert_eq!(open(sealer(3, 6), place, &nonce, b"context", &text), Err(SealBroken));
        assert_eq!(open(sealer(3, 5), place, &[2; NONCE_BYTES], b"context", &text), Err(SealBroken));
        assert_eq!(open(sealer(3, 5), place, &nonce, b"contex", b"tsome text"), Err(SealBroken));
        assert_eq!(open(sealer(3, 5), place, &nonce, b"context", b"same text"), Err(SealBroken));
    }

    #[test]
    fn nonces_never_repeat() {
        let mut nonces = Nonces::new([9; 8]);
        assert_eq!(nonces.draw(), [0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
        nonces.refresh([8; 8]);
        assert_eq!(nonces.draw(), [0, 0, 0, 1, 8, 8, 8, 8, 8, 8, 8, 8]);
    }
}
