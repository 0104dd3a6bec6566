//! One connection: HTTP/1 or HTTP/2, as its first bytes say.

use super::config::STREAMS_MAX;
use super::opening::Opening;
use super::timer::{LocalTasks, Timer};
use crate::calls::{self, Received, Reply, Sending};
use crate::front::Front;
use crate::intake::Share;
use crate::outgo::Outgo;
use crate::{grpc, http};
use ::http::{Request, Response, Version};
use coffer_runtime::sleep;
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

/// How long streams have to tell their clients that the server stops, once nothing else is under way.
const TELL_TIMEOUT: Duration = Duration::from_millis(250);

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
        .max_concurrent_streams(config.concurrent_streams_max.min(STREAMS_MAX))
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    let share = front.intake.share();
    let outgo = share.outgo.clone();
    let service = service_fn(move |request| answer(front.clone(), share.clone(), surface, request));
    let opening = Opening::default();
    let stream = FuturesIo::new(opening.watch(stream));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut stopped = pin!(front.stop.wait());
    let mut overdue = pin!(opening.is_overdue(HEADER_TIMEOUT));
    let mut stuck = pin!(outgo.is_stuck(config.unread_timeout));
    let useless = select(overdue.as_mut(), stuck.as_mut());
    let outcome = match select(connection.as_mut(), select(stopped.as_mut(), useless)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((Either::Left(_), _)) => {
            connection.as_mut().graceful_shutdown();
            match select(connection, pin!(streams_were_told(&outgo))).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => return,
            }
        }
        Either::Right((Either::Right(_), _)) => return,
    };
    if let Err(error) = outcome {
        // A client that goes away is no news.
        tracing::debug!(error, "a connection ended");
    }
}

/// Ends once a connection that is to end has nothing under way but streams, which had the time to hear of it. One whose
/// client does not read cannot be told.
async fn streams_were_told(outgo: &Outgo) {
    outgo.only_streams().await;
    sleep(TELL_TIMEOUT).await;
    outgo.only_streams().await;
}

async fn answer(
    front: Arc<Front>,
    share: Arc<Share>,
    surface: Surface,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    // gRPC is HTTP/2: over version 1 a page in a browser could say it is gRPC, past the checks for pages.
    let is_grpc = request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers());
    if is_grpc && matches!(surface, Surface::All | Surface::Grpc) {
        let call = request.map(|body| Received::new(body, &share).into());
        return Ok(calls::answer(&front, call).await);
    }
    let sending = Sending::new(&share.outgo);
    // In a box of its own, or every call of gRPC would take the room that this takes.
    let answer = Box::pin(async move {
        match surface {
            Surface::Grpc => http::only_grpc(),
            Surface::Metrics => http::call_metrics(&front, request).await,
            Surface::All | Surface::Http => http::call(&front, &share, request).await,
        }
    });
    Ok(answer.await.map(|body| Reply::plain(body, sending)))
}
