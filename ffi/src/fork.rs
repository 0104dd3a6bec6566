//! Whether this process is the one that uses the library, or a child that was forked from it.
//!
//! A child has one thread and copies of locks that others may have held, so that nothing here can serve it. It must be
//! told before the first lock. One page of memory says it: the kernel gives a child that page empty (MADV_WIPEONFORK), so
//! that asking costs a look at memory. Where the kernel does not know that, the process asks for its id instead.
//!
//! # Invariants
//! - The page is taken with the first handle, and stays. A child of a process without a handle is like any other process.

use crate::failure::Failure;
use crate::status::COFFER_FORKED;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// How the process that uses the library is known.
enum Mark {
    /// This word of memory is not zero.
    Page(&'static AtomicU32),
    /// It has this id.
    Process(u32),
}

static MARK: OnceLock<Mark> = OnceLock::new();

/// Makes this process the one that uses the library, if none is.
pub(crate) fn claim() {
    MARK.get_or_init(|| match wiped_page() {
        Some(word) => {
            word.store(1, Ordering::Release);
            Mark::Page(word)
        }
        None => Mark::Process(std::process::id()),
    });
}

/// Refuses a child.
pub(crate) fn check() -> Result<(), Failure> {
    let is_ours = match MARK.get() {
        None => true,
        Some(Mark::Page(word)) => word.load(Ordering::Acquire) != 0,
        Some(Mark::Process(id)) => *id == std::process::id(),
    };
    if is_ours { Ok(()) } else { Err(Failure::plain(COFFER_FORKED, "this process was forked")) }
}

/// A word in a page of its own, which children find empty.
fn wiped_page() -> Option<&'static AtomicU32> {
    const BYTES: usize = 4096;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping, where the kernel wants it, touches nothing that is there.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, kind, -1, 0) };
    let page = NonNull::new(page).filter(|page| page.as_ptr() != libc::MAP_FAILED)?;
    // SAFETY: the mapping was made just now, is this long, and nobody else knows of it.
    let wipes = unsafe { libc::madvise(page.as_ptr(), BYTES, libc::MADV_WIPEONFORK) } == 0;
    if !wipes {
        // SAFETY: as above; nothing refers to it.
        unsafe { libc::munmap(page.as_ptr(), BYTES) };
        return None;
    }
    // SAFETY: the page is zeroed, aligned, readable and writable, and is never unmapped.
    Some(unsafe { page.cast::<AtomicU32>().as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may() {
        assert!(check().is_ok());
        claim();
        claim();
        assert!(check().is_ok());
    }
}
