//! A client's stream of requests: one JSON object after the other, as they come.
//!
//! # Invariants
//! - Each byte is looked at once until its object is whole: a client that sends one byte at a time costs no more.
//! - No more than one object's limit is held, within the connection's share, and for no longer than a body may take.

use super::messages::framed;
use super::status::too_large;
use crate::intake::Hold;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;

/// Makes messages of what comes.
pub(super) struct Requests {
    /// `None` once it has ended, well or not.
    body: Option<Incoming>,
    hold: Hold,
    objects: Objects,
    to_message: fn(&[u8]) -> Result<Vec<u8>, Status>,
    bytes_max: usize,
}

impl Requests {
    /// Of `body`, each no larger than `bytes_max` as JSON.
    pub(super) fn new(
        body: Incoming,
        hold: Hold,
        to_message: fn(&[u8]) -> Result<Vec<u8>, Status>,
        bytes_max: usize,
    ) -> Self {
        Self { body: Some(body), hold, objects: Objects::default(), to_message, bytes_max }
    }

    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if let Some(object) = self.objects.take()? {
            self.hold.settle();
            return Ok(Some(framed(&(self.to_message)(&object)?)));
        }
        match self.objects.buffer.len() {
            bytes if bytes > self.bytes_max => Err(too_large(bytes, self.bytes_max)),
            bytes => self.hold.resize(bytes).map(|()| None),
        }
    }
}

impl HttpBody for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if self.body.is_none() {
                return Poll::Ready(None);
            }
            match self.next() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                Err(status) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(status)));
                }
            }
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if self.objects.is_between() => return Poll::Pending,
                Poll::Pending => {
                    let overdue = ready!(self.hold.poll_overdue(cx));
                    self.body = None;
                    return Poll::Ready(Some(Err(overdue)));
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.objects.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    // Not `Cancelled`, which tonic takes for the end of the requests: the call is to end, too.
                    return Poll::Ready(Some(Err(Status::aborted(error.to_string()))));
                }
                None => {
                    self.body = None;
                    let cut = Status::invalid_argument("unexpected EOF");
                    return Poll::Ready((!self.objects.is_between()).then_some(Err(cut)));
                }
            }
        }
    }
}

/// Finds where objects begin and end.
#[derive(Default)]
struct Objects {
    buffer: BytesMut,
    /// Bytes of the buffer that were looked at.
    seen: usize,
    /// Braces and brackets that are open.
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Objects {
    /// The next object that is whole.
    ///
    /// # Errors
    /// Something else stands between objects.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        while let Some(&byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' if self.depth > 0 => self.in_text = true,
                b'{' => self.depth += 1,
                b'[' if self.depth > 0 => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let object = self.buffer.split_to(self.seen).freeze();
                        self.seen = 0;
                        return Ok(Some(object));
                    }
                }
                byte if self.depth == 0 && !byte.is_ascii_whitespace() => {
                    let text = format!("invalid character {:?} looking for beginning of value", byte as char);
                    return Err(Status::invalid_argument(text));
                }
                _ => {}
            }
        }
        if self.depth == 0 {
            self.buffer.clear();
            self.seen = 0;
        }
        Ok(None)
    }

    /// Whether no object has begun.
    fn is_between(&self) -> bool {
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_however_they_are_cut() {
        let text = br#" {"a":"}\"{"}{"b":[{},{"c":"\\"}]}  {}"#;
        for cut in 1..text.len() {
            let (mut objects, mut found) = (Objects::default(), Vec::new());
            for part in text.chunks(cut) {
                objects.buffer.extend_from_slice(part);
                while let Some(object) = objects.take().unwrap() {
                    found.push(object.trim_ascii().to_vec());
                }
            }
            let expected = [&br#"{"a":"}\"{"}"#[..], br#"{"b":[{},{"c":"\\"}]}"#, b"{}"];
            assert_eq!(found, expected, "cut at {cut}");
            assert!(objects.is_between());
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["x", "{}3", "[]", "\"a\"", "}", "{}]"] {
            let mut objects = Objects::default();
            objects.buffer.extend_from_slice(text.as_bytes());
            let refused = loop {
                match objects.take() {
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            assert!(refused, "{text}");
        }
    }
}
