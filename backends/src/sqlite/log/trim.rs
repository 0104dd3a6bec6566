//! Gives back what the log does not need, one small transaction at a time: the rows of purged groups, then free pages of the
//! database, then the WAL.
//!
//! As much stays as was written since the last time, because as much will be written before the next: pages that are
//! given back and taken again cost a change of the file's length with a sync. A log that is hardly written to ends with a
//! WAL of no length.
//!
//! # Crash behaviour
//! Each slice is a transaction of SQLite, and what it gives back was purged durably by the one before or in it.

use super::super::database::PAGE_BYTES;
use super::{SqliteLog, delete_before};
use coffer_core::storage::StorageError;

/// Bytes of the database that stay in any case.
const KEPT_BYTES: u64 = 2 << 20;
/// Pages that one slice gives back.
const SLICE_PAGES: u64 = 64;
/// The WAL is cut where less than this was written since the last time.
const QUIET_BYTES: u64 = 1 << 20;

impl SqliteLog {
    /// Does a slice. Returns whether there is more to do.
    pub(super) fn trim_slice(&mut self) -> Result<bool, StorageError> {
        if self.purge_waits {
            self.write_waiting_purge()?;
            self.wrote(PAGE_BYTES)?;
            return Ok(true);
        }
        if self.has_purged_rows {
            let first = self.first;
            let deleted = self.groups.database.transaction(|connection| delete_before(connection, first))?;
            self.has_purged_rows = deleted > 0;
            self.wrote(deleted as u64 * PAGE_BYTES)?;
            if !self.has_purged_rows {
                // What is not needed stays until the next time.
                self.prune().inspect_err(|_| self.has_purged_rows = true)?;
            }
            return Ok(true);
        }
        if self.give_back_pages()? {
            return Ok(true);
        }
        let appended = std::mem::take(&mut self.appended);
        if appended < QUIET_BYTES {
            self.cut_wal()?;
        }
        Ok(false)
    }

    /// Gives back some free pages, if there are more than are kept. Returns whether it did.
    fn give_back_pages(&mut self) -> Result<bool, StorageError> {
        let (pages, free) = self.groups.database.pages()?;
        let kept = self.appended.max(KEPT_BYTES) / PAGE_BYTES;
        let count = pages.saturating_sub(kept).min(free).min(SLICE_PAGES);
        if count == 0 {
            return Ok(false);
        }
        self.groups.database.give_back_pages(count)?;
        self.wrote(2 * count * PAGE_BYTES)?;
        // A database that was made before free pages could be given back keeps them.
        Ok(self.groups.database.pages()?.0 < pages)
    }
}
