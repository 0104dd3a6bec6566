//! The C interface of Coffer: `libcoffer`, and `include/coffer.h`, which is made from these sources.
//!
//! # Data path
//! An exported function goes through `guard` (no child of a fork, no panic, errors told), finds what its handle names
//! (`handles`), reads what it was passed (`input`), and has its work done by `calls`: on the caller's thread, or on the
//! store's for a queue (`completions`). What comes of it takes the shape of the interface in `answer`.
//!
//! # Invariants
//! - No panic crosses the boundary; what panicked is poisoned.
//! - Nothing a caller passes is trusted beyond what C makes unavoidable: pointers point to what they say, and live as long as
//!   the header says. Everything else, handles above all, gives a status.
//! - Memory that held keys and values of answers, and copies of those that were passed in, is wiped when it goes.
//! - Nothing is of a thread, and nothing is done before the first call.
//!
//! The comments of exported items are the header's. They speak to C programmers.
#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the comments are the header's, which says it once for all functions"
)]

pub mod status;
pub mod version;

pub mod bytes;
pub mod error;

pub mod options;

pub mod result;

pub mod queue;

pub mod store;

pub mod kv;

pub mod iter;

pub mod txn;

pub mod watch;

pub mod lease;

pub mod maintenance;

pub mod snapshot;

pub mod keys;

pub mod log;

mod answer;
mod arena;
mod calls;
mod completions;
mod failure;
mod flight;
mod fork;
mod guard;
mod handles;
mod input;
mod logger;
mod saving;
mod signals;
mod watching;
