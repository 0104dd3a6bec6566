//! A client and a server over a whole node on the in-memory backend.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod gate;
mod limits;
mod overloaded;
mod proxy;
mod reconnecting;
mod serving;
mod streaming;
mod support;
mod watching;
