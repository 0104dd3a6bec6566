//! The replicated state machine. Pure and deterministic: no clock, no randomness, no I/O, no map order.
//!
//! One thread calls [`State::apply`]; any thread reads through a [`StateReader`]. Stored values are not held here:
//! [`Values`] lends and takes them.
//!
//! # Invariants
//! - Equal logs give equal states, outcomes and events, whatever was pruned and whenever.
//! - A failing command changes nothing (and takes no revision).
//! - The published revision advances once per command, after all of its records were handed to [`Values::store`]
//!   and all of its index steps are done. (An expiry is as many revocations: it advances once per lease.)
//! - Index locks are held for short steps; a delete of a huge range releases the lock between steps.
//!
//! # Code map
//! - [`key_index`]: which revisions each key has. `lessor`: leases and their keys. `windows`: request ids seen.
//!   `alarms`: what is refused while a member is in trouble.
//! - [`check`]: what is refused before it is proposed. `command`: the bytes of a batch in the log.
//! - `apply`: [`State`], command by command. `txn`: choosing, checking and running. `writer`: the writes of one command.
//! - `reader`, `pins`, `range`, `finding`: [`StateReader`], what keeps history from being pruned, and walking in short
//!   steps.
//! - `checkpoint`: the bytes of what has no revisions. `hash`: HashKV. `chain`: a hash over what entries did.

pub mod key_index;

pub mod check;
mod command;

mod alarms;
mod apply;
mod lessor;
mod txn;
mod windows;
mod writer;

mod finding;
mod pins;
mod range;
mod reader;

mod chain;
mod checkpoint;
mod hash;

pub use alarms::cost_bytes;
pub use apply::State;
pub use chain::Chain;
pub(crate) use checkpoint::founding as founding_checkpoint;
pub use command::{TXN_DEPTH_MAX, decode_batch, encode_batch, encoded_bytes};
pub use finding::Finding;
pub use hash::KvHasher;
pub use pins::ReadPin;
pub use reader::{LeaseInfo, StateReader, TxnReading};
pub use txn::{Budget, TXN_LOOKS_MAX};

use crate::error::Error;
use crate::hidden::Hidden;
use crate::record::Record;
use crate::request::{Alarm, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use crate::revision::{LeaseId, Revision};
use crate::storage::StorageError;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Lends stored values to the state machine and takes new records from it.
///
/// A failure is a local fault: it stops the node and never becomes an outcome.
pub trait Values {
    /// The record at `revision`, which the index says exists.
    ///
    /// # Errors
    /// The medium failed or is damaged.
    fn load(&self, revision: Revision) -> Result<Arc<Record>, StorageError>;

    /// Takes a new record; it must be loadable at once. Called in ascending revision order, and under the lock of
    /// the key index: it works in memory, never waits, and never calls a [`StateReader`].
    fn store(&self, record: Arc<Record>);
}

/// Names a proposal for ever, so that a retry is not applied twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The member that proposed it.
    pub member: u64,
    /// That member's process life: a number that grows with every start.
    pub boot: u64,
    /// Counts the proposals of that life from 1.
    pub sequence: u64,
}

/// What the log carries for the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum Command {
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    /// Moves the compact revision.
    Compact {
        revision: i64,
    },
    /// The id was chosen by the proposer; the TTL is already raised to the minimum.
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke {
        id: LeaseId,
    },
    /// The leader of `term` found these leases expired; ignored under another term.
    LeaseExpire {
        term: u64,
        leases: Vec<LeaseId>,
    },
    /// Remaining seconds of leases as the leader of `term` counts them; 0 clears a stored checkpoint.
    LeaseCheckpoint {
        term: u64,
        remaining: Vec<(LeaseId, i64)>,
    },
    /// Raises or clears an alarm, as somebody asked for.
    Alarm {
        alarm: Alarm,
        raised: bool,
    },
    /// The quota of a member raises its alarm, or clears it unless somebody else raised it.
    Quota {
        member: u64,
        full: bool,
    },
    /// The state of a member is not that of the others; 0 if nobody can tell whose is right. Raises its alarm.
    Differs {
        member: u64,
    },
}

/// A command and its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Identity.
    pub id: RequestId,
    /// What to do.
    pub command: Command,
}

/// A key as the index shows it at some revision.
#[derive(Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The key; empty in the outcome of a range whose records will be read, because they have it.
    pub key: Bytes,
    /// Where its record lies.
    pub revision: Revision,
    /// Main revision of the put that created it.
    pub create_revision: i64,
    /// Number of puts since.
    pub version: i64,
}

// Keys never reach logs: `Debug` shows sizes only.
impl fmt::Debug for IndexEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexEntry")
            .field("key", &Hidden(&self.key))
            .field("revision", &self.revision)
            .field("create_revision", &self.create_revision)
            .field("version", &self.version)
            .finish()
    }
}

/// What a range inside a txn sees. Whoever waits for the answer looks for it ([`StateReader::find`]), reads the values
/// and finishes it, under a pin of the history that was taken before the txn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeView {
    /// The request.
    pub request: RangeRequest,
    /// The main revision that it sees the whole of.
    pub at: i64,
    /// How many steps of the revision after that it sees too: those of its own txn that came before it.
    pub own_steps: u32,
}

/// What the index knows of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeOutcome {
    /// The request, for sort, filters and limit.
    pub request: RangeRequest,
    /// Keys in key order; cut after `limit + 1` where the limit stops the walk, empty if only a count was asked.
    pub found: Vec<IndexEntry>,
    /// All keys in the range.
    pub count: i64,
}

/// The result of a command that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum Outcome {
    Range(RangeView),
    Put {
        prev: Option<Revision>,
    },
    DeleteRange {
        deleted: i64,
        prev: Vec<Revision>,
    },
    Txn {
        succeeded: bool,
        responses: Vec<Outcome>,
    },
    Compact,
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke,
    LeaseExpire,
    LeaseCheckpoint,
    /// The alarm, if it is raised now or was until now.
    Alarm {
        alarm: Option<Alarm>,
    },
}

/// One change as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The change.
    pub record: Arc<Record>,
    /// Where the record lies that was current just before the event's transaction (at `main - 1`).
    pub prev: Option<Revision>,
}

/// What happened to a lease, for the clock that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum LeaseChange {
    Granted { id: LeaseId, ttl_s: i64 },
    Removed { id: LeaseId },
    Checkpointed { id: LeaseId, remaining_s: i64 },
}

/// The answer to one proposal.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which proposal.
    pub id: RequestId,
    /// The revision for the response's header.
    pub revision: i64,
    /// What came of it. [`Error::OutcomeUnknown`] for a repeated or outdated request id.
    pub result: Result<Outcome, Error>,
}

impl Applied {
    /// How many leases ended.
    pub(crate) fn leases_removed(&self) -> usize {
        self.leases.iter().filter(|change| matches!(change, LeaseChange::Removed { .. })).count()
    }
}

/// Everything that applying one log entry did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// One per proposal, in order.
    pub answers: Vec<Answer>,
    /// In revision order.
    pub events: Vec<Event>,
    /// In the order they happened.
    pub leases: Vec<LeaseChange>,
    /// The new compact revision, if it moved.
    pub compacted: Option<i64>,
}
