//! Peers that break the rules: each costs bounded memory and time, and no other client anything.
//!
//! One at a time: they measure the memory of the process.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clients;
mod connections;
mod frames;
mod servers;
mod world;
