//! AES-256-GCM, algorithm 1, behind three functions: make a cipher of a key, seal, open. The one place that names the
//! crate that does it.

use super::locked::Locked;
use super::nonce::Nonce;
use super::sealer::{SealBroken, Tag};
use super::secret::SecretKey;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, aead};
use coffer_core::planted::{Bug, planted};

/// A key, expanded, in locked memory; wiped when it is dropped.
pub(super) struct Cipher(Locked<Aes256Gcm>);

impl Cipher {
    pub(super) fn new(key: &SecretKey) -> Self {
        Self(Locked::new(Aes256Gcm::new(key.expose().into())))
    }

    /// Encrypts `text` in place and returns the tag over it and `bound`.
    pub(super) fn seal(&self, nonce: &Nonce, bound: &[u8], text: &mut [u8]) -> Tag {
        let sealed = self.0.encrypt_inout_detached(nonce.into(), bound, text.into());
        sealed.expect("a piece is shorter than 64 GiB").into()
    }

    /// Decrypts `text` in place, if it and `bound` are what was sealed.
    pub(super) fn open(
        &self,
        nonce: &Nonce,
        bound: &[u8],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), SealBroken> {
        if planted(Bug::TagNotChecked) {
            // Counter mode: sealing once more opens.
            let _ = self.seal(nonce, bound, text);
            return Ok(());
        }
        let opened = self.0.decrypt_inout_detached(nonce.into(), bound, text.into(), tag.into());
        opened.map_err(|aead::Error| SealBroken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        digits.chunks(2).map(pair).collect()
    }

    /// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega).
    #[test]
    fn it_is_aes_256_gcm() {
        let mut key =
            bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308").try_into().unwrap();
        let cipher = Cipher::new(&SecretKey::from_bytes(&mut key));
        let nonce: Nonce = bytes("cafebabefacedbaddecaf888").try_into().unwrap();
        let bound = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let mut text = plain.clone();
        let tag = cipher.seal(&nonce, &bound, &mut text);
        let sealed = bytes(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        );
        assert_eq!((&text, &tag[..]), (&sealed, &bytes("76fc6ece0f4e1768cddf8853bb2d551b")[..]));
        assert_eq!(cipher.open(&nonce, &bound, &mut text.clone(), &[0; 16]), Err(SealBroken));
        assert_eq!(cipher.open(&nonce, b"", &mut text.clone(), &tag), Err(SealBroken));
        assert_eq!(cipher.open(&nonce, &bound, &mut text, &tag), Ok(()));
        assert_eq!(text, plain);
    }
}
