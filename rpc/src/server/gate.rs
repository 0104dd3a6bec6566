//! The way in, and the session behind it.

use super::connection::{Connection, Counted};
use super::kv::Kv;
use super::lease::Lease;
use super::maintenance::{Cluster, Maintenance};
use super::watch::Watch;
use crate::schema::gate_capnp::{gate, pinger, session};
use capnp_rpc::new_client;
use std::rc::Rc;

/// Grows when the meaning of something on the wire changes.
const PROTOCOL: u32 = 1;

pub(super) struct Gate {
    connection: Rc<Connection>,
}

impl Gate {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        Self { connection }
    }
}

impl gate::Server for Gate {
    async fn info(self: Rc<Self>, _: gate::InfoParams, mut results: gate::InfoResults) -> capnp::Result<()> {
        let thread = &self.connection.thread;
        let header = thread.node.header();
        let mut info = results.get();
        info.set_version(env!("CARGO_PKG_VERSION"));
        info.set_protocol(PROTOCOL);
        info.set_cluster_id(header.cluster_id);
        info.set_member_id(header.member_id);
        info.set_request_bytes_max(thread.node.request_bytes_max() as u64);
        info.set_frame_bytes_max(thread.config.limits.frame_bytes_max as u64);
        Ok(())
    }

    async fn login(
        self: Rc<Self>,
        params: gate::LoginParams,
        mut results: gate::LoginResults,
    ) -> capnp::Result<()> {
        let connection = &self.connection;
        let request = params.get()?;
        let count = Counted::take(&connection.counts.sessions, connection.thread.config.sessions_max)
            .map_err(|_| capnp::Error::overloaded("too many sessions on one connection".into()))?;
        if request.has_pinger() {
            connection.pinger.replace(Some(request.get_pinger()?));
        }
        connection.logged_in.set(true);
        connection.link.logged_in();
        let session = Session { connection: connection.clone(), _count: count };
        results.get().set_session(new_client(session));
        Ok(())
    }
}

struct Session {
    connection: Rc<Connection>,
    _count: Counted,
}

impl pinger::Server for Session {
    async fn ping(self: Rc<Self>, _: pinger::PingParams, _: pinger::PingResults) -> capnp::Result<()> {
        Ok(())
    }
}

impl session::Server for Session {
    async fn kv(self: Rc<Self>, _: session::KvParams, mut results: session::KvResults) -> capnp::Result<()> {
        results.get().set_kv(new_client(Kv::new(self.connection.clone())));
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        _: session::WatchParams,
        mut results: session::WatchResults,
    ) -> capnp::Result<()> {
        results.get().set_watch(new_client(Watch::new(self.connection.clone())));
        Ok(())
    }

    async fn lease(
        self: Rc<Self>,
        _: session::LeaseParams,
        mut results: session::LeaseResults,
    ) -> capnp::Result<()> {
        results.get().set_lease(new_client(Lease::new(self.connection.clone())));
        Ok(())
    }

    async fn cluster(
        self: Rc<Self>,
        _: session::ClusterParams,
        mut results: session::ClusterResults,
    ) -> capnp::Result<()> {
        results.get().set_cluster(new_client(Cluster::new(self.connection.clone())));
        Ok(())
    }

    async fn maintenance(
        self: Rc<Self>,
        _: session::MaintenanceParams,
        mut results: session::MaintenanceResults,
    ) -> capnp::Result<()> {
        results.get().set_maintenance(new_client(Maintenance::new(self.connection.clone())));
        Ok(())
    }
}
