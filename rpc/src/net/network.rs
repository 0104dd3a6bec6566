//! capnp-rpc's view of a connection.

use super::frame::{self, Segments};
use super::link::{CALL_BYTES, Fault, Link, wake};
use super::output;
use crate::ticker::Deadline;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions};
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures_channel::oneshot;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::FutureExt;
use futures_util::future::Shared;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

pub(super) type Message = Builder<HeapAllocator>;

/// Depth of pointers in a message: a txn in a txn in a txn needs about 30.
const NESTING_MAX: i32 = 64;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// An idle connection keeps no buffer larger than this.
const IDLE_BUFFER_BYTES: usize = 1024;

thread_local! {
    /// Where bytes arrive, one buffer for all connections of the thread.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A byte stream under a connection.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// The stream, used by the reader and the flusher in turns, never across an await.
#[derive(Clone)]
pub(super) struct SharedStream(Rc<RefCell<Box<dyn Transport>>>);

impl SharedStream {
    pub(super) fn poll_with<T>(&self, poll: impl FnOnce(Pin<&mut (dyn Transport + 'static)>) -> T) -> T {
        poll(Pin::new(&mut **self.0.borrow_mut()))
    }
}

/// A connection's two ends of capnp-rpc: give it to an `RpcSystem`.
pub(crate) struct Network {
    connection: Option<Connection>,
    inner: Weak<Inner>,
    flusher: Shared<Promise<(), capnp::Error>>,
    side: Side,
}

impl Network {
    /// Takes `stream`, and starts the task that writes to it.
    pub(crate) fn new(stream: Box<dyn Transport>, side: Side, link: Link) -> Self {
        let stream = SharedStream(Rc::new(RefCell::new(stream)));
        // A task of its own: a yield inside of the RPC system's task would not let the others run.
        let flusher = coffer_runtime::local::spawn(output::flush(link.clone(), stream.clone()));
        let flusher = Promise::from_future(async move {
            drop(flusher.await);
            Ok(())
        });
        let inner = Rc::new(Inner { link, stream, input: RefCell::default(), side });
        Self {
            inner: Rc::downgrade(&inner),
            connection: Some(Connection(inner)),
            flusher: flusher.shared(),
            side,
        }
    }
}

impl capnp_rpc::VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn capnp_rpc::Connection<Side>>> {
        if host == self.side {
            return None;
        }
        match self.inner.upgrade() {
            Some(inner) => Some(Box::new(Connection(inner))),
            // capnp-rpc then answers with its own bootstrap capability, which a client does not have.
            None => None,
        }
    }

    fn accept(&mut self) -> Promise<Box<dyn capnp_rpc::Connection<Side>>, capnp::Error> {
        match self.connection.take() {
            Some(connection) => Promise::ok(Box::new(connection)),
            None => Promise::from_future(std::future::pending()),
        }
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        Promise::from_future(self.flusher.clone())
    }
}

struct Inner {
    link: Link,
    stream: SharedStream,
    input: RefCell<Input>,
    side: Side,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // capnp-rpc let go of the connection without closing it.
        self.link.state().closing.set(true);
        wake(&self.link.state().flusher);
    }
}

struct Connection(Rc<Inner>);

impl capnp_rpc::Connection<Side> for Connection {
    fn get_peer_vat_id(&self) -> Side {
        self.0.side
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn capnp_rpc::OutgoingMessage> {
        let words = self.0.link.first_segment_words(first_segment_words);
        let message = Builder::new(HeapAllocator::new().first_segment_words(words));
        Box::new(Outgoing { message, link: self.0.link.clone() })
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn capnp_rpc::IncomingMessage>>, capnp::Error> {
        // What is buffered already needs no future.
        match self.0.take_buffered() {
            Ok(Some(message)) => Promise::ok(Some(message)),
            Ok(None) => {
                let inner = self.0.clone();
                Promise::from_future(async move {
                    inner.receive().await.map_err(|fault| inner.link.refuse(fault))
                })
            }
            Err(fault) => Promise::err(self.0.link.refuse(fault)),
        }
    }

    fn shutdown(&mut self, _result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        let (closed, wait) = oneshot::channel();
        let state = self.0.link.state();
        state.closed.borrow_mut().push(closed);
        state.closing.set(true);
        wake(&state.flusher);
        // capnp-rpc prints what fails here to standard output, so nothing does: the reason is in the link.
        Promise::from_future(async move {
            let _ = wait.await;
            Ok(())
        })
    }
}

/// Bytes that arrived and belong to no message yet.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Lets the memory go before a wait that may be long.
    fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_BUFFER_BYTES {
            self.bytes = Vec::new();
        }
    }
}

type Received = Option<Box<dyn capnp_rpc::IncomingMessage>>;

impl Inner {
    /// A message that has arrived completely, if another one may be taken now.
    fn take_buffered(&self) -> Result<Received, Fault> {
        let mut input = self.input.borrow_mut();
        if input.unread().is_empty() || !self.link.may_read() {
            return Ok(None);
        }
        let Some(header) = frame::header(input.unread(), self.link.frame_bytes_max())? else {
            return Ok(None);
        };
        let table = header.bytes;
        if input.unread().len() < table + header.words * 8 {
            return Ok(None);
        }
        let (segments, taken) = Segments::begin(header, &input.unread()[table..]);
        input.consume(table + taken);
        Ok(Some(self.incoming(segments)))
    }

    async fn receive(&self) -> Result<Received, Fault> {
        if !poll_fn(|cx| self.link.poll_may_read(cx)).await? {
            return Ok(None);
        }
        let mut deadline = None;
        let header = loop {
            let header = frame::header(self.input.borrow().unread(), self.link.frame_bytes_max())?;
            if let Some(header) = header {
                break header;
            }
            let begun = !self.input.borrow().unread().is_empty();
            match poll_fn(|cx| self.poll_fill(cx, begun, &mut deadline)).await? {
                Some(0) if begun => return Err(Fault::Truncated),
                Some(0) | None => return Ok(None),
                Some(_) => {}
            }
        };
        let mut segments = {
            let mut input = self.input.borrow_mut();
            let table = header.bytes;
            let (segments, taken) = Segments::begin(header, &input.unread()[table..]);
            input.consume(table + taken);
            segments
        };
        while !segments.is_complete() {
            let bytes = poll_fn(|cx| {
                self.poll_interrupt(cx, true, &mut deadline)?;
                self.stream
                    .poll_with(|stream| stream.poll_read(cx, segments.unfilled()))
                    .map_err(|e| Fault::Io(e.to_string()))
            })
            .await?;
            if bytes == 0 {
                return Err(Fault::Truncated);
            }
            segments.advance(bytes);
            self.link.received(bytes);
        }
        Ok(Some(self.incoming(segments)))
    }

    fn incoming(&self, segments: Segments) -> Box<dyn capnp_rpc::IncomingMessage> {
        let bytes = segments.bytes() + CALL_BYTES;
        self.link.charge(bytes);
        let mut options = ReaderOptions::new();
        // The same bytes may be looked at a few times on the way, a pointer cycle not for ever.
        options.traversal_limit_in_words = Some(segments.bytes() + 1024);
        options.nesting_limit = NESTING_MAX;
        Box::new(Incoming { message: Reader::new(segments, options), bytes, link: self.link.clone() })
    }

    /// Reads what has arrived into the input. `None`: the connection has drained and nothing is begun.
    fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        begun: bool,
        deadline: &mut Option<Deadline>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        self.poll_interrupt(cx, begun, deadline)?;
        if !begun
            && self.link.is_draining()
            && let Poll::Ready(may_read) = self.link.poll_may_read(cx)
        {
            return Poll::Ready(may_read.map(|_| None));
        }
        let mut input = self.input.borrow_mut();
        SCRATCH.with_borrow_mut(|scratch| {
            match self.stream.poll_with(|stream| stream.poll_read(cx, scratch)) {
                Poll::Ready(Ok(bytes)) => {
                    if input.start > 0 {
                        let start = std::mem::take(&mut input.start);
                        input.bytes.drain(..start);
                    }
                    input.bytes.extend_from_slice(&scratch[..bytes]);
                    self.link.received(bytes);
                    Poll::Ready(Ok(Some(bytes)))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(Fault::Io(error.to_string()))),
                Poll::Pending => {
                    input.shrink();
                    Poll::Pending
                }
            }
        })
    }

    /// What ends the wait for bytes: a fault of the link, or the deadline of a frame that has begun.
    fn poll_interrupt(
        &self,
        cx: &mut Context<'_>,
        begun: bool,
        deadline: &mut Option<Deadline>,
    ) -> Result<(), Fault> {
        if let Poll::Ready(fault) = self.link.poll_fault(cx) {
            return Err(fault);
        }
        if begun {
            let state = self.link.state();
            let deadline = deadline.get_or_insert_with(|| state.ticker.after(state.limits.frame_timeout));
            if Pin::new(deadline).poll(cx).is_ready() {
                return Err(Fault::FrameTimeout);
            }
        }
        Ok(())
    }
}

struct Incoming {
    message: Reader<Segments>,
    bytes: usize,
    link: Link,
}

impl capnp_rpc::IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.link.release(self.bytes);
    }
}

struct Outgoing {
    message: Message,
    link: Link,
}

impl capnp_rpc::OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Message>) {
        let Outgoing { message, link } = *self;
        let message = Rc::new(message);
        if link.fault().is_none() {
            let bytes = link.state().output.borrow_mut().push(&message);
            link.queued(bytes);
        }
        (Promise::ok(()), message)
    }

    fn take(self: Box<Self>) -> Message {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}
