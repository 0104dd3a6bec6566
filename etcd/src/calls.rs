//! Counts calls: how many began and ended how, how long they took, and their bytes.
//!
//! # Invariants
//! - What is counted is found once per call; then counting is a few additions to memory that other connection threads
//!   do not touch.
//! - A call that began is counted as handled exactly once: when its last trailers leave, or as canceled when it is
//!   dropped before.

mod body;
mod chunk;
mod methods;
mod received;

pub(crate) use body::{CallBody, Reply, Sending};
pub(crate) use methods::{METHODS, Method};
pub(crate) use received::Received;

use crate::convert::status;
use crate::front::Front;
use crate::grpc;
use ::http::{HeaderMap, Request, Response};
use coffer_core::Error;
use coffer_core::metrics::{Histogram, HistogramSnapshot, LANES, lane};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::Code;

/// The codes, in the order of their numbers, as etcd's metrics name them.
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The metadata by which clients tell the version of etcd's API that they speak.
const CLIENT_API_VERSION: &str = "client-api-version";
/// Versions that are told apart; what more clients invent is counted as `other`.
const VERSIONS_MAX: usize = 32;

/// The bounds of Go's gRPC server.
const HANDLING_BOUNDS: &[Duration] = &[
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// What is counted of all calls, in lanes of their own for each thread.
#[derive(Debug)]
pub(crate) struct Calls {
    lanes: Vec<Arc<Lane>>,
    /// How long calls took, by method, if that is wanted.
    durations: Option<Arc<[Histogram]>>,
}

#[derive(Debug)]
struct Lane {
    methods: Vec<MethodCounts>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// Calls that are unary and that are not.
    unversioned: [AtomicU64; 2],
    versions: RwLock<BTreeMap<String, [AtomicU64; 2]>>,
}

#[derive(Debug, Default)]
struct MethodCounts {
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

impl Calls {
    /// Nothing counted yet. With `durations`, the time of every call is measured.
    pub(crate) fn new(durations: bool) -> Self {
        let lane = || Lane {
            methods: METHODS.iter().map(|_| MethodCounts::default()).collect(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            unversioned: Default::default(),
            versions: RwLock::default(),
        };
        let histograms = || METHODS.iter().map(|_| Histogram::new(HANDLING_BOUNDS)).collect();
        Self { lanes: (0..LANES).map(|_| Arc::new(lane())).collect(), durations: durations.then(histograms) }
    }

    /// Counts the beginning of a call. `None` for a method that etcd does not have.
    fn begin(&self, path: &str, headers: &HeaderMap) -> Option<Call> {
        let method = methods::find(path)?;
        let lane = self.lanes[lane()].clone();
        lane.methods[method].started.fetch_add(1, Ordering::Relaxed);
        lane.count_version(headers, usize::from(METHODS[method].is_stream()));
        let measured = self.durations.as_ref().map(|durations| (durations.clone(), Instant::now()));
        Some(Call { lane, method, code: Code::Cancelled, measured })
    }

    /// How many calls of each method began.
    pub(crate) fn started(&self, method: usize) -> u64 {
        self.sum(|lane| &lane.methods[method].started)
    }

    /// How many calls of a method ended with the code of this number.
    pub(crate) fn handled(&self, method: usize, code: usize) -> u64 {
        self.sum(|lane| &lane.methods[method].handled[code])
    }

    /// How long calls of a method took, if that is measured.
    pub(crate) fn durations(&self, method: usize) -> Option<HistogramSnapshot> {
        self.durations.as_ref().map(|durations| durations[method].snapshot())
    }

    /// Bytes of requests.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.sum(|lane| &lane.received_bytes)
    }

    /// Bytes of responses.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sum(|lane| &lane.sent_bytes)
    }

    /// Calls by version of the client: unary ones, and the others.
    pub(crate) fn versions(&self) -> BTreeMap<String, [u64; 2]> {
        let mut versions: BTreeMap<String, [u64; 2]> = BTreeMap::new();
        let mut add = |version: &str, counts: &[AtomicU64; 2]| {
            let sum = versions.entry(version.to_owned()).or_default();
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count.load(Ordering::Relaxed);
            }
        };
        for lane in &self.lanes {
            add("unknown", &lane.unversioned);
            lane.versions.read().iter().for_each(|(version, counts)| add(version, counts));
        }
        versions
    }

    fn sum(&self, count: impl Fn(&Lane) -> &AtomicU64) -> u64 {
        self.lanes.iter().map(|lane| count(lane).load(Ordering::Relaxed)).sum()
    }
}

impl Lane {
    fn count_version(&self, headers: &HeaderMap, kind: usize) {
        let version = headers.get(CLIENT_API_VERSION).and_then(|version| version.to_str().ok());
        let Some(version) = version else {
            self.unversioned[kind].fetch_add(1, Ordering::Relaxed);
            return;
        };
        if let Some(counts) = self.versions.read().get(version) {
            counts[kind].fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut versions = self.versions.write();
        let known = versions.len() < VERSIONS_MAX && version.len() <= 64;
        let version = if known || versions.contains_key(version) { version } else { "other" };
        versions.entry(version.to_owned()).or_default()[kind].fetch_add(1, Ordering::Relaxed);
    }
}

/// A call under way.
#[derive(Debug)]
struct Call {
    lane: Arc<Lane>,
    method: usize,
    code: Code,
    measured: Option<(Arc<[Histogram]>, Instant)>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let counts = &self.lane.methods[self.method];
        counts.handled[self.code as usize].fetch_add(1, Ordering::Relaxed);
        if let Some((durations, began)) = &self.measured {
            durations[self.method].record(began.elapsed());
        }
    }
}

/// Answers a call of gRPC, and counts it.
pub(crate) async fn answer(front: &Arc<Front>, request: Request<CallBody>) -> Response<Reply> {
    let call = front.calls.begin(request.uri().path(), request.headers());
    let lane = call.as_ref().map(|call| call.lane.clone());
    let method = call.as_ref().map(|call| &METHODS[call.method]);
    let (is_stream, takes_stream) =
        method.map_or((false, false), |method| (method.is_stream(), method.takes_stream()));
    let outgo = request.body().outgo();
    if outgo.as_ref().is_some_and(|outgo| outgo.is_clogged()) {
        return body::reply(call, Sending::default(), status(Error::TooManyRequests).into_http());
    }
    let sending = match outgo {
        // A watch that is not read is no reason to end the others on its connection: it is bounded by itself.
        Some(_) if takes_stream => Sending::default(),
        Some(outgo) if is_stream => Sending::stream(&outgo),
        Some(outgo) => Sending::new(&outgo),
        None => Sending::default(),
    };
    let request = request.map(|body| {
        let body = body.counted(lane);
        if takes_stream { body.of_messages() } else { body }
    });
    body::reply(call, sending, grpc::call(front, request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_clients_invent_take_no_more_than_some_room() {
        let calls = Calls::new(false);
        let mut headers = HeaderMap::new();
        for version in 0..10 * VERSIONS_MAX {
            headers.insert(CLIENT_API_VERSION, format!("3.{version}").parse().unwrap());
            drop(calls.begin("/etcdserverpb.KV/Range", &headers).unwrap());
        }
        let versions = calls.versions();
        assert!(versions.len() <= VERSIONS_MAX + 2, "{}", versions.len());
        assert_eq!(versions["3.0"], [1, 0]);
        assert_eq!(versions.values().map(|counts| counts[0]).sum::<u64>(), 10 * VERSIONS_MAX as u64);
    }

    #[test]
    fn a_call_that_is_dropped_was_canceled() {
        let calls = Calls::new(true);
        drop(calls.begin("/etcdserverpb.Watch/Watch", &HeaderMap::new()).unwrap());
        let watch = methods::find("/etcdserverpb.Watch/Watch").unwrap();
        assert_eq!((calls.started(watch), calls.handled(watch, 1), calls.handled(watch, 0)), (1, 1, 0));
        assert_eq!(calls.versions()["unknown"], [0, 1]);
        assert_eq!(calls.durations(watch).unwrap().counts.iter().sum::<u64>(), 1);
        assert!(calls.begin("/etcdserverpb.KV/Nothing", &HeaderMap::new()).is_none());
    }
}
