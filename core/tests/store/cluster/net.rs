//! A network in memory whose ways can be cut, one direction at a time.

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use coffer_core::Error;
use coffer_core::consensus::messages::*;
use coffer_core::consensus::peers::{Caller, Lane, LaneKind, PeerError, Peers};
use coffer_core::consensus::snapshots::Snapshot;
use coffer_core::consensus::{Consensus, MemberChange, MemberError, ProposeError};
use coffer_core::storage::LogId;
use coffer_runtime::timeout;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Bytes of a snapshot's chunk: small, so that there are several.
const CHUNK_BYTES: usize = 64;

/// Who can be reached, and by whom.
#[derive(Default)]
pub(super) struct Net {
    members: Mutex<HashMap<u64, Weak<Consensus>>>,
    cut: Mutex<HashSet<(u64, u64)>>,
    /// Ways on which answers to entries stay for now.
    held: Mutex<HashMap<(u64, u64), Gate>>,
    /// Snapshots that were sent whole.
    pub(super) snapshots: std::sync::atomic::AtomicUsize,
}

/// Opens when it is dropped.
struct Gate {
    _closed: Sender<()>,
    opens: Receiver<()>,
}

impl Net {
    /// The network as `from` sees it.
    pub(super) fn of(self: &Arc<Self>, from: u64) -> Arc<dyn Peers> {
        Arc::new(Port { net: self.clone(), from })
    }

    pub(super) fn join(&self, member: u64, consensus: &Arc<Consensus>) {
        self.members.lock().insert(member, Arc::downgrade(consensus));
    }

    /// What `from` says no longer reaches `to`.
    pub(super) fn cut(&self, from: u64, to: u64) {
        self.cut.lock().insert((from, to));
    }

    /// Nothing passes between `member` and the others.
    pub(super) fn isolate(&self, member: u64) {
        let others: Vec<u64> = self.members.lock().keys().copied().filter(|id| *id != member).collect();
        for other in others {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    /// What `from` answers to entries of `to` is on its way until [`release`](Self::release).
    pub(super) fn hold(&self, from: u64, to: u64) {
        let (_closed, opens) = async_channel::bounded(1);
        self.held.lock().insert((from, to), Gate { _closed, opens });
    }

    /// What was held arrives, even if the way was cut meanwhile.
    pub(super) fn release(&self, from: u64, to: u64) {
        self.held.lock().remove(&(from, to));
    }

    /// Waits while answers are held. Returns whether they were.
    async fn pass(&self, from: u64, to: u64) -> bool {
        let gate = self.held.lock().get(&(from, to)).map(|gate| gate.opens.clone());
        let Some(opens) = gate else { return false };
        // Nothing is sent: it ends with the gate.
        let _ = opens.recv().await;
        true
    }

    pub(super) fn heal(&self) {
        self.cut.lock().clear();
    }

    fn is_open(&self, from: u64, to: u64) -> bool {
        !self.cut.lock().contains(&(from, to))
    }

    fn reach(&self, from: u64, to: u64) -> Result<Arc<Consensus>, PeerError> {
        let found = self.members.lock().get(&to).and_then(Weak::upgrade).filter(|_| self.is_open(from, to));
        found.ok_or_else(|| PeerError::Unreachable(format!("member {to} is away")))
    }
}

struct Port {
    net: Arc<Net>,
    from: u64,
}

impl Peers for Port {
    fn lane(&self, member: u64, _: &Bytes, kind: LaneKind) -> Box<dyn Lane> {
        Box::new(Way { net: self.net.clone(), from: self.from, to: member, kind: Some(kind) })
    }

    fn caller(&self, member: u64, _: &Bytes) -> Arc<dyn Caller> {
        Arc::new(Way { net: self.net.clone(), from: self.from, to: member, kind: None })
    }
}

struct Way {
    net: Arc<Net>,
    from: u64,
    to: u64,
    kind: Option<LaneKind>,
}

impl Way {
    /// Asks, and has the answer back if both directions are open then and in time.
    async fn ask<T, F: Future<Output = T>>(
        &self,
        patience: Duration,
        ask: impl FnOnce(Arc<Consensus>) -> F,
    ) -> Result<T, PeerError> {
        let target = self.net.reach(self.from, self.to)?;
        let lost = || PeerError::NoAnswer("lost".to_owned());
        let answer = timeout(patience, ask(target)).await.map_err(|_| lost())?;
        if self.net.is_open(self.to, self.from) { Ok(answer) } else { Err(lost()) }
    }
}

fn broken(error: Error) -> PeerError {
    PeerError::NoAnswer(error.to_string())
}

impl Lane for Way {
    fn vote(
        &mut self,
        request: VoteRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<VoteResponse, PeerError>> {
        Box::pin(async move {
            self.ask(patience, |target| async move { target.vote(request).await }).await?.map_err(broken)
        })
    }

    fn append(
        &mut self,
        requests: BoxStream<'static, AppendRequest>,
        _: Duration,
    ) -> BoxStream<'_, Result<AppendResponse, PeerError>> {
        let target = match self.net.reach(self.from, self.to) {
            Ok(target) => target,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let lost = Arc::new(AtomicBool::new(false));
        let requests = {
            let (net, from, to, lost) = (self.net.clone(), self.from, self.to, lost.clone());
            requests.take_while(move |_| {
                let open = net.is_open(from, to);
                lost.fetch_or(!open, Ordering::SeqCst);
                std::future::ready(open)
            })
        };
        let (net, from, to) = (self.net.clone(), self.from, self.to);
        let is_for_entries = self.kind == Some(LaneKind::Entries);
        // What comes behind an answer that was held was on its way with it.
        let was_held = Arc::new(AtomicBool::new(false));
        let (taken, coming) = async_channel::bounded(1);
        let mut answers = Box::pin(target.append(coming).then(move |answer| {
            let (net, was_held) = (net.clone(), was_held.clone());
            async move {
                if is_for_entries && net.pass(to, from).await {
                    was_held.store(true, Ordering::SeqCst);
                }
                match was_held.load(Ordering::SeqCst) || net.is_open(to, from) {
                    true => answer.map_err(broken),
                    false => Err(PeerError::NoAnswer("lost".to_owned())),
                }
            }
        }));
        let take = requests.for_each(move |request| {
            let taken = taken.clone();
            async move { drop(taken.send(request).await) }
        });
        // Requests are taken by whoever polls the answers.
        let mut take = Box::pin(take.fuse());
        let answers = stream::poll_fn(move |cx| {
            let _ = take.poll_unpin(cx);
            answers.poll_next_unpin(cx)
        });
        let rest = stream::once(async move { lost.load(Ordering::SeqCst) })
            .filter(|lost| std::future::ready(*lost))
            .map(|_| Err(PeerError::NoAnswer("lost".to_owned())));
        answers.chain(rest).boxed()
    }

    fn snapshot(
        &mut self,
        vote: Vote,
        mut snapshot: Snapshot,
        _: Duration,
    ) -> BoxFuture<'_, Result<Vote, PeerError>> {
        Box::pin(async move {
            let target = self.net.reach(self.from, self.to)?;
            let storage = |error: coffer_core::storage::StorageError| PeerError::NoAnswer(error.to_string());
            let mut writer = target.staging().begin().map_err(storage)?;
            while let Some(chunk) = snapshot.content.next(CHUNK_BYTES).map_err(storage)? {
                self.net.reach(self.from, self.to)?;
                writer.write(chunk).map_err(storage)?;
                coffer_runtime::yield_now().await;
            }
            let staged = writer.finish().map_err(storage)?;
            let vote = target.install(vote, snapshot.last, snapshot.membership, staged).await;
            self.net.snapshots.fetch_add(1, Ordering::SeqCst);
            vote.map_err(broken)
        })
    }

    fn transfer(
        &mut self,
        request: TransferRequest,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async move {
            self.ask(patience, |target| async move { target.transferred(request).await })
                .await?
                .map_err(broken)
        })
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
        Box::pin(self.ask(patience, |target| async move { target.propose_for(payload).await }))
    }

    fn ask(&self, question: Bytes, patience: Duration) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        let asked = self.ask(patience, |target| async move { target.answer(question).await });
        Box::pin(async move { asked.await?.map_err(broken) })
    }

    fn change(
        &self,
        change: MemberChange,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Result<(), MemberError>, PeerError>> {
        Box::pin(self.ask(patience, |target| async move { target.change_for(change).await }))
    }
}
