//! Records that are only looked at: what a database says of which something is damaged.
//!
//! With a manifest the units are those that it names. Without one they are those that have a footer. Of such a unit nobody
//! can say whether it counts, or was replaced and is being given back: its boxes go first, beginning with the first one, and
//! often what sealed it before. So one that lacks its first box, or the sealed file, is passed over.

use super::{InForce, NUMBER_BITS, PIECE_HEADER_BYTES, RecordRows, read_checkpoint, read_manifest};
use crate::format::header::FileKind;
use crate::io::Io;
use crate::seal::Keys;
use crate::sqlite::database::Database;
use crate::sqlite::manifest::Manifest;
use crate::sqlite::sealed::Sealed;
use crate::units::unit::{Unit, UnitEntry};
use coffer_core::storage::{Checking, Halt, StorageError};
use std::sync::Arc;

/// Records as far as they could be read.
pub(in crate::sqlite) struct Salvaged {
    pub(in crate::sqlite) rows: RecordRows,
    /// Whether a manifest says which units count.
    pub(in crate::sqlite) has_manifest: bool,
    /// Whether nothing was damaged so far.
    pub(in crate::sqlite) is_whole: bool,
}

impl RecordRows {
    /// As [`load`](Self::load), past everything that is damaged, which is told.
    pub(in crate::sqlite) fn salvage(
        database: Arc<Database>,
        keys: Keys,
        io: Arc<dyn Io>,
        checking: &mut Checking<'_>,
    ) -> Result<Salvaged, Halt> {
        let before = checking.damage();
        let kind = FileKind::SqliteState;
        let sealed = Sealed::salvage(database.clone(), keys, io.clone(), kind, None, checking)?;
        let manifest = checking.take(read_manifest(&database, &sealed))?;
        let has_manifest = manifest.is_some();
        let (generation, units_sealed, manifest) = manifest.unwrap_or_else(|| (0, 0, of_nobody()));
        let expected = has_manifest.then_some(manifest.checkpoint_generation);
        let has_checkpoint = match expected {
            Some(generation) => generation != 0,
            None => checking.take(has_checkpoint(&database))?.unwrap_or(false),
        };
        let checkpoint = match has_checkpoint {
            true => checking.take(read_checkpoint(&database, &sealed, expected))?,
            false => None,
        };
        let (checkpoint_sealed, checkpoint) = match checkpoint {
            Some((id, checkpoint)) => (id, Some(checkpoint)),
            None => (0, None),
        };
        let in_force =
            InForce { generation, sealed: [units_sealed, checkpoint_sealed], manifest, checkpoint };
        let rows = Self::new(database, sealed, io, in_force);
        Ok(Salvaged { rows, has_manifest, is_whole: checking.damage() == before })
    }

    /// The units that are there, for who has no manifest.
    pub(in crate::sqlite) fn units_there(&self, checking: &mut Checking<'_>) -> Result<Vec<Unit>, Halt> {
        let sql = "SELECT id, sealed, footer FROM units WHERE id > ?1 ORDER BY id LIMIT 1";
        let (mut units, mut after) = (Vec::new(), -1);
        loop {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?));
            let Some(Some((id, (sealed, footer)))) =
                checking.take(self.database.read_next(sql, after, row))?
            else {
                return Ok(units);
            };
            after = id;
            if self.sealed.sealer(sealed).is_ok()
                && checking.take(self.has_first_box(id))? == Some(true)
                && let Some(unit) = checking.take(self.open_unnamed(id as u64, footer))?
            {
                units.push(unit);
            }
        }
    }

    fn has_first_box(&self, unit: i64) -> Result<bool, StorageError> {
        let sql = "SELECT 1 FROM boxes WHERE id = ?1";
        Ok(self.database.read_row(sql, unit << NUMBER_BITS, |_| Ok(()))?.is_some())
    }

    /// Opens a unit whose footer is compared with nothing.
    fn open_unnamed(&self, id: u64, footer: Vec<u8>) -> Result<Unit, StorageError> {
        let footer_tag = footer.get(24..PIECE_HEADER_BYTES).and_then(|tag| tag.try_into().ok());
        let bytes = footer.len() as u64;
        self.open_unit(UnitEntry { id, bytes, footer_tag: footer_tag.unwrap_or_default() })
    }
}

/// Stands for a manifest that could not be read.
fn of_nobody() -> Manifest {
    Manifest {
        cluster_id: 0,
        member_id: 0,
        boot: 0,
        next_unit: 0,
        checkpoint_generation: 0,
        log_group: 0,
        units: Vec::new(),
    }
}

/// Whether there is a checkpoint, for who has no manifest that says so.
fn has_checkpoint(database: &Database) -> Result<bool, StorageError> {
    let sql = "SELECT 1 FROM manifest WHERE id = ?1";
    Ok(database.read_row(sql, super::CHECKPOINT_ROW, |_| Ok(()))?.is_some())
}
