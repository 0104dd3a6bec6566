//! Accepts connections and hands them to the connection threads.

use super::stats::Stats;
use super::thread::Job;
use async_channel::Sender;
use capnp_rpc::rpc_capnp::{exception, message};
use coffer_runtime::local::{LocalTask, spawn};
use coffer_runtime::net::{Listener, Stream};
use coffer_runtime::sleep;
use futures_util::AsyncWriteExt;
use futures_util::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long to wait when the process is out of descriptors.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The listeners of a server.
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
}

struct Shared {
    queues: Vec<Sender<Job>>,
    next: AtomicUsize,
    connections_max: usize,
    stats: Arc<Stats>,
}

impl Acceptor {
    pub(super) fn new(
        listeners: Vec<Listener>,
        queues: Vec<Sender<Job>>,
        connections_max: usize,
        stats: Arc<Stats>,
    ) -> Self {
        let shared = Shared { queues, next: AtomicUsize::new(0), connections_max, stats };
        Self { listeners, shared: Arc::new(shared) }
    }

    /// Accepts on every listener, on this thread. Cancelling the tasks closes the listeners.
    pub(super) fn start(self) -> Vec<LocalTask<()>> {
        let shared = self.shared;
        self.listeners.into_iter().map(|listener| spawn(accept(listener, shared.clone()))).collect()
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tracing::trace!(%peer, "accepted");
                shared.dispatch(stream);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

impl Shared {
    fn dispatch(&self, stream: Stream) {
        let stats = &self.stats;
        if stats.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            stats.connections.fetch_sub(1, Ordering::Relaxed);
            stats.refused.fetch_add(1, Ordering::Relaxed);
            refuse(stream);
            return;
        }
        stats.accepted.fetch_add(1, Ordering::Relaxed);
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        if self.queues[index].try_send(Job::Serve(stream)).is_err() {
            stats.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Tells the peer why, if its socket takes it at once, and closes.
fn refuse(mut stream: Stream) {
    let mut abort = capnp::message::Builder::new_default();
    let mut exception = abort.init_root::<message::Builder<'_>>().init_abort();
    exception.set_type(exception::Type::Overloaded);
    exception.set_reason("too many connections");
    let bytes = capnp::serialize::write_message_to_words(&abort);
    let _ = stream.write(&bytes).now_or_never();
}
