//! One piece of memory for all keys and values of an answer, wiped when it goes.

use crate::bytes::coffer_bytes;
use std::ptr;
use zeroize::Zeroize;

/// Bytes that never move, and that callers point into. As long as it was made, and no longer.
#[derive(Debug)]
pub(crate) struct Arena {
    start: *mut u8,
    capacity: usize,
    used: usize,
}

// SAFETY: it owns its memory alone; the pointer refers to nothing of a thread.
unsafe impl Send for Arena {}
// SAFETY: a shared arena is only read, by whoever holds what it was filled with.
unsafe impl Sync for Arena {}

impl Arena {
    /// Room for so many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let start = match capacity {
            0 => ptr::null_mut(),
            _ => {
                let room: Box<[u8]> = vec![0; capacity].into_boxed_slice();
                Box::into_raw(room).cast::<u8>()
            }
        };
        Self { start, capacity, used: 0 }
    }

    /// Copies bytes into it, where they stay until it is dropped.
    ///
    /// # Panics
    /// If it was made with less room than it is asked for.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> coffer_bytes {
        if bytes.is_empty() {
            return coffer_bytes { data: ptr::null(), len: 0 };
        }
        assert!(bytes.len() <= self.capacity - self.used, "room was made for every byte");
        // SAFETY: `used` is at most `capacity`, so that this is inside of the memory, which is not null: it has room.
        let to = unsafe { self.start.add(self.used) };
        // SAFETY: there is room for them, as was asserted, which nobody else refers to.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        self.used += bytes.len();
        coffer_bytes { data: to, len: bytes.len() }
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.start.is_null() {
            return;
        }
        let room = ptr::slice_from_raw_parts_mut(self.start, self.capacity);
        // SAFETY: this is what `new` took out of its box, and it is put back once.
        let mut room = unsafe { Box::from_raw(room) };
        room[..self.used].zeroize();
        wiped(&room);
    }
}

#[cfg(not(test))]
fn wiped(_room: &[u8]) {}

#[cfg(test)]
fn wiped(room: &[u8]) {
    assert!(room.iter().all(|byte| *byte == 0), "what is given back is wiped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_where_they_are() {
        let mut arena = Arena::new(7);
        let (first, second, none) = (arena.copy(b"abc"), arena.copy(b"defg"), arena.copy(b""));
        let moved = arena;
        // SAFETY: the arena lives, and so do its bytes.
        let (first, second) = unsafe { (first.borrow(), second.borrow()) };
        assert_eq!((first, second), (Ok(&b"abc"[..]), Ok(&b"defg"[..])));
        assert_eq!((none.len, none.data.is_null()), (0, true));
        drop(moved);
        drop(Arena::new(0));
    }

    #[test]
    #[should_panic(expected = "room was made")]
    fn no_more_than_it_has_room_for() {
        Arena::new(3).copy(b"abcd");
    }
}
