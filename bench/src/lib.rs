//! Measures a running server from outside: what it costs the server's processor per operation, and what a client
//! waits.
//!
//! Absolute times mean little on a shared machine; processor time per operation and ratios within one run do.

pub mod load;
pub mod process;
pub mod report;
