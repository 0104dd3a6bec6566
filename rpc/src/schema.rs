//! The wire schema: Rust generated from `rpc/schema/*.capnp` (see `build.rs`), and nothing else.

#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::unwrap_used,
    clippy::unimplemented,
    reason = "the schema compiler writes this code, in its own style and without documentation"
)]

capnp::generated_code!(pub mod types_capnp);
capnp::generated_code!(pub mod kv_capnp);
capnp::generated_code!(pub mod watch_capnp);
capnp::generated_code!(pub mod lease_capnp);
capnp::generated_code!(pub mod maintenance_capnp);
capnp::generated_code!(pub mod gate_capnp);
capnp::generated_code!(pub mod peer_capnp);
