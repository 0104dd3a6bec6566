//! Verification of the log's rows, while it is written and while it is closed.
//!
//! Looked at are the headers of the sealed files, the base, and every group from the first that counts on: that it is
//! there, its checksum, its tag and its steps. One row is read at a time, so that no checkpoint waits. What cannot be read
//! is passed over: without a base every group that is there is looked at.

use super::{Base, Groups, Row, base_place, group_place};
use crate::groups::content::Reader;
use crate::groups::steps::each_step;
use crate::sqlite::integrity::verify_integrity;
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

/// Groups in a row that cannot be read, after which the rest is not looked for one by one any more.
const UNREAD_MAX: u64 = 1 << 17;

impl Groups {
    /// Checks everything up to group `last`, or to the last row.
    pub(in crate::sqlite) fn verify(
        &self,
        last: Option<u64>,
        checking: &mut Checking<'_>,
    ) -> Result<(), Halt> {
        if checking.is_alone() {
            verify_integrity(&self.database, checking)?;
        }
        self.sealed.verify(checking)?;
        let base = checking.take(self.base())?;
        checking.checked(0)?;
        let last = match last {
            Some(last) => last,
            None => {
                let known = base.as_ref().map_or(0, |base| base.known);
                checking.take(self.last_sequence())?.flatten().unwrap_or(known).max(known)
            }
        };
        let first = match base {
            Some(base) => base.first.max(1),
            // Nobody says which ones count: then all that are there.
            None => checking.take(self.sequence_after(0))?.flatten().unwrap_or(last.saturating_add(1)),
        };
        let mut unread = Unread::default();
        let verified = self.verify_groups(first, last, &mut unread, checking);
        unread.tell(self, checking);
        verified
    }

    fn verify_groups(
        &self,
        first: u64,
        last: u64,
        unread: &mut Unread,
        checking: &mut Checking<'_>,
    ) -> Result<(), Halt> {
        let mut next = first;
        while next <= last {
            match self.read(next) {
                Ok(Some(bytes)) => {
                    unread.tell(self, checking);
                    next += 1;
                    checking.checked(bytes)?;
                }
                // It may have been purged since.
                Ok(None) => match self.base() {
                    Ok(base) if base.first > next => next = base.first,
                    _ => {
                        let behind = match self.sequence_after(next) {
                            Ok(behind) => behind.unwrap_or(last.saturating_add(1)),
                            Err(_) => next + 1,
                        };
                        unread.add(next..behind, "no such row".into(), self, checking);
                        next = behind;
                    }
                },
                Err(StorageError::Corrupt { found, .. }) => {
                    unread.add(next..next + 1, found, self, checking);
                    next += 1;
                }
                Err(error) => {
                    _ = checking.take::<()>(Err(error))?;
                    next += 1;
                }
            }
            if unread.one_by_one > UNREAD_MAX {
                let fault = self
                    .database
                    .corrupt(format!("log groups {next} to {last}"), "too many that cannot be read");
                checking.found(Finding::Damage(fault));
                break;
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
                Err(error) => return self.database.naming(|| "the base of the log".into(), Err(error)),
            }
            let text = self.sealed.text(sealed, base_place(generation), piece);
            let text = self.database.naming(|| "the base of the log".into(), text)?;
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
        let next = self.database.read_next(sql, sequence as i64, |_| Ok(()))?;
        Ok(next.map(|(sequence, ())| sequence as u64))
    }
}

/// Groups in a row that cannot be read, all for one reason: one finding.
#[derive(Default)]
struct Unread {
    groups: Range<u64>,
    found: String,
    /// How many there were in a row, whatever the reason.
    one_by_one: u64,
}

impl Unread {
    /// Adds groups; tells of those before if these do not belong to them.
    fn add(&mut self, groups: Range<u64>, found: String, of: &Groups, checking: &mut Checking<'_>) {
        let one_by_one = self.one_by_one + 1;
        if self.groups.end == groups.start && self.found == found {
            self.groups.end = groups.end;
        } else {
            self.tell(of, checking);
            (self.groups, self.found) = (groups, found);
        }
        self.one_by_one = one_by_one;
    }

    /// Tells of them, if there are any.
    fn tell(&mut self, of: &Groups, checking: &mut Checking<'_>) {
        let Self { groups, found, .. } = std::mem::take(self);
        let expected = match groups.end - groups.start {
            0 => return,
            1 => format!("log group {}", groups.start),
            _ => format!("log groups {} to {}", groups.start, groups.end - 1),
        };
        checking.found(Finding::Damage(of.database.corrupt(expected, found)));
    }
}
