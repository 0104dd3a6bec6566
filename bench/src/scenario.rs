//! What the callers do.

use bytes::Bytes;
use clap::ValueEnum;
use coffer_bench::load::{Caller, key, value};
use coffer_core::request::{
    Compare, CompareResult, CompareTarget, LeaseGrantRequest, PutRequest, RangeRequest, TxnOp, TxnRequest,
};
use coffer_core::watch::{WatchKind, WatchRequest};
use coffer_core::{Error, KeyRange, LeaseId};
use coffer_rpc::client::Client;
use coffer_runtime::Executor;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Read a page of 500 keys with the exact count of all.
    PageCount,
    /// Read a key's revision and replace it if that has not changed.
    TxnCas,
    /// Write under a prefix that many watch; counts events.
    WatchFanout,
    /// Write keys that are watched one by one; counts events.
    WatchMany,
    /// Renew leases.
    LeaseKeepalive,
    /// Write random keys while leases end: `keys` is how many.
    LeaseExpiry,
    /// Eight reads, one write, one page of 100.
    Mixed,
    /// Load the keys and do nothing: for memory and the time of a start.
    Idle,
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
            Self::Put | Self::WatchFanout | Self::LeaseKeepalive => 0,
            Self::LeaseExpiry => 100_000,
            Self::PageCount | Self::Idle => 1_000_000,
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
}

/// What all callers share.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    setup: Setup,
    value: Bytes,
    events: Arc<AtomicU64>,
}

impl Prepared {
    /// Events that all watchers have received so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// Loads the keys and starts the watchers.
pub(crate) async fn prepare(
    scenario: Scenario,
    setup: Setup,
    clients: Arc<[Client]>,
    executor: &Executor,
) -> Result<Prepared, Error> {
    let value = value(setup.value_bytes);
    let prepared = Prepared { setup, value, events: Arc::default() };
    if scenario == Scenario::LeaseExpiry {
        grant_leases(setup.keys, &clients).await?;
        return Ok(prepared);
    }
    let mut pending = FuturesUnordered::new();
    for number in 0..setup.keys {
        if pending.len() >= 1000 {
            pending.next().await.transpose()?;
        }
        let client = clients[(number % clients.len() as u64) as usize].clone();
        let request = PutRequest { key: key(number), value: prepared.value.clone(), ..PutRequest::default() };
        pending.push(async move { client.put(request).await.map(drop) });
    }
    while let Some(result) = pending.next().await {
        result?;
    }
    for (position, client) in clients.iter().enumerate() {
        let mine = (position..setup.watchers).step_by(clients.len());
        start_watchers(scenario, mine, client, &prepared, executor).await?;
    }
    Ok(prepared)
}

/// Grants leases that end a few seconds after the last was granted.
async fn grant_leases(count: u64, clients: &[Client]) -> Result<(), Error> {
    let mut pending = FuturesUnordered::new();
    for number in 0..count {
        if pending.len() >= 1000 {
            pending.next().await.transpose()?;
        }
        let client = clients[(number % clients.len() as u64) as usize].clone();
        let request = LeaseGrantRequest { ttl_s: 8, ..LeaseGrantRequest::default() };
        pending.push(async move { client.lease_grant(request).await.map(drop) });
    }
    while let Some(result) = pending.next().await {
        result?;
    }
    Ok(())
}

async fn start_watchers(
    scenario: Scenario,
    numbers: impl Iterator<Item = usize>,
    client: &Client,
    prepared: &Prepared,
    executor: &Executor,
) -> Result<(), Error> {
    let mut stream = client.watch();
    let mut created = 0;
    for number in numbers {
        let range = match scenario {
            Scenario::WatchFanout => KeyRange::prefix("fanout/"),
            _ => KeyRange::single(key(number as u64)),
        };
        stream.create(WatchRequest::new(range))?;
        created += 1;
    }
    while created > 0 {
        let Some(responses) = stream.next().await else { return Err(Error::Stopped) };
        for response in responses {
            if response.kind == WatchKind::Created {
                created -= response.watch_ids.len();
            }
        }
    }
    let events = Arc::clone(&prepared.events);
    // The task lives as long as the executor.
    drop(executor.spawn(async move {
        while let Some(responses) = stream.next().await {
            for response in responses {
                if let WatchKind::Events { events: batch, .. } = &response.kind {
                    let delivered = batch.len() * response.watch_ids.len();
                    events.fetch_add(delivered as u64, Ordering::Relaxed);
                }
            }
        }
    }));
    Ok(())
}

/// One caller.
#[derive(Debug)]
pub(crate) struct Worker {
    scenario: Scenario,
    prepared: Prepared,
    client: Client,
    number: u64,
    random: SmallRng,
    lease: LeaseId,
    /// The caller's own key and its last revision, for compare-and-swap.
    mod_revision: i64,
}

impl Worker {
    /// Caller `number`.
    pub(crate) fn new(scenario: Scenario, prepared: Prepared, client: Client, number: u64) -> Self {
        let random = SmallRng::seed_from_u64(number);
        Self { scenario, prepared, client, number, random, lease: LeaseId::NONE, mod_revision: 0 }
    }

    async fn put(&mut self, key: Bytes) -> Result<(), Error> {
        let value = self.prepared.value.clone();
        self.client.put(PutRequest { key, value, ..PutRequest::default() }).await.map(drop)
    }

    async fn read_one(&mut self, serializable: bool) -> Result<(), Error> {
        let number = self.random.random_range(0..self.prepared.setup.keys.max(1));
        let request = RangeRequest { serializable, ..RangeRequest::new(KeyRange::single(key(number))) };
        self.client.range(request).await.map(drop)
    }

    async fn compare_and_swap(&mut self) -> Result<(), Error> {
        let key = key(self.number % self.prepared.setup.keys.max(1));
        let range = KeyRange::single(key.clone());
        let put = PutRequest { key, value: self.prepared.value.clone(), ..PutRequest::default() };
        let request = TxnRequest {
            compare: vec![Compare {
                range: range.clone(),
                result: CompareResult::Equal,
                target: CompareTarget::Mod(self.mod_revision),
            }],
            success: vec![TxnOp::Put(put)],
            failure: vec![TxnOp::Range(RangeRequest::new(range))],
        };
        let response = self.client.txn(request).await?;
        self.mod_revision = match &response.responses[..] {
            [coffer_core::request::TxnOpResponse::Range(found)] => {
                found.kvs.first().map_or(0, |kv| kv.mod_revision)
            }
            _ => response.header.revision,
        };
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), Error> {
        if self.lease.is_none() {
            let request = LeaseGrantRequest { ttl_s: 600, ..LeaseGrantRequest::default() };
            self.lease = self.client.lease_grant(request).await?.id;
        }
        self.client.lease_keep_alive(self.lease).await.map(drop)
    }
}

impl Caller for Worker {
    type Error = Error;

    async fn operation(&mut self) -> Result<(), Error> {
        match self.scenario {
            Scenario::Put | Scenario::LeaseExpiry => {
                let number = self.random.random_range(0..100_000);
                self.put(key(number)).await
            }
            Scenario::RangeOne => self.read_one(false).await,
            Scenario::RangeOneSerializable => self.read_one(true).await,
            Scenario::RangePrefix => {
                let group = self.random.random_range(0..self.prepared.setup.keys.max(1000) / 1000);
                let range = KeyRange::prefix(format!("/registry/pods/ns-{group:04}/"));
                self.client.range(RangeRequest::new(range)).await.map(drop)
            }
            Scenario::PageCount => {
                let start = self.random.random_range(0..self.prepared.setup.keys.max(1));
                let range = KeyRange::between(key(start), "/registry/pods0");
                self.client.range(RangeRequest { limit: 500, ..RangeRequest::new(range) }).await.map(drop)
            }
            Scenario::TxnCas => self.compare_and_swap().await,
            Scenario::WatchFanout => self.put(format!("fanout/{:06}", self.number).into()).await,
            Scenario::WatchMany => {
                let number = self.random.random_range(0..self.prepared.setup.watchers.max(1) as u64);
                self.put(key(number)).await
            }
            Scenario::LeaseKeepalive => self.keep_alive().await,
            Scenario::Mixed => match self.random.random_range(0..10) {
                0 => {
                    let number = self.random.random_range(0..self.prepared.setup.keys.max(1));
                    self.put(key(number)).await
                }
                1 => {
                    let start = self.random.random_range(0..self.prepared.setup.keys.max(1));
                    let range = KeyRange::between(key(start), "/registry/pods0");
                    self.client.range(RangeRequest { limit: 100, ..RangeRequest::new(range) }).await.map(drop)
                }
                _ => self.read_one(false).await,
            },
            Scenario::Idle => {
                coffer_runtime::sleep(std::time::Duration::from_millis(100)).await;
                Ok(())
            }
        }
    }
}
