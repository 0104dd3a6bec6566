//! The operations of one group as bytes: what a log frame, or the row of a group, holds.
//!
//! A body is a sequence of steps. Numbers are LEB128, an id is term and index.
//!
//! | step | content |
//! |---|---|
//! | 1 | entry: id, kind (0 blank, 1 normal, 2 membership) one byte, payload length, payload |
//! | 2 | truncate: 1 and the id of the last entry that stays, or 0 |
//! | 3 | hard state: term, flags (1 voted, 2 vote committed) one byte, the vote if voted |
//! | 4 | committed: id |
//! | 5 | purged: id |

use crate::format::wire::{Malformed, Reader, put_bytes, put_number};
use bytes::Bytes;
use coffer_core::storage::{EntryKind, HardState, LogEntry, LogId, LogOp};
use std::ops::Range;

/// One step of a body. An entry's payload is its place in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Entry { id: LogId, kind: EntryKind, payload: Range<usize> },
    Truncate(Option<LogId>),
    HardState(HardState),
    Committed(LogId),
    Purged(LogId),
}

/// Appends the steps of operations to a body.
pub(crate) fn put_ops(body: &mut Vec<u8>, ops: &[LogOp]) {
    for op in ops {
        match op {
            LogOp::Append(entries) => entries.iter().for_each(|entry| put_entry(body, entry)),
            LogOp::Truncate { after } => {
                body.push(2);
                body.push(after.is_some().into());
                if let Some(after) = after {
                    put_id(body, *after);
                }
            }
            LogOp::SaveHardState(state) => {
                body.push(3);
                put_number(body, state.term);
                body.push(u8::from(state.voted_for.is_some()) | u8::from(state.vote_committed) << 1);
                if let Some(vote) = state.voted_for {
                    put_number(body, vote);
                }
            }
        }
    }
}

pub(crate) fn put_entry(body: &mut Vec<u8>, entry: &LogEntry) {
    body.push(1);
    put_id(body, entry.id);
    body.push(match entry.kind {
        EntryKind::Blank => 0,
        EntryKind::Normal => 1,
        EntryKind::Membership => 2,
    });
    put_bytes(body, &entry.payload);
}

pub(crate) fn put_committed(body: &mut Vec<u8>, id: LogId) {
    body.push(4);
    put_id(body, id);
}

pub(crate) fn put_purged(body: &mut Vec<u8>, id: LogId) {
    body.push(5);
    put_id(body, id);
}

fn put_id(body: &mut Vec<u8>, id: LogId) {
    put_number(body, id.term);
    put_number(body, id.index);
}

/// Visits the steps of a body.
pub(crate) fn each_step(body: &[u8], mut visit: impl FnMut(Step)) -> Result<(), Malformed> {
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        visit(step(&mut reader)?);
    }
    Ok(())
}

fn step(reader: &mut Reader<'_>) -> Result<Step, Malformed> {
    Ok(match reader.u8()? {
        1 => {
            let id = id(reader)?;
            let kind = match reader.u8()? {
                0 => EntryKind::Blank,
                1 => EntryKind::Normal,
                2 => EntryKind::Membership,
                _ => return Err(Malformed),
            };
            let bytes = reader.bytes()?.len();
            Step::Entry { id, kind, payload: reader.position() - bytes..reader.position() }
        }
        2 => Step::Truncate(match reader.u8()? {
            0 => None,
            1 => Some(id(reader)?),
            _ => return Err(Malformed),
        }),
        3 => {
            let term = reader.number()?;
            let flags = reader.u8()?;
            if flags > 3 {
                return Err(Malformed);
            }
            let voted_for = if flags & 1 != 0 { Some(reader.number()?) } else { None };
            Step::HardState(HardState { term, voted_for, vote_committed: flags & 2 != 0 })
        }
        4 => Step::Committed(id(reader)?),
        5 => Step::Purged(id(reader)?),
        _ => return Err(Malformed),
    })
}

fn id(reader: &mut Reader<'_>) -> Result<LogId, Malformed> {
    Ok(LogId { term: reader.number()?, index: reader.number()? })
}

/// The entries of `indexes` that a body leaves in the log. They share its memory.
pub(crate) fn entries_of(body: &Bytes, indexes: &Range<u64>) -> Result<Vec<LogEntry>, Malformed> {
    let mut entries: Vec<LogEntry> = Vec::new();
    each_step(body, |step| {
        if let Step::Entry { id, kind, payload } = step {
            // An entry that comes again was truncated in between, within this group.
            while entries.last().is_some_and(|last| last.id.index >= id.index) {
                entries.pop();
            }
            if indexes.contains(&id.index) {
                entries.push(LogEntry { id, kind, payload: body.slice(payload) });
            }
        }
    })?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>) {
            let _ = each_step(&body, |_| {});
        }
    }
}
