//! What the log files say at opening.
//!
//! 1. The newest file with a valid header that is complete as far as it repeats older content is the last one. It
//!    names the file before it, and so on, until a file that needs none or whose predecessors were purged.
//! 2. Every file but the last must hold, intact and chained, all frames that its successor counts.
//! 3. In the last file frames are read up to the first that is not intact. If anything behind it proves that this
//!    frame was once acknowledged, it rotted: the store is refused. Otherwise it was never finished: a torn tail.
//! 4. Frames that a later frame says were acknowledged are the content. The rest, at most the last group, may or
//!    may not have been: it is handed back as the tail, which the log copies to a new file and syncs before
//!    anything else happens. What was read from a page cache is thus on the medium before it counts.
//!
//! What cannot be told: if the very last group of a process that did not close its log rots, no later frame exists,
//! and no manifest was written after it, it looks like a torn tail.

use super::super::directory::{Directory, StoreFile, Suffix, file_name};
use super::at::{FrameAt, LogFile};
use super::frame::{FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, looks_like_frame_of};
use super::header::{HEADER_BLOCK_BYTES, LogHeader, NoHeader};
use crate::format::corrupt;
use crate::groups::content::Content;
use crate::groups::steps::each_step;
use crate::io::OpenMode;
use crate::seal::{Sealing, Tag};
use coffer_core::storage::StorageError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A file of the log, with what the log held before it.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) file: Arc<LogFile>,
    pub(super) header: LogHeader,
}

/// What was found.
#[derive(Default)]
pub(super) struct Recovered {
    /// Everything that is known to have been acknowledged.
    pub(super) content: Content<FrameAt>,
    /// The files that hold it, oldest first.
    pub(super) files: VecDeque<Held>,
    /// The last acknowledged frame.
    pub(super) sequence: u64,
    /// Its tag.
    pub(super) chain: Tag,
    /// Frames after it that are intact.
    pub(super) tail: Vec<TailFrame>,
    /// Log files that mean nothing any more.
    pub(super) leftovers: Vec<String>,
    /// The highest boot number found.
    pub(super) boot: u64,
}

/// A frame that may not have been acknowledged.
pub(super) struct TailFrame {
    pub(super) body: Vec<u8>,
    pub(super) at: FrameAt,
}

/// Reads the log files `ids`. `newest_known` is a log file that must exist, or have been replaced by a newer one;
/// `acked_known` a frame that was acknowledged.
pub(super) fn recover(
    directory: &Directory,
    sealing: &Sealing,
    ids: &[u64],
    newest_known: u64,
    acked_known: u64,
) -> Result<Recovered, StorageError> {
    let mut files = BTreeMap::new();
    for &id in ids {
        // For writing, because it may be recycled.
        files.insert(id, open(directory, sealing, id, OpenMode::Write)?);
    }
    judge(directory, &files, newest_known, acked_known)
}

/// As [`recover`], of files that are open.
pub(super) fn judge(
    directory: &Directory,
    files: &BTreeMap<u64, Candidate>,
    newest_known: u64,
    acked_known: u64,
) -> Result<Recovered, StorageError> {
    let boot = files.values().filter_map(|file| file.held.as_ref().ok()).map(|held| held.header.boot).max();
    let Some(last) = find_last(files)? else {
        return empty(directory, files, newest_known);
    };
    if last < newest_known {
        let path = directory.file_path(&file_name(newest_known, Suffix::Log));
        return Err(corrupt(&path, 0, "the newest log file", "nothing that belongs to the log"));
    }
    let chain = chain_of(files, last)?;
    let mut recovered = replay(files, &chain, acked_known)?;
    check_purged(&recovered, files, directory)?;
    recovered.boot = boot.unwrap_or(0);
    let unused = files.keys().filter(|id| !chain.contains(id));
    recovered.leftovers = unused.map(|id| file_name(*id, Suffix::Log)).collect();
    Ok(recovered)
}

/// A file that may be one of the log.
pub(super) struct Candidate {
    file: StoreFile,
    bytes: u64,
    id: u64,
    pub(super) held: Result<Held, NoHeader>,
}

pub(super) fn open(
    directory: &Directory,
    sealing: &Sealing,
    id: u64,
    mode: OpenMode,
) -> Result<Candidate, StorageError> {
    let file = directory.open(&file_name(id, Suffix::Log), mode)?;
    let bytes = file.len()?;
    let mut block = vec![0; HEADER_BLOCK_BYTES];
    let found = file.read(&mut block, 0)?;
    let held = LogHeader::decode(&block[..found], sealing, id).map(|(header, sealer, tag)| {
        let file = Arc::new(LogFile { id, file: file.clone(), sealer, header_tag: tag, bytes });
        Held { file, header }
    });
    Ok(Candidate { file, bytes, id, held })
}

/// The newest file that began. Newer ones are refused if they hold anything that was acknowledged.
fn find_last(files: &BTreeMap<u64, Candidate>) -> Result<Option<u64>, StorageError> {
    for (id, candidate) in files.iter().rev() {
        match &candidate.held {
            Ok(held) if began(held)? => return Ok(Some(*id)),
            Ok(_) => {}
            Err(fault) => candidate.refuse_if_used(&fault.found)?,
        }
    }
    Ok(None)
}

/// Whether a file holds all the older content that it is to repeat.
fn began(held: &Held) -> Result<bool, StorageError> {
    let mut frames = Frames::new(held);
    while frames.sequence < held.header.copied_through {
        if frames.next()?.is_none() {
            frames.refuse_if_acknowledged()?;
            return Ok(false);
        }
    }
    Ok(true)
}

impl Candidate {
    /// A file without a valid header was never used, unless it holds more than the frame that is written together
    /// with the header.
    fn refuse_if_used(&self, found: &str) -> Result<(), StorageError> {
        let mut start = [0; FRAME_HEADER_BYTES];
        let mut frames = 0;
        for offset in (HEADER_BLOCK_BYTES as u64..self.bytes).step_by(FRAME_ALIGNMENT) {
            self.file.read(&mut start, offset)?;
            frames += u32::from(looks_like_frame_of(&start, self.id));
            if frames > 1 {
                return Err(self.file.corrupt(0, "a log header", found));
            }
        }
        Ok(())
    }
}

/// The files of the log that ends with `last`, oldest first.
fn chain_of(files: &BTreeMap<u64, Candidate>, last: u64) -> Result<VecDeque<u64>, StorageError> {
    let mut chain = VecDeque::new();
    let mut next = last;
    while let Some(candidate) = files.get(&next) {
        let held = match &candidate.held {
            Ok(held) => held,
            // It was given back, and a power cut took that back; whether it could be is looked at later.
            Err(fault) if fault.key_is_gone && !chain.is_empty() => break,
            Err(fault) => return Err(candidate.file.corrupt(0, "a log header", &fault.found)),
        };
        chain.push_front(next);
        // Predecessors have smaller ids; anything else is no chain.
        if held.header.previous_file >= next {
            break;
        }
        next = held.header.previous_file;
    }
    Ok(chain)
}

fn replay(
    files: &BTreeMap<u64, Candidate>,
    chain: &VecDeque<u64>,
    acked_known: u64,
) -> Result<Recovered, StorageError> {
    let mut recovered = Recovered::default();
    let held = |id: &u64| files.get(id).and_then(|candidate| candidate.held.as_ref().ok());
    for (position, id) in chain.iter().enumerate() {
        let Some(held) = held(id) else { continue };
        if position == 0 {
            recovered.content = Content::new(held.header.state);
        }
        let successor = chain.get(position + 1).and_then(|id| files.get(id)?.held.as_ref().ok());
        match successor {
            Some(successor) => replay_whole(held, &successor.header, &mut recovered.content)?,
            None => replay_last(held, &mut recovered, acked_known)?,
        }
        recovered.files.push_back(Held { file: held.file.clone(), header: held.header.clone() });
    }
    Ok(recovered)
}

/// Reads a file that has a successor: every frame up to the one that the successor names was acknowledged.
fn replay_whole(
    held: &Held,
    successor: &LogHeader,
    content: &mut Content<FrameAt>,
) -> Result<(), StorageError> {
    let mut frames = Frames::new(held);
    while frames.sequence < successor.previous_sequence {
        match frames.next()? {
            Some(frame) => apply(content, &frame)?,
            None => return Err(frames.corrupt()),
        }
    }
    if frames.chain != successor.previous_chain {
        return Err(held.file.file.corrupt(
            frames.offset,
            "the chain that the next log file continues",
            "another",
        ));
    }
    Ok(())
}

fn replay_last(held: &Held, recovered: &mut Recovered, acked_known: u64) -> Result<(), StorageError> {
    let mut frames = Frames::new(held);
    (recovered.sequence, recovered.chain) = (frames.sequence, frames.chain);
    let mut tail: Vec<(TailFrame, Tag)> = Vec::new();
    while let Some(frame) = frames.next()? {
        take_acknowledged(&mut tail, frames.acked, recovered)?;
        tail.push((frame, frames.chain));
        take_acknowledged(&mut tail, acked_known, recovered)?;
    }
    frames.refuse_if_acknowledged()?;
    if frames.sequence < acked_known {
        return Err(frames.corrupt());
    }
    recovered.tail =
        tail.into_iter().map(|(frame, _)| frame).filter(|frame| !frame.body.is_empty()).collect();
    Ok(())
}

/// Takes the frames up to the sequence `acked`.
fn take_acknowledged(
    tail: &mut Vec<(TailFrame, Tag)>,
    acked: u64,
    recovered: &mut Recovered,
) -> Result<(), StorageError> {
    for (frame, tag) in tail.extract_if(.., |(frame, _)| frame.at.sequence <= acked) {
        (recovered.sequence, recovered.chain) = (frame.at.sequence, tag);
        apply(&mut recovered.content, &frame)?;
    }
    Ok(())
}

/// Takes the steps of a frame.
pub(super) fn apply(content: &mut Content<FrameAt>, frame: &TailFrame) -> Result<(), StorageError> {
    each_step(&frame.body, |step| content.step(&step, &frame.at)).map_err(|_| {
        let expected = format!("log frame {}", frame.at.sequence);
        frame.at.file.file.corrupt(frame.at.offset, expected, "malformed log operations")
    })
}

/// Reads the frames of a file in order.
pub(super) struct Frames<'a> {
    held: &'a Held,
    /// Where the next frame stands.
    pub(super) offset: u64,
    /// The last frame read.
    pub(super) sequence: u64,
    pub(super) chain: Tag,
    /// What the last frame read says was acknowledged.
    acked: u64,
    /// Why there is no next frame.
    pub(super) fault: &'static str,
}

impl<'a> Frames<'a> {
    pub(super) fn new(held: &'a Held) -> Self {
        let (sequence, chain) = (held.header.previous_sequence, held.file.header_tag);
        let offset = HEADER_BLOCK_BYTES as u64;
        Self { held, offset, sequence, chain, acked: sequence, fault: "" }
    }

    /// The next frame, or `None` where no intact frame of this log follows.
    pub(super) fn next(&mut self) -> Result<Option<TailFrame>, StorageError> {
        match self.read()? {
            Ok((header, body)) => {
                let at = FrameAt {
                    file: self.held.file.clone(),
                    offset: self.offset,
                    bytes: header.frame_bytes as u32,
                    sequence: header.sequence,
                };
                self.offset += header.frame_bytes as u64;
                self.sequence = header.sequence;
                self.chain = header.tag();
                // A log that was closed in order had no group under way.
                self.acked = if header.last { header.sequence } else { header.acked };
                Ok(Some(TailFrame { body, at }))
            }
            Err(fault) => {
                self.fault = fault;
                Ok(None)
            }
        }
    }

    fn read(&self) -> Result<Result<(FrameHeader, Vec<u8>), &'static str>, StorageError> {
        let file = &self.held.file;
        let mut start = [0; FRAME_HEADER_BYTES];
        let found = file.file.read(&mut start, self.offset)?;
        let header = match FrameHeader::decode(&start[..found], &file.sealer) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        if header.sequence != self.sequence + 1 || header.chain != self.chain {
            return Ok(Err("a frame of another place in the log"));
        }
        if self.offset + header.frame_bytes as u64 > file.bytes {
            return Ok(Err("a cut frame"));
        }
        let mut frame = vec![0; header.frame_bytes];
        file.file.read_exact(&mut frame, self.offset)?;
        let body = header.open_body(&mut frame, &file.sealer, self.offset).map(<[u8]>::to_vec);
        Ok(body.map(|body| (header, body)))
    }

    /// Looks behind the end for a frame of this life of the file that says that what is missing was acknowledged.
    fn refuse_if_acknowledged(&self) -> Result<(), StorageError> {
        let file = &self.held.file;
        let mut start = [0; FRAME_HEADER_BYTES];
        let behind = self.offset + FRAME_ALIGNMENT as u64;
        for offset in (behind..file.bytes).step_by(FRAME_ALIGNMENT) {
            let found = file.file.read(&mut start, offset)?;
            let header = FrameHeader::decode(&start[..found], &file.sealer);
            if header.is_ok_and(|header| header.acked > self.sequence) {
                return Err(self.corrupt());
            }
        }
        Ok(())
    }

    fn corrupt(&self) -> StorageError {
        let expected = format!("acknowledged log frame {}", self.sequence + 1);
        self.held.file.file.corrupt(self.offset, expected, self.fault)
    }
}

/// A log may begin with a file that has predecessors only if those were purged.
fn check_purged(
    recovered: &Recovered,
    files: &BTreeMap<u64, Candidate>,
    directory: &Directory,
) -> Result<(), StorageError> {
    let Some(first) = recovered.files.front() else { return Ok(()) };
    let previous = first.header.previous_file;
    let key_is_gone = |candidate: &Candidate| matches!(&candidate.held, Err(fault) if fault.key_is_gone);
    if previous == 0 || files.get(&previous).is_some_and(|candidate| !key_is_gone(candidate)) {
        return Ok(());
    }
    // The watermark that let the predecessor go was synced, but maybe nothing was written after it.
    let mut purged = recovered.content.state.purged.map(|id| id.index);
    for frame in &recovered.tail {
        let mut content = Content::new(recovered.content.state);
        apply(&mut content, frame)?;
        purged = purged.max(content.state.purged.map(|id| id.index));
    }
    if first.header.state.last.map(|id| id.index) <= purged {
        return Ok(());
    }
    let path = directory.file_path(&file_name(previous, Suffix::Log));
    let found = files.get(&previous).and_then(|candidate| candidate.held.as_ref().err());
    let found = found.map_or("no such file", |fault| fault.found.as_str());
    Err(corrupt(&path, 0, "a log file that is still needed", found))
}

/// No file began: right for a store that was never used, and for nothing else.
fn empty(
    directory: &Directory,
    files: &BTreeMap<u64, Candidate>,
    newest_known: u64,
) -> Result<Recovered, StorageError> {
    if newest_known != 0 {
        let path = directory.file_path(&file_name(newest_known, Suffix::Log));
        return Err(corrupt(&path, 0, "the newest log file", "nothing that belongs to the log"));
    }
    let leftovers = files.keys().map(|id| file_name(*id, Suffix::Log)).collect();
    Ok(Recovered { leftovers, ..Recovered::default() })
}
