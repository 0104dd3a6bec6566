//! The network between members and to their clients: every connection goes through a proxy here, which knows both ends.
//!
//! A member is reached at an address that stays, whichever port its process has. What flows between two ends can be held up
//! (a partition, in one direction or both), delayed, or now and then stalled and reset as a network does that loses packets.
//!
//! # Invariants
//! - Bytes of a connection are never reordered, changed, or lost while it lives: TCP does not do that either.
//! - Both directions of a connection obey the rule for the direction in which the bytes flow, whoever connected.
//! - A new connection through a partition is silent, as if its first packet were lost.
//! - Who connects is looked up on a thread of its own, for all at once that wait for it: however long that takes, bytes of
//!   connections that are there go on, and those who try again do not make it take longer.

use super::sockets;
use coffer_runtime::local::{self, LocalThread, spawn};
use coffer_runtime::net::{Address, Listener, Stream};
use futures_channel::oneshot;
use futures_util::future::select;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::io;
use std::iter::{from_fn, once};
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// How often held-up bytes ask whether they may go on, and quiet connections whether they are to be reset.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a lost packet takes to be sent again.
const AGAIN: Duration = Duration::from_millis(200);
const CHUNK_BYTES: usize = 64 << 10;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A member, by its number.
    Member(usize),
    /// Any client.
    Client,
}

/// What happens to bytes from one end to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// They do not arrive before this is lifted.
    pub cut: bool,
    /// They arrive so much later, up to one and a half of it.
    pub delay: Duration,
    /// How probable it is that a piece has to be sent again; one in ten of those resets the connection.
    pub loss: f64,
}

#[derive(Debug, Default)]
struct State {
    rules: HashMap<(End, End), Rule>,
    /// Where members really listen: for peers, for clients.
    ports: HashMap<(usize, Side), u16>,
    pids: HashMap<u32, usize>,
    /// Who serves the clients of members that are gone.
    successors: HashMap<usize, usize>,
    /// Grows with every reset.
    resets: u64,
    /// Whether nobody looks which member connects.
    is_blind: bool,
}

/// For whom a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Other members.
    Peers,
    /// Clients.
    Clients,
}

/// The network of a cluster. It ends with this.
#[derive(Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
    wanted: async_channel::Sender<(Listener, usize, Side)>,
    _thread: LocalThread<()>,
}

/// Somebody connected from one address to another: which member was it?
struct Question {
    from: SocketAddrV4,
    to: SocketAddrV4,
    answer: oneshot::Sender<Option<usize>>,
}

/// Who asks [`answer`].
type Questions = async_channel::Sender<Question>;

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl State {
    fn port(&self, mut member: usize, side: Side) -> Option<u16> {
        while side == Side::Clients
            && let Some(successor) = self.successors.get(&member)
        {
            member = *successor;
        }
        self.ports.get(&(member, side)).copied()
    }
}

impl Network {
    /// Starts the thread that all proxies share.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(seed: u64) -> io::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let (wanted, queue) = async_channel::unbounded();
        let (questions, asked) = async_channel::unbounded();
        let shared = state.clone();
        // It ends when nobody can ask any more.
        thread::Builder::new().name("chaos-sockets".into()).spawn(move || answer(&shared, &asked))?;
        let shared = state.clone();
        let main = move || async move {
            let mut number = seed;
            while let Ok((listener, member, side)) = queue.recv().await {
                number = number.wrapping_add(1);
                spawn(accept(shared.clone(), questions.clone(), listener, member, side, number));
            }
        };
        Ok(Self { state, wanted, _thread: local::run("chaos-network", main)? })
    }

    /// An address that leads to a member.
    ///
    /// # Errors
    /// The system has no port.
    pub fn address_of(&self, member: usize, side: Side) -> io::Result<SocketAddr> {
        let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".into()))?;
        let address = listener.local_address()?.to_string().parse().map_err(io::Error::other)?;
        self.wanted.try_send((listener, member, side)).map_err(io::Error::other)?;
        Ok(address)
    }

    /// Where a member really listens.
    pub fn set_port(&self, member: usize, side: Side, port: u16) {
        locked(&self.state).ports.insert((member, side), port);
    }

    /// Clients of a member that is gone find another in its place.
    pub fn succeed(&self, gone: usize, successor: usize) {
        locked(&self.state).successors.insert(gone, successor);
    }

    /// Which process is a member. What it was before is forgotten.
    pub fn set_pid(&self, member: usize, pid: u32) {
        let mut state = locked(&self.state);
        state.pids.retain(|_, known| *known != member);
        state.pids.insert(pid, member);
    }

    /// Changes what happens to bytes from one end to another.
    pub fn change(&self, from: End, to: End, change: impl FnOnce(&mut Rule)) {
        change(locked(&self.state).rules.entry((from, to)).or_default());
    }

    /// Changes the rules of all links between members, also of those that have gone meanwhile.
    pub fn change_between_members(&self, change: impl Fn(&mut Rule)) {
        let mut state = locked(&self.state);
        let rules = state.rules.iter_mut();
        let between = rules.filter(|((from, to), _)| matches!((from, to), (End::Member(_), End::Member(_))));
        between.for_each(|(_, rule)| change(rule));
    }

    /// From now on nobody looks which member connects to another, which takes tens of milliseconds: rules between members hold
    /// for what is connected already. For measurements.
    pub fn close_eyes(&self) {
        locked(&self.state).is_blind = true;
    }

    /// Breaks all connections.
    pub fn reset(&self) {
        locked(&self.state).resets += 1;
    }
}

async fn accept(
    state: Arc<Mutex<State>>,
    questions: Questions,
    listener: Listener,
    member: usize,
    side: Side,
    seed: u64,
) {
    let Ok(own) = listener.local_address() else { return };
    let mut random = StdRng::seed_from_u64(seed);
    while let Ok((stream, from)) = listener.accept().await {
        let (resets, is_blind) = {
            let state = locked(&state);
            (state.resets, state.is_blind)
        };
        let looked_up = (side == Side::Peers && !is_blind).then(|| ask(&questions, &from, &own));
        let (state, seed) = (state.clone(), random.random());
        spawn(async move {
            let far = match looked_up {
                None => Some(End::Client),
                Some(answer) => answer.await.ok().flatten().map(End::Member),
            };
            // Whoever connected is gone already.
            let Some(far) = far else { return };
            carry(Way { state, far, near: End::Member(member), resets }, stream, side, seed).await;
        });
    }
}

/// Asks which member connected.
fn ask(questions: &Questions, from: &Address, to: &Address) -> oneshot::Receiver<Option<usize>> {
    let parse = |address: &Address| address.to_string().parse::<SocketAddrV4>().ok();
    let (answer, answered) = oneshot::channel();
    if let (Some(from), Some(to)) = (parse(from), parse(to)) {
        // What is not asked is not answered either.
        drop(questions.try_send(Question { from, to, answer }));
    }
    answered
}

/// Answers everything that waits with one look at the sockets of this machine, again and again.
fn answer(state: &Mutex<State>, asked: &async_channel::Receiver<Question>) {
    while let Ok(first) = asked.recv_blocking() {
        let questions: Vec<_> = once(first).chain(from_fn(|| asked.try_recv().ok())).collect();
        let connections: Vec<_> = questions.iter().map(|question| (question.from, question.to)).collect();
        let pids = locked(state).pids.clone();
        let owners = sockets::owners(&connections, &pids.keys().copied().collect::<Vec<_>>());
        for (question, owner) in questions.into_iter().zip(owners) {
            // Whoever asked may have left.
            let _ = question.answer.send(owner.and_then(|pid| pids.get(&pid).copied()));
        }
    }
}

/// A connection: from `far`, to the member `near`.
#[derive(Clone)]
struct Way {
    state: Arc<Mutex<State>>,
    far: End,
    near: End,
    /// How many resets there had been when it was made.
    resets: u64,
}

impl Way {
    fn rule(&self, from: End, to: End) -> Rule {
        locked(&self.state).rules.get(&(from, to)).copied().unwrap_or_default()
    }

    fn was_reset(&self) -> bool {
        locked(&self.state).resets > self.resets
    }

    /// Waits until bytes get through; `None` if the connection is reset before.
    async fn open(&self, from: End, to: End) -> Option<Rule> {
        loop {
            let rule = self.rule(from, to);
            if self.was_reset() {
                return None;
            }
            if !rule.cut {
                return Some(rule);
            }
            coffer_runtime::sleep(LOOK_INTERVAL).await;
        }
    }
}

async fn carry(way: Way, far: Stream, side: Side, seed: u64) {
    let (Some(_), Some(_)) = (way.open(way.far, way.near).await, way.open(way.near, way.far).await) else {
        return;
    };
    let End::Member(member) = way.near else { return };
    let Some(port) = locked(&way.state).port(member, side) else { return };
    let Ok(near) = Stream::connect(&Address::Tcp(format!("127.0.0.1:{port}"))).await else { return };
    let there = pump(way.clone(), far.clone(), near.clone(), (way.far, way.near), seed);
    let back = pump(way.clone(), near.clone(), far.clone(), (way.near, way.far), !seed);
    let reset = async {
        while !way.was_reset() {
            coffer_runtime::sleep(Duration::from_millis(50)).await;
        }
    };
    select(pin!(select(pin!(there), pin!(back))), pin!(reset)).await;
    // The end of one direction is the end of both: members and clients never half-close.
    let _ = (far.shutdown(Shutdown::Both), near.shutdown(Shutdown::Both));
}

/// Carries bytes one way until either end closes.
async fn pump(way: Way, mut from: Stream, mut to: Stream, (source, sink): (End, End), seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(read) if read > 0 => read,
            _ => return,
        };
        let Some(rule) = way.open(source, sink).await else { return };
        if !rule.delay.is_zero() {
            coffer_runtime::sleep(rule.delay.mul_f64(random.random_range(1.0..1.5))).await;
        }
        if rule.loss > 0.0 && random.random_bool(rule.loss) {
            if random.random_bool(0.1) {
                return;
            }
            coffer_runtime::sleep(AGAIN).await;
        }
        // It may have been cut while the bytes were on their way.
        if way.open(source, sink).await.is_none() || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}
