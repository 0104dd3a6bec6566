//! Keeps signals of the host program off the threads of the library.
//!
//! A thread begins with the mask of the one that starts it. So signals are blocked on the caller's thread while it starts
//! threads, and let in again afterwards. Handlers of the host then run on its own threads, and a socket that the other end
//! closed raises no SIGPIPE that anybody hears of.

use std::mem::MaybeUninit;
use std::ptr;

/// Signals that a thread's own mistakes raise: to block them helps nobody.
const OWN: [libc::c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// Runs `work`, whose threads get no signals.
pub(crate) fn kept_off<R>(work: impl FnOnce() -> R) -> R {
    let _restored = Restored::after_blocking();
    work()
}

/// The mask that the thread had, which it gets back when this is dropped.
struct Restored(Option<libc::sigset_t>);

impl Restored {
    fn after_blocking() -> Self {
        let (mut blocked, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: sigfillset makes a whole set of what it is given; the others are given whole sets, and signals that exist.
        let changed = unsafe {
            libc::sigfillset(blocked.as_mut_ptr());
            OWN.iter().for_each(|signal| {
                libc::sigdelset(blocked.as_mut_ptr(), *signal);
            });
            libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr()) == 0
        };
        // SAFETY: pthread_sigmask has filled it if it succeeded.
        Self(changed.then(|| unsafe { before.assume_init() }))
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // SAFETY: it is the whole set that this thread had before.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
        }
    }
}
