//! The calls of the C library that this program hides behind its own.

use libc::{c_char, c_int, c_long, c_void, pthread_attr_t, pthread_t, timespec};
use std::ffi::CStr;
use std::mem::transmute_copy;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// What a thread begins with.
pub(super) type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

/// The definition behind ours of a function, of whose type `F` is.
fn hidden<F: Copy>(name: &CStr, found: &AtomicPtr<c_void>) -> F {
    let mut function = found.load(Ordering::Relaxed);
    if function.is_null() {
        // SAFETY: the name is a string that ends with a zero.
        function = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        assert!(!function.is_null(), "the C library has {name:?}");
        found.store(function, Ordering::Relaxed);
    }
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>(), "a pointer to a function");
    // SAFETY: both are pointers, and every caller names the type that the C library documents.
    unsafe { transmute_copy(&function) }
}

macro_rules! hidden {
    ($name:literal as $type:ty) => {{
        static FOUND: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
        let function: $type = hidden($name, &FOUND);
        function
    }};
}

pub(super) unsafe fn syscall(number: c_long, with: [usize; 6]) -> c_long {
    type Call = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;
    let [a, b, c, d, e, f] = with;
    // SAFETY: the caller answers for the arguments.
    unsafe { hidden!(c"syscall" as Call)(number, a, b, c, d, e, f) }
}

pub(super) unsafe fn clock_gettime(clock: libc::clockid_t, time: *mut timespec) -> c_int {
    type Call = unsafe extern "C" fn(libc::clockid_t, *mut timespec) -> c_int;
    // SAFETY: the caller answers for the pointer.
    unsafe { hidden!(c"clock_gettime" as Call)(clock, time) }
}

pub(super) unsafe fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int {
    type Call = unsafe extern "C" fn(*const timespec, *mut timespec) -> c_int;
    // SAFETY: the caller answers for the pointers.
    unsafe { hidden!(c"nanosleep" as Call)(time, rest) }
}

pub(super) unsafe fn getrandom(bytes: *mut c_void, length: usize, flags: libc::c_uint) -> isize {
    type Call = unsafe extern "C" fn(*mut c_void, usize, libc::c_uint) -> isize;
    // SAFETY: the caller answers for the buffer.
    unsafe { hidden!(c"getrandom" as Call)(bytes, length, flags) }
}

pub(super) fn sched_yield() -> c_int {
    type Call = extern "C" fn() -> c_int;
    hidden!(c"sched_yield" as Call)()
}

pub(super) fn getpid() -> libc::pid_t {
    type Call = extern "C" fn() -> libc::pid_t;
    hidden!(c"getpid" as Call)()
}

pub(super) unsafe fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: Routine,
    with: *mut c_void,
) -> c_int {
    type Call = unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Routine, *mut c_void) -> c_int;
    // SAFETY: the caller answers for the pointers.
    unsafe { hidden!(c"pthread_create" as Call)(thread, attributes, routine, with) }
}

pub(super) unsafe fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    type Call = unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int;
    // SAFETY: the caller answers for the thread.
    unsafe { hidden!(c"pthread_join" as Call)(thread, value) }
}

pub(super) unsafe fn pthread_detach(thread: pthread_t) -> c_int {
    type Call = unsafe extern "C" fn(pthread_t) -> c_int;
    // SAFETY: the caller answers for the thread.
    unsafe { hidden!(c"pthread_detach" as Call)(thread) }
}

pub(super) unsafe fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    type Call = unsafe extern "C" fn(pthread_t, *const c_char) -> c_int;
    // SAFETY: the caller answers for thread and name.
    unsafe { hidden!(c"pthread_setname_np" as Call)(thread, name) }
}

/// Waits, really, until `word` is no longer `while_it_is`.
pub(super) fn wait(word: &AtomicU32, while_it_is: u32) {
    let arguments = [
        word.as_ptr() as usize,
        (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize,
        while_it_is as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the word outlives the call, and there is no timeout.
    unsafe { syscall(libc::SYS_futex, arguments) };
}

/// Calls who [waits](wait) for `word`.
pub(super) fn call(word: &AtomicU32) {
    let arguments =
        [word.as_ptr() as usize, (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize, 1, 0, 0, 0];
    // SAFETY: the word outlives the call.
    unsafe { syscall(libc::SYS_futex, arguments) };
}
