//! The store over Cap'n Proto: schema, bounded transport, server and client.
//!
//! ```text
//! Client ─▶ client's thread ─▶ net ═══ socket ═══ net ─▶ connection thread ─▶ Node
//!   (Send)     (encode, decode)                            (decode, encode)
//! ```
//!
//! - [`schema`]: Rust generated from `rpc/schema/*.capnp`; no tool is needed to build.
//! - [`net`]: the transport that keeps a peer's demands within limits.
//! - [`server`]: serves a [`Node`](coffer_core::node::Node) on TCP and Unix sockets.
//! - [`peer`]: how members talk to each other.
//! - [`client`]: the node's methods on the other end, with failover, deadlines and watches that resume.
//! - [`url`]: where servers listen and clients connect.
//!
//! Errors are [`coffer_core::Error`] on both ends; their codes on the wire are stable.
#![forbid(unsafe_code)]

pub mod client;
pub mod net;
pub mod peer;
#[allow(missing_docs, unreachable_pub, reason = "generated code is documented by the schema files")]
pub mod schema;
pub mod server;
pub mod url;

mod ticker;
mod wire;

pub use client::{Client, ClientConfig};
pub use peer::{PeerConfig, PeerNetwork};
pub use server::{ServeError, Server, ServerConfig};
