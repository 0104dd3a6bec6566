//! Seals and opens the pieces of one file.

use super::aead::Cipher;
use super::file::{Algorithm, Place, SealedFile};
use super::keyring::DataKey;
use super::nonce::Nonce;
use coffer_core::planted::{Bug, planted};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;

/// An authentication tag.
pub type Tag = [u8; TAG_BYTES];

/// Associated data before the context.
const BOUND_BYTES: usize = 64;
/// Contexts up to this need no allocation: that of a header is the longest.
const CONTEXT_BYTES: usize = 480;

/// The text is not what was sealed at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("authentication failed")]
pub struct SealBroken;

/// Seals and opens the pieces of one file. Clones share the file's key.
///
/// As long as one lives, the data key under the file is not destroyed: a backend keeps the sealers of all files that
/// it still needs.
#[derive(Clone)]
pub struct Sealer {
    file: SealedFile,
    method: Method,
}

#[derive(Clone)]
enum Method {
    Checksum(Arc<Xxh3>),
    Aead(Arc<FileKey>),
}

/// The key of one life of one file, as a cipher that is ready to use.
struct FileKey {
    cipher: Cipher,
    data_key: Arc<DataKey>,
    #[cfg(test)]
    fingerprint: u128,
}

impl Sealer {
    /// A sealer for a file in the clear.
    pub(crate) fn unsealed(file: SealedFile) -> Self {
        let (seed, _) = file.salt.split_first_chunk().expect("a salt is longer than 8 bytes");
        let mut salted = Xxh3::with_seed(u64::from_le_bytes(*seed));
        salted.update(&file.salt);
        Self { file, method: Method::Checksum(Arc::new(salted)) }
    }

    /// A sealer for a file under `data_key`.
    pub(super) fn sealed(file: SealedFile, data_key: Arc<DataKey>) -> Self {
        let info: [&[u8]; 4] = [b"coffer/v1", &[file.kind], &file.store_id, &file.file_id.to_le_bytes()];
        let key = data_key.key.derive(&file.salt, &info);
        let key = FileKey {
            #[cfg(test)]
            fingerprint: xxhash_rust::xxh3::xxh3_128(key.expose()),
            cipher: Cipher::new(&key),
            data_key,
        };
        Self { file, method: Method::Aead(Arc::new(key)) }
    }

    /// The file.
    pub fn file(&self) -> &SealedFile {
        &self.file
    }

    /// Whether a clone of it lives.
    pub(crate) fn is_shared(&self) -> bool {
        match &self.method {
            Method::Checksum(salted) => Arc::strong_count(salted) > 1,
            Method::Aead(key) => Arc::strong_count(key) > 1,
        }
    }

    /// Whether the texts are encrypted, so that their lengths are worth hiding.
    pub fn encrypts(&self) -> bool {
        self.file.algorithm != Algorithm::Unsealed
    }

    /// Seals `text` in place and returns its tag. `context` is bound to it and stays readable. The nonce is one that
    /// the [`Nonces`](super::Nonces) of this life of the file handed out, for this text alone.
    pub fn seal(&self, place: Place, nonce: &Nonce, context: &[u8], text: &mut [u8]) -> Tag {
        match &self.method {
            Method::Checksum(salted) => self.checksum(salted, place, nonce, context, text),
            Method::Aead(key) => {
                #[cfg(test)]
                recorder::note(key.fingerprint, nonce);
                key.data_key.count(text.len());
                self.with_bound(place, nonce, context, |bound| key.cipher.seal(nonce, bound, text))
            }
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
        match &self.method {
            Method::Checksum(salted) if self.checksum(salted, place, nonce, context, text) == *tag => Ok(()),
            Method::Checksum(_) if planted(Bug::ChecksumNotChecked) || planted(Bug::TagNotChecked) => Ok(()),
            Method::Checksum(_) => Err(SealBroken),
            Method::Aead(key) => {
                self.with_bound(place, nonce, context, |bound| key.cipher.open(nonce, bound, text, tag))
            }
        }
    }

    fn checksum(&self, salted: &Xxh3, place: Place, nonce: &Nonce, context: &[u8], text: &[u8]) -> Tag {
        let mut state = salted.clone();
        state.update(&self.bound(place, nonce, context.len()));
        state.update(context);
        state.update(text);
        state.digest128().to_le_bytes()
    }

    /// Calls `work` with the associated data in one piece.
    fn with_bound<T>(&self, place: Place, nonce: &Nonce, context: &[u8], work: impl FnOnce(&[u8]) -> T) -> T {
        let bound = self.bound(place, nonce, context.len());
        let end = BOUND_BYTES + context.len();
        if context.len() > CONTEXT_BYTES {
            return work(&[&bound, context].concat());
        }
        let mut whole = [0; BOUND_BYTES + CONTEXT_BYTES];
        whole[..BOUND_BYTES].copy_from_slice(&bound);
        whole[BOUND_BYTES..end].copy_from_slice(context);
        work(&whole[..end])
    }

    /// The associated data, as the table in [`super`] has it, without the context.
    fn bound(&self, place: Place, nonce: &Nonce, context_bytes: usize) -> [u8; BOUND_BYTES] {
        let mut bound = [0; BOUND_BYTES];
        bound[..16].copy_from_slice(&self.file.store_id);
        bound[16..24].copy_from_slice(&self.file.file_id.to_le_bytes());
        bound[24..28].copy_from_slice(&self.file.data_key_id.to_le_bytes());
        bound[28..31].copy_from_slice(&[self.file.kind, self.file.algorithm.id(), place.kind]);
        bound[32..40].copy_from_slice(&place.offset.to_le_bytes());
        bound[40..48].copy_from_slice(&place.sequence.to_le_bytes());
        bound[48..60].copy_from_slice(nonce);
        bound[60..64].copy_from_slice(&(context_bytes as u32).to_le_bytes());
        bound
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("file_id", &self.file.file_id).finish_non_exhaustive()
    }
}

/// Remembers, for tests, what was sealed on this thread under which key and nonce.
#[cfg(test)]
pub(crate) mod recorder {
    use super::super::nonce::Nonce;
    use std::cell::RefCell;
    use std::collections::HashSet;

    thread_local! {
        static SEALED: RefCell<Option<Recorded>> = const { RefCell::new(None) };
    }

    /// Which keys met which nonces, and how often one did so again.
    #[derive(Default)]
    pub(crate) struct Recorded {
        pairs: HashSet<(u128, Nonce)>,
        keys: HashSet<u128>,
        pub(crate) repeats: usize,
    }

    impl Recorded {
        pub(crate) fn pairs(&self) -> usize {
            self.pairs.len()
        }

        pub(crate) fn keys(&self) -> usize {
            self.keys.len()
        }
    }

    pub(super) fn note(key: u128, nonce: &Nonce) {
        SEALED.with_borrow_mut(|recorded| {
            let Some(recorded) = recorded else { return };
            recorded.keys.insert(key);
            recorded.repeats += usize::from(!recorded.pairs.insert((key, *nonce)));
        });
    }

    /// Runs `work` and returns what it sealed on this thread.
    pub(crate) fn record(work: impl FnOnce()) -> Recorded {
        SEALED.set(Some(Recorded::default()));
        work();
        SEALED.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NONCE_BYTES, SALT_BYTES, SecretKey};
    use super::*;

    fn file(algorithm: Algorithm) -> SealedFile {
        let data_key_id = if algorithm == Algorithm::Unsealed { 0 } else { 6 };
        SealedFile { store_id: [7; 16], file_id: 3, kind: 1, algorithm, data_key_id, salt: [5; SALT_BYTES] }
    }

    fn sealer(file: SealedFile) -> Sealer {
        match file.algorithm {
            Algorithm::Unsealed => Sealer::unsealed(file),
            Algorithm::Aes256Gcm => {
                let key = SecretKey::from_bytes(&mut [9; 32]);
                Sealer::sealed(file, Arc::new(DataKey::new(file.data_key_id, key, 0)))
            }
        }
    }

    #[test]
    fn a_piece_opens_only_at_its_place() {
        for algorithm in [Algorithm::Unsealed, Algorithm::Aes256Gcm] {
            let file = file(algorithm);
            let place = Place { kind: 2, offset: 4096, sequence: 9 };
            let nonce = [1; NONCE_BYTES];
            let mut text = b"some text".to_vec();
            let tag = sealer(file).seal(place, &nonce, b"context", &mut text);
            assert_eq!(text == b"some text", algorithm == Algorithm::Unsealed);
            let open = |file: SealedFile, place: Place, nonce: &Nonce, context: &[u8], text: &[u8]| {
                let mut text = text.to_vec();
                sealer(file).unseal(place, nonce, context, &mut text, &tag).map(|()| text)
            };
            assert_eq!(open(file, place, &nonce, b"context", &text), Ok(b"some text".to_vec()));
            for moved in
                [Place { kind: 3, ..place }, Place { offset: 0, ..place }, Place { sequence: 8, ..place }]
            {
                assert_eq!(open(file, moved, &nonce, b"context", &text), Err(SealBroken));
            }
            for other in [
                SealedFile { store_id: [8; 16], ..file },
                SealedFile { file_id: 4, ..file },
                SealedFile { kind: 2, ..file },
                SealedFile { data_key_id: 1, ..file },
                SealedFile { salt: [6; SALT_BYTES], ..file },
            ] {
                assert_eq!(open(other, place, &nonce, b"context", &text), Err(SealBroken));
            }
            assert_eq!(open(file, place, &[2; NONCE_BYTES], b"context", &text), Err(SealBroken));
            assert_eq!(open(file, place, &nonce, b"contex", &[b"t", &text[..]].concat()), Err(SealBroken));
            text[3] ^= 1;
            assert_eq!(open(file, place, &nonce, b"context", &text), Err(SealBroken));
        }
    }

    #[test]
    fn long_contexts_are_bound_too() {
        let (sealer, place) = (sealer(file(Algorithm::Aes256Gcm)), Place { kind: 2, offset: 0, sequence: 0 });
        let mut context = vec![3; 2000];
        let tag = sealer.seal(place, &[1; 12], &context, &mut []);
        assert_eq!(sealer.unseal(place, &[1; 12], &context, &mut [], &tag), Ok(()));
        context[1999] = 4;
        assert_eq!(sealer.unseal(place, &[1; 12], &context, &mut [], &tag), Err(SealBroken));
    }

    /// Computed with Python's `cryptography` (HKDF, AESGCM) from the description in `docs/formats.md`.
    #[test]
    fn the_format_is_what_is_described() {
        let sealer = sealer(file(Algorithm::Aes256Gcm));
        let mut text = b"a known text".to_vec();
        let place = Place { kind: 2, offset: 4096, sequence: 9 };
        let tag = sealer.seal(place, &std::array::from_fn(|i| i as u8), b"beside it", &mut text);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            (hex(&text).as_str(), hex(&tag).as_str()),
            ("63495e4424b0aa64a0f98bf1", "bf08953be4174a722864806fba7432ef")
        );
    }

    #[test]
    fn the_recorder_sees_a_repeated_nonce() {
        let sealer = sealer(file(Algorithm::Aes256Gcm));
        let place = Place { kind: 2, offset: 0, sequence: 0 };
        let recorded = recorder::record(|| {
            for nonce in [1, 2, 1] {
                sealer.seal(place, &[nonce; 12], b"", &mut b"text".to_vec());
            }
        });
        assert_eq!((recorded.pairs(), recorded.keys(), recorded.repeats), (2, 1, 1));
    }

    #[test]
    fn nothing_prints_a_key() {
        let printed = format!("{:?}", sealer(file(Algorithm::Aes256Gcm)));
        assert_eq!(printed, "Sealer { file_id: 3, .. }");
    }
}
