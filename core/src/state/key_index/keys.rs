//! A sorted list of byte strings in one buffer: the keys of a leaf, or the separators of an inner node.
//!
//! One buffer instead of a box per key saves about half of the memory and most of the cache misses of a search.

use std::cmp::Ordering;

/// A list may be this long. (Short in unit tests, so that small models have deep trees.)
pub(super) const KEYS_MAX: usize = if cfg!(test) { 8 } else { 64 };
/// A list of more than a few keys is full beyond this size, so that inserting beside huge keys stays cheap.
const BYTES_MAX: usize = if cfg!(test) { 256 } else { 32 << 10 };
/// So few keys make no list full, however long they are.
const KEYS_FEW: usize = 4;
/// Vectors grow and shrink in steps, not by doubling: the slack of a million leaves is what memory is lost to.
pub(super) const STEP: usize = 8;

/// Ascending byte strings.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// All strings, one after the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether one more should go elsewhere.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= KEYS_MAX || (self.bytes.len() >= BYTES_MAX && self.len() >= KEYS_FEW)
    }

    /// Whether both lists together would leave a quarter of the room free.
    pub(super) fn fits_with(&self, other: &Keys) -> bool {
        self.len() + other.len() <= KEYS_MAX / 4 * 3
            && self.bytes.len() + other.bytes.len() <= BYTES_MAX / 4 * 3
    }

    pub(super) fn get(&self, i: usize) -> &[u8] {
        &self.bytes[self.start(i)..self.ends[i] as usize]
    }

    pub(super) fn last(&self) -> Option<&[u8]> {
        Some(self.get(self.len().checked_sub(1)?))
    }

    fn start(&self, i: usize) -> usize {
        if i == 0 { 0 } else { self.ends[i - 1] as usize }
    }

    /// Where `key` is, or where it belongs.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// How many are below `key`.
    pub(super) fn below(&self, key: &[u8]) -> usize {
        self.search(key).unwrap_or_else(|i| i)
    }

    /// How many are below or equal to `key`.
    pub(super) fn up_to(&self, key: &[u8]) -> usize {
        self.search(key).map_or_else(|i| i, |i| i + 1)
    }

    /// Appends a string that is above all others.
    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(end(self.bytes.len()));
    }

    /// Inserts `key` at position `i`, where it belongs.
    pub(super) fn insert(&mut self, i: usize, key: &[u8]) {
        let (start, old) = (self.start(i), self.bytes.len());
        let step = key.len().max(old / STEP);
        make_room(&mut self.bytes, key.len(), step);
        self.bytes.resize(old + key.len(), 0);
        self.bytes.copy_within(start..old, start + key.len());
        self.bytes[start..start + key.len()].copy_from_slice(key);
        make_room(&mut self.ends, 1, STEP);
        self.ends.insert(i, end(start));
        for at in &mut self.ends[i..] {
            *at = end(*at as usize + key.len());
        }
    }

    /// Takes out the string at `i`.
    pub(super) fn remove(&mut self, i: usize) {
        let (start, stop) = (self.start(i), self.ends[i] as usize);
        self.bytes.drain(start..stop);
        self.ends.remove(i);
        for at in &mut self.ends[i..] {
            *at -= (stop - start) as u32;
        }
        self.trim();
    }

    /// Keeps the strings at positions that `keep` approves of.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let (mut kept, mut kept_bytes, mut start) = (0, 0, 0);
        for i in 0..self.len() {
            let stop = self.ends[i] as usize;
            if keep(i) {
                self.bytes.copy_within(start..stop, kept_bytes);
                kept_bytes += stop - start;
                self.ends[kept] = end(kept_bytes);
                kept += 1;
            }
            start = stop;
        }
        self.bytes.truncate(kept_bytes);
        self.ends.truncate(kept);
        self.trim();
    }

    /// Takes out the last string.
    pub(super) fn pop(&mut self) -> Option<Box<[u8]>> {
        let start = self.start(self.len().checked_sub(1)?);
        let last = self.bytes.split_off(start);
        self.ends.pop();
        Some(last.into())
    }

    /// Cuts the list; returns what lay from `i` on.
    pub(super) fn split_off(&mut self, i: usize) -> Keys {
        let start = self.start(i);
        let bytes = self.bytes.split_off(start);
        let mut ends = self.ends.split_off(i);
        for at in &mut ends {
            *at -= start as u32;
        }
        self.trim();
        Keys { bytes, ends }
    }

    /// Appends a list whose strings are all above these.
    pub(super) fn append(&mut self, other: &Keys) {
        let base = self.bytes.len();
        self.bytes.reserve_exact(other.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.reserve_exact(other.len());
        self.ends.extend(other.ends.iter().map(|&at| end(base + at as usize)));
    }

    /// Moves the strings into a list without slack; this one stays, empty, with its room.
    pub(super) fn take_compact(&mut self) -> Keys {
        let taken = Keys { bytes: self.bytes.as_slice().into(), ends: self.ends.as_slice().into() };
        self.bytes.clear();
        self.ends.clear();
        taken
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    fn trim(&mut self) {
        let slack = self.bytes.len() / STEP;
        trim(&mut self.bytes, slack);
        trim(&mut self.ends, STEP);
    }
}

/// An offset into the buffer.
fn end(at: usize) -> u32 {
    u32::try_from(at).expect("a list is split long before 4 GiB, and no request is that large")
}

/// Makes room for `count` more elements, `step` at a time.
pub(super) fn make_room<T>(list: &mut Vec<T>, count: usize, step: usize) {
    if list.capacity() - list.len() < count {
        list.reserve_exact(count.max(step));
    }
}

/// Gives back room beyond `slack` unused elements, if that is worth a move.
pub(super) fn trim<T>(list: &mut Vec<T>, slack: usize) {
    if list.capacity() > list.len() + 2 * slack {
        list.shrink_to(list.len() + slack);
    }
}

/// The shortest string above `left` and not above `right`, where `left < right`.
pub(super) fn separator(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let common = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    right[..right.len().min(common + 1)].into()
}
