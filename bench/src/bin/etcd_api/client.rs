//! A gRPC client with as little around the messages as there can be: HTTP/2 by hyper, five bytes before each message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use coffer_runtime::local::spawn;
use coffer_runtime::net::TcpStream;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use prost::Message;
use smol_hyper::rt::FuturesIo;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;

type Frames = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>>>>;
type RequestBody = Either<Full<Bytes>, StreamBody<Frames>>;

/// One connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: http2::SendRequest<RequestBody>,
    authority: String,
}

/// Starts hyper's tasks on this thread.
#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, future: F) {
        spawn(future);
    }
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = http2::Builder::new(LocalTasks)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(FuturesIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        spawn(connection);
        Ok(Self { sender, authority: address.to_owned() })
    }

    /// Calls `path` and waits for the one answer.
    pub(crate) async fn unary<A: Message + Default>(
        &mut self,
        path: &str,
        request: &impl Message,
    ) -> io::Result<A> {
        let mut answers = self.send(path, Either::Left(Full::new(frame(request)))).await?;
        let answer = answers.next().await?.ok_or_else(|| io::Error::other("no answer"))?;
        match answers.next::<A>().await? {
            None => Ok(answer),
            Some(_) => Err(io::Error::other("more than one answer")),
        }
    }

    /// Opens a stream in both directions and sends the first messages, because some servers answer only then. The
    /// stream ends when the sender is dropped.
    pub(crate) async fn stream_with(
        &mut self,
        path: &str,
        first: &[impl Message],
    ) -> io::Result<(Requests, Answers)> {
        let (sender, receiver) = async_channel::unbounded::<Bytes>();
        let requests = Requests(sender);
        for request in first {
            requests.send(request)?;
        }
        let frames: Frames = Box::pin(receiver.map(|bytes| Ok(Frame::data(bytes))));
        Ok((requests, self.send(path, Either::Right(StreamBody::new(frames))).await?))
    }

    async fn send(&mut self, path: &str, body: RequestBody) -> io::Result<Answers> {
        let request = http::Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        check(response.headers())?;
        Ok(Answers { body: response.into_body(), buffer: BytesMut::new() })
    }
}

/// The client's side of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Requests(async_channel::Sender<Bytes>);

impl Requests {
    /// Sends a message.
    pub(crate) fn send(&self, request: &impl Message) -> io::Result<()> {
        self.0.try_send(frame(request)).map_err(io::Error::other)
    }
}

/// The server's side of a call.
#[derive(Debug)]
pub(crate) struct Answers {
    body: Incoming,
    buffer: BytesMut,
}

impl Answers {
    /// The next message; `None` after the last one of a call that succeeded.
    pub(crate) async fn next<A: Message + Default>(&mut self) -> io::Result<Option<A>> {
        loop {
            if let Some(message) = self.take() {
                return A::decode(message).map(Some).map_err(io::Error::other);
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(io::Error::other)?;
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        check(trailers)?;
                    }
                }
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let length = self.buffer.get(1..5)?.get_u32() as usize;
        (self.buffer.len() >= 5 + length).then(|| {
            self.buffer.advance(5);
            self.buffer.split_to(length).freeze()
        })
    }
}

/// A message behind its five bytes: not compressed, and its length.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(length as u32);
    message.encode_raw(&mut out);
    out.freeze()
}

fn check(headers: &http::HeaderMap) -> io::Result<()> {
    match headers.get("grpc-status") {
        Some(status) if status != "0" => {
            let text = headers.get("grpc-message").map(|text| String::from_utf8_lossy(text.as_bytes()));
            Err(io::Error::other(format!("status {status:?}: {}", text.unwrap_or_default())))
        }
        _ => Ok(()),
    }
}
