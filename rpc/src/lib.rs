//! Cap'n Proto: schema, bounded transport, server and client.
#![forbid(unsafe_code)]

pub mod client;
pub mod net;
#[allow(missing_docs, unreachable_pub)]
pub mod schema;
pub mod server;
pub mod url;

mod ticker;
mod wire;

pub use client::{Client, ClientConfig};
pub use server::{ServeError, Server, ServerConfig};
