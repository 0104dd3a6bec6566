//! Counters of a server.

use crate::net::Counters;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a server does and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Connections open now.
    pub connections: usize,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections refused because there were too many.
    pub refused: u64,
    /// Connections ended for a fault: of the peer or of the network.
    pub faults: u64,
    /// Calls that panicked.
    pub panics: u64,
    /// What connections did that have ended.
    pub closed: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) connections: AtomicUsize,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) panics: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    writes: AtomicU64,
}

impl Stats {
    /// Adds what a connection did that has ended.
    pub(super) fn add(&self, counters: Counters) {
        self.bytes_in.fetch_add(counters.bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(counters.bytes_out, Ordering::Relaxed);
        self.messages_in.fetch_add(counters.messages_in, Ordering::Relaxed);
        self.messages_out.fetch_add(counters.messages_out, Ordering::Relaxed);
        self.writes.fetch_add(counters.writes, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ServerStats {
        ServerStats {
            connections: self.connections.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            closed: Counters {
                bytes_in: self.bytes_in.load(Ordering::Relaxed),
                bytes_out: self.bytes_out.load(Ordering::Relaxed),
                messages_in: self.messages_in.load(Ordering::Relaxed),
                messages_out: self.messages_out.load(Ordering::Relaxed),
                writes: self.writes.load(Ordering::Relaxed),
            },
        }
    }
}
