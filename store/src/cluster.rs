//! A store that is a member of a cluster: how it finds the others, and how they find it.
//!
//! # Data path
//! [`Peering`] -> the store's medium, under the ids of the cluster if it is new -> a node among peers, whose way to the others
//! is Cap'n Proto over sockets ([`coffer_rpc::peer`]) -> [`PeerServer`], which answers them.
//!
//! # Invariants
//! - The sockets are bound before the store is opened: a port that is taken changes nothing.
//! - What the flags say of a cluster counts for a new store only; later the store knows.

use crate::embedded::{Medium, random_id};
use crate::keys::{OpenStore, StoreKeys};
use crate::new_cluster::NewCluster;
use crate::options::Options;
use bytes::Bytes;
use coffer_backends::{Backend, seal};
use coffer_core::consensus::{Founding, MemberChange, MemberError};
use coffer_core::node::{Node, NodeConfig};
use coffer_core::{Error, Member, MemberInfo};
use coffer_rpc::peer::{Identity, PeerConfig, PeerNetwork, Roster, ask_roster};
use coffer_runtime::net::{Address, Listener};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The port of a peer URL that names none.
const PEER_PORT: u16 = 7421;
/// How long one member is asked who belongs to the cluster, and how long somebody who joins looks for one that answers.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// How long members may lag behind the one that a new member was added with, before it counts as not added.
const LAG_PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks at learners that are to vote, and how many entries they may lack.
const PROMOTE_INTERVAL: Duration = Duration::from_millis(250);
const LAG_MAX: u64 = 1000;
/// Time between two looks at who was removed.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Pause before another attempt to tell the cluster of this member.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);

/// How a member finds the others, and how they find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// Where it listens to the others: `http://host:port` or `coffer://host:port`; port 0 takes a free one.
    pub listen_urls: Vec<String>,
    /// Whose store a new one is, and who founds the cluster with it.
    pub cluster: NewCluster,
    /// Whether the cluster is there already and has this member added to it: a new store asks the others who it is.
    pub joins: bool,
}

impl Peering {
    /// Where other members reach this one, as far as it knows itself: where it says, or else where it listens.
    pub fn own_urls(&self) -> Vec<String> {
        let said = &self.cluster.own().info.peer_urls;
        if said.is_empty() { self.listen_urls.clone() } else { said.clone() }
    }
}

/// What answers the other members. They are answered until it is shut down, after the node.
#[derive(Debug)]
pub struct PeerServer {
    network: PeerNetwork,
    local_urls: Vec<String>,
}

impl PeerServer {
    /// Refuses members from the moment at which they are removed, and ends when this one is: with the reason why it can not
    /// go on. To be polled for as long as the node lives.
    pub async fn until_removed(&self, node: &Node) -> Error {
        let own = node.header().member_id;
        let mut known = BTreeSet::new();
        loop {
            coffer_runtime::sleep(LOOK_INTERVAL).await;
            let reason = "this member was removed from the cluster; its store is of no use any more";
            // It may have been removed without being told: nothing is sent to whoever does not belong.
            if self.network.was_removed() {
                return Error::Open(reason.into());
            }
            // The applied membership: one that may yet be taken back removes nobody.
            let Ok(members) = node.members() else { continue };
            if members.is_empty() {
                continue;
            }
            let members: BTreeSet<u64> = members.into_iter().map(|(member, _)| member.id).collect();
            let removed: Vec<u64> = known.difference(&members).copied().collect();
            if removed.contains(&own) {
                return Error::Open(reason.into());
            }
            if !removed.is_empty() {
                self.network.removed(removed);
            }
            known.extend(members);
        }
    }

    /// Where it listens, with the actual ports.
    pub fn local_urls(&self) -> &[String] {
        &self.local_urls
    }

    /// Closes every connection. Blocks; idempotent.
    pub fn shutdown(&self) {
        self.network.shutdown();
    }
}

impl Options {
    /// As [`open_store`](Self::open_store), of a store in `dir` that has other members, or may get some. Ready when it is
    /// opened: there need not be a leader yet.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::InvalidArgument`] for URLs that cannot be listened on.
    pub async fn open_member(&self, dir: &Path, peering: &Peering) -> Result<(OpenStore, PeerServer), Error> {
        let (options, dir, peering) = (self.clone(), dir.to_owned(), peering.clone());
        let opened = move || open(&dir, &options, &peering);
        crate::embedded::on_thread("coffer-open", opened).await?
    }
}

fn open(dir: &Path, options: &Options, peering: &Peering) -> Result<(OpenStore, PeerServer), Error> {
    let listeners = peering.listen_urls.iter().map(|url| bind(url)).collect::<Result<Vec<_>, _>>()?;
    let local_urls = listeners.iter().map(|(_, url)| url.clone()).collect();
    let is_new = Backend::of(dir).ok().flatten().is_none();
    let found = match (is_new, peering.joins) {
        (true, true) => Some(find_own(&peering.cluster)?),
        (true, false) => find_founded(ask_others(&peering.cluster, ASK_PATIENCE), peering.cluster.own())?,
        (false, _) => None,
    };
    let joins = peering.joins || found.is_some();
    let own = found.unwrap_or_else(|| peering.cluster.founding());
    let medium = Medium::open_as(dir, options, Some(own))?;
    let members = peering.cluster.members().iter();
    let founding = match joins {
        true => Founding::Join,
        false => Founding::With(members.map(|member| (member.id, member.info.encode())).collect()),
    };
    let config = NodeConfig {
        cluster_id: medium.identity.cluster_id,
        member_id: medium.identity.member_id,
        boot: medium.identity.boot,
        backend: medium.backend.name().into(),
        sealed: medium.keyring.is_some(),
        founding,
        ..options.node_config()
    };
    let identity = Identity { cluster: config.cluster_id, member: config.member_id, boot: random_id()? };
    let keys = match medium.keyring {
        Some(keyring) => Some(seal::StoreKeys::of_open(dir, keyring)?),
        None => None,
    };
    let network = PeerNetwork::start(PeerConfig::new(identity, Arc::new(addresses)))
        .map_err(|error| Error::Fatal(format!("cannot start a thread: {error}")))?;
    let node = Node::open_among(config, medium.log, medium.records, network.peers())?;
    network.serve(node.consensus().clone(), listeners.into_iter().map(|(listener, _)| listener).collect());
    let keys = keys.map(|keys| StoreKeys::of_open(keys, node.clone()));
    Ok((OpenStore { node, keys }, PeerServer { network, local_urls }))
}

/// What the other members of the cluster say of who belongs to it, one after the other: those that answer.
fn ask_others(cluster: &NewCluster, patience: Duration) -> impl Iterator<Item = Roster> {
    let others = cluster.members().iter().filter(|member| member.id != cluster.own().id);
    let urls = others.flat_map(|member| &member.info.peer_urls);
    urls.filter_map(move |url| {
        let asked = address(url).ok_or_else(|| "no URL of peers".to_owned());
        let asked = asked.and_then(|address| ask_roster(&address, patience));
        asked
            .inspect_err(|error| {
                tracing::debug!(url, error, "a member does not say who belongs to the cluster")
            })
            .ok()
    })
    .filter(|roster| !roster.members.is_empty())
}

/// Who a new store is in a cluster that is there already: the member that was added with its peer URLs.
fn find_own(cluster: &NewCluster) -> Result<coffer_backends::Founding, Error> {
    let own = &cluster.own().info.peer_urls;
    let began = Instant::now();
    loop {
        let mut answered = false;
        // One that lags has not heard of us yet, and another has.
        for roster in ask_others(cluster, ASK_PATIENCE) {
            answered = true;
            if let Some(found) = place_in(&roster, own)? {
                return Ok(found);
            }
        }
        if answered && began.elapsed() >= LAG_PATIENCE {
            return Err(Error::InvalidArgument(format!(
                "the cluster has no member with the peer URL {}: add it first, with these URLs",
                own.join(" or ")
            )));
        }
        if began.elapsed() >= JOIN_PATIENCE {
            let reason =
                "no other member of the cluster answers: is --initial-cluster right, and does one run?";
            return Err(Error::Unavailable(reason.into()));
        }
        std::thread::sleep(PUBLISH_INTERVAL);
    }
}

/// The member of a cluster that has one of these peer URLs, and was never started.
fn place_in(roster: &Roster, urls: &[String]) -> Result<Option<coffer_backends::Founding>, Error> {
    for (id, description) in &roster.members {
        let info = decode(description)?;
        if info.peer_urls.iter().any(|url| urls.contains(url)) {
            check_not_started(*id, &info)?;
            let found = coffer_backends::Founding { cluster_id: roster.cluster, member_id: *id, boot: 0 };
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn decode(description: &Bytes) -> Result<MemberInfo, Error> {
    MemberInfo::decode(description.clone())
        .map_err(|malformed| Error::Unavailable(format!("what a member answers: {malformed}")))
}

/// A cluster is founded once. A member whose store was lost must not found it again: it would vote a second time, and what
/// was acknowledged with its first vote might be lost. `None` for one that is to found it; else the member that was added,
/// or replaced, with its peer URLs.
fn find_founded(
    rosters: impl Iterator<Item = Roster>,
    own: &Member,
) -> Result<Option<coffer_backends::Founding>, Error> {
    let mut is_gone = false;
    for roster in rosters {
        if let Some(description) = roster.members.get(&own.id) {
            check_not_started(own.id, &decode(description)?)?;
        } else if let Some(found) = place_in(&roster, &own.info.peer_urls)? {
            return Ok(Some(found));
        } else {
            // A founder is known to all, until it is removed; whoever still knows it lags.
            is_gone = true;
        }
    }
    match is_gone {
        false => Ok(None),
        true => Err(Error::Open(format!(
            "the cluster has been founded, and member {:x} does not belong to it (any more): add it anew",
            own.id
        ))),
    }
}

/// A member that has told the cluster where clients reach it has had a store.
fn check_not_started(id: u64, info: &MemberInfo) -> Result<(), Error> {
    match info.client_urls.is_empty() {
        true => Ok(()),
        false => Err(Error::Open(format!(
            "member {id:x} has been part of the cluster with another store: if that store is lost, replace the member \
             (coffer member replace {id:x}), or remove it and add it anew"
        ))),
    }
}

/// Gives learners that are to vote their vote, while this member leads and once they have the log. Ends when the node does.
pub async fn promote_learners(node: &Node) {
    while node.failed().is_none() {
        coffer_runtime::sleep(PROMOTE_INTERVAL).await;
        let Some(progress) = node.consensus().progress() else { continue };
        let (membership, last) = (node.membership(), node.consensus().status().last);
        let last = last.map_or(0, |last| last.index);
        for (member, description) in &membership.members {
            let wants = || MemberInfo::decode(description.clone()).is_ok_and(|info| info.wants_vote);
            let matched = progress.get(member).copied().flatten().map(|id| id.index);
            let is_near = matched.is_some_and(|matched| matched + LAG_MAX >= last);
            if membership.is_voter(*member) || !is_near || !wants() {
                continue;
            }
            match node.change_members(MemberChange::Promote { member: *member }).await {
                Ok(()) => {
                    tracing::info!(member = format_args!("{member:x}"), "a learner has the log and votes now")
                }
                Err(error) => tracing::debug!(%error, "a learner does not vote yet"),
            }
        }
    }
}

/// Tells the cluster how this member is called and where it is reached, and ends once that is known there. What is empty is
/// left as it is known.
///
/// # Errors
/// The node stopped, or what is stored of the members cannot be read.
pub async fn publish(node: &Node, own: &MemberInfo) -> Result<(), Error> {
    let id = node.header().member_id;
    loop {
        if let Some(reason) = node.failed() {
            return Err(reason);
        }
        // Told from what this member remembers, an operator's change that it slept through would be taken back.
        if let Err(error) = node.barrier().await {
            tracing::debug!(%error, "this member is not published yet");
            coffer_runtime::sleep(PUBLISH_INTERVAL).await;
            continue;
        }
        let membership = node.membership();
        let known = membership.members.get(&id).cloned();
        if let Some(known) = known {
            let known = MemberInfo::decode(known)
                .map_err(|malformed| Error::Corrupt(format!("the membership: {malformed}")))?;
            let wanted = over(own, &known);
            if wanted == known {
                return Ok(());
            }
            let change = MemberChange::Describe { member: id, description: wanted.encode() };
            match node.change_members(change).await {
                Ok(()) => continue,
                // Others publish themselves at the same time, or nobody leads yet.
                Err(error @ (MemberError::InProgress | MemberError::NoLeader | MemberError::NotLeader)) => {
                    tracing::debug!(%error, "this member is not published yet");
                }
                Err(error) => tracing::warn!(%error, "this member could not be published; trying again"),
            }
        }
        coffer_runtime::sleep(PUBLISH_INTERVAL).await;
    }
}

/// What is known, with what `own` says over it.
fn over(own: &MemberInfo, known: &MemberInfo) -> MemberInfo {
    let list =
        |own: &Vec<String>, known: &Vec<String>| if own.is_empty() { known.clone() } else { own.clone() };
    MemberInfo {
        name: if own.name.is_empty() { known.name.clone() } else { own.name.clone() },
        // Where others come is changed by an operator, and by nobody else.
        peer_urls: list(&known.peer_urls, &own.peer_urls),
        client_urls: list(&own.client_urls, &known.client_urls),
        wants_vote: known.wants_vote,
    }
}

/// Binds a URL, and says what it became.
fn bind(url: &str) -> Result<(Listener, String), Error> {
    let refused =
        |reason: &dyn fmt::Display| Error::InvalidArgument(format!("cannot listen on {url}: {reason}"));
    let address = address(url).ok_or_else(|| refused(&"it is no URL of peers that this version serves"))?;
    let listener = Listener::bind(&address).map_err(|error| refused(&error))?;
    let local = listener.local_address().map_err(|error| refused(&error))?;
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    Ok((listener, format!("{scheme}://{local}")))
}

/// Where a description says that a member listens.
fn addresses(description: &Bytes) -> Vec<Address> {
    let known = MemberInfo::decode(description.clone()).unwrap_or_default();
    known.peer_urls.iter().filter_map(|url| address(url)).collect()
}

/// `http` and `coffer` mean the same to members.
fn address(url: &str) -> Option<Address> {
    let (scheme, rest) = url.split_once("://")?;
    let host_port = rest.split('/').next().filter(|host| !host.is_empty())?;
    if !["http", "coffer"].contains(&scheme) {
        return None;
    }
    let has_port =
        host_port.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    Some(Address::Tcp(if has_port { host_port.to_owned() } else { format!("{host_port}:{PEER_PORT}") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_url_is_an_address() {
        let tcp = |text: &str| Some(Address::Tcp(text.into()));
        for (url, expected) in [
            ("http://a:1", tcp("a:1")),
            ("coffer://a", tcp("a:7421")),
            ("http://[::1]:2", tcp("[::1]:2")),
            ("coffer://[::1]", tcp("[::1]:7421")),
            ("https://a:1", None),
            ("coffers://a:1", None),
            ("unix:///a", None),
            ("a:1", None),
            ("http://", None),
        ] {
            assert_eq!(address(url), expected, "{url}");
        }
    }

    #[test]
    fn a_lost_store_founds_no_cluster_twice_whoever_is_asked_first() {
        let info = |clients: &[&str]| MemberInfo {
            peer_urls: vec!["http://a:1".into()],
            client_urls: clients.iter().map(|url| String::from(*url)).collect(),
            ..MemberInfo::default()
        };
        let roster = |members: &[(u64, MemberInfo)]| Roster {
            cluster: 7,
            members: members.iter().map(|(id, info)| (*id, info.encode())).collect(),
        };
        let own = Member { id: 1, info: info(&[]) };
        let found = |rosters: &[&Roster]| find_founded(rosters.iter().map(|roster| (*roster).clone()), &own);
        let replaced = Ok(Some(coffer_backends::Founding { cluster_id: 7, member_id: 2, boot: 0 }));

        let founds = roster(&[(1, info(&[]))]);
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[&founds, &founds]), Ok(None));
        // What is true of the newest roster counts, and another may lag.
        let has_run = roster(&[(1, info(&["http://a:2"]))]);
        let removed = roster(&[(3, MemberInfo::default())]);
        let added = roster(&[(2, info(&[])), (3, MemberInfo::default())]);
        for newest in [[&has_run, &founds], [&founds, &has_run], [&removed, &founds], [&founds, &removed]] {
            assert!(matches!(found(&newest), Err(Error::Open(_))), "{newest:?}");
        }
        for newest in [[&added, &founds], [&founds, &added], [&removed, &added]] {
            assert_eq!(found(&newest), replaced, "{newest:?}");
        }
    }

    #[test]
    fn a_member_says_what_it_was_told_and_leaves_the_rest() {
        let info = |name: &str, peers: &[&str], clients: &[&str]| MemberInfo {
            name: name.into(),
            peer_urls: peers.iter().map(|url| String::from(*url)).collect(),
            client_urls: clients.iter().map(|url| String::from(*url)).collect(),
            wants_vote: false,
        };
        let known = info("old", &["http://a:1"], &["http://a:2"]);
        assert_eq!(over(&info("", &[], &[]), &known), known);
        let said = info("new", &["http://b:1"], &["http://b:2"]);
        assert_eq!(over(&said, &known), info("new", &["http://a:1"], &["http://b:2"]));
        assert_eq!(over(&said, &MemberInfo::default()), said);
    }
}
