//! Leases.

use super::connection::Connection;
use crate::schema::lease_capnp::lease;
use crate::wire::{self, size};
use coffer_core::node::Node;
use coffer_core::request::LeaseKeepAliveResponse;
use coffer_core::{Error, LeaseId};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::rc::Rc;

/// Most leases in one `keepAliveMany`.
const KEEP_ALIVE_MAX: u32 = 10_000;

pub(super) struct Lease {
    connection: Rc<Connection>,
    node: Node,
}

impl Lease {
    pub(super) fn new(connection: Rc<Connection>) -> Self {
        let node = connection.thread.node.clone();
        Self { connection, node }
    }

    async fn keep_all_alive(&self, ids: Vec<LeaseId>) -> Vec<Result<LeaseKeepAliveResponse, Error>> {
        let calls: FuturesOrdered<_> = ids.into_iter().map(|id| self.node.lease_keep_alive(id)).collect();
        calls.collect().await
    }
}

impl lease::Server for Lease {
    async fn grant(
        self: Rc<Self>,
        params: lease::GrantParams,
        mut results: lease::GrantResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.node.lease_grant(wire::lease::get_grant_request(request));
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(response) => wire::lease::put_grant_response(&response, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn revoke(
        self: Rc<Self>,
        params: lease::RevokeParams,
        mut results: lease::RevokeResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.node.lease_revoke(LeaseId(request.get_id()));
        match self.connection.write(request.get_deadline_ms(), work).await {
            Ok(response) => wire::lease::put_revoke_response(&response, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn keep_alive(
        self: Rc<Self>,
        params: lease::KeepAliveParams,
        mut results: lease::KeepAliveResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.node.lease_keep_alive(LeaseId(request.get_id()));
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok(response) => wire::lease::put_keep_alive_response(&response, results.get().init_ok()),
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn keep_alive_many(
        self: Rc<Self>,
        params: lease::KeepAliveManyParams,
        mut results: lease::KeepAliveManyResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let ids = request.get_ids()?;
        if ids.len() > KEEP_ALIVE_MAX {
            let error = Error::InvalidArgument(format!("more than {KEEP_ALIVE_MAX} leases in one request"));
            wire::error::put(&error, results.get().init_err());
            return Ok(());
        }
        let ids: Vec<LeaseId> = ids.iter().map(LeaseId).collect();
        let work = async { Ok(self.keep_all_alive(ids).await) };
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok(answers) => {
                self.connection.link.expect_words(size::FRAME_WORDS + answers.len() * 16);
                let mut list = results.get().init_ok().init_results(wire::list_len(answers.len()));
                for (index, answer) in (0..).zip(&answers) {
                    let to = list.reborrow().get(index);
                    match answer {
                        Ok(response) => wire::lease::put_keep_alive_response(response, to.init_ok()),
                        Err(error) => wire::error::put(error, to.init_err()),
                    }
                }
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn time_to_live(
        self: Rc<Self>,
        params: lease::TimeToLiveParams,
        mut results: lease::TimeToLiveResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let work = self.node.lease_time_to_live(wire::lease::get_time_to_live_request(request));
        match self.connection.read(request.get_deadline_ms(), work).await {
            Ok(response) => {
                let keys: usize = response.keys.iter().map(|key| 1 + size::bytes(key.len())).sum();
                self.connection.link.expect_words(size::FRAME_WORDS + keys);
                wire::lease::put_time_to_live_response(&response, results.get().init_ok());
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }

    async fn list(
        self: Rc<Self>,
        params: lease::ListParams,
        mut results: lease::ListResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        match self.connection.read(request.get_deadline_ms(), self.node.lease_list()).await {
            Ok(response) => {
                self.connection.link.expect_words(size::FRAME_WORDS + response.leases.len());
                wire::lease::put_list_response(&response, results.get().init_ok());
            }
            Err(error) => wire::error::put(&error, results.get().init_err()),
        }
        Ok(())
    }
}
