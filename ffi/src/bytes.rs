//! Bytes and ranges of keys, as callers pass them.

/// Some bytes. `data` may be NULL if `len` is 0. Binary: zero bytes are as good as others.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

/// The key `start`, and no other.
pub const COFFER_RANGE_KEY: u32 = 0;
/// Every key that begins with `start`. An empty `start` means every key.
pub const COFFER_RANGE_PREFIX: u32 = 1;
/// The keys from `start` on, below `end`.
pub const COFFER_RANGE_BETWEEN: u32 = 2;
/// The keys from `start` on.
pub const COFFER_RANGE_FROM: u32 = 3;
/// Every key. `start` and `end` must be empty.
pub const COFFER_RANGE_ALL: u32 = 4;

/// Some keys. Passed by pointer, and borrowed for the call with the bytes that it names.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_key_range {
    /// sizeof(coffer_key_range).
    pub size: u32,
    /// One of COFFER_RANGE_*.
    pub kind: u32,
    /// The key, the prefix, or the first key.
    pub start: coffer_bytes,
    /// The first key above COFFER_RANGE_BETWEEN; else empty.
    pub end: coffer_bytes,
}
