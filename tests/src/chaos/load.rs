//! Clients that write down what they ask and what they are told.
//!
//! Two in three know one member each, the others all of them. They work on few keys, so that they meet. Each asks one thing at a
//! time, with a deadline, and takes a short rest after it: the machine is to be busy with the cluster, not with its clients.

use super::cluster::Cluster;
use super::history::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::{Error, KeyRange, KeyValue, LeaseId};
use coffer_rpc::client::Client;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Keys that everybody works on.
const HOT_KEYS: usize = 8;
/// How many clients.
pub const CLIENTS: u32 = 18;
/// How long one request may take.
const DEADLINE: Duration = Duration::from_millis(1200);
/// Rest after a request.
const REST: Duration = Duration::from_millis(12);
/// Shortest rest after one that failed.
const REST_FAILED: Duration = Duration::from_millis(40);
/// Newest revisions that a compaction leaves.
const KEPT_REVISIONS: i64 = 300;

/// What all clients and watchers share.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    /// What they wrote down.
    pub operations: RefCell<Vec<Operation>>,
    /// Revisions that watches still need: nothing from here on is compacted.
    pub needed: Cell<i64>,
    /// The newest revision that any client was told of.
    pub newest: Cell<i64>,
    stopped: Cell<bool>,
    values: Cell<u64>,
}

impl Recorder {
    /// Time begins now.
    pub fn start() -> Rc<Self> {
        Rc::new(Self {
            began: Instant::now(),
            operations: RefCell::default(),
            needed: Cell::new(1),
            newest: Cell::new(1),
            stopped: Cell::new(false),
            values: Cell::new(0),
        })
    }

    /// The time.
    pub fn now(&self) -> Micros {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Clients end after what they are at.
    pub fn stop(&self) {
        self.stopped.set(true);
    }

    /// Whether clients are to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// A value that nobody else writes.
    pub fn fresh_value(&self) -> String {
        self.values.set(self.values.get() + 1);
        format!("v{}", self.values.get())
    }

    /// How many requests have been answered.
    pub fn answered(&self) -> usize {
        self.operations.borrow().iter().filter(|it| matches!(it.outcome, Outcome::Ok { .. })).count()
    }

    /// Asks, and writes down what came of it.
    pub async fn perform(&self, number: u32, client: &Client, action: Action) -> Outcome {
        let call = self.now();
        let outcome = match ask(client, &action).await {
            Ok((header, answer)) => {
                self.newest.set(self.newest.get().max(header.revision));
                Outcome::Ok { revision: header.revision, term: header.raft_term, answer }
            }
            Err(error) if is_maybe(&error) => Outcome::Unknown(error.to_string()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        let end = self.now();
        self.operations.borrow_mut().push(Operation {
            client: number,
            call,
            end,
            action,
            outcome: outcome.clone(),
        });
        outcome
    }
}

/// Whether a request that failed so may have happened.
fn is_maybe(error: &Error) -> bool {
    error.is_maybe_committed() || matches!(error, Error::Corrupt(_))
}

fn pair(found: &KeyValue) -> Pair {
    Pair {
        key: String::from_utf8_lossy(&found.key).into_owned(),
        value: shortened(&found.value),
        created: found.create_revision,
        modified: found.mod_revision,
        version: found.version,
        lease: found.lease.0,
    }
}

/// As the store has it, without the value where it is deleted.
pub fn pair_of(found: &KeyValue) -> Pair {
    pair(found)
}

/// Keys as the store has them.
pub fn range_of(keys: &Keys) -> KeyRange {
    match keys.end.is_empty() {
        true => KeyRange::single(keys.start.clone()),
        false => KeyRange::between(keys.start.clone(), keys.end.clone()),
    }
}

fn put_request(key: &str, value: &str, lease: i64) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: full_value(value),
        lease: LeaseId(lease),
        prev_kv: true,
        ..PutRequest::default()
    }
}

/// What [`shortened`] was made of: values of clients are their own names, large ones are padded.
fn full_value(value: &str) -> Bytes {
    match value.split_once('…').and_then(|(text, length)| Some((text, length.parse().ok()?))) {
        Some((text, length)) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(length, b'.');
            bytes.into()
        }
        None => Bytes::copy_from_slice(value.as_bytes()),
    }
}

/// The name of a value of so many bytes.
pub fn large_value(name: &str, bytes: usize) -> String {
    let mut start = name.as_bytes().to_vec();
    start.resize(bytes, b'.');
    shortened(&start)
}

fn step_request(step: &Step) -> TxnOp {
    match step {
        Step::Put { key, value } => TxnOp::Put(put_request(key, value, 0)),
        Step::Delete { key } => {
            TxnOp::DeleteRange(DeleteRangeRequest { range: KeyRange::single(key.clone()), prev_kv: true })
        }
        Step::Get { key } => TxnOp::Range(RangeRequest::new(KeyRange::single(key.clone()))),
    }
}

fn step_answer(response: &TxnOpResponse) -> StepAnswer {
    match response {
        TxnOpResponse::Put(put) => StepAnswer::Put { before: put.prev_kv.as_ref().map(pair) },
        TxnOpResponse::DeleteRange(deleted) => {
            StepAnswer::Delete { before: deleted.prev_kvs.iter().map(pair).collect() }
        }
        TxnOpResponse::Range(range) => StepAnswer::Get { pairs: range.kvs.iter().map(pair).collect() },
        TxnOpResponse::Txn(_) => StepAnswer::Get { pairs: Vec::new() },
    }
}

async fn ask(client: &Client, action: &Action) -> Result<(Header, Answer), Error> {
    match action {
        Action::Put { key, value, lease } => {
            let response = client.put(put_request(key, value, *lease)).await?;
            Ok((response.header, Answer::Put { before: response.prev_kv.as_ref().map(pair) }))
        }
        Action::Delete { keys } => {
            let request = DeleteRangeRequest { range: range_of(keys), prev_kv: true };
            let response = client.delete_range(request).await?;
            let before = response.prev_kvs.iter().map(pair).collect();
            Ok((response.header, Answer::Delete { deleted: response.deleted, before }))
        }
        Action::Txn { when, then, otherwise } => {
            let compare = when.iter().map(|(key, revision)| Compare {
                range: KeyRange::single(key.clone()),
                result: CompareResult::Equal,
                target: CompareTarget::Mod(*revision),
            });
            let request = TxnRequest {
                compare: compare.collect(),
                success: then.iter().map(step_request).collect(),
                failure: otherwise.iter().map(step_request).collect(),
            };
            let response = client.txn(request).await?;
            let steps = response.responses.iter().map(step_answer).collect();
            Ok((response.header, Answer::Txn { succeeded: response.succeeded, steps }))
        }
        Action::Read { keys, serializable, revision } => {
            let request = RangeRequest {
                serializable: *serializable,
                revision: *revision,
                ..RangeRequest::new(range_of(keys))
            };
            let response = client.range(request).await?;
            Ok((response.header, Answer::Read { pairs: response.kvs.iter().map(pair).collect() }))
        }
        Action::Grant { lease, ttl_s } => {
            let request = LeaseGrantRequest { ttl_s: *ttl_s, id: LeaseId(*lease) };
            let response = client.lease_grant(request).await?;
            Ok((response.header, Answer::Lease { ttl_s: response.ttl_s }))
        }
        Action::KeepAlive { lease } => {
            let response = client.lease_keep_alive(LeaseId(*lease)).await?;
            Ok((response.header, Answer::Lease { ttl_s: response.ttl_s }))
        }
        Action::Revoke { lease } => {
            let response = client.lease_revoke(LeaseId(*lease)).await?;
            Ok((response.header, Answer::Done))
        }
        Action::Compact { revision } => {
            let request = CompactRequest { revision: *revision, physical: false };
            let response = client.compact(request).await?;
            Ok((response.header, Answer::Done))
        }
    }
}

/// A client of one member, or of all: connects until it succeeds or is to end.
async fn connect(cluster: &Cluster, recorder: &Recorder, member: Option<usize>) -> Option<Client> {
    while !recorder.is_stopped() {
        let members = cluster.members();
        let known = match member {
            Some(member) => vec![members.get(member % members.len())?.clone()],
            None => members,
        };
        if let Ok(client) = cluster.client(&known, DEADLINE).await {
            return Some(client);
        }
        coffer_runtime::sleep(REST_FAILED).await;
    }
    None
}

fn hot_key(random: &mut StdRng) -> String {
    format!("k{}", random.random_range(0..HOT_KEYS))
}

/// A client that works on hot keys until it is told to end.
pub async fn work(cluster: Rc<Cluster>, recorder: Rc<Recorder>, number: u32, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let pinned = !number.is_multiple_of(3);
    let Some(client) = connect(&cluster, &recorder, pinned.then_some(number as usize)).await else { return };
    // What it saw last of each key: what it compares with.
    let mut seen: Vec<(String, i64)> = Vec::new();
    while !recorder.is_stopped() {
        let action = choose(&mut random, &recorder, &seen);
        let outcome = recorder.perform(number, &client, action).await;
        remember(&mut seen, &outcome);
        let rest = match outcome {
            Outcome::Ok { .. } => REST,
            _ => REST_FAILED,
        };
        coffer_runtime::sleep(rest.mul_f64(random.random_range(0.5..1.5))).await;
    }
}

fn choose(random: &mut StdRng, recorder: &Recorder, seen: &[(String, i64)]) -> Action {
    let (key, value) = (hot_key(random), recorder.fresh_value());
    let read = |keys, serializable, revision| Action::Read { keys, serializable, revision };
    match random.random_range(0..100) {
        0..32 => Action::Put { key, value, lease: 0 },
        32..50 => read(Keys::one(&key), false, 0),
        50..60 => read(Keys::one(&key), true, 0),
        60..64 => read(Keys::prefixed("k"), random.random_bool(0.3), 0),
        64..67 => {
            let back = random.random_range(0..100);
            read(Keys::prefixed("k"), random.random_bool(0.5), (recorder.newest.get() - back).max(1))
        }
        67..87 => {
            let expected = seen.choose(random).cloned().unwrap_or((key, 0));
            let key = expected.0.clone();
            let then = vec![Step::Put { key: key.clone(), value }];
            Action::Txn { when: vec![expected], then, otherwise: vec![Step::Get { key }] }
        }
        87..92 => {
            let other = format!("x{}", random.random_range(0..2));
            let gets = [&key, &other].map(|key| Step::Get { key: key.clone() });
            let puts =
                [&key, &other].map(|key| Step::Put { key: key.clone(), value: format!("{value}-{key}") });
            Action::Txn {
                when: Vec::new(),
                then: puts.into_iter().chain(gets).collect(),
                otherwise: Vec::new(),
            }
        }
        92..95 => {
            let when = seen.choose(random).cloned().into_iter().collect();
            Action::Txn { when, then: vec![Step::Delete { key }], otherwise: Vec::new() }
        }
        95..99 => Action::Delete { keys: Keys::one(&key) },
        _ => Action::Delete { keys: Keys::prefixed("x") },
    }
}

fn remember(seen: &mut Vec<(String, i64)>, outcome: &Outcome) {
    let Outcome::Ok { revision, answer, .. } = outcome else { return };
    let mut learn = |key: &str, modified: i64| {
        seen.retain(|(known, _)| known != key);
        seen.push((key.to_owned(), modified));
    };
    match answer {
        Answer::Read { pairs } => pairs.iter().for_each(|pair| learn(&pair.key, pair.modified)),
        Answer::Put { before: Some(pair) } => learn(&pair.key, *revision),
        _ => {}
    }
}

/// Grants leases, lets them live for a while, and leaves most of them to their end.
pub async fn lease(cluster: Rc<Cluster>, recorder: Rc<Recorder>, number: u32, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let pinned = number.is_multiple_of(2);
    let Some(client) = connect(&cluster, &recorder, pinned.then_some(number as usize)).await else { return };
    let mut count = 0;
    while !recorder.is_stopped() {
        count += 1;
        let id = i64::from(number) * 1_000_000 + count;
        let granted = recorder.perform(number, &client, Action::Grant { lease: id, ttl_s: 2 }).await;
        if !matches!(granted, Outcome::Ok { .. }) {
            coffer_runtime::sleep(REST_FAILED).await;
            continue;
        }
        for part in 0..random.random_range(1..3) {
            let put =
                Action::Put { key: format!("lease/{id}/{part}"), value: recorder.fresh_value(), lease: id };
            recorder.perform(number, &client, put).await;
        }
        for _ in 0..random.random_range(0..4) {
            coffer_runtime::sleep(Duration::from_millis(random.random_range(200..900))).await;
            recorder.perform(number, &client, Action::KeepAlive { lease: id }).await;
        }
        if random.random_bool(0.2) {
            recorder.perform(number, &client, Action::Revoke { lease: id }).await;
        }
        coffer_runtime::sleep(Duration::from_millis(random.random_range(50..400))).await;
    }
}

/// Compacts now and then, behind everything that a watch still needs.
pub async fn compact(cluster: Rc<Cluster>, recorder: Rc<Recorder>, number: u32, pause: Duration) {
    let Some(client) = connect(&cluster, &recorder, None).await else { return };
    while !recorder.is_stopped() {
        coffer_runtime::sleep(pause).await;
        compact_once(&recorder, number, &client).await;
    }
}

/// Compacts once, if there is anything to compact.
pub async fn compact_once(recorder: &Recorder, number: u32, client: &Client) {
    let revision = recorder.needed.get().min(recorder.newest.get() - KEPT_REVISIONS);
    if revision > 1 {
        recorder.perform(number, client, Action::Compact { revision }).await;
    }
}
