//! Reading what callers pass.

use crate::bytes::{
    COFFER_RANGE_ALL, COFFER_RANGE_BETWEEN, COFFER_RANGE_FROM, COFFER_RANGE_KEY, COFFER_RANGE_PREFIX,
    coffer_bytes, coffer_key_range,
};
use crate::failure::Failure;
use crate::status::{COFFER_BAD_SIZE, COFFER_NULL, COFFER_REQUEST_TOO_LARGE};
use bytes::Bytes;
use coffer::KeyRange;
use std::ffi::{CStr, c_char};
use zeroize::Zeroizing;

/// No store takes more in one request, so that more is not even copied.
const BYTES_MAX: usize = 64 << 20;

/// A struct of the interface that begins with its size.
///
/// # Safety
/// `repr(C)`; its first field is a `u32`; every bit pattern is a value of it.
pub(crate) unsafe trait Sized32: Copy {}

/// Reads a struct that must be there.
///
/// # Safety
/// `pointer` is null, or points to a `T`, or at least to a size that is not that of a `T`.
pub(crate) unsafe fn sized<T: Sized32>(pointer: *const T) -> Result<T, Failure> {
    if pointer.is_null() {
        return Err(Failure::plain(COFFER_NULL, "a pointer is NULL that must not be"));
    }
    // SAFETY: by the contract of the trait there is a u32 at the beginning, of whatever struct this is.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() };
    if size as usize != size_of::<T>() {
        let text = format!("a struct has the size {size}, and {} is known", size_of::<T>());
        return Err(Failure::text(COFFER_BAD_SIZE, text));
    }
    // SAFETY: it is a whole `T`, as its size says.
    Ok(unsafe { pointer.read_unaligned() })
}

/// Reads a struct that may be missing.
///
/// # Safety
/// As [`sized`].
pub(crate) unsafe fn optional<T: Sized32>(pointer: *const T) -> Result<Option<T>, Failure> {
    // SAFETY: the caller's contract is the same.
    if pointer.is_null() { Ok(None) } else { unsafe { sized(pointer) }.map(Some) }
}

/// A pointer that the call writes through.
pub(crate) fn out<T>(pointer: *mut T) -> Result<*mut T, Failure> {
    match pointer.is_null() {
        true => Err(Failure::plain(COFFER_NULL, "a pointer is NULL that must not be")),
        false => Ok(pointer),
    }
}

/// Refuses flags that nobody knows.
pub(crate) fn flags(given: u32, known: u32) -> Result<(), Failure> {
    if given & !known == 0 { Ok(()) } else { Err(Failure::argument("a flag is set that is not known")) }
}

/// Borrows a string.
///
/// # Safety
/// `text` is null or ends with a zero byte, and lives as long as it is used.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::plain(COFFER_NULL, "a string is NULL that must not be"));
    }
    // SAFETY: the caller says that it ends with a zero byte and lives for 'a.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument("a string is not UTF-8"))
}

impl coffer_bytes {
    /// Borrows them.
    ///
    /// # Safety
    /// `data` points to `len` bytes, which live as long as they are used and do not change.
    pub(crate) unsafe fn borrow<'a>(self) -> Result<&'a [u8], Failure> {
        if self.len == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() {
            return Err(Failure::plain(COFFER_NULL, "bytes that are not none have NULL data"));
        }
        if self.len > BYTES_MAX {
            return Err(Failure::plain(COFFER_REQUEST_TOO_LARGE, "no store takes as many bytes"));
        }
        // SAFETY: the caller says so, and they are fewer than isize::MAX.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.len) })
    }

    /// A copy of them, which is wiped when nobody needs it any more.
    ///
    /// # Safety
    /// As [`borrow`](Self::borrow), for the call.
    pub(crate) unsafe fn copy(self) -> Result<Bytes, Failure> {
        // SAFETY: the caller's contract is the same.
        let bytes = unsafe { self.borrow() }?;
        Ok(if bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(Zeroizing::new(bytes.to_vec())) })
    }
}

// SAFETY: repr(C), begins with a u32, holds integers and raw pointers only.
unsafe impl Sized32 for coffer_key_range {}

impl coffer_key_range {
    /// Copies the range behind a pointer.
    ///
    /// # Safety
    /// As [`sized`] and [`coffer_bytes::borrow`], for the call.
    pub(crate) unsafe fn copy(range: *const Self) -> Result<KeyRange, Failure> {
        // SAFETY: the caller says that the pointer is good, and so the bytes behind it.
        let (range, start, end) = unsafe {
            let range = sized(range)?;
            (range, range.start.copy()?, range.end.copy()?)
        };
        if range.kind != COFFER_RANGE_BETWEEN && !end.is_empty() {
            return Err(Failure::argument("a range has an `end` that its kind has no use for"));
        }
        Ok(match range.kind {
            COFFER_RANGE_KEY => KeyRange::single(start),
            COFFER_RANGE_PREFIX if !start.is_empty() => KeyRange::prefix(start),
            COFFER_RANGE_BETWEEN if end.is_empty() => {
                return Err(Failure::argument("a range has no `end`: COFFER_RANGE_FROM needs none"));
            }
            COFFER_RANGE_BETWEEN => KeyRange::between(or_first(start), end),
            COFFER_RANGE_ALL if !start.is_empty() => {
                return Err(Failure::argument("a range of every key has a `start`"));
            }
            COFFER_RANGE_PREFIX | COFFER_RANGE_FROM | COFFER_RANGE_ALL => KeyRange::from(or_first(start)),
            _ => return Err(Failure::argument("a range is of no known kind")),
        })
    }
}

/// No key is empty: the first is one zero byte.
fn or_first(start: Bytes) -> Bytes {
    if start.is_empty() { Bytes::from_static(b"\0") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{COFFER_INVALID_ARGUMENT, coffer_status};

    fn bytes(bytes: &[u8]) -> coffer_bytes {
        coffer_bytes { data: bytes.as_ptr(), len: bytes.len() }
    }

    fn read(kind: u32, start: &[u8], end: &[u8]) -> Result<KeyRange, coffer_status> {
        let size = size_of::<coffer_key_range>() as u32;
        let range = coffer_key_range { size, kind, start: bytes(start), end: bytes(end) };
        // SAFETY: the struct and what it refers to live for the call.
        unsafe { coffer_key_range::copy(&range) }.map_err(|failure| failure.status)
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let holds = |kind, start: &[u8], end: &[u8], key: &[u8]| {
            read(kind, start, end).expect("it makes sense").contains(key)
        };
        assert!(holds(COFFER_RANGE_KEY, b"a", b"", b"a") && !holds(COFFER_RANGE_KEY, b"a", b"", b"ab"));
        assert!(holds(COFFER_RANGE_PREFIX, b"a", b"", b"ab") && !holds(COFFER_RANGE_PREFIX, b"a", b"", b"b"));
        assert!(
            holds(COFFER_RANGE_BETWEEN, b"a", b"c", b"b") && !holds(COFFER_RANGE_BETWEEN, b"a", b"c", b"c")
        );
        assert!(holds(COFFER_RANGE_FROM, b"b", b"", b"c") && !holds(COFFER_RANGE_FROM, b"b", b"", b"a"));
        for key in [&b"\0"[..], b"a", b"\xff\xff"] {
            assert!(holds(COFFER_RANGE_ALL, b"", b"", key));
            assert!(holds(COFFER_RANGE_PREFIX, b"", b"", key));
            assert!(holds(COFFER_RANGE_FROM, b"", b"", key));
        }
        assert!(holds(COFFER_RANGE_BETWEEN, b"", b"b", b"a"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (kind, start, end) in [
            (COFFER_RANGE_KEY, &b"a"[..], &b"b"[..]),
            (COFFER_RANGE_BETWEEN, b"a", b""),
            (COFFER_RANGE_ALL, b"a", b""),
            (9, b"a", b""),
        ] {
            assert_eq!(read(kind, start, end), Err(COFFER_INVALID_ARGUMENT), "{kind}");
        }
        let none = coffer_bytes { data: std::ptr::null(), len: 1 };
        let huge = coffer_bytes { data: b"a".as_ptr(), len: usize::MAX };
        // SAFETY: neither is read.
        let refused = unsafe { [none.borrow(), huge.borrow()] };
        let refused = refused.map(|outcome| outcome.map_err(|failure| failure.status));
        assert_eq!(refused, [Err(COFFER_NULL), Err(COFFER_REQUEST_TOO_LARGE)]);
        let short = coffer_key_range { size: 8, kind: 0, start: bytes(b"a"), end: bytes(b"") };
        // SAFETY: the struct lives for the call.
        let short = unsafe { coffer_key_range::copy(&short) };
        assert_eq!(short.map_err(|failure| failure.status), Err(COFFER_BAD_SIZE));
    }
}
