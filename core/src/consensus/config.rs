//! How consensus works, and what openraft makes of it.
//!
//! # Timing
//!
//! openraft knows a minimum and a maximum. Who has heard of a leader gives nobody else its vote for the *maximum*, and stands for
//! election itself after a random time between the minimum and the maximum beyond that. Our election timeout is where the
//! first of these elections may begin, so the maximum is 65 % of it and the minimum 35 %: silence of one election timeout to
//! 1.3 of them. Who has just started counts from the start, and for it openraft leaves the first part out.

use crate::Error;
use bytes::Bytes;
use openraft::SnapshotPolicy;
use std::collections::BTreeMap;
use std::time::Duration;

/// How consensus works.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// Identity of this member.
    pub node_id: u64,
    /// How often a leader makes itself heard.
    pub heartbeat_interval: Duration,
    /// Silence after which another leader is elected: between this and 1.3 times this. An election begins anew if it is not
    /// won within about half of it.
    pub election_timeout: Duration,
    /// Proposals under way at once; more are refused.
    pub proposals_max: usize,
    /// Payload bytes of proposals under way at once; more are refused, except that one is always taken.
    pub proposal_bytes_max: usize,
    /// Payload bytes of durable, unapplied entries above which applying reads them back from the medium.
    pub unapplied_bytes_max: usize,
    /// Payload bytes of applied entries that memory keeps for members that lag.
    pub log_cache_bytes: usize,
    /// How long a proposal or a read looks for a leader and a quorum, where this member does not decide alone.
    pub patience: Duration,
    /// What a fresh member does.
    pub founding: Founding,
}

/// What a member does that has nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Founding {
    /// Founds a cluster of itself.
    #[default]
    Alone,
    /// Founds a cluster together with others, all of which must be started with the same members: their ids, and what
    /// the transport needs to find them.
    With(BTreeMap<u64, Bytes>),
    /// Waits to be added to a cluster.
    Join,
}

impl Default for ConsensusConfig {
    /// The usual settings, for member 1.
    fn default() -> Self {
        Self {
            node_id: 1,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_secs(1),
            proposals_max: 4096,
            proposal_bytes_max: 64 << 20,
            unapplied_bytes_max: 64 << 20,
            log_cache_bytes: 256 << 10,
            patience: Duration::from_secs(7),
            founding: Founding::Alone,
        }
    }
}

impl ConsensusConfig {
    /// As openraft wants it.
    ///
    /// # Errors
    /// The times make no sense.
    pub(super) fn to_raft(&self) -> Result<openraft::Config, Error> {
        let raft = openraft::Config {
            cluster_name: "coffer".to_owned(),
            heartbeat_interval: milliseconds(self.heartbeat_interval),
            election_timeout_min: milliseconds(self.election_timeout * 35 / 100),
            election_timeout_max: milliseconds(self.election_timeout * 65 / 100),
            // We decide by bytes of log and by what is flushed, see `purge`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            // Room beyond the proposals for raft's own calls, so that a proposal always finds room.
            api_channel_size: Some(self.proposals_max as u64 + 1024),
            enable_pre_vote: Some(true),
            // A restarted leader has itself elected again: what it had only proposed must not count as committed.
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            ..openraft::Config::default()
        };
        raft.validate().map_err(|error| Error::InvalidArgument(error.to_string()))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().min(u128::from(u32::MAX)) as u64
}
