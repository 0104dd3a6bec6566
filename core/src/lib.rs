//! The replicated store: what Coffer is, apart from any file, socket, backend or RPC.
//!
//! # Data path
//!
//! ```text
//! request ─▶ node.propose ─▶ consensus (append, quorum, commit) ─▶ state.apply ─▶ outcome to the caller
//!                                      │                                │
//!                                 storage::Log                   records and events ─▶ watch hub
//!                                                                       │
//!                                                                storage::Records (lazily)
//! ```
//!
//! - [`revision`], [`key_range`], [`record`], [`request`], [`member`], [`error`]: the vocabulary that every layer shares.
//! - [`state`]: the replicated state machine. Pure and deterministic.
//! - [`storage`]: the two traits that a backend implements, their contract and the suite that checks it.
//! - [`consensus`]: the only folder that names openraft.
//! - [`watch`]: delivers events to watchers without ever slowing the state machine.
//! - [`metrics`]: counters and histograms.
//! - [`node`]: the driver that performs what the others decide.
#![forbid(unsafe_code)]

pub mod error;
mod hidden;
pub mod key_range;
pub mod member;
pub mod metrics;
#[doc(hidden)]
pub mod planted;
pub mod record;
pub mod request;
pub mod revision;

pub mod codec;
pub mod consensus;
pub mod node;
pub mod state;
pub mod storage;
pub mod watch;

pub use error::{Error, ErrorGroup};
pub use key_range::KeyRange;
pub use member::{Member, MemberInfo};
pub use record::{KeyValue, Record};
pub use revision::{LeaseId, Revision};
