//! A connection thread: takes sockets, serves them, drains them.

use super::accept::{Accepted, Acceptor};
use super::connection;
use crate::front::Front;
use async_channel::Receiver;
use coffer_runtime::local::spawn;
use coffer_runtime::timeout;
use futures_util::future::{Either, select};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

/// Serves what `queue` brings, until the front stops.
pub(super) async fn main(front: Arc<Front>, queue: Receiver<Accepted>, acceptor: Option<Acceptor>) {
    let mut serving = Vec::new();
    if let Some(acceptor) = acceptor {
        serving = acceptor.start();
        let front = front.clone();
        serving.push(spawn(async move {
            let has_leader = || front.node.leader().is_some();
            front.leadership.monitor(front.node.election_timeout(), has_leader).await;
        }));
    }
    // Every connection holds a sender's end: the channel closes with the last of them.
    let (alive, ended) = async_channel::bounded::<Infallible>(1);
    {
        let mut stopped = pin!(front.stop.wait());
        while let Either::Left((Ok(accepted), _)) = select(pin!(queue.recv()), stopped.as_mut()).await {
            let (front, alive) = (front.clone(), alive.clone());
            spawn(async move {
                connection::serve(&front, accepted.stream, accepted.surface).await;
                drop((accepted.counted, alive));
            });
        }
    }
    for task in serving {
        task.cancel().await;
    }
    queue.close();
    drop(alive);
    if timeout(front.config.drain_timeout, ended.recv()).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}
