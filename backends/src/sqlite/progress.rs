//! How far each half is, durably, as the other one stores it: so that one database that was put back to an older state,
//! without the other, is told from what a crash leaves.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Advanced by a half after its commit returned; read by the other before it commits.
#[derive(Default)]
pub(super) struct Progress {
    /// Sequence of the newest group of the log.
    group: AtomicU64,
    /// Generation of the manifest of the records.
    manifest: AtomicI64,
}

impl Progress {
    pub(super) fn set_group(&self, sequence: u64) {
        self.group.store(sequence, Ordering::Release);
    }

    pub(super) fn group(&self) -> u64 {
        self.group.load(Ordering::Acquire)
    }

    pub(super) fn set_manifest(&self, generation: i64) {
        self.manifest.store(generation, Ordering::Release);
    }

    pub(super) fn manifest(&self) -> i64 {
        self.manifest.load(Ordering::Acquire)
    }
}
