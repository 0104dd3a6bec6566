//! One life of a member: from the opening of its store to the end of its threads.
//!
//! Whatever runs in a life belongs to its [`Group`]: it can be frozen, and killed in the middle of anything. So nobody outside
//! calls into it: calls are tasks of a thread of the life, and whoever waits for an answer also waits for the end.

use crate::machine::{self, Group};
use crate::wire::{Port, Wire};
use bytes::Bytes;
use coffer_backends::Founding as Place;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::consensus::Founding;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::{Error, MemberInfo};
use coffer_runtime::Executor;
use futures_util::future::{Either, select};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

/// The cluster that all members belong to.
const CLUSTER: u64 = 7;

/// A life that has not ended.
pub struct Life {
    /// Whose.
    pub member: u64,
    /// Its threads.
    pub group: Group,
    /// Its disk: what is written to it after the end of the life is seen by nobody.
    pub disk: SimDisk,
    node: Node,
    executor: Executor,
    /// Closed when it has ended.
    over: async_channel::Receiver<()>,
    ends: async_channel::Sender<()>,
}

/// What a life begins with.
#[derive(Clone)]
pub struct Birth {
    /// Whose life.
    pub member: u64,
    /// The disk as the life before left it.
    pub disk: SimDisk,
    /// What a member without a store does.
    pub founding: Founding,
    /// Timing and limits; identity is added.
    pub config: NodeConfig,
    /// How its store is opened.
    pub store: Options,
}

/// What the membership says of a member.
pub fn described(member: u64) -> Bytes {
    let peer_urls = vec![format!("coffer://m{member}:7421")];
    MemberInfo { name: format!("m{member}"), peer_urls, ..MemberInfo::default() }.encode()
}

/// Opens the member's store.
///
/// # Errors
/// What its opening answers.
pub fn open_store(member: u64, disk: &SimDisk, options: Options) -> Result<SegmentStore, Error> {
    let place = Place { cluster_id: CLUSTER, member_id: member, boot: 0 };
    let options = Options { founding: Some(place), ..options };
    Ok(SegmentStore::open_on(Path::new("/store"), AtRest::Unsealed, options, Arc::new(disk.clone()))?)
}

impl Life {
    /// Begins a life, on threads of its own.
    pub async fn begin(birth: Birth, group: Group, wire: &Arc<Wire>) -> Result<Arc<Life>, Error> {
        let (sender, receiver) = async_channel::bounded(1);
        let wire = wire.clone();
        machine::in_group(group, || {
            let opener = std::thread::Builder::new().name("opener".into());
            let opened = opener.spawn(move || {
                // Nobody waits any more if it was killed meanwhile.
                drop(sender.send_blocking(open(birth, group, &wire)));
            });
            opened.map(drop).map_err(|error| Error::Fatal(error.to_string()))
        })?;
        receiver.recv().await.unwrap_or(Err(Error::Stopped))
    }

    /// The future's outcome, computed on a thread of this life; `None` if the life ends before.
    pub async fn call<F, T>(&self, work: impl FnOnce(Node) -> F + Send + 'static) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        if self.is_over() {
            return None;
        }
        let node = self.node.clone();
        let task = self.executor.spawn(async move { work(node).await });
        match select(pin!(task), pin!(self.over())).await {
            Either::Left((outcome, _)) => outcome.ok(),
            Either::Right(_) => None,
        }
    }

    /// Starts work of this life.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Node) -> F) {
        drop(self.executor.spawn(work(self.node.clone())));
    }

    /// Resolves when it has ended.
    pub async fn over(&self) {
        // Nobody sends: it is closed.
        let _ = self.over.recv().await;
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.over.is_closed()
    }

    /// From now on nothing of it runs, as if its process had been killed or its power had failed.
    pub fn kill(self: Arc<Self>) {
        machine::kill(self.group);
        self.ends.close();
        // Whoever let go of it last would wait for its threads.
        std::mem::forget(self);
    }
}

fn open(birth: Birth, group: Group, wire: &Arc<Wire>) -> Result<Arc<Life>, Error> {
    let Birth { member, disk, founding, config, store } = birth;
    let SegmentStore { log, records, identity, .. } = open_store(member, &disk, store)?;
    let config = NodeConfig {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        boot: identity.boot,
        backend: "segment".into(),
        founding,
        ..config
    };
    let executor = Executor::start("connections", 1)
        .map_err(|error| Error::Fatal(format!("cannot start a thread: {error}")))?;
    let port = Arc::new(Port::new(wire.clone(), member));
    let node = Node::open_among(config, log, records, port)?;
    let (ends, over) = async_channel::bounded(1);
    Ok(Arc::new(Life { member, group, disk, node, executor, over, ends }))
}
