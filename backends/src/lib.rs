//! Storage backends: what implements [`coffer_core::storage`] on a medium.
//!
//! - [`segment`]: flat files, a write-ahead log and immutable record segments. The only backend so far.
//! - [`seal`]: how stored bytes are authenticated, and the seam where encryption comes in.
//! - [`io`]: the file seam, with the real file system and a simulated disk for crash and fault tests.
//!
//! Backends know core's storage traits and nothing above them: no socket, no consensus, no other backend.
#![forbid(unsafe_code)]

pub mod io;
pub mod seal;
pub mod segment;
