//! Whether what a closed store holds makes sense as a whole: log, records and state against each other, and the history of
//! every key. Nothing is written, and no node is started.
//!
//! That each stored piece is what was written is the backends' matter ([`Records::verify`]); this is about what is missing
//! where each piece is intact.
//!
//! # What must hold
//! - `purged <= applied <= last`: the log goes on where the records end. (After an installed snapshot the records may be
//!   ahead of the log, which the next opening then purges.)
//! - After the compact revision every revision is there, and every change within it.
//! - The records of a key follow each other in version and creation; only what a compaction may have dropped is missing.
//! - The state can be read, and live keys hang on leases that are there: what opening needs.
//!
//! Keys are not named: findings go to logs.

use super::opening::load_state;
use super::restore::Audit;
use super::values::ValueStore;
use super::{hash_content, opening};
use crate::error::Error;
use crate::revision::Revision;
use crate::state::key_index::{follows, is_one_missing};
use crate::storage::{Checkpoint, DirectoryEntry, Finding, Inspector, LogState, Records, StorageError};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Compares what was found intact in the store at `path`; tells `inspector` of what does not fit. `log` is what its log
/// says, if that is known. Returns what the records say as a whole, if that can be told.
///
/// # Errors
/// A fault of the medium.
pub fn check(
    path: &Path,
    log: Option<&LogState>,
    records: &Arc<dyn Records>,
    inspector: &mut dyn Inspector,
) -> Result<Option<Audit>, Error> {
    let checkpoint = records.checkpoint();
    let mut found = 0;
    let mut tell = |expected: String, wrong: String| {
        found += 1;
        inspector.found(damage(path, expected, wrong));
    };
    if let Some(log) = log
        && let Some(wrong) = opening::gap_between(log, checkpoint.as_ref().map(|it| it.applied))
    {
        tell("a log that goes on where the records end".into(), wrong);
    }
    if let Some(checkpoint) = &checkpoint {
        check_records(checkpoint, records.as_ref(), &mut tell)?;
    }
    let audited = audit(records, inspector);
    match audited {
        Ok(audit) => Ok(audit),
        // What does not load is most likely what was told already.
        Err(Error::Corrupt(_)) if found > 0 => Ok(None),
        Err(Error::Corrupt(wrong)) => {
            inspector.found(damage(path, "a state that can be loaded".into(), wrong));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn damage(path: &Path, expected: String, found: String) -> Finding {
    Finding::Damage(StorageError::Corrupt { path: path.to_owned(), offset: 0, expected, found })
}

/// Loads the state as a node would, and hashes the content; `None` if the inspector ended it.
fn audit(records: &Arc<dyn Records>, inspector: &mut dyn Inspector) -> Result<Option<Audit>, Error> {
    let state = load_state(records.as_ref())?;
    let reader = state.reader();
    let values = ValueStore::new(records.clone(), 0);
    let mut goes_on = || inspector.checked(0).is_continue();
    let (hash, compact_revision, revision) = match hash_content(&reader, &values, 0, &mut goes_on) {
        Err(Error::Stopped) => return Ok(None),
        hashed => hashed?,
    };
    let (keys, leases) = (reader.keys_live(), reader.lease_count() as u64);
    Ok(Some(Audit { hash, revision, compact_revision, keys, leases }))
}

/// Walks the key directory: the history of each key, and which revisions there are.
fn check_records(
    checkpoint: &Checkpoint,
    records: &dyn Records,
    tell: &mut dyn FnMut(String, String),
) -> Result<(), Error> {
    let Checkpoint { revision, compact_revision, .. } = *checkpoint;
    if revision < Revision::FRESH || !(0..=revision).contains(&compact_revision) {
        let wrong = format!("revision {revision}, compacted at {compact_revision}");
        tell("a revision and a compact revision before it".into(), wrong);
    }
    let mut last: Option<(Vec<u8>, DirectoryEntry)> = None;
    let mut revisions: Vec<Revision> = Vec::new();
    records.directory(&mut |key, entry| {
        let before = last.as_ref().filter(|(of, _)| of == key).map(|(_, before)| {
            let put = (!before.tombstone).then_some((before.create_revision, before.version));
            (before.revision.main, follows(put, entry))
        });
        if is_one_missing(before, entry, compact_revision) {
            tell(
                format!("what a key was right before its change at revision {}", entry.revision),
                format!("a gap, though nothing after revision {compact_revision} was compacted"),
            );
        }
        if entry.revision.main > compact_revision {
            revisions.push(entry.revision);
        }
        match &mut last {
            Some((of, before)) if of == key => *before = entry.clone(),
            last => *last = Some((key.to_vec(), entry.clone())),
        }
        ControlFlow::Continue(())
    })?;
    revisions.sort_unstable();
    // The first change is that of revision 2.
    let mut whole_to = Revision { main: compact_revision.max(Revision::FRESH), sub: u32::MAX };
    for found in revisions {
        let follows = match found.sub {
            0 => found.main == whole_to.main + 1,
            sub => found.main == whole_to.main && sub.checked_sub(1) == Some(whole_to.sub),
        };
        if !follows {
            tell(
                format!("every change after revision {}", shown(whole_to)),
                format!("that of revision {found} as the next one"),
            );
        }
        whole_to = found;
    }
    if whole_to.main != revision {
        let expected = format!("changes up to revision {revision}, as the checkpoint has it");
        tell(expected, format!("the end after revision {}", shown(whole_to)));
    }
    Ok(())
}

fn shown(revision: Revision) -> String {
    if revision.sub == u32::MAX { revision.main.to_string() } else { revision.to_string() }
}
