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
            "none" => return None,
            other => panic!("COFFER_PLANTED={other} names no bug"),
        })
    };
    *CHOSEN.get_or_init(choose) == Some(bug)
}
