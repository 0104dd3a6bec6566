//! How a node runs.

use crate::consensus::Founding;
use crate::state::check::Limits;
use crate::state::{Command, cost_bytes};
use std::time::Duration;

/// Identity and limits of a node. Every field is in the unit that its name ends with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Identity of the cluster; random, non-zero, made at creation.
    pub cluster_id: u64,
    /// Identity of this member; random, non-zero, made at creation.
    pub member_id: u64,
    /// The process life: larger at every start.
    pub boot: u64,
    /// Leader's heartbeat.
    pub heartbeat_interval: Duration,
    /// Followers' patience. The smallest lease TTL is one and a half of it, in whole seconds.
    pub election_timeout: Duration,
    /// How long a request looks for a leader and a quorum where this member does not decide alone.
    pub patience: Duration,
    /// What a member does whose store is new.
    pub founding: Founding,
    /// How often a member compares its state with that of the others.
    pub compare_interval: Duration,
    /// Largest request.
    pub request_bytes_max: usize,
    /// Bytes in use at which nothing more is taken that grows the store; 0 for no quota.
    pub quota_bytes: u64,
    /// Most operations in one list of a txn.
    pub txn_ops_max: usize,
    /// About how much the answer to a txn or to a deletion may hold.
    pub answer_bytes_max: usize,
    /// How often an idle watcher that asked for it is told of progress.
    pub watch_progress_interval: Duration,
    /// Name of the backend, for status.
    pub backend: String,
    /// Whether stored data is sealed, for status.
    pub sealed: bool,
    /// Proposals that wait or are in flight are refused beyond this.
    pub proposals_bytes_max: usize,
    /// Records are flushed to the record store when they reach this.
    pub flush_bytes: usize,
    /// Records are flushed after this time, however few they are.
    pub flush_interval: Duration,
    /// How often everything that is stored is verified by itself; zero for never.
    pub scrub_interval: Duration,
    /// Bytes that such a scrub reads in a second.
    pub scrub_rate_bytes: u64,
    /// Memory for blocks read back from the record store.
    pub cache_bytes_max: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            cluster_id: 1,
            member_id: 1,
            boot: 1,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            patience: Duration::from_secs(7),
            founding: Founding::Alone,
            compare_interval: Duration::from_secs(1),
            request_bytes_max: 1536 * 1024,
            quota_bytes: 0,
            txn_ops_max: 128,
            answer_bytes_max: 32 << 20,
            watch_progress_interval: Duration::from_secs(600),
            backend: "memory".into(),
            sealed: false,
            proposals_bytes_max: 64 << 20,
            flush_bytes: 16 << 20,
            flush_interval: Duration::from_secs(30),
            scrub_interval: Duration::ZERO,
            scrub_rate_bytes: super::SCRUB_RATE_BYTES,
            cache_bytes_max: 48 << 20,
        }
    }
}

impl NodeConfig {
    /// The smallest TTL that a lease is given, in seconds: three half election timeouts, rounded up, as etcd has it.
    pub fn lease_ttl_s_min(&self) -> i64 {
        let ticks = self.election_timeout.as_millis().div_ceil(self.heartbeat_interval.as_millis().max(1));
        let min_ttl = (3 * ticks).div_ceil(2) * self.heartbeat_interval.as_millis();
        i64::try_from(min_ttl.div_ceil(1000)).unwrap_or(i64::MAX).max(1)
    }

    /// The limits that requests are checked against.
    pub fn limits(&self) -> Limits {
        Limits {
            request_bytes_max: self.request_bytes_max,
            txn_ops_max: self.txn_ops_max,
            ..Limits::default()
        }
    }

    /// Unflushed bytes beyond which `command` is refused, so that apply need not wait for the disk. What does not grow
    /// the store may go further than what does, so that the latter never keeps the former out; and what adds no record
    /// is never kept out.
    pub(crate) fn unflushed_bytes_max(&self, command: &Command) -> usize {
        match command {
            command if cost_bytes(command) > 0 => self.flush_bytes.saturating_mul(8),
            Command::DeleteRange(_) | Command::Txn(_) | Command::LeaseRevoke { .. } => {
                self.flush_bytes.saturating_mul(12)
            }
            _ => usize::MAX,
        }
    }

    /// Unflushed bytes beyond which apply waits for the disk, while there is room there.
    pub(crate) fn unflushed_bytes_hard(&self) -> usize {
        self.flush_bytes.saturating_mul(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_ttl_is_one_and_a_half_election_timeouts_rounded_up() {
        assert_eq!(NodeConfig::default().lease_ttl_s_min(), 2);
        let quick = NodeConfig {
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(250),
            ..NodeConfig::default()
        };
        assert_eq!(quick.lease_ttl_s_min(), 1);
    }
}
