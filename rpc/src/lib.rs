//! Cap'n Proto: schema, bounded transport, server and client.
#![forbid(unsafe_code)]

pub mod net;
#[allow(missing_docs, unreachable_pub)]
pub mod schema;

mod ticker;
mod wire;
