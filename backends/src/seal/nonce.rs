//! The numbers that must never repeat under one key.

use crate::io::Io;
use coffer_core::planted::{Bug, planted};
use coffer_core::storage::StorageError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// A nonce. Under one file key no nonce is used twice.
pub type Nonce = [u8; NONCE_BYTES];

/// The system's generator, for the files of one store.
#[derive(Clone)]
pub(super) struct Generator {
    io: Arc<dyn Io>,
    path: PathBuf,
}

impl Generator {
    /// `path` is what errors name.
    pub(super) fn new(io: Arc<dyn Io>, path: &Path) -> Self {
        Self { io, path: path.to_owned() }
    }

    pub(super) fn draw<const N: usize>(&self) -> Result<[u8; N], StorageError> {
        let mut bytes = [0; N];
        let drawn = self.io.random(&mut bytes);
        drawn.map_err(|error| StorageError::io("draw random bytes for", &self.path, error))?;
        Ok(bytes)
    }
}

/// Hands out the nonces of one life of one file: a counter that never goes back (4 bytes, big-endian), and 8 fresh
/// random bytes, which keep two copies of a running process apart.
pub struct Nonces {
    next: u64,
    generator: Generator,
}

impl Nonces {
    /// Starts at 0. One for each salt, never more.
    pub(super) fn new(generator: Generator) -> Self {
        Self { next: first_count(), generator }
    }

    /// How many are left. A file is replaced by a new one before there are none.
    pub fn left(&self) -> u64 {
        (1 << 32) - self.next
    }

    /// A nonce that this file has not used, and never will again, whatever becomes of what is sealed with it.
    ///
    /// # Errors
    /// The system's generator failed.
    ///
    /// # Panics
    /// After 2^32 nonces.
    pub fn draw(&mut self) -> Result<Nonce, StorageError> {
        if planted(Bug::NonceReused) {
            return Ok([0; NONCE_BYTES]);
        }
        let count = u32::try_from(self.next).expect("a file holds fewer than 2^32 pieces");
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&count.to_be_bytes());
        nonce[4..].copy_from_slice(&self.generator.draw::<8>()?);
        self.next += 1;
        Ok(nonce)
    }
}

#[cfg(not(test))]
fn first_count() -> u64 {
    0
}

#[cfg(test)]
fn first_count() -> u64 {
    FIRST_COUNT.get()
}

#[cfg(test)]
thread_local! {
    /// Where counters begin on this thread, so that a test sees the end of a file.
    pub(crate) static FIRST_COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;

    fn nonces(seed: u64) -> Nonces {
        Nonces::new(Generator::new(Arc::new(SimDisk::new(seed)), Path::new("/store")))
    }

    #[test]
    fn the_counter_comes_first_and_the_rest_is_fresh() {
        let mut nonces = nonces(1);
        let drawn = [nonces.draw().unwrap(), nonces.draw().unwrap()];
        assert_eq!([&drawn[0][..4], &drawn[1][..4]], [[0, 0, 0, 0], [0, 0, 0, 1]]);
        assert_ne!(drawn[0][4..], drawn[1][4..]);
        assert_eq!(nonces.left(), (1 << 32) - 2);
    }

    #[test]
    fn copies_of_a_running_process_draw_different_nonces() {
        assert_ne!(nonces(1).draw().unwrap(), nonces(2).draw().unwrap());
    }

    #[test]
    #[should_panic(expected = "fewer than 2^32")]
    fn the_counter_never_wraps() {
        FIRST_COUNT.set((1 << 32) - 1);
        let mut nonces = nonces(1);
        assert_eq!(nonces.draw().unwrap()[..4], [0xff; 4]);
        let _ = nonces.draw();
    }
}
