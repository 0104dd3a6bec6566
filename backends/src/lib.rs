//! Storage backends: what implements [`coffer_core::storage`] on a medium.
//!
//! - [`segment`]: flat files, a write-ahead log and immutable record segments.
//! - [`sqlite`]: two SQLite databases.
//! - [`seal`]: how stored bytes are authenticated, and the seam where encryption comes in.
//! - [`io`]: the file seam, with the real file system and a simulated disk for crash and fault tests.
//!
//! What backends share stands beside them: `format` (numbers, headers, pieces), `groups` (what a log holds),
//! `units` (records in immutable units), `snapshot` (one file that holds all of a store), `place` (the directory and its lock), `poison`.
//!
//! Backends know core's storage traits and nothing above them: no socket, no consensus, no other backend.
#![deny(unsafe_code)]

#[cfg(test)]
extern crate self as coffer_backends;

mod backend;
mod format;
mod groups;
mod inspect;
pub mod io;
mod place;
mod poison;
mod room;
pub mod seal;
pub mod segment;
mod snapshot;
pub mod sqlite;
mod units;

pub use backend::Backend;
pub use inspect::{Inspected, inspect, inspect_on};
pub use place::{Founding, Identity};
pub use snapshot::{SnapshotReader, is_snapshot};
