//! Compaction by itself, with etcd's rules.
//!
//! # Modes
//! - *periodic*: keeps the history of a time. The revision is sampled ten times per period (or per hour, for longer
//!   periods); after a first whole period, what is older than the oldest sample is dropped once per period (or hour).
//! - *revision*: every five minutes, keeps the newest N revisions.
//!
//! # Invariants
//! - Only the leader compacts, so that a cluster does it once.
//! - What fails is tried again at the next sample; a revision that someone else compacted counts as done.
//!
//! [`Schedule`] decides and knows no clock; [`run`] waits and compacts.

use crate::etcd::go;
use coffer::Error;
use coffer::request::CompactRequest;
use coffer_core::node::Node;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future;
use std::time::{Duration, Instant};

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AutoCompaction {
    Periodic(Duration),
    Revision(i64),
}

const HOUR: Duration = Duration::from_secs(60 * 60);
/// How often history is looked at in revision mode.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Samples per period or hour.
const SAMPLES: u32 = 10;
/// The shortest period: its samples are a hundred milliseconds apart.
const PERIOD_MIN: Duration = Duration::from_secs(1);

impl AutoCompaction {
    /// Reads `auto-compaction-mode` and `auto-compaction-retention`. `None` if all history is kept.
    pub(crate) fn read(mode: &str, retention: &str) -> Result<Option<Self>, String> {
        let number = retention.parse::<i64>().ok().filter(|number| *number >= 0);
        let parsed = match (mode, number) {
            ("revision", Some(revisions)) => Self::Revision(revisions),
            // As in etcd, a number means hours.
            ("periodic", Some(hours)) => {
                let seconds = u64::try_from(hours).unwrap_or(0).checked_mul(3600);
                Self::Periodic(Duration::from_secs(seconds.ok_or("auto-compaction-retention is too long")?))
            }
            ("periodic", None) => {
                let nanos = go::duration(retention).ok().and_then(|nanos| u64::try_from(nanos).ok());
                let nanos = nanos
                    .ok_or_else(|| format!("auto-compaction-retention: `{retention}` is no duration"))?;
                Self::Periodic(Duration::from_nanos(nanos))
            }
            ("revision", None) => {
                return Err(format!("auto-compaction-retention: `{retention}` is no number of revisions"));
            }
            ("", _) => return Err("undefined auto-compaction-mode".into()),
            _ => return Err(format!("unknown auto-compaction-mode {}", go::quoted(mode))),
        };
        match parsed {
            Self::Periodic(Duration::ZERO) | Self::Revision(0) => Ok(None),
            Self::Periodic(period) if period < PERIOD_MIN => {
                Err("auto-compaction-retention must be at least 1s".into())
            }
            _ => Ok(Some(parsed)),
        }
    }
}

/// When to look, and what to compact.
#[derive(Debug)]
struct Schedule {
    keep: AutoCompaction,
    /// Periodic: the revision at each sample, the oldest first.
    samples: VecDeque<i64>,
    /// Periodic: how long after `last_success` is compacted again. A whole period at first.
    interval: Duration,
    last_success: Instant,
    last_revision: i64,
}

impl Schedule {
    fn new(keep: AutoCompaction, now: Instant) -> Self {
        let interval = match keep {
            AutoCompaction::Periodic(period) => period,
            AutoCompaction::Revision(_) => Duration::ZERO,
        };
        Self { keep, samples: VecDeque::new(), interval, last_success: now, last_revision: 0 }
    }

    /// Notes the revision before a wait, and gives the length of the wait.
    fn wait(&mut self, revision: i64) -> Duration {
        let AutoCompaction::Periodic(period) = self.keep else { return REVISION_INTERVAL };
        let wait = period.min(HOUR) / SAMPLES;
        let kept = period.as_nanos() / wait.as_nanos() + 1;
        self.samples.push_back(revision);
        while self.samples.len() as u128 > kept {
            self.samples.pop_front();
        }
        wait
    }

    /// The revision to compact now, after the wait.
    fn due(&mut self, revision: i64, now: Instant) -> Option<i64> {
        match self.keep {
            AutoCompaction::Periodic(period) => {
                let oldest = *self.samples.front()?;
                if now.saturating_duration_since(self.last_success) < self.interval
                    || oldest == self.last_revision
                {
                    return None;
                }
                self.interval = period.min(HOUR);
                Some(oldest)
            }
            AutoCompaction::Revision(kept) => {
                let oldest = revision - kept;
                (oldest > 0 && oldest != self.last_revision).then_some(oldest)
            }
        }
    }

    /// Notes that history before `revision` is gone.
    fn done(&mut self, revision: i64, now: Instant) {
        self.last_revision = revision;
        self.last_success = now;
    }
}

/// Compacts for as long as the node lives; for ever nothing if all history is kept.
pub(crate) async fn run(keep: Option<AutoCompaction>, node: &Node) -> Infallible {
    let Some(keep) = keep else { return future::pending().await };
    let mut schedule = Schedule::new(keep, Instant::now());
    loop {
        let wait = schedule.wait(node.header().revision);
        coffer_runtime::sleep(wait).await;
        if !leads(node).await {
            continue;
        }
        let Some(revision) = schedule.due(node.header().revision, Instant::now()) else { continue };
        tracing::info!(revision, "starting auto compaction");
        match node.compact(CompactRequest { revision, physical: false }).await {
            Ok(_) | Err(Error::Compacted { .. }) => {
                schedule.done(revision, Instant::now());
                tracing::info!(revision, "completed auto compaction");
            }
            Err(error) => tracing::warn!(revision, %error, "failed auto compaction"),
        }
    }
}

async fn leads(node: &Node) -> bool {
    let status = node.status().await;
    status.is_ok_and(|status| status.leader != 0 && status.leader == status.header.member_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Lets the store reach one revision more before each sample and gives the compactions: at which sample, counted
    /// from 1, and of which revision.
    fn compactions(keep: AutoCompaction, samples: i64) -> Vec<(i64, i64)> {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(keep, now);
        let mut done = Vec::new();
        for sample in 1..=samples {
            now += schedule.wait(sample);
            if let Some(revision) = schedule.due(sample, now) {
                done.push((sample, revision));
                schedule.done(revision, now);
            }
        }
        done
    }

    #[test]
    fn settings_are_read_as_etcd_reads_them() {
        use AutoCompaction::{Periodic, Revision};
        for (mode, retention, expected) in [
            ("periodic", "0", None),
            ("periodic", "1", Some(Periodic(HOUR))),
            ("periodic", "10m", Some(Periodic(10 * MINUTE))),
            ("periodic", "0s", None),
            ("revision", "1000", Some(Revision(1000))),
            ("revision", "0", None),
        ] {
            assert_eq!(AutoCompaction::read(mode, retention), Ok(expected), "{mode} {retention}");
        }
        for (mode, retention, error) in [
            ("sometimes", "1", "unknown auto-compaction-mode \"sometimes\""),
            ("", "1", "undefined auto-compaction-mode"),
            ("periodic", "often", "`often` is no duration"),
            ("periodic", "-5m", "`-5m` is no duration"),
            ("periodic", "10ms", "at least 1s"),
            ("revision", "10m", "`10m` is no number of revisions"),
            ("periodic", "9223372036854775807", "too long"),
        ] {
            let found = AutoCompaction::read(mode, retention).expect_err(retention);
            assert!(found.contains(error), "{found}");
        }
    }

    /// The samples are six minutes apart: nothing in the first hour, then every hour what is an hour old.
    #[test]
    fn one_hour_is_compacted_hourly() {
        let expected = [(10, 1), (20, 10), (30, 20), (40, 30)];
        assert_eq!(compactions(AutoCompaction::Periodic(HOUR), 45), expected);
    }

    /// Beyond an hour the history is longer, but the samples and the compactions are as for an hour.
    #[test]
    fn longer_periods_are_compacted_hourly_after_the_first() {
        let expected = [(20, 1), (30, 10), (40, 20), (50, 30)];
        assert_eq!(compactions(AutoCompaction::Periodic(2 * HOUR), 55), expected);
    }

    #[test]
    fn shorter_periods_are_compacted_once_per_period() {
        let mut schedule = Schedule::new(AutoCompaction::Periodic(5 * MINUTE), Instant::now());
        assert_eq!(schedule.wait(1), MINUTE / 2);
        let expected = [(10, 1), (20, 10), (30, 20)];
        assert_eq!(compactions(AutoCompaction::Periodic(5 * MINUTE), 35), expected);
    }

    #[test]
    fn what_failed_is_tried_again_at_the_next_sample() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(AutoCompaction::Periodic(HOUR), now);
        let mut due = Vec::new();
        for sample in 1..=13 {
            now += schedule.wait(sample);
            due.extend(schedule.due(sample, now));
        }
        assert_eq!(due, [1, 1, 2, 3]);
    }

    #[test]
    fn a_store_that_stands_still_is_compacted_once() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(AutoCompaction::Periodic(HOUR), now);
        let mut due = Vec::new();
        for _ in 0..40 {
            now += schedule.wait(7);
            if let Some(revision) = schedule.due(7, now) {
                due.push(revision);
                schedule.done(revision, now);
            }
        }
        assert_eq!(due, [7]);
    }

    #[test]
    fn the_newest_revisions_are_kept() {
        let mut schedule = Schedule::new(AutoCompaction::Revision(100), Instant::now());
        let now = Instant::now();
        assert_eq!(schedule.wait(1), REVISION_INTERVAL);
        assert_eq!((schedule.due(100, now), schedule.due(105, now)), (None, Some(5)));
        schedule.done(5, now);
        assert_eq!((schedule.due(105, now), schedule.due(110, now)), (None, Some(10)));
    }
}
