//! What the callers do.

use super::client::{Answers, Connection, Requests};
use super::server::Server;
use bytes::Bytes;
use clap::ValueEnum;
use coffer_bench::load::{Caller, key, value};
use coffer_etcd::proto::etcdserverpb::*;
use coffer_runtime::local::spawn;
use compare::{CompareResult, CompareTarget, TargetUnion};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use request_op::Request;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;
use watch_request::RequestUnion;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Write random keys.
    Put,
    /// Read one key, linearizable.
    RangeOne,
    /// Read one key, serializable.
    RangeOneSerializable,
    /// Read 1000 keys by prefix.
    RangePrefix,
    /// Replace a key if its revision has not changed.
    TxnCas,
    /// Write under a prefix that many watch; counts events.
    WatchFanout,
    /// Write keys that are watched one by one; counts events.
    WatchMany,
    /// Renew leases.
    LeaseKeepalive,
    /// Ask a watch stream for progress while others write.
    Progress,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => f.write_str("?"),
        }
    }
}

impl Scenario {
    /// Keys to load before the run, unless told otherwise.
    pub(crate) fn keys(self) -> u64 {
        match self {
            Self::Put | Self::WatchFanout | Self::LeaseKeepalive | Self::Progress => 0,
            _ => 10_000,
        }
    }

    /// Watchers, unless told otherwise.
    pub(crate) fn watchers(self) -> usize {
        match self {
            Self::WatchFanout => 100,
            Self::WatchMany => 10_000,
            _ => 0,
        }
    }

    /// Whether the measured operations are events rather than calls.
    pub(crate) fn counts_events(self) -> bool {
        matches!(self, Self::WatchFanout | Self::WatchMany)
    }
}

/// Sizes of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) keys: u64,
    pub(crate) watchers: usize,
    pub(crate) value_bytes: usize,
    pub(crate) connections: usize,
}

/// What all callers of one server share.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    setup: Setup,
    value: Bytes,
    connections: Rc<[Connection]>,
    events: Rc<Cell<u64>>,
}

impl Prepared {
    /// Events that all watchers have received so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.get()
    }

    fn connection(&self, number: usize) -> Connection {
        self.connections[number % self.connections.len()].clone()
    }
}

/// Connects, loads the keys and starts the watchers.
pub(crate) async fn prepare(scenario: Scenario, setup: Setup, server: &Server) -> io::Result<Prepared> {
    let mut connections = Vec::new();
    for _ in 0..setup.connections {
        connections.push(Connection::open(server.address()).await?);
    }
    let value = value(setup.value_bytes);
    let prepared = Prepared { setup, value, connections: connections.into(), events: Rc::default() };
    let mut pending = FuturesUnordered::new();
    for number in 0..setup.keys {
        if pending.len() >= 500 {
            pending.next().await.transpose()?;
        }
        let mut connection = prepared.connection(number as usize);
        let request = PutRequest { key: key(number), value: prepared.value.clone(), ..Default::default() };
        pending.push(async move { put(&mut connection, &request).await });
    }
    while let Some(result) = pending.next().await {
        result?;
    }
    for (position, connection) in prepared.connections.iter().enumerate() {
        let mine = (position..setup.watchers).step_by(setup.connections);
        start_watchers(scenario, mine, connection.clone(), &prepared.events).await?;
    }
    Ok(prepared)
}

async fn put(connection: &mut Connection, request: &PutRequest) -> io::Result<()> {
    connection.unary::<PutResponse>("/etcdserverpb.KV/Put", request).await.map(drop)
}

fn watch(key: Bytes, range_end: Bytes) -> WatchRequest {
    let create = WatchCreateRequest { key, range_end, ..Default::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

async fn start_watchers(
    scenario: Scenario,
    numbers: impl Iterator<Item = usize>,
    mut connection: Connection,
    events: &Rc<Cell<u64>>,
) -> io::Result<()> {
    let requests: Vec<_> = numbers
        .map(|number| match scenario {
            Scenario::WatchFanout => watch("fanout/".into(), "fanout0".into()),
            _ => watch(key(number as u64), Bytes::new()),
        })
        .collect();
    if requests.is_empty() {
        return Ok(());
    }
    let (sender, mut answers) = open_watch(&mut connection, &requests).await?;
    for _ in 0..requests.len() {
        created(&mut answers).await?;
    }
    let events = events.clone();
    spawn(async move {
        // Held so that the stream stays open.
        let _sender = sender;
        while let Ok(Some(response)) = answers.next::<WatchResponse>().await {
            events.set(events.get() + response.events.len() as u64);
        }
    });
    Ok(())
}

async fn open_watch(
    connection: &mut Connection,
    requests: &[WatchRequest],
) -> io::Result<(Requests, Answers)> {
    connection.stream_with("/etcdserverpb.Watch/Watch", requests).await
}

async fn created(answers: &mut Answers) -> io::Result<()> {
    match answers.next::<WatchResponse>().await? {
        Some(response) if response.created && !response.canceled => Ok(()),
        other => Err(io::Error::other(format!("a watcher was not created: {other:?}"))),
    }
}

/// One caller.
#[derive(Debug)]
pub(crate) struct Worker {
    scenario: Scenario,
    prepared: Prepared,
    connection: Connection,
    number: usize,
    random: SmallRng,
    lease: i64,
    /// The caller's own key's last revision, for compare-and-swap.
    mod_revision: i64,
    /// An open stream, where the load is on one.
    stream: Option<(Requests, Answers)>,
}

impl Worker {
    /// Caller `number`.
    pub(crate) async fn new(scenario: Scenario, prepared: Prepared, number: usize) -> io::Result<Self> {
        let mut connection = prepared.connection(number);
        let (mut lease, mut stream) = (0, None);
        match scenario {
            Scenario::LeaseKeepalive => {
                let request = LeaseGrantRequest { ttl: 600, id: 0 };
                let response: LeaseGrantResponse =
                    connection.unary("/etcdserverpb.Lease/LeaseGrant", &request).await?;
                lease = response.id;
                let first = LeaseKeepAliveRequest { id: lease };
                let (requests, mut answers) =
                    connection.stream_with("/etcdserverpb.Lease/LeaseKeepAlive", &[first]).await?;
                answers.next::<LeaseKeepAliveResponse>().await?;
                stream = Some((requests, answers));
            }
            // Odd callers write.
            Scenario::Progress if number.is_multiple_of(2) => {
                let create = watch("progress/".into(), "progress0".into());
                let (requests, mut answers) = open_watch(&mut connection, &[create]).await?;
                created(&mut answers).await?;
                stream = Some((requests, answers));
            }
            _ => {}
        }
        let random = SmallRng::seed_from_u64(number as u64);
        Ok(Self { scenario, prepared, connection, number, random, lease, mod_revision: 0, stream })
    }

    async fn put(&mut self, key: Bytes) -> io::Result<()> {
        let request = PutRequest { key, value: self.prepared.value.clone(), ..Default::default() };
        put(&mut self.connection, &request).await
    }

    async fn range(&mut self, request: &RangeRequest) -> io::Result<RangeResponse> {
        self.connection.unary("/etcdserverpb.KV/Range", request).await
    }

    async fn read_one(&mut self, serializable: bool) -> io::Result<()> {
        let number = self.random.random_range(0..self.prepared.setup.keys.max(1));
        let request = RangeRequest { key: key(number), serializable, ..Default::default() };
        self.range(&request).await.map(drop)
    }

    async fn compare_and_swap(&mut self) -> io::Result<()> {
        let key = key(self.number as u64 % self.prepared.setup.keys.max(1));
        let put = PutRequest { key: key.clone(), value: self.prepared.value.clone(), ..Default::default() };
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(self.mod_revision)),
            ..Default::default()
        };
        let range = RangeRequest { key, ..Default::default() };
        let request = TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
            failure: vec![RequestOp { request: Some(Request::RequestRange(range)) }],
        };
        let response: TxnResponse = self.connection.unary("/etcdserverpb.KV/Txn", &request).await?;
        self.mod_revision = match response.responses.into_iter().next().and_then(|op| op.response) {
            Some(response_op::Response::ResponseRange(found)) => {
                found.kvs.first().map_or(0, |kv| kv.mod_revision)
            }
            _ => response.header.map_or(0, |header| header.revision),
        };
        Ok(())
    }

    async fn keep_alive(&mut self) -> io::Result<()> {
        let Some((requests, answers)) = &mut self.stream else { return Ok(()) };
        requests.send(&LeaseKeepAliveRequest { id: self.lease })?;
        match answers.next::<LeaseKeepAliveResponse>().await? {
            Some(response) if response.ttl > 0 => Ok(()),
            other => Err(io::Error::other(format!("the lease was not renewed: {other:?}"))),
        }
    }

    async fn progress(&mut self) -> io::Result<()> {
        let Some((requests, answers)) = &mut self.stream else { return Ok(()) };
        let union = RequestUnion::ProgressRequest(WatchProgressRequest {});
        requests.send(&WatchRequest { request_union: Some(union) })?;
        loop {
            match answers.next::<WatchResponse>().await? {
                Some(response) if response.watch_id == -1 => return Ok(()),
                Some(_) => {}
                None => return Err(io::Error::other("the watch ended")),
            }
        }
    }
}

impl Caller for Worker {
    type Error = io::Error;

    async fn operation(&mut self) -> io::Result<()> {
        match self.scenario {
            Scenario::Put => {
                let number = self.random.random_range(0..100_000);
                self.put(key(number)).await
            }
            Scenario::RangeOne => self.read_one(false).await,
            Scenario::RangeOneSerializable => self.read_one(true).await,
            Scenario::RangePrefix => {
                let group = self.random.random_range(0..self.prepared.setup.keys.max(1000) / 1000);
                let request = RangeRequest {
                    key: format!("/registry/pods/ns-{group:04}/").into(),
                    range_end: format!("/registry/pods/ns-{group:04}0").into(),
                    ..Default::default()
                };
                self.range(&request).await.map(drop)
            }
            Scenario::TxnCas => self.compare_and_swap().await,
            Scenario::WatchFanout => self.put(format!("fanout/{:06}", self.number).into()).await,
            Scenario::WatchMany => {
                let number = self.random.random_range(0..self.prepared.setup.watchers.max(1) as u64);
                self.put(key(number)).await
            }
            Scenario::LeaseKeepalive => self.keep_alive().await,
            Scenario::Progress => match self.stream {
                Some(_) => self.progress().await,
                None => self.put("other".into()).await,
            },
        }
    }
}
