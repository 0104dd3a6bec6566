//! The network: what members say to each other, late, lost, twice, or not at all.
//!
//! It stands behind the same [`Peers`] as the real one. What a member sends is carried by a task of the world, which lets time
//! pass, looks whether the way is open when it arrives, and has a thread of the other member take it; the answer comes back
//! in the same way. A lane keeps its order, as the contract wants it; calls overtake each other.

mod append;
mod snapshot;

use crate::life::Life;
use crate::machine::{self, Random};
use bytes::Bytes;
use coffer_core::Error;
use coffer_core::consensus::messages::*;
use coffer_core::consensus::peers::{Caller, Lane, LaneKind, PeerError, Peers};
use coffer_core::consensus::snapshots::Snapshot;
use coffer_core::consensus::{Consensus, MemberChange, MemberError, ProposeError};
use coffer_core::storage::LogId;
use coffer_runtime::{Handle, timeout};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long it takes to find out that somebody is away.
const REFUSAL: Duration = Duration::from_millis(1);

/// How the ways between members are.
#[derive(Clone, Debug)]
pub struct Weather {
    /// From who to whom nothing passes.
    pub cut: BTreeSet<(u64, u64)>,
    /// The least that a message takes, in microseconds, and how much more it may take.
    pub delay_us: (u64, u64),
    /// Messages that are lost, of a thousand.
    pub lost: u64,
    /// Calls that arrive twice, of a thousand.
    pub doubled: u64,
    /// Messages that take much longer, of a thousand, and how long at most, in microseconds.
    pub late: (u64, u64),
}

impl Default for Weather {
    fn default() -> Self {
        Self { cut: BTreeSet::new(), delay_us: (100, 400), lost: 0, doubled: 0, late: (0, 0) }
    }
}

/// The network of the world.
pub struct Wire {
    carriers: Handle,
    state: Mutex<State>,
}

struct State {
    weather: Weather,
    lives: BTreeMap<u64, Arc<Life>>,
    random: Random,
    messages: u64,
    snapshots: u64,
}

fn lost() -> PeerError {
    PeerError::NoAnswer("lost".to_owned())
}

fn broken(error: Error) -> PeerError {
    PeerError::NoAnswer(error.to_string())
}

impl Wire {
    /// A network that nobody is connected to; `carriers` runs what passes over it.
    pub fn new(carriers: Handle, random: Random) -> Arc<Self> {
        let (weather, lives) = (Weather::default(), BTreeMap::new());
        Arc::new(Self {
            carriers,
            state: Mutex::new(State { weather, lives, random, messages: 0, snapshots: 0 }),
        })
    }

    /// From now on `life` is who is reached under its id.
    pub fn connect(&self, life: &Arc<Life>) {
        self.state.lock().lives.insert(life.member, life.clone());
    }

    /// Nobody is reached under this id.
    pub fn disconnect(&self, member: u64) {
        self.state.lock().lives.remove(&member);
    }

    /// Changes how the ways are.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.state.lock().weather);
    }

    /// How many messages were sent, and snapshots that arrived whole.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.messages, state.snapshots)
    }

    fn snapshot_arrived(&self) {
        self.state.lock().snapshots += 1;
    }

    /// Whom one meets who sets out now.
    fn reach(&self, from: u64, to: u64) -> Result<Arc<Life>, PeerError> {
        let state = self.state.lock();
        let away = || PeerError::Unreachable(format!("member {to} is away"));
        if state.weather.cut.contains(&(from, to)) || state.weather.cut.contains(&(to, from)) {
            return Err(away());
        }
        state.lives.get(&to).filter(|life| !life.is_over()).cloned().ok_or_else(away)
    }

    fn is_open(&self, from: u64, to: u64) -> bool {
        !self.state.lock().weather.cut.contains(&(from, to))
    }

    /// How long a message takes, and whether it arrives.
    fn draw(&self) -> (Duration, bool) {
        let state = &mut *self.state.lock();
        state.messages += 1;
        let Weather { delay_us, lost, late, .. } = state.weather;
        let mut delay = delay_us.0 + state.random.below(delay_us.1.max(1));
        if late.0 > 0 && state.random.chance(late.0) {
            delay += state.random.below(late.1.max(1));
        }
        let arrives = lost == 0 || !state.random.chance(lost);
        (Duration::from_micros(delay), arrives)
    }

    fn is_doubled(&self) -> bool {
        let state = &mut *self.state.lock();
        let doubled = state.weather.doubled;
        doubled > 0 && state.random.chance(doubled)
    }

    /// Lets a message pass; whether it arrived.
    async fn pass(&self, from: u64, to: u64) -> bool {
        let (delay, arrives) = self.draw();
        coffer_runtime::sleep(delay).await;
        machine::note(from << 32 | to << 16 | u64::from(arrives));
        arrives && self.is_open(from, to)
    }
}

/// The network as one member sees it.
pub struct Port {
    wire: Arc<Wire>,
    from: u64,
}

impl Port {
    /// That of member `from`.
    pub fn new(wire: Arc<Wire>, from: u64) -> Self {
        Self { wire, from }
    }
}

impl Peers for Port {
    fn lane(&self, member: u64, _: &Bytes, _: LaneKind) -> Box<dyn Lane> {
        Box::new(Way { wire: self.wire.clone(), from: self.from, to: member })
    }

    fn caller(&self, member: u64, _: &Bytes) -> Arc<dyn Caller> {
        Arc::new(Way { wire: self.wire.clone(), from: self.from, to: member })
    }
}

/// From one member to another.
#[derive(Clone)]
struct Way {
    wire: Arc<Wire>,
    from: u64,
    to: u64,
}

impl Way {
    /// Asks, and has the answer back if it arrives in time.
    async fn ask<T, F>(
        &self,
        patience: Duration,
        ask: impl Fn(Arc<Consensus>) -> F + Clone + Send + Sync + 'static,
    ) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let target = match self.wire.reach(self.from, self.to) {
            Ok(target) => target,
            Err(error) => {
                coffer_runtime::sleep(REFUSAL).await;
                return Err(error);
            }
        };
        let (sender, answer) = async_channel::bounded(2);
        for _ in 0..1 + u8::from(self.wire.is_doubled()) {
            let (way, target, ask, sender) = (self.clone(), target.clone(), ask.clone(), sender.clone());
            drop(self.wire.carriers.spawn(async move {
                if !way.wire.pass(way.from, way.to).await {
                    return way.never(sender).await;
                }
                let Some(answer) = target.call(move |node| ask(node.consensus().clone())).await else {
                    return;
                };
                if !way.wire.pass(way.to, way.from).await {
                    return way.never(sender).await;
                }
                // Nobody waits any more if it was too late.
                let _ = sender.try_send(answer);
            }));
        }
        drop(sender);
        match timeout(patience, answer.recv()).await {
            Ok(Ok(answer)) => Ok(answer),
            // Its end breaks the connection.
            Ok(Err(_)) => Err(PeerError::NoAnswer("the connection broke".to_owned())),
            Err(_) => Err(lost()),
        }
    }

    /// What was lost keeps whoever waits for it waiting.
    async fn never<T>(&self, sender: async_channel::Sender<T>) {
        coffer_runtime::sleep(Duration::from_secs(30)).await;
        drop(sender);
    }
}

impl Lane for Way {
    fn vote(
        &mut self,
        request: VoteRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<VoteResponse, PeerError>> {
        let asked = self.ask(patience, move |target| async move { target.vote(request).await });
        Box::pin(async move { asked.await?.map_err(broken) })
    }

    fn append(
        &mut self,
        requests: BoxStream<'static, AppendRequest>,
        patience: Duration,
    ) -> BoxStream<'_, Result<AppendResponse, PeerError>> {
        append::append(self, requests, patience)
    }

    fn snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vote, PeerError>> {
        Box::pin(snapshot::send(self.clone(), vote, snapshot, patience))
    }

    fn transfer(
        &mut self,
        request: TransferRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(), PeerError>> {
        let asked = self.ask(patience, move |target| async move { target.transferred(request).await });
        Box::pin(async move { asked.await?.map_err(broken) })
    }
}

impl Caller for Way {
    fn read_index(&self, patience: Duration) -> BoxFuture<'_, Result<Result<LogId, Error>, PeerError>> {
        Box::pin(self.ask(patience, |target| async move { target.read_index().await }))
    }

    fn propose(
        &self,
        payload: Bytes,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<LogId, ProposeError>, PeerError>> {
        Box::pin(self.ask(patience, move |target| {
            let payload = payload.clone();
            async move { target.propose_for(payload).await }
        }))
    }

    fn ask(&self, question: Bytes, patience: Duration) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        let asked = Way::ask(self, patience, move |target| {
            let question = question.clone();
            async move { target.answer(question).await }
        });
        Box::pin(async move { asked.await?.map_err(broken) })
    }

    fn change(
        &self,
        change: MemberChange,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<(), MemberError>, PeerError>> {
        Box::pin(self.ask(patience, move |target| {
            let change = change.clone();
            async move { target.change_for(change).await }
        }))
    }
}
