//! Status, hashes, snapshots, members.

use super::connection::Connection;
use super::snapshot;
use crate::schema::maintenance_capnp::{cluster, maintenance};
use crate::wire;
use coffer_core::{Member, MemberInfo};
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
        // What is stored of others may be unreadable; this one is known anyhow.
        let mut members = thread.node.members().unwrap_or_default();
        if members.iter().all(|(member, _)| member.id != header.member_id) {
            members.push((Member { id: header.member_id, info: MemberInfo::default() }, true));
        }
        let mut info = results.get();
        wire::put_header(&header, info.reborrow().init_header());
        let mut list = info.init_members(wire::list_len(members.len()));
        for (index, (member, votes)) in (0..).zip(&members) {
            let urls = match member.id == header.member_id {
                true => &thread.config.advertise_urls,
                false => &member.info.client_urls,
            };
            let mut to = list.reborrow().get(index);
            to.set_id(member.id);
            to.set_is_learner(!votes);
            wire::maintenance::put_texts(urls, to.init_client_urls(wire::list_len(urls.len())));
        }
        Ok(())
    }

    async fn list(
        self: Rc<Self>,
        params: cluster::ListParams,
        mut results: cluster::ListResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.connection.thread.node.member_list(request.get_linearizable());
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok(members) => wire::maintenance::put_members(&members, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn change(
        self: Rc<Self>,
        params: cluster::ChangeParams,
        mut results: cluster::ChangeResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let change = wire::maintenance::get_member_request(request)?;
        let work = self.connection.thread.node.member_change(change);
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(members) => wire::maintenance::put_members(&members, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }
}
