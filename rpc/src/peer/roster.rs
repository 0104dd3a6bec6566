//! Who belongs to a cluster, asked of a member by somebody who belongs to none yet.
//!
//! A store that is to join a cluster learns its ids in this way, and one that is to found a cluster whether that was done
//! already. Nothing else is answered before a hello.

use super::PeerConfig;
use super::identity::Identity;
use crate::net::{Budget, Fault, Link, Network, drive};
use crate::schema::peer_capnp::peer_gate;
use crate::ticker::Ticker;
use bytes::Bytes;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use coffer_runtime::local::spawn;
use coffer_runtime::net::{Address, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The members of a cluster, as one of them knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// The cluster.
    pub cluster: u64,
    /// Its members, each with what the cluster knows of it. None while it is not founded.
    pub members: BTreeMap<u64, Bytes>,
}

/// Asks whoever listens at `address`. Blocks, on a thread of its own, for no longer than `patience`.
///
/// # Errors
/// Why there is no answer.
pub fn ask_roster(address: &Address, patience: Duration) -> Result<Roster, String> {
    let address = address.clone();
    let asked = coffer_runtime::local::run("coffer-roster", move || async move {
        let ticker = Ticker::default();
        spawn(ticker.clone().run());
        let late = || format!("no answer within {patience:?}");
        ticker.limit(patience, ask(&ticker, &address)).await.unwrap_or_else(|| Err(late()))
    });
    let asked = asked.map_err(|error| error.to_string())?;
    asked.join().map_err(|error| error.to_string())?
}

async fn ask(ticker: &Ticker, address: &Address) -> Result<Roster, String> {
    let broken = |error: capnp::Error| error.to_string();
    let stream = Stream::connect(address).await.map_err(|error| error.to_string())?;
    let nobody = Identity { cluster: 0, member: 0, boot: 0 };
    let limits = PeerConfig::new(nobody, Arc::new(|_| Vec::new())).limits();
    let link = Link::new(limits, ticker.clone(), Budget::new(usize::MAX));
    // The roster may be longer than what a stranger may send.
    link.logged_in();
    let network = Network::new(Box::new(stream), Side::Client, link.clone());
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate: peer_gate::Client = system.bootstrap(Side::Server);
    spawn(drive(system, link.clone()));
    let answer = gate.roster_request().send().promise.await;
    let roster = answer.and_then(|answer| {
        let answer = answer.get()?;
        let members = answer.get_members()?.iter();
        let members =
            members.map(|member| Ok((member.get_id(), Bytes::copy_from_slice(member.get_description()?))));
        let members = members.collect::<capnp::Result<_>>()?;
        Ok(Roster { cluster: answer.get_cluster_id(), members })
    });
    link.fail(Fault::Closed);
    roster.map_err(broken)
}
