//! A connection thread: takes sockets, serves them, drains them.

use super::accept::Acceptor;
use super::config::ServerConfig;
use super::connection;
use super::pace::Pace;
use super::stats::Stats;
use crate::net::{Budget, Fault, Link};
use crate::ticker::Ticker;
use async_channel::Receiver;
use coffer_core::node::Node;
use coffer_runtime::local::spawn;
use coffer_runtime::net::Stream;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long connections that were cut may take to let go of everything.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection thread is asked to do.
pub(super) enum Job {
    /// Serve this socket.
    Serve(Stream),
    /// Close everything and end.
    Stop,
}

/// What all connections of one thread share.
pub(super) struct Thread {
    pub(super) node: Node,
    pub(super) config: Arc<ServerConfig>,
    pub(super) stats: Arc<Stats>,
    pub(super) ticker: Ticker,
    pub(super) budget: Budget,
    pub(super) pace: Pace,
    links: RefCell<HashMap<u64, Link>>,
    next_id: Cell<u64>,
    empty: Cell<Option<Waker>>,
}

/// Serves what `queue` brings, until it is told to stop.
pub(super) async fn main(
    node: Node,
    config: Arc<ServerConfig>,
    stats: Arc<Stats>,
    queue: Receiver<Job>,
    acceptor: Option<Acceptor>,
) {
    let thread = Thread::new(node, config, stats);
    spawn(thread.ticker.clone().run());
    let listening = acceptor.map(Acceptor::start).unwrap_or_default();
    while let Ok(Job::Serve(stream)) = queue.recv().await {
        spawn(connection::serve(thread.clone(), stream));
    }
    for task in listening {
        task.cancel().await;
    }
    queue.close();
    thread.drain().await;
}

impl Thread {
    pub(super) fn new(node: Node, config: Arc<ServerConfig>, stats: Arc<Stats>) -> Rc<Self> {
        Rc::new(Self {
            node,
            stats,
            ticker: Ticker::default(),
            budget: Budget::new(config.thread_bytes_max),
            config,
            pace: Pace::new(),
            links: RefCell::default(),
            next_id: Cell::new(0),
            empty: Cell::new(None),
        })
    }

    /// Notes a connection, until the result is dropped.
    pub(super) fn register(self: &Rc<Self>, link: Link) -> Registered {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.links.borrow_mut().insert(id, link);
        Registered { thread: self.clone(), id }
    }

    async fn drain(&self) {
        self.links.borrow().values().for_each(Link::drain);
        if self.until_empty(self.config.drain_timeout).await {
            return;
        }
        tracing::warn!(connections = self.links.borrow().len(), "requests were still under way at the end");
        let links: Vec<Link> = self.links.borrow().values().cloned().collect();
        links.iter().for_each(|link| link.fail(Fault::Closed));
        self.until_empty(CUT_TIMEOUT).await;
    }

    /// Whether every connection ended within `timeout`.
    async fn until_empty(&self, timeout: Duration) -> bool {
        let empty = poll_fn(|cx| {
            if self.links.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.empty.set(Some(cx.waker().clone()));
            Poll::Pending
        });
        self.ticker.within(Instant::now() + timeout, empty).await.is_some()
    }
}

/// A connection in its thread's list.
pub(super) struct Registered {
    thread: Rc<Thread>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let link = self.thread.links.borrow_mut().remove(&self.id);
        let stats = &self.thread.stats;
        if let Some(link) = link {
            stats.add(link.counters());
        }
        stats.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if self.thread.links.borrow().is_empty()
            && let Some(waker) = self.thread.empty.take()
        {
            waker.wake();
        }
    }
}
