//! Half-open ranges of keys, and etcd's `range_end` convention.

use crate::hidden::Hidden;
use bytes::Bytes;
use std::fmt;
use std::ops::Bound;

/// A set of keys: one key, or a half-open range of the byte order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

/// Where a range ends.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum End {
    /// The range is the start key alone.
    Single,
    /// Keys below this one.
    Before(Bytes),
    /// All keys from the start on.
    Open,
}

impl KeyRange {
    /// The range that holds `key` alone.
    pub fn single(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: End::Single }
    }

    /// Every key that begins with `prefix`. An empty prefix means every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        if start.is_empty() {
            return Self::all();
        }
        let end = match successor_of_prefix(&start) {
            Some(end) => End::Before(end),
            None => End::Open,
        };
        Self { start, end }
    }

    /// Keys in `[start, end)`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: End::Before(end.into()) }
    }

    /// Every key from `start` on.
    pub fn from(start: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: End::Open }
    }

    /// Every key. Starts at the smallest one that there can be: a key is never empty.
    pub fn all() -> Self {
        Self::from(Bytes::from_static(b"\0"))
    }

    /// Reads etcd's pair of fields: an empty `range_end` means the key alone, a single zero byte means every
    /// key from `key` on, anything else is an exclusive end. `key` = `range_end` = one zero byte is every key.
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = match &range_end[..] {
            [] => End::Single,
            [0] => End::Open,
            _ => End::Before(range_end),
        };
        Self { start: key, end }
    }

    /// The `range_end` field that [`from_wire`](Self::from_wire) reads back as this range.
    pub fn wire_end(&self) -> Bytes {
        match &self.end {
            End::Single => Bytes::new(),
            End::Open => Bytes::from_static(b"\0"),
            End::Before(end) => end.clone(),
        }
    }

    /// The first key that can be in the range.
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The end of the range as a bound for ordered maps. For a single key it is that key, included.
    pub fn end_bound(&self) -> Bound<&[u8]> {
        match &self.end {
            End::Single => Bound::Included(&self.start),
            End::Before(end) => Bound::Excluded(end),
            End::Open => Bound::Unbounded,
        }
    }

    /// Whether the range is one key by its form (not by its extent).
    pub fn is_single(&self) -> bool {
        self.end == End::Single
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == &self.start[..],
            End::Before(end) => key >= &self.start[..] && key < &end[..],
            End::Open => key >= &self.start[..],
        }
    }
}

/// The smallest key above every key that begins with `prefix`; `None` if there is none.
pub fn successor_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|&b| b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end.into())
}

// Keys never reach logs: `Debug` shows sizes only.
impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("KeyRange");
        shown.field("start", &Hidden(&self.start));
        match &self.end {
            End::Single => shown.finish(),
            End::Before(end) => shown.field("end", &Hidden(end)).finish(),
            End::Open => shown.finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_convention_round_trips() {
        for (end, text) in [(&b""[..], "single"), (b"\0", "open"), (b"b", "before")] {
            let range = KeyRange::from_wire(Bytes::from_static(b"a"), Bytes::copy_from_slice(end));
            assert_eq!(range.wire_end(), end, "{text}");
        }
        assert!(KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0")).contains(b"\xff"));
    }

    #[test]
    fn prefix_ends_at_the_next_key() {
        assert_eq!(KeyRange::prefix(&b"a\xff"[..]).wire_end(), &b"b"[..]);
        assert_eq!(KeyRange::prefix(&b"\xff\xff"[..]).wire_end(), &b"\0"[..]);
        assert_eq!(KeyRange::prefix(Bytes::new()), KeyRange::all());
        assert_eq!(KeyRange::all().wire_end(), &b"\0"[..]);
        assert!(!KeyRange::prefix(&b"ab"[..]).contains(b"ac"));
    }

    #[test]
    fn emptiness_is_by_order() {
        assert!(KeyRange::between(&b"b"[..], &b"a"[..]).is_empty());
        assert!(KeyRange::between(&b"a"[..], &b"a"[..]).is_empty());
        assert!(!KeyRange::single(&b"a"[..]).is_empty());
    }
}
