//! The messages of an answer of gRPC.

use crate::calls::Reply;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use coffer_runtime::timeout_at;
use http::Response;
use http_body_util::BodyExt;
use std::time::Instant;
use tonic::Status;

/// A flag and the length of what follows.
const PREFIX_BYTES: usize = 5;

/// A message as gRPC carries it.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    // Bounded by the limit of messages, far below.
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// Reads an answer, message by message.
pub(super) struct Messages {
    /// `None` once there is nothing more to come.
    body: Option<Reply>,
    buffer: BytesMut,
    /// From the head, where the answer has no body.
    status: Option<Status>,
    deadline: Option<Instant>,
}

impl Messages {
    /// Of `answer`, waiting until `deadline`.
    pub(super) fn new(answer: Response<Reply>, deadline: Option<Instant>) -> Self {
        let status = Status::from_header_map(answer.headers());
        Self { body: Some(answer.into_body()), buffer: BytesMut::new(), status, deadline }
    }

    /// The next message; `None` at a good end.
    ///
    /// # Errors
    /// The status that the call ended with; the deadline.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(deadline) = self.deadline else { return self.read().await };
        timeout_at(deadline, self.read())
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")))
    }

    /// Reads no more: from now on there is none.
    pub(super) fn finish(&mut self) {
        self.body = None;
        self.buffer.clear();
        self.status = None;
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            let Some(body) = &mut self.body else { return Ok(None) };
            match body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.put(data),
                    Err(frame) => {
                        let trailers = frame.trailers_ref();
                        self.status = trailers.and_then(Status::from_header_map).or(self.status.take());
                    }
                },
                Some(Err(status)) => return Err(status),
                None => {
                    self.body = None;
                    let status = self.status.take();
                    let status = status.unwrap_or_else(|| Status::unknown("a call ended without a status"));
                    return if status.code() == tonic::Code::Ok { Ok(None) } else { Err(status) };
                }
            }
        }
    }

    /// A message that is whole.
    fn take(&mut self) -> Option<Bytes> {
        let mut prefix = self.buffer.get(..PREFIX_BYTES)?;
        prefix.advance(1);
        let end = PREFIX_BYTES + prefix.get_u32() as usize;
        if self.buffer.len() < end {
            return None;
        }
        let mut message = self.buffer.split_to(end).freeze();
        message.advance(PREFIX_BYTES);
        Some(message)
    }
}
