//! What is served over plain HTTP, as curl sees it: a real node, a real server, a real socket. The bodies that are
//! expected are those that etcd 3.7.1 sent for the same requests, without the spaces that it strews among unary ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "http/access.rs"]
mod access;
#[path = "http/bindings.rs"]
mod bindings;
#[path = "http/client.rs"]
mod client;
#[path = "http/gateway.rs"]
mod gateway;
#[path = "http/health.rs"]
mod health;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/running.rs"]
mod running;
#[path = "http/streams.rs"]
mod streams;
#[path = "http/surfaces.rs"]
mod surfaces;
