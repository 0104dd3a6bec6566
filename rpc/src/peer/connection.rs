//! Sockets to other members: made when they are used, kept while they live.

use super::{PeerConfig, Thread};
use crate::net::{Fault, Link, Network, drive};
use crate::schema::peer_capnp::{Lane, hello_answer, peer, peer_gate, pinger, refusal};
use crate::ticker::Ticker;
use bytes::Bytes;
use capnp::capability::FromClientHook;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use coffer_core::consensus::peers::PeerError;
use coffer_runtime::local::spawn;
use coffer_runtime::net::{Address, Stream};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A socket to a member after its hello.
pub(super) struct Connection {
    pub(super) peer: peer::Client,
    pub(super) link: Link,
    /// The newest of what the membership said of the member and where that still leads here.
    description: RefCell<Bytes>,
    /// Where the member listened when it was made: one of these it leads to.
    addresses: Vec<Address>,
}

impl Connection {
    /// Whether it leads where `description` says.
    fn leads_to(&self, config: &PeerConfig, description: &Bytes) -> bool {
        if *self.description.borrow() == *description {
            return true;
        }
        let same = (config.addresses)(description) == self.addresses;
        if same {
            self.description.replace(description.clone());
        }
        same
    }
}

type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Connection>, PeerError>>>;

enum Slot {
    Open(Rc<Connection>),
    Opening(Opening),
}

/// All of a member's connections to others, by member and lane.
#[derive(Default)]
pub(super) struct Connections {
    slots: RefCell<HashMap<(u64, u16), Slot>>,
    is_closed: Cell<bool>,
}

impl Connections {
    /// The connection to `member` on `lane`, which is made if there is none. If the member listens elsewhere by now, all
    /// connections to where it was end.
    pub(super) async fn get(
        thread: &Rc<Thread>,
        member: u64,
        description: &Bytes,
        lane: Lane,
    ) -> Result<Rc<Connection>, PeerError> {
        let key = (member, u16::from(lane));
        let opening = {
            if thread.connections.is_closed.get() {
                return Err(PeerError::Unreachable("this member is shutting down".to_owned()));
            }
            let mut slots = thread.connections.slots.borrow_mut();
            match slots.get(&key) {
                Some(Slot::Open(open))
                    if open.link.fault().is_none() && open.leads_to(&thread.config, description) =>
                {
                    return Ok(open.clone());
                }
                Some(Slot::Opening(opening)) => opening.clone(),
                _ => {
                    for ((of, _), slot) in slots.iter() {
                        if let Slot::Open(former) = slot
                            && *of == member
                            && !former.leads_to(&thread.config, description)
                        {
                            former.link.fail(Fault::Closed);
                        }
                    }
                    let opening = open(thread.clone(), member, description.clone(), lane);
                    let opening = opening.boxed_local().shared();
                    slots.insert(key, Slot::Opening(opening.clone()));
                    opening
                }
            }
        };
        let opened = opening.clone().await;
        let mut slots = thread.connections.slots.borrow_mut();
        if let Some(Slot::Opening(now)) = slots.get(&key)
            && now.ptr_eq(&opening)
        {
            match &opened {
                Ok(connection) => slots.insert(key, Slot::Open(connection.clone())),
                Err(_) => slots.remove(&key),
            };
        }
        opened
    }

    /// Ends them all; none is made any more.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        for (_, slot) in self.slots.borrow_mut().drain() {
            if let Slot::Open(connection) = slot {
                connection.link.fail(Fault::Closed);
            }
        }
    }
}

/// Connects to the first address that can be reached and says hello.
async fn open(
    thread: Rc<Thread>,
    member: u64,
    description: Bytes,
    lane: Lane,
) -> Result<Rc<Connection>, PeerError> {
    let addresses = (thread.config.addresses)(&description);
    let mut failed = "its membership entry names no address".to_owned();
    for address in &addresses {
        let opened = open_at(&thread, member, lane, address);
        match thread.ticker.limit(thread.config.connect_timeout, opened).await {
            Some(Ok((peer, link))) => {
                tracing::debug!(member = format_args!("{member:x}"), %address, ?lane, "connected");
                let description = RefCell::new(description);
                let connection = Rc::new(Connection { peer, link, description, addresses });
                let idle = thread.config.idle_timeout;
                spawn(ping(Rc::downgrade(&connection), thread.ticker.clone(), idle));
                return Ok(connection);
            }
            Some(Err(reason)) => failed = format!("{address}: {reason}"),
            None => failed = format!("{address}: no answer within {:?}", thread.config.connect_timeout),
        }
    }
    Err(PeerError::Unreachable(failed))
}

async fn open_at(
    thread: &Rc<Thread>,
    member: u64,
    lane: Lane,
    address: &Address,
) -> Result<(peer::Client, Link), String> {
    let config = &thread.config;
    let named_by = thread.service.named_by().await;
    let stream = Stream::connect(address).await.map_err(|error| error.to_string())?;
    let link = Link::new(config.limits(), thread.ticker.clone(), thread.budget.clone());
    // Whoever gives up half-way closes the connection with this.
    let guard = CloseOnDrop(Some(link.clone()));
    let network = Network::new(Box::new(stream), Side::Client, link.clone());
    let mut system = RpcSystem::new(Box::new(network), None);
    let gate: peer_gate::Client = system.bootstrap(Side::Server);
    spawn(drive(system, link.clone()));
    let mut hello = gate.hello_request();
    let mut to = hello.get();
    to.set_protocol(config.protocols.newest);
    to.set_protocol_min(config.protocols.oldest);
    to.set_cluster_id(config.identity.cluster);
    to.set_from(config.identity.member);
    to.set_boot(config.identity.boot);
    to.set_to(member);
    to.set_lane(lane);
    to.set_pinger(capnp_rpc::new_client(Pinger));
    to.set_membership(named_by.map_or(0, |index| index + 1));
    let broken = |error: capnp::Error| error.to_string();
    let answer = hello.send().promise.await.map_err(broken)?;
    let answer = answer.get().map_err(broken)?;
    let protocol = answer.get_protocol().max(1);
    let peer = match answer.which().map_err(|_| "an answer that this version does not know".to_owned())? {
        hello_answer::Which::Peer(peer) => peer.map_err(broken)?,
        hello_answer::Which::Refused(refusal) => {
            let refusal = refusal.map_err(broken)?;
            let message = refusal.get_message().and_then(|text| Ok(text.to_string()?)).map_err(broken)?;
            tracing::warn!(member = format_args!("{member:x}"), %address, %message, "refused by a peer");
            if matches!(refusal.get_reason(), Ok(refusal::Reason::Removed)) {
                thread.removed.store(true, Ordering::Release);
            }
            return Err(format!("refused: {message}"));
        }
    };
    tracing::debug!(member = format_args!("{member:x}"), protocol, "agreed with a peer");
    guard.disarm();
    link.logged_in();
    Ok((peer, link))
}

/// Shows the other side that this one lives.
struct Pinger;

impl pinger::Server for Pinger {
    async fn ping(self: Rc<Self>, _: pinger::PingParams, _: pinger::PingResults) -> capnp::Result<()> {
        Ok(())
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

/// Notices a member that is silent, where nothing else is asked of it.
async fn ping(connection: Weak<Connection>, ticker: Ticker, timeout: Duration) {
    loop {
        ticker.after(timeout).await;
        let Some(alive) = connection.upgrade().filter(|it| it.link.fault().is_none()) else { return };
        if alive.link.take_activity() {
            continue;
        }
        let answer = alive.peer.clone().cast_to::<pinger::Client>().ping_request().send().promise;
        let (link, answered) = (alive.link.clone(), ticker.limit(timeout, answer));
        drop(alive);
        if !matches!(answered.await, Some(Ok(_))) && !link.take_activity() {
            link.fail(Fault::Idle);
            return;
        }
    }
}
