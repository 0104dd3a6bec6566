//! Pieces of answers, which know whether their client takes them.

use crate::outgo::{UnderWay, Unsent};
use bytes::{Buf, Bytes};
use std::io::IoSlice;
use std::sync::Arc;

/// A piece of an answer. Until it is dropped, which is when it was sent, its call is under way, and it counts among what
/// is unsent on its connection.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Bytes,
    unsent: Option<Unsent>,
    _under_way: Option<Arc<UnderWay>>,
}

impl Chunk {
    /// A piece of an answer.
    pub(super) fn new(bytes: Bytes, unsent: Option<Unsent>, under_way: Option<Arc<UnderWay>>) -> Self {
        Self { bytes, unsent, _under_way: under_way }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        if let Some(unsent) = &mut self.unsent {
            unsent.sent(bytes);
        }
    }

    fn copy_to_bytes(&mut self, bytes: usize) -> Bytes {
        if let Some(unsent) = &mut self.unsent {
            unsent.sent(bytes);
        }
        self.bytes.copy_to_bytes(bytes)
    }
}
