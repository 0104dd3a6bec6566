//! Where a frame stands, and reading it.

use super::super::directory::StoreFile;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::groups::content::GroupAt;
use crate::groups::steps::entries_of;
use crate::seal::{Sealer, Tag};
use bytes::Bytes;
use coffer_core::storage::{LogEntry, StorageError};
use std::ops::Range;
use std::sync::Arc;

/// A log file that is being read or written.
pub(super) struct LogFile {
    pub(super) id: u64,
    pub(super) file: StoreFile,
    pub(super) sealer: Sealer,
    /// What the first frame chains to.
    pub(super) header_tag: Tag,
    pub(super) bytes: u64,
}

/// Where a frame stands.
#[derive(Clone)]
pub(super) struct FrameAt {
    pub(super) file: Arc<LogFile>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) sequence: u64,
}

impl FrameAt {
    fn corrupt(&self, found: &str) -> StorageError {
        self.file.file.corrupt(self.offset, format!("log frame {}", self.sequence), found)
    }
}

impl GroupAt for FrameAt {
    fn is(&self, other: &FrameAt) -> bool {
        self.sequence == other.sequence && self.file.id == other.file.id
    }

    fn bytes(&self) -> u64 {
        self.bytes.into()
    }

    fn entries(&self, indexes: Range<u64>) -> Result<Option<Vec<LogEntry>>, StorageError> {
        let mut frame = vec![0; self.bytes as usize];
        self.file.file.read_exact(&mut frame, self.offset)?;
        let header = FrameHeader::decode(&frame, &self.file.sealer).map_err(|found| self.corrupt(found))?;
        if header.sequence != self.sequence {
            return Err(self.corrupt("another frame"));
        }
        let opened = header.open_body(&mut frame, &self.file.sealer, self.offset);
        let body_bytes = opened.map_err(|found| self.corrupt(found))?.len();
        let body = Bytes::from(frame).slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + body_bytes);
        entries_of(&body, &indexes).map(Some).map_err(|_| self.corrupt("malformed log operations"))
    }

    fn missing(&self) -> StorageError {
        self.corrupt("nothing")
    }
}
