//! Verification of the units of a store, one after the other: every piece, the directory against the records, and what
//! stands around them.
//!
//! A unit is held while it is read, and no longer: one that is replaced meanwhile is read where its records went to.
//! Damage of one piece hides what depends on it and nothing else.

use super::UnitRecords;
use super::codec::{Line, take_line};
use super::medium::Medium;
use super::unit::Unit;
use crate::format::wire::Reader;
use coffer_core::record::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{Checking, Finding, Halt, Inspector, StorageError, ended};
use std::ops::Range;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

impl<M: Medium> UnitRecords<M> {
    /// Checks everything; returns how many records are intact.
    pub(super) fn verify_all(&self, inspector: &mut dyn Inspector) -> Result<u64, StorageError> {
        let (mut checking, mut intact) = (Checking::new(inspector), 0);
        ended(self.verify_with(&mut checking, &mut intact))?;
        Ok(intact)
    }

    fn verify_with(&self, checking: &mut Checking<'_>, intact: &mut u64) -> Result<(), Halt> {
        let units = self.view().units;
        checking.expect(units.iter().map(|unit| unit.entry.bytes).sum());
        let end = units.last().map(|unit| unit.last);
        drop(units);
        self.medium.verify(checking)?;
        let mut after = None;
        while after < end {
            let units = self.view().units;
            let at = units.partition_point(|unit| Some(unit.last) <= after);
            let Some(unit) = units.get(at).cloned() else { break };
            drop(units);
            if Some(unit.first()) > end {
                break;
            }
            let before = after.replace(unit.last);
            verify_unit(&unit, before, checking, intact)?;
        }
        Ok(())
    }
}

/// Checks a unit, and counts those of its records after `after` that are intact.
pub(crate) fn verify_unit(
    unit: &Unit,
    after: Option<Revision>,
    checking: &mut Checking<'_>,
    intact: &mut u64,
) -> Result<(), Halt> {
    checking.take(unit.verify_frame())?;
    let mut stored = Stored::default();
    for (number, at) in unit.boxes.iter().enumerate() {
        let read = unit.read_box(number).and_then(|block| stored.add(unit, number, &block.records));
        match checking.take(read)? {
            None => stored.lost.push(number as u32),
            Some(()) => {
                let added = &stored.records[stored.records.len() - at.records as usize..];
                *intact += added.iter().filter(|(revision, _)| Some(*revision) > after).count() as u64;
            }
        }
        checking.checked(at.bytes.into())?;
    }
    if stored.lost.is_empty() {
        checking.take(stored.check_footer(unit))?;
    }
    let mut listed = Listed::default();
    let mut is_whole = true;
    for number in 0..unit.blocks.len() {
        let lines = listed.read(unit, number);
        match checking.take(lines)? {
            None => is_whole = false,
            Some(lines) => {
                for wrong in lines.into_iter().filter_map(|line| stored.compare(unit, number, line)) {
                    checking.found(Finding::Damage(wrong));
                    is_whole = false;
                }
            }
        }
        checking.checked(unit.blocks[number].bytes.into())?;
    }
    // Each line is of one record and no two of the same, so that nothing is missing if there are as many.
    if is_whole && stored.lost.is_empty() && listed.lines != stored.records.len() as u64 {
        let found = "another number of records";
        checking.found(Finding::Damage(unit.malformed_directory(0, found)));
    }
    Ok(())
}

/// The records of the boxes that could be read: their revisions, ascending, and what the directory should say of them.
#[derive(Default)]
struct Stored {
    records: Vec<(Revision, u64)>,
    /// Boxes that could not be read.
    lost: Vec<u32>,
}

impl Stored {
    /// Takes the records of a box; they come after those of the boxes before.
    fn add(&mut self, unit: &Unit, number: usize, records: &[Record]) -> Result<(), StorageError> {
        let mut last = self.records.last().map(|(last, _)| *last);
        for record in records {
            if last >= Some(record.revision) {
                return Err(unit.wrong_record(record.revision, "one that is out of order"));
            }
            last = Some(record.revision);
        }
        let digest = |record: &Record| digest(&record.key, &Line::of(record, number as u32));
        self.records.extend(records.iter().map(|record| (record.revision, digest(record))));
        Ok(())
    }

    /// Compares with what the footer says of all records.
    fn check_footer(&self, unit: &Unit) -> Result<(), StorageError> {
        let last = self.records.last().map(|(last, _)| *last);
        if self.records.len() as u64 == unit.records && last.is_none_or(|last| last == unit.last) {
            return Ok(());
        }
        Err(unit.wrong_record(unit.last, "a footer that counts other records"))
    }

    /// What is wrong with a line of directory block `number`, if anything is.
    fn compare(&self, unit: &Unit, number: usize, line: ListedLine) -> Option<StorageError> {
        match self.records.binary_search_by_key(&line.revision, |(revision, _)| *revision) {
            Ok(at) if self.records[at].1 == line.digest => None,
            Ok(_) => Some(unit.wrong_record(line.revision, "another")),
            Err(_) if self.lost.contains(&line.box_number) => None,
            Err(_) => Some(unit.malformed_directory(
                number,
                &format!("a line for revision {}, which is not stored", line.revision),
            )),
        }
    }
}

/// A line of the directory, as far as it is compared.
struct ListedLine {
    revision: Revision,
    box_number: u32,
    digest: u64,
}

/// The lines of the directory blocks that could be read.
#[derive(Default)]
struct Listed {
    lines: u64,
    key: Vec<u8>,
    revision: Option<Revision>,
    block: Vec<u8>,
}

impl Listed {
    /// Reads a block. Its lines come after those of the blocks before.
    fn read(&mut self, unit: &Unit, number: usize) -> Result<Vec<ListedLine>, StorageError> {
        let text = unit.read_directory_block(number, &mut self.block)?;
        let block = std::mem::take(&mut self.block);
        let lines = self.parse(unit, number, &block, text);
        self.block = block;
        lines.map_err(|found| unit.malformed_directory(number, found))
    }

    fn parse(
        &mut self,
        unit: &Unit,
        number: usize,
        block: &[u8],
        text: Range<usize>,
    ) -> Result<Vec<ListedLine>, &'static str> {
        let malformed = |_| "malformed lines";
        let mut reader = Reader::new(&block[text]);
        let count = reader.number().map_err(malformed)?;
        let mut key = Vec::new();
        let mut lines = Vec::new();
        for at in 0..count {
            let line = take_line(&mut reader, &mut key, unit.first().main).map_err(malformed)?;
            if at == 0 && *key != *unit.blocks[number].first_key {
                return Err("another first key than the footer has");
            }
            let revision = line.entry.revision;
            if self.revision.is_some_and(|last| (&self.key, last) >= (&key, revision)) {
                return Err("lines that do not ascend");
            }
            (self.revision, _) = (Some(revision), self.key.clone_from(&key));
            lines.push(ListedLine { revision, box_number: line.box_number, digest: digest(&key, &line) });
        }
        self.lines += count;
        if reader.is_empty() { Ok(lines) } else { Err("more than its lines") }
    }
}

/// Everything that a line says.
fn digest(key: &[u8], line: &Line) -> u64 {
    let entry = &line.entry;
    let numbers = [
        entry.revision.main,
        entry.revision.sub.into(),
        entry.create_revision,
        entry.version,
        entry.lease.0,
        entry.tombstone.into(),
        entry.value_bytes.into(),
        line.box_number.into(),
        line.hash as i64,
    ];
    let mut fixed = [0; 72];
    for (bytes, number) in fixed.chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    xxh3_64_with_seed(key, xxh3_64(&fixed))
}
