//! The servers of a daemon: one for each surface, over all of its URLs.

use super::plan::{Plan, Surface};
use crate::failure::{Exit, Failure};
use coffer_core::node::Node;
use std::fmt::Display;

/// The running servers. Dropping them shuts them down.
#[derive(Debug)]
pub(crate) struct Surfaces {
    rpc: Option<coffer_rpc::server::Server>,
    etcd: Option<coffer_etcd::server::Server>,
    /// In the order of the plan.
    local_urls: Vec<String>,
}

impl Surfaces {
    /// Listens wherever the plan says. If one URL can not be listened on, none is.
    pub(crate) fn start(plan: &Plan, node: &Node) -> Result<Self, Failure> {
        let of = |surface| -> Vec<String> {
            let listen = plan.listen.iter().filter(|listen| listen.surface == surface);
            listen.map(|listen| listen.url.clone()).collect()
        };
        let (rpc_urls, etcd_urls) = (of(Surface::CapnProto), of(Surface::Etcd));
        let rpc = match rpc_urls.is_empty() {
            true => None,
            false => Some(
                coffer_rpc::server::Server::start(node.clone(), &rpc_urls, plan.rpc.clone())
                    .map_err(can_not_listen)?,
            ),
        };
        let etcd = match etcd_urls.is_empty() {
            true => None,
            false => Some(
                coffer_etcd::server::Server::start(node.clone(), &etcd_urls, plan.etcd.clone())
                    .map_err(can_not_listen)?,
            ),
        };
        let mut rpc_urls = rpc.as_ref().map_or(&[][..], |server| server.local_urls()).iter();
        let mut etcd_urls = etcd.as_ref().map_or(&[][..], |server| server.local_urls()).iter();
        let local_urls = plan.listen.iter().filter_map(|listen| match listen.surface {
            Surface::CapnProto => rpc_urls.next().cloned(),
            Surface::Etcd => etcd_urls.next().cloned(),
        });
        let local_urls = local_urls.collect();
        Ok(Self { rpc, etcd, local_urls })
    }

    /// The URLs with the actual ports.
    pub(crate) fn local_urls(&self) -> &[String] {
        &self.local_urls
    }

    /// Where etcd's API is served over plain HTTP apart from gRPC, with the actual ports.
    pub(crate) fn http_urls(&self) -> &[String] {
        self.etcd.as_ref().map_or(&[], |server| server.local_http_urls())
    }

    /// Where metrics and health are served apart, with the actual ports.
    pub(crate) fn metrics_urls(&self) -> &[String] {
        self.etcd.as_ref().map_or(&[], |server| server.local_metrics_urls())
    }

    /// Accepts nothing more, answers what has begun, closes every connection. Blocks.
    pub(crate) fn shutdown(self) {
        // Side by side, so that clients of both have the same grace time.
        std::thread::scope(|scope| {
            if let Some(etcd) = &self.etcd {
                scope.spawn(|| etcd.shutdown());
            }
            if let Some(rpc) = &self.rpc {
                rpc.shutdown();
            }
        });
    }
}

fn can_not_listen(error: impl Display) -> Failure {
    Failure::new(Exit::Failed, error).note("--listen-client-urls names another place")
}
