//! A server that answers every call with an empty message: the most that the client can do.

use bytes::Bytes;
use coffer_runtime::block_on;
use coffer_runtime::local::spawn;
use coffer_runtime::net::TcpListener;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use smol_hyper::rt::FuturesIo;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write as _};

/// The word that makes this program the null server.
pub(crate) const COMMAND: &str = "null-server";

/// Starts hyper's tasks on this thread.
#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// Serves until killed. Prints its address first.
pub(crate) fn serve() -> io::Result<()> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            spawn(async move {
                let service = service_fn(|_| async { answer() });
                // A client that leaves ends its connection.
                drop(http2::Builder::new(LocalTasks).serve_connection(FuturesIo::new(stream), service).await);
            });
        }
    })
}

type Answer = StreamBody<stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>>;

fn answer() -> Result<http::Response<Answer>, http::Error> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok)));
    http::Response::builder().header("content-type", "application/grpc").body(body)
}
