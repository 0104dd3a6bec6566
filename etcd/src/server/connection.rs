//! One connection: HTTP/1 or HTTP/2, as its first bytes say.

use super::opening::Opening;
use super::timer::{LocalTasks, Timer};
use crate::calls::{self, Reply};
use crate::front::Front;
use crate::{grpc, http};
use ::http::{Request, Response, Version};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, select};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::server::conn::auto::Builder;
use smol_hyper::rt::FuturesIo;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to say which version it speaks, and to send the head of a request in HTTP/1.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// gRPC and plain HTTP.
    All,
    /// gRPC only.
    Grpc,
    /// Plain HTTP only.
    Http,
    /// Metrics and health only.
    Metrics,
}

/// Serves `stream` until it ends or the front stops.
pub(super) async fn serve(
    front: &Arc<Front>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    surface: Surface,
) {
    let config = &front.config;
    let mut builder = Builder::new(LocalTasks);
    builder.http1().timer(Timer).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(Timer)
        .max_concurrent_streams(config.concurrent_streams_max)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    let service = service_fn(|request| answer(front.clone(), surface, request));
    let opening = Opening::default();
    let stream = FuturesIo::new(opening.watch(stream));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let (mut stopped, mut overdue) = (pin!(front.stop.wait()), pin!(opening.is_overdue(HEADER_TIMEOUT)));
    let ended = select(stopped.as_mut(), overdue.as_mut());
    let outcome = match select(connection.as_mut(), ended).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((Either::Left(_), _)) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        Either::Right((Either::Right(_), _)) => return,
    };
    if let Err(error) = outcome {
        // A client that goes away is no news.
        tracing::debug!(error, "a connection ended");
    }
}

async fn answer(
    front: Arc<Front>,
    surface: Surface,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    // gRPC is HTTP/2: over version 1 a page in a browser could say it is gRPC, past the checks for pages.
    let is_grpc = request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers());
    Ok(match (surface, is_grpc) {
        (Surface::All | Surface::Grpc, true) => calls::answer(&front, request.map(Into::into)).await,
        (Surface::Grpc, false) => http::only_grpc(),
        (Surface::Metrics, _) => http::call_metrics(&front, request).await,
        (Surface::All | Surface::Http, _) => http::call(&front, request).await,
    })
}
