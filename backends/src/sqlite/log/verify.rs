//! Verification of the log's rows, while it is written and while it is closed.
//!
//! Looked at are the headers of the sealed files, the base, and every group from the first that counts on: that it is
//! there, its checksum, its tag and its steps. One row is read at a time, so that no checkpoint waits.

use super::{Base, Groups, Row, base_place, group_place};
use crate::groups::content::Reader;
use crate::groups::steps::each_step;
use crate::sqlite::progress::Progress;
use coffer_core::storage::{Checking, Finding, Halt, Inspector, LogEntry, LogReader, StorageError, ended};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Reads and verifies a log that its writer goes on with.
pub(super) struct SqliteReader {
    pub(super) entries: Reader<Row>,
    pub(super) groups: Arc<Groups>,
    pub(super) progress: Arc<Progress>,
}

impl LogReader for SqliteReader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.entries.read(range, bytes_max, visit)
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError> {
        let last = self.progress.group();
        let mut checking = Checking::new(inspector);
        checking.expect(self.entries.bytes());
        ended(self.groups.verify(Some(last), &mut checking))
    }
}

impl Groups {
    /// Checks everything up to group `last`, or to the last row.
    pub(in crate::sqlite) fn verify(
        &self,
        last: Option<u64>,
        checking: &mut Checking<'_>,
    ) -> Result<(), Halt> {
        if checking.is_alone() {
            checking.take(self.database.check_integrity())?;
        }
        self.sealed.verify(checking)?;
        let Some(base) = checking.take(self.base())? else { return Ok(()) };
        let last = match last {
            Some(last) => last,
            None => self.last_sequence()?.unwrap_or(base.known).max(base.known),
        };
        checking.checked(0)?;
        let mut next = base.first.max(1);
        while next <= last {
            let Some(read) = checking.take(self.read(next))? else {
                next += 1;
                continue;
            };
            match read {
                Some(bytes) => {
                    next += 1;
                    checking.checked(bytes)?;
                }
                // It may have been purged since.
                None => match checking.take(self.base())?.map(|base| base.first) {
                    Some(first) if first > next => next = first,
                    _ => {
                        let fault = self.database.corrupt(format!("log group {next}"), "no such row");
                        checking.found(Finding::Damage(fault));
                        // One finding for all that is missing in a row.
                        next = self.sequence_after(next)?.unwrap_or(last + 1);
                    }
                },
            }
        }
        Ok(())
    }

    /// Reads and checks the base.
    fn base(&self) -> Result<Base, StorageError> {
        let sql = "SELECT generation, sealed, piece FROM base WHERE id = ?1";
        let mut let_go = None;
        loop {
            let row = self.database.read_row(sql, 1, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let (generation, sealed, piece): (i64, i64, Vec<u8>) =
                row.ok_or_else(|| self.database.corrupt("the base of the log", "no such row"))?;
            match self.sealed.sealer(sealed) {
                Ok(_) => {}
                // Since it was read, it may have been written anew.
                Err(_) if let_go != Some(sealed) => {
                    let_go = Some(sealed);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let text = self.sealed.text(sealed, base_place(generation), piece)?;
            let malformed = |_| self.database.corrupt("the base of the log", "a malformed one");
            return Base::parse(&text).map_err(malformed);
        }
    }

    /// Reads and checks a group; returns its bytes, or `None` if there is no such row.
    fn read(&self, sequence: u64) -> Result<Option<u64>, StorageError> {
        let Some((sealer, mut piece)) = self.row(sequence)? else { return Ok(None) };
        let bytes = piece.len() as u64;
        let text = self.sealed.open(&sealer, group_place(sequence), &mut piece)?;
        let malformed =
            |_| self.database.corrupt(format!("log group {sequence}"), "malformed log operations");
        each_step(&piece[text], |_| ()).map_err(malformed)?;
        Ok(Some(bytes))
    }

    fn last_sequence(&self) -> Result<Option<u64>, StorageError> {
        let sql = "SELECT max(sequence) FROM groups WHERE sequence >= ?1";
        let last = self.database.read_row(sql, 0, |row| row.get::<_, Option<i64>>(0))?;
        Ok(last.flatten().map(|sequence| sequence as u64))
    }

    fn sequence_after(&self, sequence: u64) -> Result<Option<u64>, StorageError> {
        let sql = "SELECT sequence FROM groups WHERE sequence > ?1 ORDER BY sequence LIMIT 1";
        let next = self.database.read_row(sql, sequence as i64, |row| row.get::<_, i64>(0))?;
        Ok(next.map(|sequence| sequence as u64))
    }
}
