//! One connection: its life, and what its capabilities share.

use super::gate::Gate;
use super::thread::Thread;
use crate::net::{Fault, Link, Network};
use crate::schema::gate_capnp::{gate, pinger};
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use coffer_core::Error;
use coffer_runtime::net::Stream;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the capabilities of one connection share.
pub(super) struct Connection {
    pub(super) thread: Rc<Thread>,
    pub(super) link: Link,
    pub(super) logged_in: Cell<bool>,
    pub(super) pinger: RefCell<Option<pinger::Client>>,
    pub(super) counts: Counts,
}

/// What the connection holds of each limited kind.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sessions: Rc<Cell<usize>>,
    pub(super) watch_streams: Rc<Cell<usize>>,
    pub(super) watchers: Rc<Cell<usize>>,
    pub(super) range_streams: Rc<Cell<usize>>,
    pub(super) snapshots: Rc<Cell<usize>>,
}

/// One of a limited kind, until dropped.
pub(super) struct Counted(Rc<Cell<usize>>);

impl Counted {
    /// Takes one, unless `max` are taken.
    pub(super) fn take(count: &Rc<Cell<usize>>, max: usize) -> Result<Self, Error> {
        if count.get() >= max {
            return Err(Error::TooManyRequests);
        }
        count.set(count.get() + 1);
        Ok(Self(count.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves `stream` until it ends.
pub(super) async fn serve(thread: Rc<Thread>, stream: Stream) {
    let connection = Connection::new(thread);
    let gate: gate::Client = capnp_rpc::new_client(Gate::new(connection.clone()));
    run(connection, stream, gate.client).await;
}

/// Serves `bootstrap` on `stream` until it ends.
async fn run(connection: Rc<Connection>, stream: Stream, bootstrap: capnp::capability::Client) {
    let Connection { thread, link, .. } = &*connection;
    let _registered = thread.register(link.clone());
    let network = Network::new(Box::new(stream), Side::Server, link.clone());
    let mut system = RpcSystem::new(Box::new(network), Some(bootstrap));
    let disconnector = system.get_disconnector();
    let panicked = {
        let running = AssertUnwindSafe(&mut system).catch_unwind();
        match select(pin!(running), pin!(connection.supervise())).await {
            Either::Left((outcome, _)) => outcome.is_err(),
            Either::Right(((), _)) => false,
        }
    };
    if panicked {
        tracing::error!("a call panicked; its connection is closed");
        thread.stats.panics.fetch_add(1, Ordering::Relaxed);
        link.fail(Fault::Panic);
    }
    if link.fault().is_some_and(|fault| fault != Fault::Closed) {
        thread.stats.faults.fetch_add(1, Ordering::Relaxed);
    }
    // Lets go of what the two sides hold of each other, which otherwise keeps itself alive.
    let _ = disconnector.now_or_never();
    connection.pinger.take();
}

impl Connection {
    fn new(thread: Rc<Thread>) -> Rc<Self> {
        let link = Link::new(thread.config.limits, thread.ticker.clone(), thread.budget.clone());
        Rc::new(Self {
            thread,
            link,
            logged_in: Cell::new(false),
            pinger: RefCell::new(None),
            counts: Counts::default(),
        })
    }

    /// Watches over the login and over silence. Ends never; it fails the link instead.
    async fn supervise(&self) {
        let Thread { config, ticker, .. } = &*self.thread;
        ticker.after(config.login_timeout).await;
        if !self.logged_in.get() {
            self.link.fail(Fault::NoLogin);
            return std::future::pending().await;
        }
        loop {
            self.link.take_activity();
            ticker.after(config.idle_timeout / 2).await;
            if self.link.take_activity() {
                continue;
            }
            let ping = self.ping();
            let mut ping = pin!(ping.fuse());
            let mut deadline = ticker.after(config.idle_timeout / 2);
            // The answer itself is not looked at: whatever arrives shows that the client lives.
            if let Either::Left(_) = select(&mut ping, &mut deadline).await {
                deadline.await;
            }
            if !self.link.take_activity() {
                self.link.fail(Fault::Idle);
                return std::future::pending().await;
            }
        }
    }

    async fn ping(&self) {
        let pinger = self.pinger.borrow().clone();
        if let Some(pinger) = pinger {
            let promise = pinger.ping_request().send().promise;
            let _ = promise.await;
        }
    }

    /// Runs a request that changes nothing, until its deadline.
    pub(super) async fn read<T>(
        &self,
        deadline_ms: u32,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.thread.ticker.limit(self.time_left(deadline_ms), work).await;
        limit.unwrap_or(Err(Error::Timeout))
    }

    /// Runs a request that changes something: after its deadline nobody knows whether it did.
    pub(super) async fn write<T>(
        &self,
        deadline_ms: u32,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.thread.ticker.limit(self.time_left(deadline_ms), work).await;
        limit.unwrap_or(Err(Error::OutcomeUnknown))
    }

    fn time_left(&self, deadline_ms: u32) -> Duration {
        match deadline_ms {
            0 => self.thread.config.request_timeout,
            ms => Duration::from_millis(ms.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Budget, Limits};
    use crate::server::ServerConfig;
    use crate::ticker::Ticker;
    use coffer_core::node::{Node, NodeConfig};
    use coffer_core::storage::MemoryDisk;
    use coffer_runtime::local::spawn;
    use coffer_runtime::net::UnixStream;
    use std::sync::Arc;

    /// Panics when pinged, if it is told to.
    struct Fragile {
        panics: bool,
        alive: Rc<Cell<bool>>,
    }

    impl pinger::Server for Fragile {
        async fn ping(self: Rc<Self>, _: pinger::PingParams, _: pinger::PingResults) -> capnp::Result<()> {
            assert!(!self.panics, "as the test wants it");
            Ok(())
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            self.alive.set(false);
        }
    }

    /// A served connection's client end.
    fn connect(thread: &Rc<Thread>, panics: bool, alive: &Rc<Cell<bool>>) -> pinger::Client {
        let (near, far) = UnixStream::pair().unwrap();
        alive.set(true);
        let fragile: pinger::Client = capnp_rpc::new_client(Fragile { panics, alive: alive.clone() });
        spawn(run(Connection::new(thread.clone()), far.into(), fragile.client));
        let link = Link::new(Limits::client(), Ticker::default(), Budget::new(usize::MAX));
        let network = Network::new(Box::new(near), Side::Client, link);
        let mut system = RpcSystem::new(Box::new(network), None);
        let client = system.bootstrap(Side::Server);
        spawn(system);
        client
    }

    #[test]
    fn a_panic_in_a_call_ends_its_connection_only() {
        let (log, records) = MemoryDisk::default().open().unwrap();
        let node = Node::open(NodeConfig::default(), Box::new(log), Arc::new(records)).unwrap();
        let served = node.clone();
        coffer_runtime::block_on(async move {
            let thread = Thread::new(served, Arc::new(ServerConfig::default()), Arc::default());
            let [first, second] = [Rc::new(Cell::new(false)), Rc::new(Cell::new(false))];
            let fragile = connect(&thread, true, &first);
            let sound = connect(&thread, false, &second);
            let error = fragile.ping_request().send().promise.await.err().expect("the call fails");
            assert_eq!(error.kind, capnp::ErrorKind::Disconnected);
            sound.ping_request().send().promise.await.expect("the other connection lives");
            assert_eq!(thread.stats.read().panics, 1);
            assert!(!first.get(), "what the connection exported is let go of");
            assert!(second.get());
        });
        node.shutdown();
    }
}
