//! How much is proposed and not yet done: proposals and their bytes are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is under way, and refuses what would be too much.
pub(super) struct UnderWay {
    proposals: AtomicUsize,
    bytes: AtomicUsize,
    proposals_max: usize,
    bytes_max: usize,
}

/// A proposal under way.
pub(super) struct Permit {
    under_way: Arc<UnderWay>,
    bytes: usize,
}

impl UnderWay {
    pub(super) fn new(proposals_max: usize, bytes_max: usize) -> Self {
        Self { proposals: AtomicUsize::new(0), bytes: AtomicUsize::new(0), proposals_max, bytes_max }
    }

    /// `None` if that would be too much; one proposal is always taken, whatever it holds.
    pub(super) fn enter(under_way: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let proposals = under_way.proposals.fetch_add(1, Ordering::AcqRel);
        let before = under_way.bytes.fetch_add(bytes, Ordering::AcqRel);
        let permit = Permit { under_way: under_way.clone(), bytes };
        let fits = proposals == 0 || before + bytes <= under_way.bytes_max;
        (proposals < under_way.proposals_max && fits).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.under_way.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.under_way.proposals.fetch_sub(1, Ordering::AcqRel);
    }
}
