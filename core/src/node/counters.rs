//! What a node counts, and the look at it that metrics are made of.
//!
//! Counted where it happens: by callers, by the apply thread and by the maintenance thread. What the log brings at a
//! start is counted as it is applied again.

use super::{Node, ScrubCounts};
use crate::metrics::{Counter, DISK_BOUNDS, Histogram, HistogramSnapshot};
use crate::state::{Applied, Outcome};
use crate::watch::WatchCounters;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Applying that takes longer is counted as slow; etcd has the same bound.
const SLOW_APPLY: Duration = Duration::from_millis(100);

/// The counters of one node.
#[derive(Debug)]
pub(super) struct Counters {
    /// Ranges, also those within txns.
    pub(super) ranges: Counter,
    puts: Counter,
    put_bytes: Counter,
    deletes: Counter,
    txns: Counter,
    leases_granted: Counter,
    leases_revoked: Counter,
    leases_expired: Counter,
    pub(super) leases_renewed: Counter,
    apply: Histogram,
    slow_applies: Counter,
    pub(super) flush: Histogram,
    pub(super) compaction: Histogram,
    pub(super) records_compacted: Counter,
    /// Seconds since 1970; 0 if there was none since the start.
    last_compaction_s: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            ranges: Counter::default(),
            puts: Counter::default(),
            put_bytes: Counter::default(),
            deletes: Counter::default(),
            txns: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            leases_expired: Counter::default(),
            leases_renewed: Counter::default(),
            apply: Histogram::new(DISK_BOUNDS),
            slow_applies: Counter::default(),
            flush: Histogram::new(DISK_BOUNDS),
            compaction: Histogram::new(DISK_BOUNDS),
            records_compacted: Counter::default(),
            last_compaction_s: AtomicU64::new(0),
        }
    }
}

/// What one batch of log entries did. Added up first, so that the shared counters are touched once per batch.
#[derive(Default)]
pub(super) struct Tally {
    operations: Operations,
    txns: u64,
    granted: u64,
    revoked: u64,
    expired: u64,
    put_bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Operations {
    ranges: u64,
    puts: u64,
    deletes: u64,
}

impl Operations {
    fn all(self) -> u64 {
        self.ranges + self.puts + self.deletes
    }

    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Range(_) => self.ranges += 1,
            Outcome::Put { .. } => self.puts += 1,
            Outcome::DeleteRange { .. } => self.deletes += 1,
            Outcome::Txn { responses, .. } => responses.iter().for_each(|response| self.add(response)),
            _ => {}
        }
    }
}

impl Tally {
    /// Adds what one entry did.
    pub(super) fn add(&mut self, applied: &Applied) {
        let mut revoked = 0;
        for outcome in applied.answers.iter().filter_map(|answer| answer.result.as_ref().ok()) {
            match outcome {
                Outcome::LeaseGrant { .. } => self.granted += 1,
                Outcome::LeaseRevoke => revoked += 1,
                outcome => {
                    let before = self.operations.all();
                    self.operations.add(outcome);
                    // As etcd counts them: what does one thing only is no txn.
                    self.txns += u64::from(self.operations.all() - before > 1);
                }
            }
        }
        self.revoked += revoked;
        self.expired += (applied.leases_removed() as u64).saturating_sub(revoked);
        let put_bytes = applied.events.iter().filter(|event| !event.record.tombstone);
        self.put_bytes += put_bytes.map(|event| event.record.payload_bytes() as u64).sum::<u64>();
    }
}

impl Counters {
    /// Counts a batch that took `duration` to apply.
    pub(super) fn applied(&self, tally: &Tally, duration: Duration) {
        self.apply.record(duration);
        let counts = [
            (&self.ranges, tally.operations.ranges),
            (&self.puts, tally.operations.puts),
            (&self.deletes, tally.operations.deletes),
            (&self.txns, tally.txns),
            (&self.put_bytes, tally.put_bytes),
            (&self.leases_granted, tally.granted),
            (&self.leases_revoked, tally.revoked + tally.expired),
            (&self.leases_expired, tally.expired),
            (&self.slow_applies, u64::from(duration > SLOW_APPLY)),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).for_each(|(counter, count)| counter.add(count));
    }

    /// Counts a txn that only read.
    pub(super) fn read_txn(&self, outcome: &Outcome) {
        let mut operations = Operations::default();
        operations.add(outcome);
        self.ranges.add(operations.ranges);
        self.txns.add(u64::from(operations.all() > 1));
    }

    /// Counts a compaction that is physically done.
    pub(super) fn compacted(&self, duration: Duration) {
        self.compaction.record(duration);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_compaction_s.store(now.as_secs(), Ordering::Relaxed);
    }
}

/// Where a node stands and what it did since it was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeMetrics {
    /// This cluster.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// Whether a leader is known.
    pub has_leader: bool,
    /// Whether this member leads.
    pub is_leader: bool,
    /// Whether this member has no vote.
    pub is_learner: bool,
    /// Whether what is stored is sealed.
    pub is_sealed: bool,
    /// How often another leader was seen.
    pub leader_changes: u64,
    /// Index of the newest committed log entry.
    pub committed_index: u64,
    /// Index of the newest applied log entry.
    pub applied_index: u64,
    /// Proposals of this member without an outcome yet.
    pub proposals_pending: u64,
    /// Proposals of this member that were refused by consensus, or whose outcome is unknown.
    pub proposals_failed: u64,
    /// Read barriers that failed.
    pub barriers_failed: u64,
    /// Read barriers that took longer than half a second.
    pub barriers_slow: u64,
    /// One write and sync of the log each.
    pub log_sync: HistogramSnapshot,
    /// One flush of the records each.
    pub flush: HistogramSnapshot,
    /// One batch of log entries applied each.
    pub apply: HistogramSnapshot,
    /// Batches that took longer than a tenth of a second.
    pub slow_applies: u64,
    /// Bytes of log and records on the medium.
    pub disk_bytes: u64,
    /// Bytes of that in use.
    pub live_bytes: u64,
    /// Bytes of that in the log.
    pub log_bytes: u64,
    /// Bytes of records that wait in memory for a flush.
    pub unflushed_bytes: u64,
    /// The newest revision.
    pub revision: i64,
    /// The oldest readable revision; 0 if never compacted.
    pub compact_revision: i64,
    /// Live keys.
    pub keys: u64,
    /// Leases.
    pub leases: u64,
    /// Ranges read here, and those within applied txns.
    pub ranges: u64,
    /// Puts applied, those within txns too.
    pub puts: u64,
    /// Bytes of keys and values that were put.
    pub put_bytes: u64,
    /// Deletions of a range applied, those within txns too.
    pub deletes: u64,
    /// Txns applied that did more than one thing.
    pub txns: u64,
    /// Leases granted.
    pub leases_granted: u64,
    /// Leases that ended, by request or by time.
    pub leases_revoked: u64,
    /// Leases that ended by time.
    pub leases_expired: u64,
    /// Keepalives of leases that live.
    pub leases_renewed: u64,
    /// Physical compactions done.
    pub compaction: HistogramSnapshot,
    /// Records that compactions dropped.
    pub records_compacted: u64,
    /// Seconds since 1970 at the end of the last compaction; 0 if there was none.
    pub last_compaction_s: u64,
    /// Verifications of what is stored, while it is in use.
    pub scrub: ScrubCounts,
    /// Watchers.
    pub watch: WatchCounters,
}

impl Node {
    /// Where this node stands and what it did. Cheap: for a scrape every few seconds.
    pub fn metrics(&self) -> NodeMetrics {
        let inner = &self.inner;
        let (counters, consensus) = (&*inner.counters, inner.consensus.status());
        let (counts, records) = (inner.consensus.counts(), inner.values.records().stats());
        let log_bytes = inner.consensus.log_bytes();
        let (proposals_pending, proposals_failed) = inner.proposals.counts();
        NodeMetrics {
            cluster_id: inner.config.cluster_id,
            member_id: inner.config.member_id,
            has_leader: consensus.leader.is_some(),
            is_leader: consensus.is_leader,
            is_learner: consensus.is_learner,
            is_sealed: inner.config.sealed,
            leader_changes: counts.leader_changes,
            committed_index: consensus.committed.map_or(0, |id| id.index),
            applied_index: consensus.applied.map_or(0, |id| id.index),
            proposals_pending,
            proposals_failed,
            barriers_failed: counts.barriers_failed,
            barriers_slow: counts.barriers_slow,
            log_sync: counts.log_sync,
            flush: counters.flush.snapshot(),
            apply: counters.apply.snapshot(),
            slow_applies: counters.slow_applies.get(),
            disk_bytes: records.disk_bytes + log_bytes,
            live_bytes: records.live_bytes + log_bytes,
            log_bytes,
            unflushed_bytes: inner.values.unflushed_bytes() as u64,
            revision: inner.reader.revision(),
            compact_revision: inner.reader.compact_revision(),
            keys: inner.reader.keys_live(),
            leases: inner.reader.lease_count() as u64,
            ranges: counters.ranges.get(),
            puts: counters.puts.get(),
            put_bytes: counters.put_bytes.get(),
            deletes: counters.deletes.get(),
            txns: counters.txns.get(),
            leases_granted: counters.leases_granted.get(),
            leases_revoked: counters.leases_revoked.get(),
            leases_expired: counters.leases_expired.get(),
            leases_renewed: counters.leases_renewed.get(),
            compaction: counters.compaction.snapshot(),
            records_compacted: counters.records_compacted.get(),
            last_compaction_s: counters.last_compaction_s.load(Ordering::Relaxed),
            scrub: inner.scrubber.counts(),
            watch: inner.hub.counters(),
        }
    }
}
