//! Verification of the log's files, while it is written and while it is closed.
//!
//! Every file from the first that counts is read from its header to the last frame that counts: both copies of the
//! header, and each frame's checksums, tag, chain and steps. Behind a damaged frame the next one that is intact is looked
//! for, at every 4 KiB, so that one damage hides no other. What lies behind the last frame that counts means nothing, and
//! is not read.

use super::super::directory::{Directory, Suffix};
use super::at::FrameAt;
use super::frame::{FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, looks_like_frame_of};
use super::header::{HEADER_BLOCK_BYTES, LogHeader};
use super::recovery::{Frames, Held, apply, judge, open};
use super::{LogProgress, SegmentLog};
use crate::groups::content::Reader;
use crate::groups::steps::{Step, each_step};
use crate::io::OpenMode;
use crate::seal::{Sealing, Tag};
use coffer_core::storage::{
    Checking, Finding, Halt, Inspector, LogEntry, LogReader, LogState, StorageError, ended,
};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Reads and verifies a log that its writer goes on with.
pub(super) struct SegmentReader {
    entries: Reader<FrameAt>,
    files: Arc<RwLock<Vec<Held>>>,
    progress: Arc<LogProgress>,
    sealing: Sealing,
}

impl SegmentReader {
    pub(super) fn of(log: &SegmentLog) -> Self {
        Self {
            entries: Reader(log.content.clone()),
            files: log.published.clone(),
            progress: log.config.progress.clone(),
            sealing: log.config.sealing.clone(),
        }
    }

    fn verify_with(&self, checking: &mut Checking<'_>) -> Result<(), Halt> {
        // In this order, so that the files hold at least so much.
        let last = self.progress.acked.load(Ordering::Acquire);
        let newest = {
            let files = self.files.read();
            checking.expect(files.iter().map(|held| held.file.bytes).sum());
            files.last().map(|held| held.file.id)
        };
        let mut after = 0;
        // One file is held at a time: those before it may go, and those after it be replaced.
        while let Some((held, successor)) =
            self.next_file(after).filter(|(held, _)| Some(held.file.id) <= newest)
        {
            after = held.file.id;
            let end = match &successor {
                Some((sequence, _)) => *sequence,
                None => last,
            };
            let chain = successor.map(|(_, chain)| chain);
            verify_file(&held, end, chain, &self.sealing, checking)?;
        }
        Ok(())
    }

    /// The first file with an id above `after`, and where the one behind it goes on.
    fn next_file(&self, after: u64) -> Option<(Held, Option<(u64, Tag)>)> {
        let files = self.files.read();
        let at = files.iter().position(|held| held.file.id > after)?;
        let successor =
            files.get(at + 1).map(|next| (next.header.previous_sequence, next.header.previous_chain));
        Some((files[at].clone(), successor))
    }
}

impl LogReader for SegmentReader {
    fn read(
        &self,
        range: Range<u64>,
        bytes_max: u64,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.entries.read(range, bytes_max, visit)
    }

    fn verify(&self, inspector: &mut dyn Inspector) -> Result<(), StorageError> {
        ended(self.verify_with(&mut Checking::new(inspector)))
    }
}

/// Checks a file whose frames count up to the sequence `end`; the tag of that one is `chain`, if a file behind it says so.
pub(super) fn verify_file(
    held: &Held,
    end: u64,
    chain: Option<Tag>,
    sealing: &Sealing,
    checking: &mut Checking<'_>,
) -> Result<(), Halt> {
    verify_header(held, sealing, checking)?;
    let mut frames = Frames::new(held);
    let mut index = held.header.state.last.map(|last| last.index);
    let mut is_whole = true;
    while frames.sequence < end {
        let begin = frames.offset;
        let frame = match checking.take(frames.next())? {
            Some(Some(frame)) => frame,
            // It could not be read, or is not what it should be.
            unread => {
                is_whole = false;
                if unread.is_some() {
                    checking.found(Finding::Damage(missing(held, &frames, index)));
                }
                let found = resume(held, &mut frames, end)?;
                checking.checked(frames.offset - begin)?;
                if found { continue } else { break }
            }
        };
        let steps = each_step(&frame.body, |step| {
            index = match step {
                Step::Entry { id, .. } => Some(id.index),
                Step::Truncate(after) => after.map(|after| after.index),
                _ => index,
            }
        });
        if steps.is_err() {
            let expected = format!("log frame {}", frame.at.sequence);
            let fault = held.file.file.corrupt(frame.at.offset, expected, "malformed log operations");
            checking.found(Finding::Damage(fault));
        }
        checking.checked(frames.offset - begin)?;
    }
    if is_whole && chain.is_some_and(|chain| chain != frames.chain) {
        let expected = "the chain that the next log file continues";
        checking.found(Finding::Damage(held.file.file.corrupt(frames.offset, expected, "another")));
    }
    Ok(())
}

/// The damage that an acknowledged frame is not there.
fn missing(held: &Held, frames: &Frames<'_>, index: Option<u64>) -> StorageError {
    let sequence = frames.sequence + 1;
    let expected = match index {
        Some(index) => format!("acknowledged log frame {sequence}, which goes on after log index {index}"),
        None => format!("acknowledged log frame {sequence}, which begins the log"),
    };
    held.file.file.corrupt(frames.offset, expected, frames.fault)
}

/// Finds the next frame behind the one that is not intact, of this life of the file and up to `end`, and goes there.
fn resume(held: &Held, frames: &mut Frames<'_>, end: u64) -> Result<bool, StorageError> {
    let file = &held.file;
    let mut start = [0; FRAME_HEADER_BYTES];
    let behind = frames.offset + FRAME_ALIGNMENT as u64;
    for offset in (behind..file.bytes).step_by(FRAME_ALIGNMENT) {
        // What cannot be read either is passed over with the damage before it.
        let Ok(found) = file.file.read(&mut start, offset) else { continue };
        let Ok(header) = FrameHeader::decode(&start[..found], &file.sealer) else { continue };
        if header.sequence > frames.sequence + 1 && header.sequence <= end {
            (frames.offset, frames.sequence, frames.chain) = (offset, header.sequence - 1, header.chain);
            return Ok(true);
        }
    }
    frames.offset = file.bytes;
    Ok(false)
}

/// Checks both copies of a file's header.
fn verify_header(held: &Held, sealing: &Sealing, checking: &mut Checking<'_>) -> Result<(), Halt> {
    let file = &held.file;
    let mut block = vec![0; HEADER_BLOCK_BYTES];
    let Some(found) = checking.take(file.file.read(&mut block, 0))? else { return Ok(()) };
    let faults: Vec<_> = LogHeader::copies(&block[..found], sealing, file.id)
        .into_iter()
        .filter_map(|(offset, copy)| match copy {
            Ok((header, tag)) if header == held.header && tag == file.header_tag => None,
            Ok(_) => Some(file.file.corrupt(offset, "the header of this life of the file", "another")),
            Err(fault) => Some(file.file.corrupt(offset, "a log header", fault.found)),
        })
        .collect();
    let kind = if faults.len() > 1 { Finding::Damage } else { Finding::Weakened };
    faults.into_iter().for_each(|fault| checking.found(kind(fault)));
    checking.checked(HEADER_BLOCK_BYTES as u64)
}

/// Whether something stands behind the last frame that a process began to write there and did not finish.
pub(super) fn torn_tail(held: &Held, frames: &Frames<'_>) -> Result<Option<Finding>, StorageError> {
    let mut start = [0; FRAME_HEADER_BYTES];
    let found = held.file.file.read(&mut start, frames.offset)?;
    if !looks_like_frame_of(&start[..found], held.file.id) {
        return Ok(None);
    }
    let what =
        format!("the frame after {}, which was never acknowledged, has {}", frames.sequence, frames.fault);
    Ok(Some(Finding::Torn { path: held.file.file.path.clone(), offset: frames.offset, what }))
}

/// Looks at the log files of a closed store; returns what the log says, if opening it would not refuse it. `known` are a log
/// file that must be there, or have been replaced by a newer one, and a frame that was acknowledged.
pub(in crate::segment) fn inspect_log(
    directory: &Directory,
    sealing: &Sealing,
    names: &[(u64, Suffix)],
    known: (u64, u64),
    checking: &mut Checking<'_>,
) -> Result<Option<LogState>, Halt> {
    let (newest_known, acked_known) = known;
    let mut files = BTreeMap::new();
    for (id, _) in names.iter().filter(|name| name.1 == Suffix::Log) {
        if let Some(file) = checking.take(open(directory, sealing, *id, OpenMode::Read))? {
            files.insert(*id, file);
        }
    }
    let recovered = judge(directory, &files, newest_known, acked_known);
    let recovered = match recovered {
        Err(error @ (StorageError::Corrupt { .. } | StorageError::Io { .. })) => Err(error),
        Err(error) => return Err(error.into()),
        Ok(recovered) => Ok(recovered),
    };
    let chain: Vec<&Held> = match &recovered {
        Ok(recovered) => recovered.files.iter().collect(),
        // As much of it as can be told.
        Err(_) => files.values().filter_map(|file| file.held.as_ref().ok()).collect(),
    };
    checking.expect(chain.iter().map(|held| held.file.bytes).sum());
    let before = checking.damage();
    for (at, held) in chain.iter().enumerate() {
        let successor = chain.get(at + 1).map(|next| &next.header);
        let successor = successor.filter(|next| next.previous_file == held.file.id);
        match (successor, &recovered) {
            (Some(next), _) => {
                verify_file(held, next.previous_sequence, Some(next.previous_chain), sealing, checking)?;
            }
            (None, Ok(recovered)) => {
                verify_file(held, recovered.sequence, None, sealing, checking)?;
                let torn = end_of(held).and_then(|frames| torn_tail(held, &frames));
                if let Some(torn) = checking.take(torn)?.flatten() {
                    checking.found(torn);
                }
            }
            (None, Err(_)) => {
                let proven = checking.take(proven(held))?.unwrap_or(0).max(acked_known);
                verify_file(held, proven, None, sealing, checking)?;
            }
        }
    }
    match recovered {
        Ok(mut recovered) => {
            for frame in &recovered.tail {
                apply(&mut recovered.content, frame)?;
            }
            Ok(Some(recovered.content.state))
        }
        Err(error) => {
            if checking.damage() == before {
                checking.found(Finding::Damage(error));
            }
            Ok(None)
        }
    }
}

/// The end of the frames of a file that are intact.
fn end_of(held: &Held) -> Result<Frames<'_>, StorageError> {
    let mut frames = Frames::new(held);
    while frames.next()?.is_some() {}
    Ok(frames)
}

/// The last frame of this life of a file that some frame says was acknowledged.
fn proven(held: &Held) -> Result<u64, StorageError> {
    let file = &held.file;
    let mut start = [0; FRAME_HEADER_BYTES];
    let mut proven = held.header.copied_through;
    for offset in (HEADER_BLOCK_BYTES as u64..file.bytes).step_by(FRAME_ALIGNMENT) {
        let found = file.file.read(&mut start, offset)?;
        if let Ok(header) = FrameHeader::decode(&start[..found], &file.sealer) {
            proven = proven.max(if header.last { header.sequence } else { header.acked });
        }
    }
    Ok(proven)
}
