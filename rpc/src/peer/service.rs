//! Answers members that connect to this one.
//!
//! # Invariants
//! - Nothing of a connection reaches consensus before its hello was accepted.
//! - Of one member id, connections of one process are served. Another process with that id is served only once the
//!   former does not answer any more.
//! - At most [`STRANGERS_MAX`] connections have not said hello, and each for no longer than a connection may take. One more
//!   ends the oldest of them: whoever has a hello to say says it at once.

use super::identity::{Hello, Refusal};
use super::{PeerConfig, Thread};
use crate::net::{Fault, Link, Network};
use crate::schema::peer_capnp::{hello_answer, peer, peer_gate, pinger, snapshot_sink};
use crate::wire::peer as wire;
use bytes::Bytes;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use coffer_core::Error;
use coffer_core::consensus::Consensus;
use coffer_core::consensus::messages::{AppendRequest, AppendResponse, Vote};
use coffer_core::consensus::snapshots::SnapshotWriter;
use coffer_core::storage::LogId;
use coffer_runtime::local::spawn;
use coffer_runtime::net::{Listener, Stream};
use coffer_runtime::{sleep, unblock};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait when the process is out of descriptors.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Connections that have not said hello yet, at most: who has no hello to say must not keep members out by taking descriptors.
const STRANGERS_MAX: usize = 256;
/// How long a process may take to show that it lives, when another one claims its member id.
const TWIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Who is served, and by what.
pub(super) struct Service {
    config: Arc<PeerConfig>,
    consensus: RefCell<Option<Arc<Consensus>>>,
    removed: RefCell<HashSet<u64>>,
    /// The id of the next connection.
    next: Cell<u64>,
    /// Connections that said hello, by their ids.
    served: RefCell<HashMap<u64, Known>>,
    /// Connections that did not yet, or were refused, the oldest first.
    strangers: RefCell<BTreeMap<u64, Link>>,
}

#[derive(Clone)]
struct Known {
    member: u64,
    boot: u64,
    link: Link,
    pinger: pinger::Client,
}

impl Service {
    pub(super) fn new(config: Arc<PeerConfig>) -> Self {
        Self {
            config,
            consensus: RefCell::default(),
            removed: RefCell::default(),
            next: Cell::new(0),
            served: RefCell::default(),
            strangers: RefCell::default(),
        }
    }

    pub(super) fn begin(&self, consensus: Arc<Consensus>) {
        self.consensus.replace(Some(consensus));
    }

    /// Refuses these members from now on.
    pub(super) fn removed(&self, members: &[u64]) {
        self.removed.borrow_mut().extend(members);
        for known in self.served.borrow().values().filter(|known| members.contains(&known.member)) {
            known.link.fail(Fault::Closed);
        }
    }

    /// Ends every connection.
    pub(super) fn close(&self) {
        self.consensus.take();
        self.strangers.borrow().values().for_each(|link| link.fail(Fault::Closed));
        for known in self.served.borrow().values() {
            known.link.fail(Fault::Closed);
        }
    }

    /// Counts a connection that is no member's. One too many ends the oldest.
    fn count_stranger(&self, id: u64, link: Link) {
        let mut strangers = self.strangers.borrow_mut();
        if strangers.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = strangers.pop_first()
        {
            tracing::debug!("too many connections have not said hello: the oldest is closed");
            oldest.fail(Fault::NoLogin);
        }
        strangers.insert(id, link);
    }

    /// Whether a hello may be answered with a capability, and by which version of the protocol.
    async fn admit(&self, thread: &Thread, hello: &Hello) -> Result<(Arc<Consensus>, u32), Refusal> {
        let own = &self.config.identity;
        let protocol = hello.agree(own.member, self.config.protocols)?;
        hello.check(own, &self.removed.borrow())?;
        let from = hello.from;
        let others: Vec<Known> = self
            .served
            .borrow()
            .values()
            .filter(|known| known.member == from.member && known.boot != from.boot)
            .cloned()
            .collect();
        for other in others {
            let answer = other.pinger.ping_request().send().promise;
            if matches!(thread.ticker.limit(TWIN_TIMEOUT, answer).await, Some(Ok(_))) {
                return Err(Refusal::Twin(from.member));
            }
            other.link.fail(Fault::Idle);
        }
        let consensus = self.consensus.borrow().clone().ok_or(Refusal::Stopped(own.member))?;
        if let Some((index, members)) = consensus.committed_membership().await {
            hello.check_membership(index, &members)?;
        }
        Ok((consensus, protocol))
    }

    /// What the newest membership says of a member, if it names that one and this node is served.
    pub(super) fn description(&self, member: u64) -> Option<Bytes> {
        self.consensus.borrow().as_ref()?.membership().members.get(&member).cloned()
    }

    /// Index of the newest committed membership, if it names this member.
    pub(super) async fn named_by(&self) -> Option<u64> {
        let consensus = self.consensus.borrow().clone()?;
        let (index, members) = consensus.committed_membership().await?;
        members.contains(&self.config.identity.member).then_some(index)
    }
}

/// Accepts connections until the thread ends.
pub(super) async fn accept(thread: Rc<Thread>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                tracing::trace!(%address, "a peer connects");
                spawn(serve(thread.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection; trying again");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Serves one connection until it ends.
async fn serve(thread: Rc<Thread>, stream: Stream) {
    let link = Link::new(thread.config.limits(), thread.ticker.clone(), thread.budget.clone());
    let registered = Rc::new(Registered::stranger(thread.clone(), link.clone()));
    let network = Network::new(Box::new(stream), Side::Server, link.clone());
    let gate = Gate { thread: thread.clone(), link: link.clone(), registered: registered.clone() };
    let gate: peer_gate::Client = capnp_rpc::new_client(gate);
    let mut system = RpcSystem::new(Box::new(network), Some(gate.client));
    let disconnector = system.get_disconnector();
    let greeted = async {
        thread.ticker.after(thread.config.connect_timeout).await;
        if !registered.is_known.get() {
            link.fail(Fault::NoLogin);
        }
        std::future::pending::<()>().await
    };
    let running = AssertUnwindSafe(&mut system).catch_unwind();
    let panicked = match select(pin!(running), pin!(greeted)).await {
        Either::Left((outcome, _)) => outcome.is_err(),
        Either::Right(((), _)) => false,
    };
    if panicked {
        tracing::error!("a peer's call panicked; its connection is closed");
        link.fail(Fault::Panic);
    }
    // Lets go of what the two sides hold of each other, which otherwise keeps itself alive.
    let _ = disconnector.now_or_never();
}

/// A connection in one of the lists: of strangers, and of those served once it has said hello.
struct Registered {
    thread: Rc<Thread>,
    id: u64,
    is_known: Cell<bool>,
}

impl Registered {
    fn stranger(thread: Rc<Thread>, link: Link) -> Self {
        let service = &thread.service;
        let id = service.next.get();
        service.next.set(id + 1);
        service.count_stranger(id, link);
        Self { thread, id, is_known: Cell::new(false) }
    }

    /// It says hello: it is not closed to make room any more, while that is being checked.
    fn speaks(&self) {
        self.thread.service.strangers.borrow_mut().remove(&self.id);
    }

    /// It was refused, and is a stranger as before.
    fn refused(&self, link: Link) {
        self.thread.service.count_stranger(self.id, link);
    }

    fn register(&self, known: Known) {
        // Where it said hello twice at once, the other one may have been refused.
        self.speaks();
        self.thread.service.served.borrow_mut().insert(self.id, known);
        self.is_known.set(true);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let service = &self.thread.service;
        service.strangers.borrow_mut().remove(&self.id);
        service.served.borrow_mut().remove(&self.id);
    }
}

struct Gate {
    thread: Rc<Thread>,
    link: Link,
    registered: Rc<Registered>,
}

impl peer_gate::Server for Gate {
    async fn hello(
        self: Rc<Self>,
        params: peer_gate::HelloParams,
        mut results: peer_gate::HelloResults,
    ) -> capnp::Result<()> {
        let request = params.get()?;
        let (hello, pinger) = (Hello::get(request), request.get_pinger()?);
        self.registered.speaks();
        let service = &self.thread.service;
        let mut answer: hello_answer::Builder<'_> = results.get();
        answer.set_boot(service.config.identity.boot);
        match service.admit(&self.thread, &hello).await {
            Ok((consensus, protocol)) if !self.registered.is_known.get() => {
                let (member, boot) = (hello.from.member, hello.from.boot);
                self.registered.register(Known { member, boot, link: self.link.clone(), pinger });
                self.link.logged_in();
                let served = Served {
                    consensus,
                    member,
                    session: RefCell::default(),
                    registered: self.registered.clone(),
                };
                answer.set_protocol(protocol);
                answer.set_peer(capnp_rpc::new_client(served));
            }
            Ok(_) => return Err(capnp::Error::failed("a connection says hello once".to_owned())),
            Err(refusal) => {
                if !self.registered.is_known.get() {
                    self.registered.refused(self.link.clone());
                }
                let from = hello.from.member;
                tracing::warn!(member = format_args!("{from:x}"), %refusal, "a peer was refused");
                refusal.put(answer.init_refused());
            }
        }
        Ok(())
    }

    async fn roster(
        self: Rc<Self>,
        _: peer_gate::RosterParams,
        mut results: peer_gate::RosterResults,
    ) -> capnp::Result<()> {
        let service = &self.thread.service;
        let consensus = service.consensus.borrow().clone();
        let members = consensus.map(|consensus| consensus.membership().members).unwrap_or_default();
        results.get().set_cluster_id(service.config.identity.cluster);
        let mut listed = results.get().init_members(members.len() as u32);
        for (at, (id, description)) in (0..).zip(&members) {
            let mut member = listed.reborrow().get(at);
            member.set_id(*id);
            member.set_description(description);
        }
        Ok(())
    }
}

/// What a member may ask of this one.
struct Served {
    consensus: Arc<Consensus>,
    /// Who asks.
    member: u64,
    session: RefCell<Option<Rc<Session>>>,
    registered: Rc<Registered>,
}

/// A stream of appends: its requests go to consensus in order, and the answers come back in order.
struct Session {
    requests: async_channel::Sender<AppendRequest>,
    waiting: RefCell<VecDeque<oneshot::Sender<Result<AppendResponse, Error>>>>,
    ended: Cell<bool>,
}

impl Served {
    /// The member waits until it knows how far is committed.
    fn asked(&self) {
        self.registered.thread.asked.by(self.member);
    }

    /// Hands a request to the stream that is under way, or begins one.
    fn append(&self, request: AppendRequest) -> oneshot::Receiver<Result<AppendResponse, Error>> {
        let (sender, answer) = oneshot::channel();
        let mut current = self.session.borrow_mut();
        let session = match &*current {
            Some(session) if !session.ended.get() => session.clone(),
            _ => {
                let session = self.begin();
                *current = Some(session.clone());
                session
            }
        };
        session.waiting.borrow_mut().push_back(sender);
        // Bounded by the sender's window. Where consensus has stopped, the session's end answers.
        let _ = session.requests.try_send(request);
        answer
    }

    fn begin(&self) -> Rc<Session> {
        let (requests, queue) = async_channel::unbounded();
        let mut answers = self.consensus.append(queue);
        let session = Rc::new(Session { requests, waiting: RefCell::default(), ended: Cell::new(false) });
        let this = session.clone();
        spawn(async move {
            while let Some(answer) = answers.next().await {
                let goes_on = matches!(answer, Ok(AppendResponse::Matched(_)));
                let waiter = this.waiting.borrow_mut().pop_front();
                if let Some(waiter) = waiter {
                    // The connection may have gone.
                    let _ = waiter.send(answer);
                }
                if !goes_on {
                    break;
                }
            }
            // Whoever still waits is told by its sender's end.
            this.ended.set(true);
            this.requests.close();
            this.waiting.take();
        });
        session
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.requests.close();
        }
    }
}

fn stopped(error: Error) -> capnp::Error {
    capnp::Error::disconnected(error.to_string())
}

impl pinger::Server for Served {
    async fn ping(self: Rc<Self>, _: pinger::PingParams, _: pinger::PingResults) -> capnp::Result<()> {
        Ok(())
    }
}

impl peer::Server for Served {
    async fn vote(
        self: Rc<Self>,
        params: peer::VoteParams,
        mut results: peer::VoteResults,
    ) -> capnp::Result<()> {
        let request = wire::get_vote_request(params.get()?)?;
        let answer = self.consensus.vote(request).await.map_err(stopped)?;
        wire::put_vote_answer(&answer, results.get());
        Ok(())
    }

    async fn append(
        self: Rc<Self>,
        params: peer::AppendParams,
        mut results: peer::AppendResults,
    ) -> capnp::Result<()> {
        let answer = Served::append(&self, wire::get_append(params.get()?)?);
        drop(params);
        let ended = |_| capnp::Error::disconnected("the stream of entries has ended".to_owned());
        let answer = answer.await.map_err(ended)?.map_err(stopped)?;
        wire::put_append_answer(&answer, results.get());
        Ok(())
    }

    async fn transfer(
        self: Rc<Self>,
        params: peer::TransferParams,
        mut results: peer::TransferResults,
    ) -> capnp::Result<()> {
        let request = wire::get_transfer(params.get()?)?;
        if let Err(refused) = self.consensus.transferred(request).await {
            results.get().set_refused(refused.to_string());
        }
        Ok(())
    }

    async fn snapshot(
        self: Rc<Self>,
        params: peer::SnapshotParams,
        mut results: peer::SnapshotResults,
    ) -> capnp::Result<()> {
        let header = params.get()?;
        let at = wire::need_id(header.get_membership_at()?)?;
        let membership = (at, Bytes::copy_from_slice(header.get_membership()?));
        let (vote, last) = (wire::get_vote(header.get_vote()?), wire::need_id(header.get_last()?)?);
        let staging = self.consensus.staging().clone();
        let writer = unblock(move || staging.begin()).await.map_err(|error| failed(&error))?;
        let sink = Sink {
            consensus: self.consensus.clone(),
            vote,
            last,
            membership,
            writer: Cell::new(Some(writer.map_err(|error| failed(&error))?)),
            bytes: Cell::new(0),
            sum: Cell::new(0),
        };
        results.get().set_sink(capnp_rpc::new_client(sink));
        Ok(())
    }

    async fn read_index(
        self: Rc<Self>,
        _: peer::ReadIndexParams,
        mut results: peer::ReadIndexResults,
    ) -> capnp::Result<()> {
        self.asked();
        let index = self.consensus.read_index().await;
        wire::put_read_index(index, results.get());
        Ok(())
    }

    async fn propose(
        self: Rc<Self>,
        params: peer::ProposeParams,
        mut results: peer::ProposeResults,
    ) -> capnp::Result<()> {
        let payload = Bytes::copy_from_slice(params.get()?.get_payload()?);
        drop(params);
        self.asked();
        let outcome = self.consensus.propose_for(payload).await;
        wire::put_proposed(outcome, results.get());
        Ok(())
    }

    async fn ask(
        self: Rc<Self>,
        params: peer::AskParams,
        mut results: peer::AskResults,
    ) -> capnp::Result<()> {
        let question = Bytes::copy_from_slice(params.get()?.get_question()?);
        drop(params);
        let answer = self.consensus.answer(question).await.map_err(stopped)?;
        results.get().set_known(answer.is_some());
        results.get().set_answer(&answer.unwrap_or_default());
        Ok(())
    }

    async fn change(
        self: Rc<Self>,
        params: peer::ChangeParams,
        mut results: peer::ChangeResults,
    ) -> capnp::Result<()> {
        let change = wire::get_change(params.get()?)?;
        self.asked();
        let outcome = self.consensus.change_for(change).await;
        wire::put_changed(outcome, results.get());
        Ok(())
    }
}

/// A snapshot that arrives. Its writer is away while it works, and gone once it failed.
struct Sink {
    consensus: Arc<Consensus>,
    vote: Vote,
    last: LogId,
    membership: (LogId, Bytes),
    writer: Cell<Option<Box<dyn SnapshotWriter>>>,
    bytes: Cell<u64>,
    sum: Cell<u32>,
}

fn failed(error: &dyn std::fmt::Display) -> capnp::Error {
    tracing::warn!(%error, "a snapshot from another member cannot be taken");
    capnp::Error::failed(format!("the snapshot cannot be taken: {error}"))
}

impl Sink {
    fn take_writer(&self) -> capnp::Result<Box<dyn SnapshotWriter>> {
        self.writer.take().ok_or_else(|| failed(&"a chunk is being written, or one could not be"))
    }
}

impl snapshot_sink::Server for Sink {
    async fn write(
        self: Rc<Self>,
        params: snapshot_sink::WriteParams,
        _: snapshot_sink::WriteResults,
    ) -> capnp::Result<()> {
        let chunk = Bytes::copy_from_slice(params.get()?.get_chunk()?);
        drop(params);
        self.bytes.set(self.bytes.get() + chunk.len() as u64);
        self.sum.set(crc32c::crc32c_append(self.sum.get(), &chunk));
        let mut writer = self.take_writer()?;
        let written = unblock(move || writer.write(chunk).map(|()| writer)).await;
        let writer = written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        self.writer.set(Some(writer));
        Ok(())
    }

    async fn finish(
        self: Rc<Self>,
        params: snapshot_sink::FinishParams,
        mut results: snapshot_sink::FinishResults,
    ) -> capnp::Result<()> {
        let sent = params.get()?;
        if (sent.get_bytes(), sent.get_crc32c()) != (self.bytes.get(), self.sum.get()) {
            return Err(failed(&"it did not arrive as it was sent"));
        }
        let writer = self.take_writer()?;
        let staged = unblock(move || writer.finish()).await.map_err(|error| failed(&error))?;
        let staged = staged.map_err(|error| failed(&error))?;
        let installed = self.consensus.install(self.vote, self.last, self.membership.clone(), staged).await;
        wire::put_vote(&installed.map_err(stopped)?, results.get().init_vote());
        Ok(())
    }
}
