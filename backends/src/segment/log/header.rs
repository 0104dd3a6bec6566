//! The first 4 KiB of a log file: everything that the log needs to go on without the files before it.
//!
//! The block of [`crate::format::header`] stands at offset 0 and, as the same bytes, at 2048, so that one rotten
//! sector costs nothing. Its fields, from offset 80:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 80 | 8 | boot number of the process that wrote the file |
//! | 88 | 8 | id of the file before it; 0 if this one needs none |
//! | 96 | 8 | sequence of the last frame of that file that counts; this file begins with the next |
//! | 104 | 16 | tag of that frame |
//! | 120 | 8 | sequence through which this file repeats older content: unless they are all there, it never began |
//! | 128 | 26 | hard state: term 8, vote present 1, vote 8, vote committed 1, zero 8 |
//! | 154 | 17 | purge watermark: present 1, term 8, index 8 |
//! | 171 | 17 | last log id before the first frame, likewise |
//! | 188 | 17 | a committed log id, likewise |
//!
//! All of it is the state before the file's first frame.

use crate::format::header::{FileKind, HEADER_BYTES, Header, HeaderFault, open_header, seal_header};
use crate::format::wire::{Malformed, Reader};
use crate::seal::{Nonce, SealRefused, Sealer, Sealing, Tag};
use coffer_core::storage::{HardState, LogId, LogState};

/// Bytes before the first frame.
pub(super) const HEADER_BLOCK_BYTES: usize = 4096;
const COPY_OFFSET: usize = 2048;

/// What a log file says of what came before its first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogHeader {
    pub(super) boot: u64,
    pub(super) previous_file: u64,
    pub(super) previous_sequence: u64,
    pub(super) previous_chain: Tag,
    pub(super) copied_through: u64,
    pub(super) state: LogState,
}

/// Why a log file has no header that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoHeader {
    /// What was found instead.
    pub(super) found: String,
    /// It is one, under a data key that was destroyed: which no file that is still needed was sealed with.
    pub(super) key_is_gone: bool,
}

/// One of the two copies of a header: what it says and its tag, or why it says nothing.
pub(super) type HeaderCopy = Result<(LogHeader, Tag), NoHeader>;

impl From<&str> for NoHeader {
    fn from(found: &str) -> Self {
        Self { found: found.into(), key_is_gone: false }
    }
}

impl LogHeader {
    /// Writes the block over the first 4 KiB of `out`; returns the tag that the first frame chains to.
    pub(super) fn encode(&self, sealer: &Sealer, nonce: Nonce, out: &mut [u8]) -> Tag {
        let mut fields = Vec::with_capacity(128);
        fields.extend_from_slice(&self.boot.to_le_bytes());
        fields.extend_from_slice(&self.previous_file.to_le_bytes());
        fields.extend_from_slice(&self.previous_sequence.to_le_bytes());
        fields.extend_from_slice(&self.previous_chain);
        fields.extend_from_slice(&self.copied_through.to_le_bytes());
        let hard = &self.state.hard_state;
        fields.extend_from_slice(&hard.term.to_le_bytes());
        fields.push(hard.voted_for.is_some().into());
        fields.extend_from_slice(&hard.voted_for.unwrap_or(0).to_le_bytes());
        fields.push(hard.vote_committed.into());
        fields.extend_from_slice(&[0; 8]);
        for id in [self.state.purged, self.state.last, self.state.committed] {
            fields.push(id.is_some().into());
            fields.extend_from_slice(&id.unwrap_or_default().term.to_le_bytes());
            fields.extend_from_slice(&id.unwrap_or_default().index.to_le_bytes());
        }
        let (block, tag) = seal_header(sealer, 0, nonce, &fields);
        out[..HEADER_BLOCK_BYTES].fill(0);
        out[..HEADER_BYTES].copy_from_slice(&block);
        out[COPY_OFFSET..COPY_OFFSET + HEADER_BYTES].copy_from_slice(&block);
        tag
    }

    /// Reads the first 4 KiB of the log file with this id; says what is wrong if neither copy is its header.
    pub(super) fn decode(block: &[u8], sealing: &Sealing, id: u64) -> Result<(Self, Sealer, Tag), NoHeader> {
        let copy = |at: usize| block.get(at..at + HEADER_BYTES).unwrap_or_default();
        let (header, fields) = Self::decode_copy(copy(0), sealing, id)
            .or_else(|first| Self::decode_copy(copy(COPY_OFFSET), sealing, id).map_err(|_| first))?;
        Ok((fields, header.sealer, header.tag))
    }

    /// Both copies, with their offsets.
    pub(super) fn copies(block: &[u8], sealing: &Sealing, id: u64) -> [(u64, HeaderCopy); 2] {
        [0, COPY_OFFSET].map(|at| {
            let copy = block.get(at..at + HEADER_BYTES).unwrap_or_default();
            (at as u64, Self::decode_copy(copy, sealing, id).map(|(header, fields)| (fields, header.tag)))
        })
    }

    fn decode_copy(block: &[u8], sealing: &Sealing, id: u64) -> Result<(Header, Self), NoHeader> {
        let header = open_header(block, FileKind::Log, 0, |file| sealing.sealer_of(file));
        let header = header.map_err(|fault| NoHeader {
            found: fault.to_string(),
            key_is_gone: matches!(fault, HeaderFault::Refused(SealRefused::UnknownKey(_))),
        })?;
        if header.sealer.file().file_id != id {
            return Err("the header of another file".into());
        }
        let fields = Self::fields(header.fields()).map_err(|_| "a malformed log header")?;
        Ok((header, fields))
    }

    fn fields(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let (boot, previous_file) = (reader.u64()?, reader.u64()?);
        let (previous_sequence, previous_chain) = (reader.u64()?, reader.array()?);
        let copied_through = reader.u64()?;
        let term = reader.u64()?;
        let (voted, vote) = (flag(&mut reader)?, reader.u64()?);
        let vote_committed = flag(&mut reader)?;
        reader.take(8)?;
        let mut id = || -> Result<Option<LogId>, Malformed> {
            let present = flag(&mut reader)?;
            let id = LogId { term: reader.u64()?, index: reader.u64()? };
            Ok(present.then_some(id))
        };
        let state = LogState {
            hard_state: HardState { term, voted_for: voted.then_some(vote), vote_committed },
            purged: id()?,
            last: id()?,
            committed: id()?,
        };
        Ok(Self { boot, previous_file, previous_sequence, previous_chain, copied_through, state })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimDisk;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn a_header_survives_one_rotten_copy() {
        let disk = Arc::new(SimDisk::new(1));
        for sealing in [
            Sealing::unsealed([1; 16], disk.clone(), Path::new("/")),
            Sealing::for_test(disk.clone(), Path::new("/")),
        ] {
            check(&sealing, &Sealing::unsealed([2; 16], disk.clone(), Path::new("/")));
        }
    }

    fn check(sealing: &Sealing, other: &Sealing) {
        let sealer = sealing.sealer_for_new_file(FileKind::Log as u8, 9).expect("a sealer");
        let header = LogHeader {
            boot: 4,
            previous_file: 8,
            previous_sequence: 77,
            previous_chain: [6; 16],
            copied_through: 78,
            state: LogState {
                purged: Some(LogId { term: 1, index: 2 }),
                last: Some(LogId { term: 3, index: 4 }),
                hard_state: HardState { term: 5, voted_for: Some(6), vote_committed: true },
                committed: None,
            },
        };
        let mut block = vec![0xff; HEADER_BLOCK_BYTES];
        let tag = header.encode(&sealer, [2; 12], &mut block);
        for rotten in [100, COPY_OFFSET + 100, COPY_OFFSET - 1] {
            let mut block = block.clone();
            block[rotten] ^= 1;
            let (found, _, found_tag) = LogHeader::decode(&block, sealing, 9).expect("one copy is intact");
            assert_eq!((found, found_tag), (header.clone(), tag));
        }
        assert!(LogHeader::decode(&block, sealing, 8).is_err(), "another file's header");
        assert!(LogHeader::decode(&block, other, 9).is_err(), "another store's header");
        block[100] ^= 1;
        block[COPY_OFFSET + 100] ^= 1;
        assert!(LogHeader::decode(&block, sealing, 9).is_err());
    }
}
