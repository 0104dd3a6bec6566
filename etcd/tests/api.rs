//! The API as a gRPC client sees it: a real node, a real server, a real socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "api/alarm.rs"]
mod alarm;
#[path = "api/auth.rs"]
mod auth;
#[path = "api/cluster.rs"]
mod cluster;
#[path = "api/election.rs"]
mod election;
#[path = "api/health.rs"]
mod health;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/kv.rs"]
mod kv;
#[path = "api/lease.rs"]
mod lease;
#[path = "api/lock.rs"]
mod lock;
#[path = "api/maintenance.rs"]
mod maintenance;
#[path = "api/range_stream.rs"]
mod range_stream;
#[path = "api/raw.rs"]
mod raw;
#[path = "api/support.rs"]
mod support;
#[path = "api/unfinished.rs"]
mod unfinished;
#[path = "api/unread.rs"]
mod unread;
#[path = "api/watch.rs"]
mod watch;
#[path = "api/watch_load.rs"]
mod watch_load;
#[path = "api/watch_odd.rs"]
mod watch_odd;
#[path = "api/watching.rs"]
mod watching;
