//! What the program calls in the C library and the machine answers itself.
//!
//! A definition in a program goes before that of a shared library, for everybody in the process. Before [`boot`] and for
//! whatever the machine does not know, they pass on to the real ones. Rust's own locks, those of parking_lot, parked
//! threads and everything above them come down to `futex`, which both call through `syscall`.
//!
//! [`boot`]: super::boot

use super::kernel::{self, On};
use super::real::{self, Routine};
use libc::{c_char, c_int, c_long, c_uint, c_void, clockid_t, pthread_attr_t, pthread_t, timespec};

fn nanoseconds(time: &timespec) -> u64 {
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

fn fail(error: c_int) -> c_long {
    // SAFETY: the C library gives each thread a place for it.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// The number and six arguments, as all architectures pass them to a function of variable arguments that gets integers.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    if kernel::is_mine() {
        if number == libc::SYS_futex {
            // SAFETY: the caller answers for the arguments of a futex call.
            return unsafe { futex(a as *const u32, b as c_int, c as u32, d as *const timespec) };
        }
        if number == libc::SYS_getrandom {
            // SAFETY: the caller answers for the buffer.
            return unsafe { getrandom(a as *mut c_void, b, c as c_uint) } as c_long;
        }
    }
    // SAFETY: passed on as it came.
    unsafe { real::syscall(number, [a, b, c, d, e, f]) }
}

unsafe fn futex(word: *const u32, operation: c_int, value: u32, timeout: *const timespec) -> c_long {
    let command = operation & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            // SAFETY: the caller waits at a word that it may read; one thread runs at a time.
            if unsafe { word.read_volatile() } != value {
                return fail(libc::EAGAIN);
            }
            // SAFETY: a timeout is null or can be read.
            let timeout = unsafe { timeout.as_ref() }.map(nanoseconds);
            let deadline = match command {
                libc::FUTEX_WAIT => timeout.map(|rest| kernel::time().saturating_add(rest)),
                _ => timeout,
            };
            if kernel::block(On::Word(word as usize), deadline) { 0 } else { fail(libc::ETIMEDOUT) }
        }
        libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => kernel::wake(word as usize, value) as c_long,
        other => unreachable!("nobody calls futex for {other}"),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let now = match clock {
        libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_MONOTONIC_RAW if kernel::is_mine() => {
            kernel::read_clock()
        }
        libc::CLOCK_REALTIME if kernel::is_mine() => kernel::read_wall_clock(),
        // SAFETY: passed on as it came.
        _ => return unsafe { real::clock_gettime(clock, time) },
    };
    let now = timespec { tv_sec: (now / 1_000_000_000) as i64, tv_nsec: (now % 1_000_000_000) as i64 };
    // SAFETY: the caller gave a place for it.
    unsafe { time.write(now) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int {
    if !kernel::is_mine() {
        // SAFETY: passed on as it came.
        return unsafe { real::nanosleep(time, rest) };
    }
    // SAFETY: the caller gave a time.
    let deadline = kernel::time().saturating_add(nanoseconds(unsafe { &*time }));
    kernel::block(On::Time, Some(deadline));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    _: clockid_t,
    flags: c_int,
    time: *const timespec,
    _: *mut timespec,
) -> c_int {
    assert!(kernel::is_mine(), "nobody sleeps before the machine runs");
    // SAFETY: the caller gave a time.
    let time = nanoseconds(unsafe { &*time });
    let from = if flags & libc::TIMER_ABSTIME == 0 { kernel::time() } else { 0 };
    kernel::block(On::Time, Some(from.saturating_add(time)));
    0
}

#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    if !kernel::is_mine() {
        return real::sched_yield();
    }
    kernel::give_way();
    0
}

/// The same in every run: it is written into files.
#[unsafe(no_mangle)]
extern "C" fn getpid() -> libc::pid_t {
    if kernel::is_mine() { 4242 } else { real::getpid() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(bytes: *mut c_void, length: usize, flags: c_uint) -> isize {
    if !kernel::is_mine() {
        // SAFETY: passed on as it came.
        return unsafe { real::getrandom(bytes, length, flags) };
    }
    if length > 0 {
        // SAFETY: the caller gave a buffer of that length.
        kernel::fill(unsafe { std::slice::from_raw_parts_mut(bytes.cast(), length) });
    }
    length as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: Routine,
    with: *mut c_void,
) -> c_int {
    if !kernel::is_mine() {
        // SAFETY: passed on as it came.
        return unsafe { real::pthread_create(thread, attributes, routine, with) };
    }
    // SAFETY: passed on as it came.
    match unsafe { kernel::spawn(attributes, routine, with) } {
        Ok(number) => {
            // SAFETY: the caller gave a place for it. The number stands for the thread: the system's may be used again.
            unsafe { thread.write(number as pthread_t) };
            0
        }
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    if !kernel::is_mine() {
        // SAFETY: passed on as it came.
        return unsafe { real::pthread_join(thread, value) };
    }
    let answer = kernel::join(thread as usize);
    if !value.is_null() {
        // SAFETY: the caller gave a place for it.
        unsafe { value.write(answer) };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    if !kernel::is_mine() {
        // SAFETY: passed on as it came.
        return unsafe { real::pthread_detach(thread) };
    }
    // The kernel lets every thread go when it has ended.
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
    if kernel::is_mine() {
        // SAFETY: a name ends with a zero.
        kernel::set_name(unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned());
    }
    // SAFETY: passed on as it came.
    unsafe { real::pthread_setname_np(thread, name) }
}
