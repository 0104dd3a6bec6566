//! Status, hashes, snapshots, members.

use super::connection::Connection;
use super::snapshot;
use crate::schema::maintenance_capnp::{cluster, maintenance};
use crate::wire;
use std::rc::Rc;

pub(super) struct Maintenance {
    connection: Rc<Connection>,
}

impl Maintenance {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        Self { connection }
    }
}

impl maintenance::Server for Maintenance {
    async fn status(
        self: Rc<Self>,
        params: maintenance::StatusParams,
        mut results: maintenance::StatusResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.connection.thread.node.status();
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok(status) => wire::maintenance::put_status(&status, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn hash_kv(
        self: Rc<Self>,
        params: maintenance::HashKvParams,
        mut results: maintenance::HashKvResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.connection.thread.node.hash_kv(request.get_revision());
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok(hash) => wire::maintenance::put_hash_kv(&hash, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn snapshot(
        self: Rc<Self>,
        params: maintenance::SnapshotParams,
        mut results: maintenance::SnapshotResults,
    ) -> capnp::Result<()> {
        let deadline_ms = params.get()?.get_deadline_ms();
        match snapshot::open(&self.connection, deadline_ms).await {
            Ok((head, stream)) => {
                let mut ok = results.get().init_ok();
                wire::maintenance::put_snapshot_head(&head, ok.reborrow());
                ok.set_stream(stream);
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }
}

pub(super) struct Cluster {
    connection: Rc<Connection>,
}

impl Cluster {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        Self { connection }
    }
}

impl cluster::Server for Cluster {
    async fn info(
        self: Rc<Self>,
        _: cluster::InfoParams,
        mut results: cluster::InfoResults,
    ) -> capnp::Result<()> {
        let thread = &self.connection.thread;
        let header = thread.node.header();
        let mut info = results.get();
        wire::put_header(&header, info.reborrow().init_header());
        let mut member = info.init_members(1).get(0);
        member.set_id(header.member_id);
        let urls = &thread.config.advertise_urls;
        let mut list = member.init_client_urls(wire::list_len(urls.len()));
        for (index, url) in (0..).zip(urls) {
            list.set(index, url);
        }
        Ok(())
    }
}
