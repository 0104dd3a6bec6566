//! A client and a server over a whole node on the in-memory backend.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod limits;
mod reconnecting;
mod serving;
mod support;
mod watching;
