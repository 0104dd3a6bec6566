//! One connection of a client: login, capabilities, pings.

use super::config::ClientConfig;
use super::open_connections::{OpenConnection, OpenConnections};
use crate::net::{Budget, Fault, Link, Network, drive};
use crate::schema::gate_capnp::{gate, pinger, session};
use crate::schema::maintenance_capnp::{cluster, maintenance};
use crate::schema::{kv_capnp::kv, lease_capnp::lease, watch_capnp::watch};
use crate::ticker::Ticker;
use capnp::capability::FromClientHook;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use coffer_runtime::local::spawn;
use coffer_runtime::net::{Address, Stream};
use futures_util::future::{Either, join5, select, try_join};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// A logged-in connection.
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) kv: kv::Client,
    pub(super) watch: watch::Client,
    pub(super) lease: lease::Client,
    pub(super) maintenance: maintenance::Client,
    pub(super) cluster: cluster::Client,
    /// Keeps the other capabilities alive on the server.
    session: session::Client,
    /// Largest message that the server reads.
    pub(super) frame_bytes_max: usize,
}

/// Answers the server's pings.
struct Pinger;

impl pinger::Server for Pinger {
    async fn ping(self: Rc<Self>, _: pinger::PingParams, _: pinger::PingResults) -> capnp::Result<()> {
        Ok(())
    }
}

impl Connection {
    /// Connects and logs in. `open` has it for as long as there is a socket; `ended` is called once the connection is gone.
    pub(super) async fn open(
        config: &ClientConfig,
        address: &Address,
        ticker: &Ticker,
        open: &Rc<OpenConnections>,
        ended: impl FnOnce() + 'static,
    ) -> Result<Rc<Self>, String> {
        let stream = Stream::connect(address).await.map_err(|error| error.to_string())?;
        let link = Link::new(config.limits, ticker.clone(), Budget::new(usize::MAX));
        let network = Network::new(Box::new(stream), Side::Client, link.clone());
        let mut system = RpcSystem::new(Box::new(network), None);
        let gate: gate::Client = system.bootstrap(Side::Server);
        spawn(run(system, open.begun(link.clone()), ended));
        // Whoever gives up half-way closes the connection with this.
        let guard = CloseOnDrop(Some(link.clone()));
        let connection = Self::log_in(config, gate, link).await.map_err(|error| error.to_string())?;
        guard.disarm();
        let connection = Rc::new(connection);
        spawn(ping(Rc::downgrade(&connection), ticker.clone(), config.ping_interval, config.ping_timeout));
        Ok(connection)
    }

    async fn log_in(config: &ClientConfig, gate: gate::Client, link: Link) -> capnp::Result<Self> {
        let info = gate.info_request().send().promise;
        let mut login = gate.login_request();
        login.get().set_client_name(&config.name);
        login.get().set_pinger(capnp_rpc::new_client(Pinger));
        let login = login.send().promise;
        let (info, login) = try_join(info, login).await?;
        let frame_bytes_max = info.get()?.get_frame_bytes_max();
        // Taken from the answers, never from a pipeline: a null capability would panic in capnp-rpc.
        let session = login.get()?.get_session()?;
        let (kv, watch, lease, maintenance, cluster) = join5(
            session.kv_request().send().promise,
            session.watch_request().send().promise,
            session.lease_request().send().promise,
            session.maintenance_request().send().promise,
            session.cluster_request().send().promise,
        )
        .await;
        link.logged_in();
        Ok(Self {
            link,
            kv: kv?.get()?.get_kv()?,
            watch: watch?.get()?.get_watch()?,
            lease: lease?.get()?.get_lease()?,
            maintenance: maintenance?.get()?.get_maintenance()?,
            cluster: cluster?.get()?.get_cluster()?,
            session,
            frame_bytes_max: usize::try_from(frame_bytes_max).unwrap_or(usize::MAX),
        })
    }

    /// Whether calls may still succeed.
    pub(super) fn is_alive(&self) -> bool {
        self.link.fault().is_none()
    }

    /// Ends the connection. Calls under way fail.
    pub(super) fn close(&self) {
        self.link.fail(Fault::Closed);
    }
}

struct CloseOnDrop(Option<Link>);

impl CloseOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.fail(Fault::Closed);
        }
    }
}

async fn run(system: RpcSystem<Side>, open: OpenConnection, ended: impl FnOnce()) {
    drive(system, open.link()).await;
    drop(open);
    ended();
}

/// Notices a server that is silent.
async fn ping(connection: std::rc::Weak<Connection>, ticker: Ticker, interval: Duration, timeout: Duration) {
    let silent = |connection: &std::rc::Weak<Connection>| {
        connection.upgrade().filter(|connection| connection.is_alive() && !connection.link.take_activity())
    };
    loop {
        ticker.after(interval).await;
        let Some(alive) = connection.upgrade().filter(|connection| connection.is_alive()) else { return };
        if alive.link.take_activity() {
            continue;
        }
        let answer = alive.session.clone().cast_to::<pinger::Client>().ping_request().send().promise;
        drop(alive);
        let answered =
            matches!(select(pin!(answer), pin!(ticker.after(timeout))).await, Either::Left((Ok(_), _)));
        if !answered && let Some(connection) = silent(&connection) {
            connection.link.fail(Fault::Idle);
            return;
        }
    }
}

/// The future of a call, as [`super::call`] makes it: the inner error is what the server says, the outer one what went
/// wrong on the way.
pub(super) trait Answer<T>:
    Future<Output = capnp::Result<Result<T, coffer_core::Error>>> + 'static
{
}

impl<T, F: Future<Output = capnp::Result<Result<T, coffer_core::Error>>> + 'static> Answer<T> for F {}
