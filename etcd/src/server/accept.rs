//! Accepts connections and hands them to the connection threads.

use super::connection::Surface;
use async_channel::Sender;
use coffer_runtime::local::{LocalTask, spawn};
use coffer_runtime::net::{Listener, Stream};
use coffer_runtime::sleep;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long to wait when the process is out of descriptors.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The listeners of a server.
pub(super) struct Acceptor {
    listeners: Vec<(Listener, Surface)>,
    shared: Arc<Shared>,
}

struct Shared {
    queues: Vec<Sender<Accepted>>,
    next: AtomicUsize,
    connections: Arc<AtomicUsize>,
    connections_max: usize,
}

/// A connection, counted until it is dropped.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    pub(super) surface: Surface,
    pub(super) counted: Counted,
}

/// One of the server's connections, until dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn take(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let counted = Self(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Acceptor {
    pub(super) fn new(
        listeners: Vec<(Listener, Surface)>,
        queues: Vec<Sender<Accepted>>,
        connections_max: usize,
    ) -> Self {
        let shared =
            Shared { queues, next: AtomicUsize::new(0), connections: Arc::default(), connections_max };
        Self { listeners, shared: Arc::new(shared) }
    }

    /// Accepts on every listener, on this thread. Cancelling the tasks closes the listeners.
    pub(super) fn start(self) -> Vec<LocalTask<()>> {
        let shared = self.shared;
        let accepting = |(listener, surface)| spawn(accept(listener, surface, shared.clone()));
        self.listeners.into_iter().map(accepting).collect()
    }
}

async fn accept(listener: Listener, surface: Surface, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => shared.dispatch(stream, surface),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

impl Shared {
    fn dispatch(&self, stream: Stream, surface: Surface) {
        let Some(counted) = Counted::take(&self.connections, self.connections_max) else {
            tracing::warn!(max = self.connections_max, "too many connections; one is closed");
            return;
        };
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        // A thread that has stopped takes no more; the connection is closed.
        let _ = self.queues[index].try_send(Accepted { stream, surface, counted });
    }
}
