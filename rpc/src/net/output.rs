//! What a connection has to send, and the task that sends it.

use super::frame;
use super::link::{Fault, Link, wake};
use super::network::{Message, SharedStream};
use crate::ticker::Deadline;
use futures_io::IoSlice;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Segments from this size on are written from where they are.
const SHARED_BYTES_MIN: usize = 32 * 1024;
/// Copied bytes are kept in pieces of about this size.
const COPIED_BYTES: usize = 64 * 1024;
/// A batch that has grown to this is written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// Slices in one vectored write.
const SLICES_MAX: usize = 32;

/// Bytes in the order in which they are sent.
#[derive(Default)]
pub(super) struct Output {
    queue: VecDeque<Piece>,
    /// Bytes of the first piece that were sent.
    sent: usize,
    bytes: usize,
}

enum Piece {
    /// Frames, and headers of shared ones.
    Copied(Vec<u8>),
    /// The segments of one message.
    Shared(Rc<Message>, usize),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.len(),
            Self::Shared(_, bytes) => *bytes,
        }
    }
}

impl Output {
    /// Bytes that are not sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a message and returns how many bytes that are.
    pub(super) fn push(&mut self, message: &Rc<Message>) -> usize {
        let segments = message.get_segments_for_output();
        let body: usize = segments.iter().map(|segment| segment.len()).sum();
        let share =
            body >= SHARED_BYTES_MIN && segments.iter().any(|segment| segment.len() >= SHARED_BYTES_MIN);
        let copied = if share { 0 } else { body };
        let tail = match self.queue.back_mut() {
            Some(Piece::Copied(tail)) if tail.len() + copied <= COPIED_BYTES => tail,
            _ => {
                self.queue.push_back(Piece::Copied(Vec::with_capacity(copied + 16)));
                match self.queue.back_mut() {
                    Some(Piece::Copied(tail)) => tail,
                    _ => return 0,
                }
            }
        };
        let before = tail.len();
        frame::put_header(&segments, tail);
        if !share {
            segments.iter().for_each(|segment| tail.extend_from_slice(segment));
        }
        let mut bytes = tail.len() - before;
        if share {
            self.queue.push_back(Piece::Shared(message.clone(), body));
            bytes += body;
        }
        self.bytes += bytes;
        bytes
    }

    fn clear(&mut self) -> usize {
        self.queue.clear();
        self.sent = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Writes once, as much as one call takes.
    fn poll_write(
        &self,
        stream: Pin<&mut (dyn super::Transport + 'static)>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        if let [Piece::Copied(bytes)] = self.queue.as_slices().0
            && self.queue.len() == 1
        {
            return stream.poll_write(cx, &bytes[self.sent..]);
        }
        let mut segments = Vec::with_capacity(4);
        for piece in self.queue.iter().take(SLICES_MAX) {
            if let Piece::Shared(message, _) = piece {
                segments.push(message.get_segments_for_output());
            }
        }
        let mut segments = segments.iter();
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(8);
        let mut skip = self.sent;
        let mut add = |slice: &'_ [u8], slices: &mut Vec<IoSlice<'_>>| {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            (skipped, skipped < slice.len() && slices.len() < SLICES_MAX)
        };
        for piece in self.queue.iter().take(SLICES_MAX) {
            match piece {
                Piece::Copied(bytes) => {
                    if let (from, true) = add(bytes, &mut slices) {
                        slices.push(IoSlice::new(&bytes[from..]));
                    }
                }
                Piece::Shared(..) => {
                    for segment in segments.next().into_iter().flat_map(|segments| segments.iter()) {
                        if let (from, true) = add(segment, &mut slices) {
                            slices.push(IoSlice::new(&segment[from..]));
                        }
                    }
                }
            }
        }
        stream.poll_write_vectored(cx, &slices)
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.sent += bytes;
        while let Some(first) = self.queue.front()
            && first.len() <= self.sent
        {
            self.sent -= first.len();
            self.queue.pop_front();
        }
    }
}

/// Writes the output of `link` to `stream` until capnp-rpc has closed the connection and everything is written, or
/// until it failed and capnp-rpc has noticed.
pub(super) async fn flush(link: Link, stream: SharedStream) {
    if let Err(fault) = write_all(&link, &stream).await {
        link.fail(fault);
        discard(&link);
        // capnp-rpc notices through its reader, and lets go of everything that the connection holds.
        poll_fn(|cx| {
            let state = link.state();
            if state.closing.get() {
                return Poll::Ready(());
            }
            state.flusher.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        discard(&link);
    }
    let _ = poll_fn(|cx| stream.poll_with(|stream| stream.poll_close(cx))).await;
    for waiter in link.state().closed.take() {
        // Whoever does not wait any more needs no answer.
        let _ = waiter.send(());
    }
}

fn discard(link: &Link) {
    let bytes = link.state().output.borrow_mut().clear();
    link.sent(bytes);
    wake(&link.state().flusher);
}

async fn write_all(link: &Link, stream: &SharedStream) -> Result<(), Fault> {
    let state = link.state();
    loop {
        let done = poll_fn(|cx| {
            if let Some(fault) = link.fault() {
                return Poll::Ready(Err(fault));
            }
            if state.output.borrow().bytes() > 0 {
                return Poll::Ready(Ok(false));
            }
            if state.closing.get() {
                return Poll::Ready(Ok(true));
            }
            state.flusher.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await?;
        if done {
            return Ok(());
        }
        gather(link).await;
        let mut stall: Option<Deadline> = None;
        poll_fn(|cx| {
            loop {
                if let Some(fault) = link.fault() {
                    return Poll::Ready(Err(fault));
                }
                if state.output.borrow().bytes() == 0 {
                    return Poll::Ready(Ok(()));
                }
                let written = stream.poll_with(|stream| state.output.borrow().poll_write(stream, cx));
                match written {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Io("nothing was written".into()))),
                    Poll::Ready(Ok(bytes)) => {
                        stall = None;
                        state.output.borrow_mut().advance(bytes);
                        link.sent(bytes);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Io(error.to_string()))),
                    Poll::Pending => {
                        let stall =
                            stall.get_or_insert_with(|| state.ticker.after(state.limits.stall_timeout));
                        if Pin::new(stall).poll(cx).is_ready() {
                            return Poll::Ready(Err(Fault::WriteStalled));
                        }
                        state.flusher.set(Some(cx.waker().clone()));
                        return Poll::Pending;
                    }
                }
            }
        })
        .await?;
    }
}

/// Lets every runnable task add its messages, until the batch stops growing. No timer: with one call under way this
/// adds no latency.
async fn gather(link: &Link) {
    let unsent = || link.state().output.borrow().bytes();
    loop {
        let before = unsent();
        coffer_runtime::yield_now().await;
        let after = unsent();
        if after == before || after >= BATCH_BYTES || link.fault().is_some() {
            return;
        }
    }
}
