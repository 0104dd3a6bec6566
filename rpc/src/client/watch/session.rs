//! The task behind a watch stream: opens a stream on the current connection, begins every watcher on it, passes on
//! what arrives, and does it all again when the connection breaks.
//!
//! Ids on the wire are this task's own, new for every creation, so that what a cancelled watcher still sends cannot be
//! taken for another's. When a connection ends, capnp-rpc drops what it exported, and with it the stream's [`Sink`]:
//! that is how the end is noticed.

use super::resume::{Watcher, response};
use super::{Command, Ids};
use crate::client::connection::Connection;
use crate::client::engine::{Engine, jittered};
use crate::schema::watch_capnp::{watch_create_result, watch_sink, watch_stream};
use crate::wire;
use async_channel::{Receiver, Sender};
use coffer_core::Error;
use coffer_core::watch::{WatchKind, WatchResponse};
use coffer_runtime::local::spawn;
use futures_util::future::{Either, select};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Messages that a server may send without being acknowledged. An honest one stops at about 64 KiB.
const UNACKNOWLEDGED_MAX: usize = 4096;
/// Pause before the next attempt where a stream could not be opened.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub(super) struct Session {
    engine: Rc<Engine>,
    commands: Receiver<Command>,
    batches: Sender<Vec<WatchResponse>>,
    ids: Ids,
    /// By id on the wire.
    watchers: BTreeMap<i64, Watcher>,
    next_wire_id: i64,
    progress_asked: bool,
}

/// Why the stream of one connection ended.
enum End {
    /// The user's end is gone.
    Abandoned,
    /// The connection broke, or the server ended the stream.
    Broken,
}

enum Arrival {
    Responses(Vec<WatchResponse>),
    /// The server refused a creation.
    Refused(i64, Error),
    /// Nothing follows.
    Ended,
}

impl Session {
    pub(super) fn new(
        engine: Rc<Engine>,
        commands: Receiver<Command>,
        batches: Sender<Vec<WatchResponse>>,
        ids: Ids,
    ) -> Self {
        let watchers = BTreeMap::new();
        Self { engine, commands, batches, ids, watchers, next_wire_id: 1, progress_asked: false }
    }

    pub(super) async fn run(mut self) {
        let engine = self.engine.clone();
        loop {
            // Without a watcher there is nothing to connect for.
            while self.watchers.is_empty() {
                match self.commands.recv().await {
                    Ok(Command::Create(request)) => drop(self.add(Watcher::new(request))),
                    Ok(Command::Cancel(_) | Command::Progress) => {}
                    Err(_) => return,
                }
            }
            let batches = self.batches.clone();
            let connection = match select(pin!(engine.connection()), pin!(batches.closed())).await {
                Either::Left((Ok(connection), _)) => connection,
                Either::Left((Err(_), _)) | Either::Right(_) => return,
            };
            if let End::Abandoned = self.follow(&connection).await {
                return;
            }
            engine.ticker.after(jittered(RETRY_AFTER)).await;
        }
    }

    fn add(&mut self, watcher: Watcher) -> i64 {
        let wire_id = self.next_wire_id;
        self.next_wire_id += 1;
        self.watchers.insert(wire_id, watcher);
        wire_id
    }

    fn remove(&mut self, wire_id: i64) -> Option<Watcher> {
        let watcher = self.watchers.remove(&wire_id)?;
        self.ids.lock().remove(&watcher.user_id());
        Some(watcher)
    }

    async fn follow(&mut self, connection: &Connection) -> End {
        match self.serve(connection).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Serves the user from one stream of the server, until it ends.
    async fn serve(&mut self, connection: &Connection) -> Result<Infallible, End> {
        let inbox = Rc::new(Inbox::default());
        let mut open = connection.watch.open_request();
        open.get().set_sink(capnp_rpc::new_client(Sink { inbox: inbox.clone() }));
        let opened = open.send().promise.await.and_then(|opened| opened.get()?.get_stream());
        let stream = opened.map_err(|error| {
            tracing::debug!(%error, "cannot open a watch stream");
            End::Broken
        })?;
        for (_, watcher) in std::mem::take(&mut self.watchers) {
            let wire_id = self.add(watcher);
            self.begin(&stream, &inbox, wire_id);
        }
        if self.progress_asked {
            ask_progress(&stream);
        }
        let commands = self.commands.clone();
        loop {
            match select(pin!(poll_fn(|cx| inbox.poll_take(cx))), pin!(commands.recv())).await {
                Either::Left((Arrival::Ended, _)) => return Err(End::Broken),
                Either::Left((Arrival::Responses(responses), _)) => {
                    let told = responses.into_iter().flat_map(|told| self.translate(told)).collect();
                    self.tell(told).await?;
                }
                Either::Left((Arrival::Refused(wire_id, reason), _)) => {
                    let kind = WatchKind::Canceled { reason, compact_revision: 0 };
                    let told = self.remove(wire_id).map(|watcher| response(watcher.user_id(), 0, kind));
                    self.tell(told.into_iter().collect()).await?;
                }
                Either::Right((Ok(command), _)) => {
                    let told = self.obey(command, &stream, &inbox);
                    self.tell(told.into_iter().collect()).await?;
                }
                Either::Right((Err(_), _)) => return Err(End::Abandoned),
            }
        }
    }

    async fn tell(&self, told: Vec<WatchResponse>) -> Result<(), End> {
        if told.is_empty() {
            return Ok(());
        }
        self.batches.send(told).await.map_err(|_| End::Abandoned)
    }

    /// Begins a watcher on the server.
    fn begin(&mut self, stream: &watch_stream::Client, inbox: &Rc<Inbox>, wire_id: i64) {
        let Some(watcher) = self.watchers.get_mut(&wire_id) else { return };
        let mut create = stream.create_request();
        wire::watch::put_request(&watcher.begin(wire_id), create.get());
        let created = create.send().promise;
        let inbox = inbox.clone();
        spawn(async move {
            let refused = async {
                match created.await?.get()?.which()? {
                    watch_create_result::Ok(_) => Ok(None),
                    watch_create_result::Err(error) => wire::error::get(error?),
                }
            };
            match refused.await {
                Ok(None) => {}
                Ok(Some(reason)) => inbox.push(Arrival::Refused(wire_id, reason)),
                Err(_) => inbox.push(Arrival::Ended),
            }
        });
    }

    /// Does what the user asks. Returns what the user is told at once.
    fn obey(
        &mut self,
        command: Command,
        stream: &watch_stream::Client,
        inbox: &Rc<Inbox>,
    ) -> Option<WatchResponse> {
        match command {
            Command::Create(request) => {
                let wire_id = self.add(Watcher::new(request));
                self.begin(stream, inbox, wire_id);
                None
            }
            Command::Cancel(user_id) => {
                let (&wire_id, _) = self.watchers.iter().find(|(_, watcher)| watcher.user_id() == user_id)?;
                self.remove(wire_id);
                let mut cancel = stream.cancel_request();
                cancel.get().set_watch_id(wire_id);
                spawn(cancel.send().promise);
                let kind = WatchKind::Canceled { reason: Error::Canceled, compact_revision: 0 };
                Some(response(user_id, 0, kind))
            }
            Command::Progress => {
                self.progress_asked = true;
                ask_progress(stream);
                None
            }
        }
    }

    /// What the user is told of a response: for watchers that all see the same, one response again.
    fn translate(&mut self, from: WatchResponse) -> Vec<WatchResponse> {
        let WatchResponse { watch_ids, revision, kind } = from;
        if watch_ids == [-1] {
            if kind == WatchKind::Progress {
                self.progress_asked = false;
            }
            self.watchers.values_mut().for_each(|watcher| drop(watcher.receive(revision, &kind)));
            return vec![WatchResponse { watch_ids, revision, kind }];
        }
        let mut told: Vec<WatchResponse> = Vec::new();
        for wire_id in watch_ids {
            let Some(watcher) = self.watchers.get_mut(&wire_id) else { continue };
            let user_id = watcher.user_id();
            let Some(kind) = watcher.receive(revision, &kind) else { continue };
            if matches!(kind, WatchKind::Canceled { .. }) {
                self.remove(wire_id);
            }
            match told.last_mut() {
                Some(last) if is_same(&last.kind, &kind) => last.watch_ids.push(user_id),
                _ => told.push(response(user_id, revision, kind)),
            }
        }
        told
    }
}

/// Whether two watchers are told the same; of events only whether they are the very same list.
fn is_same(one: &WatchKind, other: &WatchKind) -> bool {
    match (one, other) {
        (WatchKind::Events { events: one, .. }, WatchKind::Events { events: other, .. }) => {
            Arc::ptr_eq(one, other)
        }
        _ => one == other,
    }
}

fn ask_progress(stream: &watch_stream::Client) {
    spawn(stream.progress_request().send().promise);
}

/// What arrived and was not looked at.
#[derive(Default)]
struct Inbox {
    queue: RefCell<VecDeque<Arrival>>,
    taker: Cell<Option<Waker>>,
    /// Calls that wait with their acknowledgement.
    waiting: RefCell<Vec<Waker>>,
}

impl Inbox {
    fn push(&self, arrival: Arrival) {
        self.queue.borrow_mut().push_back(arrival);
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Arrival> {
        match self.queue.borrow_mut().pop_front() {
            Some(arrival) => {
                self.waiting.take().into_iter().for_each(Waker::wake);
                Poll::Ready(arrival)
            }
            None => {
                self.taker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// Waits until everything that arrived was taken.
    async fn until_taken(&self) {
        poll_fn(|cx| {
            if self.queue.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The capability that the server sends to.
struct Sink {
    inbox: Rc<Inbox>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.inbox.push(Arrival::Ended);
    }
}

impl watch_sink::Server for Sink {
    async fn responses(self: Rc<Self>, params: watch_sink::ResponsesParams) -> capnp::Result<()> {
        if self.inbox.queue.borrow().len() >= UNACKNOWLEDGED_MAX {
            return Err(capnp::Error::overloaded("responses are sent without waiting".into()));
        }
        let responses = params.get()?.get_responses()?;
        let responses = responses.iter().map(wire::watch::get_response).collect::<capnp::Result<_>>();
        drop(params);
        match responses {
            Ok(responses) => self.inbox.push(Arrival::Responses(responses)),
            Err(error) => {
                // Nothing may be left out: begin anew where it can be understood.
                self.inbox.push(Arrival::Ended);
                return Err(error);
            }
        }
        self.inbox.until_taken().await;
        Ok(())
    }

    async fn end(
        self: Rc<Self>,
        params: watch_sink::EndParams,
        _: watch_sink::EndResults,
    ) -> capnp::Result<()> {
        let reason = wire::error::get(params.get()?.get_error()?)?;
        tracing::debug!(?reason, "the server ended a watch stream");
        self.inbox.push(Arrival::Ended);
        Ok(())
    }
}
