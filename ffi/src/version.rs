//! Which interface and which library this is.

use std::ffi::c_char;

/// The version of this interface. It changes when a program that was compiled against an older header would break, and is
/// part of the library's file name: libcoffer.so.COFFER_ABI_VERSION.
pub const COFFER_ABI_VERSION: u32 = 0;

/// The interface that the loaded library has: compare it with COFFER_ABI_VERSION, which the program was compiled with.
/// coffer_open() does so by itself.
///
/// Threads: any. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn coffer_abi_version() -> u32 {
    COFFER_ABI_VERSION
}

/// The version of the loaded library as text, such as "0.1.0". Lives for ever; not to be freed.
///
/// Threads: any. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn coffer_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
