//! Frames: a table of segment lengths, then the segments (Cap'n Proto's stream framing).
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | number of segments - 1, little-endian |
//! | 4 | 4 x segments | words in each segment, little-endian |
//! | | 0 or 4 | zero, to a multiple of 8 bytes |
//! | | 8 x words | the segments |
//!
//! A frame may end with the stream only at its boundary; everything else is a fault of the peer.

use super::Fault;
use capnp::message::ReaderSegments;
use capnp::{Word, word};

const SEGMENTS_MAX: usize = 512;
const WORD: usize = 8;
/// What is allocated for a frame at first; the rest follows the bytes that really arrive.
const FIRST_WORDS: usize = 8 * 1024;

/// The segment table of a frame.
#[derive(Debug)]
pub(super) struct Header {
    /// Bytes that the table takes.
    pub(super) bytes: usize,
    /// Words of all segments.
    pub(super) words: usize,
    /// Where each segment ends, in words; empty for a single segment.
    ends: Vec<usize>,
}

/// Reads a segment table. `None` if `input` does not hold all of it yet.
pub(super) fn header(input: &[u8], frame_bytes_max: usize) -> Result<Option<Header>, Fault> {
    let Some(count) = length_at(input, 0) else { return Ok(None) };
    let count = count.wrapping_add(1) as usize;
    if count == 0 || count >= SEGMENTS_MAX {
        return Err(Fault::MalformedFrame("number of segments"));
    }
    let bytes = (4 + 4 * count).next_multiple_of(WORD);
    if input.len() < bytes {
        return Ok(None);
    }
    let mut words = 0usize;
    let mut ends = Vec::with_capacity(if count > 1 { count } else { 0 });
    for index in 0..count {
        words += length_at(input, 4 + 4 * index).unwrap_or(0) as usize;
        if count > 1 {
            ends.push(words);
        }
    }
    if bytes + words * WORD > frame_bytes_max {
        return Err(Fault::FrameTooLarge { bytes: bytes + words * WORD, max: frame_bytes_max });
    }
    Ok(Some(Header { bytes, words, ends }))
}

fn length_at(input: &[u8], at: usize) -> Option<u32> {
    let bytes = input.get(at..at + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Appends the segment table of `segments` to `out`.
pub(super) fn put_header(segments: &[&[u8]], out: &mut Vec<u8>) {
    let count = segments.len() as u32;
    out.extend_from_slice(&count.wrapping_sub(1).to_le_bytes());
    for segment in segments {
        out.extend_from_slice(&((segment.len() / WORD) as u32).to_le_bytes());
    }
    if count.is_multiple_of(2) {
        out.extend_from_slice(&[0; 4]);
    }
}

/// The segments of one frame: complete once [`is_complete`](Self::is_complete).
#[derive(Debug)]
pub(super) struct Segments {
    words: Vec<Word>,
    words_total: usize,
    /// Bytes of `words` that arrived.
    filled: usize,
    ends: Vec<usize>,
}

impl Segments {
    /// Takes what `input` holds of the body that `header` announces.
    pub(super) fn begin(header: Header, input: &[u8]) -> (Self, usize) {
        let take = input.len().min(header.words * WORD);
        // A frame that is there as a whole is copied without being zeroed first.
        let whole = take - take % WORD;
        let mut words = Vec::with_capacity(if take == header.words * WORD {
            header.words
        } else {
            header.words.min(FIRST_WORDS.max(take.div_ceil(WORD)))
        });
        words.extend(
            input[..whole].chunks_exact(WORD).map(|c| word(c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7])),
        );
        let mut segments = Self { words, words_total: header.words, filled: whole, ends: header.ends };
        if take > whole {
            let rest = take - whole;
            segments.unfilled()[..rest].copy_from_slice(&input[whole..take]);
            segments.filled += rest;
        }
        (segments, take)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.filled == self.words_total * WORD
    }

    /// Room for what is missing, or for a part of it: memory grows with what arrived, never with what was announced.
    pub(super) fn unfilled(&mut self) -> &mut [u8] {
        if self.filled == self.words.len() * WORD {
            let words = (self.words.len() * 2).clamp(FIRST_WORDS, self.words_total.max(FIRST_WORDS));
            self.words.resize(words.min(self.words_total), word(0, 0, 0, 0, 0, 0, 0, 0));
        }
        &mut Word::words_to_bytes_mut(&mut self.words)[self.filled..]
    }

    /// Notes that `bytes` of [`unfilled`](Self::unfilled) were filled.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.words_total * WORD
    }
}

impl ReaderSegments for Segments {
    fn get_segment(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let (start, end) = match self.ends.len() {
            0 if id == 0 => (0, self.words_total),
            _ => (if id == 0 { 0 } else { *self.ends.get(id - 1)? }, *self.ends.get(id)?),
        };
        Word::words_to_bytes(&self.words).get(start * WORD..end * WORD)
    }

    fn len(&self) -> usize {
        self.ends.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(segments, &mut out);
        segments.iter().for_each(|segment| out.extend_from_slice(segment));
        out
    }

    /// Reads a frame that arrives in pieces of `piece` bytes.
    fn read(input: &[u8], piece: usize) -> Segments {
        let mut held = Vec::new();
        let mut pieces = input.chunks(piece);
        let header = loop {
            if let Some(header) = header(&held, 1 << 20).unwrap() {
                break header;
            }
            held.extend_from_slice(pieces.next().unwrap());
        };
        let body = header.bytes;
        let (mut segments, taken) = Segments::begin(header, &held[body..]);
        let mut rest = &input[body + taken..];
        while !segments.is_complete() {
            let room = segments.unfilled();
            let n = room.len().min(rest.len()).min(piece);
            room[..n].copy_from_slice(&rest[..n]);
            segments.advance(n);
            rest = &rest[n..];
        }
        segments
    }

    #[test]
    fn frames_survive_any_cut() {
        let one: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let two: Vec<u8> = (0..48u8).collect();
        for segments in
            [vec![&two[..]], vec![&one[..], &two[..]], vec![&two[..], &one[..], &two[..]], vec![&[][..]]]
        {
            let bytes = frame(&segments);
            for piece in [1, 3, 8, 4096, 1 << 20] {
                let read = read(&bytes, piece);
                assert_eq!(read.len(), segments.len());
                for (id, segment) in (0..).zip(&segments) {
                    assert_eq!(read.get_segment(id).unwrap(), *segment);
                }
                assert!(read.get_segment(segments.len() as u32).is_none());
            }
        }
    }

    #[test]
    fn what_is_announced_is_checked_before_anything_is_allocated() {
        let huge = [0u8, 0, 0, 0, 255, 255, 255, 255];
        assert!(matches!(header(&huge, 1 << 20), Err(Fault::FrameTooLarge { .. })));
        assert!(matches!(header(&[255, 255, 255, 255], 1 << 20), Err(Fault::MalformedFrame(_))));
        assert!(matches!(header(&[0, 2, 0, 0], 1 << 20), Err(Fault::MalformedFrame(_))));
        assert!(header(&[1, 0, 0, 0, 1, 0, 0], 1 << 20).unwrap().is_none());
    }

    #[test]
    fn memory_follows_what_arrived() {
        let header = header(&[0, 0, 0, 0, 0, 0, 8, 0], 1 << 23).unwrap().unwrap();
        assert_eq!(header.words, 1 << 19);
        let (mut segments, _) = Segments::begin(header, &[]);
        assert!(segments.unfilled().len() <= FIRST_WORDS * WORD);
    }
}
