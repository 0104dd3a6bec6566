//! The API as a gRPC client sees it: a real node, a real server, a real socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "api/kv.rs"]
mod kv;
#[path = "api/support.rs"]
mod support;
