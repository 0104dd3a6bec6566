//! The bounded two-party transport under capnp-rpc.
//!
//! capnp-rpc's own network keeps whatever its peer does not take and reads whatever its peer sends. This one is for
//! servers that face anyone:
//!
//! - **Writes are coalesced.** A message is appended to the connection's output; a task of its own writes once all
//!   runnable tasks have added theirs. Segments of 32 KiB and more are not copied but written from where they are.
//! - **Everything is bounded.** Above a soft limit of unsent bytes, or above a number or size of unfinished calls, the
//!   connection is not read; above a hard limit of unsent bytes it is cut. All connections of a thread share a budget.
//! - **Everything is timed.** A frame that began must end, a write must progress, silence ends.
//! - **Frames are limited**, to little before login and to more after it, before anything is allocated for them.
//!
//! # Invariants
//! - A fault ends this connection only, and is kept ([`Fault`]) for whoever asks why.
//! - The reading side never waits for the output on a client ([`Limits::client`]): two sides that both stop reading
//!   would wait for each other for ever.
//! - Memory that a peer can make us hold is at most: the in-flight limit + one frame + the hard output limit.

mod drive;
mod frame;
mod link;
mod network;
mod output;

pub(crate) use drive::drive;
pub(crate) use link::{Budget, Link};
pub use link::{Counters, Fault, Limits};
pub(crate) use network::{Network, Transport};
