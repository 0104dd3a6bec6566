//! A value in memory of its own that is locked (kept out of swap), left out of core dumps, and wiped at the end.
//!
//! For the states of ciphers, which hold a key in another shape. Where the system refuses to lock memory, the value is
//! kept all the same and the log says so once, as with [`SecretKey`](super::secret::SecretKey).
//!
//! # Invariants
//! - The page holds one initialised value from construction to drop, and nothing else points to it.
//! - A page is aligned for the value: pages are aligned to their size, which no value's alignment exceeds.
#![allow(unsafe_code, reason = "a value can be put into a mapped page in no other way")]

use memmap2::MmapMut;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Once;
use zeroize::Zeroize;

/// No value here is larger, or aligned more strictly.
const PAGE_BYTES: usize = 4096;

/// A value in locked memory.
pub(super) struct Locked<T> {
    place: Place<T>,
}

enum Place<T> {
    Page(MmapMut, PhantomData<T>),
    /// The system gave no page.
    Heap(Box<T>),
}

impl<T> Locked<T> {
    /// Moves `value` into a page of its own.
    pub(super) fn new(value: T) -> Self {
        const { assert!(size_of::<T>() <= PAGE_BYTES && align_of::<T>() <= PAGE_BYTES) };
        let place = match locked_page() {
            Ok(mut page) => {
                // SAFETY: the page is writable, at least PAGE_BYTES long, aligned to its size, and ours alone.
                unsafe { page.as_mut_ptr().cast::<T>().write(value) };
                Place::Page(page, PhantomData)
            }
            Err(error) => {
                static TOLD: Once = Once::new();
                TOLD.call_once(
                    || tracing::warn!(%error, "no page of memory for a cipher; it lives on the heap"),
                );
                Place::Heap(Box::new(value))
            }
        };
        Self { place }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.place {
            // SAFETY: the page has held a value since `new`, and lives as long as `self`.
            Place::Page(page, _) => unsafe { &*page.as_ptr().cast::<T>() },
            Place::Heap(value) => value,
        }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        if let Place::Page(page, _) = &mut self.place {
            // SAFETY: the page holds a value, which nobody uses after this.
            unsafe { page.as_mut_ptr().cast::<T>().drop_in_place() };
            page.zeroize();
        }
    }
}

fn locked_page() -> io::Result<MmapMut> {
    let page = MmapMut::map_anon(PAGE_BYTES)?;
    let locked = page.lock();
    #[cfg(target_os = "linux")]
    let locked = locked.and(page.advise(memmap2::Advice::DontDump));
    if let Err(error) = locked {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(%error, "ciphers cannot be locked in memory; raise the limit of memlock");
        });
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_value_lives_in_its_page_and_is_dropped_once() {
        let counted = Arc::new(7);
        let locked = Locked::new((counted.clone(), [1u64; 78]));
        assert_eq!((*locked.0, locked.1[77]), (7, 1));
        assert!(matches!(locked.place, Place::Page(..)), "a page is to be had");
        let moved = locked;
        assert_eq!((*moved.0, Arc::strong_count(&counted)), (7, 2));
        drop(moved);
        assert_eq!(Arc::strong_count(&counted), 1);
    }
}
