//! The directories of several units as one, streamed block by block.
//!
//! Each unit is a cursor on its current line; a heap keeps the smallest in front. While one unit's keys lie below
//! all others', moving on costs two comparisons and no move.

use super::codec::{Line, take_line};
use super::unit::{Unit, give_way};
use crate::format::wire::Reader;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{DirectoryEntry, StorageError};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Visits every line ascending by key, then by revision, with the number of its unit.
pub(crate) fn merge(
    units: &[Arc<Unit>],
    mut visit: impl FnMut(usize, &[u8], &Line) -> ControlFlow<()>,
) -> Result<(), StorageError> {
    let mut heap = Vec::with_capacity(units.len());
    for (number, unit) in units.iter().enumerate() {
        let mut cursor = Box::new(Cursor::new(number, unit));
        if cursor.advance()? {
            heap.push(cursor);
        }
    }
    for at in (0..heap.len() / 2).rev() {
        sift_down(&mut heap, at);
    }
    while let Some(cursor) = heap.first_mut() {
        if visit(cursor.number, &cursor.key, &cursor.line).is_break() {
            return Ok(());
        }
        if !cursor.advance()? {
            heap.swap_remove(0);
        }
        sift_down(&mut heap, 0);
    }
    Ok(())
}

/// Visits those of `keys`, which are ascending, that a unit has a line for.
pub(crate) fn find_keys<'k>(
    unit: &Unit,
    keys: impl Iterator<Item = &'k [u8]>,
    mut found: impl FnMut(&'k [u8]),
) -> Result<(), StorageError> {
    let mut cursor = Cursor::new(0, unit);
    let mut more = false;
    for key in keys {
        let block = unit.block_number(key);
        if !more || cursor.next_block <= block {
            cursor.seek(block);
            more = cursor.advance()?;
        }
        while more && *cursor.key < *key {
            more = cursor.advance()?;
        }
        if more && *cursor.key == *key {
            found(key);
        }
    }
    Ok(())
}

fn sift_down(heap: &mut [Box<Cursor<'_>>], mut at: usize) {
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && heap[child + 1].is_before(&heap[child]) {
            child += 1;
        }
        if !heap[child].is_before(&heap[at]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// A place in the directory of one unit.
struct Cursor<'a> {
    number: usize,
    unit: &'a Unit,
    block: Vec<u8>,
    next_block: usize,
    /// Where the next line stands in the block.
    at: usize,
    lines_left: u64,
    first_main: i64,
    key: Vec<u8>,
    line: Line,
}

impl<'a> Cursor<'a> {
    fn new(number: usize, unit: &'a Unit) -> Self {
        let entry = DirectoryEntry {
            revision: Revision::default(),
            create_revision: 0,
            version: 0,
            lease: LeaseId::NONE,
            tombstone: false,
            value_bytes: 0,
        };
        Self {
            number,
            unit,
            block: Vec::new(),
            next_block: 0,
            at: 0,
            lines_left: 0,
            first_main: unit.first().main,
            key: Vec::new(),
            line: Line { entry, box_number: 0, hash: 0 },
        }
    }

    fn is_before(&self, other: &Self) -> bool {
        match self.key.cmp(&other.key) {
            std::cmp::Ordering::Equal => self.line.entry.revision < other.line.entry.revision,
            order => order.is_lt(),
        }
    }

    /// Goes before the first line of a block.
    fn seek(&mut self, block: usize) {
        self.next_block = block;
        self.lines_left = 0;
    }

    /// Moves to the next line; `false` at the end.
    fn advance(&mut self) -> Result<bool, StorageError> {
        while self.lines_left == 0 {
            if self.next_block == self.unit.blocks.len() {
                return Ok(false);
            }
            self.load()?;
        }
        let mut reader = Reader::new(&self.block[self.at..]);
        let line = take_line(&mut reader, &mut self.key, self.first_main);
        self.at += reader.position();
        self.lines_left -= 1;
        self.line = line.map_err(|_| self.malformed())?;
        Ok(true)
    }

    fn load(&mut self) -> Result<(), StorageError> {
        give_way();
        let text = self.unit.read_directory_block(self.next_block, &mut self.block)?;
        self.next_block += 1;
        let mut reader = Reader::new(&self.block[text.clone()]);
        self.lines_left = reader.number().map_err(|_| self.malformed())?;
        self.at = text.start + reader.position();
        self.key.clear();
        Ok(())
    }

    fn malformed(&self) -> StorageError {
        self.unit.malformed_directory(self.next_block - 1, "malformed lines")
    }
}
