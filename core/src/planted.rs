//! Bugs that the tests must find: each is there only in a build with `--cfg coffer_planted`, and there only the one that
//! `COFFER_PLANTED` names. `tests/planted` builds once and tries them all. In every other build [`planted`] is the
//! constant `false`, and what depends on it is gone.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Files are never synced.
    NoSync,
    /// A sync that fails passes for one that did not.
    SyncErrorIgnored,
    /// The log is purged before the records that replace it are stored.
    PurgeBeforeFlush,
    /// Checksums are not compared.
    ChecksumNotChecked,
    /// Tags are not compared.
    TagNotChecked,
    /// A nonce is used again.
    NonceReused,
    /// The names in a directory are never synced.
    DirectoryNotSynced,
    /// Log entries count as durable before they are written.
    AckBeforeDurable,
    /// A member whose answer was lost counts as one that has the entries.
    AckBeforeQuorum,
    /// A vote, and the term with it, is never written.
    VoteNotSaved,
    /// A vote is given to a candidate whose log lacks entries.
    StaleCandidate,
    /// What conflicts with the leader's log stays on the disk.
    TruncationNotSaved,
    /// A leader answers reads without asking whether it still is one.
    LeaderReadsUnconfirmed,
    /// A follower answers reads without asking the leader.
    FollowerReadsUnconfirmed,
    /// A read does not wait until what the leader named is applied here.
    ReadBeforeApply,
    /// Who once decided alone reads as if it still did when the cluster has grown.
    SoleVoterForEver,
    /// A proposal that comes into the log twice is applied twice.
    RetryAppliedTwice,
    /// A start applies the last entry of the checkpoint again.
    EntryAppliedTwice,
    /// Members do not compare their states.
    HashNotCompared,
    /// A snapshot says nothing of deletions.
    SnapshotWithoutTombstones,
    /// A member that takes over a snapshot keeps the content that it had, and says that it has the snapshot's.
    SnapshotConflictKept,
    /// Watchers are not told what a snapshot brought.
    SnapshotUntold,
    /// A watch begins one revision too late.
    WatchGap,
    /// A watch that goes on begins one revision too early.
    WatchDuplicate,
    /// Progress is told ahead of changes.
    WatchProgressAhead,
    /// A watch of what was compacted begins later, and says nothing.
    WatchCompactionUntold,
    /// The pair before a change is the one before that.
    PrevKvWrong,
    /// A compaction drops the version that it must keep.
    CompactionLosesLatest,
    /// A new leader does not count the leases that are there.
    LeaseLostAtFailover,
    /// A new leader counts leases from half of their time.
    LeaseEarlyAtFailover,
    /// A leader renews leases without asking whether it still is one.
    LeaseRenewedUnconfirmed,
    /// The end of a lease takes no revision.
    ExpiryWithoutRevision,
}

/// Whether this bug is planted.
#[cfg(not(coffer_planted))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

/// Whether this bug is planted.
///
/// # Panics
/// If `COFFER_PLANTED` names none.
#[cfg(coffer_planted)]
pub fn planted(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();
    let choose = || {
        Some(match std::env::var("COFFER_PLANTED").ok()?.as_str() {
            "no-sync" => Bug::NoSync,
            "sync-error-ignored" => Bug::SyncErrorIgnored,
            "purge-before-flush" => Bug::PurgeBeforeFlush,
            "checksum-not-checked" => Bug::ChecksumNotChecked,
            "tag-not-checked" => Bug::TagNotChecked,
            "nonce-reused" => Bug::NonceReused,
            "directory-not-synced" => Bug::DirectoryNotSynced,
            "ack-before-durable" => Bug::AckBeforeDurable,
            "ack-before-quorum" => Bug::AckBeforeQuorum,
            "vote-not-saved" => Bug::VoteNotSaved,
            "stale-candidate" => Bug::StaleCandidate,
            "truncation-not-saved" => Bug::TruncationNotSaved,
            "leader-reads-unconfirmed" => Bug::LeaderReadsUnconfirmed,
            "follower-reads-unconfirmed" => Bug::FollowerReadsUnconfirmed,
            "read-before-apply" => Bug::ReadBeforeApply,
            "sole-voter-for-ever" => Bug::SoleVoterForEver,
            "retry-applied-twice" => Bug::RetryAppliedTwice,
            "entry-applied-twice" => Bug::EntryAppliedTwice,
            "hash-not-compared" => Bug::HashNotCompared,
            "snapshot-without-tombstones" => Bug::SnapshotWithoutTombstones,
            "snapshot-conflict-kept" => Bug::SnapshotConflictKept,
            "snapshot-untold" => Bug::SnapshotUntold,
            "watch-gap" => Bug::WatchGap,
            "watch-duplicate" => Bug::WatchDuplicate,
            "watch-progress-ahead" => Bug::WatchProgressAhead,
            "watch-compaction-untold" => Bug::WatchCompactionUntold,
            "prev-kv-wrong" => Bug::PrevKvWrong,
            "compaction-loses-latest" => Bug::CompactionLosesLatest,
            "lease-lost-at-failover" => Bug::LeaseLostAtFailover,
            "lease-early-at-failover" => Bug::LeaseEarlyAtFailover,
            "lease-renewed-unconfirmed" => Bug::LeaseRenewedUnconfirmed,
            "expiry-without-revision" => Bug::ExpiryWithoutRevision,
            "none" => return None,
            other => panic!("COFFER_PLANTED={other} names no bug"),
        })
    };
    *CHOSEN.get_or_init(choose) == Some(bug)
}
