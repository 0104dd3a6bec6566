//! Bodies from a socket, bounded while they are not whole.

use crate::intake::{Hold, Share};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::codegen::StdError;

/// Bytes before each message of gRPC: a flag, and the length.
const HEADER_BYTES: usize = 5;

/// A body from a socket. Its errors are a [`Status`](tonic::Status) where it was refused.
#[derive(Debug)]
pub(crate) struct Received {
    body: Incoming,
    hold: Hold,
    unit: Unit,
}

/// What must be whole before anybody does anything with it.
#[derive(Debug)]
enum Unit {
    /// The body, of which so many bytes have come.
    Body(usize),
    /// Each message of gRPC.
    Messages(Messages),
}

impl Received {
    /// A body that is one request.
    pub(crate) fn new(body: Incoming, share: &Arc<Share>) -> Self {
        Self { body, hold: Hold::new(share), unit: Unit::Body(0) }
    }

    /// The connection's share.
    pub(super) fn share(&self) -> &Arc<Share> {
        self.hold.share()
    }

    /// The same, as a stream of requests.
    pub(super) fn of_messages(self) -> Self {
        Self { unit: Unit::Messages(Messages::default()), ..self }
    }

    /// Accounts for what has come.
    fn take(&mut self, data: &[u8]) -> Result<(), StdError> {
        let unfinished = match &mut self.unit {
            Unit::Body(bytes) => {
                *bytes += data.len();
                *bytes
            }
            Unit::Messages(messages) => {
                if messages.take(data) {
                    self.hold.restart_clock();
                }
                messages.unfinished
            }
        };
        // A body that comes in one piece, as most do, holds nothing.
        match unfinished == 0 || self.body.is_end_stream() {
            true => self.hold.settle(),
            false => self.hold.resize(unfinished)?,
        }
        Ok(())
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => {
                let waits = !matches!(&this.unit, Unit::Messages(messages) if messages.unfinished == 0);
                match waits {
                    true => this.hold.poll_overdue(cx).map(|status| Some(Err(status.into()))),
                    false => Poll::Pending,
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                match frame.data_ref() {
                    Some(data) => this.take(data)?,
                    None => this.hold.settle(),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => {
                this.hold.settle();
                Poll::Ready(ended.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Follows the messages in what comes.
#[derive(Debug, Default)]
struct Messages {
    /// Bytes of the message that has begun, its header included; 0 between messages.
    unfinished: usize,
    /// Its length with the header, once that is here.
    length: usize,
    header: [u8; HEADER_BYTES],
}

impl Messages {
    /// Takes `data`. Returns whether a message became whole in it.
    fn take(&mut self, mut data: &[u8]) -> bool {
        let mut completed = false;
        while !data.is_empty() {
            let goal = if self.unfinished < HEADER_BYTES { HEADER_BYTES } else { self.length };
            let (part, rest) = data.split_at(data.len().min(goal - self.unfinished));
            if self.unfinished < HEADER_BYTES {
                self.header[self.unfinished..][..part.len()].copy_from_slice(part);
            }
            self.unfinished += part.len();
            data = rest;
            if self.unfinished == HEADER_BYTES && goal == HEADER_BYTES {
                let [_, length @ ..] = self.header;
                self.length = (u32::from_be_bytes(length) as usize).saturating_add(HEADER_BYTES);
            }
            if self.unfinished >= HEADER_BYTES && self.unfinished == self.length {
                self.unfinished = 0;
                completed = true;
            }
        }
        completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        // Lengths 3, 0, 5 and 1, the last of which is cut off before its end.
        let body = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x05abcde\0\0\0\0\x01";
        for cut in 1..=body.len() {
            let (mut messages, mut completed, mut at) = (Messages::default(), 0, 0);
            for part in body.chunks(cut) {
                completed += usize::from(messages.take(part));
                at += part.len();
                let begun = [0, 8, 13, 23].into_iter().rfind(|begin| *begin <= at).unwrap();
                assert_eq!(messages.unfinished, at - begun, "{at} bytes, cut at {cut}");
            }
            assert!((1..=3).contains(&completed), "cut at {cut}");
        }
    }
}
