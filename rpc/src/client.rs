//! A client of Cap'n Proto servers: the methods of a [`Node`](coffer_core::node::Node), over the network.
//!
//! # Data path
//!
//! A handle is `Send`; what speaks Cap'n Proto is not, and lives on the client's own thread. A call is handed to that
//! thread, encoded there, and pipelined with all others on one connection to one of the endpoints.
//!
//! # Invariants
//! - A request that changes something is sent again only where it surely did not happen: no connection could be made,
//!   or the server says that it did not begin. Otherwise its failure says that the outcome is unknown.
//! - Requests that only read are repeated on another connection until their deadline.
//! - A watcher sees every revision once, in order, over any number of connections, or is told that it was compacted.
//! - Nothing that a server sends panics here; a panic on the client's thread counts as a lost connection.

mod call;
mod config;
mod connection;
mod engine;
mod keep_alive;
mod open_connections;
mod range_stream;
mod snapshot;
mod thread;
mod watch;

pub use config::ClientConfig;
pub use keep_alive::KeepAlive;
pub use range_stream::RangeStream;
pub use snapshot::Snapshot;
pub use thread::ClientThread;
pub use watch::WatchStream;

use crate::wire::size;
use async_channel::Sender;
use coffer_core::request::*;
use coffer_core::{Error, KeyRange, LeaseId};
use connection::Connection;
use engine::{Engine, Kind};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something to do on the client's thread.
type Job = Box<dyn FnOnce(&Rc<Engine>) + Send>;

/// A handle to a client. Cheap to clone; the connection ends with the last clone, and with the last stream made from it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    jobs: Sender<Job>,
    endpoints: Vec<String>,
    // After `jobs`: the thread ends once nobody can give it work.
    _thread: ClientThread,
}

impl Client {
    /// Connects to the first endpoint that answers, on a thread of its own.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an endpoint that is no URL; [`Error::Unavailable`] if none answers.
    pub async fn connect(config: ClientConfig) -> Result<Client, Error> {
        let thread = ClientThread::start()?;
        Self::connect_on(&thread, config).await
    }

    /// Connects on a thread that several clients share.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_on(thread: &ClientThread, config: ClientConfig) -> Result<Client, Error> {
        let deadline = config.deadline;
        let endpoints = config.endpoints.clone();
        let addresses = config.addresses()?;
        let (jobs, queue) = async_channel::unbounded::<Job>();
        let (ready, wait) = oneshot::channel();
        thread.run(move |ticker| async move {
            let engine = Engine::new(config, addresses, ticker);
            let first = {
                let engine = engine.clone();
                coffer_runtime::local::spawn(async move { drop(ready.send(engine.first_connection().await)) })
            };
            while let Ok(job) = queue.recv().await {
                job(&engine);
            }
            first.abort();
            engine.close().await;
        })?;
        let client =
            Client { shared: Arc::new(Shared { jobs, endpoints, _thread: thread.clone() }), deadline };
        wait.await.unwrap_or(Err(Error::Stopped))?;
        Ok(client)
    }

    /// The same client with another deadline for its calls.
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { shared: self.shared.clone(), deadline }
    }

    /// The endpoints as configured.
    pub fn endpoints(&self) -> &[String] {
        &self.shared.endpoints
    }

    /// Reads a range. One too large for a message is fetched in pieces.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let sent = request.clone();
        let response = self.call(Kind::Read, move |to, ms| call::range(to, &sent, ms)).await?;
        match response {
            Some(response) => Ok(response),
            None => self.range_stream(request).collect().await,
        }
    }

    /// Reads a range in pieces at one revision: memory stays bounded on both sides, whatever its size.
    pub fn range_stream(&self, request: RangeRequest) -> RangeStream {
        RangeStream::new(self.clone(), request)
    }

    /// Writes one key.
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Error> {
        let bytes = request.key.len() + request.value.len();
        self.change(bytes, move |to, ms| call::put(to, &request, ms)).await
    }

    /// Deletes a range of keys.
    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
        self.change(range_bytes(&request.range), move |to, ms| call::delete_range(to, &request, ms)).await
    }

    /// Compares, then acts, atomically.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Error> {
        self.change(size::txn_request(&request) * 8, move |to, ms| call::txn(to, &request, ms)).await
    }

    /// Drops history below a revision.
    pub async fn compact(&self, request: CompactRequest) -> Result<CompactResponse, Error> {
        self.change(0, move |to, ms| call::compact(to, &request, ms)).await
    }

    /// Creates a lease.
    pub async fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Error> {
        self.change(0, move |to, ms| call::lease_grant(to, &request, ms)).await
    }

    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<LeaseRevokeResponse, Error> {
        self.change(0, move |to, ms| call::lease_revoke(to, id, ms)).await
    }

    /// Renews a lease once. See [`keep_alive`](Self::keep_alive) for a loop.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseKeepAliveResponse, Error> {
        self.call(Kind::Read, move |to, ms| call::lease_keep_alive(to, id, ms)).await
    }

    /// Renews many leases in one message, at most 10,000; one answer for each, in order.
    pub async fn lease_keep_alive_many(
        &self,
        ids: Vec<LeaseId>,
    ) -> Result<Vec<Result<LeaseKeepAliveResponse, Error>>, Error> {
        self.call(Kind::Read, move |to, ms| call::lease_keep_alive_many(to, &ids, ms)).await
    }

    /// How long a lease still lives.
    pub async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Error> {
        self.call(Kind::Read, move |to, ms| call::lease_time_to_live(to, &request, ms)).await
    }

    /// All leases.
    pub async fn lease_list(&self) -> Result<LeaseListResponse, Error> {
        self.call(Kind::Read, call::lease_list).await
    }

    /// Hash at `revision`; 0 or less for the newest.
    pub async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Error> {
        self.call(Kind::Read, move |to, ms| call::hash_kv(to, revision, ms)).await
    }

    /// What the member that answers says of itself.
    pub async fn status(&self) -> Result<StatusResponse, Error> {
        self.call(Kind::Read, call::status).await
    }

    /// Who belongs to the cluster: as of now if `linearizable`, else as the member that answers knows it.
    pub async fn member_list(&self, linearizable: bool) -> Result<MembersResponse, Error> {
        self.call(Kind::Read, move |to, ms| call::member_list(to, linearizable, ms)).await
    }

    /// Changes who belongs to the cluster, or who leads it.
    pub async fn member_change(&self, request: MemberRequest) -> Result<MembersResponse, Error> {
        self.change(0, move |to, ms| call::member_change(to, &request, ms)).await
    }

    /// Begins a snapshot file of everything that the member that answers holds now, sealed as its store is. Dropping it
    /// stops the server.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        Snapshot::begin(self.clone()).await
    }

    /// A stream of watchers.
    pub fn watch(&self) -> WatchStream {
        WatchStream::new(self.clone())
    }

    /// Keeps a lease alive, at a third of its TTL, until the result is dropped or the lease is gone.
    pub fn keep_alive(&self, id: LeaseId) -> KeepAlive {
        KeepAlive::start(self.clone(), id)
    }

    /// A call that changes something and holds about `bytes` of a user.
    async fn change<T, F, Fut>(&self, bytes: usize, send: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&Connection, u32) -> Fut + Send + 'static,
        Fut: Future<Output = capnp::Result<Result<T, Error>>> + 'static,
    {
        self.call(Kind::Write { bytes }, send).await
    }

    async fn call<T, F, Fut>(&self, kind: Kind, send: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&Connection, u32) -> Fut + Send + 'static,
        Fut: Future<Output = capnp::Result<Result<T, Error>>> + 'static,
    {
        let at = Instant::now() + self.deadline;
        let (mut answer, wait) = oneshot::channel();
        self.run(move |engine| {
            let engine = engine.clone();
            coffer_runtime::local::spawn(async move {
                let outcome = match select(pin!(engine.call(kind, at, send)), answer.cancellation()).await {
                    Either::Left((outcome, _)) => outcome,
                    // Nobody waits any more. What was sent goes on.
                    Either::Right(_) => return,
                };
                drop(answer.send(outcome));
            });
        })?;
        // Without an answer the call panicked on the client's thread.
        wait.await.unwrap_or_else(|_| Err(kind.lost()))
    }

    /// Does something on the client's thread.
    fn run(&self, job: impl FnOnce(&Rc<Engine>) + Send + 'static) -> Result<(), Error> {
        self.shared.jobs.try_send(Box::new(job)).map_err(|_| Error::Stopped)
    }
}

fn range_bytes(range: &KeyRange) -> usize {
    range.start().len() + range.wire_end().len()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.shared.endpoints).finish_non_exhaustive()
    }
}
