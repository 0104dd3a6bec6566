//! Carries what older data keys sealed of the log over to the active one: a few rows per transaction, each in its place.
//!
//! A row keeps its number and its text; only the sealed file, the nonce and so all of the blob are others. First go the
//! rows that no longer count, then the groups from the first one on, then the base; and then the older keys are let go.
//!
//! # Crash behaviour
//! Each slice is one transaction. Whatever was done stays done; the next call, in this life or the next, finds the rest by
//! the sealed files that the rows name.

use super::super::database::PAGE_BYTES;
use super::super::sealed::Writing;
use super::{SqliteLog, delete_before, group_place};
use coffer_core::storage::{RewriteProgress, StorageError};
use rusqlite::OptionalExtension;

/// A group that is sealed anew: its sequence and its piece.
type Resealed = (u64, Vec<u8>);

impl SqliteLog {
    /// Does a slice of the rewriting.
    pub(super) fn rewrite_slice(&mut self, copy_bytes_max: u64) -> Result<RewriteProgress, StorageError> {
        let Some(below) = self.groups.sealed.outdated_below() else { return Ok(RewriteProgress::default()) };
        self.write_waiting_purge()?;
        if self.has_purged_rows {
            let first = self.first;
            let deleted = self.groups.database.transaction(|connection| delete_before(connection, first))?;
            self.has_purged_rows = deleted > 0;
            return self.progressed(below, 0);
        }
        let writing = self.groups.sealed.current()?;
        let (resealed, copied_bytes) = self.reseal(&writing, below, copy_bytes_max)?;
        if !resealed.is_empty() {
            self.replace(&writing, &resealed)?;
            return self.progressed(below, copied_bytes);
        }
        if self.groups.sealed.is_outdated(self.base_sealed) {
            self.write_base(false)?;
        }
        self.prune()?;
        Ok(RewriteProgress::default())
    }

    /// Seals the next groups anew that sealed files below `below` hold, until `copy_bytes_max` are reached. Returns them,
    /// and how many bytes they were.
    fn reseal(
        &self,
        writing: &Writing,
        below: i64,
        copy_bytes_max: u64,
    ) -> Result<(Vec<Resealed>, u64), StorageError> {
        let sql = "SELECT sequence, sealed, piece FROM groups WHERE sequence > ?1 AND sealed < ?2 \
                   ORDER BY sequence LIMIT 1";
        let (mut resealed, mut copied_bytes, mut after) = (Vec::new(), 0, 0);
        while copied_bytes < copy_bytes_max.max(1) {
            let row: Option<(i64, i64, Vec<u8>)> = self.groups.database.write("read", |connection| {
                let mut statement = connection.prepare_cached(sql)?;
                let row =
                    statement.query_row((after, below), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
                row.optional()
            })?;
            let Some((sequence, sealed, piece)) = row else { break };
            copied_bytes += piece.len() as u64;
            let place = group_place(sequence as u64);
            let text = self.groups.sealed.text(sealed, place, piece)?;
            let piece = writing.seal(place, |out| out.extend_from_slice(&text))?;
            resealed.push((sequence as u64, piece));
            after = sequence;
        }
        Ok((resealed, copied_bytes))
    }

    fn replace(&mut self, writing: &Writing, resealed: &[Resealed]) -> Result<(), StorageError> {
        self.groups.database.transaction(|connection| {
            let mut update =
                connection.prepare_cached("UPDATE groups SET sealed = ?2, piece = ?3 WHERE sequence = ?1")?;
            resealed.iter().try_for_each(|(sequence, piece)| {
                update.execute((*sequence as i64, writing.id(), piece.as_slice())).map(|_| ())
            })
        })?;
        let pages = |(_, piece): &Resealed| piece.len() as u64 + 4 * PAGE_BYTES;
        self.wrote(resealed.iter().map(pages).sum())
    }

    /// What is to be said after a slice that was not the last.
    fn progressed(&self, below: i64, copied_bytes: u64) -> Result<RewriteProgress, StorageError> {
        let sql = "SELECT sum(length(piece)) FROM groups WHERE sealed < ?1";
        let left: Option<i64> = self
            .groups
            .database
            .write("read", |connection| connection.query_row(sql, [below], |row| row.get(0)))?;
        Ok(RewriteProgress { copied_bytes, left_bytes: left.unwrap_or(0) as u64, more: true })
    }
}
