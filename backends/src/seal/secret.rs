//! A key in memory: locked, left out of core dumps, not handed to forked children, wiped when it is dropped.
//!
//! Each key lives in a page of its own, apart from the heap: `mlock` keeps it out of swap, `MADV_DONTDUMP` out of core
//! dumps, and `MADV_DONTFORK` out of the memory of forked children. Where the system refuses one of these (a small
//! `RLIMIT_MEMLOCK`, another kernel), the key is kept all the same and the log says so once.
//!
//! # Invariants
//! - Nothing prints a key: `Debug` shows the type's name only, and there is no `Display`, no serialization, no `Clone`.
//! - Keys are compared in constant time.
//! - A forked child has no keys: an attempt to use one there panics before anything is sealed with it.
//! - What a key was made from is wiped: [`SecretKey::from_bytes`] leaves zeros behind.
//!
//! What is derived from a key and kept elsewhere (cipher states, on the heap) is wiped by its own crate and not locked.

use coffer_core::storage::StorageError;
use hkdf::Hkdf;
use memmap2::MmapMut;
use sha2::Sha256;
use std::fmt;
use std::io;
use std::sync::Once;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A key of 32 bytes that is protected while it is in memory. See the module's description for how.
pub struct SecretKey {
    place: Place,
    /// The process that may use it.
    process: u32,
}

enum Place {
    /// A page of its own. A forked child has nothing there, so only the right process may touch or unmap it.
    Page(MmapMut),
    /// The system gave no page.
    Heap(Box<[u8; KEY_BYTES]>),
}

impl SecretKey {
    /// A fresh key from the system's generator.
    ///
    /// # Errors
    /// The generator failed.
    pub fn random() -> Result<Self, StorageError> {
        let mut key = Self::zero();
        getrandom::fill(key.bytes_mut()).map_err(|error| {
            StorageError::io("read random bytes", "getrandom", io::Error::other(error.to_string()))
        })?;
        Ok(key)
    }

    /// Takes a key over from ordinary memory, and wipes it there.
    pub fn from_bytes(bytes: &mut [u8; KEY_BYTES]) -> Self {
        let mut key = Self::zero();
        key.bytes_mut().copy_from_slice(bytes);
        bytes.zeroize();
        key
    }

    /// A key that `fill` writes, into zeros.
    pub(crate) fn filled<E>(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self::zero();
        fill(key.bytes_mut())?;
        Ok(key)
    }

    /// The bytes, for a cipher.
    ///
    /// # Panics
    /// In a forked child of the process that made the key: sealing goes on in one process only, because two with the
    /// same keys would use nonces twice.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        assert!(self.is_ours(), "a sealed store cannot be used in a forked child: open it there");
        match &self.place {
            Place::Page(page) => page[..].first_chunk().expect("a page is longer than a key"),
            Place::Heap(bytes) => bytes,
        }
    }

    /// The key that HKDF-SHA256 makes of this one for `salt` and `info`; the parts of `info` are concatenated.
    pub fn derive(&self, salt: &[u8], info: &[&[u8]]) -> Self {
        let mut key = Self::zero();
        self.expand(salt, info, key.bytes_mut());
        key
    }

    /// Fills `out` with what HKDF-SHA256 makes of the key for `salt` and `info`, at most 8160 bytes.
    fn expand(&self, salt: &[u8], info: &[&[u8]], out: &mut [u8]) {
        let (mut extracted, expander) = Hkdf::<Sha256>::extract(Some(salt), self.expose());
        extracted.zeroize();
        expander.expand_multi_info(info, out).expect("no more than 255 hashes are asked for");
    }

    fn zero() -> Self {
        let place = match protected_page() {
            Ok(page) => Place::Page(page),
            Err(error) => {
                static TOLD: Once = Once::new();
                warn_once(&TOLD, "no page of memory for a key; it lives on the heap", &error);
                Place::Heap(Box::new([0; KEY_BYTES]))
            }
        };
        Self { place, process: std::process::id() }
    }

    fn bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        match &mut self.place {
            Place::Page(page) => page[..].first_chunk_mut().expect("a page is longer than a key"),
            Place::Heap(bytes) => bytes,
        }
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        if self.is_ours() {
            self.bytes_mut().zeroize();
        } else {
            // A child has nothing at the page's address, or something else by now: it must not be unmapped.
            std::mem::forget(std::mem::replace(&mut self.place, Place::Heap(Box::new([0; KEY_BYTES]))));
        }
    }
}

impl ConstantTimeEq for SecretKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

/// A page that is zero, locked, and left out of core dumps and children, as far as the system does that.
fn protected_page() -> io::Result<MmapMut> {
    let page = MmapMut::map_anon(KEY_BYTES)?;
    if let Err(error) = page.lock() {
        static TOLD: Once = Once::new();
        warn_once(
            &TOLD,
            "keys cannot be locked in memory and may be swapped out; raise the limit of memlock",
            &error,
        );
    }
    #[cfg(target_os = "linux")]
    for advice in [memmap2::Advice::DontDump, memmap2::Advice::DontFork] {
        if let Err(error) = page.advise(advice) {
            static TOLD: Once = Once::new();
            warn_once(&TOLD, "keys cannot be kept out of core dumps and child processes", &error);
        }
    }
    Ok(page)
}

fn warn_once(told: &Once, what: &'static str, error: &io::Error) {
    told.call_once(|| tracing::warn!(%error, "{what}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_over_and_its_source_wiped() {
        let mut bytes = [7; KEY_BYTES];
        let key = SecretKey::from_bytes(&mut bytes);
        assert_eq!(bytes, [0; KEY_BYTES]);
        assert_eq!(key.expose(), &[7; KEY_BYTES]);
        assert_eq!(key, SecretKey::from_bytes(&mut [7; KEY_BYTES]));
        assert_ne!(key, SecretKey::from_bytes(&mut [8; KEY_BYTES]));
    }

    #[test]
    fn random_keys_differ() {
        let keys = [SecretKey::random().unwrap(), SecretKey::random().unwrap()];
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn nothing_prints_a_key() {
        assert_eq!(format!("{:?}", SecretKey::from_bytes(&mut [b'x'; KEY_BYTES])), "SecretKey");
    }

    const KNOWN: [u8; KEY_BYTES] = [
        0x64, 0xcc, 0x2a, 0x23, 0xb7, 0xa1, 0xda, 0x43, 0x10, 0x42, 0x03, 0x50, 0x40, 0x5f, 0xdf, 0x5d, 0x63,
        0x2c, 0xb9, 0xbd, 0xa3, 0x70, 0x0d, 0x75, 0x3e, 0x96, 0xcb, 0xcf, 0xeb, 0x81, 0xd4, 0x49,
    ];

    /// RFC 5869 has no 32-byte input key; these bytes were computed with Python's hmac and hashlib.
    #[test]
    fn derivation_is_hkdf_sha256() {
        let key = SecretKey::from_bytes(&mut std::array::from_fn(|i| i as u8));
        let derived = key.derive(b"salt", &[b"in", b"fo"]);
        assert_eq!(derived, key.derive(b"salt", &[b"info"]));
        assert_ne!(derived, key.derive(b"salt", &[b"other"]));
        assert_ne!(derived, key.derive(b"other", &[b"info"]));
        assert_eq!(derived.expose(), &KNOWN);
    }

    #[test]
    fn another_process_than_its_maker_cannot_use_a_key() {
        let mut key = SecretKey::from_bytes(&mut [7; KEY_BYTES]);
        key.process += 1;
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| *key.expose())).is_err());
        drop(key);
    }

    /// The kernel's own account of the page: locked ("lo"), no dump ("dd"), no copy in children ("dc").
    #[cfg(target_os = "linux")]
    #[test]
    fn the_page_of_a_key_is_protected() {
        let key = SecretKey::random().unwrap();
        let Place::Page(page) = &key.place else { panic!("a page is to be had") };
        let address = page.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut ours = false;
        let flags = maps.lines().find_map(|line| {
            let range = line.split_whitespace().next()?.split_once('-');
            if let Some((start, end)) = range
                && let (Ok(start), Ok(end)) =
                    (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
            {
                ours = (start..end).contains(&address);
            }
            line.strip_prefix("VmFlags:").filter(|_| ours)
        });
        let flags: Vec<&str> = flags.expect("every mapping is listed").split_whitespace().collect();
        assert!(flags.contains(&"dd") && flags.contains(&"dc"), "{flags:?}");
        assert!(flags.contains(&"lo") || page.lock().is_err(), "{flags:?}");
    }
}
