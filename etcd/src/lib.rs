//! etcd's v3 API: gRPC, its JSON gateway, health and metrics, served from the same [`Node`](coffer_core::node::Node) as
//! every other surface.
//!
//! # Data path
//! [`server`]: socket -> HTTP/1 or HTTP/2 -> `calls` (counted) -> `grpc` -> `convert` to a core request -> node ->
//! `convert` back. What is not gRPC goes to `http`, whose JSON gateway makes calls of gRPC.
//! No rule of the store is implemented here: what a request means, and whether it is allowed,
//! the node decides for all surfaces alike.
//!
//! # Invariants
//! - What etcd's clients match on is etcd's to the letter: error texts and codes, header fields, progress ids.
//! - Nothing that a client sends ends the process; a panic in a call ends that call's stream only.
#![forbid(unsafe_code)]

pub mod bbolt;
mod calls;
mod convert;
mod front;
mod grpc;
mod http;
mod intake;
mod leadership;
mod outgo;
pub mod proto;
pub mod server;
pub mod snapshot;

/// The release of etcd whose API this is, told to clients that ask for the server's version.
pub const ETCD_VERSION: &str = "3.7.1";
/// The cluster version that belongs to it.
pub const ETCD_CLUSTER_VERSION: &str = "3.7.0";
