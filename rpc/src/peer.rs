//! How members talk to each other: consensus's [`Peers`] over Cap'n Proto, and what answers them.
//!
//! ```text
//! raft thread ─▶ Lane ─▶ peers thread: Connection (one per member and lane) ═══ socket ═══ Served ─▶ Consensus
//! ```
//!
//! One thread of a node holds all its peer connections, both ways: a message costs a wake of that thread and one write.
//! `roster` asks a member before there is a cluster to belong to.
//! Files: `lane` is the sending end on the raft thread, `connection` a socket to a member with its hello, `window` the
//! pipelined entries, `asked` who waits for them, `service` the receiving end, `identity` what a hello is checked for.
//!
//! # Invariants
//! - Each lane of each member has a socket of its own: entries, heartbeats (with votes), snapshots, calls.
//! - A connection is used only after both sides have checked cluster, member and process ([`Identity`]).
//! - What waits for a slow member is bounded: a window of entries, one chunk of a snapshot.
//! - A connection that fails is made anew by the next use; in between uses fail at once.

mod asked;
mod connection;
mod identity;
mod lane;
mod roster;
mod service;
mod window;

pub use identity::{Identity, Protocols, Refusal};
pub use roster::{Roster, ask_roster};

use crate::net::{Budget, Limits};
use crate::ticker::Ticker;
use asked::Asked;
use async_channel::Sender;
use bytes::Bytes;
use coffer_core::consensus::Consensus;
use coffer_core::consensus::peers::{Caller, Lane, LaneKind, Peers};
use coffer_runtime::local::{LocalThread, spawn};
use coffer_runtime::net::{Address, Listener};
use connection::Connections;
use futures_util::future::LocalBoxFuture;
use lane::{Asking, Sending};
use parking_lot::Mutex;
use service::Service;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where a member listens, from its description in the membership. The first that can be reached is used.
pub type Addresses = Arc<dyn Fn(&Bytes) -> Vec<Address> + Send + Sync>;

/// How the peers' thread works.
#[derive(Clone)]
pub struct PeerConfig {
    /// Who this member is.
    pub identity: Identity,
    /// The versions of the protocol that it speaks.
    pub protocols: Protocols,
    /// Finds members.
    pub addresses: Addresses,
    /// How long connecting and the hello may take.
    pub connect_timeout: Duration,
    /// How long a connection that is not used may be silent before it is asked for a sign of life.
    pub idle_timeout: Duration,
    /// Largest message that is read.
    pub frame_bytes_max: usize,
}

impl fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerConfig").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl PeerConfig {
    /// The usual settings.
    pub fn new(identity: Identity, addresses: Addresses) -> Self {
        Self {
            identity,
            protocols: identity::PROTOCOLS,
            addresses,
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(5),
            frame_bytes_max: 64 << 20,
        }
    }

    /// Limits of a connection's transport. Both sides read always: consensus bounds what it asks for.
    fn limits(&self) -> Limits {
        Limits {
            frame_bytes_max_before_login: 64 << 10,
            frame_bytes_max: self.frame_bytes_max,
            output_hard_bytes: 2 * self.frame_bytes_max,
            ..Limits::client()
        }
    }
}

/// Something to be done on the peers' thread.
type Job = Box<dyn FnOnce(&Rc<Thread>) -> LocalBoxFuture<'static, ()> + Send>;

/// What the tasks of the peers' thread share.
struct Thread {
    config: Arc<PeerConfig>,
    ticker: Ticker,
    budget: Budget,
    connections: Connections,
    service: Service,
    asked: Arc<Asked>,
    /// Another member has said that this one was removed.
    removed: Arc<AtomicBool>,
}

/// The peers' thread of one node. It ends when this is dropped.
pub struct PeerNetwork {
    jobs: Sender<Job>,
    asked: Arc<Asked>,
    removed: Arc<AtomicBool>,
    thread: Mutex<Option<LocalThread<()>>>,
}

impl PeerNetwork {
    /// Starts the thread. Nobody is served before [`serve`](Self::serve).
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(config: PeerConfig) -> io::Result<Self> {
        let (jobs, queue) = async_channel::unbounded::<Job>();
        let removed = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Asked::default());
        let (told, noted) = (removed.clone(), asked.clone());
        let main = move || async move {
            let ticker = Ticker::default();
            spawn(ticker.clone().run());
            let config = Arc::new(config);
            let thread = Rc::new(Thread {
                service: Service::new(config.clone()),
                config,
                ticker,
                budget: Budget::new(usize::MAX),
                connections: Connections::default(),
                asked: noted,
                removed: told,
            });
            while let Ok(job) = queue.recv().await {
                spawn(job(&thread));
            }
            thread.connections.close();
            thread.service.close();
        };
        let thread = coffer_runtime::local::run("coffer-peers", main)?;
        Ok(Self { jobs, asked, removed, thread: Mutex::new(Some(thread)) })
    }

    /// The way to the other members, for consensus.
    pub fn peers(&self) -> Arc<dyn Peers> {
        Arc::new(Ways { jobs: self.jobs.clone(), asked: self.asked.clone() })
    }

    /// Answers members that connect to `listeners`, from now on.
    pub fn serve(&self, consensus: Arc<Consensus>, listeners: Vec<Listener>) {
        self.run(move |thread| {
            thread.service.begin(consensus);
            for listener in listeners {
                spawn(service::accept(thread.clone(), listener));
            }
            Box::pin(std::future::ready(()))
        });
    }

    /// Members with these ids were removed: their hello is refused, and their connections end.
    pub fn removed(&self, members: Vec<u64>) {
        self.run(move |thread| {
            thread.service.removed(&members);
            Box::pin(std::future::ready(()))
        });
    }

    /// Whether another member has refused this one because it was removed.
    pub fn was_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    fn run(&self, job: impl FnOnce(&Rc<Thread>) -> LocalBoxFuture<'static, ()> + Send + 'static) {
        // Fails only after the shutdown.
        let _ = self.jobs.try_send(Box::new(job));
    }

    /// Closes every connection and joins the thread. Idempotent; blocks.
    pub fn shutdown(&self) {
        self.jobs.close();
        if let Some(thread) = self.thread.lock().take()
            && let Err(error) = thread.join()
        {
            tracing::error!(%error, "the peers' thread panicked");
        }
    }
}

impl Drop for PeerNetwork {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerNetwork")
    }
}

/// Makes lanes.
struct Ways {
    jobs: Sender<Job>,
    asked: Arc<Asked>,
}

impl Peers for Ways {
    fn lane(&self, member: u64, description: &Bytes, kind: LaneKind) -> Box<dyn Lane> {
        Box::new(Sending::new(self.jobs.clone(), self.asked.clone(), member, description.clone(), kind))
    }

    fn caller(&self, member: u64, description: &Bytes) -> Arc<dyn Caller> {
        Arc::new(Asking::new(self.jobs.clone(), member, description.clone()))
    }
}
