//! The life of a daemon.
//!
//! Order of the start: signals, store (with the listeners for other members), listeners for clients, the announcement. Order of
//! the end: no new connections, requests under way are answered, the store is closed, and then the way to other members.

use super::compaction;
use super::data_dir;
use super::plan::Plan;
use super::rotation;
use super::surfaces::Surfaces;
use crate::failure::{Exit, Failure};
use crate::key_admin::{self, Served};
use coffer::request::Header;
use coffer::{Error, ErrorGroup, OpenStore, PeerServer, StoreKeys, Uri};
use coffer_core::node::Node;
use coffer_runtime::{Signal, SignalStream};
use futures_util::future::{self, Either};
use futures_util::{FutureExt, StreamExt};
use sd_notify::NotifyState;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

/// What there is to announce once clients are answered.
pub(crate) struct Ready<'a> {
    pub(crate) header: Header,
    /// Where clients are served, with the actual ports.
    pub(crate) urls: &'a [String],
    /// Where plain HTTP is served apart from gRPC.
    pub(crate) http_urls: &'a [String],
    /// Where metrics and health are served apart.
    pub(crate) metrics_urls: &'a [String],
}

/// Runs a daemon until a signal or a fault ends it. `announce` tells whoever started it that it answers.
pub(crate) fn run(
    plan: &Plan,
    announce: impl FnOnce(&Ready<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    coffer::block_on(serve(plan, announce))
}

async fn serve(plan: &Plan, announce: impl FnOnce(&Ready<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let signals = coffer_runtime::signal()
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot receive signals: {error}")))?;
    data_dir::check(&plan.data_dir)?;
    let (OpenStore { node, keys }, peers) = open(plan).await?;
    tell_how_it_is_kept(plan, &node).await;
    let keys = keys.map(Arc::new);
    let served = Served { node: node.clone(), keys: keys.clone() };
    let admin = match key_admin::Server::start(&plan.data_dir, served) {
        Ok(server) => Some(server),
        Err(error) => {
            let advice = "keys cannot be changed and the store not be verified while it is open";
            tracing::warn!(%error, "there is no admin socket: {advice}");
            None
        }
    };
    let ended = match Surfaces::start(plan, &node) {
        Ok(surfaces) => {
            let ready = Ready {
                header: node.header(),
                urls: surfaces.local_urls(),
                http_urls: surfaces.http_urls(),
                metrics_urls: surfaces.metrics_urls(),
            };
            let ended = match announce(&ready) {
                Ok(()) => until_the_end(plan, &node, keys, peers.as_ref(), &surfaces, signals).await,
                Err(failure) => Err(failure),
            };
            surfaces.shutdown();
            ended
        }
        Err(failure) => Err(failure),
    };
    drop(admin);
    node.shutdown();
    if let Some(peers) = peers {
        peers.shutdown();
    }
    ended
}

/// Opens the store, alone or among others.
async fn open(plan: &Plan) -> Result<(OpenStore, Option<PeerServer>), Failure> {
    let Some(peering) = &plan.peering else {
        let uri = Uri::File { dir: plan.data_dir.clone(), backend: None, seal: None };
        return Ok((plan.options.open_store(&uri).await?, None));
    };
    let (store, peers) = plan.options.open_member(&plan.data_dir, peering).await?;
    tracing::info!(urls = %List(peers.local_urls()), "listening to other members");
    Ok((store, Some(peers)))
}

/// Says in the log whether the store is sealed.
async fn tell_how_it_is_kept(plan: &Plan, node: &Node) {
    let Ok(status) = node.status().await else { return };
    let (data_dir, backend) = (plan.data_dir.display(), status.backend);
    match status.sealed {
        true => tracing::info!(%data_dir, backend, "the store is sealed"),
        false => tracing::warn!(
            %data_dir,
            backend,
            "UNSEALED: whoever can read the files of this store can read everything in it; `coffer convert` makes a \
             sealed store from it"
        ),
    }
}

/// Tells the service manager that the daemon is ready, and waits for what ends it.
async fn until_the_end(
    plan: &Plan,
    node: &Node,
    keys: Option<Arc<StoreKeys>>,
    peers: Option<&PeerServer>,
    surfaces: &Surfaces,
    signals: SignalStream,
) -> Result<(), Failure> {
    let urls = List(surfaces.local_urls());
    tell_systemd(&[NotifyState::Ready, NotifyState::Status(&format!("serving {urls}"))]);
    let (fault_of_node, removal) = (pin!(node.stopped()), pin!(removal(peers, node)));
    let ended = future::select(fault_of_node, removal);
    let (stop, ended) = (pin!(told_to_stop(signals)), ended.map(|reason| reason.factor_first().0));
    let end = future::select(stop, ended);
    let compaction = compaction::run(plan.auto_compaction, node);
    let own = publish(plan, node, surfaces);
    let housekeeping = pin!(future::join3(compaction, rotation::run(plan.rotation, keys), own));
    let end = match future::select(end, housekeeping).await {
        Either::Left((end, _)) => end,
        Either::Right(((never, _, _), _)) => match never {},
    };
    match end {
        Either::Left((signal, _)) => {
            tracing::info!(signal, "draining");
            tell_systemd(&[NotifyState::Stopping]);
            node.hand_over().await;
            Ok(())
        }
        Either::Right((reason, _)) => {
            tell_systemd(&[NotifyState::Stopping, NotifyState::Status(&reason.to_string())]);
            Err(fault(reason))
        }
    }
}

/// Resolves when this member is removed from its cluster.
async fn removal(peers: Option<&PeerServer>, node: &Node) -> Error {
    match peers {
        Some(peers) => peers.until_removed(node).await,
        None => future::pending().await,
    }
}

/// Tells the cluster of this member, and looks after those that are to vote.
async fn publish(plan: &Plan, node: &Node, surfaces: &Surfaces) -> Infallible {
    if plan.peering.is_some() {
        let mut own = plan.own.clone();
        if own.client_urls.is_empty() {
            own.client_urls = surfaces.local_urls().to_vec();
        }
        if let Err(error) = coffer::cluster::publish(node, &own).await {
            tracing::debug!(%error, "this member is not published");
        }
        coffer::cluster::promote_learners(node).await;
    }
    future::pending().await
}

/// A fault of this node: exit code 5 for damage, 1 else.
fn fault(reason: Error) -> Failure {
    let failure = Failure::from(reason.clone());
    match reason.group() {
        ErrorGroup::StopNode => {
            failure.note("nothing acknowledged is lost; see to the disk, then start it again")
        }
        _ => failure,
    }
}

/// Waits for a signal that ends the daemon, and names it.
async fn told_to_stop(mut signals: SignalStream) -> &'static str {
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Terminate => return "SIGTERM",
            Signal::Interrupt => return "SIGINT",
            Signal::Hangup => tracing::info!("SIGHUP: there is nothing to reload"),
        }
    }
    // The system delivers no signals any more; a fault or SIGKILL is what is left.
    future::pending().await
}

/// Without systemd this does nothing.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

/// Items separated by commas.
pub(crate) struct List<'a, T>(pub(crate) &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
