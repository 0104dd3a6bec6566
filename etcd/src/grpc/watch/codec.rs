//! Puts watch responses into frames: each has a head of its own, and events that others may share.

use crate::convert::encode_events;
use crate::front::Front;
use crate::proto::etcdserverpb as pb;
use bytes::{BufMut, Bytes};
use coffer_core::watch::WatchEvent;
use prost::Message;
use std::sync::Arc;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// Bytes that a stream's buffer begins with: most streams are idle, and there may be many.
const BUFFER_BYTES: usize = 512;
/// Bytes that a head rarely exceeds.
const HEAD_BYTES: usize = 64;
/// Bytes from which on a frame is handed on.
const FRAME_BYTES: usize = 32 << 10;

/// A response of a watch stream.
#[derive(Debug)]
pub(super) struct Reply {
    /// The response without its events.
    pub(super) head: pb::WatchResponse,
    /// The events.
    pub(super) events: Option<Arc<[WatchEvent]>>,
}

/// Decodes requests and encodes [`Reply`]s.
pub(super) struct WatchCodec(pub(super) Arc<Front>);

impl Codec for WatchCodec {
    type Encode = Reply;
    type Decode = pb::WatchRequest;
    type Encoder = ReplyEncoder;
    type Decoder = ProstDecoder<pb::WatchRequest>;

    fn encoder(&mut self) -> ReplyEncoder {
        ReplyEncoder(self.0.clone())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<pb::WatchRequest, pb::WatchRequest>::raw_decoder(BufferSettings::default())
    }
}

pub(super) struct ReplyEncoder(Arc<Front>);

impl Encoder for ReplyEncoder {
    type Item = Reply;
    type Error = Status;

    fn encode(&mut self, reply: Reply, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let shared = reply.events.as_ref().and_then(|events| self.0.encodings.shared(events));
        buffer.reserve(HEAD_BYTES + shared.as_ref().map_or(0, Bytes::len));
        reply.head.encode_raw(buffer);
        // The events are the message's last field, so the whole is what prost would have made of it.
        match (shared, reply.events) {
            (Some(shared), _) => buffer.put_slice(&shared),
            (None, Some(events)) => encode_events(&events, buffer),
            (None, None) => {}
        }
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, FRAME_BYTES)
    }
}
