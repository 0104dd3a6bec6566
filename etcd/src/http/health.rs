//! Health: `/health` as it always was, `/livez` and `/readyz` with checks that can be asked one by one.

use super::{Answer, only_get, plain, text};
use crate::front::Front;
use ::http::{Method, Request, StatusCode};
use coffer_core::KeyRange;
use coffer_core::request::RangeRequest;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is checked, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    /// What is wrong, if anything is.
    async fn run(self, front: &Front) -> Result<(), String> {
        match self {
            Self::DataCorruption => match alarms(front).iter().any(|alarm| alarm == "CORRUPT") {
                true => Err("alarm activated: CORRUPT".into()),
                false => Ok(()),
            },
            Self::SerializableRead => read(front, true).await,
            Self::LinearizableRead => read(front, false).await,
            Self::NonLearner => match front.node.metrics().is_learner {
                true => Err("not supported for learner".into()),
                false => Ok(()),
            },
        }
    }
}

/// Which checks each path has.
const PROBES: [(&str, &[Check]); 2] = [
    ("livez", &[Check::SerializableRead]),
    ("readyz", &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner]),
];

/// How often members were found healthy and not.
#[derive(Debug, Default)]
pub(crate) struct HealthCounts {
    /// Of `/health`: true, false.
    whole: [AtomicU64; 2],
    /// Of each check of each probe.
    checks: [[CheckCounts; 4]; PROBES.len()],
}

#[derive(Debug, Default)]
struct CheckCounts {
    /// Passed, failed.
    counts: [AtomicU64; 2],
    /// 0 never, 1 failed, 2 passed.
    last: AtomicU8,
}

/// How often a check of a probe had which outcome.
pub(super) struct CheckMetrics {
    pub(super) probe: &'static str,
    pub(super) name: &'static str,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) last_passed: bool,
}

impl HealthCounts {
    /// `/health`: how often true, how often false.
    pub(super) fn whole(&self) -> [u64; 2] {
        [0, 1].map(|outcome: usize| self.whole[outcome].load(Ordering::Relaxed))
    }

    /// The checks that were made.
    pub(super) fn checks(&self) -> Vec<CheckMetrics> {
        let mut all = Vec::new();
        for ((probe, checks), counts) in PROBES.iter().zip(&self.checks) {
            for (check, counts) in checks.iter().zip(counts) {
                let [passed, failed] = [0, 1].map(|at: usize| counts.counts[at].load(Ordering::Relaxed));
                let last = counts.last.load(Ordering::Relaxed);
                if last != 0 {
                    let name = check.name();
                    all.push(CheckMetrics { probe, name, passed, failed, last_passed: last == 2 });
                }
            }
        }
        all
    }

    fn count(&self, probe: usize, check: usize, passed: bool) {
        let counts = &self.checks[probe][check];
        counts.counts[usize::from(!passed)].fetch_add(1, Ordering::Relaxed);
        counts.last.store(1 + u8::from(passed), Ordering::Relaxed);
    }
}

/// Answers if the path is one of health.
pub(super) async fn answer<B>(front: &Front, request: &Request<B>) -> Option<Answer> {
    let path = request.uri().path().strip_prefix('/')?;
    if path == "health" {
        return Some(health(front, request).await);
    }
    let (name, single) = match path.split_once('/') {
        Some((name, single)) => (name, Some(single)),
        None => (path, None),
    };
    let probe = PROBES.iter().position(|(known, _)| *known == name)?;
    let checks: Vec<usize> = (0..PROBES[probe].1.len())
        .filter(|check| single.is_none_or(|single| PROBES[probe].1[*check].name() == single))
        .collect();
    if checks.is_empty() {
        return None;
    }
    if request.method() != Method::GET {
        return Some(only_get());
    }
    let query = Query::of(request);
    let excluded = if single.is_none() { query.all("exclude") } else { BTreeSet::new() };
    Some(probed(front, probe, &checks, &excluded, query.has("verbose")).await)
}

async fn probed(
    front: &Front,
    probe: usize,
    checks: &[usize],
    excluded: &BTreeSet<String>,
    verbose: bool,
) -> Answer {
    let (mut told, mut healthy) = (String::new(), true);
    for &at in checks {
        let check = PROBES[probe].1[at];
        if excluded.contains(check.name()) {
            continue;
        }
        let outcome = check.run(front).await;
        front.health.count(probe, at, outcome.is_ok());
        healthy &= outcome.is_ok();
        // Writing to a string does not fail.
        let _ = match outcome {
            Ok(()) => writeln!(told, "[+]{} ok", check.name()),
            Err(reason) => writeln!(told, "[-]{} failed: {reason}", check.name()),
        };
    }
    if !healthy {
        tracing::warn!(reason = told, "a health check failed");
        told.push('\n');
        return plain(StatusCode::SERVICE_UNAVAILABLE, told);
    }
    if !verbose {
        told.clear();
    }
    told.push_str("ok\n");
    plain(StatusCode::OK, told)
}

async fn health<B>(front: &Front, request: &Request<B>) -> Answer {
    if request.method() != Method::GET {
        return only_get();
    }
    let query = Query::of(request);
    let serializable = query.first("serializable").is_some_and(|value| value == "true");
    let outcome = whole(front, &query.all("exclude"), serializable).await;
    front.health.whole[usize::from(outcome.is_err())].fetch_add(1, Ordering::Relaxed);
    // In this order, which a map would not keep.
    match outcome {
        Ok(()) => text(StatusCode::OK, "text/plain; charset=utf-8", r#"{"health":"true","reason":""}"#),
        Err(reason) => {
            tracing::warn!(reason, "not healthy");
            let body = format!(r#"{{"health":"false","reason":{}}}"#, json!(reason));
            plain(StatusCode::SERVICE_UNAVAILABLE, body + "\n")
        }
    }
}

async fn whole(front: &Front, excluded: &BTreeSet<String>, serializable: bool) -> Result<(), String> {
    if let Some(alarm) = alarms(front).into_iter().find(|alarm| !excluded.contains(alarm)) {
        return Err(format!("ALARM {alarm}"));
    }
    if !serializable && !front.node.metrics().has_leader {
        return Err("RAFT NO LEADER".into());
    }
    read(front, serializable).await.map_err(|error| format!("RANGE ERROR:{error}"))
}

/// Reads one key, without regard to permissions.
async fn read(front: &Front, serializable: bool) -> Result<(), String> {
    let request =
        RangeRequest { limit: 1, keys_only: true, serializable, ..RangeRequest::new(KeyRange::all()) };
    let read = front.read(front.node.range(request)).await;
    read.map(drop).map_err(|status| status.message().to_owned())
}

/// The names of the alarms that are raised.
fn alarms(front: &Front) -> Vec<String> {
    front.node.alarms().iter().map(|alarm| alarm.kind.to_string()).collect()
}

/// The part of the URL behind the question mark.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        Self(request.uri().query().unwrap_or_default())
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(found, _)| found == name)
    }

    fn first(&self, name: &str) -> Option<&'a str> {
        self.pairs().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    fn all(&self, name: &str) -> BTreeSet<String> {
        let values = self.pairs().filter(|(found, value)| *found == name && !value.is_empty());
        values.map(|(_, value)| value.to_owned()).collect()
    }
}
